#include "engine/refresh.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/source.h"
#include "engine/turn.h"

#include <stdlib.h>

/*
 * The scan process of one source. It serves one round: all tables that are due, or nearly,
 * when it starts, one after the other; then it is let go. When it dies of one of them, another
 * takes the rest. A driver may hold one snapshot of the directory as long as it lives.
 */
struct scanner {
	struct scanner *next;		/* in refresh.scanners */
	struct refresh *refresh;
	struct source *source;
	struct process *process;
	bool is_ready;			/* said hello, has nothing to do */
	uint64_t began;			/* when it said so: its snapshot may be as old */
	struct turn *running;
};

struct refresh {
	struct loops *loops;
	struct persist *persist;
	struct exports *exports;
	bool is_in_a_hurry;		/* constant, once the thread runs */
	struct turn *turns;		/* refresh thread only, all of these */
	struct scanner *scanners;
	uint64_t random;
};

static void pump(struct scanner *sc);

/* --- how a scan ends --------------------------------------------------------------------------- */

static void failed(struct turn *t, struct text why)
{
	struct table *table = t->scan.table;
	uint64_t wait = turn_failed(t);

	log_error("refresh_failed", table->map, F_STR("map", table->map),
		  F_STR("source", table->settings->source), F_NUM("rows", scan_rows(&t->scan)),
		  F_TEXT("why", why), F_MSEC("next", wait));
	table_scan_ended(table, SCAN_FAILED, scan_rows(&t->scan), why);
	scan_abandon(&t->scan);
}

static void finished(struct turn *t)
{
	struct refresh *r = t->scanner->refresh;
	struct table *table = t->scan.table;
	size_t rows = scan_rows(&t->scan);
	const char *why;

	switch (scan_finish(&t->scan, r->loops, &why)) {
	case SCAN_PUBLISHED:
		table_scan_ended(table, SCAN_OK, rows, TEXT(""));
		persist_changed(r->persist, t->scan.table);
		exports_changed(r->exports, t->scan.table);
		turn_accepted(t);
		break;
	case SCAN_REJECTED:
		table_scan_ended(table, SCAN_WAS_REJECTED, rows,
				 text_of(scan_fault_name(table_rejection(table).fault)));
		turn_rejected(t);
		break;
	case SCAN_LOST:
		failed(t, text_of(why));
		break;
	}
}

/* --- one turn --------------------------------------------------------------------------------- */

static void run(struct turn *t, int phase)
{
	t->phase = phase;
	t->scanner->is_ready = false;
	t->scanner->running = t;
}

static void begin_scan(struct turn *t)
{
	struct process_table table = table_for_process(t->scan.table);

	t->why = NULL;
	turn_scans(t, t->scanner->began);
	if (!scan_begin(&t->scan)) {
		failed(t, TEXT("out of memory"));
		return;
	}
	t->scan.born = t->scanner->began;
	table_scan_begins(t->scan.table);
	run(t, SCANNING);
	process_scan(t->scanner->process, &table);
}

static void begin(struct turn *t)
{
	struct process_table table = table_for_process(t->scan.table);

	t->is_in_round = false;
	t->new_mark = 1;		/* another one than before the first scan */
	if (!t->scan.table->settings->change_interval) {
		begin_scan(t);
		return;
	}
	run(t, CHECKING);
	process_changed(t->scanner->process, &table);
}

static bool begin_sample(struct turn *t)
{
	struct process_table table = table_for_process(t->scan.table);
	struct text key;

	if (!scan_sample(&t->scan, clock_random(&t->scanner->refresh->random), &key))
		return false;
	run(t, SAMPLING);
	process_lookup(t->scanner->process, &table, key);
	return true;
}

static void note_change(struct turn *t, struct text value)
{
	const uint64_t both[] = { t->new_mark, hash_text(value) };

	t->new_mark = hash_text((struct text){ (const char *)both, sizeof both });
}

/* --- what the process says ---------------------------------------------------------------------- */

static void on_hello(void *user, struct text program)
{
	struct scanner *sc = user;
	(void)program;

	sc->is_ready = true;
	sc->began = clock_msec();
	pump(sc);
}

static void on_row(void *user, const struct row *row)
{
	struct scanner *sc = user;
	struct turn *t = sc->running;

	if (!t || t->why)
		return;
	switch (t->phase) {
	case CHECKING:
		note_change(t, row->value);
		break;
	case SCANNING:
		count_up(&t->scan.table->scan_rows, 1);
		t->why = scan_row(&t->scan, row);
		if (t->why)
			process_kill(sc->process, t->why);
		break;
	case SAMPLING:
		scan_live(&t->scan, row->value);
		break;
	}
}

static void on_info(void *user, struct text name, struct text value)
{
	struct scanner *sc = user;

	source_learn(sc->source, name, value);
}

static void on_end(void *user, enum frame_verb end, struct text why)
{
	struct scanner *sc = user;
	struct turn *t = sc->running;

	sc->running = NULL;
	sc->is_ready = true;
	source_heard(sc->source, end != FRAME_DOWN, why);
	if (end != FRAME_DONE && t->phase != SAMPLING) {
		failed(t, why);
	} else if (t->phase == CHECKING) {
		if (turn_is_owed(t))
			begin_scan(t);
	} else if (t->phase == SCANNING) {
		finished(t);
	} else if (end == FRAME_DONE) {
		scan_compare(&t->scan);
	}
	if (!sc->running && !begin_sample(t))
		pump(sc);
}

/* Those that fail come last, as they may take long. */
static struct turn *next_in_round(struct scanner *sc)
{
	struct turn *next = NULL;

	for (struct turn *t = sc->refresh->turns; t; t = t->next)
		if (t->scanner == sc && t->is_in_round && (!next || t->failures < next->failures))
			next = t;
	return next;
}

static void fail_round(struct scanner *sc, struct text why)
{
	for (struct turn *t; (t = next_in_round(sc));) {
		t->is_in_round = false;
		failed(t, why);
	}
}

static void on_dead(void *user, const char *why)
{
	struct scanner *sc = user;
	struct turn *t = sc->running;

	sc->process = NULL;
	sc->is_ready = false;
	sc->running = NULL;
	source_heard(sc->source, false, text_of(why));
	if (t && t->phase != SAMPLING)
		failed(t, text_of(why));
	else if (!t)	/* what one table did to it is not the fault of those behind it */
		fail_round(sc, text_of(why));
	pump(sc);
}

static const struct process_events events = { on_hello, on_row, on_info, on_end, on_dead, NULL };

/* --- rounds ------------------------------------------------------------------------------------- */

/*
 * What is due, or will be within a tenth of its interval unless it fails and is to wait, makes up the
 * round. False: nothing is due.
 */
static bool gather(struct scanner *sc)
{
	bool is_any_due = false;

	for (struct turn *t = sc->refresh->turns; t; t = t->next)
		is_any_due |= t->scanner == sc && t->is_due;
	for (struct turn *t = sc->refresh->turns; is_any_due && t; t = t->next)
		if (t->scanner == sc && turn_is_near(t)) {
			turn_take(t);
			t->is_in_round = true;
		}
	return is_any_due;
}

static void start(struct scanner *sc)
{
	struct buf why = { 0 };

	sc->process = process_start(&sc->refresh->loops->refresh.uv, source_settings(sc->source),
				    &events, sc, &why);
	if (!sc->process) {
		source_heard(sc->source, false, buf_view(&why));
		fail_round(sc, buf_view(&why));
	}
	buf_done(&why);
}

static void let_go(struct scanner *sc)
{
	if (sc->process)
		process_drop(sc->process);
	sc->process = NULL;
	sc->is_ready = false;
	sc->running = NULL;
}

/* Go on with the round, in a process; at its end let it go and see whether there is another. */
static void pump(struct scanner *sc)
{
	struct turn *t;

	while (!sc->running && sc->is_ready && (t = next_in_round(sc)))
		begin(t);
	if (sc->running)
		return;
	if (!next_in_round(sc)) {
		let_go(sc);
		if (!gather(sc))
			return;
	}
	if (!sc->process)
		start(sc);
}

/* --- which tables ------------------------------------------------------------------------------- */

static void drop_turn(struct turn *t)
{
	if (t->scanner->running == t)
		let_go(t->scanner);
	turn_free(t);
}

static void on_due(struct turn *t)
{
	pump(t->scanner);
}

static struct scanner *scanner_of(struct refresh *r, struct source *source)
{
	struct scanner *sc;

	for (sc = r->scanners; sc; sc = sc->next)
		if (sc->source == source)
			return sc;
	sc = must_calloc(1, sizeof *sc);
	*sc = (struct scanner){ .next = r->scanners, .refresh = r, .source = source };
	r->scanners = sc;
	return sc;
}

static void add_turn(struct refresh *r, struct table *table)
{
	struct turn *t = must_calloc(1, sizeof *t);

	t->scan.table = table;
	t->scanner = scanner_of(r, table->source);
	t->next = r->turns;
	r->turns = t;
	turn_begin(t, &r->loops->refresh.uv, on_due, &r->random, r->is_in_a_hurry);
}

/* The list of tables to keep, on its way to the refresh loop. */
struct adoption {
	struct message message;
	struct refresh *refresh;
	struct table **tables;
	size_t n;
};

/* Strike the table off the list; true when it was on it. */
static bool keeps(struct adoption *a, const struct table *table)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->tables[i] == table) {
			a->tables[i] = NULL;
			return true;
		}
	return false;
}

static bool is_used(const struct scanner *sc)
{
	for (const struct turn *t = sc->refresh->turns; t; t = t->next)
		if (t->scanner == sc)
			return true;
	return false;
}

/* Free the scanners that have no table left, and let the others go on. */
static void sort_out_scanners(struct refresh *r)
{
	for (struct scanner **at = &r->scanners; *at;) {
		struct scanner *sc = *at;

		if (is_used(sc)) {
			pump(sc);
			at = &sc->next;
		} else {
			*at = sc->next;
			let_go(sc);
			free(sc);
		}
	}
}

static void on_adopt(struct message *message)
{
	struct adoption *a = (struct adoption *)message;
	struct refresh *r = a->refresh;

	loop_yield();		/* what is restored at the start is waited for; scans are not */
	for (struct turn **at = &r->turns; *at;) {
		struct turn *t = *at;

		if (keeps(a, t->scan.table)) {
			at = &t->next;
		} else {
			*at = t->next;
			drop_turn(t);
		}
	}
	for (size_t i = 0; i < a->n; i++)
		if (a->tables[i])
			add_turn(r, a->tables[i]);
	sort_out_scanners(r);
	free(a->tables);
	free(a);
}

void refresh_adopt(struct refresh *refresh, const struct registry *r)
{
	struct adoption *a = must_calloc(1, sizeof *a);

	a->message.run = on_adopt;
	a->refresh = refresh;
	for (size_t i = 0; r && i < r->n_maps; i++)
		for (size_t k = 0; k < r->maps[i]->n_tables; k++) {
			struct table *t = r->maps[i]->tables[k];

			if (t->settings->mode != TABLE_MIRROR)
				continue;
			a->tables = must(reallocarray(a->tables, a->n + 1, sizeof *a->tables));
			a->tables[a->n++] = t;
		}
	loop_post(&refresh->loops->refresh, &a->message);
}

/* A wish to scan, on its way to the refresh loop. */
struct wish {
	struct message message;
	struct refresh *refresh;
	uint64_t table;			/* its id; 0: all */
};

static void on_wish(struct message *message)
{
	struct wish *w = (struct wish *)message;

	for (struct turn *t = w->refresh->turns; t; t = t->next) {
		if (w->table && w->table != t->scan.table->id)
			continue;
		turn_want(t);
	}
	free(w);
}

void refresh_now(struct refresh *refresh, struct table *t)
{
	struct wish *w = must_calloc(1, sizeof *w);

	if (t)
		atomic_store(&t->wanted, clock_msec());
	*w = (struct wish){ { NULL, on_wish }, refresh, t ? t->id : 0 };
	loop_post(&refresh->loops->refresh, &w->message);
}

bool refresh_accept(struct refresh *refresh, struct table *t)
{
	bool is_rejected = scan_accept(t);

	if (is_rejected)
		refresh_now(refresh, t);
	return is_rejected;
}

struct refresh *refresh_new(struct loops *loops, struct persist *persist,
			    struct exports *exports)
{
	struct refresh *r = must_calloc(1, sizeof *r);

	r->loops = loops;
	r->persist = persist;
	r->exports = exports;
	hash_random(&r->random, sizeof r->random);
	return r;
}

void refresh_hurry(struct refresh *r)
{
	r->is_in_a_hurry = true;
}

void refresh_free(struct refresh *r)
{
	free(r);
}

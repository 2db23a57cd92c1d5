#include "engine/refresh.h"

#include "base/clock.h"
#include "base/fold.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/source.h"

#include <stdlib.h>

/* A failed scan is tried again after this, doubled each time, up to the longest or `refresh`. */
#define FIRST_RETRY_MSEC 1000
#define LONGEST_RETRY_MSEC 60000

/* Fewer lost keys than this are never suspicious (max_shrink). */
#define SHRINK_KEYS 20

/* Keys of a new mirror that are looked up live, to see whether query and scan agree. */
#define SAMPLES 8

/* The mirror of one table: when it is due, and what its running scan has brought. */
struct scan {
	struct scan *next;		/* in refresh.scans */
	struct scanner *scanner;
	struct table *table;		/* alive while the registry that we adopted is */
	uv_timer_t timer;
	bool is_due;			/* waits for its scanner */
	bool is_in_round;		/* waits for the running process */
	enum { SCANNING, SAMPLING } phase;	/* while it runs */
	unsigned failures;		/* in a row */
	uint64_t began;
	struct mirror_builder *builder;	/* while it runs */
	struct buf key;			/* the folded key of the row before */
	struct buf row_key;		/* as it came */
	struct buf value;
	bool is_bad_key;
	const char *why;		/* the scan is lost already */
	unsigned samples;		/* still to be compared */
	struct text sampled_key, sampled;	/* views into the mirror, which only this thread replaces */
	struct values live;		/* what the directory says to it */
};

/*
 * The scan process of one source. It serves one round: all tables that are due, or nearly,
 * when it starts, one after the other; then it is let go. A driver may hold one
 * snapshot of the directory for the length of a round.
 */
struct scanner {
	struct scanner *next;		/* in refresh.scanners */
	struct refresh *refresh;
	struct source *source;
	struct process *process;
	bool is_ready;			/* said hello, has nothing to do */
	struct scan *running;
};

struct refresh {
	struct loops *loops;
	struct scan *scans;		/* refresh thread only, all of these */
	struct scanner *scanners;
	uint64_t random;
};

/* --- judging ------------------------------------------------------------------------------ */

const char *refresh_verdict(const struct table_settings *s, const struct mirror *old,
			    const struct mirror *scanned, size_t n_rows, size_t n_bad)
{
	size_t now = mirror_entries(scanned), before = old ? mirror_entries(old) : 0;
	struct text ignored;

	if (now < s->min_entries)
		return "fewer keys than min_entries";
	if (n_bad * 100 > n_rows)
		return "more than 1% unusable rows";
	if (before > now + SHRINK_KEYS && (before - now) * 100 > before * s->max_shrink)
		return "shrunken by more than max_shrink";
	for (size_t i = 0; i < s->n_expect; i++)
		if (mirror_find(scanned, s->expect[i], &ignored) != MIRROR_HIT)
			return "a key of `expect` is missing";
	return NULL;
}

/* --- one scan ------------------------------------------------------------------------------- */

static void pump(struct scanner *sc);

static void on_due(uv_timer_t *timer)
{
	struct scan *scan = timer->data;

	scan->is_due = true;
	pump(scan->scanner);
}

static void schedule(struct scan *scan, uint64_t msec)
{
	uv_timer_start(&scan->timer, on_due, clock_jitter(msec, &scan->scanner->refresh->random), 0);
}

static uint64_t retry_msec(const struct scan *scan)
{
	uint64_t longest = scan->table->settings->refresh < LONGEST_RETRY_MSEC ?
				   scan->table->settings->refresh : LONGEST_RETRY_MSEC;
	unsigned doublings = scan->failures > 7 ? 7 : scan->failures - 1;
	uint64_t wait = (uint64_t)FIRST_RETRY_MSEC << doublings;

	return wait < longest ? wait : longest;
}

static void scan_reset(struct scan *scan)
{
	mirror_builder_free(scan->builder);
	scan->builder = NULL;
	scan->why = NULL;
	buf_clear(&scan->row_key);
	buf_clear(&scan->key);
}

static void scan_failed(struct scan *scan, struct text why)
{
	const struct table *t = scan->table;

	scan->failures++;
	uint64_t wait = retry_msec(scan);
	log_error("refresh_failed", t->map, F_STR("map", t->map),
		  F_STR("source", t->settings->source),
		  F_NUM("rows", scan->builder ? mirror_builder_rows(scan->builder) : 0),
		  F_TEXT("why", why), F_MSEC("next", wait));
	scan_reset(scan);
	schedule(scan, wait);
}

static void scan_rejected(struct scan *scan, const char *why, const struct mirror *old,
			  const struct mirror *scanned)
{
	const struct table *t = scan->table;

	log_error("refresh_rejected", t->map, F_STR("map", t->map),
		  F_STR("source", t->settings->source), F_STR("why", why),
		  F_NUM("old", old ? mirror_entries(old) : 0), F_NUM("new", mirror_entries(scanned)));
	scan->failures++;
	schedule(scan, retry_msec(scan));
}

static void free_mirror(void *mirror)
{
	mirror_free(mirror);
}

/* The one place where a mirror becomes visible. */
static void publish(struct scan *scan, struct mirror *mirror)
{
	struct refresh *r = scan->scanner->refresh;
	struct table *t = scan->table;
	struct mirror *old = atomic_exchange(&t->mirror, mirror);

	if (old)
		loops_retire(r->loops, &r->loops->refresh, old, free_mirror);
	log_info("refreshed", t->map, F_STR("map", t->map), F_STR("source", t->settings->source),
		 F_NUM("entries", mirror_entries(mirror)), F_NUM("bytes", mirror_bytes(mirror)),
		 F_MSEC("took", clock_msec() - scan->began));
	scan->failures = 0;
	schedule(scan, t->settings->refresh);
	scan->samples = SAMPLES;
}

static void scan_succeeded(struct scan *scan)
{
	size_t rows = mirror_builder_rows(scan->builder);
	size_t bad = mirror_builder_bad(scan->builder);
	struct mirror *scanned = mirror_seal(scan->builder, scan->began);

	scan->builder = NULL;
	if (!scanned) {
		scan_failed(scan, TEXT("max_entries or max_bytes exceeded"));
		return;
	}
	const struct mirror *old = atomic_load(&scan->table->mirror);
	const char *why = refresh_verdict(scan->table->settings, old, scanned, rows, bad);
	if (why) {
		scan_rejected(scan, why, old, scanned);
		mirror_free(scanned);
	} else {
		publish(scan, scanned);
	}
	scan_reset(scan);
}

/* Take the key of the coming values. */
static void set_key(struct scan *scan, struct text key)
{
	if (text_eq(key, buf_view(&scan->row_key)))
		return;
	buf_clear(&scan->row_key);
	buf_text(&scan->row_key, key);
	buf_clear(&scan->key);
	scan->is_bad_key = !fold(key, &scan->key) || text_chr(key, '\0');
}

static bool add_row(struct scan *scan, struct text value)
{
	const struct table_settings *s = scan->table->settings;
	struct text key = buf_view(&scan->key);

	buf_clear(&scan->value);
	if (value.n == 0 || key.n == 0 ||
	    !template_expand(s->result_format, key, value, NULL, NULL, &scan->value) ||
	    scan->value.n == 0)
		return true;
	if (scan->is_bad_key || value_unusable(buf_view(&scan->value)))
		return mirror_add_bad(scan->builder, key);
	return mirror_add(scan->builder, key, buf_view(&scan->value));
}

/* --- the process ------------------------------------------------------------------------------ */

static void on_hello(void *user, struct text program)
{
	struct scanner *sc = user;
	(void)program;

	sc->is_ready = true;
	pump(sc);
}

static void on_row(void *user, struct text key, struct text value)
{
	struct scanner *sc = user;
	struct scan *scan = sc->running;

	if (!scan || scan->why)
		return;
	if (scan->phase == SAMPLING) {
		values_add(&scan->live, scan->table->settings, scan->sampled_key, value);
		return;
	}
	if (key.n == 0) {
		scan->why = "driver process sent a value without a key";
	} else {
		set_key(scan, key);
		if (!add_row(scan, value))
			scan->why = "max_entries or max_bytes exceeded";
	}
	if (scan->why)
		process_kill(sc->process, scan->why);
}

/* Look up a key of the new mirror live; false when enough have been, or there is none. */
static bool sample(struct scanner *sc, struct scan *scan)
{
	const struct mirror *m = atomic_load(&scan->table->mirror);
	struct process_table table = table_for_process(scan->table);

	if (scan->samples == 0 ||
	    !mirror_sample(m, clock_random(&sc->refresh->random), &scan->sampled_key,
			   &scan->sampled) ||
	    !table_asks(scan->table->settings, scan->sampled_key))
		return false;
	scan->samples--;
	scan->phase = SAMPLING;
	values_clear(&scan->live);
	sc->is_ready = false;
	sc->running = scan;
	process_lookup(sc->process, &table, scan->sampled_key);
	return true;
}

/* Another answer means that scan_query is not the same question as the template, or a collation. */
static void compare(struct scan *scan)
{
	const struct table *t = scan->table;
	struct answer live = values_answer(&scan->live);

	if (live.verdict == TEMP ||
	    (live.verdict == FOUND && text_eq(live.value, scan->sampled)))
		return;
	atomic_fetch_add_explicit(&scan->table->n_differing, 1, memory_order_relaxed);
	log_warn("mirror_differs", t->map, F_STR("map", t->map),
		 F_STR("source", t->settings->source), F_KEY("key", scan->sampled_key),
		 F_STR("why", live.verdict == FOUND ? "lookup has another value" :
						      "lookup does not find the key"));
}

static void on_end(void *user, enum frame_verb end, struct text why)
{
	struct scanner *sc = user;
	struct scan *scan = sc->running;

	sc->running = NULL;
	sc->is_ready = true;
	if (scan && scan->phase == SAMPLING && end == FRAME_DONE)
		compare(scan);
	else if (scan && scan->phase == SCANNING && end == FRAME_DONE)
		scan_succeeded(scan);
	else if (scan && scan->phase == SCANNING)
		scan_failed(scan, why);
	if (!scan || !sample(sc, scan))
		pump(sc);
}

static struct scan *next_in_round(struct scanner *sc)
{
	for (struct scan *scan = sc->refresh->scans; scan; scan = scan->next)
		if (scan->scanner == sc && scan->is_in_round)
			return scan;
	return NULL;
}

static void on_dead(void *user, const char *why)
{
	struct scanner *sc = user;
	struct scan *scan = sc->running;

	sc->process = NULL;
	sc->is_ready = false;
	sc->running = NULL;
	if (scan && scan->phase == SCANNING)
		scan_failed(scan, text_of(why));
	/* With it goes the rest of its round. */
	while ((scan = next_in_round(sc))) {
		scan->is_in_round = false;
		scan_failed(scan, text_of(why));
	}
	pump(sc);
}

static const struct process_events events = { on_hello, on_row, on_end, on_dead };

static void begin(struct scanner *sc, struct scan *scan)
{
	const struct table_settings *s = scan->table->settings;
	const struct mirror_limits limits = {
		.max_entries = s->max_entries,
		.max_bytes = s->max_bytes,
		.max_value = VALUE_MAX,
		.max_values = s->expansion_limit,
	};
	struct process_table table = table_for_process(scan->table);

	scan->is_in_round = false;
	scan->phase = SCANNING;
	scan->samples = 0;
	scan->began = clock_msec();
	scan->builder = mirror_builder_new(&limits);
	if (!scan->builder) {
		scan_failed(scan, TEXT("out of memory"));
		return;
	}
	sc->is_ready = false;
	sc->running = scan;
	process_scan(sc->process, &table);
}

/* What is due, or will be within a tenth of its interval, makes up the round. False: nothing is due. */
static bool gather(struct scanner *sc)
{
	bool is_any_due = false;

	for (struct scan *scan = sc->refresh->scans; scan; scan = scan->next)
		is_any_due |= scan->scanner == sc && scan->is_due;
	for (struct scan *scan = sc->refresh->scans; is_any_due && scan; scan = scan->next)
		if (scan->scanner == sc &&
		    (scan->is_due || uv_timer_get_due_in(&scan->timer) <
					     scan->table->settings->refresh / 10)) {
			uv_timer_stop(&scan->timer);
			scan->is_due = false;
			scan->is_in_round = true;
		}
	return is_any_due;
}

static void start(struct scanner *sc)
{
	struct buf why = { 0 };

	sc->process = process_start(&sc->refresh->loops->refresh.uv, source_settings(sc->source),
				    &events, sc, &why);
	if (!sc->process)
		for (struct scan *scan; (scan = next_in_round(sc));) {
			scan->is_in_round = false;
			scan_failed(scan, buf_view(&why));
		}
	buf_done(&why);
}

/* Go on with the round; at its end let the process go and see whether there is another. */
static void pump(struct scanner *sc)
{
	struct scan *scan = next_in_round(sc);

	if (sc->running)
		return;
	for (; scan && sc->is_ready && !sc->running; scan = next_in_round(sc))
		begin(sc, scan);
	if (!scan && !sc->running && sc->process) {
		process_drop(sc->process);
		sc->process = NULL;
		sc->is_ready = false;
	}
	if (!sc->process && gather(sc))
		start(sc);
}

/* --- which tables ------------------------------------------------------------------------------ */

static void on_scan_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void scan_drop(struct scan *scan)
{
	struct scanner *sc = scan->scanner;

	if (sc->running == scan) {
		sc->running = NULL;
		sc->is_ready = false;
		process_drop(sc->process);
		sc->process = NULL;
	}
	scan_reset(scan);
	buf_done(&scan->key);
	buf_done(&scan->row_key);
	buf_done(&scan->value);
	buf_done(&scan->live.text);
	uv_close((uv_handle_t *)&scan->timer, on_scan_closed);
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

static void scan_new(struct refresh *r, struct table *t)
{
	struct scan *scan = must_calloc(1, sizeof *scan);

	scan->table = t;
	scan->scanner = scanner_of(r, t->source);
	uv_timer_init(&r->loops->refresh.uv, &scan->timer);
	scan->timer.data = scan;
	scan->next = r->scans;
	r->scans = scan;
	schedule(scan, 0);
}

/* The list of tables to keep, on its way to the refresh loop. */
struct adoption {
	struct message message;
	struct refresh *refresh;
	struct table **tables;
	size_t n;
};

/* Strike the table off the list; true when it was on it. */
static bool keeps(struct adoption *a, const struct table *t)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->tables[i] == t) {
			a->tables[i] = NULL;
			return true;
		}
	return false;
}

static void drop_idle_scanners(struct refresh *r)
{
	for (struct scanner **at = &r->scanners; *at;) {
		struct scanner *sc = *at;
		struct scan *scan = r->scans;

		while (scan && scan->scanner != sc)
			scan = scan->next;
		if (scan) {
			pump(sc);
			at = &sc->next;
			continue;
		}
		*at = sc->next;
		if (sc->process)
			process_drop(sc->process);
		free(sc);
	}
}

static void on_adopt(struct message *message)
{
	struct adoption *a = (struct adoption *)message;
	struct refresh *r = a->refresh;

	for (struct scan **at = &r->scans; *at;) {
		struct scan *scan = *at;

		if (keeps(a, scan->table)) {
			at = &scan->next;
		} else {
			*at = scan->next;
			scan_drop(scan);
		}
	}
	for (size_t i = 0; i < a->n; i++)
		if (a->tables[i])
			scan_new(r, a->tables[i]);
	drop_idle_scanners(r);
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

struct refresh *refresh_new(struct loops *loops)
{
	struct refresh *r = must_calloc(1, sizeof *r);

	r->loops = loops;
	hash_random(&r->random, sizeof r->random);
	return r;
}

void refresh_free(struct refresh *r)
{
	free(r);
}

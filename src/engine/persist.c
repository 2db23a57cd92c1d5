#include "engine/persist.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/restore.h"
#include "engine/state.h"

#include <stdlib.h>

/* While another server has the lock; it may end at any time, and then its turn is ours. */
#define LOCK_RETRY_MSEC 1000

/* One table and its file. */
struct keep {
	struct keep *next;
	struct table *table;	/* lives as long as the registry that was adopted last */
	char *name;
	bool is_tried;		/* to be restored */
	bool is_changed;	/* has a mirror that is not in the file */
	bool has_failed;	/* to be written, the last time */
	uint64_t due;		/* written, or looked at, not before; msec of clock_msec() */
	uint64_t learnt;	/* the table's n_learnt when it was written last */
};

/* Something for a thread of the pool to do, which may block; then `done` runs on our own. */
struct task {
	void (*run)(struct task *task);
	void (*done)(struct task *task);
	struct persist *persist;
};

struct save;

struct persist {
	struct message stop;	/* of persist_stop(); first */
	struct loops *loops;
	char *path;		/* NULL: persist nothing */
	uv_timer_t timer;
	struct state *state;	/* NULL: not open */
	struct keep *keeps;	/* refresh thread only, like all above but loops and path */
	uint64_t interval;
	bool is_locked_out;	/* said so */
	bool has_complained;	/* about the directory */
	bool needs_sweep;	/* there may be files of tables that are no more */
	struct save *saving;	/* the file that is being written, or NULL */
	uv_work_t work;
	_Atomic(struct task *) task;	/* in the pool, one at a time; NULL: none */
	bool is_stopping;
	atomic_bool has_looked;		/* into the directory, for the first tables */
	_Atomic uint64_t n_written, n_failed, n_restored, n_rejected;
};

static void pump(struct persist *p);

/* --- the pool ---------------------------------------------------------------------------- */

/*
 * libuv passes the work on and back under a lock of its own. The atomic pointer says the same to
 * ThreadSanitizer, which is told not to look into libuv (t/lib/tsan.supp).
 */
static void on_work(uv_work_t *work)
{
	struct persist *p = work->data;
	struct task *task = atomic_load(&p->task);

	loop_yield();
	task->run(task);
	atomic_store(&p->task, task);
}

static void on_worked(uv_work_t *work, int status)
{
	struct persist *p = work->data;
	struct task *task = atomic_exchange(&p->task, NULL);
	(void)status;

	task->done(task);
	pump(p);
}

static void submit(struct persist *p, struct task *task)
{
	task->persist = p;
	atomic_store(&p->task, task);
	uv_queue_work(&p->loops->refresh.uv, &p->work, on_work, on_worked);
}

/* --- restoring -------------------------------------------------------------------------- */

static void reject(struct persist *p, const struct keep *k, enum snapshot_says says,
		   const char *why)
{
	bool is_moved = says == SNAPSHOT_BAD && !p->is_locked_out;

	p->n_rejected++;
	if (is_moved)
		snapshot_move_aside(state_directory(p->state), k->name);
	log_event(says == SNAPSHOT_FOREIGN ? LOG_AT_WARN : LOG_AT_ERROR, "snapshot_rejected",
		  k->table->map,
		  (struct log_field[]){ F_STR("map", k->table->map), F_STR("file", k->name),
					F_STR("why", why),
					F_STR("action", is_moved ? "moved to .bad" : "ignored") },
		  4);
}

static void restore(struct persist *p, struct keep *k)
{
	struct table *t = k->table;
	struct snapshot_file file;
	struct buf why = { 0 };
	bool had_mirror = atomic_load(&t->mirror) != NULL;
	enum snapshot_says says = snapshot_read(state_directory(p->state), k->name,
						text_of(t->settings->identity), &file, &why);

	k->is_tried = true;
	if (says == SNAPSHOT_GOOD) {
		const char *wrong = restore_table(t, &file.s, clock_msec(), clock_wall_msec());

		if (wrong)
			reject(p, k, SNAPSHOT_ERROR, wrong);
		else
			p->n_restored++;
		snapshot_done(&file);
	} else if (says != SNAPSHOT_ABSENT) {
		reject(p, k, says, buf_cstr(&why));
	}
	/* By a reload it came another way, or what was forgotten is still in the file. */
	k->is_changed = had_mirror || demand_has_forgotten(t->demand);
	buf_done(&why);
}

/* --- the directory ---------------------------------------------------------------------- */

static bool open_directory(struct persist *p)
{
	struct buf why = { 0 };

	if (!p->state && p->path)
		p->state = state_open(p->path, &why);
	if (!p->state && p->path && !p->has_complained)
		log_error("snapshots_off", "", F_STR("directory", p->path), F_TEXT("why", buf_view(&why)));
	p->has_complained = !p->state;
	buf_done(&why);
	return p->state != NULL;
}

/* May we write? Says so whenever that changes. */
static bool has_lock(struct persist *p)
{
	struct buf why = { 0 };
	bool is_ours = state_lock(p->state, &why);

	if (!is_ours && !p->is_locked_out)
		log_warn("snapshots_off", "", F_STR("directory", p->path),
			 F_TEXT("why", buf_view(&why)));
	if (is_ours && p->is_locked_out)
		log_info("snapshots_on", "", F_STR("directory", p->path));
	p->is_locked_out = !is_ours;
	buf_done(&why);
	return is_ours;
}

static void restore_all(struct persist *p)
{
	if (!open_directory(p))
		return;
	has_lock(p);
	for (struct keep *k = p->keeps; k; k = k->next)
		if (!k->is_tried)
			restore(p, k);
}

/* --- removing --------------------------------------------------------------------------- */

/* The files that stay, on their way to a thread of the pool. */
struct sweep {
	struct task task;
	int dir;
	char **names;
	size_t n;
};

static void do_sweep(struct task *task)
{
	struct sweep *s = (struct sweep *)task;

	snapshots_sweep(s->dir, s->names, s->n);
}

static void on_swept(struct task *task)
{
	struct sweep *s = (struct sweep *)task;

	for (size_t i = 0; i < s->n; i++)
		free(s->names[i]);
	free(s->names);
	free(s);
}

static void begin_sweep(struct persist *p)
{
	struct sweep *s = must_calloc(1, sizeof *s);

	s->task = (struct task){ .run = do_sweep, .done = on_swept };
	s->dir = state_directory(p->state);
	for (const struct keep *k = p->keeps; k; k = k->next) {
		s->names = must(reallocarray(s->names, s->n + 1, sizeof *s->names));
		s->names[s->n++] = must_strdup(k->name);
	}
	p->needs_sweep = false;
	submit(p, &s->task);
}

/* --- writing ---------------------------------------------------------------------------- */

/* One file in the making. Owns what it writes: the table may be gone when it ends. */
struct save {
	struct task task;
	struct keep *keep;	/* NULL when its table went meanwhile */
	int dir;
	char *name, *identity;
	struct mirror *mirror;	/* a reference, or NULL */
	struct buf demand;
	uint64_t written, clock, age;	/* struct snapshot */
	uint64_t learnt;
	bool is_written;
	struct buf why;
};

/* Is there anything that the file has not? */
static bool is_unwritten(const struct keep *k)
{
	return k->is_changed ||
	       atomic_load_explicit(&k->table->n_learnt, memory_order_relaxed) != k->learnt;
}

/* All that the table knows at this moment. Refresh thread, which alone replaces mirrors. */
static struct save *save_new(struct persist *p, struct keep *k)
{
	struct save *s = must_calloc(1, sizeof *s);
	struct table *t = k->table;
	struct mirror *mirror = atomic_load_explicit(&t->mirror, memory_order_acquire);
	uint64_t now = clock_msec();

	s->keep = k;
	s->dir = state_directory(p->state);
	s->name = must_strdup(k->name);
	s->identity = must_strdup(t->settings->identity);
	s->learnt = k->learnt;
	s->written = clock_wall_msec();
	s->clock = now;
	if (mirror) {
		s->mirror = mirror_ref(mirror);
		s->age = now - mirror_born(mirror);
	}
	/* What is learnt while this copies is written again next time. */
	uint64_t learnt = atomic_load_explicit(&t->n_learnt, memory_order_relaxed);
	if (demand_image(t->demand, now, &s->demand))
		s->learnt = learnt;
	k->is_changed = false;
	return s;
}

static void save_free(struct save *s)
{
	mirror_free(s->mirror);
	buf_done(&s->demand);
	buf_done(&s->why);
	free(s->identity);
	free(s->name);
	free(s);
}

static void do_save(struct task *task)
{
	struct save *s = (struct save *)task;
	const struct snapshot snapshot = {
		.fingerprint = text_of(s->identity),
		.written = s->written,
		.clock = s->clock,
		.age = s->age,
		.entries = s->mirror ? mirror_entries(s->mirror) : 0,
		.mirror = s->mirror ? mirror_image(s->mirror) : TEXT(""),
		.demand = buf_view(&s->demand),
	};

	s->is_written = snapshot_write(s->dir, s->name, &snapshot, &s->why);
}

/* Note how it went, and say so when that is news. */
static void settle(struct persist *p, struct save *s)
{
	struct keep *k = s->keep;

	++*(s->is_written ? &p->n_written : &p->n_failed);
	if (!k)
		return;
	/* Told to forget while it was written: see on_forgotten(). */
	bool is_behind = k->is_changed && k->table->settings->mode == TABLE_DEMAND;

	k->due = is_behind ? 0 : clock_msec() + p->interval;
	if (s->is_written) {
		k->learnt = s->learnt;
		log_event(k->has_failed ? LOG_AT_INFO : LOG_AT_DEBUG, "snapshot_written",
			  k->table->map,
			  (struct log_field[]){
				  F_STR("map", k->table->map), F_STR("file", k->name),
				  F_NUM("entries", s->mirror ? mirror_entries(s->mirror) : 0) },
			  3);
	} else {
		k->is_changed = true;
		if (!k->has_failed)
			log_error("snapshot_failed", k->table->map, F_STR("map", k->table->map),
				  F_TEXT("why", buf_view(&s->why)), F_MSEC("next", p->interval));
	}
	k->has_failed = !s->is_written;
}

static void on_saved(struct task *task)
{
	struct save *s = (struct save *)task;
	struct persist *p = task->persist;

	p->saving = NULL;
	settle(p, s);
	save_free(s);
}

static void begin_save(struct persist *p, struct keep *k)
{
	p->saving = save_new(p, k);
	p->saving->task = (struct task){ .run = do_save, .done = on_saved };
	submit(p, &p->saving->task);
}

/* --- when ------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
	pump(timer->data);
}

static void wake_in(struct persist *p, uint64_t msec)
{
	uv_timer_start(&p->timer, on_timer, msec, 0);
}

/* Whose turn is next: a new mirror, or a look at what a table without mirror has learnt. */
static struct keep *next_due(const struct persist *p)
{
	struct keep *next = NULL;

	for (struct keep *k = p->keeps; k; k = k->next)
		if ((k->is_changed || k->table->settings->mode == TABLE_DEMAND) &&
		    (!next || k->due < next->due))
			next = k;
	return next;
}

/* Begin what is due, or see to it that we are called again when it is. */
static void pump(struct persist *p)
{
	uint64_t now = clock_msec();

	if (atomic_load(&p->task) || p->is_stopping || !p->path)
		return;
	if (!p->state)
		restore_all(p);
	if (!p->state) {
		wake_in(p, p->interval);
		return;
	}
	if (!has_lock(p)) {
		wake_in(p, LOCK_RETRY_MSEC);
		return;
	}
	if (p->needs_sweep) {
		begin_sweep(p);
		return;
	}
	for (struct keep *k; (k = next_due(p));) {
		if (k->due > now) {
			wake_in(p, k->due - now);
			return;
		}
		if (is_unwritten(k)) {
			begin_save(p, k);
			return;
		}
		k->due = now + p->interval;
	}
}

void persist_changed(struct persist *p, const struct table *t)
{
	for (struct keep *k = p->keeps; k; k = k->next)
		if (k->table == t)
			k->is_changed = true;
	pump(p);
}

/* A table that was told to forget, on its way to the refresh loop. */
struct forgotten {
	struct message message;
	struct persist *persist;
	uint64_t table;			/* its id */
};

static void on_forgotten(struct message *message)
{
	struct forgotten *f = (struct forgotten *)message;

	for (struct keep *k = f->persist->keeps; k; k = k->next)
		if (k->table->id == f->table) {
			k->is_changed = true;
			if (k->table->settings->mode == TABLE_DEMAND)
				k->due = 0;
		}
	pump(f->persist);
	free(f);
}

void persist_forgotten(struct persist *p, const struct table *t)
{
	struct forgotten *f = must_calloc(1, sizeof *f);

	*f = (struct forgotten){ { NULL, on_forgotten }, p, t->id };
	loop_post(&p->loops->refresh, &f->message);
}

/* --- which tables ----------------------------------------------------------------------- */

/* A table and what its file is called. */
struct kept {
	struct table *table;
	char *name;		/* NULL: struck off the list */
};

struct adoption {
	struct message message;
	struct persist *persist;
	uint64_t interval;
	struct kept *list;
	size_t n;
};

/* Strike it off the list; true when it was there. */
static bool keeps(struct adoption *a, const struct keep *k)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->list[i].table == k->table && a->list[i].name &&
		    strcmp(a->list[i].name, k->name) == 0) {
			free(a->list[i].name);
			a->list[i].name = NULL;
			return true;
		}
	return false;
}

static void keep_free(struct persist *p, struct keep *k)
{
	if (p->saving && p->saving->keep == k)
		p->saving->keep = NULL;
	free(k->name);
	free(k);
}

static void on_adopt(struct message *message)
{
	struct adoption *a = (struct adoption *)message;
	struct persist *p = a->persist;

	p->interval = a->interval;
	for (struct keep **at = &p->keeps; *at;) {
		struct keep *k = *at;

		if (keeps(a, k)) {
			at = &k->next;
		} else {
			*at = k->next;
			keep_free(p, k);
		}
	}
	for (size_t i = 0; i < a->n; i++) {
		struct keep *k;

		if (!a->list[i].name)
			continue;
		k = must_calloc(1, sizeof *k);
		*k = (struct keep){ .next = p->keeps, .table = a->list[i].table,
				    .name = a->list[i].name };
		if (k->table->settings->mode == TABLE_DEMAND && !demand_has_forgotten(k->table->demand))
			k->due = clock_msec() + p->interval;
		p->keeps = k;
	}
	p->needs_sweep = true;
	restore_all(p);
	atomic_store_explicit(&p->has_looked, true, memory_order_release);
	pump(p);
	free(a->list);
	free(a);
}

void persist_adopt(struct persist *p, const struct registry *r, uint64_t interval)
{
	struct adoption *a = must_calloc(1, sizeof *a);

	*a = (struct adoption){ .message.run = on_adopt, .persist = p, .interval = interval };
	for (size_t i = 0; p->path && i < r->n_maps; i++)
		for (size_t k = 0; k < r->maps[i]->n_tables; k++) {
			struct buf name = { 0 };

			if (r->maps[i]->settings->is_secret)
				continue;
			snapshot_name(r->maps[i]->name, k, &name);
			a->list = must(reallocarray(a->list, a->n + 1, sizeof *a->list));
			a->list[a->n++] = (struct kept){ r->maps[i]->tables[k], buf_take(&name) };
		}
	loop_post(&p->loops->refresh, &a->message);
}

/* --- life ------------------------------------------------------------------------------- */

struct persist *persist_new(struct loops *loops, const char *directory)
{
	struct persist *p = must_calloc(1, sizeof *p);

	p->loops = loops;
	p->path = directory ? must_strdup(directory) : NULL;
	uv_timer_init(&loops->refresh.uv, &p->timer);
	p->timer.data = p->work.data = p;
	return p;
}

static void on_stop(struct message *message)
{
	struct persist *p = (struct persist *)message;

	p->is_stopping = true;
	uv_timer_stop(&p->timer);
}

void persist_stop(struct persist *p)
{
	if (p->stop.run)	/* in haste, after a second signal */
		return;
	p->stop.run = on_stop;
	loop_post(&p->loops->refresh, &p->stop);
}

void persist_flush(struct persist *p)
{
	if (!p->state || !has_lock(p))
		return;
	for (struct keep *k = p->keeps; k; k = k->next) {
		struct save *s;

		if (!is_unwritten(k))
			continue;
		s = save_new(p, k);
		do_save(&s->task);
		settle(p, s);
		save_free(s);
	}
}

static void on_closed(uv_handle_t *handle)
{
	struct persist *p = handle->data;

	while (p->keeps) {
		struct keep *k = p->keeps;

		p->keeps = k->next;
		keep_free(p, k);
	}
	state_close(p->state);
	free(p->path);
	free(p);
}

void persist_free(struct persist *p)
{
	uv_close((uv_handle_t *)&p->timer, on_closed);
}

bool persist_has_looked(const struct persist *p)
{
	return atomic_load_explicit(&p->has_looked, memory_order_acquire);
}

struct persist_stats persist_stats(const struct persist *p)
{
	return (struct persist_stats){ p->n_written, p->n_failed, p->n_restored, p->n_rejected };
}

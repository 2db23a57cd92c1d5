#include "engine/exports.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "store/cdb_export.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* After a failure; a refresh tries at once. */
#define RETRY_MSEC 10000

/* One map and its file. */
struct export {
	struct export *next;
	struct map *map;		/* lives as long as the registry that was adopted last */
	bool is_due;			/* to be written */
	bool may_be_current;		/* unless the file is as young as the mirrors */
	uint64_t not_before;		/* msec of clock_msec() */
};

struct writing;

struct exports {
	struct loops *loops;
	char *state_directory;
	uv_timer_t timer;
	struct export *list;		/* refresh thread only, like all below */
	bool has_adopted;
	bool is_stopping;
	uv_work_t work;
	_Atomic(struct writing *) writing;	/* in the pool, one at a time; NULL: none */
	_Atomic uint64_t n_written, n_unchanged, n_failed;
};

/* One file in the making. Owns what it writes: the map may be gone when it ends. */
struct writing {
	struct export *export;		/* NULL when its map went meanwhile */
	char *path;
	const char *state_directory;
	struct cdb_table *tables;
	size_t n_tables;
	uint64_t born;			/* of the youngest mirror, Unix msec */
	bool may_be_current;
	bool is_current;		/* nothing was done */
	bool is_written;
	uint64_t began;
	struct cdb_exported made;
	struct buf why;
};

static void pump(struct exports *e);

static void count_one(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

/* --- in the pool ------------------------------------------------------------------------- */

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)

/* Go down from `dir`, which is closed, making what is not there. -1 with errno. */
static int descend(int dir, struct text below)
{
	struct text name;

	while (dir >= 0 && text_next(&below, "/", &name)) {
		char component[NAME_MAX + 1] = "";
		bool is_new;
		int next;

		errno = ENAMETOOLONG;
		if (name.n > NAME_MAX) {
			close(dir);
			return -1;
		}
		memcpy(component, name.p, name.n);
		is_new = mkdirat(dir, component, 0755) == 0;
		next = openat(dir, component, DIRECTORY_FLAGS | O_NOFOLLOW);
		if (is_new && next >= 0)
			fchmod(next, 0755);	/* whatever the umask is */
		int error = errno;
		close(dir);
		errno = error;
		dir = next;
	}
	return dir;
}

/*
 * The state directory is ours alone, but virtual(8) opens its tables as the user postfix: it may
 * pass, and sees no names. All other files there are for us alone themselves.
 */
static void let_pass(int dir)
{
	struct stat st;

	if (dir >= 0 && fstat(dir, &st) == 0 && st.st_uid == geteuid() &&
	    (st.st_mode & (S_IXGRP | S_IXOTH)) != (S_IXGRP | S_IXOTH))
		fchmod(dir, (st.st_mode & 07777) | S_IXGRP | S_IXOTH);
}

static int open_directory(const struct writing *w, struct text path)
{
	struct text state = text_of(w->state_directory);
	bool is_below = state.n && path.n > state.n && text_starts(path, state) &&
			path.p[state.n] == '/';
	struct buf name = { 0 };
	int dir;

	buf_text(&name, is_below ? state : path);
	dir = open(buf_cstr(&name), DIRECTORY_FLAGS | (is_below ? O_NOFOLLOW : 0));
	buf_done(&name);
	if (is_below)
		let_pass(dir);
	return is_below ? descend(dir, text_skip(path, state.n + 1)) : dir;
}

/* NULL, or what is wrong with who may write there. */
static const char *distrust(int dir)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return strerror(errno);
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return "the directory belongs to another user";
	return st.st_mode & (S_IWGRP | S_IWOTH) ? "others may write to the directory" : NULL;
}

/* Was the file made after `wall`, Unix msec? A file of the same scan was. */
static bool is_younger(int dir, const char *name, uint64_t wall)
{
	struct stat st;

	return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
	       st.st_mtim.tv_sec >= 0 &&
	       (uint64_t)st.st_mtim.tv_sec * 1000 + (uint64_t)st.st_mtim.tv_nsec / 1000000 > wall;
}

static void write_file(struct writing *w)
{
	const char *slash = strrchr(w->path, '/'), *name = slash + 1;
	int dir = open_directory(w, (struct text){ w->path, (size_t)(slash - w->path) });
	const char *wrong = dir < 0 ? strerror(errno) : distrust(dir);

	if (wrong)
		buf_printf(&w->why, "%.*s: %s", (int)(slash - w->path), w->path, wrong);
	else if (w->may_be_current && is_younger(dir, name, w->born))
		w->is_written = w->is_current = true;
	else
		w->is_written = cdb_export(dir, name, w->tables, w->n_tables,
					   clock_wall_msec() / 1000, &w->made, &w->why);
	if (dir >= 0)
		close(dir);
}

/* The atomic pointer says to ThreadSanitizer what libuv's lock does; see persist.c. */
static void on_work(uv_work_t *work)
{
	struct exports *e = work->data;
	struct writing *w = atomic_load(&e->writing);

	loop_yield();
	write_file(w);
	atomic_store(&e->writing, w);
}

/* --- before and after -------------------------------------------------------------------- */

/* Does the map know enough for a file? An EXPIRED mirror answers nothing any more. */
static bool is_complete(const struct map *m, uint64_t now)
{
	for (size_t i = 0; i < m->n_tables; i++) {
		enum table_state state = table_state(m->tables[i], now);

		if (state != TABLE_FRESH && state != TABLE_STALE)
			return false;
	}
	return true;
}

/* All that the map holds now. Refresh thread, which alone replaces mirrors. */
static struct writing *writing_new(struct exports *e, struct export *x)
{
	struct writing *w = must_calloc(1, sizeof *w);
	const struct map *m = x->map;
	uint64_t now = clock_msec(), youngest = 0;

	*w = (struct writing){
		.export = x, .path = must_strdup(m->settings->export_path),
		.state_directory = e->state_directory, .may_be_current = x->may_be_current,
		.tables = must_calloc(m->n_tables, sizeof *w->tables), .n_tables = m->n_tables,
		.began = now,
	};
	for (size_t i = 0; i < m->n_tables; i++) {
		const struct table_settings *s = m->tables[i]->settings;
		struct mirror *mirror = atomic_load(&m->tables[i]->mirror);

		w->tables[i] = (struct cdb_table){ mirror_ref(mirror), s->needs,
						   domain_list_ref(s->domain) };
		if (mirror_born(mirror) > youngest)
			youngest = mirror_born(mirror);
	}
	w->born = clock_wall_msec() - (now - youngest);
	return w;
}

static void writing_free(struct writing *w)
{
	for (size_t i = 0; i < w->n_tables; i++) {
		mirror_free(w->tables[i].mirror);
		domain_list_free(w->tables[i].domain);
	}
	buf_done(&w->why);
	free(w->tables);
	free(w->path);
	free(w);
}

static void note_success(struct exports *e, struct writing *w, struct export_status *status)
{
	const struct map *m = w->export->map;
	bool is_news = !w->is_current && (!w->made.is_same || status->has_failed);

	count_one(w->is_current || w->made.is_same ? &e->n_unchanged : &e->n_written);
	status->has_failed = false;
	status->current_at = clock_wall_msec();
	if (w->is_current) {
		log_debug("export_current", m->settings->name, F_STR("map", m->settings->name),
			  F_STR("file", w->path));
		return;
	}
	status->entries = w->made.entries;
	status->bad = w->made.bad;
	log_event(!is_news ? LOG_AT_DEBUG : w->made.bad ? LOG_AT_WARN : LOG_AT_INFO,
		  w->made.is_same ? "export_unchanged" : "export_written", m->settings->name,
		  (struct log_field[]){
			  F_STR("map", m->settings->name), F_STR("file", w->path),
			  F_NUM("entries", w->made.entries), F_NUM("bad", w->made.bad),
			  F_MSEC("took", clock_msec() - w->began) },
		  5);
}

/* Note how it went, and say so when that is news. */
static void settle(struct exports *e, struct writing *w)
{
	struct export *x = w->export;
	struct export_status *status = &x->map->export;

	if (w->is_written) {
		note_success(e, w, status);
		return;
	}
	count_one(&e->n_failed);
	x->is_due = true;
	x->not_before = clock_msec() + RETRY_MSEC;
	if (!status->has_failed)
		log_error("export_failed", x->map->settings->name,
			  F_STR("map", x->map->settings->name), F_STR("file", w->path),
			  F_TEXT("why", buf_view(&w->why)), F_MSEC("next", RETRY_MSEC));
	status->has_failed = true;
}

static void on_worked(uv_work_t *work, int status)
{
	struct exports *e = work->data;
	struct writing *w = atomic_exchange(&e->writing, NULL);
	(void)status;

	if (w->export)
		settle(e, w);
	writing_free(w);
	pump(e);
}

/* --- when -------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
	pump(timer->data);
}

/* Begin what is due, or see to it that we are called again when it is. */
static void pump(struct exports *e)
{
	uint64_t now = clock_msec();
	struct export *next = NULL;

	if (atomic_load(&e->writing) || e->is_stopping)
		return;
	for (struct export *x = e->list; x; x = x->next) {
		/* What has no copy is due again with the next one. */
		x->is_due = x->is_due && is_complete(x->map, now);
		if (x->is_due && (!next || x->not_before < next->not_before))
			next = x;
	}
	if (next && next->not_before > now) {
		uv_timer_start(&e->timer, on_timer, next->not_before - now, 0);
	} else if (next) {
		next->is_due = false;
		atomic_store(&e->writing, writing_new(e, next));
		uv_queue_work(&e->loops->refresh.uv, &e->work, on_work, on_worked);
	}
}

static bool has_table(const struct map *m, const struct table *t)
{
	for (size_t i = 0; i < m->n_tables; i++)
		if (m->tables[i] == t)
			return true;
	return false;
}

void exports_changed(struct exports *e, const struct table *t)
{
	for (struct export *x = e->list; x; x = x->next)
		if (has_table(x->map, t)) {
			x->is_due = true;
			x->may_be_current = false;
			x->not_before = 0;
		}
	pump(e);
}

/* --- which maps --------------------------------------------------------------------------- */

struct adoption {
	struct message message;
	struct exports *exports;
	struct map **maps;
	size_t n;
};

/* Strike it off the list; true when it was there. */
static bool keeps(struct adoption *a, const struct map *m)
{
	for (size_t i = 0; i < a->n; i++)
		if (a->maps[i] == m) {
			a->maps[i] = NULL;
			return true;
		}
	return false;
}

static void drop(struct exports *e, struct export *x)
{
	struct writing *w = atomic_load(&e->writing);

	if (w && w->export == x)
		w->export = NULL;
	free(x);
}

static void on_adopt(struct message *message)
{
	struct adoption *a = (struct adoption *)message;
	struct exports *e = a->exports;

	for (struct export **at = &e->list; *at;) {
		struct export *x = *at;

		if (keeps(a, x->map)) {
			at = &x->next;
		} else {
			*at = x->next;
			drop(e, x);
		}
	}
	for (size_t i = 0; i < a->n; i++)
		if (a->maps[i]) {
			struct export *x = must_calloc(1, sizeof *x);

			*x = (struct export){ .next = e->list, .map = a->maps[i], .is_due = true,
					      .may_be_current = !e->has_adopted };
			e->list = x;
		}
	e->has_adopted = true;
	pump(e);
	free(a->maps);
	free(a);
}

void exports_adopt(struct exports *e, const struct registry *r)
{
	struct adoption *a = must_calloc(1, sizeof *a);

	*a = (struct adoption){ .message.run = on_adopt, .exports = e };
	a->maps = must_calloc(r->n_maps + 1, sizeof(struct map *));
	for (size_t i = 0; i < r->n_maps; i++)
		if (r->maps[i]->settings->export_path)
			a->maps[a->n++] = r->maps[i];
	loop_post(&e->loops->refresh, &a->message);
}

/* --- life --------------------------------------------------------------------------------- */

struct exports *exports_new(struct loops *loops, const char *state_directory)
{
	struct exports *e = must_calloc(1, sizeof *e);

	e->loops = loops;
	e->state_directory = state_directory ? must_strdup(state_directory) : NULL;
	uv_timer_init(&loops->refresh.uv, &e->timer);
	e->timer.data = e->work.data = e;
	return e;
}

/* A message that stops it. */
struct stop {
	struct message message;
	struct exports *exports;
};

static void on_stop(struct message *message)
{
	struct stop *s = (struct stop *)message;

	s->exports->is_stopping = true;
	uv_timer_stop(&s->exports->timer);
	free(s);
}

void exports_stop(struct exports *e)
{
	struct stop *s = must_calloc(1, sizeof *s);

	*s = (struct stop){ { NULL, on_stop }, e };
	loop_post(&e->loops->refresh, &s->message);
}

static void on_closed(uv_handle_t *handle)
{
	struct exports *e = handle->data;

	while (e->list) {
		struct export *x = e->list;

		e->list = x->next;
		free(x);
	}
	free(e->state_directory);
	free(e);
}

void exports_free(struct exports *e)
{
	uv_close((uv_handle_t *)&e->timer, on_closed);
}

struct exports_stats exports_stats(const struct exports *e)
{
	return (struct exports_stats){ e->n_written, e->n_unchanged, e->n_failed };
}

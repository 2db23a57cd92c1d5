#include "daemon/replace.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/state.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/pidfd.h>
#include <unistd.h>

/* How often to look whether the mirrors are there. */
#define LOOK_MSEC 20

/*
 * How long connections that began before still come to the other server: longer than a handshake
 * takes on any network on which one would ask for addresses without encryption.
 */
#define GRACE_MSEC 1000

struct replace {
	int lock;			/* -1: there is no common directory */
	int process;			/* of the other server, pidfd_open(2); -1: none */
	pid_t pid;
	struct engine *engine;
	struct acceptor *acceptor;
	struct listener **list;		/* while WAITING */
	size_t n;
	uint64_t began, deadline;	/* msec of clock_msec() */
	const struct replace_events *events;
	void *user;
	enum {
		WAITING,		/* for the mirrors */
		PLACED,			/* for what is on its way to the other server */
		TOLD,			/* for its end */
		FAILED,			/* for what is on its way to us, although we gave up */
		OVER,
	} stage;
	uv_timer_t timer;
	uv_poll_t end;			/* of the other server */
	bool has_handles;
};

/* --- one at a time ------------------------------------------------------------------------- */

static int open_directory(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Whoever would replace this server knows it, too; -1: there is none. */
static int open_common_directory(const char *state_directory, const char *unix_path)
{
	int dir = state_directory ? open_directory(state_directory) : -1;

	if (dir < 0 && unix_path) {
		char *parent = must_strdup(unix_path);

		strrchr(parent, '/')[1] = '\0';
		dir = open_directory(parent);
		free(parent);
	}
	return dir;
}

struct replace *replace_begin(const char *state_directory, const char *unix_path,
			      struct buf *ret_why)
{
	int lock = open_common_directory(state_directory, unix_path);

	if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0) {
		buf_str(ret_why, errno == EWOULDBLOCK ? "another --replace is under way" :
							strerror(errno));
		close(lock);
		return NULL;
	}

	struct replace *r = must_calloc(1, sizeof *r);
	r->lock = lock;
	r->process = -1;
	r->began = clock_msec();
	return r;
}

bool replace_is_under_way(const char *state_directory, const char *unix_path)
{
	int lock = open_common_directory(state_directory, unix_path);
	bool is_taken = lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;

	if (lock >= 0)
		close(lock);
	return is_taken;
}

/* --- whom ---------------------------------------------------------------------------------- */

/* Who writes to the state directory; 0: nobody, or nobody knows. */
static pid_t lock_holder(const char *directory)
{
	struct buf why = { 0 };
	struct state *state = directory ? state_open(directory, &why) : NULL;
	pid_t pid = 0;

	if (state && !state_lock(state, &why))
		pid = state_holder(state);
	state_close(state);
	buf_done(&why);
	return pid;
}

static bool read_name(const char *path, char name[static 64])
{
	FILE *f = fopen(path, "re");
	bool is_good = f && fgets(name, 64, f);

	if (f)
		fclose(f);
	return is_good;
}

/* Nothing but a server like us may be told to stop. */
static bool is_one_of_us(pid_t pid)
{
	char path[64], ours[64], its[64];

	snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
	return read_name("/proc/self/comm", ours) && read_name(path, its) &&
	       strcmp(ours, its) == 0;
}

/* Who answers on this listener's address must be `*pid`, or becomes it. */
static bool agree(const struct listener *l, pid_t *pid, struct buf *ret_why)
{
	const char *address = l->settings->address;

	if (!l->path)
		return true;
	if (l->former == 0)
		buf_printf(ret_why, "%s: a server answers there that cannot be seen from here",
			   address);
	else if (*pid && *pid != l->former)
		buf_printf(ret_why,
			   "%s: process %ld answers there, but the server to be replaced is process %ld",
			   address, (long)l->former, (long)*pid);
	else if (!*pid && !is_one_of_us(l->former))
		buf_printf(ret_why, "%s: process %ld, which answers there, is no socketmapd",
			   address, (long)l->former);
	else
		*pid = l->former;
	return *pid == l->former && *pid;
}

/* May it be told to stop? Hold on to the process, as its number may be another one's soon. */
static bool hold(struct replace *r, pid_t pid, struct buf *ret_why)
{
	r->pid = pid;
	r->process = pidfd_open(pid, 0);
	if (r->process >= 0 && pidfd_send_signal(r->process, 0, NULL, 0) == 0)
		return true;
	buf_printf(ret_why, "process %ld, which is to be replaced: %s", (long)pid,
		   strerror(errno));
	return false;
}

bool replace_find(struct replace *r, const char *state_directory, struct listener **list,
		  size_t n, pid_t *ret_pid, struct buf *ret_why)
{
	pid_t pid = lock_holder(state_directory);

	for (size_t i = 0; i < n; i++)
		if (list[i]->is_answered && !agree(list[i], &pid, ret_why))
			return false;
	for (size_t i = 0; i < n && !pid; i++)
		if (list[i]->is_answered) {
			buf_printf(ret_why,
				   "%s: address in use, and neither state_directory nor a unix "
				   "socket tells by whom", list[i]->settings->address);
			return false;
		}
	if (pid && !hold(r, pid, ret_why))
		return false;
	*ret_pid = pid;
	return true;
}

/* --- taking its place ---------------------------------------------------------------------- */

static void close_end(struct replace *r)
{
	if (r->process >= 0)
		close(r->process);
	if (r->lock >= 0)
		close(r->lock);
	r->process = r->lock = -1;
}

static void on_ended(uv_poll_t *poll, int status, int events)
{
	struct replace *r = poll->data;
	(void)status;
	(void)events;

	uv_poll_stop(poll);
	r->stage = OVER;
	log_info("replaced", "", F_NUM("process", r->pid));
	close_end(r);
}

static void tell(struct replace *r)
{
	r->stage = TOLD;
	if (pidfd_send_signal(r->process, SIGTERM, NULL, 0) != 0 && errno != ESRCH)
		log_error("replace_stop", "", F_NUM("process", r->pid),
			  F_STR("why", strerror(errno)));
}

static void on_grace_over(uv_timer_t *timer)
{
	struct replace *r = timer->data;

	if (r->stage == FAILED)
		r->events->on_failed(r->user);
	else if (r->stage == PLACED)
		tell(r);
}

static void put_into_force(struct replace *r, int stage)
{
	r->stage = stage;
	acceptor_adopt(r->acceptor, r->list, r->n, NULL);
	acceptor_watch(r->acceptor);
	r->list = NULL;
	uv_timer_start(&r->timer, on_grace_over, GRACE_MSEC, 0);
}

/* The listeners are withdrawn, but the first ones may have clients: stopping lets them in. */
static void fail(struct replace *r, struct text why)
{
	log_error("replace_failed", "", F_NUM("process", r->pid), F_TEXT("why", why));
	put_into_force(r, FAILED);
}

static void take_over(struct replace *r)
{
	struct buf why = { 0 };

	if (!acceptor_place(r->list, r->n, &why)) {
		fail(r, buf_view(&why));
	} else {
		put_into_force(r, PLACED);
		log_info("took_over", "", F_NUM("process", r->pid));
		uv_poll_start(&r->end, UV_READABLE, on_ended);
		r->events->on_done(r->user);
	}
	buf_done(&why);
}

static void look(uv_timer_t *timer)
{
	struct replace *r = timer->data;
	struct buf missing = { 0 }, why = { 0 };
	bool is_late = clock_msec() >= r->deadline;

	if (engine_is_ready(r->engine, is_late ? 0 : r->began, &missing)) {
		take_over(r);
	} else if (is_late) {
		buf_printf(&why, "after start_wait there is nothing to answer from for: %s",
			   buf_cstr(&missing));
		fail(r, buf_view(&why));
	}
	buf_done(&missing);
	buf_done(&why);
}

void replace_watch(struct replace *r, struct engine *e, struct acceptor *a,
		   struct listener **list, size_t n, uint64_t wait,
		   const struct replace_events *events, void *user)
{
	uv_loop_t *loop = &a->loops->control.uv;

	r->engine = e;
	r->acceptor = a;
	r->list = list;
	r->n = n;
	r->deadline = clock_msec() + wait;
	r->events = events;
	r->user = user;
	uv_timer_init(loop, &r->timer);
	uv_poll_init(loop, &r->end, r->process);
	r->timer.data = r->end.data = r;
	r->has_handles = true;
	uv_timer_start(&r->timer, look, 0, LOOK_MSEC);
}

/* --- the end ------------------------------------------------------------------------------- */

void replace_stop(struct replace *r)
{
	if (!r || !r->has_handles)
		return;
	uv_timer_stop(&r->timer);
	if (r->stage == WAITING) {
		acceptor_abandon(r->acceptor, r->list, r->n);
		free(r->list);
		r->list = NULL;
		r->stage = OVER;
	} else if (r->stage == PLACED) {
		tell(r);
	}
}

void replace_done(struct replace *r)
{
	if (!r || !r->has_handles)
		return;
	replace_stop(r);
	uv_close((uv_handle_t *)&r->timer, NULL);
	uv_close((uv_handle_t *)&r->end, NULL);
	r->has_handles = false;
}

void replace_free(struct replace *r)
{
	if (!r)
		return;
	close_end(r);
	free(r);
}

#include "daemon/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "daemon/acceptor.h"
#include "daemon/admin.h"
#include "daemon/conf.h"
#include "daemon/drain.h"
#include "daemon/http.h"
#include "daemon/notify.h"
#include "daemon/options.h"
#include "daemon/privileges.h"
#include "daemon/ready.h"
#include "daemon/replace.h"
#include "daemon/stats.h"
#include "daemon/watchdog.h"

#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Descriptors for everything but clients and driver processes: sockets, files, loops. */
#define RESERVED_FDS 64

/* How long clients may wait for a server that starts, if start_wait allows it; Postfix takes 100 s. */
#define HOLD_MSEC 10000

struct server {
	char *path;
	struct settings *settings;	/* what is in force; the registry has taken its parts out */
	struct engine engine;
	struct answers *answers;	/* one per answer loop */
	struct acceptor acceptor;
	struct admin admin;
	struct activation inherited;	/* sockets that listeners may have, now or after a reload */
	char *unix_path;		/* of the first unix listener, or NULL; for replace.h */
	struct replace *replace;	/* of another server, or NULL */
	struct listener **waiting;	/* opened for that, until replace_watch() takes them; or NULL */
	uv_signal_t signals[5];
	struct ready ready;
	struct watchdog watchdog;
	bool is_ready;
	struct drain drain;
	bool is_waiting;		/* for the time when another server is replaced */
	bool is_stopping;
	int status;
};

/* --- reload ------------------------------------------------------------------------------------- */

/* Log a text of several lines, an event each. */
static void log_errors(const struct buf *lines, const char *event)
{
	struct text rest = buf_view(lines), line;

	while (text_next(&rest, "\n", &line))
		log_error(event, "", F_TEXT("why", line));
}

/* The same of notes, which do not all matter as much. */
static void log_notes(const struct buf *notes)
{
	struct text rest = buf_view(notes), line;

	while (text_next(&rest, "\n", &line))
		log_event(conf_note_level(line), "reload_note", "",
			  (struct log_field[]){ F_TEXT("why", line) }, 1);
}

static char *first_unix_path(const struct settings *settings)
{
	for (size_t i = 0; i < settings->n_listeners; i++) {
		struct text t = text_of(settings->listeners[i]->address);

		if (text_starts(t, TEXT("unix:")))
			return must_strdup(t.p + strlen("unix:"));
	}
	return NULL;
}

/* Open and place. NULL with a reason, and nothing has changed. */
static struct listener **open_listeners(struct server *s, struct settings *settings,
					const struct opening *how, struct buf *ret_why)
{
	size_t n = settings->n_listeners;
	struct listener **list = must_calloc(n + 1, sizeof *list);

	if (acceptor_open(&s->acceptor, settings, how, list, ret_why)) {
		if (acceptor_place(list, n, ret_why))
			return list;
		acceptor_abandon(&s->acceptor, list, n);
	}
	free(list);
	return NULL;
}

static bool reload(struct server *s, struct buf *ret_why, struct buf *ret_notes,
		   struct buf *ret_unchanged)
{
	struct settings *next = conf_load(s->path, ret_why, ret_notes);

	if (!next)
		return false;
	if (!registry_has_room(next, engine_registry(&s->engine))) {
		buf_str(ret_why, "out of memory: no room for the tables that are new\n");
		settings_free(next);
		return false;
	}

	const struct opening how = { .inherited = &s->inherited, .uid = (uid_t)-1 };
	char *unix_path = first_unix_path(next);
	struct listener **listeners = open_listeners(s, next, &how, ret_why);
	if (!listeners) {
		free(unix_path);
		settings_free(next);
		return false;
	}
	/* Nothing can fail from here on. */
	settings_needs_restart(s->settings, next, ret_notes);
	settings_keep_started(s->settings, next);
	log_setup(&next->daemon.log);
	acceptor_adopt(&s->acceptor, listeners, next->n_listeners, ret_unchanged);
	acceptor_watch(&s->acceptor);
	engine_adopt(&s->engine, next);
	settings_free(s->settings);
	s->settings = next;
	free(s->unix_path);
	s->unix_path = unix_path;
	return true;
}

static void note_reload(struct admin_reloads *r, bool is_ok, struct text errors)
{
	struct text first = TEXT("the other server is not replaced yet");

	r->at = clock_wall_msec();
	r->is_ok = is_ok;
	if (is_ok) {
		r->n_ok++;
		r->good_at = r->at;
	} else {
		r->n_failed++;
		text_next(&errors, "\n", &first);
		snprintf(r->why, sizeof r->why, "%.*s", (int)first.n, first.p);
	}
}

static bool try_reload(void *server, struct buf *ret_why, struct buf *ret_notes)
{
	struct buf unchanged = { 0 };
	struct server *s = server;

	if (s->is_stopping) {
		buf_str(ret_why, "the server is stopping\n");
		return false;
	}
	if (s->is_ready)
		notify_reloading();
	bool is_done = !s->is_waiting && reload(s, ret_why, ret_notes, &unchanged);
	note_reload(&s->admin.reloads, is_done, buf_view(ret_why));
	log_errors(ret_why, "reload_error");
	log_notes(ret_notes);
	log_errors(&unchanged, "listener_unchanged");
	buf_text(ret_notes, buf_view(&unchanged));
	buf_done(&unchanged);
	if (is_done)
		log_info("reloaded", "", F_NUM("maps", s->settings->n_maps),
			 F_NUM("sources", s->settings->n_sources),
			 F_NUM("listeners", s->acceptor.n));
	else
		log_error("reload_refused", "",
			  F_STR("why", s->is_waiting ? "the other server is not replaced yet" :
						       "the old configuration stays in force"));
	if (s->is_ready)
		notify_ready();
	return is_done;
}

static void on_hangup(uv_signal_t *signal, int number)
{
	struct buf why = { 0 }, notes = { 0 };
	(void)number;

	try_reload(signal->data, &why, &notes);
	buf_done(&why);
	buf_done(&notes);
}

/* --- stopping ------------------------------------------------------------------------------------- */

/* The control loop will hear no second signal any more: it is to end the process all the same. */
static void on_quiet(void *server)
{
	struct server *s = server;

	for (size_t i = 0; i < sizeof s->signals / sizeof *s->signals; i++)
		if (s->signals[i].signum == SIGTERM || s->signals[i].signum == SIGINT)
			uv_signal_stop(&s->signals[i]);
}

static void stop(struct server *s)
{
	s->is_stopping = true;
	atomic_store(&s->admin.phase, ADMIN_STOPPING);
	replace_stop(s->replace);
	drain_begin(&s->drain, s->settings->daemon.stop_timeout, on_quiet, s);
}

static void on_terminate(uv_signal_t *signal, int number)
{
	struct server *s = signal->data;

	if (s->is_stopping) {
		log_warn("stopped_at_once", "", F_NUM("signal", number));
		engine_stop(&s->engine);
		_exit(1);
	}
	log_info("stopping", "", F_NUM("signal", number),
		 F_NUM("clients", admission_clients(s->acceptor.admission)));
	/* The manager would take it for the end of the service, which goes on in another process. */
	if (!replace_is_under_way(s->settings->daemon.state_directory, s->unix_path))
		notify_stopping();
	stop(s);
}

static void on_usr1(uv_signal_t *signal, int number)
{
	struct server *s = signal->data;
	struct report report;
	(void)number;

	report_take(&report, &s->admin);
	stats_log(&report);
	report_clear(&report);
}

static void on_usr2(uv_signal_t *signal, int number)
{
	struct server *s = signal->data;
	(void)number;

	if (s->is_stopping)
		return;
	log_info("refresh_requested", "", F_NUM("maps", s->settings->n_maps));
	refresh_now(s->engine.refresh, NULL);
}

/* --- starting ------------------------------------------------------------------------------------- */

static void on_ready(void *object)
{
	struct server *s = object;

	if (s->is_stopping)
		return;
	s->is_ready = true;
	atomic_store(&s->admin.phase, ADMIN_SERVING);
	acceptor_release(&s->acceptor);
	notify_ready();
}

static void watch_ready(struct server *s)
{
	ready_watch(&s->ready, &s->engine, s->settings->daemon.start_wait, on_ready, s);
}

static void on_replaced(void *object)
{
	struct server *s = object;

	s->is_waiting = false;
	watch_ready(s);
}

static void on_not_replaced(void *object)
{
	struct server *s = object;

	s->status = 1;
	if (!s->is_stopping)
		stop(s);
}

static const struct replace_events replace_events = { on_replaced, on_not_replaced };

/* --- life ------------------------------------------------------------------------------------------ */

/* Descriptors for all that the configuration allows; libuv would hide it if they ran out. */
static bool check_descriptors(const struct settings *settings, struct buf *ret_why)
{
	struct rlimit limit;
	rlim_t need = settings->daemon.max_clients + settings->n_listeners + RESERVED_FDS;

	for (size_t i = 0; i < settings->n_listeners; i++)
		if (settings->listeners[i]->kind == LISTENER_HTTP)
			need += http_public_limits.connections;
		else if (settings->listeners[i]->kind == LISTENER_CONTROL)
			need += http_control_limits.connections;
	for (size_t i = 0; i < settings->n_sources; i++)
		need += settings->sources[i]->connections + 1;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		return true;
	if (limit.rlim_cur < need && limit.rlim_max >= need) {
		limit.rlim_cur = need;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (limit.rlim_cur >= need)
		return true;
	buf_printf(ret_why,
		   "max_clients = %zu needs %ju file descriptors, but only %ju are allowed: lower "
		   "max_clients or raise the limit (ulimit -n, LimitNOFILE=)",
		   settings->daemon.max_clients, (uintmax_t)need, (uintmax_t)limit.rlim_max);
	return false;
}

static void watch_signal(struct server *s, size_t i, int number, uv_signal_cb on_signal)
{
	uv_signal_init(&s->engine.loops.control.uv, &s->signals[i]);
	s->signals[i].data = s;
	uv_signal_start(&s->signals[i], on_signal, number);
}

static void init(struct server *s)
{
	const struct daemon_settings *d = &s->settings->daemon;
	unsigned threads = d->threads ? d->threads : uv_available_parallelism();

	engine_init(&s->engine, threads, d->state_directory);
	watch_signal(s, 0, SIGHUP, on_hangup);
	watch_signal(s, 1, SIGTERM, on_terminate);
	watch_signal(s, 2, SIGINT, on_terminate);
	watch_signal(s, 3, SIGUSR1, on_usr1);
	watch_signal(s, 4, SIGUSR2, on_usr2);

	s->answers = must_calloc(threads, sizeof *s->answers);
	acceptor_init(&s->acceptor, &s->engine.loops, s->answers, d);
	s->acceptor.admin = &s->admin;
	s->admin = (struct admin){
		.engine = &s->engine, .acceptor = &s->acceptor, .path = s->path,
		.max_clients = d->max_clients, .state_directory = d->state_directory,
		.started = clock_wall_msec(), .born = clock_msec(), .phase = ADMIN_STARTING,
		.reload = try_reload, .server = s,
	};
	drain_init(&s->drain, &s->engine, s->answers, &s->acceptor);
	for (unsigned i = 0; i < threads; i++)
		answers_init(&s->answers[i], &s->engine, &s->engine.loops.answers[i]);
}

/* The user whose inet sockets may share an address with ours, today and after a reload. */
static uid_t service_uid(const struct settings *settings)
{
	const struct passwd *user = settings->daemon.user ? getpwnam(settings->daemon.user) : NULL;

	return user && geteuid() == 0 ? user->pw_uid : (uid_t)-1;
}

static bool drop_privileges(const struct server *s, struct buf *ret_why)
{
	return privileges_drop(s->settings->daemon.user, s->settings->daemon.group, ret_why);
}

/* Listeners are placed before privileges are dropped: their directory may be root's. */
static bool prepare(struct server *s, struct buf *ret_why)
{
	const struct opening how = { .inherited = &s->inherited, .uid = service_uid(s->settings) };
	struct listener **list = open_listeners(s, s->settings, &how, ret_why);

	if (!list)
		return false;
	acceptor_adopt(&s->acceptor, list, s->settings->n_listeners, NULL);
	return drop_privileges(s, ret_why);
}

/*
 * Here they are placed later, when all else runs and root is long gone. Without another server this
 * is a start like any other.
 */
static bool prepare_to_replace(struct server *s, struct buf *ret_why)
{
	const struct opening how = { .inherited = &s->inherited, .may_be_answered = true,
				     .uid = service_uid(s->settings) };
	size_t n = s->settings->n_listeners;
	pid_t pid = 0;

	s->replace = replace_begin(s->settings->daemon.state_directory, s->unix_path, ret_why);
	if (!s->replace)
		return false;
	s->waiting = must_calloc(n + 1, sizeof(struct listener *));
	if (!acceptor_open(&s->acceptor, s->settings, &how, s->waiting, ret_why)) {
		free(s->waiting);
		s->waiting = NULL;
		return false;
	}
	if (!drop_privileges(s, ret_why) ||
	    !replace_find(s->replace, s->settings->daemon.state_directory, s->waiting, n, &pid,
			  ret_why))
		return false;
	s->is_waiting = pid != 0;
	if (pid)
		return true;
	if (!acceptor_place(s->waiting, n, ret_why))
		return false;
	acceptor_adopt(&s->acceptor, s->waiting, n, NULL);
	s->waiting = NULL;
	replace_free(s->replace);
	s->replace = NULL;
	return true;
}

struct server *server_new(const char *path, struct settings *settings, bool is_replacing,
			  struct buf *ret_why)
{
	struct server *s = must_calloc(1, sizeof *s);

	s->path = must_strdup(path);
	s->settings = settings;
	s->unix_path = first_unix_path(settings);
	init(s);
	if (check_descriptors(settings, ret_why) && activation_take(&s->inherited, ret_why) &&
	    (is_replacing ? prepare_to_replace(s, ret_why) : prepare(s, ret_why))) {
		activation_tidy(&s->inherited);
		return s;
	}
	server_free(s);
	return NULL;
}

int server_run(struct server *s)
{
	struct loops *loops = &s->engine.loops;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* for snapshot_write() */
	for (size_t i = 0; i < loops->n_answers; i++)
		loop_start(&loops->answers[i], "answers");
	if (s->is_waiting)
		refresh_hurry(s->engine.refresh);
	loop_start(&loops->refresh, "refresh");
	engine_adopt(&s->engine, s->settings);
	if (s->is_waiting) {
		replace_watch(s->replace, &s->engine, &s->acceptor, s->waiting,
			      s->settings->n_listeners, s->settings->daemon.start_wait,
			      &replace_events, s);
		s->waiting = NULL;
	} else {
		uint64_t wait = s->settings->daemon.start_wait;

		acceptor_hold(&s->acceptor, wait < HOLD_MSEC ? wait : HOLD_MSEC);
		acceptor_watch(&s->acceptor);
		watch_ready(s);
	}
	watchdog_start(&s->watchdog, loops);
	log_info("started", "", F_STR("version", VERSION), F_NUM("maps", s->settings->n_maps),
		 F_NUM("sources", s->settings->n_sources),
		 F_NUM("listeners", s->settings->n_listeners), F_NUM("threads", loops->n_answers));
	uv_run(&loops->control.uv, UV_RUN_DEFAULT);
	log_info("stopped", "", F_NUM("clients", admission_clients(s->acceptor.admission)));
	return s->status;
}

void server_free(struct server *s)
{
	bool has_run = s->engine.registry != NULL;

	if (!has_run) {
		for (size_t i = 0; i < s->engine.loops.n_answers; i++)
			answers_stop(&s->answers[i]);
	}
	for (size_t i = 0; i < sizeof s->signals / sizeof *s->signals; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
	if (s->waiting)
		acceptor_abandon(&s->acceptor, s->waiting, s->settings->n_listeners);
	free(s->waiting);
	replace_done(s->replace);
	acceptor_done(&s->acceptor);
	ready_done(&s->ready);
	watchdog_done(&s->watchdog);
	drain_done(&s->drain);
	engine_done(&s->engine);
	for (size_t i = 0; i < s->engine.loops.n_answers; i++)
		answers_done(&s->answers[i]);
	replace_free(s->replace);
	acceptor_free(&s->acceptor);
	activation_done(&s->inherited);
	settings_free(s->settings);
	free(s->answers);
	free(s->unix_path);
	free(s->path);
	free(s);
}

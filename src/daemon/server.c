#include "daemon/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "daemon/client.h"
#include "daemon/conf.h"
#include "daemon/options.h"
#include "daemon/privileges.h"
#include "daemon/stats.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* Connections accepted per turn of the control loop. */
#define ACCEPT_BATCH 64

/* How long accepting rests when the process is out of descriptors. */
#define ACCEPT_REST_MSEC 100

/* Descriptors for everything but clients and driver processes: sockets, files, loops. */
#define RESERVED_FDS 64

struct server {
	char *path;
	struct settings *settings;	/* what is in force; the registry has taken its parts out */
	struct engine engine;
	struct answers *answers;	/* one per answer loop */
	struct admission *admission;
	struct listener **listeners;
	size_t n_listeners;
	unsigned turn;			/* the answer loop for the next client */
	uv_signal_t signals[4];
	uv_timer_t rest;		/* until accepting goes on */
	uv_timer_t patience;		/* until draining is cut short */
	size_t n_draining;		/* answer loops that have clients left */
	bool is_stopping;
	int status;
};

/* --- accepting ------------------------------------------------------------------------------- */

static void on_client_gone(struct message *message)
{
	struct client *c = (struct client *)((char *)message - offsetof(struct client, message));
	struct server *s = c->answers->user;

	admission_leave(s->admission, c->seat);
	free(c);
}

static void evict(struct server *s, struct seat *seat)
{
	struct eviction *e = must_calloc(1, sizeof *e);

	e->message.run = client_evict;
	e->answers = &s->answers[seat->loop];
	e->seat = seat;
	e->client = atomic_load_explicit(&seat->client, memory_order_relaxed);
	loop_post(e->answers->loop, &e->message);
	log_warn("client_evicted", "", F_NUM("clients", admission_clients(s->admission)),
		 F_STR("why", "max_clients reached, idle longest"));
}

static void set_tcp_options(int fd)
{
	static const struct { int level, name, value; } options[] = {
		{ IPPROTO_TCP, TCP_NODELAY, 1 },   { SOL_SOCKET, SO_KEEPALIVE, 1 },
		{ IPPROTO_TCP, TCP_KEEPIDLE, 60 }, { IPPROTO_TCP, TCP_KEEPINTVL, 10 },
		{ IPPROTO_TCP, TCP_KEEPCNT, 6 },
	};

	for (size_t i = 0; i < sizeof options / sizeof *options; i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value,
			   sizeof options[i].value);
}

static void welcome(struct server *s, struct listener *l, int fd, const struct sockaddr *peer)
{
	unsigned loop = s->turn++ % (unsigned)s->engine.loops.n_answers;
	struct seat *seat, *evicted;
	enum admitted admitted = admission_enter(s->admission, peer, loop, &seat, &evicted);

	if (admitted != ADMITTED) {
		log_warn("client_refused", l->settings->address,
			 F_STR("listener", l->settings->address),
			 F_STR("why", admitted == REFUSED_ADDRESS ? "max_clients_per_address" :
								    "max_clients"));
		close(fd);
		return;
	}
	if (evicted)
		evict(s, evicted);
	if (peer->sa_family != AF_UNIX)
		set_tcp_options(fd);

	struct client *c = must_calloc(1, sizeof *c);
	c->message.run = client_begin;
	c->answers = &s->answers[loop];
	c->listener = listener_ref(l);
	c->seat = seat;
	c->fd = fd;
	loop_post(c->answers->loop, &c->message);
}

static void watch_all(struct server *s);

static void on_rested(uv_timer_t *timer)
{
	watch_all(timer->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct listener *l = poll->data;
	struct server *s = l->user;
	(void)status;
	(void)events;

	for (int i = 0; i < ACCEPT_BATCH; i++) {
		struct sockaddr_storage peer = { 0 };
		socklen_t n = sizeof peer;
		int fd = accept4(l->fd, (struct sockaddr *)&peer, &n, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			welcome(s, l, fd, (struct sockaddr *)&peer);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
			log_error("accept_failed", l->settings->address,
				  F_STR("listener", l->settings->address),
				  F_STR("why", strerror(errno)));
			listener_rest(l);
			uv_timer_start(&s->rest, on_rested, ACCEPT_REST_MSEC, 0);
			return;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			return;
		}
	}
}

static void watch_all(struct server *s)
{
	for (size_t i = 0; i < s->n_listeners; i++) {
		s->listeners[i]->user = s;
		listener_watch(s->listeners[i], &s->engine.loops.control.uv, on_ready);
	}
}

/* --- listeners, old and new -------------------------------------------------------------------- */

static struct listener *find_listener(struct server *s, const char *address)
{
	for (size_t i = 0; i < s->n_listeners; i++)
		if (strcmp(s->listeners[i]->settings->address, address) == 0)
			return s->listeners[i];
	return NULL;
}

/*
 * Open what is new in `settings`. On failure everything opened here is closed again and
 * false returned; on success the list in `ret` also holds the unchanged ones.
 */
static bool open_listeners(struct server *s, struct settings *settings, struct listener **ret,
			   struct buf *ret_why)
{
	size_t i;

	for (i = 0; i < settings->n_listeners; i++) {
		struct listener_settings *want = settings->listeners[i];
		struct listener *old = find_listener(s, want->address);

		ret[i] = old;
		if (old && strcmp(old->settings->fingerprint, want->fingerprint) == 0)
			continue;
		ret[i] = old ? listener_share(old, want, ret_why) : listener_open(want, ret_why);
		if (!ret[i])
			break;
		settings->listeners[i] = NULL;
	}
	if (i == settings->n_listeners)
		return true;
	while (i-- > 0)
		if (!settings->listeners[i])
			listener_close(ret[i]);
	return false;
}

static bool contains(struct listener **list, size_t n, const struct listener *l)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == l)
			return true;
	return false;
}

/* Put the opened list into force and close what is not in it. */
static void adopt_listeners(struct server *s, struct listener **list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct listener *old = find_listener(s, list[i]->settings->address);

		if (old && old != list[i])
			listener_inherit(list[i], old);
	}
	for (size_t i = 0; i < s->n_listeners; i++)
		if (!contains(list, n, s->listeners[i]))
			listener_close(s->listeners[i]);
	free(s->listeners);
	s->listeners = list;
	s->n_listeners = n;
}

/* --- reload ------------------------------------------------------------------------------------- */

/* Log a text of several lines, an event each. */
static void log_lines(struct buf *lines, bool is_error, const char *event)
{
	struct text rest = buf_view(lines), line;

	while (text_next(&rest, "\n", &line))
		log_event(is_error ? LOG_AT_ERROR : LOG_AT_WARN, event, "",
			  (struct log_field[]){ F_TEXT("why", line) }, 1);
}

static bool reload(struct server *s, struct buf *ret_why, struct buf *ret_notes)
{
	struct settings *next = conf_load(s->path, ret_why, ret_notes);

	if (!next)
		return false;

	struct listener **listeners = must_calloc(next->n_listeners + 1, sizeof(struct listener *));
	if (!open_listeners(s, next, listeners, ret_why)) {
		free(listeners);
		settings_free(next);
		return false;
	}
	/* Nothing can fail from here on. */
	settings_needs_restart(s->settings, next, ret_notes);
	log_setup(&next->daemon.log);
	adopt_listeners(s, listeners, next->n_listeners);
	watch_all(s);
	engine_adopt(&s->engine, next);
	settings_free(s->settings);
	s->settings = next;
	return true;
}

static void on_hangup(uv_signal_t *signal, int number)
{
	struct server *s = signal->data;
	struct buf why = { 0 }, notes = { 0 };
	(void)number;

	if (s->is_stopping)
		return;
	bool is_done = reload(s, &why, &notes);
	log_lines(&why, true, "reload_error");
	log_lines(&notes, false, "reload_note");
	if (is_done)
		log_info("reloaded", "", F_NUM("maps", s->settings->n_maps),
			 F_NUM("sources", s->settings->n_sources),
			 F_NUM("listeners", s->n_listeners));
	else
		log_error("reload_refused", "", F_STR("why", "the old configuration stays in force"));
	buf_done(&why);
	buf_done(&notes);
}

/* --- stopping ------------------------------------------------------------------------------------- */

/* Something for each answer loop to do. */
struct order {
	struct message message;
	struct answers *answers;
	void (*run)(struct answers *);
};

static void on_order(struct message *message)
{
	struct order *o = (struct order *)message;

	o->run(o->answers);
	free(o);
}

static void order_all(struct server *s, void (*run)(struct answers *))
{
	for (size_t i = 0; i < s->engine.loops.n_answers; i++) {
		struct order *o = must_calloc(1, sizeof *o);

		*o = (struct order){ { NULL, on_order }, &s->answers[i], run };
		loop_post(s->answers[i].loop, &o->message);
	}
}

static void end_refresh(struct message *message)
{
	struct order *o = (struct order *)message;

	loop_stop(&o->answers->engine->loops.refresh);
	free(o);
}

/* Every message that was under way when stopping began has arrived: the threads may end. */
static void on_quiet(void *object)
{
	struct server *s = object;
	struct loops *loops = &s->engine.loops;
	struct order *o = must_calloc(1, sizeof *o);

	*o = (struct order){ { NULL, end_refresh }, s->answers, NULL };
	loop_post(&loops->refresh, &o->message);
	order_all(s, answers_stop);
	for (size_t i = 0; i < loops->n_answers; i++)
		loop_join(&loops->answers[i]);
	loop_join(&loops->refresh);
	uv_stop(&loops->control.uv);
}

/* A message may be one loop behind the first token (loops_retire()), not behind the second. */
static void on_almost_quiet(void *object)
{
	struct server *s = object;

	loops_retire(&s->engine.loops, &s->engine.loops.control, s, on_quiet);
}

static void on_drained(struct message *message)
{
	struct answers *a = (struct answers *)((char *)message - offsetof(struct answers, drained));
	struct server *s = a->user;

	if (--s->n_draining > 0)
		return;
	uv_timer_stop(&s->patience);
	engine_stop(&s->engine);
	loops_retire(&s->engine.loops, &s->engine.loops.control, s, on_almost_quiet);
}

static void on_impatient(uv_timer_t *timer)
{
	order_all(timer->data, answers_cut);
}

static void on_terminate(uv_signal_t *signal, int number)
{
	struct server *s = signal->data;

	if (s->is_stopping) {
		log_warn("stopped_at_once", "", F_NUM("signal", number));
		engine_stop(&s->engine);
		_exit(1);
	}
	s->is_stopping = true;
	log_info("stopping", "", F_NUM("signal", number),
		 F_NUM("clients", admission_clients(s->admission)));
	uv_timer_stop(&s->rest);
	adopt_listeners(s, NULL, 0);
	s->n_draining = s->engine.loops.n_answers;
	order_all(s, answers_drain);
	uv_timer_start(&s->patience, on_impatient, s->settings->daemon.stop_timeout, 0);
}

static void on_usr1(uv_signal_t *signal, int number)
{
	struct server *s = signal->data;
	(void)number;

	stats_log(engine_registry(&s->engine), admission_clients(s->admission));
}

/* --- life ------------------------------------------------------------------------------------------ */

/* Descriptors for all that the configuration allows; libuv would hide it if they ran out. */
static bool check_descriptors(const struct settings *settings, struct buf *ret_why)
{
	struct rlimit limit;
	rlim_t need = settings->daemon.max_clients + settings->n_listeners + RESERVED_FDS;

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

	engine_init(&s->engine, threads);
	uv_loop_t *control = &s->engine.loops.control.uv;
	watch_signal(s, 0, SIGHUP, on_hangup);
	watch_signal(s, 1, SIGTERM, on_terminate);
	watch_signal(s, 2, SIGINT, on_terminate);
	watch_signal(s, 3, SIGUSR1, on_usr1);
	uv_timer_init(control, &s->rest);
	uv_timer_init(control, &s->patience);
	s->rest.data = s->patience.data = s;

	s->admission = admission_new(d->max_clients, d->max_clients_per_address);
	s->answers = must_calloc(threads, sizeof *s->answers);
	for (unsigned i = 0; i < threads; i++) {
		s->answers[i].on_client_gone = on_client_gone;
		s->answers[i].on_drained = on_drained;
		s->answers[i].user = s;
		answers_init(&s->answers[i], &s->engine, &s->engine.loops.answers[i]);
	}
}

struct server *server_new(const char *path, struct settings *settings, struct buf *ret_why)
{
	struct server *s = must_calloc(1, sizeof *s);
	struct listener **listeners = must_calloc(settings->n_listeners + 1, sizeof *listeners);

	s->path = must_strdup(path);
	s->settings = settings;
	init(s);
	if (!check_descriptors(settings, ret_why) ||
	    !open_listeners(s, settings, listeners, ret_why)) {
		free(listeners);
		goto fail;
	}
	adopt_listeners(s, listeners, settings->n_listeners);
	if (!privileges_drop(settings->daemon.user, settings->daemon.group, ret_why))
		goto fail;
	return s;

fail:
	server_free(s);
	return NULL;
}

int server_run(struct server *s)
{
	struct loops *loops = &s->engine.loops;

	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < loops->n_answers; i++)
		loop_start(&loops->answers[i], "answers");
	loop_start(&loops->refresh, "refresh");
	engine_adopt(&s->engine, s->settings);
	watch_all(s);
	log_info("started", "", F_STR("version", VERSION), F_NUM("maps", s->settings->n_maps),
		 F_NUM("sources", s->settings->n_sources), F_NUM("listeners", s->n_listeners),
		 F_NUM("threads", loops->n_answers));
	uv_run(&loops->control.uv, UV_RUN_DEFAULT);
	log_info("stopped", "", F_NUM("clients", admission_clients(s->admission)));
	return s->status;
}

void server_free(struct server *s)
{
	bool has_run = s->engine.registry != NULL;

	if (!has_run) {
		adopt_listeners(s, NULL, 0);
		for (size_t i = 0; i < s->engine.loops.n_answers; i++)
			answers_stop(&s->answers[i]);
	}
	for (size_t i = 0; i < sizeof s->signals / sizeof *s->signals; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
	uv_close((uv_handle_t *)&s->rest, NULL);
	uv_close((uv_handle_t *)&s->patience, NULL);
	engine_done(&s->engine);
	for (size_t i = 0; i < s->engine.loops.n_answers; i++)
		answers_done(&s->answers[i]);
	admission_free(s->admission);
	settings_free(s->settings);
	free(s->answers);
	free(s->path);
	free(s);
}

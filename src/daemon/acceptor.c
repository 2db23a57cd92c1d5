#include "daemon/acceptor.h"

#include "base/log.h"
#include "base/must.h"
#include "daemon/client.h"
#include "daemon/http.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

/* Connections accepted per turn of the control loop. */
#define ACCEPT_BATCH 64

/* At the end: more than a queue holds. */
#define ACCEPT_LAST 10000

/* How long accepting rests when the process is out of descriptors. */
#define ACCEPT_REST_MSEC 100

/* --- clients ----------------------------------------------------------------------------- */

static void on_client_gone(struct message *message)
{
	struct client *c = (struct client *)((char *)message - offsetof(struct client, message));

	admission_leave(c->answers->admission, c->seat);
	free(c);
}

static void evict(struct acceptor *a, struct seat *seat)
{
	struct eviction *e = must_calloc(1, sizeof *e);

	e->message.run = client_evict;
	e->answers = &a->answers[seat->loop];
	e->seat = seat;
	e->client = atomic_load_explicit(&seat->client, memory_order_relaxed);
	loop_post(e->answers->loop, &e->message);
	a->n_evicted++;
	log_warn("client_evicted", "", F_NUM("clients", admission_clients(a->admission)),
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

static void welcome(struct acceptor *a, struct listener *l, int fd, const struct sockaddr *peer)
{
	unsigned loop = a->turn++ % (unsigned)a->loops->n_answers;
	struct seat *seat, *evicted;
	enum admitted admitted = admission_enter(a->admission, peer, loop, &seat, &evicted);

	if (admitted != ADMITTED) {
		a->n_refused += admitted == REFUSED_FULL;
		a->n_refused_address += admitted == REFUSED_ADDRESS;
		log_warn("client_refused", l->settings->address,
			 F_STR("listener", l->settings->address),
			 F_STR("why", admitted == REFUSED_ADDRESS ? "max_clients_per_address" :
								    "max_clients"));
		close(fd);
		return;
	}
	a->n_accepted++;
	if (evicted)
		evict(a, evicted);
	if (peer->sa_family != AF_UNIX)
		set_tcp_options(fd);

	struct client *c = must_calloc(1, sizeof *c);
	c->message.run = client_begin;
	c->answers = &a->answers[loop];
	c->listener = listener_ref(l);
	c->seat = seat;
	c->fd = fd;
	c->is_unix = peer->sa_family == AF_UNIX;
	loop_post(c->answers->loop, &c->message);
}

/* --- accepting --------------------------------------------------------------------------- */

/* Let in up to `n` clients. False when the process is out of descriptors or memory. */
static bool let_in(struct acceptor *a, struct gate *gate, int n)
{
	while (n-- > 0) {
		struct sockaddr_storage peer = { 0 };
		socklen_t size = sizeof peer;
		int fd = accept4(gate->fd, (struct sockaddr *)&peer, &size,
				 SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd >= 0) {
			welcome(a, gate->listener, fd, (struct sockaddr *)&peer);
		} else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM ||
			   errno == ENOBUFS) {
			const char *address = gate->listener->settings->address;

			log_error("accept_failed", address, F_STR("listener", address),
				  F_STR("why", strerror(errno)));
			return false;
		} else if (errno != EINTR && errno != ECONNABORTED) {
			break;
		}
	}
	return true;
}

static void on_rested(uv_timer_t *timer)
{
	acceptor_watch(timer->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
	struct gate *gate = poll->data;
	struct acceptor *a = gate->listener->user;
	(void)status;
	(void)events;

	if (let_in(a, gate, ACCEPT_BATCH))
		return;
	listener_rest(gate->listener);
	uv_timer_start(&a->rest, on_rested, ACCEPT_REST_MSEC, 0);
}

/* --- administrators ---------------------------------------------------------------------- */

static void serve_http(struct acceptor *a, struct listener *l)
{
	bool is_control = l->settings->kind == LISTENER_CONTROL;
	const struct http_limits *limits = is_control ? &http_control_limits : &http_public_limits;
	enum http_door door = is_control ? HTTP_CONTROL : HTTP_PUBLIC;
	const char *address = l->settings->address;
	struct buf why = { 0 };

	for (size_t i = 0; i < l->n_gates && l->stage == LISTENER_SETTLED; i++) {
		struct gate *g = &l->gates[i];

		if (g->http || g->fd < 0)
			continue;
		g->http = http_start(a->admin, door, g->fd, limits, &why);
		if (g->http)
			a->n_http++;
		else
			log_error("http_failed", address, F_STR("listener", address),
				  F_TEXT("why", buf_view(&why)));
		buf_clear(&why);
	}
	buf_done(&why);
}

static void check_closed(struct acceptor *a)
{
	void (*on_closed)(void *) = a->on_closed;

	if (a->n_http || !on_closed)
		return;
	a->on_closed = NULL;
	on_closed(a->user);
}

static void on_http_gone(void *acceptor)
{
	struct acceptor *a = acceptor;

	a->n_http--;
	check_closed(a);
}

void acceptor_close(struct acceptor *a, void (*on_closed)(void *user), void *user)
{
	acceptor_adopt(a, NULL, 0, NULL);
	a->on_closed = on_closed;
	a->user = user;
	check_closed(a);
}

/* --- who is let in ----------------------------------------------------------------------- */

void acceptor_watch(struct acceptor *a)
{
	bool is_holding = uv_is_active((uv_handle_t *)&a->hold);

	for (size_t i = 0; i < a->n; i++) {
		if (a->listeners[i]->settings->kind != LISTENER_TABLES) {
			serve_http(a, a->listeners[i]);
			continue;
		}
		if (is_holding && a->listeners[i]->is_inherited)
			continue;
		a->listeners[i]->user = a;
		listener_watch(a->listeners[i], &a->loops->control.uv, on_ready);
	}
	a->is_open = true;
}

void acceptor_release(struct acceptor *a)
{
	if (!uv_is_active((uv_handle_t *)&a->hold))
		return;
	uv_timer_stop(&a->hold);
	acceptor_watch(a);
}

static void on_held(uv_timer_t *timer)
{
	acceptor_watch(timer->data);
}

void acceptor_hold(struct acceptor *a, uint64_t msec)
{
	uv_timer_start(&a->hold, on_held, msec, 0);
}

/* Let in who has already knocked; at an inherited socket they wait for the next server. */
static void close_listener(struct acceptor *a, struct listener *l)
{
	for (size_t i = 0; i < l->n_gates; i++) {
		struct gate *g = &l->gates[i];

		if (g->http)
			http_stop(g->http, &a->loops->control, on_http_gone, a);
		else if (a->is_open && !l->is_inherited && l->settings->kind == LISTENER_TABLES)
			let_in(a, g, ACCEPT_LAST);
		g->http = NULL;
	}
	listener_close(l);
}

void acceptor_close_tables(struct acceptor *a)
{
	size_t n = 0;

	for (size_t i = 0; i < a->n; i++)
		if (a->listeners[i]->settings->kind != LISTENER_TABLES)
			a->listeners[n++] = a->listeners[i];
		else
			close_listener(a, a->listeners[i]);
	a->n = n;
}

/* --- listeners, old and new -------------------------------------------------------------- */

static struct listener *find_listener(struct acceptor *a, const char *address)
{
	for (size_t i = 0; i < a->n; i++)
		if (strcmp(a->listeners[i]->settings->address, address) == 0)
			return a->listeners[i];
	return NULL;
}

static bool contains(struct listener **list, size_t n, const struct listener *l)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == l)
			return true;
	return false;
}

static struct listener_counters *new_counters(size_t n)
{
	size_t size = n * sizeof(struct listener_counters);

	return memset(must(aligned_alloc(_Alignof(struct listener_counters), size)), 0, size);
}

bool acceptor_open(struct acceptor *a, struct settings *settings, const struct opening *how,
		   struct listener **ret, struct buf *ret_why)
{
	for (size_t i = 0; i < settings->n_listeners; i++) {
		struct listener_settings *want = settings->listeners[i];
		struct listener *old = find_listener(a, want->address);

		ret[i] = old;
		if (old && strcmp(old->settings->fingerprint, want->fingerprint) == 0)
			continue;
		ret[i] = old ? listener_share(old, want, ret_why) :
			       listener_open(want, how, ret_why);
		if (!ret[i]) {
			acceptor_abandon(a, ret, i);
			return false;
		}
		settings->listeners[i] = NULL;
		ret[i]->counters = new_counters(a->loops->n_answers);
	}
	return true;
}

bool acceptor_place(struct listener **list, size_t n, struct buf *ret_why)
{
	bool is_good = true;

	/* Names of files last: what is listened to may already have clients, a name has none. */
	for (size_t i = 0; i < n && is_good; i++)
		is_good = list[i]->path || listener_place(list[i], ret_why);
	for (size_t i = 0; i < n && is_good; i++)
		is_good = listener_place(list[i], ret_why);
	for (size_t i = 0; i < n; i++)
		if (is_good)
			listener_settle(list[i]);
		else
			listener_withdraw(list[i]);
	return is_good;
}

void acceptor_abandon(struct acceptor *a, struct listener **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!contains(a->listeners, a->n, list[i]))
			listener_close(list[i]);
}

void acceptor_adopt(struct acceptor *a, struct listener **list, size_t n,
		    struct buf *ret_unchanged)
{
	for (size_t i = 0; i < n; i++) {
		struct listener *old = find_listener(a, list[i]->settings->address);

		if (old && old != list[i])
			listener_inherit(list[i], old, ret_unchanged);
	}
	for (size_t i = 0; i < a->n; i++)
		if (!contains(list, n, a->listeners[i]))
			close_listener(a, a->listeners[i]);
	free(a->listeners);
	a->listeners = list;
	a->n = n;
}

/* --- life -------------------------------------------------------------------------------- */

void acceptor_init(struct acceptor *a, struct loops *loops, struct answers *answers,
		   const struct daemon_settings *settings)
{
	*a = (struct acceptor){ .loops = loops, .answers = answers };
	a->admission = admission_new(settings->max_clients, settings->max_clients_per_address);
	for (size_t i = 0; i < loops->n_answers; i++) {
		answers[i].admission = a->admission;
		answers[i].on_client_gone = on_client_gone;
	}
	uv_timer_init(&loops->control.uv, &a->rest);
	uv_timer_init(&loops->control.uv, &a->hold);
	a->rest.data = a->hold.data = a;
}

void acceptor_done(struct acceptor *a)
{
	acceptor_adopt(a, NULL, 0, NULL);
	uv_close((uv_handle_t *)&a->rest, NULL);
	uv_close((uv_handle_t *)&a->hold, NULL);
}

void acceptor_free(struct acceptor *a)
{
	admission_free(a->admission);
}

#include "daemon/http.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "daemon/json.h"
#include "daemon/peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Request line and headers together, and the head of the reply. More is 431 or 414. */
#define MEMORY_BYTES ((size_t)8 << 10)

/* Of a request; nothing here takes one. */
#define BODY_MAX ((size_t)8 << 10)

/* Of each connection's thread: no handler goes deep. */
#define STACK_BYTES ((size_t)512 << 10)

#define ARGUMENTS_MAX 16

/*
 * How long those who are being answered when a socket goes are waited for, msec: one of them may
 * have made it go, by a reload, and wants to know how that went.
 */
#define LAST_WORDS_MSEC 2000
#define TICK_MSEC 5

#define NO_POLICY "default-src 'none'; frame-ancestors 'none'; base-uri 'none'"

const struct http_limits http_public_limits = {
	.connections = 64, .per_address = 16, .idle_timeout = 15,
};

/* Who reads a dump page by page may take a while to turn one. */
const struct http_limits http_control_limits = {
	.connections = 32, .idle_timeout = 15, .stream_timeout = 600, .may = peer_may,
};

struct http {
	struct admin *admin;
	enum http_door door;
	const struct http_limits *limits;
	struct MHD_Daemon *daemon;
	_Atomic bool is_stopping;
	_Atomic unsigned n_open;	/* requests that are being answered */
	struct message message;		/* the end; what follows is for it */
	struct loop *loop;
	pthread_t closer;
	bool has_closer;
	void (*on_gone)(void *user);
	void *user;
};

static _Atomic unsigned long long n_answered[HTTP_CLASSES];

void http_counts(unsigned long long ret[static HTTP_CLASSES])
{
	for (size_t i = 0; i < HTTP_CLASSES; i++)
		ret[i] = atomic_load_explicit(&n_answered[i], memory_order_relaxed);
}

/* --- what was asked ---------------------------------------------------------------------- */

/* One request, from its first line to its end. */
struct exchange {
	char *uri;			/* as it came */
	struct buf decoded;		/* what the request's texts look into */
	struct http_request request;
	struct http_argument arguments[ARGUMENTS_MAX];
	size_t body;			/* bytes of it */
	bool is_begun;			/* its headers are here */
	bool is_open;			/* all of it is, and counted */
};

static int hex_value(char c)
{
	const char *digits = "0123456789abcdef", *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/*
 * Decode %XX. libmicrohttpd would make a blank of "+" in a query, as forms have it, but RFC 3986
 * does not, and addresses have plus signs. False: not well formed, or a NUL.
 */
static bool decode(struct text t, struct buf *out, struct text *ret)
{
	size_t start = out->n;

	for (size_t i = 0; i < t.n; i++) {
		int high, low;

		if (t.p[i] != '%') {
			buf_byte(out, t.p[i]);
			continue;
		}
		if (t.n - i < 3 || (high = hex_value(t.p[i + 1])) < 0 ||
		    (low = hex_value(t.p[i + 2])) < 0 || high + low == 0)
			return false;
		buf_byte(out, (char)(high << 4 | low));
		i += 2;
	}
	*ret = (struct text){ out->p + start, out->n - start };
	return true;
}

static bool decode_argument(struct exchange *x, struct text item)
{
	struct http_argument *a = &x->arguments[x->request.n_arguments];
	const char *equals = text_chr(item, '=');

	if (x->request.n_arguments == ARGUMENTS_MAX)
		return false;
	x->request.n_arguments++;
	a->value = TEXT("");
	if (!equals)
		return decode(item, &x->decoded, &a->name);
	return decode(text_before(item, equals), &x->decoded, &a->name) &&
	       decode(text_from(item, equals + 1), &x->decoded, &a->value);
}

static bool decode_uri(struct exchange *x)
{
	struct text uri = text_of(x->uri), item;
	const char *mark = text_chr(uri, '?');
	struct text query = mark ? text_from(uri, mark + 1) : TEXT("");

	buf_grow(&x->decoded, uri.n + 1);	/* never moves again: views look into it */
	x->request.arguments = x->arguments;
	if (!decode(mark ? text_before(uri, mark) : uri, &x->decoded, &x->request.path))
		return false;
	while (text_next(&query, "&", &item))
		if (!decode_argument(x, item))
			return false;
	return true;
}

bool http_argument(const struct http_request *r, const char *name, struct text *ret_value)
{
	for (size_t i = 0; i < r->n_arguments; i++)
		if (text_is(r->arguments[i].name, name)) {
			*ret_value = r->arguments[i].value;
			return true;
		}
	return false;
}

/* --- who answers it ---------------------------------------------------------------------- */

static bool fits(const struct http_route *route, struct http_request *r)
{
	struct text path = text_of(route->path);

	r->rest = TEXT("");
	if (text_eq(path, r->path))
		return true;
	if (path.n < 2 || path.p[path.n - 1] != '/' || !text_starts(r->path, path))
		return false;
	r->rest = text_skip(r->path, path.n);
	return true;
}

/* The methods that would do for the path go to `ret_allow`, for a 405. */
static const struct http_route *find_route(struct http_request *r, bool is_post,
					   const char **ret_allow)
{
	for (const struct http_route *route = http_routes; route->path; route++) {
		if (!(route->doors & r->door) || !fits(route, r))
			continue;
		if (route->is_post == is_post)
			return route;
		*ret_allow = route->is_post ? "POST" : "GET, HEAD";
	}
	return NULL;
}

/* Is the path one that only the other kind of listener has? */
static bool is_behind_other_door(struct http_request *r)
{
	for (const struct http_route *route = http_routes; route->path; route++)
		if (!(route->doors & r->door) && fits(route, r))
			return true;
	return false;
}

static bool is_loopback(int fd)
{
	struct sockaddr_storage own;
	socklen_t n = sizeof own;

	if (getsockname(fd, (struct sockaddr *)&own, &n) != 0)
		return false;
	if (own.ss_family == AF_INET)
		return ntohl(((struct sockaddr_in *)&own)->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	if (own.ss_family != AF_INET6)
		return false;

	/* A socket of systemd's may be for both families: "::ffff:127.0.0.1", RFC 4291 2.5.5.2. */
	const struct in6_addr *six = &((struct sockaddr_in6 *)&own)->sin6_addr;
	return IN6_IS_ADDR_LOOPBACK(six) ||
	       (IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == IN_LOOPBACKNET);
}

/*
 * A page in an administrator's browser may come from a host whose owner lets its name point to 127.0.0.1
 * ("DNS rebinding"), and could then read what we say. Who really means this host calls it
 * localhost, by its name (which Debian lets point to 127.0.1.1), or by its number.
 */
static bool is_misled(int fd, const char *host)
{
	struct text name = text_of(host ? host : "localhost");
	const char *colon = text_rchr(name, ':');
	char called[HOST_NAME_MAX + 1] = "", own[HOST_NAME_MAX + 1] = "";
	struct in_addr ignored;

	if (!is_loopback(fd) || (name.n && name.p[0] == '['))
		return false;
	if (colon)
		name = text_before(name, colon);
	if (name.n < sizeof called)
		memcpy(called, name.p, name.n);
	gethostname(own, sizeof own - 1);
	return strcasecmp(called, "localhost") != 0 && strcasecmp(called, own) != 0 &&
	       inet_pton(AF_INET, called, &ignored) != 1;
}

/* Returns what a 405 allows, or NULL. */
static const char *answer(struct exchange *x, const char *method, const char *host,
			  struct http_reply *reply)
{
	bool is_get = strcmp(method, MHD_HTTP_METHOD_GET) == 0 ||
		      strcmp(method, MHD_HTTP_METHOD_HEAD) == 0;
	bool is_post = strcmp(method, MHD_HTTP_METHOD_POST) == 0;
	const struct http *h = x->request.http;
	const char *allow = NULL;

	if (h->limits->may && !h->limits->may(h->admin, x->request.fd)) {
		json_fail(reply, 403, "this socket is for root, the server's user and members of "
			  "its group");
		return NULL;
	}
	if (is_misled(x->request.fd, host)) {
		json_fail(reply, 421, "this is not the host that you name");
		return NULL;
	}
	if (!is_get && !(is_post && h->door == HTTP_CONTROL)) {
		json_fail(reply, 405, "nothing can be changed here");
		return h->door == HTTP_CONTROL ? "GET, HEAD, POST" : "GET, HEAD";
	}
	if (!decode_uri(x)) {
		json_fail(reply, 400, strstr(x->uri, "%00") ? "the URL has a NUL in it" :
							      "not a well-formed address");
		return NULL;
	}

	const struct http_route *route = find_route(&x->request, is_post, &allow);
	if (route)
		route->handle(&x->request, reply);
	else if (allow)
		json_fail(reply, 405, is_post ? "this wants GET" : "this wants POST");
	else
		json_fail(reply, 404, is_behind_other_door(&x->request) ?
			  "this is for the control socket" : "nothing is here");
	return route ? NULL : allow;
}

/* --- the reply --------------------------------------------------------------------------- */

/* A stream on its way; what the client has not taken yet is in `ahead`. */
struct flow {
	struct http *http;
	struct http_stream stream;
	struct buf ahead;
	bool is_over;			/* that was all */
};

static ssize_t on_flow(void *cls, uint64_t position, char *to, size_t max)
{
	struct flow *f = cls;
	(void)position;

	while (f->ahead.n == 0) {
		if (http_is_stopping(f->http))
			return MHD_CONTENT_READER_END_WITH_ERROR;
		if (f->is_over)
			return MHD_CONTENT_READER_END_OF_STREAM;
		f->is_over = !f->stream.more(f->stream.ctx, &f->ahead);
	}

	size_t n = f->ahead.n < max ? f->ahead.n : max;
	memcpy(to, f->ahead.p, n);
	buf_drop(&f->ahead, n);
	return (ssize_t)n;
}

static void on_flow_over(void *cls)
{
	struct flow *f = cls;

	f->stream.done(f->stream.ctx);
	buf_done(&f->ahead);
	free(f);
}

static struct MHD_Response *response_of(struct http *h, struct http_reply *reply)
{
	if (reply->stream.more) {
		struct flow *f = must_calloc(1, sizeof *f);

		*f = (struct flow){ .http = h, .stream = reply->stream };
		return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 32 << 10, on_flow, f,
							 on_flow_over);
	}
	return MHD_create_response_from_buffer(reply->body.n, reply->body.p,
					       MHD_RESPMEM_MUST_COPY);
}

static enum MHD_Result send_reply(struct http *h, struct MHD_Connection *connection,
				  struct http_reply *reply, const char *allow)
{
	const char *const headers[][2] = {
		{ MHD_HTTP_HEADER_CONTENT_TYPE, reply->type },
		{ MHD_HTTP_HEADER_CACHE_CONTROL, "no-store" },
		{ "Content-Security-Policy", reply->policy ? reply->policy : NO_POLICY },
		{ "X-Content-Type-Options", "nosniff" },
		{ "X-Frame-Options", "DENY" },
		{ "Referrer-Policy", "no-referrer" },
		{ "Cross-Origin-Resource-Policy", "same-origin" },
		{ MHD_HTTP_HEADER_ALLOW, allow },
	};
	struct MHD_Response *response = response_of(h, reply);

	if (!response)
		return MHD_NO;
	for (size_t i = 0; i < sizeof headers / sizeof *headers; i++)
		if (headers[i][1])
			MHD_add_response_header(response, headers[i][0], headers[i][1]);
	atomic_fetch_add_explicit(&n_answered[reply->status / 100 % HTTP_CLASSES], 1,
				  memory_order_relaxed);
	if (reply->stream.more)
		MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT,
					  h->limits->stream_timeout);
	enum MHD_Result sent = MHD_queue_response(connection, reply->status, response);
	MHD_destroy_response(response);
	return sent;
}

/* --- what libmicrohttpd calls, on the connection's thread -------------------------------- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
	struct exchange *x = must_calloc(1, sizeof *x);
	struct http *h = cls;
	(void)connection;

	x->uri = must_strdup(uri);
	x->request = (struct http_request){ .admin = h->admin, .http = h, .door = h->door };
	return x;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *data_n, void **state)
{
	struct exchange *x = *state;
	struct http *h = cls;
	struct http_reply reply = { .status = 200, .type = HTTP_JSON };
	(void)url;
	(void)version;
	(void)data;

	if (!x->is_begun) {	/* the headers are here; what follows is its body, if any */
		x->is_begun = true;
		return MHD_YES;
	}
	if (*data_n) {
		x->body += *data_n;
		*data_n = 0;
		return x->body > BODY_MAX ? MHD_NO : MHD_YES;
	}

	x->is_open = true;
	atomic_fetch_add_explicit(&h->n_open, 1, memory_order_relaxed);
	const union MHD_ConnectionInfo *info =
		MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	x->request.fd = info ? info->connect_fd : -1;
	const char *host = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
	const char *allow = answer(x, method, host, &reply);
	enum MHD_Result sent = send_reply(h, connection, &reply, allow);
	buf_done(&reply.body);
	return sent;
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode why)
{
	struct exchange *x = *state;
	struct http *h = cls;
	(void)connection;
	(void)why;

	if (!x)
		return;
	if (x->is_open)
		atomic_fetch_sub_explicit(&h->n_open, 1, memory_order_relaxed);
	buf_done(&x->decoded);
	free(x->uri);
	free(x);
	*state = NULL;
}

/* --- life -------------------------------------------------------------------------------- */

static struct MHD_Daemon *start(struct http *h, int fd)
{
	const struct http_limits *l = h->limits;
	sigset_t all, before;

	/* Signals are the main thread's, and threads inherit what is blocked here. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	/* With MHD_USE_ITC a stop never shuts the socket down, which other processes may share. */
	struct MHD_Daemon *daemon = MHD_start_daemon(
		MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
			MHD_USE_ITC,
		0, NULL, NULL, on_request, h, MHD_OPTION_LISTEN_SOCKET, fd,
		MHD_OPTION_CONNECTION_LIMIT, l->connections, MHD_OPTION_PER_IP_CONNECTION_LIMIT,
		l->per_address, MHD_OPTION_CONNECTION_TIMEOUT, l->idle_timeout,
		MHD_OPTION_CONNECTION_MEMORY_LIMIT, MEMORY_BYTES, MHD_OPTION_THREAD_STACK_SIZE,
		STACK_BYTES, MHD_OPTION_URI_LOG_CALLBACK, on_uri, h,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_END);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return daemon;
}

struct http *http_start(struct admin *admin, enum http_door door, int fd,
			const struct http_limits *limits, struct buf *ret_why)
{
	struct http *h = must_calloc(1, sizeof *h);
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);

	*h = (struct http){ .admin = admin, .door = door, .limits = limits };
	if (own >= 0)
		h->daemon = start(h, own);
	if (h->daemon)
		return h;
	buf_printf(ret_why, "cannot serve HTTP: %s", strerror(errno));
	if (own >= 0)
		close(own);
	free(h);
	return NULL;
}

bool http_is_stopping(const struct http *h)
{
	return atomic_load_explicit(&h->is_stopping, memory_order_relaxed);
}

static void on_gone(struct message *message)
{
	struct http *h = (struct http *)((char *)message - offsetof(struct http, message));

	if (h->has_closer)
		pthread_join(h->closer, NULL);
	h->on_gone(h->user);
	free(h);
}

static void *close_all(void *arg)
{
	struct http *h = arg;
	uint64_t end = clock_msec() + LAST_WORDS_MSEC;
	int fd = MHD_quiesce_daemon(h->daemon);

	while (atomic_load_explicit(&h->n_open, memory_order_relaxed) && clock_msec() < end)
		poll(NULL, 0, TICK_MSEC);
	MHD_stop_daemon(h->daemon);
	if (fd >= 0)
		close(fd);
	loop_post(h->loop, &h->message);
	return NULL;
}

void http_stop(struct http *h, struct loop *loop, void (*gone)(void *user), void *user)
{
	sigset_t all, before;

	atomic_store_explicit(&h->is_stopping, true, memory_order_relaxed);
	h->message.run = on_gone;
	h->loop = loop;
	h->on_gone = gone;
	h->user = user;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	h->has_closer = pthread_create(&h->closer, NULL, close_all, h) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!h->has_closer)
		close_all(h);
}

const char *http_version(void)
{
	static char version[40];

	snprintf(version, sizeof version, "libmicrohttpd %s", MHD_get_version());
	return version;
}

/* http.h - the administrator's doors: HTTP requests to handlers, replies to HTTP. Threads of its own. */
#ifndef DAEMON_HTTP_H
#define DAEMON_HTTP_H

#include "base/buf.h"
#include "engine/loop.h"

/*
 * Each listening socket is served by libmicrohttpd (0.9.75) with a thread of its own and one more
 * for each connection: a handler that waits for a stalled loop or a slow directory holds up
 * nobody, /livez least of all. Threads read atomics only, and ask loops for all else
 * (inquiry.h).
 */

/* Which kind of socket a request came by, as bits. */
enum http_door {
	HTTP_PUBLIC = 1,	/* a listener with protocol = "http": answers, changes nothing */
	HTTP_CONTROL = 2,	/* protocol = "control": for those whom peer.h lets in */
};

struct admin;
struct http;

/* What a client asks. All texts are decoded, hold no NUL, and die with the request. */
struct http_request {
	struct admin *admin;	/* what handlers may ask of the server: admin.h */
	struct http *http;
	enum http_door door;
	int fd;			/* of the connection: peer.h */
	struct text path;	/* "/v1/maps/transport_maps" */
	struct text rest;	/* of the path, behind a route that ends in '/'; else empty */
	struct http_argument {
		struct text name, value;
	} *arguments;		/* of the query, in order; "+" is a plus: addresses have them */
	size_t n_arguments;
};

/* Is there an argument of that name? Its value, the first one's. */
bool http_argument(const struct http_request *r, const char *name, struct text *ret_value);

/*
 * A body of unknown length. Called on the connection's thread until it says false or the
 * client is gone; then done(ctx), once, in any case.
 *
 * more    append what there is next to `out`, which is empty. It may wait for it, but no longer than a
 *         second at a time; true with nothing appended is "ask again".
 */
struct http_stream {
	bool (*more)(void *ctx, struct buf *out);
	void (*done)(void *ctx);
	void *ctx;
};

#define HTTP_JSON "application/json"	/* RFC 8259 11: it is UTF-8 and has no charset */
#define HTTP_NDJSON "application/x-ndjson"
#define HTTP_TEXT "text/plain; charset=utf-8"
#define HTTP_HTML "text/html; charset=utf-8"

/* What it gets. A handler finds 200, HTTP_JSON and an empty body. */
struct http_reply {
	unsigned status;
	const char *type;		/* a literal */
	const char *policy;		/* Content-Security-Policy, static; NULL: nothing is allowed */
	struct buf body;		/* freed by the caller */
	struct http_stream stream;	/* `more` not NULL: instead of the body */
};

/* One thing that can be asked. */
struct http_route {
	const char *path;	/* the whole, or with '/' at its end whatever begins so */
	bool is_post;		/* else GET and HEAD */
	unsigned doors;		/* enum http_door, or-ed */
	void (*handle)(const struct http_request *request, struct http_reply *reply);
};

/* All of them: routes.c. The first that fits is taken. Ends with a NULL path. */
extern const struct http_route http_routes[];

/* Limits of one socket. Nothing here is big: reliability.md 5. */
struct http_limits {
	unsigned connections, per_address;
	unsigned idle_timeout;		/* seconds without a byte */
	unsigned stream_timeout;	/* the same from the first stream on; 0: there are none */
	/* May who is connected to `fd` ask? NULL: everybody may. Else 403. */
	bool (*may)(struct admin *admin, int fd);
};
extern const struct http_limits http_public_limits, http_control_limits;

/*
 * Serve a listening socket, of which a duplicate is taken. NULL, with a reason, when that fails.
 * From any loop's thread.
 */
struct http *http_start(struct admin *admin, enum http_door door, int fd,
			const struct http_limits *limits, struct buf *ret_why);

/*
 * Accept nobody from now on and end what is running, in a thread of its own, since handlers may be
 * waiting for the caller's loop: streams at once, replies when they are sent, or after two seconds.
 * Then `h` is freed and on_gone(user) called, on `loop`.
 */
void http_stop(struct http *h, struct loop *loop, void (*on_gone)(void *user), void *user);

/* Has http_stop() been called? Streams end then. Any thread. */
bool http_is_stopping(const struct http *h);

/* Requests answered so far by all sockets, by the first digit of the status. Any thread. */
#define HTTP_CLASSES 6
void http_counts(unsigned long long ret[static HTTP_CLASSES]);

/* "libmicrohttpd 0.9.75", for --version. */
const char *http_version(void);

#endif

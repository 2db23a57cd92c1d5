/* client.h - HTTP to the server's control socket, with libcurl. */
#ifndef CTL_CLIENT_H
#define CTL_CLIENT_H

#include "base/buf.h"

#include <stdint.h>

enum method { GET, POST };

/* What became of a request. */
enum heard {
	HEARD,			/* there is a reply, whatever it says */
	HEARD_NOTHING,		/* reply->why says why not, and what to do */
	HEARD_INTERRUPT,	/* SIGINT or the like came first */
	HEARD_ENOUGH,		/* the one who takes the lines wants no more */
};

struct reply {
	unsigned status;	/* 200, ... */
	struct buf body;	/* of a stream only when the status is not 200 */
	struct buf why;		/* HEARD_NOTHING */
};
void reply_done(struct reply *r);

/* A reply longer than this is not believed, bytes; a line of a stream neither. */
#define REPLY_MAX ((size_t)256 << 20)
#define LINE_MAX_BYTES ((size_t)16 << 20)

struct client;

/* Talk to the unix socket at `path`, which is copied. Nothing is connected yet. */
struct client *client_new(const char *path);
void client_free(struct client *c);		/* NULL is fine */

/*
 * One request, and its whole reply within `msec`.
 *
 * path     with its query, encoded: client_encode()
 * ret      cleared first; reply_done() it in any case
 */
enum heard client_ask(struct client *c, enum method method, const char *path, uint64_t msec,
		      struct reply *ret);

/*
 * One request whose reply is a stream of lines. It may last as long as it likes, but is given up
 * after `msec` without a byte.
 *
 * on_line    is told each line, without its newline; false ends it
 */
enum heard client_stream(struct client *c, const char *path, uint64_t msec,
			 bool (*on_line)(void *ctx, struct text line), void *ctx,
			 struct reply *ret);

/* Append `t` so that it can stand in a path or in a query: RFC 3986 2.3. */
void client_encode(struct buf *out, struct text t);

/* The library and its version, for --version. */
const char *client_version(void);

#endif

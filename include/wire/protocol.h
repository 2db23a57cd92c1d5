/* protocol.h - what a client protocol is: bytes to request, answer to bytes. No I/O. */
#ifndef WIRE_PROTOCOL_H
#define WIRE_PROTOCOL_H

#include "base/buf.h"
#include "base/verdict.h"

/* What a client asks. Views. */
struct request {
	struct text map;	/* empty where the listener names the map (tcp_table) */
	struct text key;
};

enum parsed {
	PARSED,		/* one request taken */
	NEED_MORE,	/* call again with more bytes */
	MEANINGLESS,	/* well framed, but no request: one PERM reply, then go on */
	MALFORMED,	/* the stream is out of step: close, say nothing more */
};

/*
 * One protocol, constant. Adding one is adding a file with one of these.
 */
struct protocol {
	const char *name;		/* as in `protocol = "socketmap"` */
	size_t max_request;		/* default of the listener's max_request, bytes */
	bool names_map;			/* requests name their map */

	/*
	 * Take one request from the front of `in`.
	 *
	 * in          all bytes received and not yet used; any amount, cut anywhere
	 * max         longest request to accept; refused as soon as its length is known
	 * scratch     for decoding; ret_req may point into it
	 * ret_req     set on PARSED; dead once `in` or `scratch` changes
	 * ret_used    set on PARSED and MEANINGLESS: bytes of `in` that were taken
	 */
	enum parsed (*parse)(struct text in, size_t max, struct buf *scratch,
			     struct request *ret_req, size_t *ret_used);

	/*
	 * Append exactly one reply to `out`. An answer that the protocol cannot carry (too
	 * long, NUL, line break) becomes TEMP. Returns the verdict that was really sent.
	 */
	enum verdict (*reply)(struct answer answer, struct buf *out);
};

extern const struct protocol socketmap;		/* wire/socketmap.c */
extern const struct protocol tcp_table;		/* wire/tcp_table.c */

/* The protocol of that name, or NULL. */
const struct protocol *protocol_find(struct text name);

#endif

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
	MALFORMED,	/* out of step: close, say nothing */
	OVERLONG,	/* too long a request: close, say nothing */
};

#define REQUEST_EXTRA ((size_t)9)	/* most bytes a protocol puts around a request */

/* For counting. */
enum protocol_kind { PROTOCOL_SOCKETMAP, PROTOCOL_TCP_TABLE, PROTOCOLS };

/*
 * One protocol, constant. Adding one is adding a file with one of these.
 */
struct protocol {
	const char *name;		/* as in `protocol = "socketmap"` */
	enum protocol_kind kind;
	size_t max_request;		/* default of the listener's max_request, bytes */
	uint64_t idle_timeout;		/* default of the listener's idle_timeout, msec; 0: none */
	bool is_evictable;		/* its clients come back at no cost when they are closed */
	bool names_map;			/* requests name their map */

	/*
	 * Take one request from the front of `in`.
	 *
	 * in          all bytes received and not yet used; any amount, cut anywhere
	 * max         longest request to accept; refused as soon as its length is known:
	 *             max + REQUEST_EXTRA bytes are never answered with NEED_MORE
	 * scratch     for decoding; ret_req may point into it
	 * ret_req     set on PARSED; dead once `in` or `scratch` changes. The key is any
	 *             bytes or none, NUL included
	 * ret_used    set on PARSED and MEANINGLESS: bytes of `in` that were taken
	 */
	enum parsed (*parse)(struct text in, size_t max, struct buf *scratch,
			     struct request *ret_req, size_t *ret_used);

	/*
	 * Append exactly one reply to `out`. A value that the protocol cannot carry
	 * (empty, too long, with a NUL) becomes TEMP. Returns the verdict that was really
	 * sent. That values are UTF-8 is checked when they are loaded, not for each hit.
	 */
	enum verdict (*reply)(struct answer answer, struct buf *out);
};

#define REASON_MAX 200	/* bytes of a reason that are sent; Postfix logs as many */

/*
 * For codecs: `answer`, or TEMP in its place where the value is empty, holds a NUL
 * (Postfix cuts it off there) or is longer than `max_value`. The text of a TEMP or PERM
 * is made printable, cut and never empty, since it becomes a line of mail.log; it then
 * lies in `reason`. A NOTFOUND has no text.
 */
struct answer answer_sendable(struct answer answer, size_t max_value,
			      char reason[static REASON_MAX]);

/*
 * "<len>:<map> <key>,", split at the first blank: socketmap_table(5). Strict netstrings;
 * one without a map name or without a blank is MEANINGLESS.
 */
extern const struct protocol socketmap;		/* wire/socketmap.c */

/*
 * "get <key>\n" with %XX: tcp_table(5). A bare CR before the newline is dropped. Another
 * verb, bad %XX, a blank or control character that is not encoded, or no key is
 * MEANINGLESS. `max` counts the newline. 500 means "not found" to Postfix, so TEMP and
 * PERM are both 400.
 */
extern const struct protocol tcp_table;		/* wire/tcp_table.c */

/* In the order of their kinds. */
extern const struct protocol *const protocols[PROTOCOLS];

/* The protocol of that name, or NULL. */
const struct protocol *protocol_find(struct text name);

#endif

/*
 * frame.h - the messages between the server and its driver processes. Pure.
 * The protocol is described for people in man/socketmapd-driver.7.
 */
#ifndef WIRE_FRAME_H
#define WIRE_FRAME_H

#include "wire/protocol.h"

#define DRIVER_PROTOCOL_VERSION 1
#define FRAME_MAX ((size_t)1 << 20)	/* bytes of the longest message */

/*
 * A message is a netstring: a word, and after a blank the arguments, separated
 * by one blank; the last argument is the rest of the message, any bytes or none, the
 * others are not empty.
 */
enum frame_verb {
	/* server to driver */
	FRAME_HELLO,	/* hello VERSION NAME, both ways: source; program and library */
	FRAME_SOURCE,	/* source OPTION VALUE: one setting of it; all before `start` */
	FRAME_START,	/* start: settings are complete; the driver says hello */
	FRAME_TABLE,	/* table ID OPTION VALUE: one setting, before its first use */
	FRAME_FORGET,	/* forget ID: the table is gone; no reply */
	FRAME_LOOKUP,	/* lookup ID KEY: rows, then one end */
	FRAME_SCAN,	/* scan ID: rows, then one end */
	FRAME_CHANGED,	/* changed ID: values that differ when a scan would, then one end */
	FRAME_EXPLAIN,	/* explain ID KEY: as lookup, and the queries that it takes */
	FRAME_PING,	/* ping: one end */
	/* driver to server */
	FRAME_KEY,	/* key KEY: the values that follow belong to it (scan) */
	FRAME_VALUE,	/* value VALUE: one value, raw, before result_format */
	FRAME_UNTIL,	/* until TIME: Unix seconds when the next values end; 0: never (scan) */
	FRAME_FAIL,	/* fail: to look up this key ends in temp; counts as a value (scan) */
	FRAME_QUERY,	/* query TEXT: what is asked of the directory (explain); no row */
	FRAME_INFO,	/* info NAME VALUE: about the directory, before an end; no row */
	FRAME_DONE,	/* done N: definite success after N values, 0 for none */
	FRAME_TEMP,	/* temp REASON: this request failed; the next may not */
	FRAME_DOWN,	/* down REASON: the directory is out of reach; rest first */
	FRAME_VERBS
};

/* One message, taken apart. Views. Arguments that a verb lacks are empty. */
struct frame {
	enum frame_verb verb;
	struct text args[3];	/* in the order of the comments above */
};

/*
 * Take one message from the front of `in`. PARSED, NEED_MORE, or MALFORMED (no netstring,
 * over FRAME_MAX, unknown word, wrong number of arguments).
 */
enum parsed frame_parse(struct text in, struct frame *ret_frame, size_t *ret_used);

/*
 * Append one message. Only the last argument may be empty or hold blanks; those that the
 * verb lacks are empty.
 *
 * False, with `out` unchanged, when it would be over FRAME_MAX: the sender then owes its
 * peer another message in its place (`temp`, or TEMP to the client).
 */
bool frame_add(struct buf *out, enum frame_verb verb, struct text a, struct text b,
	       struct text c);

/*
 * Parse the number of FRAME_DONE or the version of FRAME_HELLO: digits without a leading
 * zero; false: not a number, or over UINT64_MAX.
 */
bool frame_number(struct text t, uint64_t *ret_number);

/* "lookup", "done", ... */
const char *frame_verb_name(enum frame_verb verb);

#endif

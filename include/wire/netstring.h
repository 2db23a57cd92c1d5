/* netstring.h - "<len>:<bytes>," strictly. Pure. */
#ifndef WIRE_NETSTRING_H
#define WIRE_NETSTRING_H

#include "wire/protocol.h"

#define NETSTRING_MAX ((size_t)9999999)	/* longest content, bytes: 7 digits */
#define NETSTRING_EXTRA ((size_t)9)	/* most bytes around it: 7 digits, ':' and ',' */

/*
 * Take one netstring from the front of `in`: decimal length without sign or leading
 * zeros, at most 7 digits, ':', that many bytes, ','.
 *
 * max          longest content to accept; OVERLONG as soon as the digits exceed it
 * ret_content  set on PARSED: a view into `in`
 * ret_used     set on PARSED: bytes taken
 *
 * PARSED, NEED_MORE, MALFORMED or OVERLONG. Looks at the length and the comma only, so that calling
 * it again for each byte that arrives costs the same each time.
 * Source: https://cr.yp.to/proto/netstrings.txt; stricter than Postfix
 * src/util/netstring.c, which takes leading zeros (reliability.md F72, F73, F75).
 */
enum parsed netstring_parse(struct text in, size_t max, struct text *ret_content,
			    size_t *ret_used);

/*
 * Append one netstring with the given content, in two parts for convenience; together at
 * most NETSTRING_MAX bytes.
 */
void netstring_add(struct buf *out, struct text head, struct text tail);

/* Append "<n>:" alone; the caller appends the `n` bytes and ','. n <= NETSTRING_MAX. */
void netstring_length(struct buf *out, size_t n);

#endif

/* units.h - durations and sizes as they stand in files: "30s", "16M". Pure. */
#ifndef DAEMON_UNITS_H
#define DAEMON_UNITS_H

#include "base/buf.h"

/*
 * Parse digits and one unit: ms, s, m, h, d, w; "0" needs none. False for anything
 * else, and for more than 2^63 msec. No sign, no blank, no fraction.
 */
bool duration_parse(struct text t, uint64_t *ret_msec);

/* Parse digits and at most one unit: K, M, G (1024-fold); without one, bytes. */
bool size_parse(struct text t, uint64_t *ret_bytes);

/* Append it in the largest unit that divides it; parses back to the same. */
void duration_print(struct buf *out, uint64_t msec);
void size_print(struct buf *out, uint64_t bytes);

/* Parse decimal digits, nothing else; false over 2^63. */
bool count_parse(struct text t, uint64_t *ret_count);

#endif

/* nearest.h - "did you mean": the known name that is closest to an unknown one. Pure. */
#ifndef DAEMON_NEAREST_H
#define DAEMON_NEAREST_H

#include "base/buf.h"

/* A search in progress; `{ .name = ... }` starts one. All views. */
struct nearest {
	struct text name;	/* what nobody knows */
	const char *best;	/* the closest candidate so far, or NULL */
	unsigned distance;	/* letters more, less, other, or two swapped */
};

/* Consider a known name. */
void nearest_try(struct nearest *n, const char *candidate);

/* Append `; did you mean "x"?` when some candidate is as close as a typing error. */
void nearest_hint(const struct nearest *n, struct buf *out);

#endif

/* timed.h - values that end, inside the joined values of a mirror. Pure. */
#ifndef STORE_TIMED_H
#define STORE_TIMED_H

#include "base/buf.h"
#include "store/mirror.h"

/*
 * A mirror joins the values of a key with ','. No value holds a NUL, so one that ends is
 * written as NUL, TIME (8 bytes, low ones first: Unix seconds), VALUE, NUL, and is known
 * among the others, which may hold commas. Whoever reads a mirror's text sees the ones that
 * live; nothing else of this is ever shown.
 */

/* Append a value that ends at `until`, in that form. */
void timed_add(struct buf *out, uint64_t until, struct text value);

/* Does any value in a mirror's text end? */
static inline bool timed_is(struct text joined)
{
	return text_chr(joined, '\0') != NULL;
}

/*
 * A mirror's text as it is at `now`, Unix seconds: the values that live, joined. A value is
 * gone from its time on.
 *
 * joined     in: a text for which timed_is(), any bytes; out, on MIRROR_HIT: in `scratch`
 *
 * MIRROR_ABSENT when all are gone, MIRROR_BAD when it is no such text.
 */
enum mirror_says timed_read(struct text *joined, uint64_t now, struct buf *scratch);

/* Of one value, whether it ends or not: the value itself. */
struct text timed_value(struct text item);

/* Let a value end as late as another one does; one that never ends stays as it is. */
void timed_extend(char *item, struct text other);

#endif

/* conceal.h - takes a lookup key out of what a directory says about a failed lookup. */
#ifndef BASE_CONCEAL_H
#define BASE_CONCEAL_H

#include "base/buf.h"

/*
 * Append `why` with "[key]" wherever the key stands in it, as a whole or as a word of its local
 * part: such words are what templates make of %s and %u, however they are escaped, and servers
 * like to repeat them ("Unknown column 'joe' in 'WHERE'"). ASCII letters match in both cases. Of a
 * domain only the whole matches, and not inside of a host's name: both stand in messages
 * that must be read.
 */
void conceal(struct buf *out, struct text why, struct text key);

#endif

/* until.h - when rows of an SQL database end: the column that expiry_column names. */
#ifndef DRIVER_UNTIL_H
#define DRIVER_UNTIL_H

#include "base/buf.h"

#include <stdint.h>

/*
 * Parse the column of one row: Unix seconds in decimal, a fraction is cut off. Nothing, as for
 * NULL, and 0 are never. False for anything else: other text, a date like 20301231, which is
 * a number of 1970, or milliseconds, which are a year that nobody means.
 */
bool until_parse(struct text column, uint64_t *ret_until);

/*
 * Why a scan is given up, and what to write instead: `name` is the column, `function` makes
 * seconds of it, with a @ for the name. `is_there`: it holds no seconds; else it is missing.
 */
void until_refuse(struct buf *ret_why, const char *name, const char *function, bool is_there);

#endif

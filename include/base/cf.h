/* cf.h - Postfix table files: the x.cf of sqlite:x.cf, mysql:x.cf, ldap:x.cf. */
#ifndef BASE_CF_H
#define BASE_CF_H

#include "base/buf.h"

/* One `name = value`; the last of equal names counts. */
struct cf_entry {
	char *name;
	char *value;
	unsigned line;		/* where it begins, for messages */
};

struct cf {
	struct cf_entry *entries;	/* in the order of the file, names unique */
	size_t n;
};

/*
 * Parse the text of a table file. False with "line N: reason" appended to `ret_why` on a
 * line without '='; `ret` is empty then. The caller frees it with cf_done().
 *
 * Continuation lines, comments in the middle of them, '#' inside values, repeated names: as
 * Postfix src/util/readllines.c, dict.c; postfix-tables.md 11.
 */
bool cf_parse(struct text file, struct cf *ret, struct buf *ret_why);

/* Read and parse the file `path`, up to 1 MiB; the reason names the path. */
bool cf_read(const char *path, struct cf *ret, struct buf *ret_why);

/* The value of `name`, or NULL. */
const char *cf_get(const struct cf *cf, const char *name);

void cf_done(struct cf *cf);

#endif

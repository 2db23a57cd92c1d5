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
 * Take the next logical line off the front of a Postfix text file: a line and the lines
 * after it that start with white space, joined without their line breaks. Empty lines and
 * comments are dropped, also in the middle of a continued line.
 *
 * rest       in: the text; out: what is left of it
 * lineno     in: how many lines were taken before; out: the same after
 * line       set to the logical line, never empty; starts with white space when nothing
 *            stands before the first line for it to continue
 * ret_first  set to the number of its first line
 *
 * False at the end of the text. Source: Postfix src/util/readlline.c.
 */
bool cf_next_line(struct text *rest, unsigned *lineno, struct buf *line,
		  unsigned *ret_first);

/*
 * Parse the text of a table file. False with "line N: reason" appended to `ret_why` on a
 * line without '=' or a name, a NUL, or a first line that starts with white space; `ret`
 * is empty then. The caller frees it with cf_done().
 *
 * Continuation lines, comments in the middle of them, '#' inside values, repeated names:
 * as Postfix src/util/readllines.c, dict.c; postfix-tables.md 11.
 */
bool cf_parse(struct text file, struct cf *ret, struct buf *ret_why);

/* Read and parse the file `path`, up to 1 MiB; the reason names the path. */
bool cf_read(const char *path, struct cf *ret, struct buf *ret_why);

/* The entry, or the value, of `name`; or NULL. */
const struct cf_entry *cf_find(const struct cf *cf, const char *name);
const char *cf_get(const struct cf *cf, const char *name);

/*
 * Give `name` this value, where it stands, or else at the end, as if in line 1; take it out.
 * `value` may not be part of `cf`.
 */
void cf_set(struct cf *cf, const char *name, const char *value);
void cf_drop(struct cf *cf, const char *name);

void cf_done(struct cf *cf);

#endif

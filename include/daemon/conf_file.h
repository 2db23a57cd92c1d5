/* conf_file.h - configuration files: read, checked beyond libconfig, made into trees. */
#ifndef DAEMON_CONF_FILE_H
#define DAEMON_CONF_FILE_H

#include "daemon/node.h"

/* Where a run of lines of a conf_text came from. */
struct span {
	unsigned first;		/* its first line in the whole text */
	char *file;
	unsigned line;		/* what that line is called there */
};

/*
 * The text of a file with its `@include "file"` lines replaced by those files, which are
 * found from the directory of the file that includes them. All zeroes is empty;
 * conf_text_done() frees it.
 */
struct conf_text {
	struct buf text;
	struct span *spans;	/* in order of `first` */
	size_t n_spans;
};

/*
 * Read the file `path`, or take `text` as if it stood there. False with "FILE:LINE:
 * reason\n" for what libconfig 1.5 takes and makes something else of: NUL bytes, `\x00`,
 * strings and comments that never end; and for text that is not UTF-8. Integers over 31
 * bits, which it wraps, become floats.
 */
bool conf_text_read(struct conf_text *t, const char *path, struct buf *ret_why);
bool conf_text_take(struct conf_text *t, const char *path, struct text text,
		    struct buf *ret_why);

/* Where line `line` of the whole text stands. */
const struct span *conf_text_span(const struct conf_text *t, unsigned line);

void conf_text_done(struct conf_text *t);

/*
 * Parse the text of a file. False with one "FILE:LINE: reason\n" on a syntax error (the
 * parser stops at the first). The caller frees `ret_root`, a group, with node_done().
 */
bool conf_file_parse(const struct conf_text *t, struct node *ret_root,
		     struct buf *ret_why);

#endif

/* columns.h - a table for people: aligned columns under their heads. */
#ifndef CTL_COLUMNS_H
#define CTL_COLUMNS_H

#include "ctl/show.h"

#define COLUMNS_MAX 16

struct column {
	const char *head;
	bool is_number;			/* to the right */
};

/* All zeroes but `columns` is an empty table. Freed by columns_done(). */
struct columns {
	const struct column *columns;	/* ends with a NULL head */
	struct cell {
		struct buf text;	/* safe for terminals */
		size_t width;
		enum colour colour;
	} *cells;			/* row by row */
	size_t n_cells;
};

/*
 * The next cell, row by row, to be filled by the caller with safe text only. Valid until the
 * next one is asked for.
 */
struct buf *columns_cell(struct columns *t, enum colour colour);

/* The same, filled with any text; a missing one is "-". */
void columns_text(struct columns *t, enum colour colour, struct text any);

/*
 * Append the table. Lines are cut to `width` columns, 0: never. No more than `rows` lines below
 * the head, the last of which says how many are left out; 0: all.
 */
void columns_print(struct columns *t, struct buf *out, size_t width, size_t rows);

void columns_done(struct columns *t);

#endif

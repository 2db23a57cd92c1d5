#include "ctl/columns.h"

#include "base/must.h"

#include <stdlib.h>

#define GAP 2

static size_t n_columns(const struct columns *t)
{
	size_t n = 0;

	while (t->columns[n].head)
		n++;
	return n;
}

struct buf *columns_cell(struct columns *t, enum colour colour)
{
	t->cells = must(reallocarray(t->cells, t->n_cells + 1, sizeof *t->cells));
	t->cells[t->n_cells] = (struct cell){ .colour = colour };
	return &t->cells[t->n_cells++].text;
}

void columns_text(struct columns *t, enum colour colour, struct text any)
{
	show_text(columns_cell(t, colour), any.p ? any : TEXT("-"));
}

/* As much of `t` as fits in `width`; what that takes. */
static struct text cut(struct text t, size_t width, size_t *ret_width)
{
	size_t n = 0, used = 0;

	while (n < t.n) {
		size_t more = 1;

		while (n + more < t.n && ((unsigned char)t.p[n + more] & 0xc0) == 0x80)
			more++;		/* the rest of a character of UTF-8 */
		size_t w = show_width((struct text){ t.p + n, more });
		if (used + w > width)
			break;
		n += more;
		used += w;
	}
	*ret_width = used;
	return (struct text){ t.p, n };
}

/* A line as it grows. */
struct line {
	struct buf *out;
	size_t used, width;		/* columns; 0: no limit */
	size_t owed;			/* blanks before whatever comes next: none end a line */
};

static void put(struct line *l, const struct column *column, size_t wide, struct text t,
		enum colour colour)
{
	size_t w = show_width(t), left = column->is_number && wide > w ? wide - w : 0;
	size_t blanks = l->owed + left;

	if (l->width) {
		size_t room = l->width - l->used;

		blanks = blanks < room ? blanks : room;
		if (w > room - blanks)
			t = cut(t, room - blanks, &w);
	}
	if (t.n) {
		buf_printf(l->out, "%*s", (int)blanks, "");
		show_coloured(l->out, colour, t);
		l->used += blanks + w;
		l->owed = 0;
	} else {
		l->owed = blanks;
	}
	l->owed += GAP + (column->is_number || wide < w ? 0 : wide - w);
}

void columns_print(struct columns *t, struct buf *out, size_t width, size_t rows)
{
	size_t n = n_columns(t), n_rows = t->n_cells / n, shown = n_rows;
	size_t wide[COLUMNS_MAX];

	for (size_t c = 0; c < n; c++)
		wide[c] = show_width(text_of(t->columns[c].head));
	for (size_t i = 0; i < n_rows * n; i++) {
		t->cells[i].width = show_width(buf_view(&t->cells[i].text));
		if (t->cells[i].width > wide[i % n])
			wide[i % n] = t->cells[i].width;
	}
	if (rows && n_rows > rows)
		shown = rows - 1;

	struct line head = { .out = out, .width = width };
	for (size_t c = 0; c < n; c++)
		put(&head, &t->columns[c], wide[c], text_of(t->columns[c].head), BOLD);
	buf_byte(out, '\n');
	for (size_t r = 0; r < shown; r++) {
		struct line line = { .out = out, .width = width };

		for (size_t c = 0; c < n; c++) {
			struct cell *cell = &t->cells[r * n + c];

			put(&line, &t->columns[c], wide[c], buf_view(&cell->text), cell->colour);
		}
		buf_byte(out, '\n');
	}
	if (shown < n_rows)
		buf_printf(out, "... and %zu more\n", n_rows - shown);
}

void columns_done(struct columns *t)
{
	for (size_t i = 0; i < t->n_cells; i++)
		buf_done(&t->cells[i].text);
	free(t->cells);
	t->cells = NULL;
	t->n_cells = 0;
}

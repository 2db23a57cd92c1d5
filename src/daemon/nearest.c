#include "daemon/nearest.h"

#define NAME_MAX_BYTES 64

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Optimal string alignment distance; both at most NAME_MAX_BYTES long. */
static unsigned distance(struct text a, struct text b)
{
	unsigned rows[3][NAME_MAX_BYTES + 1];

	for (size_t j = 0; j <= b.n; j++)
		rows[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *row = rows[i % 3], *above = rows[(i + 2) % 3],
			 *above2 = rows[(i + 1) % 3];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			bool is_same = a.p[i - 1] == b.p[j - 1];

			row[j] = least(above[j - 1] + !is_same,
				       least(above[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a.p[i - 1] == b.p[j - 2] &&
			    a.p[i - 2] == b.p[j - 1])
				row[j] = least(row[j], above2[j - 2] + 1);
		}
	}
	return rows[a.n % 3][b.n];
}

void nearest_try(struct nearest *n, const char *candidate)
{
	struct text c = text_of(candidate);

	if (n->name.n > NAME_MAX_BYTES || c.n > NAME_MAX_BYTES)
		return;

	unsigned d = distance(n->name, c);
	if (!n->best || d < n->distance) {
		n->best = candidate;
		n->distance = d;
	}
}

void nearest_hint(const struct nearest *n, struct buf *out)
{
	if (n->best && n->distance <= 1 + n->name.n / 4)
		buf_printf(out, "; did you mean \"%s\"?", n->best);
}

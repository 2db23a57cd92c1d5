#include "daemon/units.h"

#include <inttypes.h>

#define NUMBER_MAX (UINT64_C(1) << 63)

struct unit {
	const char *name;
	uint64_t factor;
};

/* From large to small, for printing. The last one is the number itself. */
static const struct unit durations[] = {
	{ "w", 7 * 24 * 3600 * 1000 }, { "d", 24 * 3600 * 1000 }, { "h", 3600 * 1000 },
	{ "m", 60 * 1000 },	       { "s", 1000 },		  { "ms", 1 },
	{ NULL, 0 },
};

static const struct unit sizes[] = {
	{ "G", 1 << 30 }, { "M", 1 << 20 }, { "K", 1 << 10 }, { "", 1 }, { NULL, 0 },
};

/* Take the digits off the front of `t`. */
static bool take_digits(struct text *t, uint64_t *ret_number)
{
	uint64_t n = 0;
	size_t i;

	for (i = 0; i < t->n && t->p[i] >= '0' && t->p[i] <= '9'; i++) {
		n = n * 10 + (uint64_t)(t->p[i] - '0');
		if (n > NUMBER_MAX / 10)
			return false;
	}
	*t = text_skip(*t, i);
	*ret_number = n;
	return i > 0;
}

static bool parse(const struct unit *units, struct text t, uint64_t *ret)
{
	uint64_t n;

	if (!take_digits(&t, &n))
		return false;
	for (const struct unit *u = units; u->name; u++)
		if (text_is(t, u->name) && n <= NUMBER_MAX / u->factor) {
			*ret = n * u->factor;
			return true;
		}
	return false;
}

static void print(const struct unit *units, struct buf *out, uint64_t n)
{
	while (n % units->factor)
		units++;
	buf_printf(out, "%" PRIu64 "%s", n / units->factor, units->name);
}

bool duration_parse(struct text t, uint64_t *ret_msec)
{
	if (text_is(t, "0")) {
		*ret_msec = 0;
		return true;
	}
	return parse(durations, t, ret_msec);
}

void duration_print(struct buf *out, uint64_t msec)
{
	if (msec == 0)
		buf_byte(out, '0');
	else
		print(durations, out, msec);
}

bool size_parse(struct text t, uint64_t *ret_bytes)
{
	return parse(sizes, t, ret_bytes);
}

void size_print(struct buf *out, uint64_t bytes)
{
	if (bytes == 0)
		buf_byte(out, '0');
	else
		print(sizes, out, bytes);
}

bool count_parse(struct text t, uint64_t *ret_count)
{
	uint64_t n;

	if (!take_digits(&t, &n) || t.n)
		return false;
	*ret_count = n;
	return true;
}

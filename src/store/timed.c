#include "store/timed.h"

#define TIME_BYTES 8
#define HEAD_BYTES (1 + TIME_BYTES)	/* the NUL and the time */

static void put_time(char *to, uint64_t seconds)
{
	for (int i = 0; i < TIME_BYTES; i++)
		to[i] = (char)(seconds >> 8 * i);
}

static uint64_t get_time(const char *p)
{
	uint64_t seconds = 0;

	for (int i = 0; i < TIME_BYTES; i++)
		seconds |= (uint64_t)(unsigned char)p[i] << 8 * i;
	return seconds;
}

void timed_add(struct buf *out, uint64_t until, struct text value)
{
	char *head = buf_room(out, HEAD_BYTES);

	head[0] = '\0';
	put_time(head + 1, until);
	out->n += HEAD_BYTES;
	buf_text(out, value);
	buf_byte(out, '\0');
}

static bool is_timed(struct text item)
{
	return item.n && item.p[0] == '\0';
}

struct text timed_value(struct text item)
{
	return is_timed(item) ? (struct text){ item.p + HEAD_BYTES, item.n - HEAD_BYTES - 1 }
			      : item;
}

void timed_extend(char *item, struct text other)
{
	uint64_t until = is_timed(other) ? get_time(other.p + 1) : UINT64_MAX;

	if (item[0] == '\0' && get_time(item + 1) < until)
		put_time(item + 1, until);
}

/*
 * Take what stands in front: a value that ends, or all values up to the next one that does.
 * False: malformed.
 */
static bool take(struct text *rest, struct text *ret_value, uint64_t *ret_until)
{
	const char *nul = text_chr(*rest, '\0');

	*ret_until = UINT64_MAX;
	*ret_value = *rest;
	if (is_timed(*rest)) {
		if (rest->n <= HEAD_BYTES)
			return false;
		*ret_until = get_time(rest->p + 1);
		*rest = text_skip(*rest, HEAD_BYTES);
		nul = text_chr(*rest, '\0');
		if (!nul)
			return false;
		*ret_value = text_before(*rest, nul);
		*rest = text_from(*rest, nul + 1);
		if (rest->n == 0)
			return ret_value->n > 0;
		if (rest->p[0] != ',')
			return false;
		*rest = text_skip(*rest, 1);
		return ret_value->n && rest->n;
	}
	if (!nul) {
		*rest = (struct text){ 0 };
		return true;
	}
	if (nul - rest->p < 2 || nul[-1] != ',')
		return false;
	*ret_value = text_before(*rest, nul - 1);
	*rest = text_from(*rest, nul);
	return true;
}

enum mirror_says timed_read(struct text *joined, uint64_t now, struct buf *scratch)
{
	struct text rest = *joined, value;
	uint64_t until;

	buf_clear(scratch);
	while (rest.n) {
		if (!take(&rest, &value, &until))
			return MIRROR_BAD;
		if (until <= now)
			continue;
		if (scratch->n)
			buf_byte(scratch, ',');
		buf_text(scratch, value);
	}
	*joined = buf_view(scratch);
	return joined->n ? MIRROR_HIT : MIRROR_ABSENT;
}

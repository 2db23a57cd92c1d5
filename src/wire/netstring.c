#include "wire/netstring.h"

#include <assert.h>

#define DIGITS_MAX 7

enum parsed netstring_parse(struct text in, size_t max, struct text *ret_content,
			    size_t *ret_used)
{
	size_t digits = 0, n = 0;

	for (; digits < in.n && in.p[digits] != ':'; digits++) {
		unsigned digit = (unsigned char)in.p[digits] - (unsigned)'0';

		if (digit > 9)
			return MALFORMED;
		if (digits == DIGITS_MAX)
			return OVERLONG;
		if (digits && n == 0)
			return MALFORMED;	/* a leading zero */
		n = 10 * n + digit;
		if (n > max)
			return OVERLONG;
	}
	if (digits == in.n)
		return NEED_MORE;
	if (digits == 0)
		return MALFORMED;

	struct text rest = text_skip(in, digits + 1);
	if (rest.n <= n)
		return NEED_MORE;
	if (rest.p[n] != ',')
		return MALFORMED;
	*ret_content = (struct text){ rest.p, n };
	*ret_used = digits + 1 + n + 1;
	return PARSED;
}

/* By hand: snprintf(3) would cost more than all else that is done for a hit. */
void netstring_length(struct buf *out, size_t n)
{
	char digits[DIGITS_MAX + 1];
	size_t i = DIGITS_MAX;

	assert(n <= NETSTRING_MAX);
	digits[i] = ':';
	do
		digits[--i] = (char)('0' + n % 10);
	while (n /= 10);
	buf_add(out, digits + i, sizeof digits - i);
}

void netstring_add(struct buf *out, struct text head, struct text tail)
{
	assert(head.n <= NETSTRING_MAX && tail.n <= NETSTRING_MAX - head.n);
	netstring_length(out, head.n + tail.n);
	buf_text(out, head);
	buf_text(out, tail);
	buf_byte(out, ',');
}

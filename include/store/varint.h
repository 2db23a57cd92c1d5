/* varint.h - lengths and times in few bytes: LEB128, seven bits a byte, low ones first. */
#ifndef STORE_VARINT_H
#define STORE_VARINT_H

#include "base/text.h"

#include <stdint.h>

#define VARINT_MAX 10		/* bytes of the longest */

static inline size_t varint_size(uint64_t n)
{
	size_t size = 1;

	while (n >>= 7)
		size++;
	return size;
}

/* Write at `to`, where there is room for varint_size(n) bytes; returns what is behind it. */
static inline char *varint_put(char *to, uint64_t n)
{
	for (; n > 0x7f; n >>= 7)
		*to++ = (char)(n | 0x80);
	*to++ = (char)n;
	return to;
}

/*
 * Take one off the front of any bytes. False when they end before it does, when it is over
 * 64 bits, or when it is not as short as it could be, so that each number has one form.
 */
static inline bool varint_take(struct text *t, uint64_t *ret_n)
{
	uint64_t n = 0;

	for (size_t i = 0; i < t->n && i < VARINT_MAX; i++) {
		unsigned char c = (unsigned char)t->p[i];

		if (i == VARINT_MAX - 1 && c > 1)
			return false;
		n |= (uint64_t)(c & 0x7f) << (7 * i);
		if (!(c & 0x80)) {
			*ret_n = n;
			*t = text_skip(*t, i + 1);
			return c || i == 0;
		}
	}
	return false;
}

#endif

#include "base/fold.h"

#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>
#include <utf8proc.h>

/* Full case folding makes at most three code points of one (Unicode CaseFolding.txt, status F). */
#define FOLDED_MAX 4

static bool fold_char(utf8proc_int32_t c, struct buf *out)
{
	utf8proc_int32_t folded[FOLDED_MAX];
	int last_class = 0;
	utf8proc_ssize_t n = utf8proc_decompose_char(c, folded, FOLDED_MAX,
						     UTF8PROC_CASEFOLD, &last_class);

	if (n < 0 || n > FOLDED_MAX)
		return false;
	for (utf8proc_ssize_t i = 0; i < n; i++) {
		char *room = buf_room(out, 4);

		out->n += (size_t)utf8proc_encode_char(folded[i], (utf8proc_uint8_t *)room);
	}
	return true;
}

/* The same byte eight times. */
#define EIGHT(byte) (UINT64_C(0x0101010101010101) * (byte))

/* Eight ASCII bytes at once: no sum carries into the next byte, as all are below 0x80. */
static uint64_t fold_eight(uint64_t bytes)
{
	uint64_t from_a = bytes + EIGHT(0x80 - 'A'), behind_z = bytes + EIGHT(0x7f - 'Z');

	return bytes | ((from_a & ~behind_z & EIGHT(0x80)) >> 2);
}

/* Fold the ASCII bytes at the front of `t` into `to`; returns how many. Nearly all keys end here. */
static size_t fold_ascii(struct text t, char *to)
{
	size_t i = 0;
	uint64_t bytes;

	for (; i + sizeof bytes <= t.n; i += sizeof bytes) {
		memcpy(&bytes, t.p + i, sizeof bytes);
		if (bytes & EIGHT(0x80))
			break;
		bytes = fold_eight(bytes);
		memcpy(to + i, &bytes, sizeof bytes);
	}
	for (; i < t.n && (unsigned char)t.p[i] < 0x80; i++)
		to[i] = t.p[i] >= 'A' && t.p[i] <= 'Z' ? (char)(t.p[i] | 0x20) : t.p[i];
	return i;
}

bool fold(struct text t, struct buf *out)
{
	size_t before = out->n;
	size_t i = fold_ascii(t, buf_room(out, t.n));

	out->n += i;

	while (i < t.n) {
		utf8proc_int32_t c;
		utf8proc_ssize_t used = utf8proc_iterate(
			(const utf8proc_uint8_t *)t.p + i, (utf8proc_ssize_t)(t.n - i), &c);

		if (used <= 0 || !fold_char(c, out)) {
			out->n = before;
			return false;
		}
		i += (size_t)used;
	}
	return true;
}

bool fold_alike(struct text t, struct buf *out)
{
	const int options = UTF8PROC_COMPAT | UTF8PROC_DECOMPOSE | UTF8PROC_CASEFOLD |
			    UTF8PROC_IGNORE | UTF8PROC_STRIPCC | UTF8PROC_STRIPMARK;
	utf8proc_uint8_t *alike = NULL;
	utf8proc_ssize_t n = utf8proc_map((const utf8proc_uint8_t *)t.p, (utf8proc_ssize_t)t.n,
					  &alike, (utf8proc_option_t)options);

	if (n == UTF8PROC_ERROR_NOMEM)
		must(NULL);
	if (n >= 0)
		buf_add(out, alike, (size_t)n);
	free(alike);
	return n >= 0;
}

bool utf8_valid(struct text t)
{
	for (size_t i = 0; i < t.n;) {
		utf8proc_int32_t c;

		if ((unsigned char)t.p[i] < 0x80) {
			i++;
			continue;
		}

		utf8proc_ssize_t used = utf8proc_iterate(
			(const utf8proc_uint8_t *)t.p + i, (utf8proc_ssize_t)(t.n - i), &c);
		if (used <= 0)
			return false;
		i += (size_t)used;
	}
	return true;
}

const char *fold_version(void)
{
	static char version[32];

	if (!version[0])
		snprintf(version, sizeof version, "utf8proc %s", utf8proc_version());
	return version;
}

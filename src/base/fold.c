#include "base/fold.h"

#include <stdio.h>
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

bool fold(struct text t, struct buf *out)
{
	size_t before = out->n;
	char *to = buf_room(out, t.n);
	size_t i;

	for (i = 0; i < t.n && (unsigned char)t.p[i] < 0x80; i++)
		to[i] = t.p[i] >= 'A' && t.p[i] <= 'Z' ? (char)(t.p[i] | 0x20) : t.p[i];
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

#include "base/conceal.h"

#include <strings.h>

/* Shorter ones tell nobody's name, and are words of any message. */
#define WORD_MIN 2

static bool is_word(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       c == '_' || (unsigned char)c >= 0x80;
}

/* Does `rest` begin with `t`, and end with it or go on with what is no part of a word? */
static bool begins(struct text rest, struct text t)
{
	return t.n && rest.n >= t.n && strncasecmp(rest.p, t.p, t.n) == 0 &&
	       (rest.n == t.n || !is_word(rest.p[t.n]) || !is_word(t.p[t.n - 1]));
}

static size_t word_length(struct text t)
{
	size_t n = 0;

	while (n < t.n && is_word(t.p[n]))
		n++;
	return n;
}

/* How much of `rest` is a word of `local`; 0: it does not begin with one. */
static size_t match_word(struct text rest, struct text local)
{
	while (local.n) {
		struct text word = { local.p, word_length(local) };

		if (word.n >= WORD_MIN && begins(rest, word))
			return word.n;
		local = text_skip(local, word.n ? word.n : 1);
	}
	return 0;
}

/* What names a person: all before the last "@"; nothing of a domain. */
static struct text local_part(struct text key)
{
	for (size_t i = key.n; i-- > 0;)
		if (key.p[i] == '@')
			return (struct text){ key.p, i };
	return text_chr(key, '.') ? TEXT("") : key;
}

void conceal(struct buf *out, struct text why, struct text key)
{
	struct text local = local_part(key);
	char before = ' ';

	while (why.n) {
		bool is_start = !is_word(before);
		bool is_host = before == '.' || before == '-';
		size_t n = 0;

		if (is_start && !(is_host && !text_chr(key, '@')) && begins(why, key))
			n = key.n;
		else if (is_start)
			n = match_word(why, local);
		if (n)
			buf_str(out, "[key]");
		else
			buf_byte(out, why.p[0]);
		n = n ? n : 1;
		before = why.p[n - 1];
		why = text_skip(why, n);
	}
}

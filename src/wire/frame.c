#include "wire/frame.h"

#include "wire/netstring.h"

#include <assert.h>

#define ARGS_MAX 3

static const struct {
	const char *name;
	unsigned n_args;
} verbs[FRAME_VERBS] = {
	[FRAME_HELLO] = { "hello", 2 },
	[FRAME_SOURCE] = { "source", 2 },
	[FRAME_START] = { "start", 0 },
	[FRAME_TABLE] = { "table", 3 },
	[FRAME_FORGET] = { "forget", 1 },
	[FRAME_LOOKUP] = { "lookup", 2 },
	[FRAME_SCAN] = { "scan", 1 },
	[FRAME_CHANGED] = { "changed", 1 },
	[FRAME_EXPLAIN] = { "explain", 2 },
	[FRAME_PING] = { "ping", 0 },
	[FRAME_KEY] = { "key", 1 },
	[FRAME_VALUE] = { "value", 1 },
	[FRAME_UNTIL] = { "until", 1 },
	[FRAME_FAIL] = { "fail", 0 },
	[FRAME_QUERY] = { "query", 1 },
	[FRAME_INFO] = { "info", 2 },
	[FRAME_DONE] = { "done", 1 },
	[FRAME_TEMP] = { "temp", 1 },
	[FRAME_DOWN] = { "down", 1 },
};

const char *frame_verb_name(enum frame_verb verb)
{
	return verb < FRAME_VERBS ? verbs[verb].name : "unknown";
}

static bool find_verb(struct text word, enum frame_verb *ret_verb)
{
	for (enum frame_verb v = 0; v < FRAME_VERBS; v++)
		if (text_is(word, verbs[v].name)) {
			*ret_verb = v;
			return true;
		}
	return false;
}

/* Cut `*rest` at its first blank, which goes; false: there is none. */
static bool cut(struct text *rest, struct text *ret_word)
{
	const char *blank = text_chr(*rest, ' ');

	if (!blank)
		return false;
	*ret_word = text_before(*rest, blank);
	*rest = text_from(*rest, blank + 1);
	return true;
}

/* All arguments but the last end at a blank and are not empty. */
static bool take_args(struct text rest, unsigned n, struct text args[ARGS_MAX])
{
	for (unsigned i = 0; i + 1 < n; i++)
		if (!cut(&rest, &args[i]) || args[i].n == 0)
			return false;
	args[n - 1] = rest;
	return true;
}

enum parsed frame_parse(struct text in, struct frame *ret_frame, size_t *ret_used)
{
	struct frame frame = { 0 };
	struct text rest, word;
	size_t used;
	enum parsed parsed = netstring_parse(in, FRAME_MAX, &rest, &used);

	if (parsed != PARSED)
		return parsed == OVERLONG ? MALFORMED : parsed;

	bool has_args = cut(&rest, &word);
	if (!find_verb(has_args ? word : rest, &frame.verb))
		return MALFORMED;

	unsigned n = verbs[frame.verb].n_args;
	if (has_args != (n > 0))
		return MALFORMED;
	if (n && !take_args(rest, n, frame.args))
		return MALFORMED;
	*ret_frame = frame;
	*ret_used = used;
	return PARSED;
}

bool frame_add(struct buf *out, enum frame_verb verb, struct text a, struct text b,
	       struct text c)
{
	const struct text args[ARGS_MAX] = { a, b, c };
	unsigned n_args = verbs[verb].n_args;
	size_t n = strlen(verbs[verb].name);

	for (unsigned i = 0; i < n_args; i++) {
		assert(i + 1 == n_args || (args[i].n && !text_chr(args[i], ' ')));
		if (args[i].n > FRAME_MAX)
			return false;
		n += 1 + args[i].n;
	}
	if (n > FRAME_MAX)
		return false;

	netstring_length(out, n);
	buf_str(out, verbs[verb].name);
	for (unsigned i = 0; i < n_args; i++) {
		buf_byte(out, ' ');
		buf_text(out, args[i]);
	}
	buf_byte(out, ',');
	return true;
}

bool frame_number(struct text t, uint64_t *ret_number)
{
	uint64_t n = 0;

	if (t.n == 0 || (t.n > 1 && t.p[0] == '0'))
		return false;
	for (size_t i = 0; i < t.n; i++) {
		unsigned digit = (unsigned char)t.p[i] - (unsigned)'0';

		if (digit > 9 || __builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, digit, &n))
			return false;
	}
	*ret_number = n;
	return true;
}

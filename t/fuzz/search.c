/*
 * The walk over the keys of one lookup. Line 1: two characters for the kind and flags,
 * then the recipient_delimiter; line 2: the key; the rest: the value that every candidate
 * is found with.
 */
#include "fuzz/fuzz.h"

#include "base/fold.h"
#include "base/search.h"

static const struct text local_domains[] = { { "local.test", 10 }, { "d", 1 } };

static struct search_rules rules_of(struct text line)
{
	unsigned kind = line.n > 0 ? (unsigned char)line.p[0] : 0;
	unsigned flags = line.n > 1 ? (unsigned char)line.p[1] : 0;

	return (struct search_rules){
		.kind = (enum search_kind)(kind % SEARCH_KINDS),
		.parents = (enum parent_style)((flags >> 2) % 3),
		.recipient_delimiter = line.n > 2 ? text_skip(line, 2) : TEXT(""),
		.local_domains = local_domains,
		.n_local_domains = sizeof local_domains / sizeof *local_domains,
		.propagate = flags & 1,
		.owner_request_special = flags & 2,
	};
}

/* What the client gets for `value` under the current candidate. */
static void check_result(const struct search *s, struct text value, struct buf *log)
{
	struct buf out = { 0 };

	buf_byte(&out, 'x');
	if (search_result(s, value, &out)) {
		assert(out.n > 1 && out.p[0] == 'x');
		if (s->rules->kind != SEARCH_VIRTUAL)
			assert(text_eq(text_skip(buf_view(&out), 1), value));
		if (utf8_valid(value))
			assert(utf8_valid(buf_view(&out)));
		assert(!text_chr(value, '\0') == !text_chr(buf_view(&out), '\0') ||
		       s->rules->kind == SEARCH_VIRTUAL);
	} else {
		assert(out.n == 1 && s->rules->kind == SEARCH_VIRTUAL);
	}
	buf_text(log, buf_view(&out));
	buf_byte(log, '\n');
	buf_done(&out);
}

static void check_candidate(struct text key, struct text candidate)
{
	struct buf folded = { 0 };

	assert(candidate.n && utf8_valid(candidate));
	assert(fold(candidate, &folded));
	assert(text_eq(buf_view(&folded), candidate));
	assert(candidate.n <= 3 * key.n + 2); /* quotes, and no character folds to more */
	buf_done(&folded);
}

/* All candidates and their results. */
static void walk(struct search *s, const struct search_rules *rules, struct text key,
		 struct text value, struct buf *log)
{
	struct text candidate;
	size_t n = 0;

	if (!search_start(s, rules, key)) {
		assert(!utf8_valid(key));
		return;
	}
	assert(utf8_valid(key));
	while (search_next(s, &candidate)) {
		/* forms of an address, a bare user, and what each dot or colon ends */
		assert(++n <= 10 + fuzz_count(key, '.') + fuzz_count(key, ':'));
		check_candidate(key, candidate);
		buf_text(log, candidate);
		buf_byte(log, '\n');
		check_result(s, value, log);
	}
	assert(!search_next(s, &candidate));
	assert(key.n || n == 0);
	if (rules->kind == SEARCH_EXACT)
		assert(n == (key.n > 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct text first = fuzz_copy(fuzz_line(&in)), key = fuzz_copy(fuzz_line(&in));
	struct text value = fuzz_copy(in);
	struct search_rules rules = rules_of(first);
	struct search s = { 0 }, fresh = { 0 };
	struct buf log = { 0 }, again = { 0 };

	if (value.n == 0) {
		fuzz_free(value);
		value = fuzz_copy(TEXT("a@b, \"c d\"@e"));
	}
	walk(&s, &rules, key, value, &log);
	struct buf other = { 0 };
	walk(&s, &rules, value, key.n ? key : TEXT("x"), &other);
	walk(&s, &rules, key, value, &again);
	assert(text_eq(buf_view(&log), buf_view(&again)));
	buf_clear(&again);
	walk(&fresh, &rules, key, value, &again);
	assert(text_eq(buf_view(&log), buf_view(&again)));

	search_done(&s);
	search_done(&fresh);
	buf_done(&log);
	buf_done(&again);
	buf_done(&other);
	fuzz_free(first);
	fuzz_free(key);
	fuzz_free(value);
	return 0;
}

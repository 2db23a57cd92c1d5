#include "unit/test.h"

#include "wire/netstring.h"

#define MAX 20

static const struct {
	const char *in;
	enum parsed want;
	const char *content;
	size_t used;
} cases[] = {
	{ "", NEED_MORE, NULL, 0 },
	{ "0", NEED_MORE, NULL, 0 },
	{ "0:", NEED_MORE, NULL, 0 },
	{ "0:,", PARSED, "", 3 },
	{ "0:,0:,", PARSED, "", 3 },
	{ "3:t k,", PARSED, "t k", 6 },
	{ "3:t k,3:", PARSED, "t k", 6 },
	{ "3:,:,,", PARSED, ",:,", 6 },
	{ "20:01234567890123456789,", PARSED, "01234567890123456789", 24 },
	{ "20", NEED_MORE, NULL, 0 },
	{ "21", OVERLONG, NULL, 0 },			/* over MAX, before the colon */
	{ "99999999999:", OVERLONG, NULL, 0 },		/* F72 */
	{ "007:abcdefg,", MALFORMED, NULL, 0 },		/* F73 */
	{ "00", MALFORMED, NULL, 0 },
	{ "00:,", MALFORMED, NULL, 0 },
	{ "3:t kx", MALFORMED, NULL, 0 },		/* F75: no comma */
	{ "3:t k\n", MALFORMED, NULL, 0 },
	{ "-1:,", MALFORMED, NULL, 0 },
	{ "+1:a,", MALFORMED, NULL, 0 },
	{ " 1:a,", MALFORMED, NULL, 0 },
	{ "1 :a,", MALFORMED, NULL, 0 },
	{ "a:b,", MALFORMED, NULL, 0 },
	{ "1a:b,", MALFORMED, NULL, 0 },
	{ ":a,", MALFORMED, NULL, 0 },
	{ ",", MALFORMED, NULL, 0 },
	{ "get k\n", MALFORMED, NULL, 0 },
	{ "\377", MALFORMED, NULL, 0 },
	{ "/", MALFORMED, NULL, 0 },			/* the byte before '0' */
};

static enum parsed parse_copy(struct text in, size_t max, size_t *used)
{
	struct text copy = exact_copy(in), content;
	enum parsed parsed = netstring_parse(copy, max, &content, used);

	free((char *)copy.p);
	return parsed;
}

static void takes_exactly_one(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text copy = exact_copy(text_of(cases[i].in));
		struct text content = TEXT("untouched");
		size_t used = 0;

		enum parsed parsed = netstring_parse(copy, MAX, &content, &used);

		assert_int_equal(parsed, cases[i].want);
		assert_text(content, cases[i].content ? cases[i].content : "untouched");
		assert_int_equal(used, cases[i].used);
		free((char *)copy.p);
	}
}

/* The beginning of what parses needs more; what is refused at some byte stays so. */
static void decides_at_the_first_byte_that_tells(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text in = text_of(cases[i].in);
		enum parsed before = NEED_MORE;

		for (size_t n = 0; n <= in.n; n++) {
			struct text part = { in.p, n };
			size_t used = 0;
			enum parsed now = parse_copy(part, MAX, &used);

			if (before != NEED_MORE)
				assert_int_equal(now, before);
			if (cases[i].want == PARSED)
				assert_true((now == PARSED) == (n >= cases[i].used));
			before = now;
		}
		assert_int_equal(before, cases[i].want);
	}
}

static void seven_digits_are_the_most(void **state)
{
	size_t used;
	(void)state;

	assert_int_equal(parse_copy(TEXT("9999999"), SIZE_MAX, &used), NEED_MORE);
	assert_int_equal(parse_copy(TEXT("9999999:"), SIZE_MAX, &used), NEED_MORE);
	assert_int_equal(parse_copy(TEXT("10000000"), SIZE_MAX, &used), OVERLONG);
}

static void a_limit_of_zero_takes_the_empty_one_only(void **state)
{
	size_t used;
	(void)state;

	assert_int_equal(parse_copy(TEXT("0:,"), 0, &used), PARSED);
	assert_int_equal(parse_copy(TEXT("1"), 0, &used), OVERLONG);
}

static void what_is_added_can_be_taken(void **state)
{
	static const size_t sizes[] = {
		0, 1, 9, 10, 99, 100, 999, 1000, 100000, NETSTRING_MAX,
	};
	char *bytes = calloc(1, NETSTRING_MAX);
	(void)state;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i], half = n / 2, used = 0;
		struct text content;
		struct buf out = { 0 };
		enum parsed parsed;

		netstring_add(&out, (struct text){ bytes, half },
			      (struct text){ bytes + half, n - half });
		parsed = netstring_parse(buf_view(&out), n, &content, &used);
		assert_int_equal(parsed, PARSED);
		assert_int_equal(content.n, n);
		assert_int_equal(used, out.n);
		assert_true(out.n <= n + NETSTRING_EXTRA);
		buf_done(&out);
	}
	free(bytes);
}

static void adds_both_parts_behind_their_length(void **state)
{
	struct buf out = { 0 };
	(void)state;

	netstring_add(&out, TEXT("OK "), TEXT("v1 v2"));
	netstring_add(&out, TEXT("NOTFOUND "), TEXT(""));
	netstring_add(&out, TEXT(""), TEXT(""));
	assert_text(buf_view(&out), "8:OK v1 v2,9:NOTFOUND ,0:,");
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_exactly_one),
		cmocka_unit_test(decides_at_the_first_byte_that_tells),
		cmocka_unit_test(seven_digits_are_the_most),
		cmocka_unit_test(a_limit_of_zero_takes_the_empty_one_only),
		cmocka_unit_test(what_is_added_can_be_taken),
		cmocka_unit_test(adds_both_parts_behind_their_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

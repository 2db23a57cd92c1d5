#include "unit/test.h"

#include "wire/protocol.h"

#define VALUE_MAX 4091	/* postfix-client.md 3: 4096 with "200 " and the newline */

#define BYTES(literal) { literal, sizeof(literal) - 1 }

static const struct {
	struct text in;
	enum parsed want;
	struct text key;
	size_t used;
} cases[] = {
	/* captured from postmap(1) */
	{ BYTES("get k\n"), PARSED, BYTES("k"), 6 },
	{ BYTES("get space%20key\n"), PARSED, BYTES("space key"), 16 },
	{ BYTES("get J%C3%B6rg@mbox.test\n"), PARSED, BYTES("J\303\266rg@mbox.test"),
	  24 },
	{ BYTES("get \"q%20q\"@mbox.test\n"), PARSED, BYTES("\"q q\"@mbox.test"), 22 },
	{ BYTES("get 100%25\n"), PARSED, BYTES("100%"), 11 },
	{ BYTES("get \n"), PARSED, BYTES(""), 5 },
	/* one, and the beginning of another */
	{ BYTES("get a\nget b\n"), PARSED, BYTES("a"), 6 },
	{ BYTES("get a\n\n"), PARSED, BYTES("a"), 6 },
	/* other clients */
	{ BYTES("get %c3%bC\n"), PARSED, BYTES("\303\274"), 11 },
	{ BYTES("get k\r\n"), PARSED, BYTES("k"), 7 },
	{ BYTES("get \r\n"), PARSED, BYTES(""), 6 },
	{ BYTES("get k%0D%0a\n"), PARSED, BYTES("k\r\n"), 12 },
	{ BYTES("get \303\274\n"), PARSED, BYTES("\303\274"), 7 },
	{ BYTES("get a%00b\n"), PARSED, BYTES("a\0b"), 10 }, /* F79 */
	{ BYTES("get %2525\n"), PARSED, BYTES("%25"), 10 },
	/* F80: answered 400, and the stream goes on */
	{ BYTES("\n"), MEANINGLESS, BYTES(""), 1 },
	{ BYTES("\r\n"), MEANINGLESS, BYTES(""), 2 },
	{ BYTES("get\n"), MEANINGLESS, BYTES(""), 4 },
	{ BYTES("get\r\n"), MEANINGLESS, BYTES(""), 5 },
	{ BYTES("put k v\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("GET k\n"), MEANINGLESS, BYTES(""), 6 },
	{ BYTES("getk\n"), MEANINGLESS, BYTES(""), 5 },
	{ BYTES("get\tk\n"), MEANINGLESS, BYTES(""), 6 },
	{ BYTES(" get k\n"), MEANINGLESS, BYTES(""), 7 },
	{ BYTES("get %\n"), MEANINGLESS, BYTES(""), 6 },
	{ BYTES("get %4\n"), MEANINGLESS, BYTES(""), 7 },
	{ BYTES("get a%4\r\n"), MEANINGLESS, BYTES(""), 9 },
	{ BYTES("get %zz\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("get %4g\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("get %-1\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("get a b\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("get k \n"), MEANINGLESS, BYTES(""), 7 },
	{ BYTES("get  k\n"), MEANINGLESS, BYTES(""), 7 },
	{ BYTES("get a\0b\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("get a\rb\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("get a\177\n"), MEANINGLESS, BYTES(""), 7 },
	{ BYTES("get k\r\r\n"), MEANINGLESS, BYTES(""), 8 },
	{ BYTES("3:t k,\n"), MEANINGLESS, BYTES(""), 7 },
};

static void parses_each_case_at_every_split(void **state)
{
	struct buf scratch = { 0 };
	(void)state;

	buf_str(&scratch, "left over");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		for (size_t n = 0; n <= cases[i].in.n; n++) {
			struct text copy = exact_copy((struct text){ cases[i].in.p, n });
			struct request req = { 0 };
			size_t used = 0;
			enum parsed parsed =
				tcp_table.parse(copy, 100, &scratch, &req, &used);

			assert_int_equal(parsed,
					 n < cases[i].used ? NEED_MORE : cases[i].want);
			assert_int_equal(used, n < cases[i].used ? 0 : cases[i].used);
			if (parsed == PARSED) {
				assert_int_equal(req.map.n, 0);
				assert_true(text_eq(req.key, cases[i].key));
			}
			free((char *)copy.p);
		}
	buf_done(&scratch);
}

static void a_line_without_end_is_refused_at_the_limit(void **state)
{
	struct text in = TEXT("get 89\nget");
	struct buf scratch = { 0 };
	struct request req;
	size_t used;
	(void)state;

	for (size_t n = 0; n <= in.n; n++) {
		struct text copy = exact_copy((struct text){ in.p, n });

		assert_int_equal(tcp_table.parse(copy, 7, &scratch, &req, &used),
				 n < 7 ? NEED_MORE : PARSED);
		assert_int_equal(tcp_table.parse(copy, 6, &scratch, &req, &used),
				 n < 6 ? NEED_MORE : OVERLONG);
		free((char *)copy.p);
	}
	buf_done(&scratch);
}

static void assert_reply(struct answer answer, enum verdict sent, const char *wire)
{
	struct buf out = { 0 };

	buf_str(&out, "before");
	assert_int_equal(tcp_table.reply(answer, &out), sent);
	assert_text(text_skip(buf_view(&out), strlen("before")), wire);
	buf_done(&out);
}

static void says_what_postfix_reads(void **state)
{
	(void)state;
	assert_reply(answer_found(TEXT("v1 v2 100%")), FOUND, "200 v1%20v2%20100%25\n");
	assert_reply(answer_found(TEXT("!~\303\274\r\n\t\177")), FOUND,
		     "200 !~%C3%BC%0D%0A%09%7F\n");
	assert_reply(answer_absent(PROOF_DIRECTORY), NOTFOUND, "500 \n");
	assert_reply((struct answer){ .verdict = NOTFOUND, .value = TEXT("junk") }, NOTFOUND, "500 \n");
}

static void five_hundred_means_not_found_and_nothing_else(void **state)
{
	(void)state;
	assert_reply(answer_temp("no answer"), TEMP, "400 no%20answer\n");
	assert_reply(answer_perm("bad request"), PERM, "400 bad%20request\n");
	assert_reply(answer_temp(""), TEMP, "400 no%20reason%20given\n");
	assert_reply(answer_temp("50%\n\303\274"), TEMP, "400 50%25???\n");
	assert_reply((struct answer){ 0 }, TEMP, "400 no%20reason%20given\n");
	assert_reply((struct answer){ .verdict = VERDICTS, .value = TEXT("v") }, TEMP, "400 v\n");
}

static void what_would_be_cut_or_empty_is_400(void **state)
{
	(void)state;
	assert_reply((struct answer){ .verdict = FOUND, .value = TEXT("") }, TEMP, "400 empty%20value\n");
	assert_reply((struct answer){ .verdict = FOUND, .value = BYTES("a\0b") }, TEMP,
		     "400 value%20with%20a%20NUL\n");
}

static void the_encoded_line_is_what_counts(void **state)
{
	static const struct { char c; size_t n; enum verdict want; } sizes[] = {
		{ 'v', VALUE_MAX, FOUND },
		{ 'v', VALUE_MAX + 1, TEMP },
		{ 'v', 1000000, TEMP },
		{ ' ', VALUE_MAX / 3, FOUND },
		{ ' ', VALUE_MAX / 3 + 1, TEMP },
	};
	(void)state;

	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		size_t n = sizes[i].n;
		struct text value = { memset(malloc(n), sizes[i].c, n), n };
		struct buf out = { 0 };

		assert_int_equal(tcp_table.reply((struct answer){ .verdict = FOUND, .value = value }, &out),
				 sizes[i].want);
		assert_true(out.n <= 4096);
		if (sizes[i].want == TEMP)
			assert_text(buf_view(&out), "400 value%20too%20long\n");
		buf_done(&out);
		free((char *)value.p);
	}
}

static void what_is_encoded_can_be_decoded(void **state)
{
	char bytes[255];
	struct buf wire = { 0 }, scratch = { 0 };
	struct request req;
	size_t used;
	(void)state;

	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (char)(i + 1);
	tcp_table.reply((struct answer){ .verdict = FOUND, .value = { bytes, sizeof bytes } }, &wire);
	memcpy(wire.p, "get ", 4);
	assert_int_equal(tcp_table.parse(buf_view(&wire), 4096, &scratch, &req, &used),
			 PARSED);
	assert_true(text_eq(req.key, (struct text){ bytes, sizeof bytes }));
	buf_done(&wire);
	buf_done(&scratch);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_each_case_at_every_split),
		cmocka_unit_test(a_line_without_end_is_refused_at_the_limit),
		cmocka_unit_test(says_what_postfix_reads),
		cmocka_unit_test(five_hundred_means_not_found_and_nothing_else),
		cmocka_unit_test(what_would_be_cut_or_empty_is_400),
		cmocka_unit_test(the_encoded_line_is_what_counts),
		cmocka_unit_test(what_is_encoded_can_be_decoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

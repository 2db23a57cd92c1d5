#include "unit/test.h"

#include "wire/netstring.h"
#include "wire/protocol.h"

#define VALUE_MAX 99997	/* postfix-client.md 2.3: 100000 bytes with the "OK " */

#define BYTES(literal) { literal, sizeof(literal) - 1 }

static const struct {
	struct text in;
	enum parsed want;
	struct text map, key;
	size_t used;
} cases[] = {
	/* captured from postmap(1) */
	{ BYTES("3:t k,"), PARSED, BYTES("t"), BYTES("k"), 6 },
	{ BYTES("11:t space key,"), PARSED, BYTES("t"), BYTES("space key"), 15 },
	{ BYTES("17:t J\303\266rg@mbox.test,"), PARSED, BYTES("t"),
	  BYTES("J\303\266rg@mbox.test"), 21 },
	{ BYTES("2:t ,"), PARSED, BYTES("t"), BYTES(""), 5 },
	/* one, and the beginning of another */
	{ BYTES("3:t a,3:t b,"), PARSED, BYTES("t"), BYTES("a"), 6 },
	{ BYTES("3:t a,garbage"), PARSED, BYTES("t"), BYTES("a"), 6 },
	/* a key is any bytes (F78) */
	{ BYTES("4:t  k,"), PARSED, BYTES("t"), BYTES(" k"), 7 },
	{ BYTES("6:t k ,:,"), PARSED, BYTES("t"), BYTES("k ,:"), 9 },
	{ BYTES("7:t a\0b\n\377,"), PARSED, BYTES("t"), BYTES("a\0b\n\377"), 10 },
	{ BYTES("8:t \"a b\"@,"), PARSED, BYTES("t"), BYTES("\"a b\"@"), 11 },
	{ BYTES("5:\0\377 k\t,"), PARSED, BYTES("\0\377"), BYTES("k\t"), 8 },
	/* well framed, but no request (F74) */
	{ BYTES("0:,"), MEANINGLESS, BYTES(""), BYTES(""), 3 },
	{ BYTES("1: ,"), MEANINGLESS, BYTES(""), BYTES(""), 4 },
	{ BYTES("4: key,"), MEANINGLESS, BYTES(""), BYTES(""), 7 },
	{ BYTES("3:key,"), MEANINGLESS, BYTES(""), BYTES(""), 6 },
	{ BYTES("3:t\tk,"), MEANINGLESS, BYTES(""), BYTES(""), 6 },
	/* out of step (F72, F73, F75) */
	{ BYTES("99999999999:"), OVERLONG, BYTES(""), BYTES(""), 0 },
	{ BYTES("007:t abcde,"), MALFORMED, BYTES(""), BYTES(""), 0 },
	{ BYTES("-1:"), MALFORMED, BYTES(""), BYTES(""), 0 },
	{ BYTES("3:t kx"), MALFORMED, BYTES(""), BYTES(""), 0 },
	{ BYTES("GET / HTTP/1.1\r\n"), MALFORMED, BYTES(""), BYTES(""), 0 },
};

/* Parse a copy of `in`; the request must be as `cases[i]` says. */
static enum parsed parse_case(struct text in, size_t max, size_t i)
{
	struct text copy = exact_copy(in);
	struct request req = { 0 };
	struct buf scratch = { 0 };
	size_t used = 0;
	enum parsed parsed = socketmap.parse(copy, max, &scratch, &req, &used);

	if (parsed == PARSED) {
		assert_true(text_eq(req.map, cases[i].map));
		assert_true(text_eq(req.key, cases[i].key));
	}
	if (parsed == PARSED || parsed == MEANINGLESS)
		assert_int_equal(used, cases[i].used);
	buf_done(&scratch);
	free((char *)copy.p);
	return parsed;
}

static void parses_each_case_at_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text in = cases[i].in;
		enum parsed parsed = NEED_MORE;

		for (size_t n = 0; n <= in.n; n++) {
			parsed = parse_case((struct text){ in.p, n }, 1000, i);
			if (cases[i].want != MALFORMED && cases[i].want != OVERLONG)
				assert_int_equal(parsed, n < cases[i].used
								 ? NEED_MORE
								 : cases[i].want);
		}
		assert_int_equal(parsed, cases[i].want);
	}
}

static void too_long_is_refused_before_it_arrives(void **state)
{
	(void)state;
	assert_int_equal(parse_case(TEXT("3:t k,"), 3, 0), PARSED);
	assert_int_equal(parse_case(TEXT("3"), 3, 0), NEED_MORE);
	assert_int_equal(parse_case(TEXT("3"), 2, 0), OVERLONG);
	assert_int_equal(parse_case(TEXT("16384"), socketmap.max_request, 0), NEED_MORE);
	assert_int_equal(parse_case(TEXT("16385"), socketmap.max_request, 0), OVERLONG);
}

static void the_longest_key_of_postfix_fits(void **state)
{
	struct text key = { calloc(1, 10000), 10000 };
	struct request req;
	struct buf in = { 0 }, scratch = { 0 };
	size_t used;
	(void)state;

	netstring_add(&in, TEXT("virtual_alias_maps "), key);
	assert_int_equal(socketmap.parse(buf_view(&in), socketmap.max_request, &scratch,
					 &req, &used),
			 PARSED);
	assert_int_equal(req.key.n, key.n);
	buf_done(&in);
	free((char *)key.p);
}

static void assert_reply(struct answer answer, enum verdict sent, const char *wire)
{
	struct buf out = { 0 };

	buf_str(&out, "before");
	assert_int_equal(socketmap.reply(answer, &out), sent);
	assert_text(text_skip(buf_view(&out), strlen("before")), wire);
	buf_done(&out);
}

static void says_what_postfix_reads(void **state)
{
	(void)state;
	assert_reply(answer_found(TEXT("v1 v2")), FOUND, "8:OK v1 v2,");
	assert_reply(answer_found(TEXT(" a\n,b ")), FOUND, "9:OK  a\n,b ,");
	assert_reply(answer_absent(PROOF_MIRROR), NOTFOUND, "9:NOTFOUND ,");
	assert_reply(answer_temp("no answer yet"), TEMP, "18:TEMP no answer yet,");
	assert_reply(answer_perm("bad request"), PERM, "16:PERM bad request,");
}

static void never_says_a_bare_ok(void **state)
{
	(void)state;
	assert_reply((struct answer){ .verdict = FOUND, .value = TEXT("") }, TEMP, "16:TEMP empty value,");
	assert_reply((struct answer){ .verdict = FOUND, .value = { NULL, 0 } }, TEMP, "16:TEMP empty value,");
}

static void nothing_else_is_ever_not_found(void **state)
{
	(void)state;
	assert_reply((struct answer){ 0 }, TEMP, "20:TEMP no reason given,");
	assert_reply((struct answer){ .verdict = VERDICTS, .value = TEXT("v") }, TEMP, "6:TEMP v,");
	assert_reply((struct answer){ .verdict = (enum verdict)77, .value = TEXT("v") }, TEMP, "6:TEMP v,");
	assert_reply((struct answer){ .verdict = NOTFOUND, .value = TEXT("junk") }, NOTFOUND, "9:NOTFOUND ,");
}

static void a_value_with_a_nul_would_be_cut(void **state)
{
	(void)state;
	assert_reply((struct answer){ .verdict = FOUND, .value = BYTES("a\0b") }, TEMP,
		     "21:TEMP value with a NUL,");
	assert_reply((struct answer){ .verdict = FOUND, .value = BYTES("\0") }, TEMP,
		     "21:TEMP value with a NUL,");
}

static void a_value_too_long_is_temp(void **state)
{
	char *bytes = memset(malloc(VALUE_MAX + 1), 'v', VALUE_MAX + 1);
	struct text value = { bytes, VALUE_MAX };
	struct buf out = { 0 };
	(void)state;

	assert_int_equal(socketmap.reply((struct answer){ .verdict = FOUND, .value = value }, &out), FOUND);
	assert_int_equal(out.n, strlen("100000:") + 100000 + strlen(","));
	assert_true(text_starts(buf_view(&out), TEXT("100000:OK vvv")));
	buf_done(&out);

	value.n++;
	assert_reply((struct answer){ .verdict = FOUND, .value = value }, TEMP, "19:TEMP value too long,");
	free(bytes);
}

static void reasons_are_one_short_printable_line(void **state)
{
	char long_reason[REASON_MAX + 100];
	struct buf out = { 0 };
	(void)state;

	assert_reply(answer_temp(""), TEMP, "20:TEMP no reason given,");
	assert_reply(answer_temp(NULL), TEMP, "20:TEMP no reason given,");
	assert_reply(answer_perm(" \r\n"), PERM, "20:PERM no reason given,");
	assert_reply(answer_temp(" a\nb\303\274\t\177 "), TEMP, "12:TEMP a?b????,");
	assert_reply((struct answer){ .verdict = TEMP, .value = BYTES("a\0b") }, TEMP, "8:TEMP a?b,");

	memset(long_reason, 'x', sizeof long_reason);
	struct answer answer = { .value = { long_reason, sizeof long_reason } };
	assert_int_equal(socketmap.reply(answer, &out), TEMP);
	assert_int_equal(out.n, strlen("205:TEMP ") + REASON_MAX + strlen(","));
	buf_done(&out);
}

static void protocols_are_found_by_name(void **state)
{
	(void)state;
	assert_ptr_equal(protocol_find(TEXT("socketmap")), &socketmap);
	assert_ptr_equal(protocol_find(TEXT("tcp_table")), &tcp_table);
	assert_null(protocol_find(TEXT("socketma")));
	assert_null(protocol_find(TEXT("")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parses_each_case_at_every_split),
		cmocka_unit_test(too_long_is_refused_before_it_arrives),
		cmocka_unit_test(the_longest_key_of_postfix_fits),
		cmocka_unit_test(says_what_postfix_reads),
		cmocka_unit_test(never_says_a_bare_ok),
		cmocka_unit_test(nothing_else_is_ever_not_found),
		cmocka_unit_test(a_value_with_a_nul_would_be_cut),
		cmocka_unit_test(a_value_too_long_is_temp),
		cmocka_unit_test(reasons_are_one_short_printable_line),
		cmocka_unit_test(protocols_are_found_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "unit/test.h"

#include "base/template.h"

/*
 * The suppression matrix of postfix-tables.md 3, every cell: what a template makes of the key,
 * NULL when it is not asked.
 */
#define COLUMNS 8

static const char *const templates[COLUMNS] = {
	"%s", "<%u>", "<%U>", "<%d>", "<%D>", "<%1>", "<%2.%1>", "<%3>",
};

static const struct { const char *key, *want[COLUMNS]; } matrix[] = {
	{ "user", { "user", "<user>", "<user>" } },
	{ "user@", { "user@", "<user>", "<user>" } },
	{ "@dom.tld", { "@dom.tld", NULL, NULL, "<dom.tld>", "<dom.tld>", "<tld>", "<dom.tld>" } },
	{ "@", { "@" } },
	{ "a@tld", { "a@tld", "<a>", "<a>", "<tld>", "<tld>", "<tld>" } },
	{ "a@b.c.", { "a@b.c.", "<a>", "<a>", "<b.c.>", "<b.c.>", "<c>", "<b.c>" } },
	{ "a@.b.c", { "a@.b.c", "<a>", "<a>", "<.b.c>", "<.b.c>", "<c>", "<b.c>" } },
	{ "a@b..c", { "a@b..c", "<a>", "<a>", "<b..c>", "<b..c>", "<c>", "<b.c>" } },
	{ "a@..", { "a@..", "<a>", "<a>", "<..>", "<..>" } },
	{ "a@b@c", { "a@b@c", "<a@b>", "<a@b>", "<c>", "<c>", "<c>" } },
	{ "a@b@", { "a@b@", "<a@b>", "<a@b>" } },
	{ "@a@b", { "@a@b", "<@a>", "<@a>", "<b>", "<b>", "<b>" } },
	{ "\"x@y\"", { "\"x@y\"", "<\"x>", "<\"x>", "<y\">", "<y\">", "<y\">" } },
	{ "a@x.y.z", { "a@x.y.z", "<a>", "<a>", "<x.y.z>", "<x.y.z>", "<z>", "<y.z>", "<x>" } },
	{ "", { NULL } },
};

static struct template *parsed(const char *source, enum template_role role)
{
	struct buf why = { 0 };
	struct text copy = exact_copy(text_of(source));
	struct template *t = template_new(copy, role, &why);

	if (!t)
		print_error("%s: %s\n", source, buf_cstr(&why));
	assert_non_null(t);
	assert_int_equal(why.n, 0);
	free((char *)copy.p);
	return t;
}

/* One cell: what comes out, or nothing at all and the same word from needs_met(). */
static void check(const char *source, const char *key, const char *want)
{
	struct template *t = parsed(source, TEMPLATE_QUERY);
	struct text k = exact_copy(text_of(key));
	struct buf out = { 0 };

	buf_str(&out, "=");
	assert_int_equal(needs_met(template_needs(t), k), want != NULL);
	assert_int_equal(template_expand(t, k, TEXT(""), NULL, NULL, &out), want != NULL);
	buf_drop(&out, 1);
	assert_text(buf_view(&out), want ? want : "");
	buf_done(&out);
	free((char *)k.p);
	template_free(t);
}

static void a_key_is_asked_exactly_when_postfix_asks_it(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++)
		for (size_t j = 0; j < COLUMNS; j++)
			check(templates[j], matrix[i].key, matrix[i].want[j]);
}

static void percents_and_digits_are_taken_as_postfix_takes_them(void **state)
{
	static const struct { const char *source, *key, *want; } cases[] = {
		{ "", "k", "" },
		{ "plain", "k", "plain" },
		{ "%%", "k", "%" },
		{ "%%s%s%%", "k", "%sk%" },
		{ "%10", "a@b.c", "c0" },
		{ "%9", "a@9.8.7.6.5.4.3.2.1", "9" },
		{ "%9", "a@8.7.6.5.4.3.2.1", NULL },
		{ "%s %S", "%d%u", "%d%u %d%u" },	/* a % in the key is data */
		{ "%s", " a\tb ", " a\tb " },		/* nothing is trimmed */
	};
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		check(cases[i].source, cases[i].key, cases[i].want);
}

static void unknown_expansions_are_refused_with_a_reason(void **state)
{
	static const char *const bad[] = { "%", "a%", "%%%", "%0", "%x", "%n", "% s", "%\n", "%\377" };
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct buf why = { 0 };

		assert_null(template_new(text_of(bad[i]), TEMPLATE_QUERY, &why));
		assert_null(template_new(text_of(bad[i]), TEMPLATE_RESULT, &why));
		assert_true(why.n > 0);
		buf_done(&why);
	}
}

static void a_result_speaks_of_value_and_key(void **state)
{
	static const struct { const char *source, *key, *value, *want; } cases[] = {
		{ "%s", "k", "v", "v" },
		{ "%s", "k", "", NULL },
		{ "%s", "k", " ", " " },
		{ "OK", "k", "v", "OK" },
		{ "OK", "k", "", NULL },
		{ "%S:%s", "k@d", "v", "k@d:v" },
		{ "%u", "k@d", "v", "v" },
		{ "%u", "k@d", "v@", "v" },
		{ "%u", "k@d", "@v", NULL },
		{ "%u", "k@d", "@", NULL },
		{ "%u", "k@d", "a@b@c", "a@b" },
		{ "%d", "k@d", "v", NULL },
		{ "%d", "k@d", "v@", NULL },
		{ "%d", "k@d", "@v", "v" },
		{ "%u at %d", "k", "a@b", "a at b" },
		{ "%D/%u", "johndoe", "a@b", NULL },
		{ "%U/%D/%u/%d", "u@d1.example", "fixed@Host.Example", "u/d1.example/fixed/Host.Example" },
		{ "%2-%1", "x@a.b", "v@c.d", "a-b" },
		{ "%2-%1", "x@b", "v@c.d", NULL },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct template *t = parsed(cases[i].source, TEMPLATE_RESULT);
		struct text value = exact_copy(text_of(cases[i].value));
		struct buf out = { 0 };

		assert_int_equal(template_expand(t, text_of(cases[i].key), value, NULL, NULL, &out),
				 cases[i].want != NULL);
		assert_text(buf_view(&out), cases[i].want ? cases[i].want : "");
		buf_done(&out);
		free((char *)value.p);
		template_free(t);
	}
}

static void what_a_result_asks_of_values_it_does_not_ask_of_keys(void **state)
{
	static const struct { const char *source; struct needs want; } cases[] = {
		{ "%s%S%u%d", { 0 } },
		{ "%U", { .local = true } },
		{ "%D", { .domain = true } },
		{ "%2%3%1", { .domain = true, .labels = 3 } },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct template *t = parsed(cases[i].source, TEMPLATE_RESULT);
		struct needs got = template_needs(t);

		assert_int_equal(got.local, cases[i].want.local);
		assert_int_equal(got.domain, cases[i].want.domain);
		assert_int_equal(got.labels, cases[i].want.labels);
		template_free(t);
	}
}

static void tables_ask_all_that_their_templates_ask(void **state)
{
	struct needs both = needs_both((struct needs){ .local = true, .labels = 1 },
				       (struct needs){ .domain = true, .labels = 3 });
	(void)state;

	assert_true(both.local && both.domain);
	assert_int_equal(both.labels, 3);
	assert_true(needs_met((struct needs){ 0 }, TEXT("@")));
	assert_false(needs_met((struct needs){ 0 }, TEXT("")));
}

static void in_brackets(void *ctx, struct text part, struct buf *out)
{
	buf_byte(out, *(const char *)ctx);
	buf_text(out, part);
	buf_byte(out, ']');
}

static void every_part_of_the_key_is_quoted_and_nothing_else(void **state)
{
	struct template *t = parsed("%%[%s] %u %d %1", TEMPLATE_QUERY);
	struct buf out = { 0 };
	char open[] = "[";
	(void)state;

	assert_true(template_expand(t, TEXT("a@b.c"), TEXT(""), in_brackets, open, &out));
	assert_text(buf_view(&out), "%[[a@b.c]] [a] [b.c] [c]");
	buf_done(&out);
	template_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_key_is_asked_exactly_when_postfix_asks_it),
		cmocka_unit_test(percents_and_digits_are_taken_as_postfix_takes_them),
		cmocka_unit_test(unknown_expansions_are_refused_with_a_reason),
		cmocka_unit_test(a_result_speaks_of_value_and_key),
		cmocka_unit_test(what_a_result_asks_of_values_it_does_not_ask_of_keys),
		cmocka_unit_test(tables_ask_all_that_their_templates_ask),
		cmocka_unit_test(every_part_of_the_key_is_quoted_and_nothing_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

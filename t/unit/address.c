#include "unit/test.h"

#include "base/address.h"

static void takes_addresses_apart(void **state)
{
	static const struct {
		const char *key, *local, *domain;
		bool has_domain, was_quoted;
	} cases[] = {
		{ "joe@d.test", "joe", "d.test", true, false },
		{ "\"a b+x\"@d.test", "a b+x", "d.test", true, true },
		{ "\"a\\\"b\\\\c\"@d.test", "a\"b\\c", "d.test", true, true },
		{ "\"a@b\"@d.test", "a@b", "d.test", true, true },
		{ "a@b@d.test", "a@b", "d.test", true, false },
		{ "a b@d.test", "a b", "d.test", true, false },
		{ "\"\"@d.test", "", "d.test", true, true },
		{ "@d.test", "", "d.test", true, false },
		{ "joe@", "joe", "", true, false },
		{ "joe@[192.0.2.1]", "joe", "[192.0.2.1]", true, false },
		{ "joe", "joe", "", false, false },
		{ "<>", "<>", "", false, false },
		{ "\"<>\"", "<>", "", false, true },
		{ "\"a@b\"", "a@b", "", false, true },
		{ "", "", "", false, false },
		/* no quoted string from end to end, so the quotes are part of the name */
		{ "\"a\"b@d.test", "\"a\"b", "d.test", true, false },
		{ "\"a@d.test", "\"a", "d.test", true, false },
		{ "\"a\\\"@d.test", "\"a\\\"", "d.test", true, false },
		{ "\"a\"@b@d.test", "\"a\"@b", "d.test", true, false },
		{ "\"", "\"", "", false, false },
		{ "\"\\", "\"\\", "", false, false },
	};
	struct buf scratch = { 0 };
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text key = exact_copy(text_of(cases[i].key));
		struct address a;

		address_parse(key, &scratch, &a);
		assert_text(a.local, cases[i].local);
		assert_text(a.domain, cases[i].domain);
		assert_int_equal(a.has_domain, cases[i].has_domain);
		assert_int_equal(a.was_quoted, cases[i].was_quoted);
		free((char *)key.p);
	}
	buf_done(&scratch);
}

static void splits_extensions_as_postfix_does(void **state)
{
	static const struct {
		const char *local, *delimiters;
		bool owner_request_special;
		const char *bare;
	} cases[] = {
		{ "joe+x", "+", true, "joe" },
		{ "joe+x-y", "+-", true, "joe" },
		{ "a-Ext+More", "+-", true, "a" },
		{ "joe-x", "+", true, "joe-x" },
		{ "joe+x", "", true, "joe+x" },
		{ "joe+", "+", true, "joe" },
		{ "+joe", "+", true, "+joe" },
		{ "+joe+x", "+", true, "+joe+x" },
		{ "", "+", true, "" },
		{ "+", "+", true, "+" },
		{ "owner-list", "-", true, "owner-list" },
		{ "Owner-list+x", "+-", true, "Owner-list+x" },
		{ "list-REQUEST", "-", true, "list-REQUEST" },
		{ "-request", "-", true, "-request" },
		{ "a-requests", "-", true, "a" },
		{ "owner-list", "-", false, "owner" },
		{ "list-request", "-", false, "list" },
		{ "owner-list+x", "+", true, "owner-list" },	/* no '-' in the set */
		{ "MAILER-daemon", "-", true, "MAILER-daemon" },
		{ "double-Bounce", "-", false, "double-Bounce" },
		{ "mailer-daemon-x", "-", true, "mailer" },
		{ "postmaster+x", "+", true, "postmaster" },
		{ "PostMaster", "o", true, "PostMaster" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text local = exact_copy(text_of(cases[i].local));
		size_t n = address_extension(local, text_of(cases[i].delimiters),
					     cases[i].owner_request_special);

		assert_true(n <= local.n);
		assert_text(text_before(local, local.p + n), cases[i].bare);
		free((char *)local.p);
	}
}

static void quotes_what_is_no_dot_atom(void **state)
{
	static const struct { const char *local, *want; } cases[] = {
		{ "joe", "joe" },
		{ "j.o.e", "j.o.e" },
		{ "j\303\266rg", "j\303\266rg" },
		{ "a!b%c|d=e/f{g}", "a!b%c|d=e/f{g}" },
		{ "", "\"\"" },
		{ ".joe", "\".joe\"" },
		{ "joe.", "\"joe.\"" },
		{ "j..oe", "\"j..oe\"" },
		{ "a b", "\"a b\"" },
		{ "a@b", "\"a@b\"" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" },
		{ "a\rb\nc", "\"a\\\rb\nc\"" },
		{ "a\177", "\"a\177\"" },
		{ "<>", "\"<>\"" },
		{ "a,b;c:d", "\"a,b;c:d\"" },
		{ "[x](y)", "\"[x](y)\"" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text local = exact_copy(text_of(cases[i].local));
		struct buf out = { 0 };

		address_quote_local(local, &out);
		assert_text(buf_view(&out), cases[i].want);
		assert_int_equal(address_needs_quotes(local), cases[i].want[0] == '"');
		buf_done(&out);
		free((char *)local.p);
	}
}

static void what_was_quoted_parses_back(void **state)
{
	struct buf key = { 0 }, scratch = { 0 };
	char local[4];
	(void)state;

	for (unsigned n = 0; n < 6 * 6 * 6; n++) {
		const char *const set = "a\" @\\+";
		struct address a;

		local[0] = set[n % 6];
		local[1] = set[n / 6 % 6];
		local[2] = set[n / 36];
		local[3] = '\0';
		buf_clear(&key);
		address_quote_local(text_of(local), &key);
		buf_str(&key, "@d.test");
		address_parse(buf_view(&key), &scratch, &a);
		assert_text(a.local, local);
		assert_text(a.domain, "d.test");
	}
	buf_done(&key);
	buf_done(&scratch);
}

static void every_address_of_a_list_gets_the_extension(void **state)
{
	static const struct { const char *list, *want; } cases[] = {
		{ "a@y", "a+E@y" },
		{ "a@y, b@z", "a+E@y, b+E@z" },
		{ "a@y b@z", "a+E@y, b+E@z" },
		{ "a@y\nb@z\t;c@z", "a+E@y, b+E@z, c+E@z" },
		{ ",,a@y,,", "a+E@y" },
		{ "<u@y>", "u+E@y" },
		{ "Full Name <u@y>", "u+E@y" },
		{ "\"Name, Full\" <u@y>, b@z", "u+E@y, b+E@z" },
		{ "a@y (comment)", "a+E@y" },
		{ "(x (nested) \\) y) a@y", "a+E@y" },
		{ "a(in)@(the)y(middle)", "a+E@y" },
		{ "grp: a@y, b@y;", "a+E@y, b+E@y" },
		{ "grp: a@y;, c@z", "a+E@y, c+E@z" },
		{ "first:a@y;second:b@y;", "b+E@y" },	/* as tok822_parse() reads it */
		{ "\"a b\"@y", "\"a b+E\"@y" },
		{ "\"a\\\"b\"@y", "\"a\\\"b+E\"@y" },
		{ "a\\ b@y", "\"a b+E\"@y" },
		{ "a b@y", "a+E, b+E@y" },
		{ "bare", "bare+E" },
		{ "one two", "one+E, two+E" },
		{ "user@[192.0.2.1]", "user+E@[192.0.2.1]" },
		{ "user@[192.0.2.1] other@y", "user+E@[192.0.2.1], other+E@y" },
		{ "a@b@y", "\"a@b+E\"@y" },
		{ "|cmd", "|cmd+E" },
		{ "host!user", "host!user+E" },
		{ "user%host", "user+E%host" },
		{ "user%host@y", "user%host+E@y" },
		{ "<@r,@s:user@y>", "user+E@y" },
		{ "<>", "+E" },
		{ "<>, a@y", "a+E@y" },
		{ "\"unclosed@y", "\"unclosed@y+E\"" },
		{ "J\303\226RG@y", "J\303\226RG+E@y" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text list = exact_copy(text_of(cases[i].list));
		struct buf out = { 0 };

		buf_str(&out, "keep ");
		assert_true(address_list_extend(list, TEXT("+E"), &out));
		assert_text(text_skip(buf_view(&out), 5), cases[i].want);
		buf_done(&out);
		free((char *)list.p);
	}
}

static void a_list_without_addresses_is_refused(void **state)
{
	static const char *const lists[] = {
		"", " ", ",", ";,", "(comment)", "<>,<>", "grp:;",
	};
	struct buf out = { 0 };
	(void)state;

	buf_str(&out, "keep");
	for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
		assert_false(address_list_extend(text_of(lists[i]), TEXT("+E"), &out));
		assert_text(buf_view(&out), "keep");
	}
	buf_done(&out);
}

/* The extension is a stranger's choice, the host where mail goes must not be. */
static void an_extension_cannot_name_a_host(void **state)
{
	static const struct { const char *list, *extension, *want; } cases[] = {
		{ "root", "+x%evil.test", "\"root+x%evil.test\"" },
		{ "root", "+evil.test!x", "\"root+evil.test!x\"" },
		{ "root", "+x@evil.test", "\"root+x@evil.test\"" },
		{ "root, joe@y", "+a, b@evil.test",
		  "\"root+a, b@evil.test\", \"joe+a, b@evil.test\"@y" },
		{ "user%host", "+a!b", "\"user+a!b\"%host" },
		{ "joe@y", "+x%z", "joe+x%z@y" },
		{ "joe@y", "+\" @z", "\"joe+\\\" @z\"@y" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf out = { 0 };

		assert_true(address_list_extend(text_of(cases[i].list),
						text_of(cases[i].extension), &out));
		assert_text(buf_view(&out), cases[i].want);
		buf_done(&out);
	}
}

static void a_list_longer_than_any_reply_is_refused(void **state)
{
	struct buf list = { 0 }, extension = { 0 }, out = { 0 };
	(void)state;

	for (int i = 0; i < 100; i++)
		buf_str(&list, "a@y,");
	buf_str(&extension, "+");
	while (extension.n < 2000)
		buf_byte(&extension, 'x');
	assert_false(address_list_extend(buf_view(&list), buf_view(&extension), &out));
	assert_int_equal(out.n, 0);
	extension.n = 500;
	assert_true(address_list_extend(buf_view(&list), buf_view(&extension), &out));
	buf_done(&list);
	buf_done(&extension);
	buf_done(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_addresses_apart),
		cmocka_unit_test(splits_extensions_as_postfix_does),
		cmocka_unit_test(quotes_what_is_no_dot_atom),
		cmocka_unit_test(what_was_quoted_parses_back),
		cmocka_unit_test(every_address_of_a_list_gets_the_extension),
		cmocka_unit_test(a_list_without_addresses_is_refused),
		cmocka_unit_test(an_extension_cannot_name_a_host),
		cmocka_unit_test(a_list_longer_than_any_reply_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "unit/test.h"

#include "base/conceal.h"

static void takes_the_key_out(void **state)
{
	static const struct { const char *why, *key, *want; } cases[] = {
		{ "", "joe@a.test", "" },
		{ "no route to host", "joe@a.test", "no route to host" },
		{ "no such row: joe@a.test", "joe@a.test", "no such row: [key]" },
		{ "JOE@A.TEST?", "joe@a.test", "[key]?" },
		{ "Unknown column 'joe' in 'WHERE'", "joe@a.test", "Unknown column '[key]' in 'WHERE'" },
		{ "there is no \"uid=joe,ou=a.test\"", "joe@a.test", "there is no \"uid=[key],ou=a.test\"" },
		{ "joey, ajoe, joe", "joe@a.test", "joey, ajoe, [key]" },
		{ "near 'o\\'brien' at line 1", "o'brien@a.test", "near 'o\\'[key]' at line 1" },
		{ "near 'joe.doe+x@a.test'", "joe.doe+x@a.test", "near '[key]'" },
		{ "joe\\2edoe", "joe.doe@a.test", "[key]\\2edoe" },
		{ "joe\\2Bdoe joe", "joe+doe@a.test", "[key]\\2Bdoe [key]" },
		{ "(joe)(doe)", "joe.doe@a.test", "([key])([key])" },
		{ "r\xc3\xb6mer", "r\xc3\xb6mer@a.test", "[key]" },
		{ "a b: a@b.test", "a@b.test", "a b: [key]" },	/* one letter is any word */
		{ "ldap.a.test: a.test", "a.test", "ldap.a.test: [key]" },
		{ "ldap.a.test: ldap", "ldap@a.test", "[key].a.test: [key]" },
		{ "no joe", "joe", "no [key]" },
		{ "a.test", "@a.test", "a.test" },
		{ "'@a.test'", "@a.test", "'[key]'" },
		{ "anything", "", "anything" },
		{ "@", "@", "[key]" },
		{ "''", "''@a.test", "''" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text why = exact_copy(text_of(cases[i].why));
		struct text key = exact_copy(text_of(cases[i].key));
		struct buf got = { 0 };

		conceal(&got, why, key);
		assert_string_equal(buf_cstr(&got), cases[i].want);
		buf_done(&got);
		free((void *)(uintptr_t)why.p);
		free((void *)(uintptr_t)key.p);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_the_key_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

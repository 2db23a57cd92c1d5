/* Which keys an entry has, and when it ends, with entries made up here. */
#include "driver/ldap_entry.c"
#include "driver/ldap_keys.c"

#include "unit/test.h"

/* An entry with one attribute; values are separated by '|'. */
static void make_entry(struct entry *e, struct attribute *a, const char *name,
		       const char *values)
{
	struct text list = text_of(values), value;

	*a = (struct attribute){ .name = (char *)name };
	*e = (struct entry){ .attributes = a, .n = 1 };
	while (text_next(&list, "|", &value)) {
		a->values = must(reallocarray(a->values, a->n + 1, sizeof *a->values));
		a->values[a->n++] = exact_copy(value);
	}
}

static void entry_done(struct attribute *a)
{
	for (size_t i = 0; i < a->n; i++)
		free((char *)a->values[i].p);
	free(a->values);
}

/* --- keys ------------------------------------------------------------------------- */

static char mail[] = "mail", long_name[] = "rfc822Mailbox";
static char *names[] = { mail, long_name, NULL };

/* "key key? ...": those with a question mark are in doubt. "-": not one of the attributes. */
static void keys_of(const char *assertion, enum matching matching, const char *attribute,
		    const char *values, struct buf *out)
{
	struct ldap_plan plan;
	struct entry_keys keys = { 0 };
	struct key_rule rule = { .type = { .matching = matching, .names = names } };
	struct attribute a;
	struct entry e;

	assert_true(ldap_plan_derive(text_of(assertion), &plan, out));
	rule.key = &plan.branches[0].keys[0];
	make_entry(&e, &a, attribute, values);
	if (!entry_keys_find(&e, &rule, 1, &keys))
		buf_byte(out, '-');
	for (size_t i = 0; i < keys.n; i++) {
		buf_str(out, i ? " " : "");
		buf_text(out, keys.list[i].key);
		buf_str(out, keys.list[i].is_doubtful ? "?" : "");
	}
	entry_keys_done(&keys);
	entry_done(&a);
	ldap_plan_done(&plan);
}

#define I MATCHING_IGNORE
#define X MATCHING_EXACT
#define O MATCHING_OCTETS

static void values_are_keys_as_the_server_compares_them(void **state)
{
	static const struct {
		const char *assertion;
		enum matching matching;
		const char *attribute, *values, *want;
	} cases[] = {
		{ "mail=%s", I, "mail", "Joe@X", "joe@x" },
		{ "mail=%s", X, "mail", "Joe@X|joe@x", "joe@x" },
		{ "mail=%s", O, "mail", "Joe@X|joe@x", "joe@x" },
		{ "mail=%s", I, "MAIL;lang-en", "a", "a" },
		{ "mail=%s", I, "RFC822mailbox", "a", "a" },
		{ "mail=%s", I, "mailbox", "a", "-" },
		{ "mail=%s", I, "mai", "a", "-" },
		{ "mail=%s", I, "mail", "", "-" },
		{ "mail=%s", I, "mail", "b|a|B|A", "a b" },
		{ "mail=%s", I, "mail", " a |b c", "a?" },
		{ "mail=%s", I, "mail", " a |a", "a" },
		{ "mail=%s", X, "mail", " a ", "a?" },
		{ "mail=%s", O, "mail", " a ", "" },
		{ "mail=%s", I, "mail", "jos\303\251", "jose?" },
		{ "mail=%s", X, "mail", "jos\303\251", "jose?" },
		{ "mail=%s", O, "mail", "jos\303\251", "" },
		{ "mail=%s", I, "mail", "a\tb|c\t", "c?" },
		{ "mail=%s", I, "mail", "\xff", "" },
		{ "mail=*@%s", I, "mail", "Jos\303\251@X|two  words@Y", "x y" },
		{ "mail=*@%s", X, "mail", "Joe@x@Y|A B@c", "c" },
		{ "mail=smtp:%s", I, "mail", "SMTP:A|smtp: b|x400:c|smtp:d ", "a d?" },
		{ "mail=%u@%d", I, "mail", "a|@b|c@|d@e", "d@e" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf got = { 0 };

		keys_of(cases[i].assertion, cases[i].matching, cases[i].attribute,
			cases[i].values, &got);
		assert_text(buf_view(&got), cases[i].want);
		buf_done(&got);
	}
}

/* --- expiry ----------------------------------------------------------------------- */

static void ends_are_told_in_two_ways(void **state)
{
	static const struct { const char *values; uint64_t want; bool is_bad; } cases[] = {
		{ "", 0, false },
		{ "0", 0, false },
		{ "1", 1, false },
		{ "02000000000", 2000000000, false },
		{ "99999999999", 99999999999, false },
		{ "133000000000000000", 0, true },
		{ "-1", 0, true },
		{ "1|2", 0, true },
		{ "12x", 0, true },
		{ "20330518033320Z", 2000000000, false },
		{ "203305180333Z", 1999999980, false },
		{ "2033051803Z", 1999998000, false },
		{ "20330518033320.999Z", 2000000000, false },
		{ "20330518033320,5Z", 2000000000, false },
		{ "2033051803.5Z", 1999998000, false },
		{ "20330518053320+0200", 2000000000, false },
		{ "20330518053320+02", 2000000000, false },
		{ "20330517223320-0500", 2000000000, false },
		{ "20240229000000Z", 1709164800, false },
		{ "19690101000000Z", 1, false },		/* long ago, but not never */
		{ "19700101000000Z", 1, false },
		{ "99991231235959Z", 253402300799, false },
		{ "20230229000000Z", 0, true },
		{ "20331301000000Z", 0, true },
		{ "20330018033320Z", 0, true },
		{ "20330500033320Z", 0, true },
		{ "20330518243320Z", 0, true },
		{ "20330518036020Z", 0, true },
		{ "20330518033399Z", 0, true },
		{ "20330518033320", 0, true },
		{ "20330518033320.Z", 0, true },
		{ "20330518033320Zx", 0, true },
		{ "20330518033320+2", 0, true },
		{ "20330518033320+2400", 0, true },
		{ "20330518033320+0260", 0, true },
		{ "20330518033320+", 0, true },
		{ "203305180333200Z", 0, true },
		{ "never", 0, true },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint64_t got = 7;
		struct attribute a;
		struct entry e;
		bool is_good;

		make_entry(&e, &a, "expires", cases[i].values);
		is_good = entry_expiry(&e, "EXPIRES", &got);
		if (is_good == cases[i].is_bad || (is_good && got != cases[i].want))
			fail_msg("\"%s\": %d %llu", cases[i].values, is_good,
				 (unsigned long long)got);
		assert_true(entry_expiry(&e, "other", &got));
		assert_int_equal(got, 0);
		entry_done(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_keys_as_the_server_compares_them),
		cmocka_unit_test(ends_are_told_in_two_ways),
	};

	return cmocka_run_group_tests_name("ldap_keys", tests, NULL, NULL);
}

#include "unit/test.h"

#include "base/domain_list.h"

#include <stdio.h>
#include <unistd.h>

static char dir[] = "/tmp/smdlXXXXXX";

static int make_files(void **state)
{
	static const struct { const char *name, *content; } files[] = {
		{ "d", "d1.example\n# x.example\n!excluded.d1.example, D2.Example\r\n\n"
		       " y.example # z.example\n" },
		{ "th", "t1.example OK\n# c\nT2.example OK\nt3.example\n more\nnovalue.example\n"
			"t4.example: OK\n\377.example OK\n" },
		{ "lead", " lead.example x\nt1.example OK\n" },
		{ "loop", "/loop\n" },
	};
	(void)state;

	if (!mkdtemp(dir) || chdir(dir) < 0)
		return -1;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		FILE *f = fopen(files[i].name, "w");

		if (!f || fputs(files[i].content, f) < 0 || fclose(f))
			return -1;
	}
	return 0;
}

static int remove_files(void **state)
{
	static const char *const names[] = { "d", "th", "lead", "loop", "deep" };
	(void)state;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlink(names[i]);
	return rmdir(dir);
}

/* The list with each @ replaced by the directory of the test's files. */
static struct domain_list *list_of(const char *text, struct buf *ret_why)
{
	struct buf full = { 0 };
	struct domain_list *l;

	for (; *text; text++)
		*text == '@' ? buf_str(&full, dir) : buf_byte(&full, *text);
	l = domain_list_new(buf_view(&full), ret_why);
	buf_done(&full);
	return l;
}

static void admits_what_postfix_would_look_up(void **state)
{
	static const struct { const char *list, *key; bool want; } cases[] = {
		{ "a.example", "u@a.example", true },
		{ "a.example", "u@sub.a.example", false },
		{ ".a.example", "u@sub.a.example", false },
		{ "a.example", "u@a.example.", false },
		{ "a.example", "a.example", false },
		{ "a.example", "@a.example", false },
		{ "a.example", "x@y@a.example", true },
		{ "a.example", "a.example@y", false },
		{ "a.example", "u@", false },
		{ "a.example", "", false },
		{ "", "u@a.example", false },
		{ "b.example,, A.Example\t\n", "u@a.example", true },
		{ "b.example A.Example", "u@b.example", true },
		{ "stra\303\237e.example", "u@strasse.example", true },
		{ "!a.example", "u@a.example", false },
		{ "!a.example", "u@b.example", false },
		{ "!a.example b.example", "u@b.example", true },
		{ "!!a.example", "u@a.example", true },
		{ "a.example !a.example", "u@a.example", true },
		{ "!a.example a.example", "u@a.example", false },
		{ "a.example # b.example", "u@b.example", false },
		{ "[a:b]", "u@[a:b]", true },
		{ "@/d", "u@d1.example", true },
		{ "@/d", "u@x.example", false },
		{ "@/d", "u@excluded.d1.example", false },
		{ "@/d", "u@d2.example", true },
		{ "@/d", "u@y.example", true },
		{ "@/d", "u@z.example", false },
		{ "@/d excluded.d1.example", "u@excluded.d1.example", false },
		{ "!@/d excluded.d1.example", "u@excluded.d1.example", true },
		{ "!@/d d1.example", "u@d1.example", false },
		{ "texthash:@/th", "u@t1.example", true },
		{ "texthash:@/th", "u@t2.example", false },	/* Postfix does not fold these */
		{ "texthash:@/th", "u@t3.example", true },
		{ "texthash:@/th", "u@t4.example", false },
		{ "texthash:@/th", "u@novalue.example", false },
		{ "texthash:@/lead", "u@lead.example", false },
		{ "texthash:@/lead", "u@t1.example", true },
		{ "!texthash:@/th t1.example", "u@t1.example", false },
		{ "!texthash:@/th t9.example", "u@t9.example", true },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 };
		struct domain_list *l = list_of(cases[i].list, &why);
		struct text key = exact_copy(text_of(cases[i].key));

		assert_non_null(l);
		if (domain_list_admits(l, key) != cases[i].want)
			fail_msg("list \"%s\", key \"%s\"", cases[i].list, cases[i].key);
		free((char *)key.p);
		domain_list_free(l);
	}
}

static void what_cannot_be_read_is_refused_with_a_reason(void **state)
{
	static const struct { const char *list, *why; } cases[] = {
		{ "a.example !", "!: nothing to negate" },
		{ "! a.example", "!: nothing to negate" },
		{ "hash:@/th", "only texthash:" },
		{ "!mysql:/x", "only texthash:" },
		{ "inline:{a=b}", "not a domain" },
		{ "{a.example b.example}", "not a domain" },
		{ "\377.example", "not UTF-8" },
		{ "@/none", "/none: No such file" },
		{ "a.example, texthash:@/none", "/none: No such file" },
		{ "@", ": Is a directory" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 };

		assert_null(list_of(cases[i].list, &why));
		if (!strstr(buf_cstr(&why), cases[i].why))
			fail_msg("\"%s\": %s", cases[i].list, why.p);
		buf_done(&why);
	}
}

static void files_that_name_themselves_end(void **state)
{
	struct buf why = { 0 };
	FILE *f = fopen("deep", "w");
	(void)state;

	assert_non_null(f);
	fprintf(f, "%s/deep\n", dir);
	fclose(f);
	assert_null(list_of("@/deep", &why));
	assert_non_null(strstr(buf_cstr(&why), "too many files"));
	buf_done(&why);
}

static void ten_thousand_domains_are_found_each(void **state)
{
	struct buf list = { 0 }, why = { 0 }, key = { 0 };
	struct domain_list *l;
	(void)state;

	for (int i = 0; i < 10000; i++)
		buf_printf(&list, "%sd%d.example ", i % 2 ? "!" : "", i * 7919 % 10000);
	l = domain_list_new(buf_view(&list), &why);
	assert_non_null(l);
	for (int i = 0; i < 10000; i++) {
		buf_clear(&key);
		buf_printf(&key, "u@d%d.example", i * 7919 % 10000);
		assert_int_equal(domain_list_admits(l, buf_view(&key)), i % 2 == 0);
	}
	domain_list_free(l);
	buf_done(&key);
	buf_done(&list);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(admits_what_postfix_would_look_up),
		cmocka_unit_test(what_cannot_be_read_is_refused_with_a_reason),
		cmocka_unit_test(files_that_name_themselves_end),
		cmocka_unit_test(ten_thousand_domains_are_found_each),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}

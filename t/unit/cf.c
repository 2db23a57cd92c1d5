#include "unit/test.h"

#include "base/cf.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* "name=value;" for every entry, in order. */
static void flatten(const struct cf *cf, struct buf *out)
{
	for (size_t i = 0; i < cf->n; i++)
		buf_printf(out, "%s=%s;", cf->entries[i].name, cf->entries[i].value);
}

static void reads_table_files_as_postfix_does(void **state)
{
	static const struct { const char *in, *want; } cases[] = {
		{ "", "" },
		{ "\n \n#c\n  # c\n", "" },
		{ "a=b", "a=b;" },
		{ "a = b\n", "a=b;" },
		{ "a\t=  b c \t\r\n", "a=b c;" },
		{ "a =\n", "a=;" },
		{ "a = b = c\n", "a=b = c;" },
		{ "a = b # no comment\n", "a=b # no comment;" },
		{ "a = \"b\" $x\n", "a=\"b\" $x;" },
		{ "a = b\n  c\n\td\ne = f\n", "a=b  c\td;e=f;" },
		{ "a = b\n# c\n  d\n", "a=b  d;" },
		{ "a = b\n  # c\n\n \n  d\n", "a=b  d;" },
		{ "a =\n  b\n", "a=b;" },
		{ "a = 1\nb = 2\na = 3\n", "a=3;b=2;" },
		{ "\n\n# x\na = b", "a=b;" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct text in = exact_copy(text_of(cases[i].in));
		struct buf why = { 0 }, got = { 0 };
		struct cf cf;

		assert_true(cf_parse(in, &cf, &why));
		flatten(&cf, &got);
		assert_text(buf_view(&got), cases[i].want);
		cf_done(&cf);
		buf_done(&got);
		free((char *)in.p);
	}
}

static void what_is_no_setting_is_an_error_with_its_line(void **state)
{
	const struct { struct text in; const char *want; } cases[] = {
		{ TEXT("foo\n"), "line 1: missing '=' after the name" },
		{ TEXT("a = 1\n\nfoo bar = x\n"), "line 3: missing '=' after the name" },
		{ TEXT("# c\n= x\n"), "line 2: missing name" },
		{ TEXT("\n  a = x\nb = 1\n"),
		  "line 2: white space at the start of a line that continues nothing" },
		{ TEXT("a = 1\nb =\n 2\0003\n"), "line 2: NUL byte" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf why = { 0 };
		struct cf cf;

		assert_false(cf_parse(cases[i].in, &cf, &why));
		assert_text(buf_view(&why), cases[i].want);
		assert_int_equal(cf.n, 0);
		assert_null(cf.entries);
		buf_done(&why);
	}
}

static void entries_know_their_line_and_are_found_by_name(void **state)
{
	struct buf why = { 0 };
	struct cf cf;
	(void)state;

	assert_true(cf_parse(TEXT("\n# c\nquery = a\n b\ndbpath = /x\n\nquery = c\n"), &cf, &why));
	assert_int_equal(cf.n, 2);
	assert_int_equal(cf.entries[0].line, 7);
	assert_int_equal(cf.entries[1].line, 5);
	assert_string_equal(cf_get(&cf, "query"), "c");
	assert_null(cf_get(&cf, "quer"));
	cf_done(&cf);
}

static void a_file_is_read_or_the_reason_names_it(void **state)
{
	char path[] = "/tmp/smcfXXXXXX";
	struct buf why = { 0 };
	struct cf cf;
	int fd = mkstemp(path);
	(void)state;

	assert_int_equal(write(fd, "a = b\n", 6), 6);
	assert_true(cf_read(path, &cf, &why));
	assert_string_equal(cf_get(&cf, "a"), "b");
	cf_done(&cf);

	assert_int_equal(write(fd, "c\n", 2), 2);
	assert_false(cf_read(path, &cf, &why));
	assert_non_null(strstr(buf_cstr(&why), path));
	assert_non_null(strstr(buf_cstr(&why), ": line 2: missing '='"));

	assert_int_equal(ftruncate(fd, (1 << 20) + 1), 0);
	buf_clear(&why);
	assert_false(cf_read(path, &cf, &why));
	assert_non_null(strstr(buf_cstr(&why), ": File too large"));
	close(fd);
	unlink(path);

	assert_int_equal(mkfifo(path, 0600), 0);
	buf_clear(&why);
	assert_false(cf_read(path, &cf, &why));
	assert_true(why.n > 0);
	unlink(path);

	buf_clear(&why);
	assert_false(cf_read(path, &cf, &why));
	assert_non_null(strstr(buf_cstr(&why), ": No such file"));
	assert_false(cf_read("/tmp", &cf, &why));
	assert_int_equal(cf.n, 0);
	buf_done(&why);
}

static void entries_change_in_their_place(void **state)
{
	struct buf why = { 0 };
	struct cf cf;
	(void)state;

	assert_true(cf_parse(TEXT("a = 1\n\nb = 2\nc = 3\n"), &cf, &why));
	cf_set(&cf, "b", "two");
	cf_set(&cf, "d", "4");
	assert_string_equal(cf_get(&cf, "b"), "two");
	assert_int_equal(cf_find(&cf, "b")->line, 3);
	assert_ptr_equal(cf_find(&cf, "b"), &cf.entries[1]);
	assert_int_equal(cf_find(&cf, "d")->line, 1);
	cf_drop(&cf, "a");
	cf_drop(&cf, "none");
	assert_int_equal(cf.n, 3);
	assert_null(cf_find(&cf, "a"));
	assert_string_equal(cf.entries[0].name, "b");
	cf_drop(&cf, "d");
	assert_string_equal(cf_get(&cf, "c"), "3");
	assert_int_equal(cf.n, 2);
	cf_done(&cf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_table_files_as_postfix_does),
		cmocka_unit_test(what_is_no_setting_is_an_error_with_its_line),
		cmocka_unit_test(entries_know_their_line_and_are_found_by_name),
		cmocka_unit_test(a_file_is_read_or_the_reason_names_it),
		cmocka_unit_test(entries_change_in_their_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

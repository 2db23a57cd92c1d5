/* How socketmapctl shows things to people. */
#include "unit/test.h"

#include "ctl/columns.c"
#include "ctl/show.c"

/* Compare what `show` appends for `n`. */
static void expect(void (*show)(struct buf *out, double n), double n, const char *want)
{
	struct buf out = { 0 };

	show(&out, n);
	assert_string_equal(buf_cstr(&out), want);
	buf_done(&out);
}

static void numbers_are_readable(void **state)
{
	(void)state;

	expect(show_count, 0, "0");
	expect(show_count, 999, "999");
	expect(show_count, 1000, "1,000");
	expect(show_count, 1234567, "1,234,567");
	expect(show_count, -1234, "-1,234");
	expect(show_bytes, 1023, "1023");
	expect(show_bytes, 1024, "1.0K");
	expect(show_bytes, 16 << 20, "16M");
	expect(show_bytes, 1023.9 * 1024, "1024K");
	expect(show_bytes, 9e14, "819T");
	expect(show_rate, 0, "0");
	expect(show_rate, 0.01, "<0.1");
	expect(show_rate, 0.44, "0.4");
	expect(show_rate, 12.4, "12");
	expect(show_rate, 23456, "23,456");
}

static void durations_are_readable(void **state)
{
	(void)state;

	expect(show_seconds, 0, "0 us");
	expect(show_seconds, 0.000012, "12 us");
	expect(show_seconds, 0.0012, "1.2 ms");
	expect(show_seconds, 0.0999, "100 ms");
	expect(show_seconds, 0.9994, "999 ms");
	expect(show_seconds, 0.9996, "1.0 s");
	expect(show_seconds, 9.94, "9.9 s");
	expect(show_seconds, 59.4, "59 s");
	expect(show_seconds, 59.6, "1m 00s");
	expect(show_seconds, 3599.6, "1h 00m");
	expect(show_seconds, 7500, "2h 05m");
	expect(show_seconds, 90061, "1d 1h");
	expect(show_seconds, -5, "0 us");
}

/* The server's numbers are whatever somebody has sent. */
static void what_is_no_number_is_a_dash(void **state)
{
	static void (*const shows[])(struct buf *, double) = {
		show_count, show_bytes, show_rate, show_seconds, show_clock,
	};
	(void)state;

	for (size_t i = 0; i < sizeof shows / sizeof *shows; i++) {
		expect(shows[i], NAN, "-");
		expect(shows[i], INFINITY, "-");
		expect(shows[i], 1e300, "-");
		expect(shows[i], -1e300, "-");
	}
	expect(show_ago, NAN, "at an unknown time");
	expect(show_ago, 1e12, "just now");
}

static const struct {
	const char *in, *want;
	size_t n, columns;
} texts[] = {
	{ "plain \\ text", "plain \\ text", 12, 12 },
	{ "j\xc3\xb6rg", "j\xc3\xb6rg", 5, 4 },
	{ "\xe4\xb8\xad", "\xe4\xb8\xad", 3, 2 },		/* two columns wide */
	{ "a\0b", "a\\x00" "b", 3, 6 },
	{ "\x1b[2J", "\\x1b[2J", 4, 7 },
	{ "\x7f\r\n\t", "\\x7f\\x0d\\x0a\\x09", 4, 16 },
	{ "\xc2\x9b", "\\xc2\\x9b", 2, 8 },			/* CSI of eight bits */
	{ "\xe2\x80\xae", "\\xe2\\x80\\xae", 3, 12 },		/* right to left from here on */
	{ "\xe2\x80\x8b", "\\xe2\\x80\\x8b", 3, 12 },		/* no width */
	{ "e\xcc\x81", "e\\xcc\\x81", 3, 9 },			/* a combining mark */
	{ "\xff\xc3", "\\xff\\xc3", 2, 8 },			/* not UTF-8, and cut short */
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80", 3, 12 },		/* a surrogate */
	{ "", "", 0, 0 },
};

static void terminals_see_only_what_is_printed(void **state)
{
	(void)state;

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct buf out = { 0 };

		assert_int_equal(show_text(&out, (struct text){ texts[i].in, texts[i].n }),
				 texts[i].columns);
		assert_string_equal(buf_cstr(&out), texts[i].want);
		assert_int_equal(show_width(buf_view(&out)), texts[i].columns);
		buf_done(&out);
	}
}

/* Every byte, and every pair of bytes: nothing but printed characters comes out. */
static void no_control_character_passes(void **state)
{
	struct buf out = { 0 };
	(void)state;

	for (unsigned n = 0; n < 0x10000; n++) {
		const char pair[] = { (char)(n >> 8), (char)n };

		buf_clear(&out);
		show_text(&out, (struct text){ pair, 2 });
		for (size_t i = 0; i < out.n; i++) {
			unsigned char c = (unsigned char)out.p[i];

			assert_true(c >= 0x20 && c != 0x7f);
			assert_false(c == 0xc2 && (unsigned char)out.p[i + 1] < 0xa0);
		}
	}
	buf_done(&out);
}

static const struct column columns[] = {
	{ "NAME", false }, { "KEYS", true }, { "WHY", false }, { NULL, false },
};

static void fill(struct columns *t, const char *name, double keys, const char *why)
{
	columns_text(t, PLAIN, text_of(name));
	show_count(columns_cell(t, PLAIN), keys);
	columns_text(t, PLAIN, text_of(why));
}

static void expect_table(size_t width, size_t rows, const char *want)
{
	struct columns t = { .columns = columns };
	struct buf out = { 0 };

	fill(&t, "a", 1, "");
	fill(&t, "l\xc3\xa4nger", 12345, "because");
	fill(&t, "c", NAN, NULL);
	columns_print(&t, &out, width, rows);
	assert_string_equal(buf_cstr(&out), want);
	columns_done(&t);
	buf_done(&out);
}

static void tables_are_aligned_and_cut(void **state)
{
	(void)state;

	expect_table(0, 0,
		     "NAME      KEYS  WHY\n"
		     "a            1\n"
		     "l\xc3\xa4nger  12,345  because\n"
		     "c            -  -\n");
	expect_table(18, 0,
		     "NAME      KEYS  WH\n"
		     "a            1\n"
		     "l\xc3\xa4nger  12,345  be\n"
		     "c            -  -\n");
	expect_table(2, 2,
		     "NA\n"
		     "a\n"
		     "... and 2 more\n");
	expect_table(1, 3,
		     "N\n"
		     "a\n"
		     "l\n"
		     "c\n");
}

static int in_utf8(void **state)
{
	(void)state;
	return setlocale(LC_CTYPE, "C.UTF-8") ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(numbers_are_readable),
		cmocka_unit_test(durations_are_readable),
		cmocka_unit_test(what_is_no_number_is_a_dash),
		cmocka_unit_test(terminals_see_only_what_is_printed),
		cmocka_unit_test(no_control_character_passes),
		cmocka_unit_test(tables_are_aligned_and_cut),
	};

	return cmocka_run_group_tests_name("ctl_show", tests, in_utf8, NULL);
}

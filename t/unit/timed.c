/* Values that end: how they lie in a mirror, and what is seen of them when. */
#include "unit/test.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/must.h"
#include "driver/until.h"
#include "driver/until.c"
#include "engine/scan.h"
#include "store/timed.h"

#include <stdio.h>

/* "a b@5 c": values with blanks between; b ends at 5. As a mirror joins them. */
static struct buf joined_of(const char *list)
{
	struct text rest = text_of(list), item;
	struct buf joined = { 0 };

	while (text_next(&rest, " ", &item)) {
		const char *at = text_chr(item, '@');

		if (joined.n)
			buf_byte(&joined, ',');
		if (at)
			timed_add(&joined, strtoull(at + 1, NULL, 10), text_before(item, at));
		else
			buf_text(&joined, item);
	}
	return joined;
}

static void what_lives_is_seen_and_nothing_else(void **state)
{
	static const struct { const char *values; uint64_t now; const char *want; } cases[] = {
		{ "a@5", 0, "a" },       { "a@5", 4, "a" },        { "a@5", 5, NULL },
		{ "a@5", 6, NULL },      { "a b@5", 4, "a,b" },    { "a b@5", 5, "a" },
		{ "a@5 b", 4, "a,b" },   { "a@5 b", 5, "b" },      { "a@5 b@6", 5, "b" },
		{ "a@5 b@6", 6, NULL },  { "a@6 b@5", 5, "a" },    { "a b@5 c", 5, "a,c" },
		{ "a@5 b c@5", 5, "b" }, { "a@5 b@5 c@5", 4, "a,b,c" },
		{ "a,b c@5 d,e", 4, "a,b,c,d,e" },	/* commas of the values themselves */
		{ "a,b c@5 d,e", 5, "a,b,d,e" },
		{ "a, b@5 ,c", 4, "a,,b,,c" },
		{ "a, b@5 ,c", 5, "a,,,c" },
		{ ",@5 ,@6", 5, "," },
		{ "a,b@5 c", 5, "c" },
		{ "a@18446744073709551615 b@5", 9999999999, "a" },
	};
	struct buf scratch = { 0 };
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf joined = joined_of(cases[i].values);
		struct text seen = buf_view(&joined);

		assert_true(timed_is(seen));
		enum mirror_says says = timed_read(&seen, cases[i].now, &scratch);
		if (says != (cases[i].want ? MIRROR_HIT : MIRROR_ABSENT))
			fail_msg("%s at %d: says %d", cases[i].values, (int)cases[i].now,
				 says);
		if (cases[i].want)
			assert_text(seen, cases[i].want);
		buf_done(&joined);
	}
	assert_false(timed_is(TEXT("a,b")));
	buf_done(&scratch);
}

/* A snapshot may hold any bytes: nothing outside of them is read, no NUL is ever shown. */
static void any_bytes_are_read_safely(void **state)
{
	struct buf joined = joined_of("a,b c@5 d@70000000000 e,f g@1");
	struct buf scratch = { 0 };
	uint64_t random = 1;
	(void)state;

	for (size_t n = 0; n <= joined.n; n++)		/* cut anywhere */
		for (int flips = 0; flips < 200; flips++) {
			struct text t = exact_copy((struct text){ joined.p, n }), seen = t;

			for (int i = 0; n && i < flips % 4; i++)
				((char *)t.p)[clock_random(&random) % n] =
					clock_random(&random) % 3
						? "\0,ab\5"[clock_random(&random) % 5]
						: (char)clock_random(&random);
			enum mirror_says says =
				timed_is(t) ? timed_read(&seen, 5, &scratch) : MIRROR_HIT;
			if (says == MIRROR_HIT && timed_is(t))
				assert_true(seen.n > 0 && !text_chr(seen, '\0'));
			free((char *)t.p);
		}
	buf_done(&joined);
	buf_done(&scratch);
}

static void broken_texts_are_bad(void **state)
{
	const struct text broken[] = {
		TEXT("\0"),
		TEXT("\0"
		     "12345678"),
		TEXT("\0"
		     "12345678a"),
		TEXT("\0"
		     "12345678\0"),
		TEXT("\0"
		     "12345678a\0b"),
		TEXT("\0"
		     "12345678a\0,"),
		TEXT(",\0"
		     "12345678a\0"),
		TEXT("b\0"
		     "12345678a\0"),
		TEXT("a,b\0"),
		TEXT("a\0"),
	};
	struct buf scratch = { 0 };
	(void)state;

	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		struct text t = exact_copy(broken[i]), seen = t;

		if (timed_read(&seen, 0, &scratch) != MIRROR_BAD)
			fail_msg("case %zu", i);
		free((char *)t.p);
	}
	buf_done(&scratch);
}

/* distinct_values: one of each, which ends with the last of them. */
static void equal_values_end_with_the_last(void **state)
{
	static const struct { const char *values; uint64_t now; const char *want; } cases[] = {
		{ "a@5 a@7", 6, "a" },     { "a@7 a@5", 6, "a" },   { "a@7 a@5", 7, NULL },
		{ "a@5 a", 9, "a" },       { "a a@5", 9, "a" },     { "a@5 b@9 a@8", 6, "a,b" },
		{ "a@5 b a@8", 8, "b" },   { "a,b@5 a b", 9, "a,b" },
	};
	const struct mirror_limits limits = {
		.max_entries = 9,
		.max_bytes = 999,
		.max_value = 99,
		.max_values = 3,
		.is_distinct = true,
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mirror_builder *b = mirror_builder_new(&limits);
		struct text rest = text_of(cases[i].values), item, seen;
		struct buf scratch = { 0 };

		while (text_next(&rest, " ", &item)) {
			char one[40];

			snprintf(one, sizeof one, "%.*s", (int)item.n, item.p);
			struct buf value = joined_of(one);
			assert_true(mirror_add(b, TEXT("k"), buf_view(&value)));
			buf_done(&value);
		}
		struct mirror *m = mirror_seal(b, 1);
		enum mirror_says says = mirror_find(m, TEXT("k"), &seen);
		assert_int_equal(says, MIRROR_HIT);
		if (timed_is(seen))
			says = timed_read(&seen, cases[i].now, &scratch);
		assert_int_equal(says, cases[i].want ? MIRROR_HIT : MIRROR_ABSENT);
		if (cases[i].want)
			assert_text(seen, cases[i].want);
		mirror_free(m);
		buf_done(&scratch);
	}
}

/* --- scans -------------------------------------------------------------------------- */

/* A scan of rows "KEY=VALUE@TIME", TIME in seconds from now; what it says now. */
static void scans_keep_when_values_end(void **state)
{
	static const struct { const char *key, *value; int ends; } rows[] = {
		{ "Past@x", "v", -10 },  { "future@x", "v", 1000 }, { "never@x", "v", 0 },
		{ "some@x", "a", -10 },  { "some@x", "b", 1000 },   { "some@x", "c", 0 },
		{ "bad@x", "\377", 9 },
	};
	static const struct {
		const char *key;
		enum mirror_says says;
		const char *want;
	} wants[] = {
		{ "past@x", MIRROR_ABSENT, NULL }, { "future@x", MIRROR_HIT, "<v>" },
		{ "never@x", MIRROR_HIT, "<v>" },  { "some@x", MIRROR_HIT, "<b>,<c>" },
		{ "bad@x", MIRROR_BAD, NULL },	   { "none@x", MIRROR_ABSENT, NULL },
	};
	struct table_settings s = { .max_entries = 99, .max_bytes = 9999 };
	struct table t = { .settings = &s };
	struct scan scan = { .table = &t };
	struct buf scratch = { 0 };
	uint64_t now = clock_wall_msec() / 1000;
	(void)state;

	s.result_format = template_new(TEXT("<%s>"), TEMPLATE_RESULT, &scratch);
	assert_true(scan_begin(&scan));
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct row row = {
			.key = text_of(rows[i].key), .value = text_of(rows[i].value),
			.until = rows[i].ends ? (uint64_t)((int64_t)now + rows[i].ends) : 0,
		};

		assert_null(scan_row(&scan, &row));
	}
	struct mirror *m = mirror_seal(scan.builder, 1);
	scan.builder = NULL;
	for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
		struct text seen;

		assert_int_equal(table_find(m, text_of(wants[i].key), &scratch, &seen),
				 wants[i].says);
		if (wants[i].want)
			assert_text(seen, wants[i].want);
	}
	mirror_free(m);
	scan_done(&scan);
	template_free(s.result_format);
	buf_done(&scratch);
}

/* --- the column of a database ------------------------------------------------------- */

static void only_seconds_are_taken_for_seconds(void **state)
{
	static const struct { const char *column; bool is_good; uint64_t until; } cases[] = {
		{ "", true, 0 },                         { "0", true, 0 },
		{ "0.000000", true, 0 },                 { "1700000000", true, 1700000000 },
		{ "1700000000.5", true, 1700000000 },    { "1700000000.", true, 1700000000 },
		{ "253402300799", true, 253402300799 },  { "253402300800", false, 0 },
		{ "100000000", true, 100000000 },        { "99999999", false, 0 },
		{ "20301231", false, 0 },                { "1", false, 0 },
		{ "1700000000000", false, 0 },           { "20301231235959", false, 0 },
		{ "99999999999999999999999", false, 0 }, { "-1", false, 0 },
		{ "+1700000000", false, 0 },             { "2030-12-31", false, 0 },
		{ "0000-00-00 00:00:00", false, 0 },     { " 1700000000", false, 0 },
		{ "1700000000 ", false, 0 },             { "1.7e9", false, 0 },
		{ ".5", false, 0 },                      { "1700000000.5.5", false, 0 },
		{ "0x65000000", false, 0 },              { "never", false, 0 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		uint64_t until = 4711;
		struct text column = exact_copy(text_of(cases[i].column));

		if (until_parse(column, &until) != cases[i].is_good)
			fail_msg("%s", cases[i].column);
		assert_int_equal(until, cases[i].is_good ? cases[i].until : 4711);
		free((char *)column.p);
	}
}

static void a_refusal_says_what_to_write(void **state)
{
	struct buf why = { 0 };
	(void)state;

	until_refuse(&why, "ends", "strftime('%s', @)", true);
	assert_text(buf_view(&why), "expiry_column ends holds no Unix seconds: select "
		    "strftime('%s', ends) AS ends");
	buf_clear(&why);
	until_refuse(&why, "ends", "UNIX_TIMESTAMP(@)", false);
	assert_text(buf_view(&why),
		    "expiry_column ends is not in the result of scan_query: select "
		    "UNIX_TIMESTAMP(ends) AS ends");
	buf_done(&why);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_lives_is_seen_and_nothing_else),
		cmocka_unit_test(any_bytes_are_read_safely),
		cmocka_unit_test(broken_texts_are_bad),
		cmocka_unit_test(equal_values_end_with_the_last),
		cmocka_unit_test(scans_keep_when_values_end),
		cmocka_unit_test(only_seconds_are_taken_for_seconds),
		cmocka_unit_test(a_refusal_says_what_to_write),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

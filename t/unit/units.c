#include "unit/test.h"

#include "daemon/nearest.h"
#include "daemon/units.h"

static void a_duration_is_digits_and_one_unit(void **state)
{
	static const struct { const char *in; uint64_t n; const char *out; } cases[] = {
		{ "0", 0, "0" },
		{ "0s", 0, "0" },
		{ "500ms", 500, "500ms" },
		{ "30s", 30000, "30s" },
		{ "60s", 60000, "1m" },
		{ "90s", 90000, "90s" },
		{ "5m", 300000, "5m" },
		{ "36h", 129600000, "36h" },
		{ "3d", 259200000, "3d" },
		{ "2w", 1209600000, "2w" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf out = { 0 };
		uint64_t msec = 1;

		assert_true(duration_parse(text_of(cases[i].in), &msec));
		assert_int_equal(msec, cases[i].n);
		duration_print(&out, msec);
		assert_string_equal(buf_cstr(&out), cases[i].out);
		buf_done(&out);
	}
}

static void a_size_is_digits_and_perhaps_a_unit(void **state)
{
	static const struct { const char *in; uint64_t n; const char *out; } cases[] = {
		{ "0", 0, "0" },
		{ "100", 100, "100" },
		{ "16K", 16384, "16K" },
		{ "1536K", 1572864, "1536K" },
		{ "16M", 16777216, "16M" },
		{ "4G", 4294967296, "4G" },
		{ "1024M", 1073741824, "1G" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf out = { 0 };
		uint64_t bytes = 1;

		assert_true(size_parse(text_of(cases[i].in), &bytes));
		assert_int_equal(bytes, cases[i].n);
		size_print(&out, bytes);
		assert_string_equal(buf_cstr(&out), cases[i].out);
		buf_done(&out);
	}
}

static void what_is_neither_is_refused(void **state)
{
	static const char *const durations[] = {
		"", "5", "s", "-5s", "+5s", "5 s", " 5s", "5s ", "1.5s", "5S", "1h30m",
		"5sec", "00",
		"9999999999999999999999s", "99999999999999999w",
	};
	static const char *const sizes[] = {
		"", "K", "-1", "16k", "16KB", "16 M", "1.5G", "99999999999999999999",
		"99999999999G",
	};
	uint64_t n = 7;
	(void)state;

	for (size_t i = 0; i < sizeof durations / sizeof *durations; i++)
		assert_false(duration_parse(text_of(durations[i]), &n));
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		assert_false(size_parse(text_of(sizes[i]), &n));
	assert_false(count_parse(TEXT("12x"), &n));
	assert_false(count_parse(TEXT(""), &n));
	assert_int_equal(n, 7);
	assert_true(count_parse(TEXT("012"), &n));
	assert_int_equal(n, 12);
}

static void a_typing_error_finds_the_name_that_was_meant(void **state)
{
	static const char *const known[] = { "refresh", "deadline", "query", "ttl" };
	static const struct { const char *in, *want; } cases[] = {
		{ "refrehs", "; did you mean \"refresh\"?" },
		{ "refesh", "; did you mean \"refresh\"?" },
		{ "deadlines", "; did you mean \"deadline\"?" },
		{ "quary", "; did you mean \"query\"?" },
		{ "tl", "; did you mean \"ttl\"?" },
		{ "colour", "" },
		{ "", "" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct nearest n = { .name = text_of(cases[i].in) };
		struct buf out = { 0 };

		for (size_t k = 0; k < sizeof known / sizeof *known; k++)
			nearest_try(&n, known[k]);
		nearest_hint(&n, &out);
		assert_string_equal(buf_cstr(&out), cases[i].want);
		buf_done(&out);
	}
}

static void a_name_of_any_length_is_taken(void **state)
{
	char name[1000];
	struct nearest n = { .name = { name, sizeof name } };
	(void)state;

	memset(name, 'x', sizeof name);
	nearest_try(&n, "refresh");
	assert_null(n.best);
	n.name.n = 64;
	nearest_try(&n,
		"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
	assert_int_equal(n.distance, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_duration_is_digits_and_one_unit),
		cmocka_unit_test(a_size_is_digits_and_perhaps_a_unit),
		cmocka_unit_test(what_is_neither_is_refused),
		cmocka_unit_test(a_typing_error_finds_the_name_that_was_meant),
		cmocka_unit_test(a_name_of_any_length_is_taken),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

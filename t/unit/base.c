#include "unit/test.h"

#include "base/clock.h"
#include "base/fold.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/verdict.h"

#include <stdio.h>

static void folds_as_icu_does(void **state)
{
	static const struct { const char *in, *want; } cases[] = {
		{ "", "" },
		{ "Joe@Example.COM", "joe@example.com" },
		{ "[\\]^_`{|}~@AZ", "[\\]^_`{|}~@az" },
		{ "stra\303\237e", "strasse" },			/* sharp s */
		{ "\304\260", "i\314\207" },			/* dotted capital I */
		{ "\305\277", "s" },				/* long s */
		{ "\342\204\252", "k" },			/* Kelvin sign */
		{ "\316\243\317\202", "\317\203\317\203" },	/* both sigmas */
		{ "\357\254\201", "fi" },			/* ligature */
		{ "\357\274\241", "\357\275\201" },		/* full width A */
		{ "\304\261", "\304\261" },			/* dotless i stays */
		{ "Jo\314\210rg", "jo\314\210rg" },		/* no normalisation */
		{ "\360\220\220\200", "\360\220\220\250" },	/* beyond the BMP */
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf out = { 0 };

		assert_true(fold(text_of(cases[i].in), &out));
		assert_text(buf_view(&out), cases[i].want);
		buf_done(&out);
	}
}

static void all_that_a_directory_may_take_for_the_same_is_alike(void **state)
{
	static const struct { const char *in, *want; } cases[] = {
		{ "", "" },
		{ "Joe Doe@x", "joe doe@x" },
		{ "stra\303\237e", "strasse" },
		{ "\357\274\241\357\254\201\342\204\241", "afitel" },	/* full width, fi, TEL */
		{ "M\303\274ller Mu\314\210ller", "muller muller" },	/* either way to write it */
		{ "so\302\255ft\342\200\213", "soft" },		/* hyphen, space of no width */
		{ "a\tb\nc\302\240d\001", "a b c d" },
		{ "\320\206\312\271", "\321\226\312\271" },		/* another alphabet stays */
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct buf out = { 0 };

		assert_true(fold_alike(text_of(cases[i].in), &out));
		assert_text(buf_view(&out), cases[i].want);
		buf_clear(&out);
		assert_false(fold_alike(TEXT("\xff"), &out));
		assert_int_equal(out.n, 0);
		buf_done(&out);
	}
}

static void what_is_not_utf8_does_not_fold(void **state)
{
	static const char *const bad[] = {
		"\200", "a\377", "\300\257", "\355\240\200", "\364\220\200\200", "\303", "x\303(",
	};
	(void)state;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct buf out = { 0 };
		struct text copy = exact_copy(text_of(bad[i]));

		buf_str(&out, "keep");
		assert_false(fold(copy, &out));
		assert_text(buf_view(&out), "keep");
		assert_false(utf8_valid(copy));
		buf_done(&out);
		free((char *)copy.p);
	}
}

static void absence_needs_a_proof(void **state)
{
	(void)state;
	assert_int_equal(answer_absent(PROOF_NONE).verdict, TEMP);
	assert_int_equal(answer_absent(PROOFS).verdict, TEMP);
	for (enum proof p = PROOF_NONE + 1; p < PROOFS; p++)
		assert_int_equal(answer_absent(p).verdict, NOTFOUND);
	assert_int_equal((struct answer){ 0 }.verdict, TEMP);
}

static void found_is_never_empty(void **state)
{
	(void)state;
	assert_int_equal(answer_found(TEXT("")).verdict, TEMP);
	assert_int_equal(answer_found(TEXT("x")).verdict, FOUND);
}

static void a_log_line_cannot_be_forged(void **state)
{
	struct buf line = { 0 };
	char long_value[300];
	(void)state;

	memset(long_value, 'x', sizeof long_value);
	struct log_field fields[] = {
		F_STR("map", "virtual_alias_maps"),
		F_TEXT("why", TEXT("two words\nevent=forged \"q\" \\")),
		F_NUM("rows", 7),
		F_MSEC("next", 30000),
		F_TEXT("empty", TEXT("")),
		F_TEXT("cut", ((struct text){ long_value, sizeof long_value })),
	};
	log_format(&line, "refresh_failed", fields, sizeof fields / sizeof *fields);
	assert_non_null(strstr(buf_cstr(&line),
			       "event=refresh_failed map=virtual_alias_maps "
			       "why=\"two words\\x0aevent=forged \\x22q\\x22 \\x5c\" "
			       "rows=7 next=30s empty=\"\" cut=xxx"));
	assert_null(strchr(line.p, '\n'));
	assert_true(line.n < 400);
	buf_done(&line);
}

static void addresses_are_hashed_unless_wanted(void **state)
{
	struct log_field field = F_KEY("key", TEXT("joe@example.com"));
	struct buf line = { 0 };
	(void)state;

	log_format(&line, "e", &field, 1);
	assert_null(strstr(buf_cstr(&line), "joe"));
	assert_non_null(strstr(buf_cstr(&line), "key=#"));

	buf_clear(&line);
	log_setup(&(struct log_settings){ LOG_AT_INFO, LOG_KEYS_FULL, -1 });
	log_format(&line, "e", &field, 1);
	assert_string_equal(buf_cstr(&line), "event=e key=joe@example.com");

	buf_clear(&line);
	log_setup(&(struct log_settings){ LOG_AT_INFO, LOG_KEYS_NONE, -1 });
	log_format(&line, "e", &field, 1);
	assert_string_equal(buf_cstr(&line), "event=e key=-");
	log_setup(&(struct log_settings){ LOG_AT_INFO, LOG_KEYS_HASH, -1 });
	buf_done(&line);
}

static void a_flood_of_one_event_is_counted_not_written(void **state)
{
	uint64_t suppressed = 0, admitted = 0;
	(void)state;

	for (int i = 0; i < 1000; i++)
		admitted += log_admit("flood", "m", 5000, &suppressed);
	assert_int_equal(admitted, 10);
	assert_true(log_admit("flood", "m", 6000, &suppressed));
	assert_int_equal(suppressed, 990);
	assert_false(log_admit("flood", "m", 6000, &suppressed));
}

static void a_flood_of_one_event_leaves_others_their_say(void **state)
{
	uint64_t suppressed;
	char scope[32];
	(void)state;

	for (int i = 0; i < 20000; i++)
		log_admit("noise", "loud", 9000, &suppressed);
	for (int i = 0; i < 200; i++) {
		snprintf(scope, sizeof scope, "map%d", i);
		assert_true(log_admit("refresh_failed", scope, 9000, &suppressed));
		assert_int_equal(suppressed, 0);
	}
}

static void log_targets_are_stderr_or_a_facility(void **state)
{
	int facility = 0;
	(void)state;

	assert_true(log_parse_target(TEXT("stderr"), &facility));
	assert_int_equal(facility, -1);
	assert_true(log_parse_target(TEXT("syslog:mail"), &facility));
	assert_true(facility >= 0);
	assert_false(log_parse_target(TEXT("syslog:post"), &facility));
	assert_false(log_parse_target(TEXT("syslog"), &facility));
}

static void lists_split_at_any_separator(void **state)
{
	struct text list = TEXT(" a.test,,b.test\t c "), item;
	(void)state;

	assert_true(text_next(&list, ", \t", &item));
	assert_text(item, "a.test");
	assert_true(text_next(&list, ", \t", &item));
	assert_text(item, "b.test");
	assert_true(text_next(&list, ", \t", &item));
	assert_text(item, "c");
	assert_false(text_next(&list, ", \t", &item));
}

static void jitter_stays_within_a_tenth(void **state)
{
	uint64_t seed = 1, low = UINT64_MAX, high = 0;
	(void)state;

	for (int i = 0; i < 1000; i++) {
		uint64_t j = clock_jitter(1000, &seed);

		low = j < low ? j : low;
		high = j > high ? j : high;
	}
	assert_true(low >= 900 && low < 920);
	assert_true(high <= 1100 && high > 1080);
	assert_int_equal(clock_jitter(0, &seed), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(folds_as_icu_does),
		cmocka_unit_test(all_that_a_directory_may_take_for_the_same_is_alike),
		cmocka_unit_test(what_is_not_utf8_does_not_fold),
		cmocka_unit_test(absence_needs_a_proof),
		cmocka_unit_test(found_is_never_empty),
		cmocka_unit_test(a_log_line_cannot_be_forged),
		cmocka_unit_test(addresses_are_hashed_unless_wanted),
		cmocka_unit_test(a_flood_of_one_event_is_counted_not_written),
		cmocka_unit_test(a_flood_of_one_event_leaves_others_their_say),
		cmocka_unit_test(log_targets_are_stderr_or_a_facility),
		cmocka_unit_test(lists_split_at_any_separator),
		cmocka_unit_test(jitter_stays_within_a_tenth),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

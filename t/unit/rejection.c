/* Which rejected scans are accepted after all, and what is known of them. */
#include "unit/test.h"

#include "base/hash.h"
#include "base/log.h"
#include "engine/rejection.h"

#include <stdio.h>

#define NOW ((uint64_t)1000000)
#define CONFIRM ((uint64_t)3600000)

/* Keys k0 to k(n-1), then those of `more`, "key=value" with blanks between. */
static struct mirror *mirror_of(size_t n, const char *more)
{
	const struct mirror_limits limits = {
		.max_entries = 1 << 20, .max_bytes = 1 << 24, .max_value = 1 << 16,
	};
	struct mirror_builder *b = mirror_builder_new(&limits);
	struct text list = text_of(more), item;

	while (text_next(&list, " ", &item)) {
		const char *eq = text_chr(item, '=');

		assert_true(mirror_add(b, text_before(item, eq), text_from(item, eq + 1)));
	}
	for (size_t i = 0; i < n; i++) {
		char key[40];

		snprintf(key, sizeof key, "k%zu", i);
		assert_true(mirror_add(b, text_of(key), TEXT("v")));
	}
	return mirror_seal(b, 1);
}

/* One more rejected scan: its fault, keys, and when; true: it is accepted after all. */
static bool add(struct rejection *r, uint64_t confirm, enum scan_fault fault, size_t n,
		const char *more, uint64_t now)
{
	const struct table_settings s = { .shrink_confirm = confirm };
	struct mirror *old = mirror_of(100, ""), *new = mirror_of(n, more);
	const struct judged j = { fault, old, new, n + 7, 3 };
	bool is_accepted = rejection_add(r, &s, &j, now);

	mirror_free(old);
	mirror_free(new);
	return is_accepted;
}

/* A scan that lacks one of these keys. */
static void add_expected(struct rejection *r, struct text *expect, size_t n_expect, size_t n)
{
	const struct table_settings s = { .expect = expect, .n_expect = n_expect };
	struct mirror *old = mirror_of(100, ""), *new = mirror_of(n, "");
	const struct judged j = { SCAN_LACKS_KEY, old, new, n, 0 };

	assert_false(rejection_add(r, &s, &j, NOW));
	mirror_free(old);
	mirror_free(new);
}

static void a_rejection_tells_how_much_is_missing_and_since_when(void **state)
{
	struct rejection r = { 0 };
	(void)state;

	assert_false(add(&r, 0, SCAN_SHRUNKEN, 40, "", NOW));
	assert_int_equal(r.times, 1);
	assert_int_equal(r.since, NOW);
	assert_int_equal(r.same_since, NOW);
	assert_int_equal(r.old, 100);
	assert_int_equal(r.new, 40);
	assert_int_equal(r.rows, 47);
	assert_int_equal(r.bad, 3);

	assert_false(add(&r, 0, SCAN_SHRUNKEN, 40, "", NOW + 10));	/* the same again */
	assert_int_equal(r.times, 2);
	assert_int_equal(r.since, NOW);
	assert_int_equal(r.same_since, NOW);
	assert_false(add(&r, 0, SCAN_TOO_SMALL, 0, "", NOW + 20));	/* another one */
	assert_int_equal(r.times, 3);
	assert_int_equal(r.since, NOW);
	assert_int_equal(r.same_since, NOW + 20);
	assert_int_equal(r.new, 0);
	assert_int_equal(r.fault, SCAN_TOO_SMALL);
}

static void some_missing_keys_are_named_as_log_keys_says(void **state)
{
	struct log_settings s = { LOG_AT_INFO, LOG_KEYS_FULL, -1 };
	struct rejection r = { 0 };
	(void)state;

	log_setup(&s);
	add(&r, 0, SCAN_SHRUNKEN, 40, "", NOW);
	assert_string_equal(r.missing, "k40 k41 k42 k43 k44 k45 k46 k47");
	add(&r, 0, SCAN_SHRUNKEN, 0, "k98=v other=v", NOW);
	assert_string_equal(r.missing, "k0 k1 k2 k3 k4 k5 k6 k7");
	add(&r, 0, SCAN_SHRUNKEN, 98, "k99=another", NOW);
	assert_string_equal(r.missing, "k98");
	add(&r, 0, SCAN_LACKS_KEY, 100, "", NOW);
	assert_string_equal(r.missing, "");

	assert_string_equal(r.expected, "");

	/* That of `expect` first, and once, whether the old mirror had it or not. */
	struct text expect[] = { TEXT("k1"), TEXT("k77"), TEXT("k99") };
	add_expected(&r, expect, 3, 40);
	assert_string_equal(r.missing, "k77 k40 k41 k42 k43 k44 k45 k46");
	assert_string_equal(r.expected, "k77");
	expect[0] = TEXT("never");
	add_expected(&r, expect, 1, 100);
	assert_string_equal(r.missing, "never");
	add(&r, 0, SCAN_SHRUNKEN, 98, "k99=another", NOW);
	assert_string_equal(r.expected, "");

	s.keys = LOG_KEYS_HASH;
	log_setup(&s);
	add(&r, 0, SCAN_SHRUNKEN, 98, "", NOW);
	assert_int_equal(strlen(r.missing), 2 * 13 + 1);
	assert_int_equal(r.missing[0], '#');
	assert_null(strstr(r.missing, "k9"));
	s.keys = LOG_KEYS_NONE;
	log_setup(&s);
	add(&r, 0, SCAN_SHRUNKEN, 98, "", NOW);
	assert_string_equal(r.missing, "- -");
}

/* The first scan ever: nothing is missing, there was nothing. */
static void there_need_not_be_an_old_mirror(void **state)
{
	const struct table_settings s = { 0 };
	struct mirror *new = mirror_of(0, "");
	const struct judged j = { .fault = SCAN_TOO_SMALL, .new = new };
	struct rejection r = { 0 };
	(void)state;

	assert_false(rejection_add(&r, &s, &j, NOW));
	assert_int_equal(r.old, 0);
	assert_string_equal(r.missing, "");
	mirror_free(new);
}

static void identical_results_are_believed_after_shrink_confirm(void **state)
{
	static const enum scan_fault faults[] = { SCAN_TOO_SMALL, SCAN_SHRUNKEN };
	(void)state;

	for (size_t i = 0; i < 2; i++) {
		struct rejection r = { 0 };

		assert_false(add(&r, CONFIRM, faults[i], 40, "x=1 y=2", NOW));
		assert_false(add(&r, CONFIRM, faults[i], 40, "x=1 y=2", NOW + CONFIRM - 1));
		assert_true(add(&r, CONFIRM, faults[i], 40, "y=2 x=1", NOW + CONFIRM));

		r = (struct rejection){ 0 };
		assert_false(add(&r, 0, faults[i], 40, "", NOW));		/* off */
		assert_false(add(&r, 0, faults[i], 40, "", NOW + 100 * CONFIRM));
	}
}

/* Anything else begins the time anew. */
static void another_result_is_not_the_same(void **state)
{
	static const struct { enum scan_fault fault; size_t n; const char *more; } others[] = {
		{ SCAN_SHRUNKEN, 41, "x=1 y=2" },	/* one more */
		{ SCAN_SHRUNKEN, 39, "x=1 y=2" },
		{ SCAN_SHRUNKEN, 40, "x=1 y=3" },	/* another value */
		{ SCAN_SHRUNKEN, 40, "x=2 y=1" },	/* the same ones, of other keys */
		{ SCAN_SHRUNKEN, 40, "x=1 z=2" },	/* another key */
		{ SCAN_TOO_SMALL, 40, "x=1 y=2" },
		{ SCAN_LACKS_KEY, 40, "x=1 y=2" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		struct rejection r = { 0 };

		assert_false(add(&r, CONFIRM, SCAN_SHRUNKEN, 40, "x=1 y=2", NOW));
		assert_false(add(&r, CONFIRM, others[i].fault, others[i].n, others[i].more,
				 NOW + 10));
		assert_false(add(&r, CONFIRM, SCAN_SHRUNKEN, 40, "x=1 y=2", NOW + 20));
		assert_false(
			add(&r, CONFIRM, SCAN_SHRUNKEN, 40, "x=1 y=2", NOW + CONFIRM + 19));
		assert_true(
			add(&r, CONFIRM, SCAN_SHRUNKEN, 40, "x=1 y=2", NOW + CONFIRM + 20));
	}
}

static void only_a_wrong_size_is_ever_confirmed(void **state)
{
	static const enum scan_fault faults[] = { SCAN_UNUSABLE_ROWS, SCAN_LACKS_KEY };
	(void)state;

	for (size_t i = 0; i < 2; i++) {
		struct rejection r = { 0 };

		for (uint64_t k = 0; k < 10; k++)
			assert_false(add(&r, CONFIRM, faults[i], 40, "", NOW + k * CONFIRM));
	}
}

/* An operator has seen one scan; what comes next is accepted only if it is as good. */
static void an_operator_accepts_what_he_has_seen_and_nothing_worse(void **state)
{
	static const struct {
		enum scan_fault seen, next;
		size_t n_seen, n_next;
		const char *more;
		bool want;
	} cases[] = {
		{ SCAN_SHRUNKEN, SCAN_SHRUNKEN, 40, 40, "", true },
		{ SCAN_SHRUNKEN, SCAN_SHRUNKEN, 40, 39, "z=v", true },	/* as many */
		{ SCAN_SHRUNKEN, SCAN_SHRUNKEN, 40, 41, "", true },
		{ SCAN_SHRUNKEN, SCAN_SHRUNKEN, 40, 39, "", false },
		{ SCAN_TOO_SMALL, SCAN_SHRUNKEN, 0, 3, "", true },
		{ SCAN_SHRUNKEN, SCAN_TOO_SMALL, 3, 0, "", false },
		{ SCAN_SHRUNKEN, SCAN_LACKS_KEY, 40, 40, "", false },
		{ SCAN_SHRUNKEN, SCAN_UNUSABLE_ROWS, 40, 90, "", false },
		{ SCAN_LACKS_KEY, SCAN_LACKS_KEY, 40, 40, "", true },
		{ SCAN_LACKS_KEY, SCAN_LACKS_KEY, 40, 41, "", false },
		{ SCAN_LACKS_KEY, SCAN_SHRUNKEN, 40, 41, "", false },
		{ SCAN_UNUSABLE_ROWS, SCAN_UNUSABLE_ROWS, 40, 40, "", true },
		{ SCAN_UNUSABLE_ROWS, SCAN_UNUSABLE_ROWS, 40, 50, "", false },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct rejection r = { 0 };

		assert_false(add(&r, 0, cases[i].seen, cases[i].n_seen, "", NOW));
		r.is_accepted = true;
		bool got = add(&r, 0, cases[i].next, cases[i].n_next, cases[i].more, NOW + 10);
		if (got != cases[i].want)
			fail_msg("case %zu: %d", i, got);
		assert_false(r.is_accepted);	/* for one scan */
		assert_false(
			add(&r, 0, cases[i].next, cases[i].n_next, cases[i].more, NOW + 20));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_rejection_tells_how_much_is_missing_and_since_when),
		cmocka_unit_test(some_missing_keys_are_named_as_log_keys_says),
		cmocka_unit_test(there_need_not_be_an_old_mirror),
		cmocka_unit_test(identical_results_are_believed_after_shrink_confirm),
		cmocka_unit_test(another_result_is_not_the_same),
		cmocka_unit_test(only_a_wrong_size_is_ever_confirmed),
		cmocka_unit_test(an_operator_accepts_what_he_has_seen_and_nothing_worse),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

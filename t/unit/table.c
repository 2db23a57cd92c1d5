/* The state table of DESIGN 6, whole, with a clock of our own. */
#include "unit/test.h"

#include "base/hash.h"
#include "base/must.h"
#include "engine/scan.h"
#include "engine/source.h"

#include <strings.h>

#define MAX_AGE 1000
#define STALE_MAX 5000
#define BORN 100000

static struct loops loops;
static struct source *source;

static enum membership says_membership;

static enum membership membership(void *ctx, const char *map, struct text domain, uint64_t now)
{
	(void)ctx;
	(void)now;
	assert_string_equal(map, "domains");
	assert_int_equal(domain.n, strlen("example.com"));
	assert_int_equal(strncasecmp(domain.p, "example.com", domain.n), 0);
	return says_membership;
}

static struct domain_oracle oracle = { .ask = membership };

static struct table_settings *new_settings(enum table_mode mode)
{
	struct table_settings *s = must_calloc(1, sizeof *s);
	struct buf why = { 0 };

	s->source = must_strdup("fake");
	s->result_format = template_new(TEXT("%s"), TEMPLATE_RESULT, &why);
	s->mode = mode;
	s->max_age = MAX_AGE;
	s->stale_max = STALE_MAX;
	s->ttl = s->negative_ttl = 500;
	s->cache_size = 1 << 20;
	s->domains = must_strdup("domains");
	s->min_entries = 1;
	s->max_shrink = 30;
	s->fingerprint = must_strdup("");
	return s;
}

static struct mirror *new_mirror(size_t keys)
{
	const struct mirror_limits limits = {
		.max_entries = 1 << 20, .max_bytes = 1 << 24, .max_value = 1 << 16,
	};
	struct mirror_builder *b = mirror_builder_new(&limits);

	for (size_t i = 0; i < keys; i++) {
		char key[64];

		snprintf(key, sizeof key, "k%zu@example.com", i);
		assert_true(mirror_add(b, text_of(key), TEXT("value")));
	}
	assert_true(mirror_add_bad(b, TEXT("bad@example.com")));
	return mirror_seal(b, BORN);
}

static int setup(void **state)
{
	(void)state;
	struct source_settings *s = must_calloc(1, sizeof *s);

	s->name = must_strdup("fake");
	s->program = must_strdup("/bin/false");
	s->driver = must_strdup("fake");
	s->fingerprint = must_strdup("");
	loops_init(&loops, 1);
	source = source_new(s, &loops.control);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	source_unref(source);
	loop_stop(&loops.control);
	uv_run(&loops.control.uv, UV_RUN_DEFAULT);
	loops_done(&loops);
	return 0;
}

static struct table_reply get(struct table *t, const char *key, uint64_t now)
{
	static struct waiter waiter;
	static struct buf value;
	struct table_reply r = table_get(t, text_of(key), now, &oracle, &waiter, &value);

	buf_done(&value);
	if (r.is_parked)	/* nobody will answer in this test: take the waiter back */
		demand_put(t->demand, text_of(key), answer_temp("test"), now - 10000);
	return r;
}

/* What the key that the mirror lacks gets, in each state and under each policy. */
static void a_miss_follows_the_state_table(void **state)
{
	enum { PARK = VERDICTS };	/* the directory is asked */
	static const struct {
		uint64_t age;
		int has_mirror;
		enum on_miss on_miss;
		enum stale_miss stale_miss;
		enum membership membership;
		int want;
	} cases[] = {
		/* EMPTY: nothing is known */
		{ 0, 0, ON_MISS_NOTFOUND, STALE_MISS_NOTFOUND, MEMBER_NO, TEMP },
		{ 0, 0, ON_MISS_ASK, STALE_MISS_TEMP, MEMBER_NO, TEMP },
		{ 0, 0, ON_MISS_DOMAIN, STALE_MISS_DOMAIN, MEMBER_NO, TEMP },
		/* FRESH */
		{ 0, 1, ON_MISS_NOTFOUND, STALE_MISS_TEMP, MEMBER_UNKNOWN, NOTFOUND },
		{ MAX_AGE, 1, ON_MISS_NOTFOUND, STALE_MISS_TEMP, MEMBER_UNKNOWN, NOTFOUND },
		{ 0, 1, ON_MISS_ASK, STALE_MISS_NOTFOUND, MEMBER_NO, PARK },
		{ 0, 1, ON_MISS_DOMAIN, STALE_MISS_TEMP, MEMBER_NO, NOTFOUND },
		{ 0, 1, ON_MISS_DOMAIN, STALE_MISS_TEMP, MEMBER_YES, PARK },
		{ 0, 1, ON_MISS_DOMAIN, STALE_MISS_TEMP, MEMBER_UNKNOWN, PARK },
		/* STALE */
		{ MAX_AGE + 1, 1, ON_MISS_NOTFOUND, STALE_MISS_TEMP, MEMBER_NO, TEMP },
		{ MAX_AGE + 1, 1, ON_MISS_NOTFOUND, STALE_MISS_NOTFOUND, MEMBER_YES, NOTFOUND },
		{ STALE_MAX, 1, ON_MISS_NOTFOUND, STALE_MISS_DOMAIN, MEMBER_NO, NOTFOUND },
		{ STALE_MAX, 1, ON_MISS_NOTFOUND, STALE_MISS_DOMAIN, MEMBER_YES, TEMP },
		{ STALE_MAX, 1, ON_MISS_NOTFOUND, STALE_MISS_DOMAIN, MEMBER_UNKNOWN, TEMP },
		{ STALE_MAX, 1, ON_MISS_ASK, STALE_MISS_NOTFOUND, MEMBER_NO, PARK },
		/* EXPIRED: whatever the policies are */
		{ STALE_MAX + 1, 1, ON_MISS_NOTFOUND, STALE_MISS_NOTFOUND, MEMBER_NO, TEMP },
		{ STALE_MAX + 1, 1, ON_MISS_ASK, STALE_MISS_NOTFOUND, MEMBER_NO, TEMP },
		{ STALE_MAX + 1, 1, ON_MISS_DOMAIN, STALE_MISS_DOMAIN, MEMBER_NO, TEMP },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct table *t = table_new(new_settings(TABLE_MIRROR), "m", source);

		t->settings->on_miss = cases[i].on_miss;
		t->settings->stale_miss = cases[i].stale_miss;
		says_membership = cases[i].membership;
		if (cases[i].has_mirror)
			atomic_store(&t->mirror, new_mirror(10));

		struct table_reply r = get(t, "absent@example.com", BORN + cases[i].age);
		int got = r.is_parked ? PARK : (int)r.answer.verdict;

		if (got != cases[i].want)
			fail_msg("case %zu: got %d, want %d", i, got, cases[i].want);
		assert_int_equal(r.is_parked, r.lead);
		table_unref(t);
	}
}

static void a_hit_is_found_until_the_copy_expires(void **state)
{
	static const struct { uint64_t age; enum verdict want; bool is_stale; } cases[] = {
		{ 0, FOUND, false },        { MAX_AGE, FOUND, false },
		{ MAX_AGE + 1, FOUND, true }, { STALE_MAX, FOUND, true },
		{ STALE_MAX + 1, TEMP, false },
	};
	struct table *t = table_new(new_settings(TABLE_MIRROR), "m", source);
	(void)state;

	assert_int_equal(get(t, "k1@example.com", BORN).answer.verdict, TEMP);
	atomic_store(&t->mirror, new_mirror(10));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct table_reply r = get(t, "k1@example.com", BORN + cases[i].age);

		assert_int_equal(r.answer.verdict, cases[i].want);
		assert_int_equal(r.is_stale, cases[i].is_stale);
	}
	assert_int_equal(get(t, "bad@example.com", BORN).answer.verdict, TEMP);
	table_unref(t);
}

static void a_bare_key_is_never_taken_for_foreign(void **state)
{
	struct table *t = table_new(new_settings(TABLE_MIRROR), "m", source);
	(void)state;

	t->settings->on_miss = ON_MISS_DOMAIN;
	says_membership = MEMBER_NO;
	atomic_store(&t->mirror, new_mirror(10));
	assert_true(get(t, "joe", BORN).is_parked);
	assert_int_equal(get(t, ".example.com", BORN).answer.verdict, NOTFOUND);
	table_unref(t);
}

/* Or every foreign sender would be in doubt: the last keys of an access table are "com" and "joe@". */
static void a_key_without_a_domain_is_about_the_one_that_was_asked_for(void **state)
{
	static const struct {
		const char *key, *request;
		enum membership says;
		bool is_doubt;
	} cases[] = {
		{ "joe@", "joe@example.com", MEMBER_NO, false },
		{ "joe@", "joe@example.com", MEMBER_YES, true },
		{ "joe@", "joe@example.com", MEMBER_UNKNOWN, true },
		{ "joe@", "joe@", MEMBER_NO, true }, { "joe@", "joe", MEMBER_NO, true },
		{ "joe@", "", MEMBER_NO, true },
		{ "com", "joe@example.com", MEMBER_NO, false },
		{ "com", "joe@example.COM", MEMBER_NO, false },
		{ "com", "joe@example.com", MEMBER_YES, true },
		{ "com", "example.com", MEMBER_NO, false },
		{ "com", "com", MEMBER_NO, true }, { "com", "joe@com", MEMBER_NO, true },
		{ "om", "joe@example.com", MEMBER_NO, true }, { "joe", "joe@example.com", MEMBER_NO, true },
	};
	struct table *t = table_new(new_settings(TABLE_MIRROR), "m", source);
	(void)state;

	t->settings->stale_miss = STALE_MISS_DOMAIN;
	t->settings->on_miss = ON_MISS_NOTFOUND;
	atomic_store(&t->mirror, new_mirror(10));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		oracle.request = text_of(cases[i].request);
		says_membership = cases[i].says;
		assert_int_equal(get(t, cases[i].key, BORN + MAX_AGE + 1).answer.verdict,
				 cases[i].is_doubt ? TEMP : NOTFOUND);
	}
	oracle.request = TEXT("");
	table_unref(t);
}

/* The directory failed a parked request: old value, then a FRESH mirror's word, then TEMP. */
static void a_failed_question_is_settled_on_the_safe_side(void **state)
{
	static const struct {
		enum table_mode mode;
		int has_mirror;
		uint64_t age;
		const char *stale;
		enum verdict want;
	} cases[] = {
		{ TABLE_DEMAND, 0, 0, "", TEMP },
		{ TABLE_DEMAND, 0, 0, "old", FOUND },
		{ TABLE_MIRROR, 1, 0, "old", FOUND },	/* newer than the scan may be */
		{ TABLE_MIRROR, 1, 0, "", NOTFOUND },
		{ TABLE_MIRROR, 1, MAX_AGE + 1, "", TEMP },
		{ TABLE_MIRROR, 1, STALE_MAX + 1, "", TEMP },
		{ TABLE_MIRROR, 0, 0, "", TEMP },
	};
	struct buf value = { 0 };
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct table *t = table_new(new_settings(cases[i].mode), "m", source);

		if (cases[i].has_mirror)
			atomic_store(&t->mirror, new_mirror(10));
		struct table_reply r = table_settle(t, TEXT("absent@example.com"),
						    BORN + cases[i].age, &oracle,
						    text_of(cases[i].stale),
						    answer_temp("why"), &value);
		if (r.answer.verdict != cases[i].want)
			fail_msg("case %zu: got %s", i, verdict_name(r.answer.verdict));
		table_unref(t);
	}
}

/* A FOUND may have been forgotten that the mirror does not know of. */
static void a_mirror_older_than_a_flush_proves_no_absence(void **state)
{
	const struct text absent = TEXT("absent@example.com"), present = TEXT("k1@example.com");
	const struct answer failed = answer_temp("why");
	struct table *t = table_new(new_settings(TABLE_MIRROR), "m", source);
	struct buf value = { 0 };
	struct table_reply r;
	(void)state;

	t->settings->stale_miss = STALE_MISS_NOTFOUND;
	atomic_store(&t->mirror, new_mirror(10));
	for (uint64_t now = BORN; now <= BORN + MAX_AGE + 1; now += MAX_AGE + 1) {
		atomic_store(&t->doubted, BORN);
		r = table_settle(t, absent, now, &oracle, TEXT(""), failed, &value);
		assert_int_equal(r.answer.verdict, NOTFOUND);
		table_doubt(t);
		r = table_settle(t, absent, now, &oracle, TEXT(""), failed, &value);
		assert_int_equal(r.answer.verdict, TEMP);
		assert_int_equal(r.origin, ORIGIN_DIRECTORY);
		r = table_settle(t, absent, now, &oracle, TEXT("old"), failed, &value);
		assert_int_equal(r.answer.verdict, FOUND);
		r = table_settle(t, present, now, &oracle, TEXT(""), failed, &value);
		assert_int_equal(r.answer.verdict, FOUND);
	}
	table_unref(t);
}

static void a_demand_table_says_only_what_the_directory_said(void **state)
{
	struct table *t = table_new(new_settings(TABLE_DEMAND), "m", source);
	const char *key = "joe@example.com";
	(void)state;

	assert_true(get(t, key, BORN).is_parked);
	demand_put(t->demand, text_of(key), answer_absent(PROOF_DIRECTORY), BORN);
	assert_int_equal(get(t, key, BORN + 10).answer.verdict, NOTFOUND);
	assert_true(get(t, key, BORN + 1000).is_parked);	/* negative_ttl is over */
	demand_put(t->demand, text_of(key), answer_temp("down"), BORN + 1000);
	assert_int_equal(get(t, key, BORN + 1001).answer.verdict, TEMP);
	demand_put(t->demand, text_of(key), answer_found(TEXT("v")), BORN + 3000);
	assert_int_equal(get(t, key, BORN + 3001).answer.verdict, FOUND);
	table_unref(t);
}

/* Only the directory compares them by its rules, so only it may say that there is none. */
static void odd_keys_go_past_the_mirror(void **state)
{
	static const char *const odd[] = { "k1@example.com ", "j\303\266rg@example.com", "k 1" };
	static const uint64_t ages[] = { 0, MAX_AGE + 1, STALE_MAX + 1 };
	struct buf value = { 0 };
	struct table *t = table_new(new_settings(TABLE_MIRROR), "m", source);
	(void)state;

	t->settings->on_miss = ON_MISS_NOTFOUND;
	t->settings->stale_miss = STALE_MISS_NOTFOUND;
	says_membership = MEMBER_NO;
	atomic_store(&t->mirror, new_mirror(10));
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		struct text key = text_of(odd[i]);

		assert_int_equal(get(t, odd[i], BORN).answer.verdict, NOTFOUND);
		t->settings->asks_odd_keys = true;
		for (size_t a = 0; a < sizeof ages / sizeof *ages; a++) {
			uint64_t now = BORN + ages[a];

			assert_true(get(t, odd[i], now).is_parked);
			assert_int_equal(table_peek(t, key, now, &oracle), TEMP);
			assert_int_equal(table_settle(t, key, now, &oracle, TEXT(""), answer_temp("why"),
						      &value).answer.verdict, TEMP);
			assert_int_equal(table_settle(t, key, now, &oracle, TEXT("old"), answer_temp(""),
						      &value).answer.verdict, FOUND);
		}
		demand_put(t->demand, key, answer_absent(PROOF_DIRECTORY), BORN);
		assert_int_equal(get(t, odd[i], BORN + 1).answer.verdict, NOTFOUND);
		assert_int_equal(table_peek(t, key, BORN + 1, &oracle), NOTFOUND);
		demand_put(t->demand, key, answer_found(TEXT("v")), BORN + 2);
		assert_int_equal(get(t, odd[i], BORN + 3).answer.verdict, FOUND);
		t->settings->asks_odd_keys = false;
	}
	t->settings->asks_odd_keys = true;	/* all others are as before */
	assert_int_equal(get(t, "k1@example.com", BORN).answer.verdict, FOUND);
	assert_int_equal(get(t, "absent@example.com", BORN).answer.verdict, NOTFOUND);
	table_unref(t);
}

static void keys_that_cannot_be_asked_are_absent(void **state)
{
	struct table_settings *s = new_settings(TABLE_DEMAND);
	(void)state;

	s->needs = (struct needs){ .domain = true };
	struct table *t = table_new(s, "m", source);
	assert_int_equal(get(t, "joe", BORN).answer.verdict, NOTFOUND);
	assert_true(get(t, "joe@example.com", BORN).is_parked);
	table_unref(t);
}

static void values_are_joined_as_postfix_joins_them(void **state)
{
	static const struct {
		const char *format, *values[4];
		size_t limit;
		enum verdict want;
		const char *text;
	} cases[] = {
		{ "%s", { "a", "b" }, 0, FOUND, "a,b" },
		{ "%s", { "", "b", "" }, 0, FOUND, "b" },
		{ "%s", { "" }, 0, NOTFOUND, NULL },
		{ "%s", { NULL }, 0, NOTFOUND, NULL },
		{ "%d", { "x@y", "z" }, 0, FOUND, "y" },
		{ "%d", { "z" }, 0, NOTFOUND, NULL },
		{ "OK", { "a", "b" }, 0, FOUND, "OK,OK" },
		{ "%s", { "a", "b" }, 2, FOUND, "a,b" },
		{ "%s", { "a", "b", "c" }, 2, TEMP, NULL },
		{ "%s", { "a", "", "c" }, 2, FOUND, "a,c" },
		{ "%s", { "a", "\377" }, 0, TEMP, NULL },
		{ "%U/%s", { "v" }, 0, FOUND, "joe/v" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct table_settings *s = new_settings(TABLE_DEMAND);
		struct values v = { 0 };
		struct buf why = { 0 };

		template_free(s->result_format);
		s->result_format = template_new(text_of(cases[i].format), TEMPLATE_RESULT, &why);
		s->expansion_limit = cases[i].limit;
		for (size_t k = 0; k < 4 && cases[i].values[k]; k++)
			values_add(&v, s, TEXT("joe@example.com"), text_of(cases[i].values[k]));
		struct answer a = values_answer(&v);
		if (a.verdict != cases[i].want)
			fail_msg("case %zu: got %s", i, verdict_name(a.verdict));
		if (a.verdict == FOUND)
			assert_text(a.value, cases[i].text);
		buf_done(&v.text);
		table_settings_free(s);
	}
}

/* A format may not look at the value, or drop it: that is no proof of anything. */
static void an_unusable_value_is_temp_whatever_the_format(void **state)
{
	static const char *const formats[] = { "%s", "%u", "%d", "OK", "%D" };
	(void)state;

	for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
		struct table_settings *s = new_settings(TABLE_DEMAND);
		struct values v = { 0 };
		struct buf why = { 0 };

		template_free(s->result_format);
		s->result_format = template_new(text_of(formats[i]), TEMPLATE_RESULT, &why);
		values_add(&v, s, TEXT("joe@example.com"), TEXT("a@b"));
		values_add(&v, s, TEXT("joe@example.com"), TEXT("\0"));
		assert_int_equal(values_answer(&v).verdict, TEMP);
		buf_done(&v.text);
		table_settings_free(s);
	}
}

static void suspicious_scans_are_rejected(void **state)
{
	static const struct { size_t old, new, min, rows, bad; unsigned shrink; bool want; } cases[] = {
		{ 0, 10, 1, 10, 0, 30, true },
		{ 0, 0, 3, 0, 0, 30, false },		/* fewer than min_entries */
		{ 0, 0, 0, 0, 0, 30, true },
		{ 100, 72, 1, 72, 0, 30, true },
		{ 100, 60, 1, 60, 0, 30, false },	/* shrunken by 40 % */
		{ 100, 60, 1, 60, 0, 50, true },
		{ 25, 10, 1, 10, 0, 30, true },		/* not more than 20 keys */
		{ 0, 100, 1, 100, 1, 30, true },	/* exactly 1 % bad */
		{ 0, 100, 1, 100, 2, 30, false },
	};
	struct table_settings *s = new_settings(TABLE_MIRROR);
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mirror *old = cases[i].old ? new_mirror(cases[i].old) : NULL;
		struct mirror *new = new_mirror(cases[i].new);

		s->min_entries = cases[i].min;
		s->max_shrink = cases[i].shrink;
		const struct judged j = { 0, old, new, cases[i].rows, cases[i].bad };
		enum scan_fault fault = scan_verdict(s, &j);
		if ((fault == SCAN_GOOD) != cases[i].want)
			fail_msg("case %zu: %s", i, scan_fault_name(fault));
		mirror_free(old);
		mirror_free(new);
	}
	table_settings_free(s);
}

static void a_scan_without_the_expected_keys_is_rejected(void **state)
{
	struct table_settings *s = new_settings(TABLE_MIRROR);
	struct text expect = TEXT("k3@example.com");
	struct mirror *small = new_mirror(3), *big = new_mirror(4);
	(void)state;

	s->expect = &expect;
	s->n_expect = 1;
	s->min_entries = 10;		/* what nobody can accept unseen is said first */
	assert_int_equal(scan_verdict(s, &(struct judged){ .new = small, .rows = 3 }), SCAN_LACKS_KEY);
	assert_int_equal(scan_verdict(s, &(struct judged){ .new = big, .rows = 4 }), SCAN_TOO_SMALL);
	s->min_entries = 1;
	assert_int_equal(scan_verdict(s, &(struct judged){ .new = big, .rows = 4 }), SCAN_GOOD);
	s->expect = NULL;
	s->n_expect = 0;
	mirror_free(small);
	mirror_free(big);
	table_settings_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_miss_follows_the_state_table),
		cmocka_unit_test(a_hit_is_found_until_the_copy_expires),
		cmocka_unit_test(a_bare_key_is_never_taken_for_foreign),
		cmocka_unit_test(a_key_without_a_domain_is_about_the_one_that_was_asked_for),
		cmocka_unit_test(a_failed_question_is_settled_on_the_safe_side),
		cmocka_unit_test(a_mirror_older_than_a_flush_proves_no_absence),
		cmocka_unit_test(a_demand_table_says_only_what_the_directory_said),
		cmocka_unit_test(odd_keys_go_past_the_mirror),
		cmocka_unit_test(keys_that_cannot_be_asked_are_absent),
		cmocka_unit_test(values_are_joined_as_postfix_joins_them),
		cmocka_unit_test(an_unusable_value_is_temp_whatever_the_format),
		cmocka_unit_test(suspicious_scans_are_rejected),
		cmocka_unit_test(a_scan_without_the_expected_keys_is_rejected),
	};

	hash_init();
	return cmocka_run_group_tests(tests, setup, teardown);
}

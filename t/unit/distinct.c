/* Values that a key has already are left out: in mirrors and in lookups. */
#include "unit/test.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/must.h"
#include "engine/table.h"

#include <stdio.h>

static bool is_it(const void *ctx, uint64_t place)
{
	return *(const uint64_t *)ctx == place;
}

/* However many places share a hash, the right one is found, and nothing that was not added. */
static void a_place_is_found_among_those_of_the_same_hash(void **state)
{
	struct distinct d = { 0 };
	(void)state;

	for (unsigned hashes = 1; hashes <= 1000; hashes *= 10) {
		for (uint64_t place = 1; place <= 2000; place++) {
			uint64_t hash = place % hashes << 40;

			assert_int_equal(distinct_find(&d, hash, is_it, &place), 0);
			assert_true(distinct_add(&d, hash, place));
			assert_int_equal(distinct_find(&d, hash, is_it, &place), place);
		}
		for (uint64_t place = 1; place <= 2000; place++) {
			assert_int_equal(
				distinct_find(&d, place % hashes << 40, is_it, &place), place);
			assert_int_equal(distinct_find(&d, 1, is_it, &place), 0);
		}
		distinct_clear(&d);
	}
	distinct_done(&d);
}

/* --- mirrors ------------------------------------------------------------------------ */

/* "key=value" and blanks between. NULL when a limit is exceeded. */
static struct mirror *mirror_of(const struct mirror_limits *limits, const char *rows)
{
	struct mirror_builder *b = mirror_builder_new(limits);
	struct text list = text_of(rows), item;

	while (text_next(&list, " ", &item)) {
		const char *eq = text_chr(item, '=');

		if (!mirror_add(b, text_before(item, eq), text_from(item, eq + 1))) {
			mirror_builder_free(b);
			return NULL;
		}
	}
	return mirror_seal(b, 1);
}

static void assert_says(const struct mirror *m, const char *key, const char *want)
{
	struct text value = TEXT("ABSENT");
	enum mirror_says says = mirror_find(m, text_of(key), &value);

	if (says == MIRROR_BAD)
		value = TEXT("BAD");
	assert_text(value, want);
}

static void a_mirror_keeps_the_first_of_equal_values(void **state)
{
	static const struct { const char *rows, *a, *b; } cases[] = {
		{ "a=1 a=1 a=1",                   "1",       "ABSENT" },
		{ "a=1 b=1 a=1 b=1",               "1",       "1" },	/* another key is another matter */
		{ "a=2 a=1 a=2 a=3 a=1",           "2,1,3",   "ABSENT" },
		{ "a=2 b=x a=1 b=y a=2 b=x a=3",   "2,1,3",   "x,y" },
		{ "a=1,2 a=1 a=2 a=1,2",           "1,2,1,2", "ABSENT" },	/* whole values, no pieces */
		{ "a=1 a=1,1 a=1",                 "1,1,1",   "ABSENT" },
		{ "a=11 a=1 a=111 a=11",           "11,1,111", "ABSENT" },
		{ "a=1 a= a=1",                    "BAD",     "ABSENT" },	/* an unusable value is none to skip */
		{ "a=1 b= a=1 b=2",                "1",       "BAD" },
	};
	const struct mirror_limits limits = {
		.max_entries = 9, .max_bytes = 999, .max_value = 99, .is_distinct = true,
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mirror *m = mirror_of(&limits, cases[i].rows);

		assert_says(m, "a", cases[i].a);
		assert_says(m, "b", cases[i].b);
		mirror_free(m);
	}
}

static void only_what_is_kept_counts_for_limits(void **state)
{
	static const struct { size_t values, value; const char *rows, *want; } cases[] = {
		{ 2, 99, "a=1 a=1 a=2 a=1 a=2",     "1,2" },
		{ 2, 99, "a=1 b=x a=1 a=2 a=3",     "BAD" },
		{ 1, 99, "a=1 a=1 b=x a=1",         "1" },
		{ 0, 3,  "a=1 a=2 a=1 a=2 a=1",     "1,2" },
		{ 0, 3,  "a=1 a=2 a=3",             "BAD" },
		{ 0, 3,  "a=1234 a=1234",           "BAD" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		const struct mirror_limits limits = {
			.max_entries = 9, .max_bytes = 999, .max_value = cases[i].value,
			.max_values = cases[i].values, .is_distinct = true,
		};
		struct mirror *m = mirror_of(&limits, cases[i].rows);

		assert_says(m, "a", cases[i].want);
		mirror_free(m);
	}
}

/* Neither time nor space: with a quadratic search this would not end today. */
static void a_million_equal_values_cost_next_to_nothing(void **state)
{
	const struct mirror_limits limits = {
		.max_entries = 9, .max_bytes = 1000, .max_value = 30, .max_values = 2,
		.is_distinct = true,
	};
	struct mirror_builder *b = mirror_builder_new(&limits);
	(void)state;

	for (int i = 0; i < 1000000; i++)
		assert_true(mirror_add(b, TEXT("example.com"), i % 2 ? TEXT("x") : TEXT("y")));
	assert_int_equal(mirror_builder_rows(b), 1000000);

	struct mirror *m = mirror_seal(b, 1);
	assert_says(m, "example.com", "y,x");
	mirror_free(m);
}

/* --- random rows, mirror and lookup, against a list that is searched ---------------- */

#define KEYS 20
#define VALUES 40

struct model {
	struct buf text;
	bool has[VALUES];
	size_t n;
};

static struct text value_of(size_t i)
{
	static const char *const values[] = {
		"a", "b", "a,b", "b,a", "a,b,a", ",", "a,", ",b"
	};
	static char text[40];

	snprintf(text, sizeof text, "%s%zu", values[i % 8], i / 8);
	return text_of(text);
}

static void model_add(struct model *m, size_t value, bool is_distinct)
{
	if (is_distinct && m->has[value])
		return;
	m->has[value] = true;
	buf_str(&m->text, m->n++ ? "," : "");
	buf_text(&m->text, value_of(value));
}

static void check(uint64_t seed, struct table_settings *s)
{
	static struct model model[KEYS];
	static struct values values[KEYS];
	const struct mirror_limits limits = {
		.max_entries = KEYS, .max_bytes = 1 << 20, .max_value = 1 << 16,
		.max_values = s->expansion_limit, .is_distinct = s->distinct_values,
	};
	struct mirror_builder *b = mirror_builder_new(&limits);

	for (unsigned row = 0; row < 400; row++) {
		size_t key = clock_random(&seed) % KEYS, value = clock_random(&seed) % VALUES;
		char name[40];

		snprintf(name, sizeof name, "k%zu", key);
		assert_true(mirror_add(b, text_of(name), value_of(value)));
		values_add(&values[key], s, text_of(name), value_of(value));
		model_add(&model[key], value, s->distinct_values);
	}

	struct mirror *m = mirror_seal(b, 1);
	for (size_t key = 0; key < KEYS; key++) {
		bool is_over = s->expansion_limit && model[key].n > s->expansion_limit;
		struct answer live = values_answer(&values[key]);
		char name[40];

		snprintf(name, sizeof name, "k%zu", key);
		const char *want = model[key].n == 0 ? "ABSENT" :
				   is_over ? "BAD" : buf_cstr(&model[key].text);
		assert_says(m, name, want);
		assert_int_equal(live.verdict, model[key].n == 0 ? NOTFOUND
					       : is_over	 ? TEMP
								 : FOUND);
		if (live.verdict == FOUND)
			assert_text(live.value, want);
		values_clear(&values[key]);
		assert_int_equal(values_answer(&values[key]).verdict, NOTFOUND);
		buf_done(&model[key].text);
		model[key] = (struct model){ 0 };
		if (seed % 2)
			values_done(&values[key]);
	}
	mirror_free(m);
	for (size_t key = 0; key < KEYS; key++)
		values_done(&values[key]);
}

static void mirror_and_lookup_agree_with_a_naive_model(void **state)
{
	struct table_settings s = { 0 };
	struct buf why = { 0 };
	(void)state;

	s.result_format = template_new(TEXT("%s"), TEMPLATE_RESULT, &why);
	for (uint64_t seed = 1; seed <= 200; seed++) {
		s.distinct_values = seed % 3;
		s.expansion_limit = seed % 5 ? 0 : seed % 30;
		check(seed, &s);
	}
	template_free(s.result_format);
}

/* --- lookups ------------------------------------------------------------------------ */

static void values_are_compared_as_result_format_makes_them(void **state)
{
	static const struct {
		const char *format, *values[5];
		size_t limit;
		enum verdict want;
		const char *text;
	} cases[] = {
		{ "%d", { "a@x", "b@x", "c@y", "d@x" }, 0, FOUND, "x,y" },
		{ "%d", { "a@x", "b@x", "c@y", "d@x" }, 2, FOUND, "x,y" },
		{ "%d", { "a@x", "b@x", "c@y", "d@x" }, 1, TEMP, NULL },
		{ "OK", { "a", "b", "c" }, 1, FOUND, "OK" },
		{ "%s", { "a,b", "a", "b", "a,b" }, 0, FOUND, "a,b,a,b" },
		{ "%s", { "a", "", "a" }, 0, FOUND, "a" },
		{ "%s", { "a", "a", "\377" }, 0, TEMP, NULL },
		{ "%s", { "\377", "\377" }, 0, TEMP, NULL },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct table_settings s = { .distinct_values = true };
		struct values v = { 0 };
		struct buf why = { 0 };

		s.result_format =
			template_new(text_of(cases[i].format), TEMPLATE_RESULT, &why);
		s.expansion_limit = cases[i].limit;
		for (size_t k = 0; k < 5 && cases[i].values[k]; k++)
			values_add(&v, &s, TEXT("joe@example.com"),
				   text_of(cases[i].values[k]));

		struct answer a = values_answer(&v);
		assert_int_equal(a.verdict, cases[i].want);
		if (a.verdict == FOUND)
			assert_text(a.value, cases[i].text);
		values_done(&v);
		template_free(s.result_format);
	}
}

static void any_number_of_values_takes_linear_time(void **state)
{
	struct table_settings s = { .distinct_values = true };
	struct values v = { 0 };
	struct buf why = { 0 };
	char text[20];
	(void)state;

	s.result_format = template_new(TEXT("%s"), TEMPLATE_RESULT, &why);
	for (int i = 0; i < 1000000; i++)
		values_add(&v, &s, TEXT("k"), TEXT("example.com"));
	assert_text(values_answer(&v).value, "example.com");

	values_clear(&v);
	for (int round = 0; round < 4; round++)		/* all that fit, several times */
		for (int i = 0; i < 150000; i++) {
			snprintf(text, sizeof text, "%d", i);
			values_add(&v, &s, TEXT("k"), text_of(text));
		}
	assert_int_equal(v.n, 150000);
	assert_int_equal(values_answer(&v).verdict, FOUND);
	for (int i = 0; i < 1000000; i++) {
		snprintf(text, sizeof text, "%d", i);
		values_add(&v, &s, TEXT("k"), text_of(text));
	}
	assert_text(values_answer(&v).value, "value too long");
	values_done(&v);
	template_free(s.result_format);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_place_is_found_among_those_of_the_same_hash),
		cmocka_unit_test(a_mirror_keeps_the_first_of_equal_values),
		cmocka_unit_test(only_what_is_kept_counts_for_limits),
		cmocka_unit_test(a_million_equal_values_cost_next_to_nothing),
		cmocka_unit_test(mirror_and_lookup_agree_with_a_naive_model),
		cmocka_unit_test(values_are_compared_as_result_format_makes_them),
		cmocka_unit_test(any_number_of_values_takes_linear_time),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

#include "unit/test.h"

#include "base/clock.h"
#include "base/hash.h"

#include <stdio.h>
#include <sys/mman.h>

/* --- the module itself, with a hash and a memory that the tests can spoil ----------- */

static bool is_hash_weak;		/* all keys but one in 256 collide */
static int allocations_left = -1;	/* until they fail; -1: never */
static ssize_t mapped;			/* bytes */

static uint64_t spoiled_hash(struct text t)
{
	return is_hash_weak ? hash_text(t) & 0xff00000000000000 : hash_text(t);
}

static bool is_out_of_memory(void)
{
	return allocations_left == 0 || (allocations_left > 0 && --allocations_left == 0);
}

static void *spoiled_mmap(void *p, size_t n, int prot, int flags, int fd, off_t off)
{
	if (is_out_of_memory())
		return MAP_FAILED;
	mapped += (ssize_t)n;
	return mmap(p, n, prot, flags, fd, off);
}

static void *spoiled_mremap(void *p, size_t old, size_t n, int flags)
{
	if (n > old && is_out_of_memory())
		return MAP_FAILED;
	mapped += (ssize_t)n - (ssize_t)old;
	return mremap(p, old, n, flags);
}

static int spoiled_munmap(void *p, size_t n)
{
	mapped -= (ssize_t)n;
	return munmap(p, n);
}

static void *spoiled_calloc(size_t n, size_t size)
{
	return is_out_of_memory() ? NULL : calloc(n, size);
}

static void *spoiled_malloc(size_t n)
{
	return is_out_of_memory() ? NULL : malloc(n);
}

static void *spoiled_realloc(void *p, size_t n)
{
	return is_out_of_memory() ? NULL : realloc(p, n);
}

#define hash_text spoiled_hash
#define mmap spoiled_mmap
#define mremap spoiled_mremap
#define munmap spoiled_munmap
#define calloc spoiled_calloc
#define malloc spoiled_malloc
#define realloc spoiled_realloc
#include "store/mirror.c"
#undef calloc
#undef malloc
#undef realloc

/* --- help --------------------------------------------------------------------------- */

static const struct mirror_limits wide = {
	.max_entries = 10000000, .max_bytes = (size_t)1 << 32, .max_value = 1 << 22,
};

/* "key=value" adds a value, "key!" a bad one. */
static bool add_row(struct mirror_builder *b, const char *row)
{
	struct text t = text_of(row);
	const char *eq = text_chr(t, '=');

	if (!eq)
		return mirror_add_bad(b, (struct text){ t.p, t.n - 1 });
	return mirror_add(b, text_before(t, eq), text_skip(text_from(t, eq), 1));
}

/* A mirror of rows, which end with a blank; NULL when it is refused. */
static struct mirror *mirror_of(const struct mirror_limits *limits, const char *rows)
{
	struct mirror_builder *b = mirror_builder_new(limits);
	struct text list = text_of(rows), item;

	while (text_next(&list, " ", &item)) {
		struct buf row = { 0 };
		buf_text(&row, item);

		bool is_good = add_row(b, buf_cstr(&row));
		buf_done(&row);
		if (!is_good) {
			mirror_builder_free(b);
			return NULL;
		}
	}
	return mirror_seal(b, 42);
}

/* What the mirror says, in a word: the value, "BAD" or "ABSENT". */
static struct text said(const struct mirror *m, struct text key)
{
	struct text value = TEXT("untouched");

	switch (mirror_find(m, key, &value)) {
	case MIRROR_ABSENT:
		assert_text(value, "untouched");
		return TEXT("ABSENT");
	case MIRROR_BAD:
		assert_text(value, "untouched");
		return TEXT("BAD");
	case MIRROR_HIT:
		return value;
	}
	fail();
	return TEXT("");
}

static struct buf repeated(char c, size_t n)
{
	struct buf b = { 0 };

	memset(buf_room(&b, n), c, n);
	b.n = n;
	return b;
}

/* --- tests -------------------------------------------------------------------------- */

static void an_empty_mirror_holds_nothing(void **state)
{
	struct mirror *m = mirror_of(&wide, "");
	(void)state;

	assert_text(said(m, TEXT("a@b")), "ABSENT");
	assert_text(said(m, TEXT("")), "ABSENT");
	assert_int_equal(mirror_entries(m), 0);
	assert_int_equal(mirror_payload(m), 0);
	mirror_free(m);
	mirror_free(NULL);
	mirror_builder_free(NULL);
}

static const struct { const char *rows, *key, *want; } joins[] = {
	{ "a=1",                    "a", "1" },
	{ "a=1",                    "b", "ABSENT" },
	{ "a=1 a=2 a=3",            "a", "1,2,3" },
	{ "a=1 b=x a=2",            "a", "1,2" },
	{ "a=1 b=x a=2",            "b", "x" },
	{ "a=1 b=x a=2 b=y a=3 c=z", "a", "1,2,3" },
	{ "a=1 b=x a=2 b=y a=3 c=z", "b", "x,y" },
	{ "a=1 b=x a=2 b=y a=3 c=z", "c", "z" },
	{ "a=2 b=x a=1 a=2",        "a", "2,1,2" },
	{ "b=x b=y a=1 b=z b=z",    "b", "x,y,z,z" },
	{ "a!",                     "a", "BAD" },
	{ "a=",                     "a", "BAD" },
	{ "a! a=1",                 "a", "BAD" },
	{ "a=1 a!",                 "a", "BAD" },
	{ "a=1 a= a=2",             "a", "BAD" },
	{ "a=1 b=x a!",             "a", "BAD" },
	{ "a! b=x a=1",             "a", "BAD" },
	{ "a=1 b=x a! b=y a=2",     "a", "BAD" },
	{ "a=1 b=x a! b=y a=2",     "b", "x,y" },
	{ "=1 a=x =2",              "",  "1,2" },
};

static void rows_of_a_key_are_joined_in_the_order_they_come(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
		struct mirror *m = mirror_of(&wide, joins[i].rows);

		assert_text(said(m, text_of(joins[i].key)), joins[i].want);
		mirror_free(m);
	}
}

static void a_value_over_the_limit_makes_its_key_bad(void **state)
{
	const struct mirror_limits five = {
		.max_entries = 9, .max_bytes = 999, .max_value = 5,
	};
	static const struct { const char *rows, *want; size_t bad; } cases[] = {
		{ "a=12345",         "12345",  0 },
		{ "a=123456",        "BAD",    1 },
		{ "a=12 a=45",       "12,45",  0 },
		{ "a=12 a=456",      "BAD",    1 },
		{ "a=12 b=x a=45",   "12,45",  0 },
		{ "a=12 b=x a=456",  "BAD",    1 },
		{ "a=123456 a=1",    "BAD",    1 },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mirror *m = mirror_of(&five, cases[i].rows);

		assert_text(said(m, TEXT("a")), cases[i].want);
		assert_int_equal(mirror_bad(m), cases[i].bad);
		mirror_free(m);
	}
}

static void too_many_values_make_a_key_bad(void **state)
{
	const struct mirror_limits two = {
		.max_entries = 9, .max_bytes = 999, .max_value = 99, .max_values = 2,
	};
	static const struct { const char *rows, *want; } cases[] = {
		{ "a=1,2,3",                "1,2,3" },
		{ "a=1 a=2",                "1,2" },
		{ "a=1 a=2 a=3",            "BAD" },
		{ "b=1 a=1 b=2 a=2",        "1,2" },
		{ "b=1 a=1 b=2 a=2 b=3",    "1,2" },
		{ "a=1 b=1 a=2 b=2 a=3",    "BAD" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct mirror *m = mirror_of(&two, cases[i].rows);

		assert_text(said(m, TEXT("a")), cases[i].want);
		mirror_free(m);
	}
}

static void any_bytes_can_be_keys_and_values(void **state)
{
	struct mirror_builder *b = mirror_builder_new(&wide);
	(void)state;

	for (unsigned i = 0; i < 65536; i++) {
		char key[3] = { (char)i, '\0', (char)(i >> 8) };
		struct text value = { (char[]){ '\0', (char)(i >> 8), (char)i }, 3 };

		assert_true(mirror_add(b, (struct text){ key, 3 }, value));
	}

	struct mirror *m = mirror_seal(b, 1);
	for (unsigned i = 0; i < 65536; i++) {
		char key[3] = { (char)i, '\0', (char)(i >> 8) };
		struct text value = { (char[]){ '\0', (char)(i >> 8), (char)i }, 3 };

		assert_true(text_eq(said(m, (struct text){ key, 3 }), value));
		assert_text(said(m, (struct text){ key, 2 }), "ABSENT");
	}
	mirror_free(m);
}

static void lengths_may_be_anything(void **state)
{
	static const size_t lengths[] = {
		1, 126, 127, 128, 129, 16382, 16383, 16384, 65535, 65536,
	};
	const size_t n = sizeof lengths / sizeof *lengths;
	(void)state;

	for (size_t k = 0; k < n; k++)
		for (size_t v = 0; v < n; v++) {
			struct buf key = repeated('k', lengths[k]);
			struct buf value = repeated('v', lengths[v]);
			struct mirror_builder *b = mirror_builder_new(&wide);

			assert_true(mirror_add(b, buf_view(&key), TEXT("first")));
			assert_true(mirror_add(b, buf_view(&key), buf_view(&value)));
			assert_true(mirror_add(b, TEXT("other"), TEXT("x")));
			assert_true(mirror_add(b, buf_view(&key), buf_view(&value)));

			struct mirror *m = mirror_seal(b, 1);
			struct text got = said(m, buf_view(&key));
			assert_int_equal(got.n, 5 + 2 + 2 * lengths[v]);
			assert_memory_equal(got.p, "first,v", 7);
			assert_memory_equal(got.p + 6, value.p, value.n);
			assert_int_equal(got.p[6 + value.n], ',');
			assert_memory_equal(got.p + 7 + value.n, value.p, value.n);
			assert_text(said(m, TEXT("other")), "x");
			mirror_free(m);
			buf_done(&key);
			buf_done(&value);
		}
}

static void a_key_too_long_to_keep_is_never_called_absent(void **state)
{
	struct buf key = repeated('k', MIRROR_MAX_KEY + 1);
	struct mirror_builder *b = mirror_builder_new(&wide);
	(void)state;

	assert_true(mirror_add(b, buf_view(&key), TEXT("v")));
	assert_int_equal(mirror_builder_rows(b), 1);
	assert_int_equal(mirror_builder_bad(b), 1);

	struct mirror *m = mirror_seal(b, 1);
	assert_int_equal(mirror_entries(m), 0);
	assert_text(said(m, buf_view(&key)), "BAD");
	key.n--;
	assert_text(said(m, buf_view(&key)), "ABSENT");
	mirror_free(m);
	buf_done(&key);
}

static void more_entries_than_allowed_give_no_mirror(void **state)
{
	const struct mirror_limits two = {
		.max_entries = 2, .max_bytes = 999, .max_value = 99,
	};
	(void)state;

	struct mirror *m = mirror_of(&two, "a=1 b=1 a=2 b=2");
	assert_int_equal(mirror_entries(m), 2);
	mirror_free(m);
	assert_null(mirror_of(&two, "a=1 b=1 c=1"));
	assert_null(mirror_of(&two, "a=1 b=1 a=2 c=1"));
}

static void more_bytes_than_allowed_are_refused(void **state)
{
	const struct mirror_limits limits = {
		.max_entries = 9, .max_bytes = 20, .max_value = 99,
	};
	(void)state;

	struct mirror *m = mirror_of(&limits, "aaaaa=1234567890123");
	assert_text(said(m, TEXT("aaaaa")), "1234567890123");
	mirror_free(m);
	assert_null(mirror_of(&limits, "aaaaa=12345678901234"));
	assert_null(mirror_of(&limits, "aaaaa=1 aaaaa=123456789012"));
	assert_null(mirror_of(&limits, "aaaaa=1 bbbbb=1 ccccc=1"));
}

static void counts_rows_and_bad_ones(void **state)
{
	struct mirror_builder *b = mirror_builder_new(&wide);
	static const char *const rows[] = { "a=1", "a=2", "b!", "c=33", "b=1", "a=" };
	(void)state;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_true(add_row(b, rows[i]));
	assert_int_equal(mirror_builder_rows(b), 6);
	assert_int_equal(mirror_builder_bad(b), 2);

	struct mirror *m = mirror_seal(b, 4711);
	assert_int_equal(mirror_entries(m), 3);
	assert_int_equal(mirror_bad(m), 2);
	assert_int_equal(mirror_payload(m), strlen("abc33"));
	assert_int_equal(mirror_born(m), 4711);
	mirror_free(m);
}

static void keys_that_hash_alike_are_told_apart(void **state)
{
	struct mirror_builder *b;
	char key[16];
	(void)state;

	is_hash_weak = true;
	b = mirror_builder_new(&wide);
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof key, "%d", i);
		assert_true(mirror_add(b, text_of(key), text_of(key)));
	}

	struct mirror *m = mirror_seal(b, 1);
	for (int i = 0; i < 4000; i++) {
		snprintf(key, sizeof key, "%d", i);
		assert_text(said(m, text_of(key)), i < 2000 ? key : "ABSENT");
	}
	mirror_free(m);
	is_hash_weak = false;
}

/* Quadratic work would take minutes here. */
static void a_hundred_thousand_values_of_one_key_are_joined(void **state)
{
	(void)state;
	for (int is_apart = 0; is_apart < 2; is_apart++) {
		struct mirror_builder *b = mirror_builder_new(&wide);

		for (int i = 0; i < 100000; i++) {
			assert_true(mirror_add(b, TEXT("all@a.test"), TEXT("one@a.test")));
			if (is_apart)
				assert_true(mirror_add(b, TEXT("b"), TEXT("x")));
		}

		struct mirror *m = mirror_seal(b, 1);
		assert_int_equal(said(m, TEXT("all@a.test")).n, 100000 * 11 - 1);
		assert_int_equal(mirror_entries(m), 1 + is_apart);
		mirror_free(m);
	}
}

static void the_bytes_may_lie_anywhere(void **state)
{
	struct mirror *m = mirror_of(&wide, "a=1 b=2 a=3 c!");
	(void)state;

	struct mirror *copy = malloc(mirror_bytes(m));
	memcpy((void *)copy, (void *)m, mirror_bytes(m));
	memset((void *)m, 0xff, mirror_bytes(m));
	assert_text(said(copy, TEXT("a")), "1,3");
	assert_text(said(copy, TEXT("b")), "2");
	assert_text(said(copy, TEXT("c")), "BAD");
	assert_text(said(copy, TEXT("d")), "ABSENT");
	spoiled_munmap(m, mirror_bytes(copy));
	free(copy);
}

static void samples_are_good_entries_and_reach_them_all(void **state)
{
	static const char *const none[] = { "", "a! b!" };
	struct mirror *m = mirror_of(&wide, "a=1 b=2 c! d=4 a=5");
	struct text key, value;
	unsigned seen = 0;
	(void)state;

	for (uint64_t random = 0; random < 100; random++) {
		assert_true(mirror_sample(m, random, &key, &value));
		assert_int_equal(key.n, 1);
		assert_true(text_eq(said(m, key), value));
		seen |= 1u << (key.p[0] - 'a');
	}
	assert_int_equal(seen, 1 | 2 | 8);
	mirror_free(m);

	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		m = mirror_of(&wide, none[i]);
		assert_false(mirror_sample(m, UINT64_MAX, &key, &value));
		mirror_free(m);
	}
}

/* `n` entries, each in `runs` rows that are far apart. */
static void assert_small(unsigned n, unsigned runs)
{
	struct mirror_builder *b = mirror_builder_new(&wide);
	char key[40], value[40];

	for (unsigned run = 0; run < runs; run++)
		for (unsigned i = 0; i < n; i++) {
			snprintf(key, sizeof key, "user%u@domain%u.example", i, i % 977);
			snprintf(value, sizeof value, "box%u@imap.example", i);
			assert_true(mirror_add(b, text_of(key), text_of(value)));
		}

	struct mirror *m = mirror_seal(b, 1);
	assert_int_equal(mirror_entries(m), n);
	assert_true(mirror_bytes(m) - mirror_payload(m) <= 16 * mirror_entries(m));
	mirror_free(m);
}

static void an_entry_costs_at_most_16_bytes_beyond_key_and_value(void **state)
{
	(void)state;
	assert_small(1000000, 1);
	assert_small(100000, 2);
}

/* The oracle: values of each of a few keys, joined as they come. */
#define KEYS 300

static struct text make_key(unsigned i)
{
	static char key[KEYS + 1];

	snprintf(key, sizeof key, "%0*u", 1 + (int)(i % 7 ? i % 5 : i), i);
	return text_of(key);
}

static void check_against_model(uint64_t seed)
{
	static struct { struct buf value; bool is_bad; unsigned n; } model[KEYS];
	const struct mirror_limits limits = {
		.max_entries = KEYS, .max_bytes = 1 << 20,
		.max_value = 1 + clock_random(&seed) % 400,
		.max_values = clock_random(&seed) % 3 * 5,
	};
	struct mirror_builder *b = mirror_builder_new(&limits);
	unsigned n_rows = (unsigned)(clock_random(&seed) % 1500), i = 0;
	char value[200];

	memset(value, 'v', sizeof value);
	for (unsigned row = 0; row < n_rows; row++) {
		if (clock_random(&seed) % 3)	/* else one more for the same key */
			i = (unsigned)(clock_random(&seed) % KEYS);

		size_t n = clock_random(&seed) % (clock_random(&seed) % 10 ? 20 : 200);
		if (n) {
			buf_str(&model[i].value, model[i].n++ ? "," : "");
			buf_add(&model[i].value, value, n);
		} else {
			model[i].is_bad = true;
		}
		assert_true(mirror_add(b, make_key(i), (struct text){ value, n }));
	}

	struct mirror *m = mirror_seal(b, 1);
	size_t n_found = 0;
	for (i = 0; i < KEYS; i++) {
		bool is_there = model[i].n || model[i].is_bad;
		struct text got = said(m, make_key(i));
		if (!is_there)
			assert_text(got, "ABSENT");
		else if (model[i].is_bad || model[i].value.n > limits.max_value ||
			 (limits.max_values && model[i].n > limits.max_values))
			assert_text(got, "BAD");
		else
			assert_true(text_eq(got, buf_view(&model[i].value)));
		n_found += is_there;
		buf_done(&model[i].value);
	}
	memset(model, 0, sizeof model);
	assert_int_equal(mirror_entries(m), n_found);
	mirror_free(m);
}

static void agrees_with_a_naive_model_on_random_rows(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 400; seed++)
		check_against_model(seed * 7919);
}

static bool build_with(int allocations)
{
	static const char *const names[] = { "a", "b", "c" };
	char value[5000];
	bool is_good = true;

	memset(value, 'v', sizeof value);
	allocations_left = allocations;
	struct mirror_builder *b = mirror_builder_new(&wide);
	for (int i = 0; b && is_good && i < 300; i++)
		is_good = mirror_add(b, text_of(names[i % 3]),
				     (struct text){ value, sizeof value });

	struct mirror *m = NULL;
	if (is_good && b)
		m = mirror_seal(b, 1);
	else
		mirror_builder_free(b);
	allocations_left = -1;
	if (m)
		assert_int_equal(said(m, TEXT("b")).n, 100 * (sizeof value + 1) - 1);
	mirror_free(m);
	return m;
}

static void without_memory_there_is_no_mirror_and_no_leak(void **state)
{
	int n = 1;
	(void)state;

	for (mapped = 0; !build_with(n); n++)
		assert_int_equal(mapped, 0);
	assert_true(n > 8);
	assert_int_equal(mapped, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_mirror_holds_nothing),
		cmocka_unit_test(rows_of_a_key_are_joined_in_the_order_they_come),
		cmocka_unit_test(a_value_over_the_limit_makes_its_key_bad),
		cmocka_unit_test(too_many_values_make_a_key_bad),
		cmocka_unit_test(any_bytes_can_be_keys_and_values),
		cmocka_unit_test(lengths_may_be_anything),
		cmocka_unit_test(a_key_too_long_to_keep_is_never_called_absent),
		cmocka_unit_test(more_entries_than_allowed_give_no_mirror),
		cmocka_unit_test(more_bytes_than_allowed_are_refused),
		cmocka_unit_test(counts_rows_and_bad_ones),
		cmocka_unit_test(keys_that_hash_alike_are_told_apart),
		cmocka_unit_test(a_hundred_thousand_values_of_one_key_are_joined),
		cmocka_unit_test(the_bytes_may_lie_anywhere),
		cmocka_unit_test(samples_are_good_entries_and_reach_them_all),
		cmocka_unit_test(an_entry_costs_at_most_16_bytes_beyond_key_and_value),
		cmocka_unit_test(agrees_with_a_naive_model_on_random_rows),
		cmocka_unit_test(without_memory_there_is_no_mirror_and_no_leak),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

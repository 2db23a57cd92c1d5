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
#include "store/mirror_builder.c"
#include "store/mirror_index.c"
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

/* --- images ------------------------------------------------------------------------- */

static const char *refused;

/* A mirror of a copy that is exactly as long; NULL when it is refused, with a reason. */
static struct mirror *copy_of(struct text image, size_t entries,
			      const struct mirror_limits *limits)
{
	struct text copy = exact_copy(image);
	struct mirror *m = mirror_from_image(copy, entries, limits, 4711, &refused);

	free((char *)copy.p);
	return m;
}

static void assert_same(const struct mirror *a, const struct mirror *b)
{
	const char *base = (const char *)a;
	struct record r;

	assert_true(text_eq(mirror_image(a), mirror_image(b)));
	assert_int_equal(mirror_entries(a), mirror_entries(b));
	assert_int_equal(mirror_bad(a), mirror_bad(b));
	assert_int_equal(mirror_payload(a), mirror_payload(b));
	assert_int_equal(mirror_bytes(a), mirror_bytes(b));
	for (size_t at = FIRST; at < a->end; at = (size_t)(r.end - base)) {
		r = record_at(base + at);
		assert_true(text_eq(said(a, r.key), said(b, r.key)));
	}
}

static void a_copy_by_image_says_the_same(void **state)
{
	static const char *const rows[] = {
		"", "a!", "a=1", "=1", "=", "a=1 b=x a=2 b=y a=3 c=z c!", "b! a=1 b=2 d=3",
	};
	(void)state;

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct mirror *m = mirror_of(&wide, rows[i]);
		struct mirror *copy = copy_of(mirror_image(m), mirror_entries(m), &wide);

		assert_true(mirror_image(m).n > 0);
		assert_same(m, copy);
		assert_int_equal(mirror_born(copy), 4711);
		assert_text(said(copy, TEXT("e")), "ABSENT");
		mirror_free(m);
		mirror_free(copy);
	}
}

static void a_copy_is_as_complete_as_the_original(void **state)
{
	struct mirror_builder *b = mirror_builder_new(&wide);
	struct buf long_key = repeated('k', MIRROR_MAX_KEY), long_value = repeated('v', 70000);
	char key[16];
	(void)state;

	for (unsigned i = 0; i < 100000; i++) {
		snprintf(key, sizeof key, "%u", i);
		assert_true(mirror_add(b, text_of(key), i % 50 ? text_of(key) : TEXT("")));
	}
	assert_true(mirror_add(b, buf_view(&long_key), buf_view(&long_value)));
	assert_true(mirror_add(b, TEXT("nul"), TEXT("\0\0a\0")));

	struct mirror *m = mirror_seal(b, 1);
	struct mirror *copy = copy_of(mirror_image(m), 100002, &wide);
	assert_same(m, copy);
	assert_true(text_eq(said(copy, TEXT("nul")), TEXT("\0\0a\0")));
	for (unsigned i = 100000; i < 200000; i++) {
		snprintf(key, sizeof key, "%u", i);
		assert_text(said(copy, text_of(key)), "ABSENT");
	}
	mirror_free(m);
	mirror_free(copy);
	buf_done(&long_key);
	buf_done(&long_value);
}

#define F "\1"			/* the format */
#define BYTES(literal) { literal, sizeof(literal) - 1 }
#define NINE "\xff\xff\xff\xff\xff\xff\xff\xff\xff"

static const struct { struct text image; size_t entries; bool is_good; } images[] = {
	{ BYTES(F),                        0, true },
	{ BYTES(F),                        1, false },
	{ BYTES(""),                       0, false },
	{ BYTES("\0"),                     0, false },
	{ BYTES("\2"),                     0, false },
	{ BYTES(F "\1\1kv"),               1, true },
	{ BYTES(F "\1\1kv"),               0, false },
	{ BYTES(F "\1\1kv"),               2, false },
	{ BYTES(F "\1\1k"),                1, false },
	{ BYTES(F "\1"),                   1, false },
	{ BYTES(F "\1\1kv\1"),             1, false },
	{ BYTES(F "\0\0"),                 1, true },
	{ BYTES(F "\0\0\0\0"),             2, false },	/* the same key twice */
	{ BYTES(F "\1\1kv\1\1kv"),         2, false },
	{ BYTES(F "\1\1kv\1\1kv"),         1, false },
	{ BYTES(F "\1\1kv\1\1lv"),         2, true },
	{ BYTES(F "\1\0k\1\1lv"),          2, true },
	{ BYTES(F "\1\5k12345"),           1, true },
	{ BYTES(F "\x81\0\1kv"),           1, false },	/* not the shortest form */
	{ BYTES(F "\1\x81\0kv"),           1, false },
	{ BYTES(F NINE "\1\0"),           1, false },	/* 2^64 - 1 */
	{ BYTES(F NINE "\2\0"),           1, false },	/* more bits than 64 */
	{ BYTES(F NINE "\xff\1\0"),       1, false },
	{ BYTES(F "\x81\x80\x80\x80\x80\x80\x80\x80\x80\2\1kv"), 1, false },
	{ BYTES(F "\1" NINE "\1k"),       1, false },
	{ BYTES(F "\1" NINE "\1\0\0"),    2, false },	/* key and value together wrap */
	{ BYTES(F NINE "\1" NINE "\1"),  1, false },
	{ BYTES(F "\x81\x80\x04\0"),       1, false },	/* over MIRROR_MAX_KEY */
};

static void what_is_no_image_is_refused(void **state)
{
	const struct mirror_limits any = { 9, SIZE_MAX, .max_value = SIZE_MAX };
	(void)state;

	for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
		struct mirror *m = copy_of(images[i].image, images[i].entries, &any);

		if ((m != NULL) != images[i].is_good)
			fail_msg("image %zu", i);
		if (m)
			assert_int_equal(mirror_entries(m), images[i].entries);
		mirror_free(m);
	}
	assert_int_equal(mapped, 0);
}

static void an_image_beyond_the_limits_is_refused(void **state)
{
	struct mirror *m = mirror_of(&wide, "a=1234 b=12 c!");
	struct text image = mirror_image(m);
	const struct mirror_limits enough = {
		.max_entries = 3, .max_bytes = image.n - 1, .max_value = 4,
	};
	static const char *const reasons[] = {
		NULL, "more entries than now allowed", "more bytes than now allowed",
		"a value is longer than now allowed",
	};
	(void)state;

	for (int i = 0; i < 4; i++) {
		struct mirror_limits limits = enough;

		limits.max_entries -= i == 1;
		limits.max_bytes -= i == 2;
		limits.max_value -= i == 3;

		struct mirror *copy = copy_of(image, 3, &limits);
		assert_true((copy != NULL) == (i == 0));
		if (i)
			assert_string_equal(refused, reasons[i]);
		mirror_free(copy);
	}

	struct buf key = repeated('k', MIRROR_MAX_KEY + 1), long_image = { 0 };
	for (int is_longer = 0; is_longer < 2; is_longer++) {
		buf_clear(&long_image);
		buf_add(&long_image, is_longer ? "\1\x81\x80\4\1" : "\1\x80\x80\4\1", 5);
		buf_add(&long_image, key.p, MIRROR_MAX_KEY + (size_t)is_longer);
		buf_byte(&long_image, 'v');

		struct mirror *copy = copy_of(buf_view(&long_image), 1, &wide);
		assert_true((copy != NULL) == !is_longer);
		mirror_free(copy);
	}
	mirror_free(m);
	buf_done(&key);
	buf_done(&long_image);
}

/* Every image that is cut or changed is refused, or it is another one that holds together. */
static void no_image_does_any_harm(void **state)
{
	struct mirror *m = mirror_of(&wide, "a=1 bb=22 ccc! dddd=4 =e");
	struct text image = mirror_image(m);
	struct buf changed = { 0 };
	(void)state;

	for (size_t n = 0; n < image.n; n++)
		assert_null(copy_of((struct text){ image.p, n }, 5, &wide));
	for (size_t i = 0; i < image.n * 256; i++) {
		buf_clear(&changed);
		buf_text(&changed, image);
		changed.p[i / 256] = (char)i;

		struct mirror *other = copy_of(buf_view(&changed), 5, &wide);
		if (other) {
			assert_true(text_eq(mirror_image(other), buf_view(&changed)));
			assert_same(other, other);
		}
		mirror_free(other);
	}
	mirror_free(m);
	assert_int_equal(mapped, 0);
	buf_done(&changed);
}

static void a_mirror_lives_until_its_last_reference_goes(void **state)
{
	struct mirror *m = mirror_of(&wide, "a=1");
	(void)state;

	assert_ptr_equal(mirror_ref(m), m);
	assert_ptr_equal(mirror_ref(m), m);
	mirror_free(m);
	mirror_free(m);
	assert_text(said(m, TEXT("a")), "1");
	assert_true(mapped > 0);
	mirror_free(m);
	assert_int_equal(mapped, 0);
}

/* --- memory ------------------------------------------------------------------------- */

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

static void without_memory_there_is_no_copy_and_no_leak(void **state)
{
	struct mirror *m = mirror_of(&wide, "a=1 b=2");
	ssize_t before = mapped;
	const char *why = NULL;
	(void)state;

	allocations_left = 1;
	assert_null(mirror_from_image(mirror_image(m), 2, &wide, 1, &why));
	assert_string_equal(why, "out of memory");
	allocations_left = -1;
	assert_int_equal(mapped, before);
	mirror_free(m);
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
		cmocka_unit_test(a_copy_by_image_says_the_same),
		cmocka_unit_test(a_copy_is_as_complete_as_the_original),
		cmocka_unit_test(what_is_no_image_is_refused),
		cmocka_unit_test(an_image_beyond_the_limits_is_refused),
		cmocka_unit_test(no_image_does_any_harm),
		cmocka_unit_test(a_mirror_lives_until_its_last_reference_goes),
		cmocka_unit_test(without_memory_there_is_no_mirror_and_no_leak),
		cmocka_unit_test(without_memory_there_is_no_copy_and_no_leak),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

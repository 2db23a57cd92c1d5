/* Lookups as they are answered, for those who watch: who is told what, and what it costs nobody. */
#include "unit/test.h"

#include "engine/trace.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static const struct tally from_cache = { .origin = ORIGIN_CACHE, .is_stale = true };

static void tell(const char *map, const char *key, struct answer sent)
{
	trace_tell(text_of(map), text_of(key), &sent, PROTOCOL_SOCKETMAP, &from_cache, 17);
}

/* The next event in words: "map key VERDICT value", "" for none. The result is static. */
static const char *next(struct trace *t)
{
	static char said[4 * TRACE_TEXT];
	struct trace_event e;
	uint64_t lost;

	if (!trace_next(t, 0, &e, &lost)) {
		snprintf(said, sizeof said, "%s", "");
		return said;
	}
	assert_int_equal(lost, 0);
	snprintf(said, sizeof said, "%s %s %s %s", buf_cstr(&e.map), buf_cstr(&e.key),
		 verdict_name(e.verdict), buf_cstr(&e.value));
	trace_event_done(&e);
	return said;
}

static void a_watcher_is_told_of_each_answer_in_order(void **state)
{
	struct trace *t = trace_begin(TEXT(""));
	struct trace_event e;
	uint64_t lost;
	(void)state;

	assert_true(trace_is_on());
	tell("m", "a", answer_found(TEXT("v")));
	tell("n", "b", answer_temp("down"));
	tell("", "", answer_perm("bad request"));
	assert_string_equal(next(t), "m a FOUND v");
	assert_string_equal(next(t), "n b TEMP down");
	assert_string_equal(next(t), "  PERM bad request");
	assert_string_equal(next(t), "");

	tell("m", "a", answer_found(TEXT("v")));
	assert_true(trace_next(t, 1000, &e, &lost));
	assert_int_equal(e.protocol, PROTOCOL_SOCKETMAP);
	assert_int_equal(e.origin, ORIGIN_CACHE);
	assert_true(e.is_stale && e.took == 17 && e.at > 0);
	trace_event_done(&e);
	trace_end(t);
	assert_false(trace_is_on());
}

static void a_watcher_of_one_map_is_told_of_no_other(void **state)
{
	struct trace *one = trace_begin(TEXT("m")), *all = trace_begin(TEXT(""));
	(void)state;

	tell("m", "a", answer_found(TEXT("v")));
	tell("mm", "a", answer_found(TEXT("v")));
	tell("", "a", answer_found(TEXT("v")));
	assert_string_equal(next(one), "m a FOUND v");
	assert_string_equal(next(one), "");
	assert_string_equal(next(all), "m a FOUND v");
	assert_string_equal(next(all), "mm a FOUND v");
	assert_string_equal(next(all), " a FOUND v");
	trace_end(one);
	assert_true(trace_is_on());
	trace_end(all);
}

static void long_texts_are_cut_between_characters(void **state)
{
	struct trace *t = trace_begin(TEXT(""));
	char value[2 * TRACE_TEXT + 1];
	struct trace_event e;
	uint64_t lost;
	(void)state;

	for (size_t shift = 0; shift < 4; shift++) {
		memset(value, 'x', sizeof value);
		for (size_t i = shift; i + 4 < sizeof value; i += 4)
			memcpy(value + i, "\xf0\x9f\x93\xab", 4);
		tell("m", "a", answer_found((struct text){ value, sizeof value - 1 }));
		assert_true(trace_next(t, 0, &e, &lost));
		assert_true(e.value.n <= TRACE_TEXT && e.value.n > TRACE_TEXT - 4);
		assert_int_equal((e.value.n - shift) % 4, 0);
		assert_memory_equal(e.value.p, value, e.value.n);
		trace_event_done(&e);
	}
	trace_end(t);
}

static void who_does_not_come_loses_and_is_told_how_much(void **state)
{
	struct trace *t = trace_begin(TEXT("")), *idle = trace_begin(TEXT(""));
	struct trace_event e;
	uint64_t lost, n = 0, n_lost = 0;
	(void)state;

	for (size_t i = 0; i < TRACE_QUEUE + 5; i++)
		tell("m", "a", answer_found(TEXT("v")));
	while (trace_next(t, 0, &e, &lost)) {
		n++;
		n_lost += lost;
		trace_event_done(&e);
	}
	assert_int_equal(n, TRACE_QUEUE);
	assert_int_equal(n_lost, 5);
	tell("m", "b", answer_found(TEXT("v")));
	assert_string_equal(next(t), "m b FOUND v");
	trace_end(t);
	trace_end(idle);	/* with a full queue */
}

static void there_is_room_for_so_many(void **state)
{
	struct trace *t[TRACE_WATCHERS];
	(void)state;

	for (size_t i = 0; i < TRACE_WATCHERS; i++)
		assert_non_null(t[i] = trace_begin(TEXT("")));
	assert_null(trace_begin(TEXT("")));
	trace_end(t[3]);
	assert_non_null(t[3] = trace_begin(TEXT("m")));
	tell("m", "a", answer_found(TEXT("v")));
	for (size_t i = 0; i < TRACE_WATCHERS; i++) {
		assert_string_equal(next(t[i]), "m a FOUND v");
		trace_end(t[i]);
	}
	assert_false(trace_is_on());
}

/* --- threads ------------------------------------------------------------------------------ */

#define TELLERS 3
#define TOLD 20000

static _Atomic unsigned n_telling;

static void *tells(void *arg)
{
	const char *map = arg;
	char key[16];

	for (unsigned i = 0; i < TOLD; i++) {
		snprintf(key, sizeof key, "%u", i);
		if (trace_is_on())
			tell(map, key, answer_found(text_of(key)));
	}
	atomic_fetch_sub(&n_telling, 1);
	return NULL;
}

/* What comes is whole, and of each teller in order; what does not come is told. */
static void *watches(void *arg)
{
	struct trace *t = arg;
	struct trace_event e;
	uint64_t lost = 0, n = 0, n_lost = 0;
	long last = -1;

	while (atomic_load(&n_telling) || n + n_lost < TOLD) {
		bool has_one = trace_next(t, 10, &e, &lost);

		n_lost += lost;
		if (!has_one)
			continue;
		assert_text(buf_view(&e.map), "1");
		assert_true(text_eq(buf_view(&e.key), buf_view(&e.value)));
		assert_true(strtol(buf_cstr(&e.key), NULL, 10) > last);
		last = strtol(buf_cstr(&e.key), NULL, 10);
		n++;
		trace_event_done(&e);
	}
	assert_int_equal(n + n_lost, TOLD);
	return NULL;
}

/* Watchers come and go meanwhile. */
static void *drops_in(void *arg)
{
	(void)arg;
	while (atomic_load(&n_telling)) {
		struct trace *t = trace_begin(TEXT(""));
		struct trace_event e;
		uint64_t lost;

		assert_non_null(t);
		if (trace_next(t, 1, &e, &lost))
			trace_event_done(&e);
		trace_end(t);
	}
	return NULL;
}

static void tellers_and_watchers_are_threads(void **state)
{
	static char maps[TELLERS][2] = { "0", "1", "2" };
	pthread_t tellers[TELLERS], watcher, visitor;
	struct trace *t = trace_begin(TEXT("1"));
	(void)state;

	atomic_store(&n_telling, TELLERS);
	for (size_t i = 0; i < TELLERS; i++)
		pthread_create(&tellers[i], NULL, tells, maps[i]);
	pthread_create(&watcher, NULL, watches, t);
	pthread_create(&visitor, NULL, drops_in, NULL);
	for (size_t i = 0; i < TELLERS; i++)
		pthread_join(tellers[i], NULL);
	pthread_join(watcher, NULL);
	pthread_join(visitor, NULL);
	trace_end(t);
	assert_false(trace_is_on());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_watcher_is_told_of_each_answer_in_order),
		cmocka_unit_test(a_watcher_of_one_map_is_told_of_no_other),
		cmocka_unit_test(long_texts_are_cut_between_characters),
		cmocka_unit_test(who_does_not_come_loses_and_is_told_how_much),
		cmocka_unit_test(there_is_room_for_so_many),
		cmocka_unit_test(tellers_and_watchers_are_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

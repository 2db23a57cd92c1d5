#include "unit/test.h"

#include "base/clock.h"
#include "base/hash.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* The modules themselves, for tests to recount what they hold and to spoil their hash. */
static bool is_hash_weak;

static uint64_t spoiled_hash(struct text t)
{
	return is_hash_weak ? 42 : hash_text(t);
}

#define hash_text spoiled_hash
#include "store/shard.c"
#include "store/demand.c"

#define MIN_BYTES SHARD_BYTES_MIN

static const struct demand_times times = {
	.ttl = 1000, .negative_ttl = 300, .stale_max = 2000, .retry = 100,
};

/* --- help --------------------------------------------------------------------------- */

static const struct answer temp = { .verdict = TEMP };

static struct answer found(const char *value)
{
	return answer_found(text_of(value));
}

static struct answer notfound(void)
{
	return answer_absent(PROOF_DIRECTORY);
}

static size_t n_waiters(struct waiter *w)
{
	size_t n = 0;

	for (; w; w = w->next)
		n++;
	return n;
}

/*
 * What a get says, in words: "FOUND v", "STALE v", "NOTFOUND", "WAIT", with "LEAD " before
 * it where the caller is to fetch, and the stale value behind WAIT. The result is static.
 */
static const char *get(struct demand *d, const char *key, uint64_t now, struct waiter *w)
{
	static const char *const words[] = {
		[DEMAND_FOUND] = "FOUND",   [DEMAND_NOTFOUND] = "NOTFOUND",
		[DEMAND_STALE] = "STALE",   [DEMAND_FAILED] = "FAILED",
		[DEMAND_WAIT] = "WAIT",     [DEMAND_FULL] = "FULL",
	};
	static char said[200];
	struct buf value = { 0 };
	struct demand_reply r = demand_get(d, text_of(key), now, w, &value);
	bool has_value = r.says == DEMAND_FOUND || r.says == DEMAND_STALE || r.has_stale;

	assert_true(has_value == (value.n > 0));
	assert_true(!r.has_stale || r.says == DEMAND_WAIT);
	snprintf(said, sizeof said, "%s%s%s%s", r.lead ? "LEAD " : "", words[r.says],
		 has_value ? " " : "", has_value ? buf_cstr(&value) : "");
	buf_done(&value);
	return said;
}

/* Get with a waiter that nobody looks at again before the cache is freed. */
static const char *ask(struct demand *d, const char *key, uint64_t now)
{
	static struct waiter w[256];
	static unsigned i;

	return get(d, key, now, &w[i++ % 256]);
}

static size_t put(struct demand *d, const char *key, struct answer answer, uint64_t now)
{
	return n_waiters(demand_put(d, text_of(key), answer, now));
}

#define MAX_KEY 220

/* A number with leading zeros, `n` digits at least, to make keys of any length. */
static void make_key(char *key, unsigned number, unsigned n)
{
	char digits[12];
	size_t n_digits = (size_t)snprintf(digits, sizeof digits, "%u", number);
	size_t n_zeros = n > n_digits ? n - n_digits : 0;

	memset(key, '0', n_zeros);
	memcpy(key + n_zeros, digits, n_digits + 1);
}

/* Count everything by hand and compare with the shard's own books. */
static void recount_list(struct shard *s, enum list list, size_t *used, size_t *n_listed)
{
	struct lru want = { .newest = s->lists[list].newest };
	uint32_t newer = 0;

	for (uint32_t i = want.newest; i; i = entry_of(s, i)->older) {
		struct entry *e = entry_of(s, i);
		uint32_t found_at = *bucket_of(s, e->hash);

		assert_int_equal(e->list, list);
		assert_int_equal(e->newer, newer);
		while (found_at && found_at != i)
			found_at = entry_of(s, found_at)->chain;
		assert_int_equal(found_at, i);
		++*n_listed;

		want.n_chunks++;
		for (uint32_t c = e->more; c; c = s->chunks[c].rest.more)
			want.n_chunks++;
		want.n_entries++;
		want.oldest = newer = i;
	}
	assert_memory_equal(&want, &s->lists[list], sizeof want);
	*used += want.n_chunks;
}

static void recount(struct demand *d)
{
	size_t n_unused = 0;

	for (unsigned i = 0; i < d->n_shards; i++) {
		struct shard *s = &d->shards[i];
		size_t used = 0, n_free_list = 0, n_listed = 0, n_bucketed = 0;

		for (int l = 0; l < LISTS; l++)
			recount_list(s, (enum list)l, &used, &n_listed);
		for (uint32_t b = 0; b < s->n_chunks; b++)
			for (uint32_t c = s->buckets[b]; c; c = entry_of(s, c)->chain)
				n_bucketed++;
		for (uint32_t c = s->free; c; c = s->chunks[c].next_free)
			n_free_list++;
		assert_int_equal(n_bucketed, n_listed);
		assert_int_equal(used + n_free_list, s->n_touched);
		assert_true(s->n_touched <= s->n_chunks);
		n_unused += s->n_chunks - used;
	}
	assert_int_equal(demand_bytes(d), d->size - n_unused * CHUNK_BYTES);
}

/* --- what is said when -------------------------------------------------------------- */

static void one_cold_key_costs_one_query_however_many_ask(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	struct waiter w[3];
	(void)state;

	assert_string_equal(get(d, "a", 1, &w[0]), "LEAD WAIT");
	assert_string_equal(get(d, "a", 2, &w[1]), "WAIT");
	assert_string_equal(get(d, "a", 99999, &w[2]), "WAIT");
	assert_string_equal(get(d, "b", 2, &(struct waiter){ 0 }), "LEAD WAIT");
	assert_int_equal(put(d, "a", found("v"), 99999), 3);
	assert_int_equal(put(d, "a", found("v"), 99999), 0);
	assert_int_equal(put(d, "b", temp, 99999), 1);
	assert_int_equal(demand_entries(d), 2);
	demand_free(d);
	demand_free(NULL);
}

static void an_answer_is_fresh_for_its_ttl(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	put(d, "a", found("v"), 5000);
	put(d, "b", notfound(), 5000);
	assert_string_equal(ask(d, "a", 5000), "FOUND v");
	assert_string_equal(ask(d, "a", 5799), "FOUND v");
	assert_string_equal(ask(d, "b", 5000), "NOTFOUND");
	assert_string_equal(ask(d, "b", 5242), "NOTFOUND");
	assert_string_equal(ask(d, "b", 5300), "LEAD WAIT");
	assert_string_equal(ask(d, "a", 6101), "LEAD WAIT v");
	put(d, "a", found("w"), 6101);
	put(d, "b", found("x"), 6101);
	assert_string_equal(ask(d, "a", 6200), "FOUND w");
	assert_string_equal(ask(d, "b", 6200), "FOUND x");
	demand_free(d);
}

/* The first moment at which a fresh value is due for refreshing. */
static uint64_t due_at(struct demand *d, const char *key)
{
	uint32_t hash;
	struct shard *s = lock_shard(d, text_of(key), &hash);
	const struct entry *e = shard_find(s, hash, text_of(key));

	pthread_mutex_unlock(&s->lock);
	return e->fresh_until - d->times.ttl / 10;
}

static void near_its_end_one_refreshes_while_all_are_answered(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	put(d, "a", found("v"), 5000);
	uint64_t due = due_at(d, "a");
	assert_string_equal(ask(d, "a", due - 1), "FOUND v");
	assert_string_equal(ask(d, "a", due), "LEAD FOUND v");
	assert_string_equal(ask(d, "a", due), "FOUND v");
	assert_string_equal(ask(d, "a", due + 99), "FOUND v");
	assert_string_equal(ask(d, "a", due + 100), "WAIT v");
	assert_int_equal(put(d, "a", found("w"), due + 100), 1);
	assert_string_equal(ask(d, "a", due + 101), "FOUND w");
	demand_free(d);
}

static void a_failed_refresh_ahead_is_repeated_after_a_pause(void **state)
{
	const struct demand_times slow = { 10000, 300, 2000, 100 };
	struct demand *d = demand_new(1 << 20, &slow);
	(void)state;

	put(d, "a", found("v"), 5000);
	uint64_t due = due_at(d, "a");
	assert_string_equal(ask(d, "a", due), "LEAD FOUND v");
	put(d, "a", temp, due);
	assert_string_equal(ask(d, "a", due + 1), "FOUND v");
	assert_string_equal(ask(d, "a", due + 99), "FOUND v");
	assert_string_equal(ask(d, "a", due + 100), "LEAD FOUND v");
	put(d, "a", found("w"), due + 100);
	demand_free(d);
}

static void an_absence_is_not_refreshed_ahead(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	put(d, "a", notfound(), 5000);
	for (uint64_t now = 5000; now < 5243; now++)
		assert_string_equal(ask(d, "a", now), "NOTFOUND");
	demand_free(d);
}

static void an_old_value_stands_in_for_a_failing_directory(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	put(d, "a", found("v"), 5000);
	assert_string_equal(ask(d, "a", 6101), "LEAD WAIT v");
	assert_string_equal(ask(d, "a", 6101), "WAIT v");
	assert_int_equal(put(d, "a", temp, 6200), 2);
	assert_string_equal(ask(d, "a", 6200), "STALE v");
	assert_string_equal(ask(d, "a", 6299), "STALE v");
	assert_string_equal(ask(d, "a", 6300), "LEAD WAIT v");
	put(d, "a", temp, 7899);
	assert_string_equal(ask(d, "a", 7899), "STALE v");
	assert_string_equal(ask(d, "a", 8101), "LEAD WAIT");
	put(d, "a", temp, 8101);
	assert_string_equal(ask(d, "a", 8102), "FAILED");
	assert_string_equal(ask(d, "a", 8201), "LEAD WAIT");
	demand_put(d, TEXT("a"), temp, 8201);
	demand_free(d);
}

static void a_failure_is_not_asked_again_before_its_pause_is_over(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	assert_string_equal(ask(d, "a", 5000), "LEAD WAIT");
	put(d, "a", answer_perm("why"), 5000);
	assert_string_equal(ask(d, "a", 5099), "FAILED");
	assert_string_equal(ask(d, "a", 5100), "LEAD WAIT");
	put(d, "a", (struct answer){ .verdict = FOUND, .value = { "", 0 } }, 5100);
	assert_string_equal(ask(d, "a", 5199), "FAILED");
	put(d, "a", found("v"), 5199);
	assert_string_equal(ask(d, "a", 5199), "FOUND v");
	put(d, "a", (struct answer){ .verdict = VERDICTS, .value = TEXT("?") }, 5199);
	assert_string_equal(ask(d, "a", 5200), "FOUND v");
	demand_free(d);
}

static void an_absence_ends_the_life_of_an_old_value(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	put(d, "a", found("v"), 5000);
	put(d, "a", notfound(), 5001);
	assert_string_equal(ask(d, "a", 5002), "NOTFOUND");
	assert_string_equal(ask(d, "a", 5301), "LEAD WAIT");
	put(d, "a", temp, 5301);
	assert_string_equal(ask(d, "a", 5302), "FAILED");
	demand_free(d);
}

static void without_ttls_nothing_is_kept_but_waiters_come_back(void **state)
{
	const struct demand_times zero = { 0, 0, 2000, 0 };
	const struct answer answers[] = { found("v"), notfound(), temp };
	struct demand *d = demand_new(1 << 20, &zero);
	(void)state;

	for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
		assert_string_equal(ask(d, "a", 5000), "LEAD WAIT");
		assert_string_equal(ask(d, "a", 5000), "WAIT");
		assert_int_equal(put(d, "a", answers[i], 5000), 2);
		assert_int_equal(demand_entries(d), 0);
	}
	recount(d);
	demand_free(d);
}

static void times_may_be_endless(void **state)
{
	const uint64_t max = UINT64_MAX;
	const struct demand_times forever = { max, max, max, max };
	struct demand *d = demand_new(1 << 20, &forever);
	(void)state;

	put(d, "a", found("v"), 5000);
	put(d, "b", notfound(), 5000);
	put(d, "c", temp, 5000);
	assert_string_equal(ask(d, "a", (uint64_t)1 << 61), "FOUND v");
	assert_string_equal(ask(d, "b", (uint64_t)1 << 61), "NOTFOUND");
	assert_string_equal(ask(d, "c", (uint64_t)1 << 61), "FAILED");
	demand_free(d);
}

static void peeking_starts_nothing(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	assert_int_equal(demand_peek(d, TEXT("a"), 5000), DEMAND_FAILED);
	assert_int_equal(demand_entries(d), 0);
	put(d, "a", found("v"), 5000);
	put(d, "b", notfound(), 5000);
	assert_int_equal(demand_peek(d, TEXT("a"), 5899), DEMAND_FOUND);
	assert_int_equal(demand_peek(d, TEXT("b"), 5242), DEMAND_NOTFOUND);
	assert_int_equal(demand_peek(d, TEXT("a"), 6101), DEMAND_FAILED);
	assert_int_equal(demand_peek(d, TEXT("b"), 5300), DEMAND_FAILED);
	assert_string_equal(ask(d, "a", 6101), "LEAD WAIT v");
	put(d, "a", temp, 6101);
	demand_free(d);
}

/* What is noted about a key, in words; the result is static. */
static const char *look(struct demand *d, const char *key, uint64_t now)
{
	static const char *const noted[] = {
		[NOTED_NOTHING] = "nothing", [NOTED_FOUND] = "found",
		[NOTED_NOTFOUND] = "notfound", [NOTED_FAILED] = "failed",
	};
	static char said[200];
	struct buf value = { 0 };
	struct demand_view v = demand_look(d, text_of(key), now, &value);

	snprintf(said, sizeof said, "%s%s%s%s%s%s %u s", noted[v.what], v.is_fresh ? " fresh" : "",
		 v.is_usable ? " usable" : "", v.is_in_flight ? " in flight" : "",
		 value.n ? " " : "", buf_cstr(&value), (unsigned)(v.age / 1000));
	buf_done(&value);
	return said;
}

static void looking_tells_what_is_noted(void **state)
{
	const struct demand_times slow = {
		.ttl = 100000, .negative_ttl = 30000, .stale_max = 200000, .retry = 1000,
	};
	struct demand *d = demand_new(1 << 20, &slow);
	(void)state;

	assert_string_equal(look(d, "a", 5000), "nothing 0 s");
	assert_int_equal(demand_entries(d), 0);
	ask(d, "a", 5000);
	assert_string_equal(look(d, "a", 5000), "nothing in flight 0 s");
	put(d, "a", temp, 6000);
	assert_string_equal(look(d, "a", 6500), "failed fresh 0 s");
	assert_string_equal(look(d, "a", 9000), "failed 3 s");
	put(d, "a", found("v"), 10000);
	assert_string_equal(look(d, "a", 12000), "found fresh usable v 2 s");
	assert_string_equal(look(d, "a", 130000), "found usable v 120 s");
	ask(d, "a", 130000);
	assert_string_equal(look(d, "a", 130000), "found usable in flight v 120 s");
	put(d, "a", temp, 130000);
	assert_string_equal(look(d, "a", 130001), "found usable v 120 s");
	assert_string_equal(look(d, "a", 350000), "found v 340 s");
	put(d, "b", notfound(), 10000);
	assert_string_equal(look(d, "b", 11000), "notfound fresh 1 s");
	assert_string_equal(look(d, "b", 60000), "notfound 50 s");
	assert_int_equal(demand_entries(d), 2);
	recount(d);
	demand_free(d);
}

/* One moment: demand_look() says what demand_get() does then. */
static void foretell(struct demand *d, uint64_t now, struct waiter *w)
{
	struct buf seen = { 0 }, got = { 0 };
	struct demand_view v = demand_look(d, TEXT("k"), now, &seen);
	struct demand_reply r = demand_get(d, TEXT("k"), now, w, &got);

	assert_int_equal(v.says, r.says);
	assert_true(r.has_stale == (v.says == DEMAND_WAIT && v.is_usable));
	assert_true(!got.n || text_eq(buf_view(&got), buf_view(&seen)));
	buf_done(&seen);
	buf_done(&got);
}

static void looking_foretells_what_is_said(void **state)
{
	static struct waiter w[50];
	uint64_t random = 7;
	(void)state;

	for (unsigned run = 0; run < 400; run++) {
		struct demand *d = demand_new(1 << 16, &times);
		uint64_t now = 1000;

		for (unsigned i = 0; i < 50; i++) {
			const struct answer answers[] = { temp, found("v"), notfound() };

			now += clock_random(&random) % 400;
			if (clock_random(&random) % 3 == 0)
				demand_put(d, TEXT("k"), answers[clock_random(&random) % 3], now);
			foretell(d, now, &w[i]);
		}
		demand_put(d, TEXT("k"), temp, now);
		demand_free(d);
	}
}

static void what_was_put_at_once_does_not_end_at_once(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	size_t n_found = 0, n_notfound = 0;
	char key[16];
	(void)state;

	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof key, "%d", i);
		put(d, key, i % 2 ? found("v") : notfound(), 5000);
	}
	for (int i = 0; i < 400; i++) {
		snprintf(key, sizeof key, "%d", i);
		n_found += demand_peek(d, text_of(key), 6000) == DEMAND_FOUND;
		n_notfound += demand_peek(d, text_of(key), 5270) == DEMAND_NOTFOUND;
	}
	assert_in_range(n_found, 50, 150);
	assert_in_range(n_notfound, 50, 150);
	demand_free(d);
}

/* --- promise 1: every sequence of events -------------------------------------------- */

enum event {
	GET, PUT_FOUND, PUT_NOTFOUND, PUT_TEMP, PUT_PERM,
	WAIT_50, WAIT_250, WAIT_900, WAIT_2500, EVENTS
};
#ifdef __SANITIZE_THREAD__
#define STEPS 5			/* one thread, and slow there */
#else
#define STEPS 6
#endif

static const uint64_t waits[EVENTS] = {
	[WAIT_50] = 50, [WAIT_250] = 250, [WAIT_900] = 900, [WAIT_2500] = 2500,
};

/* What the directory last said about the key, and who asks. */
struct model {
	enum verdict verdict;	/* TEMP: it never spoke */
	uint64_t said_at, failed_at;
	bool is_asked;
	size_t n_waiting;
};

static bool model_may_say(const struct model *m, enum verdict verdict, uint64_t age)
{
	return m->verdict == verdict && age < (verdict == NOTFOUND ? 300 : 1101);
}

static bool model_must_say(const struct model *m, enum verdict verdict, uint64_t age)
{
	return m->verdict == verdict && age < (verdict == NOTFOUND ? 243 : 900);
}

static void check_get(struct demand *d, struct text key, struct model *m, uint64_t now,
		      struct waiter *w)
{
	struct buf value = { 0 };
	struct demand_reply r = demand_get(d, key, now, w, &value);
	uint64_t age = now - m->said_at;
	bool is_pausing = m->failed_at && now - m->failed_at < 100 && !m->is_asked;
	bool has_value = r.says == DEMAND_FOUND || r.says == DEMAND_STALE || r.has_stale;

	assert_true(r.says != DEMAND_FULL);
	if (r.says == DEMAND_NOTFOUND)
		assert_true(model_may_say(m, NOTFOUND, age) && !r.lead);
	else
		assert_false(model_must_say(m, NOTFOUND, age));
	if (r.says == DEMAND_FOUND)
		assert_true(model_may_say(m, FOUND, age));
	else
		assert_false(model_must_say(m, FOUND, age));
	if (r.says == DEMAND_STALE || r.has_stale)
		assert_true(m->verdict == FOUND && age >= 900 && age < 3101);
	if (r.says == DEMAND_STALE || r.says == DEMAND_FAILED)
		assert_true(is_pausing && !r.lead);
	if (r.says == DEMAND_FAILED)
		assert_false(m->verdict == FOUND && age < 2900);
	if (r.says == DEMAND_WAIT) {
		assert_true(!is_pausing && r.lead == !m->is_asked);
		m->n_waiting++;
	}
	assert_true(!r.lead || !m->is_asked);
	m->is_asked |= r.lead;
	assert_int_equal(value.n, has_value);
	buf_done(&value);
}

static void check_put(struct demand *d, struct text key, struct model *m, uint64_t now,
		      struct answer answer)
{
	assert_int_equal(n_waiters(demand_put(d, key, answer, now)), m->n_waiting);
	m->n_waiting = 0;
	m->is_asked = false;
	if (answer.verdict == FOUND || answer.verdict == NOTFOUND) {
		m->verdict = answer.verdict;
		m->said_at = now;
		m->failed_at = 0;
	} else {
		m->failed_at = now;
	}
}

static void check_event(struct demand *d, struct text key, struct model *m, uint64_t now,
			enum event event, struct waiter *w)
{
	const struct answer answers[EVENTS] = {
		[PUT_FOUND] = found("v"), [PUT_NOTFOUND] = notfound(), [PUT_TEMP] = temp,
		[PUT_PERM] = answer_perm("why"),
	};

	if (event == GET)
		check_get(d, key, m, now, w);
	else if (!waits[event])
		check_put(d, key, m, now, answers[event]);

	enum demand_says peeked = demand_peek(d, key, now);
	uint64_t age = now - m->said_at;
	if (peeked == DEMAND_NOTFOUND)
		assert_true(model_may_say(m, NOTFOUND, age));
	else
		assert_false(model_must_say(m, NOTFOUND, age));
	assert_true(peeked != DEMAND_FOUND || model_may_say(m, FOUND, age));
}

static void check_sequence(struct demand *d, unsigned sequence)
{
	struct model m = { 0 };
	struct waiter w[STEPS];
	struct text key = { (const char *)&sequence, sizeof sequence };
	uint64_t now = 5000;
	unsigned left = sequence;

	for (int step = 0; step < STEPS; step++, left /= EVENTS) {
		enum event event = left % EVENTS;

		now += waits[event];
		check_event(d, key, &m, now, event, &w[step]);
	}
	check_put(d, key, &m, now, temp);
}

static void notfound_is_said_only_while_the_directory_said_so(void **state)
{
	struct demand *d = demand_new(MIN_BYTES, &times);
	unsigned n = 1;
	(void)state;

	for (int step = 0; step < STEPS; step++)
		n *= EVENTS;
	for (unsigned sequence = 0; sequence < n; sequence++)
		check_sequence(d, sequence);
	recount(d);
	demand_free(d);
}

/* --- images ------------------------------------------------------------------------- */

/* A cache with what another one knew, from an image of exactly its length. */
static struct demand *restored(struct demand *d, uint64_t now, uint64_t later_now,
			       uint64_t elapsed)
{
	struct demand *new = demand_new(1 << 20, &times);
	struct buf image = { 0 };

	assert_true(demand_image(d, now, &image));

	struct text exact = exact_copy(buf_view(&image));
	assert_true(demand_restore(new, exact, later_now, elapsed));
	recount(new);
	free((char *)exact.p);
	buf_done(&image);
	return new;
}

static void a_restart_changes_no_answer(void **state)
{
	struct demand *d = demand_new(1 << 20, &times), *new;
	(void)state;

	put(d, "fresh", found("v"), 5000);
	put(d, "absent", notfound(), 5000);
	put(d, "stale", found("old"), 3500);
	new = restored(d, 5100, 1000, 0);
	assert_int_equal(demand_entries(new), 3);
	assert_string_equal(ask(new, "fresh", 1000), "FOUND v");
	assert_string_equal(ask(new, "fresh", 1000 + 699), "FOUND v");
	assert_string_equal(ask(new, "fresh", 1000 + 1001), "LEAD WAIT v");
	assert_string_equal(ask(new, "absent", 1000 + 142), "NOTFOUND");
	assert_string_equal(ask(new, "absent", 1000 + 200), "LEAD WAIT");
	assert_string_equal(ask(new, "stale", 1000), "LEAD WAIT old");
	assert_string_equal(ask(new, "unknown", 1000), "LEAD WAIT");
	put(new, "fresh", temp, 1000);
	put(new, "absent", temp, 1000);
	put(new, "stale", temp, 1000);
	put(new, "unknown", temp, 1000);
	assert_string_equal(ask(new, "stale", 1000), "STALE old");
	assert_string_equal(ask(new, "stale", 1000 + 300), "LEAD WAIT old");
	put(new, "stale", temp, 1000);
	demand_free(d);
	demand_free(new);
}

static void time_passes_while_the_server_is_down(void **state)
{
	static const struct {
		uint64_t elapsed;
		size_t entries;
		const char *found, *absent;
	} cases[] = {
		{ 0,          2, "FOUND v",     "NOTFOUND" },
		{ 242,        2, "FOUND v",     "NOTFOUND" },
		{ 300,        1, "FOUND v",     "LEAD WAIT" },
		{ 799,        1, "FOUND v",     "LEAD WAIT" },
		{ 1101,       1, "LEAD WAIT v", "LEAD WAIT" },
		{ 2899,       1, "LEAD WAIT v", "LEAD WAIT" },
		{ 3101,       0, "LEAD WAIT",   "LEAD WAIT" },
		{ UINT64_MAX, 0, "LEAD WAIT",   "LEAD WAIT" },
	};
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	put(d, "a", found("v"), 5000);
	put(d, "b", notfound(), 5000);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct demand *new = restored(d, 5000, 9000, cases[i].elapsed);

		assert_int_equal(demand_entries(new), cases[i].entries);
		assert_string_equal(ask(new, "a", 9000), cases[i].found);
		assert_string_equal(ask(new, "b", 9000), cases[i].absent);
		put(new, "a", temp, 9000);
		put(new, "b", temp, 9000);
		demand_free(new);
	}
	demand_free(d);
}

/* A time of birth before the clock began cannot be noted; so old a value is left out. */
static void a_value_older_than_the_clock_is_left_out(void **state)
{
	const struct demand_times endless = { 1000, 300, UINT64_MAX, 100 };
	struct demand *d = demand_new(1 << 20, &endless);
	struct demand *new = demand_new(1 << 20, &endless);
	struct buf image = { 0 };
	(void)state;

	put(d, "a", found("v"), 5000);
	assert_true(demand_image(d, 500000, &image));
	assert_true(demand_restore(new, buf_view(&image), 400000, 0));
	assert_int_equal(demand_entries(new), 0);
	assert_true(demand_restore(new, buf_view(&image), 500000, UINT64_MAX));
	assert_int_equal(demand_entries(new), 0);
	assert_true(demand_restore(new, buf_view(&image), 500000, 0));
	assert_int_equal(demand_entries(new), 1);
	demand_free(d);
	demand_free(new);
	buf_done(&image);
}

static void questions_and_failures_are_not_kept_but_old_values_are(void **state)
{
	struct demand *d = demand_new(1 << 20, &times), *new;
	(void)state;

	put(d, "refreshed ahead", found("v"), 5000);
	put(d, "asked again", found("w"), 4000);
	put(d, "failed", found("x"), 4000);
	assert_string_equal(ask(d, "refreshed ahead", due_at(d, "refreshed ahead")),
			    "LEAD FOUND v");
	assert_string_equal(ask(d, "asked again", 5500), "LEAD WAIT w");
	assert_string_equal(ask(d, "asked", 5500), "LEAD WAIT");
	assert_string_equal(ask(d, "failed", 5500), "LEAD WAIT x");
	put(d, "failed", temp, 5500);
	put(d, "failed from the start", temp, 5500);

	new = restored(d, 5500, 5500, 0);
	assert_int_equal(demand_entries(new), 3);
	assert_string_equal(ask(new, "refreshed ahead", 5500), "FOUND v");
	assert_string_equal(ask(new, "asked again", 5500), "LEAD WAIT w");
	assert_string_equal(ask(new, "failed", 5500), "LEAD WAIT x");
	put(new, "asked again", temp, 5500);
	put(new, "failed", temp, 5500);
	demand_free(new);

	put(d, "refreshed ahead", temp, 5500);
	put(d, "asked again", temp, 5500);
	put(d, "asked", temp, 5500);
	demand_free(d);
}

static void what_is_known_already_is_kept(void **state)
{
	struct demand *d = demand_new(1 << 20, &times), *new = demand_new(1 << 20, &times);
	struct buf image = { 0 };
	struct waiter w;
	(void)state;

	put(d, "a", found("old"), 5000);
	put(d, "b", notfound(), 5000);
	put(d, "c", found("old"), 5000);
	put(new, "a", found("new"), 5000);
	put(new, "b", found("new"), 5000);
	assert_string_equal(get(new, "c", 5000, &w), "LEAD WAIT");
	assert_true(demand_image(d, 5000, &image));
	assert_true(demand_restore(new, buf_view(&image), 5000, 0));
	assert_string_equal(ask(new, "a", 5000), "FOUND new");
	assert_string_equal(ask(new, "b", 5000), "FOUND new");
	assert_ptr_equal(demand_put(new, TEXT("c"), temp, 5000), &w);
	recount(new);
	demand_free(d);
	demand_free(new);
	buf_done(&image);
}

/* Clients may ask before the image is read. */
static void failures_and_questions_are_not_in_the_way(void **state)
{
	static char big[MIN_BYTES];
	const struct text too_big = { big, sizeof big };
	struct demand *d = demand_new(4 << 20, &times), *new = demand_new(MIN_BYTES, &times);
	struct buf image = { 0 };
	struct waiter w[4];
	(void)state;

	put(d, "fresh", found("v"), 5000);
	put(d, "stale", found("w"), 4000);
	put(d, "absent", notfound(), 5000);
	put(d, "failed", found("x"), 4000);
	demand_put(d, TEXT("big"), answer_found(too_big), 5000);
	assert_true(demand_image(d, 5200, &image));

	assert_string_equal(get(new, "fresh", 5200, &w[0]), "LEAD WAIT");
	assert_string_equal(get(new, "stale", 5200, &w[1]), "LEAD WAIT");
	assert_string_equal(get(new, "absent", 5200, &w[2]), "LEAD WAIT");
	assert_string_equal(get(new, "big", 5200, &w[3]), "LEAD WAIT");
	put(new, "failed", temp, 5200);
	assert_true(demand_restore(new, buf_view(&image), 5200, 0));
	recount(new);

	assert_string_equal(ask(new, "fresh", 5200), "FOUND v");
	assert_string_equal(ask(new, "absent", 5200), "NOTFOUND");
	assert_string_equal(ask(new, "failed", 5299), "STALE x");
	assert_ptr_equal(demand_put(new, TEXT("fresh"), temp, 5200), &w[0]);
	assert_ptr_equal(demand_put(new, TEXT("stale"), temp, 5200), &w[1]);
	assert_string_equal(ask(new, "stale", 5299), "STALE w");
	assert_ptr_equal(demand_put(new, TEXT("absent"), notfound(), 5200), &w[2]);
	assert_string_equal(ask(new, "big", 5200), "WAIT");
	assert_int_equal(put(new, "big", temp, 5200), 2);
	recount(new);
	demand_free(d);
	demand_free(new);
	buf_done(&image);
}

/* The settings may have changed: what was said under others must not last longer now. */
static void shorter_times_of_now_hold_for_what_was_kept(void **state)
{
	static const struct {
		struct demand_times times;
		const char *found, *absent;
	} cases[] = {
		{ { 1000, 300, 2000, 100 }, "FOUND v",     "NOTFOUND" },
		{ { 6000, 900, 9000, 100 }, "FOUND v",     "NOTFOUND" },
		{ { 1000, 299, 2000, 100 }, "FOUND v",     "LEAD WAIT" },
		{ { 1000, 0,   2000, 100 }, "FOUND v",     "LEAD WAIT" },
		{ { 100,  300, 2000, 100 }, "LEAD WAIT v", "NOTFOUND" },
		{ { 0,    300, 2000, 100 }, "LEAD WAIT",   "NOTFOUND" },
		{ { 100,  300, 80,   100 }, "LEAD WAIT",   "NOTFOUND" },
	};
	struct demand *d = demand_new(1 << 20, &times);
	struct buf image = { 0 };
	(void)state;

	put(d, "a", found("v"), 5000);
	put(d, "b", notfound(), 5000);
	assert_true(demand_image(d, 5000, &image));
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct demand *new = demand_new(1 << 20, &cases[i].times);

		assert_true(demand_restore(new, buf_view(&image), 5000, 200));
		assert_string_equal(ask(new, "a", 5000), cases[i].found);
		assert_string_equal(ask(new, "b", 5000), cases[i].absent);
		put(new, "a", temp, 5000);
		put(new, "b", temp, 5000);
		demand_free(new);
	}
	demand_free(d);
	buf_done(&image);
}

/* Keys and values of all lengths, through an image and into caches of all sizes. */
static void a_smaller_cache_keeps_what_fits(void **state)
{
	static char value[5000];
	struct demand *d = demand_new(16 << 20, &times);
	struct buf image = { 0 }, got = { 0 };
	char key[MAX_KEY];
	(void)state;

	memset(value, 'v', sizeof value);
	for (unsigned i = 0; i < 3000; i++) {
		make_key(key, i, i % 200);
		put(d, key, i % 3 ? answer_found((struct text){ value, 1 + i }) : notfound(),
		    5000);
	}
	assert_int_equal(demand_entries(d), 3000);
	assert_true(demand_image(d, 5000, &image));
	for (size_t size = MIN_BYTES; size <= (size_t)16 << 20; size *= 2) {
		struct demand *new = demand_new(size, &times);
		size_t n = 0;

		assert_true(demand_restore(new, buf_view(&image), 5000, 10));
		recount(new);
		assert_true(demand_bytes(new) <= size);
		assert_true(demand_entries(new) == 3000 || size < (size_t)16 << 20);
		for (unsigned i = 0; i < 3000; i++) {
			make_key(key, i, i % 200);
			buf_clear(&got);

			enum demand_says says = demand_peek(new, text_of(key), 5000);
			assert_true(says == DEMAND_FAILED ||
				    says == (i % 3 ? DEMAND_FOUND : DEMAND_NOTFOUND));
			n += says != DEMAND_FAILED;
			if (says != DEMAND_FOUND)
				continue;
			demand_get(new, text_of(key), 5000, NULL, &got);
			assert_int_equal(got.n, 1 + i);
			assert_memory_equal(got.p, value, got.n);
		}
		assert_int_equal(n, demand_entries(new));
		assert_true(n > 15);
		demand_free(new);
	}
	demand_free(d);
	buf_done(&image);
	buf_done(&got);
}

#define F "\1\254\2"		/* format, negative_ttl 300 */
#define BYTES(literal) { literal, sizeof(literal) - 1 }

static const struct { struct text image; bool is_good; size_t entries; } images[] = {
	{ BYTES(F),                           true, 0 },
	{ BYTES(""),                          false, 0 },
	{ BYTES("\1"),                        false, 0 },
	{ BYTES("\1\254"),                    false, 0 },
	{ BYTES("\2\254\2"),                  false, 0 },
	{ BYTES(F "\1\1\7\0kv"),              true, 1 },
	{ BYTES(F "\1\1\0\7kv"),              true, 1 },
	{ BYTES(F "\1\1\0\0kv"),              true, 1 },
	{ BYTES(F "\1\0\7\0k"),               true, 1 },
	{ BYTES(F "\1\0\0\0k"),               true, 0 },	/* an absence that has ended */
	{ BYTES(F "\1\0\0\7k"),               false, 0 },	/* a stale absence */
	{ BYTES(F "\1\1\7\7kv"),              false, 0 },	/* fresh and stale */
	{ BYTES(F "\1\1\7\0k"),               false, 0 },
	{ BYTES(F "\1\1\7\0kv\1"),            false, 0 },	/* nothing of it is taken */
	{ BYTES(F "\1\1\7\0kv\1\0\7\0k"),    true, 1 },	/* the first one counts */
	{ BYTES(F "\0\1\7\0v"),               true, 1 },
	{ BYTES(F "\1\1\0\377\377\377\377\377\377\377\377\377\1kv"), true, 0 },
	{ BYTES(F "\1\377\377\377\377\377\377\377\377\377\1\7\0kv"), false, 0 },
	{ BYTES(F "\1\377\377\377\377\377\377\377\377\377\1\7\0\0\0\7\0"), false, 0 },
	{ BYTES(F "\377\377\377\377\377\377\377\377\377\1\2\7\0kv"), false, 0 },
};

static void what_is_no_image_is_refused_whole(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof images / sizeof *images; i++) {
		struct demand *d = demand_new(MIN_BYTES, &times);
		struct text exact = exact_copy(images[i].image);

		if (demand_restore(d, exact, 5000, 0) != images[i].is_good ||
		    demand_entries(d) != images[i].entries)
			fail_msg("image %zu", i);
		recount(d);
		demand_free(d);
		free((char *)exact.p);
	}
}

/* Whatever an image says, no absence outlives negative_ttl, and no value its two times. */
static void no_image_makes_anything_last_for_ever(void **state)
{
	static const char ages[] = F "\1\0\377\377\377\377\377\377\377\377\377\1\0a"
				   "\1\1\377\377\377\377\377\377\377\377\377\1\0bv";
	struct demand *d = demand_new(MIN_BYTES, &times);
	(void)state;

	assert_true(demand_restore(d, (struct text){ ages, sizeof ages - 1 }, 5000, 0));
	assert_int_equal(demand_peek(d, TEXT("a"), 5299), DEMAND_NOTFOUND);
	assert_int_equal(demand_peek(d, TEXT("a"), 5300), DEMAND_FAILED);
	assert_int_equal(demand_peek(d, TEXT("b"), 6099), DEMAND_FOUND);
	assert_int_equal(demand_peek(d, TEXT("b"), 6100), DEMAND_FAILED);
	assert_string_equal(ask(d, "b", 8099), "LEAD WAIT v");
	put(d, "b", temp, 8099);
	assert_string_equal(ask(d, "b", 8200), "LEAD WAIT");
	put(d, "b", temp, 8200);
	demand_free(d);
}

static void endless_times_stay_endless(void **state)
{
	const struct demand_times endless = { UINT64_MAX, UINT64_MAX, UINT64_MAX, 100 };
	struct demand *d = demand_new(MIN_BYTES, &endless);
	struct demand *new = demand_new(MIN_BYTES, &endless);
	struct buf image = { 0 };
	(void)state;

	put(d, "a", found("v"), 5000);
	put(d, "b", notfound(), 5000);
	assert_true(demand_image(d, 6000, &image));
	assert_true(demand_restore(new, buf_view(&image), 7000, 1000000));
	assert_int_equal(demand_peek(new, TEXT("a"), UINT64_MAX / 4), DEMAND_FOUND);
	assert_int_equal(demand_peek(new, TEXT("b"), UINT64_MAX / 4), DEMAND_NOTFOUND);
	demand_free(d);
	demand_free(new);
	buf_done(&image);
}

/* Promise 1 again, with restarts in between, at once and after a while. */
#define RESTARTS 2
#define RESTART_STEPS (STEPS - 1)

static struct demand *check_restart(struct demand *d, struct text key, struct model *m,
				    uint64_t now, uint64_t elapsed)
{
	struct demand *new = demand_new(MIN_BYTES, &times);
	struct buf image = { 0 };

	assert_true(demand_image(d, now, &image));
	check_put(d, key, &(struct model){ .n_waiting = m->n_waiting }, now, temp);
	demand_free(d);
	assert_true(demand_restore(new, buf_view(&image), now + elapsed, elapsed));
	buf_done(&image);
	m->n_waiting = 0;
	m->is_asked = false;
	m->failed_at = 0;
	return new;
}

static void notfound_is_said_only_while_the_directory_said_so_over_restarts(void **state)
{
	static const enum event events[] = {
		GET, PUT_FOUND, PUT_NOTFOUND, PUT_TEMP, WAIT_250, WAIT_900, WAIT_2500,
	};
	const unsigned n_events = sizeof events / sizeof *events;
	const unsigned base = n_events + RESTARTS;
	unsigned n = 1;
	(void)state;

	for (int step = 0; step < RESTART_STEPS; step++)
		n *= base;
	for (unsigned sequence = 0; sequence < n; sequence++) {
		struct demand *d = demand_new(MIN_BYTES, &times);
		struct model m = { 0 };
		struct waiter w[RESTART_STEPS];
		uint64_t now = 5000;
		unsigned left = sequence;

		for (int step = 0; step < RESTART_STEPS; step++, left /= base) {
			unsigned i = left % base;
			enum event event = i < n_events ? events[i] : WAIT_250;
			uint64_t wait = i == n_events ? 0 : waits[event];

			if (i >= n_events)
				d = check_restart(d, TEXT("a"), &m, now, wait);
			now += wait;
			check_event(d, TEXT("a"), &m, now, event, &w[step]);
		}
		check_put(d, TEXT("a"), &m, now, temp);
		demand_free(d);
	}
}

/* --- memory ------------------------------------------------------------------------- */

static void keys_and_values_may_be_any_bytes_of_any_length(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	struct buf key = { 0 }, value = { 0 }, got = { 0 };
	(void)state;

	for (size_t n = 0; n < 700; n++) {
		buf_clear(&key);
		buf_clear(&value);
		for (size_t i = 0; i < n; i++)
			buf_byte(&key, (char)(i * 7 + n));
		for (size_t i = 0; i < 1 + n * n % 701; i++)
			buf_byte(&value, (char)(i * 3 + n));
		demand_put(d, buf_view(&key), answer_found(buf_view(&value)), 5000);
		buf_clear(&got);

		struct text exact = exact_copy(buf_view(&key));
		struct demand_reply r = demand_get(d, exact, 5000, NULL, &got);
		assert_int_equal(r.says, DEMAND_FOUND);
		assert_true(text_eq(buf_view(&got), buf_view(&value)));
		free((char *)exact.p);
	}
	recount(d);
	buf_done(&key);
	buf_done(&value);
	buf_done(&got);
	demand_free(d);
}

#define LEADS 64

static void keys_that_hash_alike_are_told_apart(void **state)
{
	struct demand *d = demand_new(MIN_BYTES, &times);
	char key[MAX_KEY];
	(void)state;

	is_hash_weak = true;
	for (int i = 0; i < 100; i++) {
		make_key(key, (unsigned)i, 1 + (unsigned)i);
		put(d, key, found(key), 5000);
	}
	for (int i = 0; i < 100; i++) {
		make_key(key, (unsigned)i, 1 + (unsigned)i);
		assert_string_equal(ask(d, key, 5000) + strlen("FOUND "), key);
		key[0] = '1';
		assert_int_equal(demand_peek(d, text_of(key), 5000), DEMAND_FAILED);
	}
	recount(d);
	is_hash_weak = false;
	demand_free(d);
}

/* Strangers ask random things, and the directory answers at random. */
static void flood(size_t max_bytes, unsigned rounds, uint64_t seed)
{
	static struct lead { char key[MAX_KEY]; struct waiter w; } leads[LEADS];
	static char value[9000];
	struct demand *d = demand_new(max_bytes, &times);
	uint64_t now = 5000;
	size_t peak = 0;

	memset(leads, 0, sizeof leads);
	memset(value, 'v', sizeof value);
	assert_true(d->size <= max_bytes);
	for (unsigned i = 0; i < rounds; i++) {
		struct lead *l = &leads[clock_random(&seed) % LEADS];
		size_t n_value = 1 + clock_random(&seed) % (i % 20 ? 100 : sizeof value);
		struct answer answers[] = {
			notfound(), temp, answer_found((struct text){ value, n_value }),
		};

		now += clock_random(&seed) % 10;
		if (l->key[0]) {
			struct answer answer = answers[clock_random(&seed) % 3];
			struct waiter *back = demand_put(d, text_of(l->key), answer, now);

			assert_ptr_equal(back, &l->w);
			assert_null(back->next);
			l->key[0] = '\0';
		} else {
			make_key(l->key, i, clock_random(&seed) % 200);
			if (strcmp(get(d, l->key, now, &l->w), "LEAD WAIT"))
				l->key[0] = '\0';
		}
		peak = demand_bytes(d) > peak ? demand_bytes(d) : peak;
		assert_true(peak <= max_bytes);
		if (i % 50 == 0)
			recount(d);
	}
	assert_true(peak > max_bytes * 9 / 10);
	for (unsigned i = 0; i < LEADS; i++)
		if (leads[i].key[0])
			put(d, leads[i].key, temp, now);
	recount(d);
	demand_free(d);
}

static void memory_stays_within_its_bound_whatever_strangers_ask(void **state)
{
	(void)state;
	flood(MIN_BYTES, 20000, 1);
	flood(3 * MIN_BYTES + 12345, 20000, 2);
	flood((size_t)1 << 20, 20000, 3);
}

static void a_question_in_flight_is_never_evicted(void **state)
{
	struct demand *d = demand_new(MIN_BYTES, &times);
	char key[16];
	int n_asked = 0;
	(void)state;

	assert_string_equal(ask(d, "first", 5000), "LEAD WAIT");
	for (int i = 0; i < 5000; i++) {
		snprintf(key, sizeof key, "v%d", i);
		put(d, key, found("value"), 5000);
	}
	for (;; n_asked++) {
		snprintf(key, sizeof key, "q%d", n_asked);
		if (strcmp(ask(d, key, 5000), "FULL") == 0)
			break;
	}
	assert_in_range(n_asked, 100, 130);	/* a quarter of the shard */
	assert_string_equal(ask(d, "v4999", 5000), "FOUND value");
	assert_string_equal(ask(d, "q0", 5000), "WAIT");
	recount(d);
	assert_int_equal(put(d, "q0", notfound(), 5000), 2);
	assert_string_equal(ask(d, key, 5000), "LEAD WAIT");
	assert_int_equal(put(d, "first", temp, 5000), 1);
	put(d, key, temp, 5000);
	for (int i = 1; i < n_asked; i++) {
		snprintf(key, sizeof key, "q%d", i);
		assert_int_equal(put(d, key, temp, 5000), 1);
	}
	recount(d);
	demand_free(d);
}

static void with_nothing_but_questions_the_cache_is_full(void **state)
{
	struct demand *d = demand_new(MIN_BYTES, &times);
	static struct waiter w[1000];
	char key[16];
	int n = 0;
	(void)state;

	for (;; n++) {
		snprintf(key, sizeof key, "%d", n);
		if (strcmp(get(d, key, 5000, &w[n]), "FULL") == 0)
			break;
	}
	assert_in_range(n, 400, 500);
	assert_int_equal(put(d, key, found("v"), 5000), 0);
	assert_string_equal(get(d, key, 5000, &w[n]), "FULL");
	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "%d", i);
		assert_ptr_equal(demand_put(d, text_of(key), found("v"), 5000), &w[i]);
	}
	assert_int_equal(demand_entries(d), n);
	demand_free(d);
}

static size_t n_remembered(struct demand *d, int n)
{
	size_t n_found = 0;
	char key[16];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, "v%d", i);
		n_found += demand_peek(d, text_of(key), 5000) == DEMAND_FOUND;
	}
	return n_found;
}

static void strangers_push_out_a_quarter_of_the_values_at_most(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	char key[40];
	(void)state;

	for (int i = 0; i < 20000; i++) {
		snprintf(key, sizeof key, "v%d", i);
		put(d, key, found("value"), 5000);
	}

	size_t before = n_remembered(d, 20000);
	for (int i = 0; i < 50000; i++) {
		snprintf(key, sizeof key, "stranger%d@a.test", i);
		assert_string_equal(ask(d, key, 5000), "LEAD WAIT");
		put(d, key, i % 3 ? notfound() : temp, 5000);
	}
	assert_true(n_remembered(d, 20000) >= before * 3 / 4);
	assert_true(before > 7000);
	recount(d);
	demand_free(d);
}

static void what_is_used_stays_and_what_is_not_goes(void **state)
{
	struct demand *d = demand_new(MIN_BYTES, &times);
	char key[16];
	(void)state;

	put(d, "used", found("v"), 5000);
	put(d, "unused", found("v"), 5000);
	put(d, "used once", found("v"), 5000);
	assert_string_equal(ask(d, "used once", 5000), "FOUND v");
	for (int i = 0; i < 2000; i++) {
		snprintf(key, sizeof key, "%d", i);
		put(d, key, found("v"), 5000);
		assert_string_equal(ask(d, "used", 5000), "FOUND v");
	}
	assert_int_equal(demand_peek(d, TEXT("unused"), 5000), DEMAND_FAILED);
	assert_int_equal(demand_peek(d, TEXT("used once"), 5000), DEMAND_FAILED);
	demand_free(d);
}

static void a_value_that_does_not_fit_still_ends_the_old_one(void **state)
{
	struct demand *d = demand_new(MIN_BYTES, &times);
	struct buf big = { 0 };
	(void)state;

	memset(buf_room(&big, MIN_BYTES), 'v', MIN_BYTES);
	big.n = MIN_BYTES;

	put(d, "other", found("x"), 5000);
	put(d, "a", found("old"), 5000);
	assert_string_equal(ask(d, "a", 6101), "LEAD WAIT old");
	assert_int_equal(put(d, "a", answer_found(buf_view(&big)), 6101), 1);
	assert_string_equal(ask(d, "a", 6101), "LEAD WAIT");
	assert_string_equal(ask(d, "other", 5000), "FOUND x");
	assert_int_equal(put(d, "a", temp, 6101), 1);
	recount(d);
	buf_done(&big);
	demand_free(d);
}

static void a_cache_beyond_all_memory_is_refused(void **state)
{
	(void)state;
	assert_null(demand_new((size_t)1 << 60, &times));
	assert_null(demand_new(SIZE_MAX, &times));
}

/* --- threads ------------------------------------------------------------------------ */

#define THREADS 4
#define OPS 20000
#define HOT_KEYS 40

struct asker {
	struct waiter w;	/* first, so that a waiter is its asker */
	atomic_int n_returned;
};

static struct demand *shared;
static _Atomic uint64_t shared_now = 5000;
static atomic_int in_flight[HOT_KEYS];
static atomic_int n_parked, n_returned, n_errors, n_saved;

struct thread {
	pthread_t id;
	uint64_t seed;
	struct asker askers[OPS];
	unsigned leads[OPS], n_leads;
};

static struct text thread_key(unsigned k, char *room, size_t n)
{
	return (struct text){ room, (size_t)snprintf(room, n, "key%u@a.test", k) };
}

static void thread_put(struct thread *t)
{
	static char value[1500];
	size_t n_value = 1 + clock_random(&t->seed) % sizeof value;
	const struct answer answers[] = {
		temp, notfound(), answer_found((struct text){ value, n_value }),
	};
	unsigned k = t->leads[--t->n_leads];
	char room[32];

	n_errors += atomic_exchange(&in_flight[k], 0) != 1;
	struct waiter *w = demand_put(shared, thread_key(k, room, sizeof room),
				      answers[clock_random(&t->seed) % 3], shared_now);
	while (w) {
		struct asker *a = (void *)w;

		w = w->next;	/* before its owner learns that it is free */
		n_errors += atomic_fetch_add(&a->n_returned, 1) != 0;
		n_returned++;
	}
}

static void thread_get(struct thread *t, struct asker *a, struct buf *value)
{
	unsigned k = (unsigned)(clock_random(&t->seed) % HOT_KEYS);
	char room[32];

	buf_clear(value);
	struct demand_reply r = demand_get(shared, thread_key(k, room, sizeof room),
					   shared_now++, &a->w, value);
	n_parked += r.says == DEMAND_WAIT;
	if (r.says != DEMAND_WAIT)
		a->n_returned = 1;
	if (r.lead) {
		n_errors += atomic_exchange(&in_flight[k], 1) != 0;
		t->leads[t->n_leads++] = k;
	}
}

/* What is written while others work can be read. */
static void thread_save(struct buf *image)
{
	struct demand *d = demand_new(MIN_BYTES, &times);

	buf_clear(image);
	n_errors += !demand_image(shared, shared_now, image);
	n_errors += !demand_restore(d, buf_view(image), shared_now, 0);
	n_saved += (int)demand_entries(d);
	demand_free(d);
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;
	struct buf value = { 0 };

	for (int i = 0; i < OPS; i++) {
		thread_get(t, &t->askers[i], &value);
		while (t->n_leads && clock_random(&t->seed) % 3 == 0)
			thread_put(t);
		if (i % 100 == 0)
			n_errors += demand_bytes(shared) > MIN_BYTES;
		if (i % 1000 == 0)
			thread_save(&value);
	}
	while (t->n_leads)
		thread_put(t);
	buf_done(&value);
	return NULL;
}

static void threads_share_one_flight_per_key_and_lose_no_waiter(void **state)
{
	static struct thread threads[THREADS];
	(void)state;

	shared = demand_new(MIN_BYTES, &times);
	for (int i = 0; i < THREADS; i++) {
		threads[i].seed = (uint64_t)i;
		pthread_create(&threads[i].id, NULL, thread_main, &threads[i]);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i].id, NULL);
	for (int i = 0; i < THREADS; i++)
		for (int j = 0; j < OPS; j++)
			assert_int_equal(threads[i].askers[j].n_returned, 1);
	assert_int_equal(n_errors, 0);
	assert_int_equal(n_parked, n_returned);
	assert_true(n_parked > OPS / 10);
	assert_true(n_saved > 100);
	recount(shared);
	demand_free(shared);
}

/* --- forgetting --------------------------------------------------------------------- */

static void what_is_forgotten_is_asked_again(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	(void)state;

	assert_int_equal(demand_forget(d, TEXT("a")), 0);
	put(d, "a", found("v"), 5000);
	put(d, "b", notfound(), 5000);
	put(d, "c", temp, 5000);
	put(d, "d", found("other"), 5000);
	assert_int_equal(demand_forget(d, TEXT("a")), 1);
	assert_int_equal(demand_forget(d, TEXT("a")), 0);
	assert_int_equal(demand_forget(d, TEXT("b")), 1);
	assert_int_equal(demand_forget(d, TEXT("c")), 1);
	recount(d);
	assert_int_equal(demand_entries(d), 1);
	assert_string_equal(ask(d, "a", 5001), "LEAD WAIT");
	assert_string_equal(ask(d, "b", 5001), "LEAD WAIT");
	assert_string_equal(ask(d, "c", 5001), "LEAD WAIT");
	assert_string_equal(ask(d, "d", 5001), "FOUND other");
	assert_int_equal(put(d, "a", found("new"), 5001) + put(d, "b", temp, 5001) +
			 put(d, "c", notfound(), 5001), 3);
	assert_string_equal(ask(d, "a", 5002), "FOUND new");
	demand_free(d);
}

static void what_is_forgotten_stands_in_for_nothing(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	struct waiter w;
	(void)state;

	put(d, "a", found("old"), 5000);
	assert_string_equal(get(d, "a", 6500, &w), "LEAD WAIT old");
	assert_int_equal(put(d, "a", temp, 6500), 1);
	assert_string_equal(ask(d, "a", 6501), "STALE old");
	assert_int_equal(demand_forget(d, TEXT("a")), 1);
	assert_string_equal(get(d, "a", 6501, &w), "LEAD WAIT");
	assert_int_equal(put(d, "a", temp, 6501), 1);
	assert_string_equal(ask(d, "a", 6502), "FAILED");
	demand_free(d);
}

/* What is on its way was perhaps read before the change for which somebody forgets. */
static void what_is_under_way_comes_home_but_is_not_kept(void **state)
{
	const struct answer answers[] = { found("old"), temp, notfound() };
	struct demand *d = demand_new(1 << 20, &times);
	struct waiter w[2];
	(void)state;

	for (size_t i = 0; i < 3; i++) {
		put(d, "a", found("older"), 4000);
		assert_string_equal(get(d, "a", 5500, &w[0]), "LEAD WAIT older");
		assert_int_equal(demand_forget(d, TEXT("a")), 1);
		assert_int_equal(demand_forget(d, TEXT("a")), 0);
		assert_int_equal(demand_peek(d, TEXT("a"), 5500), DEMAND_FAILED);
		/* Who asks after that gets nothing of before. */
		assert_string_equal(get(d, "a", 5500, &w[1]), "FAILED");
		assert_int_equal(put(d, "a", answers[i], 5500), 1);
		assert_int_equal(demand_entries(d), 0);
		recount(d);
	}
	/* A refresh ahead, for which nobody waits. */
	put(d, "a", found("v"), 5000);
	assert_string_equal(ask(d, "a", due_at(d, "a")), "LEAD FOUND v");
	assert_int_equal(demand_forget_all(d), 1);
	assert_int_equal(put(d, "a", found("v"), 6000), 0);
	assert_string_equal(ask(d, "a", 6000), "LEAD WAIT");
	assert_int_equal(put(d, "a", found("new"), 6000), 1);
	assert_string_equal(ask(d, "a", 6000), "FOUND new");
	demand_free(d);
}

static void everything_is_forgotten_at_once(void **state)
{
	static struct waiter w[100];
	struct demand *d = demand_new(4 << 20, &times);
	char key[MAX_KEY + 1];
	(void)state;

	for (unsigned i = 0; i < 5000; i++) {
		make_key(key, i, 1 + i % MAX_KEY);
		put(d, key, i % 2 ? found("some value that is longer than most") : notfound(), 5000);
	}
	size_t n = demand_entries(d);
	for (unsigned i = 0; i < 100; i++) {
		make_key(key, 90000 + i, 1);
		get(d, key, 5000, &w[i]);
	}
	assert_int_equal(demand_forget_all(d), n);
	assert_int_equal(demand_entries(d), 100);
	recount(d);
	for (unsigned i = 0; i < 100; i++) {
		make_key(key, 90000 + i, 1);
		assert_int_equal(put(d, key, found("v"), 5000), 1);
	}
	assert_int_equal(demand_entries(d), 0);
	recount(d);
	assert_int_equal(demand_forget_all(d), 0);
	demand_free(d);
}

static void no_image_brings_back_what_was_forgotten(void **state)
{
	struct demand *d = demand_new(1 << 20, &times);
	struct buf before = { 0 }, after = { 0 };
	struct waiter w;
	(void)state;

	put(d, "a", found("v"), 5000);
	put(d, "b", found("v"), 4000);
	get(d, "b", 5500, &w);
	assert_true(demand_image(d, 5500, &before));
	demand_forget(d, TEXT("a"));
	demand_forget(d, TEXT("b"));
	assert_true(demand_restore(d, buf_view(&before), 5500, 0));
	assert_int_equal(demand_peek(d, TEXT("a"), 5500), DEMAND_FAILED);
	assert_int_equal(put(d, "b", temp, 5500), 1);
	assert_int_equal(demand_entries(d), 0);
	assert_true(demand_image(d, 5500, &after));

	struct demand *new = demand_new(1 << 20, &times);
	assert_true(demand_restore(new, buf_view(&after), 5500, 0));
	assert_int_equal(demand_entries(new), 0);
	demand_free(new);
	demand_free(d);
	buf_done(&before);
	buf_done(&after);
}

struct forgetting {
	struct demand *demand;
	_Atomic unsigned n_parked, n_home;
	_Atomic bool is_over;
};

static void *forgets(void *arg)
{
	struct forgetting *f = arg;

	for (unsigned i = 0; !atomic_load(&f->is_over); i++)
		if (i % 8)
			demand_forget(f->demand, TEXT("key"));
		else
			demand_forget_all(f->demand);
	return NULL;
}

static void *asks_and_puts(void *arg)
{
	struct forgetting *f = arg;
	struct waiter *w = calloc(20000, sizeof *w);
	struct buf value = { 0 };

	for (unsigned i = 0; i < 20000; i++) {
		struct demand_reply r = demand_get(f->demand, TEXT("key"), 5000 + i, &w[i], &value);

		atomic_fetch_add(&f->n_parked, r.says == DEMAND_WAIT);
		if (r.lead)
			atomic_fetch_add(&f->n_home, (unsigned)n_waiters(demand_put(
				f->demand, TEXT("key"), i % 3 ? found("v") : notfound(), 5000 + i)));
		buf_clear(&value);
	}
	buf_done(&value);
	return w;
}

static void no_waiter_is_lost_while_somebody_forgets(void **state)
{
	struct forgetting f = { .demand = demand_new(1 << 20, &times) };
	pthread_t forgetter, askers[3];
	void *waiters[3];
	(void)state;

	pthread_create(&forgetter, NULL, forgets, &f);
	for (int i = 0; i < 3; i++)
		pthread_create(&askers[i], NULL, asks_and_puts, &f);
	for (int i = 0; i < 3; i++)
		pthread_join(askers[i], &waiters[i]);
	atomic_store(&f.is_over, true);
	pthread_join(forgetter, NULL);
	assert_int_equal(f.n_home, f.n_parked);
	for (int i = 0; i < 3; i++)
		free(waiters[i]);
	recount(f.demand);
	demand_free(f.demand);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_cold_key_costs_one_query_however_many_ask),
		cmocka_unit_test(an_answer_is_fresh_for_its_ttl),
		cmocka_unit_test(near_its_end_one_refreshes_while_all_are_answered),
		cmocka_unit_test(a_failed_refresh_ahead_is_repeated_after_a_pause),
		cmocka_unit_test(an_absence_is_not_refreshed_ahead),
		cmocka_unit_test(an_old_value_stands_in_for_a_failing_directory),
		cmocka_unit_test(a_failure_is_not_asked_again_before_its_pause_is_over),
		cmocka_unit_test(an_absence_ends_the_life_of_an_old_value),
		cmocka_unit_test(without_ttls_nothing_is_kept_but_waiters_come_back),
		cmocka_unit_test(times_may_be_endless),
		cmocka_unit_test(peeking_starts_nothing),
		cmocka_unit_test(looking_tells_what_is_noted),
		cmocka_unit_test(looking_foretells_what_is_said),
		cmocka_unit_test(what_was_put_at_once_does_not_end_at_once),
		cmocka_unit_test(notfound_is_said_only_while_the_directory_said_so),
		cmocka_unit_test(a_restart_changes_no_answer),
		cmocka_unit_test(time_passes_while_the_server_is_down),
		cmocka_unit_test(a_value_older_than_the_clock_is_left_out),
		cmocka_unit_test(questions_and_failures_are_not_kept_but_old_values_are),
		cmocka_unit_test(what_is_known_already_is_kept),
		cmocka_unit_test(failures_and_questions_are_not_in_the_way),
		cmocka_unit_test(shorter_times_of_now_hold_for_what_was_kept),
		cmocka_unit_test(a_smaller_cache_keeps_what_fits),
		cmocka_unit_test(what_is_no_image_is_refused_whole),
		cmocka_unit_test(no_image_makes_anything_last_for_ever),
		cmocka_unit_test(endless_times_stay_endless),
		cmocka_unit_test(
			notfound_is_said_only_while_the_directory_said_so_over_restarts),
		cmocka_unit_test(keys_and_values_may_be_any_bytes_of_any_length),
		cmocka_unit_test(keys_that_hash_alike_are_told_apart),
		cmocka_unit_test(memory_stays_within_its_bound_whatever_strangers_ask),
		cmocka_unit_test(a_question_in_flight_is_never_evicted),
		cmocka_unit_test(with_nothing_but_questions_the_cache_is_full),
		cmocka_unit_test(strangers_push_out_a_quarter_of_the_values_at_most),
		cmocka_unit_test(what_is_used_stays_and_what_is_not_goes),
		cmocka_unit_test(a_value_that_does_not_fit_still_ends_the_old_one),
		cmocka_unit_test(a_cache_beyond_all_memory_is_refused),
		cmocka_unit_test(threads_share_one_flight_per_key_and_lose_no_waiter),
		cmocka_unit_test(what_is_forgotten_is_asked_again),
		cmocka_unit_test(what_is_forgotten_stands_in_for_nothing),
		cmocka_unit_test(what_is_under_way_comes_home_but_is_not_kept),
		cmocka_unit_test(everything_is_forgotten_at_once),
		cmocka_unit_test(no_image_brings_back_what_was_forgotten),
		cmocka_unit_test(no_waiter_is_lost_while_somebody_forgets),
	};

	hash_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * The truth of tables (DESIGN 6), every case of it: states, policies, keys, what the cache of
 * single keys holds, what the directory says and when, what becomes of refreshes. Nothing is
 * sampled. What is wanted comes from tables written down from the page, not from the code.
 */
#include "unit/test.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"
#include "engine/registry.h"
#include "engine/scan.h"
#include "engine/source.h"

#include <stdio.h>

/* --- the code, with ears: each proof of an absence, each question to the directory -- */

static enum proof proofs[64];
static size_t n_proofs;

static struct answer heard_absent(enum proof proof)
{
	assert_true(proof > PROOF_NONE && proof < PROOFS);
	proofs[n_proofs++ % 64] = proof;
	return answer_absent(proof);
}

static struct question {
	struct table *table;
	struct buf key;
} question;
static size_t n_questions;

static void heard_post(struct loop *control, struct table *table, struct text key,
		       uint64_t expires)
{
	(void)control;
	(void)expires;
	question.table = table;
	buf_clear(&question.key);
	buf_text(&question.key, key);
	n_questions++;
}

#define answer_absent heard_absent
#define source_post heard_post
#include "engine/table.c"
#include "engine/table_answer.c"
#include "engine/table_values.c"

/* Whatever is asked, what table_foretell() tells people beforehand must be what comes. */
static struct table_reply foretold_get(struct table *t, struct text key, uint64_t now,
				       const struct domain_oracle *oracle, struct waiter *waiter,
				       struct buf *value)
{
	size_t n_before = n_proofs, n_entries = demand_entries(t->demand);
	struct buf scratch = { 0 };
	struct table_reply told = table_foretell(t, key, now, oracle, &scratch);

	n_proofs = n_before;
	assert_int_equal(demand_entries(t->demand), n_entries);

	struct table_reply got = table_get(t, key, now, oracle, waiter, value);
	assert_int_equal(told.is_parked, got.is_parked);
	assert_int_equal(told.has_stale, got.has_stale);
	assert_int_equal(told.is_stale, got.is_stale);
	assert_int_equal(told.origin, got.origin);
	assert_int_equal(told.answer.verdict, got.answer.verdict);
	assert_int_equal(told.answer.reason, got.answer.reason);
	assert_true(text_eq(told.answer.value, got.answer.value));
	buf_done(&scratch);
	return got;
}

#define table_get foretold_get
#include "engine/lookup.c"
#undef table_get
#undef answer_absent
#undef source_post

/* --- the times, in msec ------------------------------------------------------------- */

#define MAX_AGE ((uint64_t)300000)
#define STALE_MAX ((uint64_t)1000000)
#define TTL ((uint64_t)100000)
#define NEGATIVE_TTL ((uint64_t)10000)
#define DEADLINE ((uint64_t)2000)
#define WAIT ((uint64_t)1000)	/* what the directory takes when it answers in time */

static uint64_t start;		/* when each case begins; the fake clock */

/* --- what a case is made of --------------------------------------------------------- */

/* A mirror's age when the request comes, or none; both sides of each edge. */
enum age { NO_MIRROR, YOUNG, AT_MAX_AGE, PAST_MAX_AGE, AT_STALE_MAX, PAST_STALE_MAX, AGES };
static const uint64_t age_msec[AGES] = {
	[YOUNG] = 0, [AT_MAX_AGE] = MAX_AGE, [PAST_MAX_AGE] = MAX_AGE + 1,
	[AT_STALE_MAX] = STALE_MAX, [PAST_STALE_MAX] = STALE_MAX + 1,
};

enum making { SCANNED, RESTORED, ORIGINS };	/* by a scan, or of a snapshot */
enum mode { DEMAND, MIRROR, MIRROR_PLAIN, MODES };	/* MIRROR_PLAIN: of plain keys only */

enum key {
	HIT, BAD, MISS, BARE, DOTTED, ODD,
	ENDED,			/* its only value was for a time that has passed */
	PARTLY_ENDED,		/* it has another one */
	N_KEYS
};
static const char *const keys[N_KEYS] = {
	[HIT] = "hit@ours.test", [BAD] = "bad@ours.test", [MISS] = "miss@ours.test",
	[BARE] = "miss", [DOTTED] = ".ours.test", [ODD] = "o dd@ours.test",
	[ENDED] = "ended@ours.test", [PARTLY_ENDED] = "partly@ours.test",
};

/* What the domain map says of ours.test. */
enum domain { OURS, FOREIGN, UNKNOWN, DOMAINS };

/* What the cache of single keys holds. */
enum cache {
	NOTHING_CACHED,
	FRESH_FOUND,
	DUE_FOUND,		/* near its end: refreshed ahead */
	FRESH_NOTFOUND,
	OLD_FOUND,		/* past ttl, within stale_max */
	ANCIENT_FOUND,		/* past stale_max */
	OLD_NOTFOUND,		/* past negative_ttl */
	JUST_FAILED,		/* asked in vain a moment ago */
	JUST_FAILED_OLD_FOUND,	/* the same, with a value past its ttl */
	JUST_FAILED_OLD_NOTFOUND,
	BEING_ASKED,		/* another client waits for the answer already */
	CACHES
};

/* What the directory does when it is asked. */
enum directory { SAYS_FOUND, SAYS_NOTFOUND, SAYS_TEMP, IS_DOWN, IS_LATE, DIRECTORIES };

/* What becomes of a refresh meanwhile. */
enum refresh {
	NO_REFRESH, ACCEPTED_WITH_KEY, ACCEPTED_WITHOUT_KEY, ACCEPTED_WITH_BAD_KEY, REJECTED,
	FAILED, REFRESHES
};

struct situation {
	enum mode mode;
	enum age age;
	enum making making;
	enum on_miss on_miss;
	enum stale_miss stale_miss;
	enum key key;
	enum domain domain;
	enum cache cache;
	enum directory directory;
	enum refresh refresh;
};

/* --- the page ----------------------------------------------------------------------- */

struct want {
	enum verdict verdict;
	const char *value;		/* of FOUND: whose word it is */
	bool is_stale;
	enum proof proof;		/* of NOTFOUND */
	bool asks;			/* none of these: the directory is asked */
	bool has_stale;			/* and there is an old value to fall back on */
};

static const struct want temp = { .verdict = TEMP };

static struct want found(const char *value, bool is_stale)
{
	return (struct want){ .verdict = FOUND, .value = value, .is_stale = is_stale };
}

static struct want absent(enum proof proof)
{
	return (struct want){ .verdict = NOTFOUND, .proof = proof };
}

/* "State of a table by age of its last accepted truth: EMPTY, FRESH, STALE, EXPIRED." */
static enum table_state page_state(bool has_mirror, uint64_t age)
{
	return !has_mirror ? TABLE_EMPTY : age <= MAX_AGE ? TABLE_FRESH :
	       age <= STALE_MAX ? TABLE_STALE : TABLE_EXPIRED;
}

static enum table_state page_age(enum age age)
{
	return page_state(age != NO_MIRROR, age_msec[age]);
}

/*
 *           | hit                     | miss
 *  EMPTY    | -                       | TEMP
 *  FRESH    | FOUND                   | NOTFOUND (after `ask`, where configured)
 *  STALE    | FOUND, counted as stale | by `stale_miss`
 *  EXPIRED  | TEMP                    | TEMP
 */
enum cell { CELL_TEMP, CELL_FOUND, CELL_FOUND_STALE, CELL_NOTFOUND, CELL_STALE_MISS };
static const struct { enum cell hit, miss; } page[] = {
	[TABLE_EMPTY] = { CELL_TEMP, CELL_TEMP },
	[TABLE_FRESH] = { CELL_FOUND, CELL_NOTFOUND },
	[TABLE_STALE] = { CELL_FOUND_STALE, CELL_STALE_MISS },
	[TABLE_EXPIRED] = { CELL_TEMP, CELL_TEMP },
};

/*
 * "by stale_miss: temp (default), notfound, or domain = TEMP only if the key's domain is in
 * the map named by domains, else NOTFOUND". Where nobody knows, it may be in it.
 */
static const bool stale_miss_is_notfound[3][DOMAINS] = {
	[STALE_MISS_TEMP] = { false, false, false },
	[STALE_MISS_NOTFOUND] = { true, true, true },
	[STALE_MISS_DOMAIN] = { [OURS] = false, [FOREIGN] = true, [UNKNOWN] = false },
};

/*
 * "ask looks a missing key up in the directory; notfound trusts the mirror alone; domain asks
 * only for keys whose domain is in the domain map".
 */
static const bool on_miss_asks[3][DOMAINS] = {
	[ON_MISS_ASK] = { true, true, true },
	[ON_MISS_NOTFOUND] = { false, false, false },
	[ON_MISS_DOMAIN] = { [OURS] = true, [FOREIGN] = false, [UNKNOWN] = true },
};

/* A bare user is of no domain, and may be anybody. */
static enum domain page_domain(const struct situation *s)
{
	return s->key == BARE ? UNKNOWN : s->domain;
}

/* A directory whose mirror does not know such keys is asked for them, as in mode demand. */
static bool page_is_mirrored(const struct situation *s)
{
	return s->mode == MIRROR || (s->mode == MIRROR_PLAIN && s->key != ODD);
}

static struct want page_miss(const struct situation *s, enum table_state state)
{
	switch (page[state].miss) {
	case CELL_NOTFOUND:
		return absent(PROOF_MIRROR);
	case CELL_STALE_MISS:
		return stale_miss_is_notfound[s->stale_miss][page_domain(s)] ?
			absent(PROOF_POLICY) : temp;
	default:
		return temp;
	}
}

static struct want page_hit(enum table_state state, const char *value)
{
	switch (page[state].hit) {
	case CELL_FOUND:
		return found(value, false);
	case CELL_FOUND_STALE:
		return found(value, true);
	default:
		return temp;
	}
}

/* "each key is looked up once and cached: fresh -> answer; expired -> ask" */
static const struct { bool is_found, is_absent, is_resting, has_old; } page_cache[CACHES] = {
	[NOTHING_CACHED] = { 0, 0, 0, 0 },
	[FRESH_FOUND] = { .is_found = true },
	[DUE_FOUND] = { .is_found = true },
	[FRESH_NOTFOUND] = { .is_absent = true },
	[OLD_FOUND] = { .has_old = true },
	[ANCIENT_FOUND] = { 0, 0, 0, 0 },
	[OLD_NOTFOUND] = { 0, 0, 0, 0 },
	[JUST_FAILED] = { .is_resting = true },
	[JUST_FAILED_OLD_FOUND] = { .is_resting = true, .has_old = true },
	[JUST_FAILED_OLD_NOTFOUND] = { .is_resting = true },
	[BEING_ASKED] = { 0, 0, 0, 0 },
};

/*
 * The directory failed or is late: "fall back to the old FOUND value when the directory fails
 * or is slow"; "if the directory cannot answer in time, the mirror's word stands while it is
 * FRESH", else by stale_miss.
 */
static struct want page_fallback(const struct situation *s, bool has_old,
				 enum table_state state)
{
	if (has_old)
		return found("cached", true);
	return page_is_mirrored(s) ? page_miss(s, state) : temp;
}

/* What is answered at once, or that the directory is asked. */
static struct want page_first(const struct situation *s)
{
	enum table_state state = page_age(s->age);

	if (page_is_mirrored(s)) {
		if (state == TABLE_EMPTY || state == TABLE_EXPIRED || s->key == BAD)
			return temp;
		if (s->key == HIT || s->key == PARTLY_ENDED)
			return page_hit(state, "mirror");
		if (!on_miss_asks[s->on_miss][page_domain(s)])
			return page_miss(s, state);
	}
	if (page_cache[s->cache].is_found)
		return found("cached", false);
	if (page_cache[s->cache].is_absent)
		return absent(PROOF_CACHED);
	if (page_cache[s->cache].is_resting)
		return page_fallback(s, page_cache[s->cache].has_old, state);
	return (struct want){ .asks = true, .has_stale = page_cache[s->cache].has_old };
}

static uint64_t waited(const struct situation *s)
{
	return s->directory == IS_LATE ? DEADLINE : WAIT;
}

static bool is_new(enum refresh how)
{
	return how == ACCEPTED_WITH_KEY || how == ACCEPTED_WITHOUT_KEY ||
	       how == ACCEPTED_WITH_BAD_KEY;
}

/* What is answered after the directory was asked. */
static struct want page_second(const struct situation *s, bool has_old)
{
	enum table_state state = is_new(s->refresh) ? TABLE_FRESH :
		page_state(s->age != NO_MIRROR, age_msec[s->age] + waited(s));

	if (s->directory == SAYS_FOUND)
		return found("asked", false);
	if (s->directory == SAYS_NOTFOUND)
		return absent(PROOF_DIRECTORY);
	if (has_old || !page_is_mirrored(s))
		return page_fallback(s, has_old, state);
	if (s->refresh == ACCEPTED_WITH_KEY)
		return found("scanned", false);
	if (s->refresh == ACCEPTED_WITH_BAD_KEY)
		return temp;
	return page_fallback(s, false, state);
}

/* --- the machine -------------------------------------------------------------------- */

static struct loops loops;
static struct registry *registry;
static struct lookup look;
static struct ask *home[8];	/* what has come home */
static size_t n_home;

static void on_home(struct ask *a)
{
	home[n_home++] = a;
}

static void run_inbox(struct loop *loop)
{
	while (loop->first) {
		struct message *m = loop->first;

		loop->first = m->next;
		if (!loop->first)
			loop->last = &loop->first;
		m->run(m);
	}
}

static void run_messages(void)
{
	while (loops.answers[0].first || loops.control.first || loops.refresh.first) {
		run_inbox(&loops.answers[0]);
		run_inbox(&loops.control);
		run_inbox(&loops.refresh);
	}
}

static struct table *table_of(const char *map, size_t i)
{
	return registry_find(registry, text_of(map))->tables[i];
}

/*
 * Each case has a cache of its own, in which nobody waits. It is one piece of memory
 * (demand.c), so that a copy of the unused one makes it unused again, much faster than a new one is made.
 */
#define CACHE_SIZE (64 << 10)
#define TABLES 4

static struct { struct table *table; char unused[CACHE_SIZE]; } caches[TABLES];

static void reset_cache(const struct table *t)
{
	size_t i = 0;

	while (caches[i].table != t)
		assert_true(++i < TABLES);
	memcpy((void *)t->demand, caches[i].unused, CACHE_SIZE);
}

static void remember_caches(void)
{
	struct table *const tables[TABLES] = {
		table_of("domains", 0),
		table_of("one", 0),
		table_of("two", 0),
		table_of("two", 1),
	};

	for (size_t i = 0; i < TABLES; i++) {
		caches[i].table = tables[i];
		memcpy(caches[i].unused, (void *)tables[i]->demand, CACHE_SIZE);
	}
}

static struct table_settings *new_table_settings(void)
{
	struct table_settings *s = must_calloc(1, sizeof *s);
	struct buf why = { 0 };

	s->source = must_strdup("fake");
	s->result_format = template_new(TEXT("%s"), TEMPLATE_RESULT, &why);
	s->mode = TABLE_MIRROR;
	s->refresh = MAX_AGE;
	s->max_age = MAX_AGE;
	s->stale_max = STALE_MAX;
	s->ttl = TTL;
	s->negative_ttl = NEGATIVE_TTL;
	s->deadline = DEADLINE;
	s->cache_size = CACHE_SIZE;
	s->domains = must_strdup("domains");
	s->min_entries = 1;
	s->max_shrink = 30;
	s->max_entries = 1000;
	s->max_bytes = 1 << 20;
	s->fingerprint = must_strdup("");
	s->identity = must_strdup("");
	return s;
}

static struct map_settings *new_map(const char *name, enum search_kind kind, size_t n_tables)
{
	struct map_settings *m = must_calloc(1, sizeof *m);

	m->name = must_strdup(name);
	m->rules.kind = kind;
	m->fingerprint = must_strdup("");
	m->n_tables = n_tables;
	m->tables = must_calloc(n_tables, sizeof *m->tables);
	for (size_t i = 0; i < n_tables; i++)
		m->tables[i] = new_table_settings();
	return m;
}

static int setup(void **state)
{
	const struct log_settings quiet = { (enum log_level)-1, LOG_KEYS_NONE, -1 };
	struct settings settings = { 0 };
	struct source_settings *source = must_calloc(1, sizeof *source);
	struct source_settings *sources[] = { source };
	struct map_settings *maps[] = {
		new_map("domains", SEARCH_DOMAIN, 1), new_map("one", SEARCH_EXACT, 1),
		new_map("two", SEARCH_ADDRESS, 2),
	};
	(void)state;

	log_setup(&quiet);
	source->name = must_strdup("fake");
	source->program = must_strdup("/bin/false");
	source->driver = must_strdup("fake");
	source->fingerprint = must_strdup("");
	source->identity = must_strdup("");
	settings.sources = sources;
	settings.n_sources = 1;
	settings.maps = maps;
	settings.n_maps = 3;
	loops_init(&loops, 1);
	registry = registry_new(&settings, NULL, &loops);
	look.loop = &loops.answers[0];
	look.on_home = on_home;
	remember_caches();
	start = clock_msec();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	lookup_done(&look);
	registry_free(registry);
	buf_done(&question.key);
	loop_stop(&loops.control);
	uv_run(&loops.control.uv, UV_RUN_DEFAULT);
	loops_done(&loops);
	return 0;
}

static const struct mirror_limits limits = { .max_entries = 99,
					     .max_bytes = 9999,
					     .max_value = 99 };

/* The mirror of the situation: hit@ours.test and a bad key. */
static struct mirror *make_mirror(enum making making, uint64_t born)
{
	struct mirror_builder *b = mirror_builder_new(&limits);
	struct buf ended = { 0 };
	const char *why = NULL;

	assert_true(mirror_add(b, text_of(keys[HIT]), TEXT("mirror")));
	assert_true(mirror_add_bad(b, text_of(keys[BAD])));
	timed_add(&ended, 1, TEXT("past"));
	assert_true(mirror_add(b, text_of(keys[ENDED]), buf_view(&ended)));
	assert_true(mirror_add(b, text_of(keys[PARTLY_ENDED]), buf_view(&ended)));
	assert_true(mirror_add(b, text_of(keys[PARTLY_ENDED]), TEXT("mirror")));
	buf_done(&ended);
	struct mirror *m = mirror_seal(b, born);
	if (making == SCANNED)
		return m;

	struct mirror *copy =
		mirror_from_image(mirror_image(m), mirror_entries(m), &limits, born, &why);
	assert_non_null(copy);
	mirror_free(m);
	return copy;
}

/* Made once for each of the few there are. */
static struct mirror *new_mirror(enum making making, enum age age)
{
	static struct mirror *made[ORIGINS][AGES];

	if (!made[making][age])
		made[making][age] = make_mirror(making, start - age_msec[age]);
	return mirror_ref(made[making][age]);
}

static struct mirror *domain_mirror(const char *domain, uint64_t born)
{
	struct mirror_builder *b = mirror_builder_new(&limits);

	assert_true(mirror_add(b, text_of(domain), TEXT("x")));
	return mirror_seal(b, born);
}

static void set_mirror(struct table *t, struct mirror *m)
{
	mirror_free(atomic_exchange(&t->mirror, m));
}

/* Jitter is up to a tenth either way. */
static void fill_cache(struct table *t, enum cache cache, struct text key)
{
	const struct answer cached = answer_found(TEXT("cached"));
	const struct answer none = answer_absent(PROOF_DIRECTORY),
			    failed = answer_temp("failed");
	static const struct {
		bool is_there, is_found, has_failed;
		uint64_t ago;
	} rows[CACHES] = {
		[FRESH_FOUND] = { true, true, false, 1 },
		[DUE_FOUND] = { true, true, false, TTL * 89 / 100 },
		[FRESH_NOTFOUND] = { true, false, false, 1 },
		[OLD_FOUND] = { true, true, false, TTL * 2 },
		[ANCIENT_FOUND] = { true, true, false, TTL * 2 + STALE_MAX },
		[OLD_NOTFOUND] = { true, false, false, NEGATIVE_TTL },
		[JUST_FAILED] = { false, false, true, 0 },
		[JUST_FAILED_OLD_FOUND] = { true, true, true, TTL * 2 },
		[JUST_FAILED_OLD_NOTFOUND] = { true, false, true, NEGATIVE_TTL },
	};

	reset_cache(t);
	if (rows[cache].is_there)
		assert_null(demand_put(t->demand, key, rows[cache].is_found ? cached : none,
				       start - rows[cache].ago));
	if (rows[cache].has_failed)
		assert_null(demand_put(t->demand, key, failed, start - 1));
}

/* Somebody else asked before, and waits. */
static struct ask *ask_before(struct table *t, struct text key)
{
	struct ask *other = ask_new(&look);
	struct buf ignored = { 0 };
	struct demand_reply r =
		demand_get(t->demand, key, start - 10, &other->waiter, &ignored);

	assert_int_equal(r.says, DEMAND_WAIT);
	assert_true(r.lead);
	return other;
}

static void set_domain(enum domain domain)
{
	struct table *t = table_of("domains", 0);

	t->settings->on_miss = ON_MISS_NOTFOUND;
	set_mirror(t, domain == UNKNOWN ? NULL :
		   domain_mirror(domain == OURS ? "ours.test" : "other.test", start));
}

static void refresh(struct table *t, enum refresh how, struct text key)
{
	struct scan scan = { .table = t };
	struct row row = { .key = key, .value = TEXT("scanned") };
	const char *why;

	if (how == NO_REFRESH)
		return;
	assert_true(scan_begin(&scan));
	if (how != REJECTED) {
		if (how == ACCEPTED_WITHOUT_KEY)
			row.key = TEXT("another@ours.test");
		if (how == ACCEPTED_WITH_BAD_KEY)
			row.value = TEXT("\377");
		assert_null(scan_row(&scan, &row));
	}
	row = (struct row){ .key = TEXT("filler@ours.test"), .value = TEXT("x") };
	for (int i = 0; how == ACCEPTED_WITH_BAD_KEY && i < 99; i++)	/* 1 % may be bad */
		assert_null(scan_row(&scan, &row));
	if (how == FAILED)
		scan_abandon(&scan);
	else
		assert_int_equal(scan_finish(&scan, &loops, &why),
				 how == REJECTED ? SCAN_REJECTED : SCAN_PUBLISHED);
	scan_done(&scan);
	run_messages();
}

/*
 * The same for a key of which it has been done before: what a scan leaves behind is a mirror or
 * nothing, and that is put in its place. only_an_accepted_refresh_makes_a_table_fresh() has real ones.
 */
static void refresh_again(struct table *t, enum refresh how, enum key key)
{
	static struct mirror *made[REFRESHES][N_KEYS];
	static bool is_done[REFRESHES][N_KEYS];

	if (!is_done[how][key]) {
		refresh(t, how, text_of(keys[key]));
		if (is_new(how))
			made[how][key] = mirror_ref(t->mirror);
		is_done[how][key] = true;
	} else if (made[how][key]) {
		set_mirror(t, mirror_ref(made[how][key]));
	}
}

/* --- one case ----------------------------------------------------------------------- */

static void describe(const struct situation *s, char *out, size_t n)
{
	snprintf(out, n, "mode %d age %d making %d on_miss %d stale_miss %d key %d domain %d "
		 "cache %d directory %d refresh %d", s->mode, s->age, s->making, s->on_miss,
		 s->stale_miss, s->key, s->domain, s->cache, s->directory, s->refresh);
}

/* How often each came out of the machine; see the ends of the tests. */
static size_t seen_verdict[AGES][VERDICTS], seen_proof[PROOFS];

static void compare(const struct situation *s, const struct want *want, struct answer got,
		    bool is_stale)
{
	bool is_right = got.verdict == want->verdict &&
			(got.verdict != FOUND || is_stale == want->is_stale);
	char text[200];

	describe(s, text, sizeof text);
	if (is_right && got.verdict == FOUND)
		is_right = text_is(got.value, want->value);
	if (is_right && got.verdict == NOTFOUND)
		is_right = n_proofs >= 2 && proofs[n_proofs - 1] == PROOF_ALL_TABLES &&
			   proofs[n_proofs - 2] == want->proof;
	if (!is_right)
		fail_msg("%s: got %s \"%.*s\" stale %d proof %d, want %s \"%s\" stale %d "
			 "proof %d",
			 text, verdict_name(got.verdict), (int)got.value.n,
			 got.value.n ? got.value.p : "", is_stale,
			 n_proofs > 1 ? (int)proofs[n_proofs - 2] : 0,
			 verdict_name(want->verdict), want->value ? want->value : "",
			 want->is_stale, want->proof);
	seen_verdict[s->age][got.verdict]++;
	if (got.verdict == NOTFOUND)
		seen_proof[want->proof]++;
}

static void prepare(const struct situation *s, struct table *t)
{
	t->settings->mode = s->mode == DEMAND ? TABLE_DEMAND : TABLE_MIRROR;
	t->settings->asks_odd_keys = s->mode == MIRROR_PLAIN;
	t->settings->on_miss = s->on_miss;
	t->settings->stale_miss = s->stale_miss;
	set_mirror(t, s->age == NO_MIRROR ? NULL : new_mirror(s->making, s->age));
	fill_cache(t, s->cache, text_of(keys[s->key]));
	n_proofs = n_questions = n_home = 0;
}

/* Let the directory answer, or let the deadline pass; the client's answer. */
static struct answer settle(const struct situation *s, struct table *t, struct ask *a,
			    struct map **ret_map)
{
	static const enum verdict says[DIRECTORIES] = {
		[SAYS_FOUND] = FOUND, [SAYS_NOTFOUND] = NOTFOUND
	};
	struct text key = text_of(keys[s->key]);
	uint64_t now = start + waited(s);
	struct answer answer =
		says[s->directory] == FOUND ? answer_found(TEXT("asked"))
		: says[s->directory] == NOTFOUND
			? answer_absent(PROOF_DIRECTORY)
			: answer_temp(s->directory == IS_DOWN ? "down" : "failed");
	struct answer got;

	if (s->directory == IS_LATE) {
		assert_int_equal(a->deadline, now);
		assert_null(lookup_expire(&look, registry, a, now, &got, ret_map));
		return got;
	}
	ask_wake(demand_put(t->demand, key, answer, now), answer);
	run_messages();
	assert_null(lookup_run(&look, registry, TEXT("one"), key, a, now, &got, ret_map));
	return got;
}

/* What was lent out comes home at last, however late. */
static void collect(struct table *t, const struct situation *s)
{
	const struct answer late = answer_temp("late");

	ask_wake(demand_put(t->demand, text_of(keys[s->key]), late, start + 2 * DEADLINE),
		 late);
	run_messages();
	while (n_home)
		ask_free(home[--n_home]);
}

/* One request from its beginning to its end. True when the directory was asked. */
static bool play(const struct situation *s)
{
	struct text key = text_of(keys[s->key]);
	struct table *t = table_of("one", 0);
	struct want want = page_first(s);
	struct answer got;
	struct map *map;

	prepare(s, t);
	struct ask *other = s->cache == BEING_ASKED ? ask_before(t, key) : NULL;
	struct ask *a = lookup_run(&look, registry, TEXT("one"), key, NULL, start, &got, &map);

	if ((a != NULL) != want.asks) {
		char text[200];

		describe(s, text, sizeof text);
		fail_msg("%s: %s", text, a ? "is asked for" : "is not asked for");
	}
	if (a) {
		assert_int_equal(n_questions, other == NULL);	/* one for all */
		assert_int_equal(a->stale.n > 0, want.has_stale);
		refresh_again(t, s->refresh, s->key);
		want = page_second(s, want.has_stale);
		got = settle(s, t, a, &map);
	} else if (s->cache != DUE_FOUND) {
		assert_int_equal(n_questions, 0);
	}
	compare(s, &want, got, look.tally.is_stale);
	collect(t, s);
	return a != NULL;
}

/* --- all cases ---------------------------------------------------------------------- */

#define EACH(type, name, n) for (type name = 0; name < (n); name++)

/* The next combination of digits below `sizes`, the last one fastest; false at the end. */
static bool next_combination(unsigned *digits, const unsigned *sizes, size_t n)
{
	while (n-- > 0) {
		if (++digits[n] < sizes[n])
			return true;
		digits[n] = 0;
	}
	return false;
}

static size_t n_first, n_asked, n_all;	/* cases; those that wait; with what happens then */

static void begin_counting(void)
{
	n_first = n_asked = n_all = 0;
	memset(seen_verdict, 0, sizeof seen_verdict);
	memset(seen_proof, 0, sizeof seen_proof);
}

/* One thread: ThreadSanitizer has nothing to find here, but takes its time. */
#ifdef __SANITIZE_THREAD__
#define REFRESHES_PLAYED 1
#else
#define REFRESHES_PLAYED REFRESHES
#endif

/* The first answer; if the directory is asked, all that it may say and a refresh may do. */
static void play_all(struct situation s)
{
	n_first++;
	if (!play(&s)) {
		n_all++;
		return;
	}
	n_asked++;
	EACH(enum directory, directory, DIRECTORIES)
		EACH(enum refresh, how, REFRESHES_PLAYED) {
			s.directory = directory;
			s.refresh = how;
			assert_true(play(&s));
			n_all++;
		}
}

static void assert_only_proofs(const enum proof *wanted, size_t n)
{
	EACH(enum proof, proof, PROOFS) {
		bool is_wanted = false;

		for (size_t i = 0; i < n; i++)
			is_wanted |= wanted[i] == proof;
		assert_int_equal(seen_proof[proof] > 0, is_wanted);
	}
}

static void a_mirror_follows_the_page_in_every_case(void **state)
{
	static const enum proof all[] = {
		PROOF_MIRROR, PROOF_POLICY, PROOF_CACHED, PROOF_DIRECTORY,
	};
	static const unsigned sizes[] = { DOMAINS, 2, AGES, ORIGINS, 3, 3, N_KEYS, CACHES };
	unsigned at[8] = { 0 };
	(void)state;

	begin_counting();
	do {
		set_domain(at[0]);
		play_all((struct situation){
			.mode = at[1] ? MIRROR_PLAIN : MIRROR, .age = at[2], .making = at[3],
			.on_miss = at[4], .stale_miss = at[5], .key = at[6], .domain = at[0],
			.cache = at[7],
		});
	} while (next_combination(at, sizes, 8));
	assert_int_equal(n_first, DOMAINS * 2 * AGES * ORIGINS * 3 * 3 * N_KEYS * CACHES);
	assert_true(n_asked > 0);
	assert_int_equal(n_all, n_first - n_asked + n_asked * DIRECTORIES * REFRESHES_PLAYED);
	assert_only_proofs(all, 4);
}

/* No mirror, or an expired one: whatever else there is. */
static void an_empty_or_expired_mirror_says_temp_to_everything(void **state)
{
	static const enum age ages[] = { NO_MIRROR, PAST_STALE_MAX };
	static const unsigned sizes[] = { DOMAINS, 2, 3, 3, N_KEYS, CACHES };
	unsigned at[6] = { 0 };
	(void)state;

	begin_counting();
	do {
		set_domain(at[0]);
		assert_false(play(&(struct situation){
			.mode = MIRROR,
			.age = ages[at[1]],
			.on_miss = at[2],
			.stale_miss = at[3],
			.key = at[4],
			.domain = at[0],
			.cache = at[5],
		}));
	} while (next_combination(at, sizes, 6));
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(seen_verdict[ages[i]][TEMP],
				 DOMAINS * 3 * 3 * N_KEYS * CACHES);
		assert_int_equal(seen_verdict[ages[i]][FOUND], 0);
		assert_int_equal(seen_verdict[ages[i]][NOTFOUND], 0);
	}
}

/* Policies, domains and a mirror that happens to be there must not matter. */
static void a_demand_table_follows_the_page_in_every_case(void **state)
{
	static const enum proof all[] = { PROOF_CACHED, PROOF_DIRECTORY };
	static const unsigned sizes[] = { AGES, 3, 3, N_KEYS, CACHES };
	unsigned at[5] = { 0 };
	(void)state;

	begin_counting();
	set_domain(FOREIGN);
	do {
		play_all((struct situation){
			.mode = DEMAND, .age = at[0], .on_miss = at[1], .stale_miss = at[2],
			.key = at[3], .domain = FOREIGN, .cache = at[4],
		});
	} while (next_combination(at, sizes, 5));
	assert_int_equal(n_first, AGES * 3 * 3 * N_KEYS * CACHES);
	assert_int_equal(n_all, n_first - n_asked + n_asked * DIRECTORIES * REFRESHES_PLAYED);
	assert_only_proofs(all, 2);
}

/* What a key without a domain, and one that is not UTF-8, get from a template with %d. */
static void assert_unaskable(const char *key, enum proof want)
{
	struct answer got;
	struct map *map;

	n_proofs = 0;
	assert_null(lookup_run(&look, registry, TEXT("one"), text_of(key), NULL, start, &got,
			       &map));
	assert_int_equal(got.verdict, NOTFOUND);
	assert_int_equal(proofs[0], want);
}

static void what_cannot_be_asked_is_absent_in_every_state(void **state)
{
	static const unsigned sizes[] = { MODES, AGES, 3, 3, CACHES };
	struct table *t = table_of("one", 0);
	unsigned at[5] = { 0 };
	(void)state;

	set_domain(UNKNOWN);
	t->settings->needs = (struct needs){ .domain = true };
	do {
		prepare(&(struct situation){
			.mode = at[0], .age = at[1], .on_miss = at[2], .stale_miss = at[3],
			.key = BARE, .domain = UNKNOWN, .cache = at[4],
		}, t);
		assert_unaskable("miss", PROOF_UNASKABLE);
		assert_unaskable("\377@ours.test", PROOF_NOT_UTF8);
		assert_int_equal(n_questions, 0);
	} while (next_combination(at, sizes, 5));
	t->settings->needs = (struct needs){ 0 };
}

/* --- refreshes while nobody waits --------------------------------------------------- */

static struct want page_refreshed(const struct situation *s)
{
	switch (s->refresh) {
	case ACCEPTED_WITH_KEY:
		return found("scanned", false);
	case ACCEPTED_WITHOUT_KEY:
		return absent(PROOF_MIRROR);
	case ACCEPTED_WITH_BAD_KEY:
		return temp;
	default:
		return page_first(s);
	}
}

static void only_an_accepted_refresh_makes_a_table_fresh(void **state)
{
	static const unsigned sizes[] = { AGES, ORIGINS, REFRESHES, N_KEYS };
	struct table *t = table_of("one", 0);
	struct map *map = registry_find(registry, TEXT("one"));
	unsigned at[4] = { 0 };
	(void)state;

	set_domain(UNKNOWN);
	do {
		const struct situation s = {
			.mode = MIRROR,
			.age = at[0],
			.making = at[1],
			.on_miss = ON_MISS_NOTFOUND,
			.stale_miss = STALE_MISS_TEMP,
			.key = at[3],
			.domain = UNKNOWN,
			.refresh = at[2],
		};
		bool is_accepted = is_new(s.refresh);
		struct want want = page_refreshed(&s);
		struct text key = text_of(keys[s.key]);
		struct answer got;

		prepare(&s, t);
		refresh(t, s.refresh, key);
		assert_int_equal(table_state(t, start),
				 is_accepted ? TABLE_FRESH : page_age(s.age));
		assert_null(lookup_run(&look, registry, TEXT("one"), key, NULL, start, &got,
				       &map));
		compare(&s, &want, got, look.tally.is_stale);
	} while (next_combination(at, sizes, 4));
}

/* --- the domain map ----------------------------------------------------------------- */

enum listed { LISTED, LISTED_BAD, NOT_LISTED, LISTEDS };

struct listing {
	enum mode mode;
	enum age age;
	enum on_miss on_miss;
	enum stale_miss stale_miss;
	enum listed listed;
	enum cache cache;
};

/* Does the domain map know, without asking anybody? */
static enum domain page_oracle(const struct listing *l)
{
	enum table_state state = page_age(l->age);
	enum domain cached = page_cache[l->cache].is_found ? OURS :
			     page_cache[l->cache].is_absent ? FOREIGN : UNKNOWN;

	if (l->mode == DEMAND)
		return cached;
	if (state == TABLE_EMPTY || state == TABLE_EXPIRED || l->listed == LISTED_BAD)
		return UNKNOWN;
	if (l->listed == LISTED)
		return OURS;
	if (l->on_miss == ON_MISS_ASK)
		return cached;
	return state == TABLE_FRESH || l->stale_miss == STALE_MISS_NOTFOUND ? FOREIGN
									    : UNKNOWN;
}

static struct mirror *list_of(enum listed listed, uint64_t born)
{
	struct mirror_builder *b = mirror_builder_new(&limits);

	assert_true(mirror_add(b, TEXT("x.test"), TEXT("x")));
	if (listed == LISTED)
		assert_true(mirror_add(b, TEXT("ours.test"), TEXT("x")));
	if (listed == LISTED_BAD)
		assert_true(mirror_add_bad(b, TEXT("ours.test")));
	return mirror_seal(b, born);
}

static void prepare_listing(const struct listing *l, struct table *t)
{
	t->settings->mode = l->mode == DEMAND ? TABLE_DEMAND : TABLE_MIRROR;
	t->settings->on_miss = l->on_miss;
	t->settings->stale_miss = l->stale_miss;
	set_mirror(t,
		   l->age == NO_MIRROR ? NULL : list_of(l->listed, start - age_msec[l->age]));
	fill_cache(t, l->cache, TEXT("ours.test"));
}

/* A STALE mirror without the key, stale_miss = "domain": absent only where that is known. */
static void play_oracle(enum domain want)
{
	struct situation s = {
		.mode = MIRROR, .age = AT_STALE_MAX, .on_miss = ON_MISS_NOTFOUND,
		.stale_miss = STALE_MISS_DOMAIN, .key = MISS, .domain = want,
	};

	assert_false(play(&s));
	s.on_miss = ON_MISS_DOMAIN;
	assert_int_equal(play(&s), want != FOREIGN);
}

static void a_domain_map_is_believed_only_where_it_knows(void **state)
{
	static const unsigned sizes[] = { 2, AGES, 2, 2, LISTEDS, BEING_ASKED };
	struct table *t = table_of("domains", 0);
	size_t n[DOMAINS] = { 0 };
	unsigned at[6] = { 0 };
	(void)state;

	do {
		const struct listing l = {
			.mode = at[0] ? MIRROR : DEMAND, .age = at[1], .on_miss = at[2],
			.stale_miss = at[3], .listed = at[4], .cache = at[5],
		};
		enum domain want = page_oracle(&l);

		prepare_listing(&l, t);
		play_oracle(want);
		n[want]++;
	} while (next_combination(at, sizes, 6));
	assert_int_equal(n[OURS] + n[FOREIGN] + n[UNKNOWN],
			 2 * AGES * 2 * 2 * LISTEDS * BEING_ASKED);
	EACH(enum domain, domain, DOMAINS)
		assert_true(n[domain] > 0);
	t->settings->mode = TABLE_MIRROR;
	reset_cache(t);
}

/* What is delivered here need not be in the map of the domains that are delivered elsewhere. */
static void a_local_domain_is_ours_whatever_the_domain_map_says(void **state)
{
	static const struct text locals[] = { { "here.test", 9 }, { "ours.test", 9 } };
	struct search_rules *rules = &registry_find(registry, TEXT("one"))->settings->rules;
	(void)state;

	for (size_t n_locals = 0; n_locals <= 2; n_locals++)
		EACH(enum key, key, N_KEYS) {
			struct situation s = {
				.mode = MIRROR, .age = AT_STALE_MAX, .stale_miss = STALE_MISS_DOMAIN,
				.on_miss = ON_MISS_NOTFOUND, .key = key, .domain = FOREIGN,
			};

			set_domain(FOREIGN);
			rules->local_domains = locals;
			rules->n_local_domains = n_locals;
			s.domain = n_locals == 2 ? OURS : FOREIGN;
			assert_false(play(&s));
			s.age = YOUNG;
			s.on_miss = ON_MISS_DOMAIN;
			play(&s);
		}
	rules->local_domains = NULL;
	rules->n_local_domains = 0;
}

/* --- several tables, several keys --------------------------------------------------- */

/* What one table says to one key: at once, or when the directory is asked. */
enum says {
	AT_ONCE_FOUND,
	AT_ONCE_NOTFOUND,
	AT_ONCE_TEMP,
	LATER_FOUND,
	LATER_NOTFOUND,
	LATER_TEMP,
	LATER_NEVER,
	SAYS
};
#define PLACES 4		/* two keys in two tables: u@d.test, @d.test */

static struct table *two[2];	/* of the map "two", in the order in which they began */

static const char *const candidates[] = { "u@d.test", "@d.test" };

/* What is said at once is in the cache; a failure there, until the longest walk is over. */
static void prepare_walk(const enum says *says)
{
	for (size_t i = 0; i < PLACES; i++) {
		struct table *t = two[i % 2];
		struct text key = text_of(candidates[i / 2]);

		t->settings->mode = TABLE_DEMAND;
		if (i < 2)
			reset_cache(t);
		if (says[i] == AT_ONCE_FOUND)
			demand_put(t->demand, key, answer_found(TEXT("cached")), start);
		if (says[i] == AT_ONCE_NOTFOUND)
			demand_put(t->demand, key, answer_absent(PROOF_DIRECTORY), start);
		if (says[i] == AT_ONCE_TEMP)
			demand_put(t->demand, key, answer_temp("failed"),
				   start + 3 * DEADLINE);
	}
	n_proofs = n_questions = n_home = 0;
}

/* "For each candidate key all its tables are asked in order. An error ends the search." */
static enum verdict page_walk(const enum says *says, bool is_swapped)
{
	static const enum verdict verdicts[SAYS] = {
		[AT_ONCE_FOUND] = FOUND, [LATER_FOUND] = FOUND,
		[AT_ONCE_NOTFOUND] = NOTFOUND, [LATER_NOTFOUND] = NOTFOUND,
		[AT_ONCE_TEMP] = TEMP, [LATER_TEMP] = TEMP, [LATER_NEVER] = TEMP,
	};

	for (size_t i = 0; i < PLACES; i++) {
		enum says what = says[i ^ (is_swapped ? 1 : 0)];

		if (verdicts[what] != NOTFOUND)
			return verdicts[what];
	}
	return NOTFOUND;
}

/* Must the directory be waited for? */
static bool page_waits(const enum says *says)
{
	size_t i = 0;

	while (i < PLACES - 1 && says[i] == AT_ONCE_NOTFOUND)
		i++;
	return says[i] >= LATER_FOUND;
}

/* Another configuration comes into force, with the tables the other way round. */
static void swap_tables(void)
{
	struct map *map = registry_find(registry, TEXT("two"));
	struct table *first = map->tables[0];

	map->tables[0] = map->tables[1];
	map->tables[1] = first;
	registry->serial++;
}

/* The directory answers what was asked last, as the place that waits for it says. */
static void answer_question(const enum says *says)
{
	size_t table = question.table == two[1];
	size_t key = text_is(buf_view(&question.key), candidates[1]);
	enum says what = says[2 * key + table];
	struct answer answer = what == LATER_FOUND	? answer_found(TEXT("asked"))
			       : what == LATER_NOTFOUND ? answer_absent(PROOF_DIRECTORY)
							: answer_temp("failed");

	assert_true(what >= LATER_FOUND);
	ask_wake(demand_put(question.table->demand, buf_view(&question.key), answer,
			    start + WAIT),
		 answer);
	run_messages();
}

static bool is_never(const enum says *says, const struct ask *a)
{
	return says[2 * a->candidate + (table_of("two", a->table) == two[1])] == LATER_NEVER;
}

/* `is_reloaded`: another configuration is in force when the directory answers. */
static enum verdict walk_to_the_end(const enum says *says, bool is_reloaded)
{
	struct answer got;
	struct map *map;
	struct ask *a = lookup_run(&look, registry, TEXT("two"), text_of(candidates[0]), NULL,
				   start, &got, &map);

	for (int steps = 0; a; steps++) {
		struct ask *next;

		assert_true(steps < 2 * PLACES + 2);
		bool is_late = is_never(says, a);
		if (is_reloaded && steps == 0)
			swap_tables();
		if (is_late) {
			next = lookup_expire(&look, registry, a, start + DEADLINE, &got, &map);
			a->owner = NULL;
		} else {
			answer_question(says);
			assert_true(n_home > 0 && home[n_home - 1] == a);
			next = lookup_run(&look, registry, buf_view(&a->map),
					  buf_view(&a->key), a, start + WAIT, &got, &map);
			n_home--;
			ask_free(a);
		}
		a = next;
	}
	return got.verdict;
}

/* Questions that were never answered bring their asks home, to be freed. */
static void collect_walk(void)
{
	const struct answer late = answer_temp("late");

	for (size_t i = 0; i < 2; i++)
		for (size_t k = 0; k < 2; k++)
			ask_wake(demand_put(two[i]->demand, text_of(candidates[k]), late,
					    start + 2 * DEADLINE), late);
	run_messages();
	while (n_home)
		ask_free(home[--n_home]);
}

static void an_error_before_is_worth_more_than_an_absence_behind(void **state)
{
	size_t n = 0, seen[VERDICTS] = { 0 };
	(void)state;

	two[0] = table_of("two", 0);
	two[1] = table_of("two", 1);
	for (unsigned code = 0; code < SAYS * SAYS * SAYS * SAYS; code++)
		for (int is_reloaded = 0; is_reloaded < 2; is_reloaded++, n++) {
			const enum says says[PLACES] = {
				code % SAYS, code / SAYS % SAYS, code / (SAYS * SAYS) % SAYS,
				code / (SAYS * SAYS * SAYS),
			};

			prepare_walk(says);
			bool is_swapped = is_reloaded && page_waits(says);
			enum verdict got = walk_to_the_end(says, is_reloaded);
			enum verdict want = page_walk(says, is_swapped);
			if (got != want)
				fail_msg(
					"places say %d %d %d %d, reloaded %d: got %s, want %s",
					says[0], says[1], says[2], says[3], is_reloaded,
					verdict_name(got), verdict_name(want));
			seen[got]++;
			collect_walk();
			if (is_swapped)
				swap_tables();
		}
	assert_int_equal(n, 2 * 7 * 7 * 7 * 7);
	assert_int_equal(seen[NOTFOUND], 2 * 2 * 2 * 2 * 2);	/* where all four say so */
	assert_int_equal(seen[FOUND] + seen[TEMP] + seen[NOTFOUND], n);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_mirror_follows_the_page_in_every_case),
		cmocka_unit_test(an_empty_or_expired_mirror_says_temp_to_everything),
		cmocka_unit_test(a_demand_table_follows_the_page_in_every_case),
		cmocka_unit_test(what_cannot_be_asked_is_absent_in_every_state),
		cmocka_unit_test(only_an_accepted_refresh_makes_a_table_fresh),
		cmocka_unit_test(a_domain_map_is_believed_only_where_it_knows),
		cmocka_unit_test(a_local_domain_is_ours_whatever_the_domain_map_says),
		cmocka_unit_test(an_error_before_is_worth_more_than_an_absence_behind),
	};

	hash_init();
	return cmocka_run_group_tests(tests, setup, teardown);
}

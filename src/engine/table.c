#include "engine/table.h"

#include "base/clock.h"
#include "base/fold.h"
#include "base/ldap_filter.h"
#include "base/hash.h"
#include "base/must.h"
#include "engine/source.h"
#include "store/timed.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* How long a key whose lookup failed is not asked again. */
#define RETRY_MSEC 1000

/* cache_size is an upper bound: when the host has no room for it, so much will do. */
#define CACHE_LEAST ((size_t)1 << 20)

size_t table_least_cache(const struct table_settings *settings)
{
	return settings->cache_size < CACHE_LEAST ? settings->cache_size : CACHE_LEAST;
}

static struct demand *new_demand(size_t max_bytes, const struct demand_times *times)
{
	struct demand *d = demand_new(max_bytes, times);

	while (!d && max_bytes > CACHE_LEAST) {
		max_bytes /= 2;
		d = demand_new(max_bytes, times);
	}
	return must(d);
}

struct table *table_new(struct table_settings *settings, const char *map, struct source *source)
{
	static uint64_t last_id;	/* control thread only */
	struct table *t = must_calloc(1, sizeof *t);
	const struct demand_times times = {
		.ttl = settings->ttl,
		.negative_ttl = settings->negative_ttl,
		.stale_max = settings->stale_max,
		.retry = RETRY_MSEC,
	};

	t->id = ++last_id;
	t->settings = settings;
	t->map = must_strdup(map);
	t->source = source_ref(source);
	t->demand = new_demand(settings->cache_size, &times);
	pthread_mutex_init(&t->lock, NULL);
	t->refs = 1;
	return t;
}

struct table *table_ref(struct table *t)
{
	t->refs++;
	return t;
}

void table_unref(struct table *t)
{
	if (!t || --t->refs > 0)
		return;
	source_forget(t->source, t->id);
	source_unref(t->source);
	mirror_free(t->mirror);
	demand_free(t->demand);
	pthread_mutex_destroy(&t->lock);
	table_settings_free(t->settings);
	free(t->map);
	free(t);
}

struct rejection table_rejection(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	struct rejection r = t->rejection;
	pthread_mutex_unlock(&t->lock);
	return r;
}

const char *scan_outcome_name(enum scan_outcome outcome)
{
	static const char *const names[SCAN_OUTCOMES] = {
		[SCAN_OK] = "ok", [SCAN_WAS_REJECTED] = "rejected", [SCAN_FAILED] = "failed",
	};

	return names[outcome];
}

void table_scan_begins(struct table *t)
{
	atomic_store_explicit(&t->scan_rows, 0, memory_order_relaxed);
	atomic_store_explicit(&t->scan_began, clock_msec(), memory_order_relaxed);
}

void table_scan_ended(struct table *t, enum scan_outcome outcome, size_t rows, struct text why)
{
	uint64_t began = atomic_exchange_explicit(&t->scan_began, 0, memory_order_relaxed);
	struct table_scans *s = &t->scans;
	struct buf escaped = { 0 };

	buf_escaped(&escaped, why);
	pthread_mutex_lock(&t->lock);
	s->n[outcome]++;
	s->ended = clock_wall_msec();
	s->outcome = outcome;
	s->msec = began ? clock_msec() - began : 0;
	s->rows = rows;
	snprintf(s->why, sizeof s->why, "%s", buf_cstr(&escaped));
	if (outcome == SCAN_OK)
		histogram_add(&s->took, &refresh_bounds, s->msec * 1000);
	pthread_mutex_unlock(&t->lock);
	buf_done(&escaped);
}

struct table_scans table_scans(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	struct table_scans s = t->scans;
	pthread_mutex_unlock(&t->lock);
	s.began = atomic_load_explicit(&t->scan_began, memory_order_relaxed);
	s.rows_now = atomic_load_explicit(&t->scan_rows, memory_order_relaxed);
	return s;
}

struct process_table table_for_process(const struct table *t)
{
	return (struct process_table){ t->id, &t->settings->options };
}

const char *table_state_name(enum table_state state)
{
	static const char *const names[] = {
		[TABLE_EMPTY] = "EMPTY", [TABLE_FRESH] = "FRESH",
		[TABLE_STALE] = "STALE", [TABLE_EXPIRED] = "EXPIRED",
	};

	return names[state];
}

static enum table_state state_of(const struct table_settings *s, const struct mirror *m,
				 uint64_t now)
{
	if (!m)
		return TABLE_EMPTY;

	uint64_t born = mirror_born(m), age = now > born ? now - born : 0;
	if (age <= s->max_age)
		return TABLE_FRESH;
	return age <= s->stale_max ? TABLE_STALE : TABLE_EXPIRED;
}

enum table_state table_state(const struct table *t, uint64_t now)
{
	return state_of(t->settings, atomic_load_explicit(&t->mirror, memory_order_acquire), now);
}

enum mirror_says table_read(struct text *value, struct buf *scratch)
{
	return timed_is(*value) ? timed_read(value, clock_wall_msec() / 1000, scratch) : MIRROR_HIT;
}

enum mirror_says table_find(const struct mirror *m, struct text key, struct buf *scratch,
			    struct text *ret_value)
{
	enum mirror_says says = mirror_find(m, key, ret_value);

	return says == MIRROR_HIT ? table_read(ret_value, scratch) : says;
}

const char *origin_name(enum origin origin)
{
	static const char *const names[] = {
		[ORIGIN_RULES] = "rules", [ORIGIN_MIRROR] = "mirror",
		[ORIGIN_CACHE] = "cache", [ORIGIN_DIRECTORY] = "directory",
	};

	return names[origin];
}

static struct table_reply reply(enum origin origin, struct answer answer)
{
	return (struct table_reply){ .answer = answer, .origin = origin };
}

/*
 * The domain a key is about: behind its last '@', or the key itself without a leading dot. Empty:
 * none, as for a bare user, who may be anybody's. The default of a transport table and the null
 * sender stand for themselves, so that they are foreign; postfix-client.md 5.7, 9.
 */
static struct text domain_of(struct text key)
{
	const char *at = text_rchr(key, '@');

	if (at)
		return text_from(key, at + 1);
	if (text_is(key, "*") || text_is(key, "<>"))
		return key;
	if (!text_chr(key, '.'))
		return TEXT("");
	return key.p[0] == '.' ? text_skip(key, 1) : key;
}

/* Is the key, in a walk, as much about `domain` as the request: "user@", or its last label? */
static bool stands_for(struct text key, struct text domain)
{
	if (key.n && key.p[key.n - 1] == '@')
		return true;
	return domain.n > key.n && domain.p[domain.n - key.n - 1] == '.' &&
	       strncasecmp(domain.p + domain.n - key.n, key.p, key.n) == 0;
}

/* Certainly about none of our domains? */
static bool is_foreign(const struct table_settings *s, struct text key, uint64_t now,
		       const struct domain_oracle *oracle)
{
	struct text domain = domain_of(key), asked = domain_of(oracle->request);

	if (!domain.n && stands_for(key, asked))
		domain = asked;
	return domain.n && oracle->ask(oracle->ctx, s->domains, domain, now) == MEMBER_NO;
}

/* What the mirror alone says about a key that it lacks. The table of DESIGN 6, right column. */
static struct answer mirror_word(const struct table_settings *s, enum table_state state,
				 struct text key, uint64_t now, const struct domain_oracle *oracle,
				 struct answer temp)
{
	switch (state) {
	case TABLE_FRESH:
		return answer_absent(PROOF_MIRROR);
	case TABLE_STALE:
		if (s->stale_miss == STALE_MISS_NOTFOUND)
			return answer_absent(PROOF_POLICY);
		if (s->stale_miss == STALE_MISS_DOMAIN && is_foreign(s, key, now, oracle))
			return answer_absent(PROOF_POLICY);
		return temp;
	case TABLE_EMPTY:
	case TABLE_EXPIRED:
		return temp;
	}
	return temp;
}

/* The same, marked when it is the word of a STALE one. */
static struct table_reply mirror_reply(const struct table_settings *s, enum table_state state,
				       struct text key, uint64_t now,
				       const struct domain_oracle *oracle, struct answer temp)
{
	struct table_reply r = reply(ORIGIN_MIRROR, mirror_word(s, state, key, now, oracle, temp));

	r.is_stale = state == TABLE_STALE && r.answer.verdict == NOTFOUND;
	return r;
}

/* Does the mirror's miss leave it at that, or is the directory to be asked? */
static bool trusts_mirror(const struct table_settings *s, struct text key, uint64_t now,
			  const struct domain_oracle *oracle)
{
	switch (s->on_miss) {
	case ON_MISS_NOTFOUND:
		return true;
	case ON_MISS_DOMAIN:
		return is_foreign(s, key, now, oracle);
	case ON_MISS_ASK:
		return false;
	}
	return false;
}

/*
 * What the mirror settles by itself. False: it lacks the key, and the directory
 * is to be asked.
 */
static bool mirror_get(const struct table *t, struct text key, uint64_t now,
		       const struct domain_oracle *oracle, struct buf *scratch,
		       struct table_reply *ret)
{
	const struct mirror *m = atomic_load_explicit(&t->mirror, memory_order_acquire);
	enum table_state state = state_of(t->settings, m, now);
	struct text value;

	switch (state) {
	case TABLE_EMPTY:
		*ret = reply(ORIGIN_MIRROR, answer_temp_for(REASON_EMPTY, "not loaded yet"));
		return true;
	case TABLE_EXPIRED:
		*ret = reply(ORIGIN_MIRROR,
			     answer_temp_for(REASON_EXPIRED, "the copy is older than stale_max"));
		return true;
	case TABLE_FRESH:
	case TABLE_STALE:
		break;
	}
	switch (table_find(m, key, scratch, &value)) {
	case MIRROR_HIT:
		*ret = reply(ORIGIN_MIRROR, answer_found(value));
		ret->is_stale = state == TABLE_STALE;
		return true;
	case MIRROR_BAD:
		*ret = reply(ORIGIN_MIRROR, answer_temp_for(REASON_UNUSABLE, "unusable value"));
		return true;
	case MIRROR_ABSENT:
		break;
	}
	if (!trusts_mirror(t->settings, key, now, oracle))
		return false;
	*ret = mirror_reply(t->settings, state, key, now, oracle,
			    answer_temp_for(REASON_STALE, "the copy is stale"));
	return true;
}

/* Can the table's mirror know this key at all? If not, it is as if there were none. */
static bool is_mirrored(const struct table_settings *s, struct text key)
{
	return s->mode == TABLE_MIRROR && (!s->asks_odd_keys || ldap_key_is_plain(key));
}

bool table_asks(const struct table_settings *s, struct text key)
{
	return needs_met(s->needs, key) && (!s->domain || domain_list_admits(s->domain, key));
}

struct table_reply table_settle(struct table *t, struct text key, uint64_t now,
				const struct domain_oracle *oracle, struct text stale,
				struct answer temp, struct buf *value)
{
	struct table_reply r;

	if (stale.n) {
		r = reply(ORIGIN_CACHE, answer_found(stale));
		r.is_stale = true;
		return r;
	}
	if (!is_mirrored(t->settings, key))
		return reply(ORIGIN_DIRECTORY, temp);

	/* The mirror may have been replaced meanwhile: a hit now is as good as an answer. */
	const struct mirror *m = atomic_load_explicit(&t->mirror, memory_order_acquire);
	struct text found;
	if (m && table_find(m, key, value, &found) != MIRROR_ABSENT &&
	    mirror_get(t, key, now, oracle, value, &r))
		return r;
	r = mirror_reply(t->settings, state_of(t->settings, m, now), key, now, oracle, temp);
	if (r.answer.verdict == TEMP)
		r.origin = ORIGIN_DIRECTORY;
	return r;
}

struct table_reply table_get(struct table *t, struct text key, uint64_t now,
			     const struct domain_oracle *oracle, struct waiter *waiter,
			     struct buf *value)
{
	struct table_reply r;

	if (!table_asks(t->settings, key))
		return reply(ORIGIN_RULES, answer_absent(PROOF_UNASKABLE));
	if (is_mirrored(t->settings, key) && mirror_get(t, key, now, oracle, value, &r))
		return r;

	buf_clear(value);
	struct demand_reply d = demand_get(t->demand, key, now, waiter, value);
	switch (d.says) {
	case DEMAND_FOUND:
		r = reply(ORIGIN_CACHE, answer_found(buf_view(value)));
		break;
	case DEMAND_NOTFOUND:
		r = reply(ORIGIN_CACHE, answer_absent(PROOF_CACHED));
		break;
	case DEMAND_STALE:
		r = table_settle(t, key, now, oracle, buf_view(value), answer_temp(""), value);
		break;
	case DEMAND_WAIT:
		r = (struct table_reply){ .is_parked = true, .has_stale = d.has_stale };
		break;
	case DEMAND_FAILED:
		r = table_settle(t, key, now, oracle, TEXT(""),
				 answer_temp_for(REASON_FAILED, "the directory failed"), value);
		break;
	case DEMAND_FULL:
	default:
		r = table_settle(t, key, now, oracle, TEXT(""),
				 answer_temp_for(REASON_CACHE_FULL, "cache_size exhausted"), value);
		break;
	}
	r.lead = d.lead;
	return r;
}

enum verdict table_peek(struct table *t, struct text key, uint64_t now,
			const struct domain_oracle *oracle)
{
	struct buf scratch = { 0 };
	struct table_reply r;

	if (!table_asks(t->settings, key))
		return answer_absent(PROOF_UNASKABLE).verdict;
	bool is_settled = is_mirrored(t->settings, key) &&
			  mirror_get(t, key, now, oracle, &scratch, &r);
	buf_done(&scratch);
	if (is_settled)
		return r.answer.verdict;
	switch (demand_peek(t->demand, key, now)) {
	case DEMAND_FOUND:
		return FOUND;
	case DEMAND_NOTFOUND:
		return answer_absent(PROOF_CACHED).verdict;
	default:
		return TEMP;
	}
}

const char *value_unusable(struct text value)
{
	if (text_chr(value, '\0'))
		return "value with a NUL";
	return utf8_valid(value) ? NULL : "value is not UTF-8";
}

void values_clear(struct values *v)
{
	buf_clear(&v->text);
	distinct_clear(&v->seen);
	v->n = 0;
	v->why = NULL;
}

void values_done(struct values *v)
{
	buf_done(&v->text);
	distinct_done(&v->seen);
}

/* Where a value stands in the joined text, as one number, which is never 0. */
static uint64_t place_of(size_t start, size_t n)
{
	return (uint64_t)start << 32 | n;
}

static struct text value_at(const struct values *v, uint64_t place)
{
	return (struct text){ v->text.p + (place >> 32), place & UINT32_MAX };
}

/* A whole value, which may itself hold commas; the last one, which is not in `seen` yet. */
struct candidate {
	const struct values *values;
	struct text value;
};

static bool is_same_value(const void *ctx, uint64_t place)
{
	const struct candidate *c = ctx;

	return text_eq(value_at(c->values, place), c->value);
}

/* Is what stands from `start` on there already? If not, note it. */
static bool is_repeated(struct values *v, size_t start)
{
	const struct candidate c = { v, value_at(v, place_of(start, v->text.n - start)) };
	uint64_t hash = hash_text(c.value);

	if (distinct_find(&v->seen, hash, is_same_value, &c))
		return true;
	if (!distinct_add(&v->seen, hash, place_of(start, c.value.n)))
		v->why = "out of memory";
	return false;
}

void values_add(struct values *v, const struct table_settings *s, struct text key,
		struct text value)
{
	size_t before = v->text.n;

	if (value.n == 0 || v->why)
		return;
	/* Whatever result_format would make of it: this is how drivers say "no use". */
	if (text_chr(value, '\0')) {
		v->why = value_unusable(value);
		return;
	}
	if (before)
		buf_byte(&v->text, ',');

	size_t start = v->text.n;
	if (!template_expand(s->result_format, key, value, NULL, NULL, &v->text) ||
	    v->text.n == start || (s->distinct_values && is_repeated(v, start))) {
		v->text.n = before;
		return;
	}
	if (v->why)
		return;
	v->n++;
	if (s->expansion_limit && v->n > s->expansion_limit)
		v->why = "expansion_limit exceeded";
	else if (v->text.n > VALUE_MAX)
		v->why = "value too long";
	else
		v->why = value_unusable((struct text){ v->text.p + start, v->text.n - start });
}

struct answer values_answer(const struct values *v)
{
	if (v->why)
		return answer_temp_for(REASON_UNUSABLE, v->why);
	if (v->n == 0)
		return answer_absent(PROOF_DIRECTORY);
	return answer_found(buf_view(&v->text));
}

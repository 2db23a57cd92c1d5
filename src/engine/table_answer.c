/* What a table says about a key: the rules of DESIGN 6. */
#include "engine/table.h"

#include "base/clock.h"
#include "base/ldap_filter.h"
#include "store/timed.h"

#include <strings.h>

const char *table_state_name(enum table_state state)
{
	static const char *const names[] = {
		[TABLE_EMPTY] = "EMPTY", [TABLE_FRESH] = "FRESH",
		[TABLE_STALE] = "STALE", [TABLE_EXPIRED] = "EXPIRED",
	};

	return names[state];
}

enum table_state table_state_of(const struct table_settings *s, const struct mirror *m, uint64_t now)
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
	return table_state_of(t->settings,
			      atomic_load_explicit(&t->mirror, memory_order_acquire), now);
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

struct text table_domain(struct text key, const struct domain_oracle *oracle)
{
	struct text domain = domain_of(key), asked = domain_of(oracle->request);

	return !domain.n && stands_for(key, asked) ? asked : domain;
}

/* Certainly about none of our domains? */
static bool is_foreign(const struct table_settings *s, struct text key, uint64_t now,
		       const struct domain_oracle *oracle)
{
	struct text domain = table_domain(key, oracle);

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
	enum table_state state = table_state_of(t->settings, m, now);
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

bool table_is_mirrored(const struct table_settings *s, struct text key)
{
	return s->mode == TABLE_MIRROR && (!s->asks_odd_keys || ldap_key_is_plain(key));
}

const char *table_why_not(const struct table_settings *s, struct text key)
{
	if (!needs_met(s->needs, key))
		return "the key lacks a part that the table's templates need";
	if (s->domain && !domain_list_admits(s->domain, key))
		return "the table's domain list does not have the key's domain";
	return NULL;
}

bool table_asks(const struct table_settings *s, struct text key)
{
	return !table_why_not(s, key);
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
	if (!table_is_mirrored(t->settings, key))
		return reply(ORIGIN_DIRECTORY, temp);

	/* The mirror may have been replaced meanwhile: a hit now is as good as an answer. */
	const struct mirror *m = atomic_load_explicit(&t->mirror, memory_order_acquire);
	struct text found;
	if (m && table_find(m, key, value, &found) != MIRROR_ABSENT &&
	    mirror_get(t, key, now, oracle, value, &r))
		return r;
	if (m && mirror_born(m) < atomic_load_explicit(&t->doubted, memory_order_relaxed))
		return reply(ORIGIN_DIRECTORY, temp);
	r = mirror_reply(t->settings, table_state_of(t->settings, m, now), key, now, oracle, temp);
	if (r.answer.verdict == TEMP)
		r.origin = ORIGIN_DIRECTORY;
	return r;
}

struct table_reply table_delivered(struct table *t, struct text key, uint64_t now,
				   const struct domain_oracle *oracle, struct text stale,
				   struct answer said, struct buf *value)
{
	switch (said.verdict) {
	case FOUND:
		return reply(ORIGIN_DIRECTORY, answer_found(said.value));
	case NOTFOUND:
		return reply(ORIGIN_DIRECTORY, answer_absent(PROOF_DIRECTORY));
	default:
		return table_settle(t, key, now, oracle, stale, said, value);
	}
}

/* What is said without a look into the cache of single keys. False: that is to be looked into. */
static inline bool is_settled(const struct table *t, struct text key, uint64_t now,
			      const struct domain_oracle *oracle, struct buf *scratch,
			      struct table_reply *ret)
{
	if (!table_asks(t->settings, key)) {
		*ret = reply(ORIGIN_RULES, answer_absent(PROOF_UNASKABLE));
		return true;
	}
	return table_is_mirrored(t->settings, key) && mirror_get(t, key, now, oracle, scratch, ret);
}

/* What comes of the cache's word; `value` holds what came with it. */
static struct table_reply by_cache(struct table *t, struct text key, uint64_t now,
				   const struct domain_oracle *oracle, struct demand_reply d,
				   struct buf *value)
{
	switch (d.says) {
	case DEMAND_FOUND:
		return reply(ORIGIN_CACHE, answer_found(buf_view(value)));
	case DEMAND_NOTFOUND:
		return reply(ORIGIN_CACHE, answer_absent(PROOF_CACHED));
	case DEMAND_STALE:
		return table_settle(t, key, now, oracle, buf_view(value), answer_temp(""), value);
	case DEMAND_WAIT:
		return (struct table_reply){ .is_parked = true, .has_stale = d.has_stale };
	case DEMAND_FAILED:
		return table_settle(t, key, now, oracle, TEXT(""),
				    answer_temp_for(REASON_FAILED, "the directory failed"), value);
	case DEMAND_FULL:
		break;
	}
	return table_settle(t, key, now, oracle, TEXT(""),
			    answer_temp_for(REASON_CACHE_FULL, "cache_size exhausted"), value);
}

struct table_reply table_get(struct table *t, struct text key, uint64_t now,
			     const struct domain_oracle *oracle, struct waiter *waiter,
			     struct buf *value)
{
	struct table_reply r;

	if (is_settled(t, key, now, oracle, value, &r))
		return r;
	buf_clear(value);
	struct demand_reply d = demand_get(t->demand, key, now, waiter, value);
	r = by_cache(t, key, now, oracle, d, value);
	r.lead = d.lead;
	return r;
}

struct table_reply table_foretell(struct table *t, struct text key, uint64_t now,
				  const struct domain_oracle *oracle, struct buf *value)
{
	struct table_reply r;

	if (is_settled(t, key, now, oracle, value, &r))
		return r;
	buf_clear(value);
	struct demand_view v = demand_look(t->demand, key, now, value);
	const struct demand_reply d = {
		.says = v.says, .has_stale = v.says == DEMAND_WAIT && v.is_usable,
	};
	return by_cache(t, key, now, oracle, d, value);
}

enum verdict table_peek(struct table *t, struct text key, uint64_t now,
			const struct domain_oracle *oracle)
{
	struct buf scratch = { 0 };
	struct table_reply r;
	bool is_known = is_settled(t, key, now, oracle, &scratch, &r);

	buf_done(&scratch);
	if (is_known)
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

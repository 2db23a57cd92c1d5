#include "engine/table.h"

#include "base/clock.h"
#include "base/fold.h"
#include "base/must.h"
#include "engine/source.h"

#include <stdlib.h>

/* How long a key whose lookup failed is not asked again. */
#define RETRY_MSEC 1000

/* cache_size is an upper bound: when the host has no room for it, less will do. */
static struct demand *new_demand(size_t max_bytes, const struct demand_times *times)
{
	struct demand *d = demand_new(max_bytes, times);

	while (!d && max_bytes > (1 << 20)) {
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
	table_settings_free(t->settings);
	free(t->map);
	free(t);
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

static struct table_reply reply(struct answer answer)
{
	return (struct table_reply){ .answer = answer };
}

/* The domain a key is about: behind its last '@', or the key itself without a leading dot. */
static struct text domain_of(struct text key)
{
	const char *at = text_rchr(key, '@');

	if (at)
		return text_from(key, at + 1);
	return key.n && key.p[0] == '.' ? text_skip(key, 1) : key;
}

/* Certainly about none of our domains? A bare user may be anybody's: not certain. */
static bool is_foreign(const struct table_settings *s, struct text key, uint64_t now,
		       const struct domain_oracle *oracle)
{
	struct text domain = domain_of(key);

	if (!text_chr(key, '@') && !text_chr(key, '.'))
		return false;
	return domain.n && oracle->ask(oracle->ctx, s->domains, domain, now) == MEMBER_NO;
}

/* What the mirror alone says about a key that it lacks. The table of DESIGN 6, right column. */
static struct answer mirror_word(const struct table_settings *s, enum table_state state,
				 struct text key, uint64_t now, const struct domain_oracle *oracle,
				 struct text why)
{
	const struct answer temp = { TEMP, why };

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
		       const struct domain_oracle *oracle, struct table_reply *ret)
{
	const struct mirror *m = atomic_load_explicit(&t->mirror, memory_order_acquire);
	enum table_state state = state_of(t->settings, m, now);
	struct text value;

	switch (state) {
	case TABLE_EMPTY:
		*ret = reply(answer_temp("not loaded yet"));
		return true;
	case TABLE_EXPIRED:
		*ret = reply(answer_temp("the copy is older than stale_max"));
		return true;
	case TABLE_FRESH:
	case TABLE_STALE:
		break;
	}
	switch (mirror_find(m, key, &value)) {
	case MIRROR_HIT:
		*ret = reply(answer_found(value));
		ret->is_stale = state == TABLE_STALE;
		return true;
	case MIRROR_BAD:
		*ret = reply(answer_temp("unusable value"));
		return true;
	case MIRROR_ABSENT:
		break;
	}
	if (!trusts_mirror(t->settings, key, now, oracle))
		return false;
	*ret = reply(mirror_word(t->settings, state, key, now, oracle,
				 TEXT("the copy is stale")));
	return true;
}

bool table_asks(const struct table_settings *s, struct text key)
{
	return needs_met(s->needs, key) && (!s->domain || domain_list_admits(s->domain, key));
}

struct table_reply table_settle(struct table *t, struct text key, uint64_t now,
				const struct domain_oracle *oracle, struct text stale,
				struct text why)
{
	struct table_reply r;

	if (stale.n) {
		r = reply(answer_found(stale));
		r.is_stale = true;
		return r;
	}
	if (t->settings->mode == TABLE_DEMAND)
		return reply((struct answer){ TEMP, why });

	/* The mirror may have been replaced meanwhile: a hit now is as good as an answer. */
	const struct mirror *m = atomic_load_explicit(&t->mirror, memory_order_acquire);
	struct text value;
	if (m && mirror_find(m, key, &value) != MIRROR_ABSENT && mirror_get(t, key, now, oracle, &r))
		return r;
	return reply(mirror_word(t->settings, state_of(t->settings, m, now), key, now, oracle, why));
}

struct table_reply table_get(struct table *t, struct text key, uint64_t now,
			     const struct domain_oracle *oracle, struct waiter *waiter,
			     struct buf *value)
{
	struct table_reply r;

	if (!table_asks(t->settings, key))
		return reply(answer_absent(PROOF_UNASKABLE));
	if (t->settings->mode == TABLE_MIRROR && mirror_get(t, key, now, oracle, &r))
		return r;

	buf_clear(value);
	struct demand_reply d = demand_get(t->demand, key, now, waiter, value);
	switch (d.says) {
	case DEMAND_FOUND:
		r = reply(answer_found(buf_view(value)));
		break;
	case DEMAND_NOTFOUND:
		r = reply(answer_absent(PROOF_CACHED));
		break;
	case DEMAND_STALE:
		r = table_settle(t, key, now, oracle, buf_view(value), TEXT(""));
		break;
	case DEMAND_WAIT:
		r = (struct table_reply){ .is_parked = true, .has_stale = d.has_stale };
		break;
	case DEMAND_FAILED:
		r = table_settle(t, key, now, oracle, TEXT(""), TEXT("the directory failed"));
		break;
	case DEMAND_FULL:
	default:
		r = table_settle(t, key, now, oracle, TEXT(""), TEXT("cache_size exhausted"));
		break;
	}
	r.lead = d.lead;
	return r;
}

enum verdict table_peek(struct table *t, struct text key, uint64_t now,
			const struct domain_oracle *oracle)
{
	struct table_reply r;

	if (!table_asks(t->settings, key))
		return answer_absent(PROOF_UNASKABLE).verdict;
	if (t->settings->mode == TABLE_MIRROR && mirror_get(t, key, now, oracle, &r))
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
	v->n = 0;
	v->why = NULL;
}

void values_add(struct values *v, const struct table_settings *s, struct text key,
		struct text value)
{
	size_t before = v->text.n;

	if (value.n == 0 || v->why)
		return;
	if (before)
		buf_byte(&v->text, ',');

	size_t start = v->text.n;
	if (!template_expand(s->result_format, key, value, NULL, NULL, &v->text) ||
	    v->text.n == start) {
		v->text.n = before;
		return;
	}
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
		return answer_temp(v->why);
	if (v->n == 0)
		return answer_absent(PROOF_DIRECTORY);
	return answer_found(buf_view(&v->text));
}

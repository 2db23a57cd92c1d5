#include "engine/lookup.h"

#include "base/log.h"
#include "base/must.h"
#include "engine/source.h"

#include <stdlib.h>

/* How deep domain maps may ask domain maps. */
#define ORACLE_DEPTH 2

/*
 * The longest name of a host, RFC 1035 2.3.4. Nothing is known of a longer one: a walk through
 * the parents of each parent takes the square of its length.
 */
#define HOST_MAX 255

static void on_message(struct message *message)
{
	struct ask *a = (struct ask *)((char *)message - offsetof(struct ask, message));

	a->on_home(a);
}

/* What ask_wake() reads is set before the ask is lent out: another thread may send it home at once. */
static struct ask *ask_new(struct lookup *l)
{
	struct ask *a = must_calloc(1, sizeof *a);

	a->home = l->loop;
	a->on_home = l->on_home;
	a->message.run = on_message;
	return a;
}

void ask_free(struct ask *a)
{
	if (!a)
		return;
	buf_done(&a->map);
	buf_done(&a->key);
	buf_done(&a->text);
	buf_done(&a->stale);
	free(a);
}

void ask_wake(struct waiter *waiters, struct answer answer)
{
	while (waiters) {
		struct ask *a = (struct ask *)waiters;

		waiters = waiters->next;
		a->delivered = answer.verdict;
		a->reason = answer.reason;
		buf_clear(&a->text);
		buf_text(&a->text, answer.value);
		loop_post(a->home, &a->message);
	}
}

static enum membership ask_domain_map(void *ctx, const char *name, struct text domain, uint64_t now)
{
	const struct oracle *outer = ctx;
	struct map *map = registry_find(outer->registry, text_of(name));
	struct oracle inner = { outer->registry, outer->depth + 1, outer->rules };
	const struct domain_oracle oracle = { ask_domain_map, &inner, domain };
	enum membership says = MEMBER_NO;
	struct search search = { 0 };
	struct text key;

	if (!map || outer->depth >= ORACLE_DEPTH || domain.n > HOST_MAX ||
	    !search_start(&search, &map->settings->rules, domain))
		return MEMBER_UNKNOWN;
	/* What is delivered here is ours, even when the map lists only what is delivered elsewhere. */
	if (search_is_local(outer->rules, buf_view(&search.candidate)))
		says = MEMBER_YES;
	while (says == MEMBER_NO && search_next(&search, &key))
		for (size_t i = 0; says == MEMBER_NO && i < map->n_tables; i++) {
			enum verdict v = table_peek(map->tables[i], key, now, &oracle);

			if (v != NOTFOUND)
				says = v == FOUND ? MEMBER_YES : MEMBER_UNKNOWN;
		}
	search_done(&search);
	return says;
}

struct domain_oracle lookup_oracle(struct oracle *o, struct registry *r,
				   const struct search_rules *rules, struct text request)
{
	*o = (struct oracle){ r, 0, rules };
	return (struct domain_oracle){ ask_domain_map, o, request };
}

/* Where a walk is, and what it needs. */
struct walk {
	struct lookup *l;
	struct registry *registry;
	struct map *map;
	struct text request;
	const struct ask *resumed;	/* until the walk has caught up with it */
	uint64_t now;
	unsigned candidate, table;
	struct tally tally;		/* of the tables that said not found */
};

struct answer lookup_refusal(struct text map, struct answer answer, struct buf *out)
{
	buf_clear(out);
	buf_escaped(out, map);
	buf_str(out, ": ");
	buf_text(out, answer.value);
	return (struct answer){ answer.verdict, buf_view(out), answer.reason };
}

static struct ask *park(struct walk *w, struct text request_map, struct text request_key,
			bool has_stale, uint64_t deadline)
{
	struct ask *a = w->l->spare;

	w->l->spare = NULL;
	a->deadline = deadline;
	a->serial = w->registry->serial;
	a->candidate = w->candidate;
	a->table = w->table;
	a->so_far = w->tally;
	buf_text(&a->map, request_map);
	buf_text(&a->key, request_key);
	if (has_stale)
		buf_text(&a->stale, buf_view(&w->l->value));
	return a;
}

/* What the directory said to the ask that brought the walk here. */
static struct table_reply delivered(struct walk *w, struct table *t, struct text key,
				    const struct domain_oracle *oracle)
{
	const struct ask *a = w->resumed;
	const struct answer said = { a->delivered, buf_view(&a->text), a->reason };

	w->resumed = NULL;
	return table_delivered(t, key, w->now, oracle, buf_view(&a->stale), said, &w->l->value);
}

/* One table about one candidate. */
static struct table_reply ask_table(struct walk *w, struct text key)
{
	struct oracle top;
	const struct domain_oracle oracle = lookup_oracle(&top, w->registry,
							  &w->map->settings->rules, w->request);
	struct table *t = w->map->tables[w->table];
	const struct ask *a = w->resumed;

	if (a) {
		if (w->candidate == a->candidate && w->table == a->table)
			return delivered(w, t, key, &oracle);
		/* Before the place where it stopped: these were absent then, with proof. */
		return (struct table_reply){ .answer = answer_absent(PROOF_CACHED) };
	}
	if (!w->l->spare)
		w->l->spare = ask_new(w->l);

	struct table_reply r = table_get(t, key, w->now, &oracle, &w->l->spare->waiter, &w->l->value);
	if (r.lead)
		source_post(&w->registry->loops->control, t, key,
			    w->now + t->settings->deadline);
	return r;
}

struct answer lookup_result(const struct search *search, struct answer found, struct buf *out)
{
	buf_clear(out);
	if (!search_result(search, found.value, out))
		return answer_temp_for(REASON_UNUSABLE, "value is no address list");
	return answer_found(buf_view(out));
}

static void log_temp(struct walk *w, struct text key, struct text why)
{
	const char *map = w->map->settings->name;

	log_warn("lookup_failed", map, F_STR("map", map), F_KEY("key", key), F_TEXT("why", why));
}

/* Every candidate in every table, in Postfix's order. NULL: answered. */
static struct ask *walk_map(struct walk *w, struct text request_map, struct text request_key,
			    struct answer *ret)
{
	struct search *search = &w->l->search;
	struct text key;

	for (w->candidate = 0; search_next(search, &key); w->candidate++)
		for (w->table = 0; w->table < w->map->n_tables; w->table++) {
			struct table_reply r = ask_table(w, key);

			if (r.is_parked) {
				uint64_t wait = w->map->tables[w->table]->settings->deadline;

				return park(w, request_map, request_key, r.has_stale, w->now + wait);
			}
			if (r.answer.verdict == NOTFOUND) {
				w->tally.is_stale |= r.is_stale;
				if (r.origin > w->tally.origin)
					w->tally.origin = r.origin;
				continue;
			}
			w->l->tally = (struct tally){ w->candidate, r.is_stale, r.origin, w->table };
			*ret = r.answer.verdict == FOUND ? lookup_result(search, r.answer, &w->l->result) :
							  r.answer;
			return NULL;
		}
	w->l->tally = (struct tally){ w->candidate, w->tally.is_stale, w->tally.origin, 0 };
	/* A walk that never came to where it had stopped has skipped tables, not asked them. */
	*ret = w->resumed ? answer_temp("the walk lost its place") : answer_absent(PROOF_ALL_TABLES);
	return NULL;
}

struct ask *lookup_run(struct lookup *l, struct registry *r, struct text map, struct text key,
		       const struct ask *resumed, uint64_t now, struct answer *ret,
		       struct map **ret_map)
{
	struct walk w = { .l = l, .registry = r, .request = key, .now = now };

	l->tally = (struct tally){ 0 };
	w.map = *ret_map = registry_find(r, map);
	if (!w.map) {
		log_warn("unknown_map", "", F_TEXT("map", map));
		*ret = lookup_refusal(map, answer_temp_for(REASON_UNKNOWN_MAP, "no such map here"),
				      &l->reason);
		return NULL;
	}
	if (resumed && resumed->serial == r->serial) {
		w.resumed = resumed;
		w.tally = resumed->so_far;
	}

	if (!search_start(&l->search, &w.map->settings->rules, key)) {
		*ret = answer_absent(PROOF_NOT_UTF8);
	} else {
		struct ask *parked = walk_map(&w, map, key, ret);

		if (parked) {
			if (resumed)	/* one request has one deadline, however many it asks */
				parked->deadline = resumed->deadline;
			return parked;
		}
	}
	if (ret->verdict == TEMP) {
		log_temp(&w, key, ret->value);
		*ret = lookup_refusal(map, *ret, &l->reason);
	}
	return NULL;
}

struct ask *lookup_expire(struct lookup *l, struct registry *r, const struct ask *late,
			  uint64_t now, struct answer *ret, struct map **ret_map)
{
	/* A copy, since what the directory says may arrive in `late` at this very moment. */
	struct ask expired = {
		.deadline = late->deadline,
		.serial = late->serial,
		.candidate = late->candidate,
		.table = late->table,
		.delivered = TEMP,
		.reason = REASON_DEADLINE,
		.so_far = late->so_far,
		.stale = late->stale,
	};
	buf_str(&expired.text, "no answer from the directory in time");

	struct ask *parked = lookup_run(l, r, buf_view(&late->map), buf_view(&late->key), &expired,
					now, ret, ret_map);
	buf_done(&expired.text);
	return parked;
}

void lookup_done(struct lookup *l)
{
	search_done(&l->search);
	buf_done(&l->value);
	buf_done(&l->result);
	buf_done(&l->reason);
	ask_free(l->spare);
}

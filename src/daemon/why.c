#include "daemon/why.h"

#include "daemon/tale.h"
#include "engine/scan.h"

/* --- found ------------------------------------------------------------------------------- */

static void say_mirror_hit(const struct tale *t, const struct explain_table *et)
{
	tell_key(t, tell_step(t, et), true);
	buf_str(t->out, " is in ");
	tell_place(t, "the mirror of source", et);
	buf_str(t->out, ", ");
	tell_mirror_age(t, et);
	buf_byte(t->out, '.');
	if (et->is_stale)
		tell_last_scan(t, et);
}

static void say_stale_value(const struct tale *t, const struct explain_table *et)
{
	const struct explain_live *l = &et->live;

	buf_str(t->out, "The directory ");
	if (!et->would_ask)
		buf_str(t->out, "has just failed, and is left alone for a second");
	else if (!l->was_asked)
		buf_str(t->out, t->x->is_live ? "could not be asked" : "was not asked");
	else if (l->is_late)
		tell_late(t, et);
	else
		buf_str(t->out, "cannot answer");
	if (l->was_asked && l->verdict == TEMP && l->why.n) {
		buf_str(t->out, ": ");
		buf_text(t->out, buf_view(&l->why));
	} else if (et->source_state == SOURCE_DOWN && *et->source_why) {
		buf_printf(t->out, ": %s", et->source_why);
	}
	buf_str(t->out, ". So a stale value stands in: ");
	tell_place(t, "source", et);
	buf_str(t->out, " gave it for ");
}

static void say_cache_hit(const struct tale *t, const struct explain_table *et)
{
	if (et->is_stale) {
		say_stale_value(t, et);
	} else {
		tell_place(t, "The value comes from the cache of single keys of source", et);
		buf_str(t->out, ": the directory gave it for ");
	}
	tell_key(t, tell_step(t, et), true);
	buf_byte(t->out, ' ');
	tell_time(t->out, et->cache.age);
	buf_str(t->out, " ago (");
	tell_named_time(t->out, "ttl", et->times.ttl);
	buf_str(t->out, ").");
}

static void say_directory_hit(const struct tale *t, const struct explain_table *et)
{
	tell_place(t, "The directory of source", et);
	buf_str(t->out, " was asked just now, and has ");
	tell_key(t, tell_step(t, et), false);
	buf_byte(t->out, '.');
	if (!et->has_mirror || !et->is_mirrored)
		return;
	buf_str(t->out, " The mirror, ");
	tell_time(t->out, et->age);
	buf_str(t->out, " old, does not have it yet: ");
	tell_next_refresh(t, et);
	buf_byte(t->out, '.');
}

/* The client gets a temporary error for it. */
static void say_no_list(const struct tale *t, const struct explain_table *et)
{
	buf_str(t->out, "The value of ");
	tell_key(t, tell_step(t, et), true);
	buf_str(t->out, " is no list of addresses, to which the extension could be added.");
}

static void say_found(const struct tale *t, const struct explain_table *et)
{
	switch (et->origin) {
	case ORIGIN_MIRROR:
		say_mirror_hit(t, et);
		break;
	case ORIGIN_CACHE:
		say_cache_hit(t, et);
		break;
	case ORIGIN_RULES:
	case ORIGIN_DIRECTORY:
		say_directory_hit(t, et);
		break;
	}
}

/* --- not found --------------------------------------------------------------------------- */

/* All views, one after the other. */
static const struct explain_table *next_view(const struct tale *t, size_t *i)
{
	size_t n = t->x->n_steps ? t->x->steps[0].n_tables : 1, at = (*i)++;

	return at / n < t->x->n_steps ? &t->x->steps[at / n].tables[at % n] : NULL;
}

/* The view whose absence came from there and is the oldest. */
static const struct explain_table *find_origin(const struct tale *t, enum origin origin)
{
	const struct explain_table *et, *found = NULL;

	for (size_t i = 0; (et = next_view(t, &i));)
		if (et->origin == origin && !et->why_not &&
		    (!found || (origin == ORIGIN_CACHE && et->cache.age > found->cache.age) ||
		     (origin == ORIGIN_MIRROR && et->age > found->age)))
			found = et;
	return found;
}

static void add_count(const struct tale *t)
{
	size_t n = t->x->n_steps;

	if (n > 1)
		buf_printf(t->out, "none of the %zu keys that are tried", n);
	else
		buf_str(t->out, "no such key");
}

static void say_absent_by(const struct tale *t, const struct explain_table *et)
{
	switch (et->origin) {
	case ORIGIN_DIRECTORY:
		tell_place(t, "The directory of source", et);
		buf_str(t->out, " was asked just now, and said \"not found\": it has ");
		add_count(t);
		buf_byte(t->out, '.');
		break;
	case ORIGIN_CACHE:
		tell_place(t, "The directory of source", et);
		buf_str(t->out, " said \"not found\" to ");
		tell_quoted(t->out, tell_key_of(t, et));
		buf_byte(t->out, ' ');
		tell_time(t->out, et->cache.age);
		buf_str(t->out, " ago, which is believed for ");
		tell_named_time(t->out, "negative_ttl", et->times.negative_ttl);
		buf_str(t->out, "; then it is asked again, or after ");
		tell_flush(t, tell_key_of(t, et));
		buf_byte(t->out, '.');
		break;
	case ORIGIN_MIRROR:
	case ORIGIN_RULES:
		tell_place(t, "The mirror of source", et);
		buf_str(t->out, ", ");
		tell_mirror_age(t, et);
		buf_str(t->out, ", has ");
		add_count(t);
		buf_str(t->out, et->is_stale ? ", and stale_miss lets it say so." : ", and is complete.");
		if (et->is_stale)
			tell_last_scan(t, et);
		break;
	}
}

/* Not every key is asked everywhere. */
static void say_suppressed(const struct tale *t)
{
	const struct explain_table *et, *first = NULL;
	size_t n = 0, all = 0;

	for (size_t i = 0; (et = next_view(t, &i)); all++)
		if (et->why_not && n++ == 0)
			first = et;
	if (n == 0)
		return;
	if (n == all)
		buf_str(t->out, "Nothing is looked up for this key: ");
	else
		buf_printf(t->out, " %zu of the %zu lookups are left out: ", n, all);
	buf_str(t->out, first->why_not);
	buf_str(t->out, ". Postfix would not ask, either.");
}

static void say_not_found(const struct tale *t)
{
	const struct explain_table *et;

	if (t->x->n_steps == 0) {
		buf_str(t->out, t->key.n ? "The key is not UTF-8: such a key is never looked up, nor would "
					   "Postfix." :
					   "The key is empty: there is nothing to look up.");
		return;
	}
	et = find_origin(t, t->x->answer.origin);
	if (et)
		say_absent_by(t, et);
	say_suppressed(t);
}

/* --- what else there is to know ---------------------------------------------------------- */

/* Does the directory say something else than the copy that answers? */
static bool is_differing(const struct explain_table *et)
{
	const struct explain_live *l = &et->live;

	if (!et->is_reached || et->would_ask || !l->was_asked || l->verdict == TEMP ||
	    (et->verdict != FOUND && et->verdict != NOTFOUND))
		return false;
	return l->verdict != et->verdict ||
	       (l->verdict == FOUND && !scan_is_same(buf_view(&l->text), buf_view(&et->text)));
}

static void say_difference(const struct tale *t, const struct explain_table *et)
{
	buf_str(t->out, " But the directory says otherwise by now: ");
	tell_quoted(t->out, tell_key_of(t, et));
	if (et->live.verdict == FOUND) {
		buf_str(t->out, " has the value ");
		tell_quoted(t->out, buf_view(&et->live.text));
	} else {
		buf_str(t->out, " is not found");
	}
	if (et->origin == ORIGIN_CACHE) {
		buf_str(t->out, ". Clients get that after ");
		tell_flush(t, tell_key_of(t, et));
	} else if (et->rejection.times) {
		buf_byte(t->out, '.');
		tell_rejection(t, et);
		return;
	} else {
		buf_str(t->out, "; ");
		tell_next_refresh(t, et);
		buf_printf(t->out, ", or at once with `socketmapctl refresh %.*s`", (int)t->map.n, t->map.p);
	}
	buf_byte(t->out, '.');
}

/* A copy answers, and nobody knows in time whether it is right. */
static bool is_unconfirmed(const struct explain_table *et)
{
	const struct explain_live *l = &et->live;

	return et->is_reached && l->was_asked && !et->is_stale && et->verdict != TEMP &&
	       ((l->verdict == TEMP && l->why.n) || (et->would_ask && l->is_late));
}

static void say_unconfirmed(const struct tale *t, const struct explain_table *et)
{
	const struct explain_live *l = &et->live;

	if (l->verdict == TEMP) {
		buf_str(t->out, " The directory itself cannot say so at this moment: ");
		buf_text(t->out, buf_view(&l->why));
	} else {
		buf_str(t->out, " The directory itself ");
		tell_late(t, et);
	}
	if (l->verdict == FOUND) {
		buf_str(t->out, ". It has the value ");
		tell_quoted(t->out, buf_view(&l->text));
	}
	buf_byte(t->out, '.');
}

/* A row that the mirror has, and that counts no longer. */
static void say_ended(const struct tale *t, const struct explain_table *et)
{
	buf_str(t->out, " The mirror has a row of ");
	tell_quoted(t->out, tell_key_of(t, et));
	buf_str(t->out, ", but its expiry time has passed.");
}

static void say_more(const struct tale *t)
{
	const struct explain_table *et;

	for (size_t i = 0; (et = next_view(t, &i));)
		if (et->is_reached && et->is_ended) {
			say_ended(t, et);
			break;
		}
	for (size_t i = 0; (et = next_view(t, &i));)
		if (is_differing(et)) {
			say_difference(t, et);
			return;
		}
	for (size_t i = 0; (et = next_view(t, &i));)
		if (is_unconfirmed(et)) {
			say_unconfirmed(t, et);
			return;
		}
}

static void say_sent(const struct tale *t, const enum verdict sent[static PROTOCOLS])
{
	const struct answer *a = &t->x->answer.answer;

	for (size_t i = 0; i < PROTOCOLS; i++)
		if (a->verdict == FOUND && sent[i] != FOUND)
			buf_printf(t->out, " The value is too long for %s, %zu bytes: its clients get a "
				   "temporary error.", protocols[i]->name, a->value.n);
}

void why_say(const struct explanation *x, struct text map, struct text key,
	     const enum verdict sent[static PROTOCOLS], struct buf *out)
{
	const struct tale t = { x, map, key, out };
	const struct explain_table *et = x->decisive;

	if (et && et->verdict == FOUND && x->answer.answer.verdict == FOUND)
		say_found(&t, et);
	else if (et && et->verdict == FOUND)
		say_no_list(&t, et);
	else if (et)
		tell_temp(&t, et);
	else if (x->is_cut)
		buf_printf(out, "No answer among the first %zu keys: there are more than are looked at "
			   "here.", x->n_steps);
	else
		say_not_found(&t);
	say_sent(&t, sent);
	say_more(&t);
}

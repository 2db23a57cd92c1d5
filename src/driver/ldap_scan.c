/*
 * A whole table: the searches of its plan, and from each entry the keys by which lookups would
 * find it. A key that is missing here bounces mail, so all that may hide one ends the scan.
 */
#include "driver/ldap_collect.h"
#include "driver/ldap_entry.h"
#include "driver/ldap_suffix.h"

#include "base/hash.h"
#include "base/must.h"

#include <stdlib.h>

/* So often a scan of several searches begins when the directory changes under it. */
#define ATTEMPTS 4

struct scan {
	struct session *s;
	const struct table *t;
	struct rows *rows;
	struct buf *why;

	struct schema *schema;		/* NULL: there is none, and none is needed */
	struct key_rule *rules;		/* of all branches, one after the other */
	char **own_names;		/* of each rule, for what the schema does not know */
	char **attributes;		/* to ask for */
	const char *expiry;		/* an attribute, or NULL */
	struct buf base;

	const struct ldap_branch *branch;	/* the current one ... */
	struct key_rule *branch_rules;	/* ... and its rules */
	struct entry_keys keys;		/* of the current entry */
	struct text *values;		/* of it; views */
	size_t n_values, room_values;
	bool is_refused;		/* not by the search itself; `why` says why ... */
	enum ended refused;		/* ... and this is the end */
	struct collection *collection;	/* NULL: rows go out as entries come in */

	size_t n_entries;		/* that came */
	bool is_catching_up;		/* with what changed while pages were read */
	bool keeps_marks;
	struct marks marks;		/* of the rows that have gone out */
};

/* --- how keys are compared -------------------------------------------------------- */

/* The administrator's word: text, case ignored. The schema may know other names of it. */
static bool trust(struct scan *c, struct key_rule *rule)
{
	const char *attribute = rule->key->attribute;
	char **own = &c->own_names[2 * (rule - c->rules)];
	struct buf ignored = { 0 };
	const struct key_type *known = c->schema ?
		schema_key_type(c->schema, attribute, &ignored) : NULL;

	own[0] = rule->key->attribute;
	rule->type = (struct key_type){
		.matching = MATCHING_IGNORE,
		.has_substrings = true,
		.names = known ? known->names : own,
	};
	buf_done(&ignored);
	return true;
}

/* Do values of this attribute tell by which keys lookups find them? */
static bool derive(struct scan *c, struct key_rule *rule)
{
	const struct ldap_key *k = rule->key;
	const struct key_type *type = schema_key_type(c->schema, k->attribute, c->why);

	if (!type || type->matching == MATCHING_UNKNOWN)
		return false;
	rule->type = *type;
	if (k->is_open && !type->has_substrings)
		buf_printf(c->why, "%s has no SUBSTR rule that fits its EQUALITY rule",
			   k->attribute);
	else if (k->is_cased && type->matching != MATCHING_IGNORE)
		buf_printf(c->why, "%s respects case, and the filter has capitals beside the "
			   "key", k->attribute);
	else
		return true;
	return false;
}

static enum ended prepare_rules(struct scan *c)
{
	const struct ldap_plan *plan = &c->t->plan;
	enum ended ended = schema_read(c->s, &c->schema, c->why);
	size_t n = 0;

	if (ended != ENDED_DONE && !(c->t->is_plan_explicit && c->s->ld))
		return ended;
	for (size_t i = 0; i < plan->n; i++)
		n += plan->branches[i].n_keys;
	c->rules = must_calloc(n, sizeof *c->rules);
	c->own_names = must_calloc(2 * n, sizeof *c->own_names);
	buf_clear(c->why);
	buf_str(c->why, "no scan: ");
	n = 0;
	for (size_t i = 0; i < plan->n; i++)
		for (size_t j = 0; j < plan->branches[i].n_keys; j++) {
			struct key_rule *rule = &c->rules[n++];

			rule->key = &plan->branches[i].keys[j];
			if (!(c->t->is_plan_explicit ? trust : derive)(c, rule))
				return ENDED_TEMP;
		}
	buf_clear(c->why);
	return ENDED_DONE;
}

/* --- what is asked ---------------------------------------------------------------- */

/* All that a lookup asks for, the attributes with keys, and the one with the end. */
static void prepare_attributes(struct scan *c)
{
	const struct table *t = c->t;
	size_t n = t->n_terminal + t->n_leaf + t->n_result + t->n_special, n_keys = 0;

	for (size_t i = 0; i < t->plan.n; i++)
		n_keys += t->plan.branches[i].n_keys;
	c->attributes = must_calloc(n + n_keys + 2, sizeof *c->attributes);
	for (size_t i = 0; i < n; i++)
		c->attributes[i] = t->attributes[i];
	for (size_t i = 0; i < n_keys; i++)
		c->attributes[n + i] = c->rules[i].key->attribute;
	c->attributes[n + n_keys] = (char *)c->expiry;
}

static enum ended prepare(struct scan *c)
{
	const char *expiry = setting_get(c->t->settings, "expiry_attribute", "");
	enum ended ended;

	if (!base_expand(c->t, &c->base, c->why))
		return ENDED_TEMP;
	ended = prepare_rules(c);
	if (ended != ENDED_DONE)
		return ended;
	c->expiry = *expiry ? expiry : NULL;
	prepare_attributes(c);
	return ENDED_DONE;
}

/* --- entries ---------------------------------------------------------------------- */

static void keep_value(void *ctx, struct text value)
{
	struct scan *c = ctx;

	if (c->n_values == c->room_values) {
		c->room_values = c->room_values ? c->room_values * 2 : 16;
		c->values = must(reallocarray(c->values, c->room_values, sizeof *c->values));
	}
	c->values[c->n_values++] = value;
}

static uint64_t hash_of(struct buf *of, struct text key)
{
	buf_byte(of, '\0');
	buf_text(of, key);

	uint64_t hash = hash_text(buf_view(of));
	buf_done(of);
	return hash;
}

/*
 * Are rows for this key of this entry still to be sent? When catching up, not those of an entry
 * that has had the key before, nor the same values, as of an entry that was renamed.
 */
static bool is_news(struct scan *c, const struct entry *e, struct text key)
{
	struct buf name = { 0 }, worth = { 0 };

	if (!c->keeps_marks)
		return true;
	buf_str(&name, e->dn);
	for (size_t i = 0; i < c->n_values; i++) {
		buf_byte(&worth, '\0');
		buf_text(&worth, c->values[i]);
	}
	bool is_new_name = marks_add(&c->marks, hash_of(&name, key));
	bool is_new_worth = marks_add(&c->marks, hash_of(&worth, key));
	return !c->is_catching_up || (is_new_name && is_new_worth);
}

/* An entry that is worth the same whatever else its keys have: all its rows. */
static void send_entry(struct scan *c, struct entry *e)
{
	const struct entries one = { &e, 1 };
	uint64_t until = 0;
	struct buf ignored = { 0 };
	bool is_usable = !c->expiry || entry_expiry(e, c->expiry, &until);
	bool is_within;		/* expansion_limit: all that a simple table may exceed */

	c->n_values = 0;
	is_within = values_walk(c->t, &one, NULL, keep_value, c, &ignored) == LDAP_SUCCESS;
	for (size_t i = 0; i < c->keys.n; i++) {
		if (!is_news(c, e, c->keys.list[i].key))
			continue;
		rows_key(c->rows, c->keys.list[i].key);
		if (!is_usable || !is_within) {
			(is_usable ? rows_fail : rows_unusable)(c->rows);
			continue;
		}
		if (c->expiry)
			rows_until(c->rows, until);
		for (size_t j = 0; j < c->n_values; j++)
			rows_value(c->rows, c->values[j]);
	}
	buf_done(&ignored);
}

static bool drop_entry(void *ctx, struct entry *e)
{
	bool *has_found = ctx;

	*has_found = true;
	entry_free(e);
	return true;
}

/* Does a search find anything? False also when it failed, which ends the scan. */
static bool finds_any(struct scan *c, const char *base, int scope, const char *filter)
{
	static char none[] = LDAP_NO_ATTRS, *attributes[] = { none, NULL };
	bool has_found = false;
	const struct search what = {
		.base = base, .scope = scope, .filter = filter, .attributes = attributes,
		.size_limit = 1, .on_entry = drop_entry, .ctx = &has_found,
	};
	struct search_result result = search_run(c->s, &what, c->why);

	free(result.matched);
	if (has_found || result.code == LDAP_SIZELIMIT_EXCEEDED)
		return true;
	if (result.code != LDAP_SUCCESS && result.code != LDAP_NO_SUCH_OBJECT) {
		c->is_refused = true;
		c->refused = session_failed(c->s, result.code, "search", c->why);
	}
	return false;
}

/* Would a lookup of the key find this entry? The server knows. */
static bool is_found(struct scan *c, const struct entry *e, struct text key)
{
	struct buf filter = { 0 };
	bool is_it;

	/* Without lookups, the key is what the scan says. */
	if (!c->t->query_filter)
		return true;
	is_it = template_expand(c->t->query_filter, key, key, ldap_quote_filter, NULL,
				&filter) &&
		finds_any(c, e->dn, LDAP_SCOPE_BASE, buf_cstr(&filter));
	buf_done(&filter);
	return is_it;
}

static void settle_doubts(struct scan *c, const struct entry *e)
{
	struct entry_keys *keys = &c->keys;
	size_t n = 0;

	for (size_t i = 0; i < keys->n && !c->is_refused; i++)
		if (!keys->list[i].is_doubtful || is_found(c, e, keys->list[i].key))
			keys->list[n++] = keys->list[i];
	keys->n = n;
}

static bool take_entry(void *ctx, struct entry *e)
{
	struct scan *c = ctx;
	bool has_any = entry_keys_find(e, c->branch_rules, c->branch->n_keys, &c->keys);

	c->n_entries++;
	/* We know that it has one of them, and may search for it, but not read it. */
	if (!has_any && !c->t->is_plan_explicit) {
		buf_printf(c->why, "\"%s\" hides the attribute of its key from us", e->dn);
		c->is_refused = true;
	}
	settle_doubts(c, e);
	if (!c->is_refused && !c->collection)
		send_entry(c, e);
	if (c->is_refused || !c->collection)
		entry_free(e);
	else
		c->is_refused = !collection_add(c->collection, e, &c->keys, c->why);
	return !c->is_refused;
}

/* --- searches --------------------------------------------------------------------- */

/*
 * An attribute that we may search for, but not read, is missing in entries that have come for
 * another one; lookups find them by it. Then it shows nowhere, and yet there is one.
 */
static void check_attributes(struct scan *c)
{
	for (size_t i = 0; i < c->branch->n_keys && !c->is_refused; i++) {
		const struct key_rule *rule = &c->branch_rules[i];
		struct buf filter = { 0 };

		buf_printf(&filter, "(&%s(%s=*))", c->branch->filter, rule->key->attribute);
		if (!rule->is_seen && finds_any(c, buf_cstr(&c->base), c->t->scope,
						buf_cstr(&filter))) {
			buf_printf(c->why, "there are entries with %s, but all of them hide it "
				   "from us", rule->key->attribute);
			c->is_refused = true;
		}
		buf_done(&filter);
	}
}

static enum ended search(struct scan *c, const char *filter, unsigned page_size)
{
	const struct search what = {
		.base = buf_cstr(&c->base), .scope = c->t->scope, .filter = filter,
		.attributes = c->attributes, .page_size = page_size,
		.on_entry = take_entry, .ctx = c,
	};
	struct search_result result = search_run(c->s, &what, c->why);

	free(result.matched);
	if (c->is_refused)
		return c->refused;
	if (result.code == LDAP_NO_SUCH_OBJECT)
		buf_printf(c->why, "search_base \"%s\": ", buf_cstr(&c->base));
	if (result.code != LDAP_SUCCESS)
		return session_failed(c->s, result.code, "search", c->why);
	if (!result.has_references || c->t->ignore_references) {
		check_attributes(c);
		return c->is_refused ? c->refused : ENDED_DONE;
	}
	buf_printf(c->why, "part of \"%s\" is on another server: it refers us there, which "
		   "ignore_references would ignore", buf_cstr(&c->base));
	return ENDED_TEMP;
}

static enum ended search_all(struct scan *c)
{
	enum ended ended = ENDED_DONE;

	c->branch_rules = c->rules;
	for (size_t i = 0; i < c->t->plan.n && ended == ENDED_DONE; i++) {
		c->branch = &c->t->plan.branches[i];
		ended = search(c, c->branch->filter, c->t->page_size);
		c->branch_rules += c->branch->n_keys;
	}
	return ended;
}

/* --- the directory changes -------------------------------------------------------- */

/* Append the contextCSN of one database, when it shows one. */
static enum ended add_context(struct scan *c, const char *suffix, struct buf *to)
{
	struct entry *e = NULL;
	struct buf why = { 0 };
	int code = suffix_read_csn(c->s, suffix, &e, &why);
	const struct attribute *csn = e ? entry_find(e, "contextCSN") : NULL;
	enum ended ended = ENDED_DONE;

	for (size_t i = 0; csn && i < csn->n; i++)
		buf_printf(to, "%s ", csn->values[i].p);
	if (code != LDAP_SUCCESS && code != LDAP_NO_SUCH_OBJECT &&
	    code != LDAP_INSUFFICIENT_ACCESS) {
		buf_text(c->why, buf_view(&why));
		ended = session_failed(c->s, code, "search", c->why);
	}
	buf_done(&why);
	entry_free(e);
	return ended;
}

/*
 * What differs when any database that our searches reach has changed: all those that show
 * their contextCSN (OpenLDAP with syncprov; draft-chu-ldap-csn). Of others we cannot tell.
 */
static enum ended read_state(struct scan *c, struct buf *ret)
{
	struct entry *root = NULL;
	int code = suffixes_read(c->s, &root, c->why);
	const struct attribute *suffixes = root ? entry_find(root, "namingContexts") : NULL;
	enum ended ended = ENDED_DONE;

	if (code == LDAP_NO_SUCH_OBJECT || code == LDAP_INSUFFICIENT_ACCESS)
		buf_clear(c->why);	/* hidden from us: we cannot tell */
	else if (code != LDAP_SUCCESS)
		ended = session_failed(c->s, code, "search", c->why);
	for (size_t i = 0; suffixes && i < suffixes->n && ended == ENDED_DONE; i++) {
		const char *suffix = suffixes->values[i].p, *base = buf_cstr(&c->base);

		if (c->t->n_special || dn_is_within(base, suffix) ||
		    dn_is_within(suffix, base))
			ended = add_context(c, suffix, ret);
	}
	entry_free(root);
	return ended;
}

/*
 * Read once more what has changed since then. One search without pages sees one moment: a key
 * that was there all the time is in one of these entries, or was read where it was and still is.
 */
static enum ended catch_up(struct scan *c, struct text since)
{
	const char *base = buf_cstr(&c->base), *branch = c->branch->filter;
	struct buf any = { 0 }, changed = { 0 };
	enum ended ended = ENDED_TEMP;

	buf_printf(&any, "(&%s(entryCSN=*))", branch);
	buf_printf(&changed, "(&%s(entryCSN>=%.*s))", branch, (int)since.n, since.p);
	c->branch_rules = c->rules;
	c->is_catching_up = true;
	if (since.n && finds_any(c, base, c->t->scope, buf_cstr(&any)))
		ended = search(c, buf_cstr(&changed), 0);
	else if (c->is_refused)
		ended = c->refused;
	else
		buf_str(c->why, "the directory changed while pages were read, and does not show "
			"entryCSN, which tells where");
	buf_done(&any);
	buf_done(&changed);
	return ended;
}

/*
 * One search, in pages: a value that is moved from an entry not yet read to one that has been
 * would be missed. Where contextCSN is not shown we cannot tell.
 */
static enum ended search_pages(struct scan *c)
{
	struct buf before = { 0 }, after = { 0 };
	enum ended ended = c->t->page_size ? read_state(c, &before) : ENDED_DONE;

	c->keeps_marks = before.n && !c->collection;
	if (ended == ENDED_DONE)
		ended = search_all(c);
	if (ended == ENDED_DONE && before.n)
		ended = read_state(c, &after);
	if (ended == ENDED_DONE && c->n_entries && !text_eq(buf_view(&before), buf_view(&after)))
		ended = catch_up(c, csn_of_first_change(buf_view(&before), buf_view(&after)));
	buf_done(&before);
	buf_done(&after);
	return ended;
}

/* Once. *ret_is_stable: what was read belongs together. */
static enum ended attempt(struct scan *c, bool *ret_is_stable)
{
	bool is_several = c->t->plan.n > 1 || c->t->n_special;
	struct buf before = { 0 }, after = { 0 };
	enum ended ended = is_several ? read_state(c, &before) : ENDED_DONE;

	if (ended == ENDED_DONE)
		ended = is_several ? search_all(c) : search_pages(c);
	if (ended == ENDED_DONE)
		ended = collection_fetch(c->collection, c->why);
	if (ended == ENDED_DONE && is_several)
		ended = read_state(c, &after);
	*ret_is_stable = text_eq(buf_view(&before), buf_view(&after));
	buf_done(&before);
	buf_done(&after);
	return ended;
}

/* A value that is moved from an entry not yet read to one that has been would be missed. */
static enum ended collect(struct scan *c)
{
	enum ended ended = ENDED_DONE;
	bool is_stable = false;

	for (int i = 0; i < ATTEMPTS && ended == ENDED_DONE && !is_stable; i++) {
		collection_free(c->collection);
		c->collection = collection_new(c->s, c->t, c->expiry);
		ended = attempt(c, &is_stable);
	}
	if (ended == ENDED_DONE && !is_stable) {
		buf_str(c->why, "the directory changes faster than it can be read");
		return ENDED_TEMP;
	}
	return ended == ENDED_DONE ? collection_send(c->collection, c->rows, c->why) : ended;
}

/* --- all of it -------------------------------------------------------------------- */

/* Is each entry worth the same whatever else its keys have, and read once only? */
static bool is_simple(const struct table *t)
{
	return t->plan.n == 1 && !t->n_terminal && !t->n_leaf && !t->n_special &&
	       !t->size_limit;
}

enum ended ldap_scan(struct session *s, struct table *t, struct rows *rows,
		     struct buf *ret_why)
{
	struct scan c = { .s = s, .t = t, .rows = rows, .why = ret_why };
	enum ended ended = prepare(&c);

	if (ended == ENDED_DONE)
		ended = is_simple(t) ? search_pages(&c) : collect(&c);
	marks_done(&c.marks);
	collection_free(c.collection);
	schema_free(c.schema);
	entry_keys_done(&c.keys);
	buf_done(&c.base);
	free(c.rules);
	free(c.own_names);
	free(c.attributes);
	free(c.values);
	return ended;
}

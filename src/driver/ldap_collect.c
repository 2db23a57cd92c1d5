#include "driver/ldap_collect.h"

#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"

#include <stdlib.h>

/*
 * What one key may lead to. Groups that hold each other multiply with every level; nobody can
 * use as much, and a lookup ends in its time limit.
 */
#define KEY_FETCHES_MAX 100000
#define KEY_BYTES_MAX ((size_t)1 << 20)

/* What a small thing costs in memory beyond its own bytes, about. */
#define OVERHEAD 64

/* What a search has found, or is one of the scan's own entries. */
struct item {
	char *name;			/* of the search: search_name(), dn_name() */
	size_t n_name;
	int code;
	struct entries entries;
	size_t room;
	struct collection *collection;
};

/* A key leads to an entry. */
struct link {
	char *key;
	size_t item;
};

struct collection {
	struct session *s;
	const struct table *t;
	const char *expiry;
	bool has_aliases;		/* a DN may lead to an entry of another name */

	struct item **items;
	size_t n_items, room_items;
	size_t *slots;			/* a hash table of items: their number + 1 */
	size_t n_slots;			/* a power of two */

	struct link *links;
	size_t n_links, room_links;

	size_t bytes;
	struct entries group;		/* of one key */
	size_t room_group;

	struct rows *rows;		/* NULL: only fetch */
	size_t n_fetches, n_bytes;	/* of one key */
	int key_code;			/* what its lookup would end in */
	bool is_failed;			/* `code` is more than one key's misfortune */
	int code;
	struct buf why;
};

struct collection *collection_new(struct session *s, const struct table *t,
				  const char *expiry)
{
	struct collection *c = must_calloc(1, sizeof *c);

	c->s = s;
	c->t = t;
	c->expiry = expiry;
	c->has_aliases = strcmp(setting_get(s->source, "dereference", "0"), "0") != 0;
	c->n_slots = 1024;
	c->slots = must_calloc(c->n_slots, sizeof *c->slots);
	return c;
}

static void item_free(struct item *item)
{
	for (size_t i = 0; i < item->entries.n; i++)
		entry_free(item->entries.list[i]);
	free(item->entries.list);
	free(item->name);
	free(item);
}

void collection_free(struct collection *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->n_items; i++)
		item_free(c->items[i]);
	for (size_t i = 0; i < c->n_links; i++)
		free(c->links[i].key);
	free(c->items);
	free(c->slots);
	free(c->links);
	free(c->group.list);
	buf_done(&c->why);
	free(c);
}

/* --- items ------------------------------------------------------------------------ */

static struct text name_of(const struct item *item)
{
	return (struct text){ item->name, item->n_name };
}

/* Where an item of this name is, or would go. */
static size_t *find_slot(const struct collection *c, struct text name)
{
	size_t i = hash_text(name) & (c->n_slots - 1);

	while (c->slots[i] && !text_eq(name_of(c->items[c->slots[i] - 1]), name))
		i = (i + 1) & (c->n_slots - 1);
	return &c->slots[i];
}

static void grow_slots(struct collection *c)
{
	free(c->slots);
	c->n_slots *= 2;
	c->slots = must_calloc(c->n_slots, sizeof *c->slots);
	for (size_t i = 0; i < c->n_items; i++)
		*find_slot(c, name_of(c->items[i])) = i + 1;
}

/* There is none of this name. Returns its number. */
static size_t add_item(struct collection *c, struct text name)
{
	struct item *item = must_calloc(1, sizeof *item);
	struct buf copy = { 0 };

	if (c->n_items * 2 >= c->n_slots)
		grow_slots(c);
	if (c->n_items == c->room_items) {
		c->room_items = c->room_items ? c->room_items * 2 : 64;
		c->items = must(reallocarray(c->items, c->room_items, sizeof *c->items));
	}
	buf_text(&copy, name);
	item->n_name = name.n;
	item->name = buf_take(&copy);
	item->collection = c;
	*find_slot(c, name) = c->n_items + 1;
	c->items[c->n_items] = item;
	c->bytes += sizeof *item + name.n + OVERHEAD;
	return c->n_items++;
}

static void append(struct entries *to, size_t *room, struct entry *e)
{
	if (to->n == *room) {
		*room = *room ? *room * 2 : 1;
		to->list = must(reallocarray(to->list, *room, sizeof *to->list));
	}
	to->list[to->n++] = e;
}

static bool has_room(const struct collection *c, struct buf *ret_why)
{
	if (c->bytes <= COLLECT_BYTES_MAX)
		return true;
	buf_printf(ret_why, "more than %zu MiB of entries", COLLECT_BYTES_MAX >> 20);
	return false;
}

/* --- the entries of the scan ------------------------------------------------------ */

/*
 * "d", and a DN to which no alias may lead elsewhere: what a search of that entry alone would
 * find. Else "s", and the entry is nothing but part of the scan.
 */
static void dn_name(const struct collection *c, const char *dn, struct buf *out)
{
	buf_byte(out, c->has_aliases ? 's' : 'd');
	buf_str(out, dn);
}

static void add_link(struct collection *c, const struct entry_key *key, size_t item)
{
	if (c->n_links == c->room_links) {
		c->room_links = c->room_links ? c->room_links * 2 : 64;
		c->links = must(reallocarray(c->links, c->room_links, sizeof *c->links));
	}
	c->links[c->n_links++] = (struct link){
		must(strndup(key->key.p, key->key.n)), item
	};
	c->bytes += sizeof *c->links + key->key.n + OVERHEAD;
}

bool collection_add(struct collection *c, struct entry *e, const struct entry_keys *keys,
		    struct buf *ret_why)
{
	struct buf name = { 0 };
	size_t item;

	dn_name(c, e->dn, &name);
	item = *find_slot(c, buf_view(&name));
	if (item) {
		item--;
		entry_free(e);
	} else {
		item = add_item(c, buf_view(&name));
		append(&c->items[item]->entries, &c->items[item]->room, e);
		c->bytes += e->bytes;
	}
	for (size_t i = 0; i < keys->n; i++)
		add_link(c, &keys->list[i], item);
	buf_done(&name);
	return has_room(c, ret_why);
}

/* --- what they refer to ----------------------------------------------------------- */

/* All that makes a difference to what it finds. Names hold no NUL. */
static void search_name(const struct collection *c, const char *base, int scope,
			const char *filter, char **attributes, struct buf *out)
{
	if (attributes == c->t->attributes && scope == LDAP_SCOPE_BASE &&
	    strcmp(filter, "(objectClass=*)") == 0) {
		buf_printf(out, "d%s", base);
		return;
	}
	buf_printf(out, "u%s%c%d%s", base, '\0', scope, filter);
	for (; *attributes; attributes++)
		buf_printf(out, "%c%s", '\0', *attributes);
}

static bool keep(void *ctx, struct entry *e)
{
	struct item *item = ctx;
	struct collection *c = item->collection;

	append(&item->entries, &item->room, e);
	c->bytes += e->bytes + sizeof e;
	return c->bytes <= COLLECT_BYTES_MAX;
}

/*
 * What a lookup would end in: one key's misfortune, the same at every scan until the data
 * changes. Anything else is about the server, or about us.
 */
static bool is_about_data(int code)
{
	static const int codes[] = {
		LDAP_SUCCESS, LDAP_NO_SUCH_OBJECT, LDAP_SIZELIMIT_EXCEEDED,
		LDAP_ADMINLIMIT_EXCEEDED, LDAP_REFERRAL, LDAP_INVALID_DN_SYNTAX,
		LDAP_INVALID_SYNTAX, LDAP_FILTER_ERROR, LDAP_PARAM_ERROR, LDAP_UNDEFINED_TYPE,
		LDAP_INAPPROPRIATE_MATCHING, LDAP_ALIAS_PROBLEM, LDAP_ALIAS_DEREF_PROBLEM,
		LDAP_INSUFFICIENT_ACCESS, LDAP_NAMING_VIOLATION,
	};

	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
		if (codes[i] == code)
			return true;
	return false;
}

static void search(struct collection *c, struct item *item, const char *base, int scope,
		   const char *filter, char **attributes)
{
	const struct search what = {
		.base = base, .scope = scope, .filter = filter, .attributes = attributes,
		.size_limit = c->t->size_limit, .on_entry = keep, .ctx = item,
	};
	struct search_result result;

	buf_clear(&c->why);
	result = search_run(c->s, &what, &c->why);
	free(result.matched);
	item->code = result.code;
	if (is_about_data(result.code))
		return;
	if (result.code == LDAP_USER_CANCELLED)
		has_room(c, &c->why);
	c->is_failed = true;
	c->code = result.code;
}

/* For values_walk(): each search is made once. */
static int fetch(void *ctx, const char *base, int scope, const char *filter,
		 char **attributes, const struct entries **ret)
{
	struct collection *c = ctx;
	struct buf name = { 0 };
	struct item *item;
	size_t found;

	if (++c->n_fetches > KEY_FETCHES_MAX || c->n_bytes > KEY_BYTES_MAX)
		return LDAP_CLIENT_LOOP;
	search_name(c, base, scope, filter, attributes, &name);
	found = *find_slot(c, buf_view(&name));
	if (found) {
		item = c->items[found - 1];
	} else {
		item = c->items[add_item(c, buf_view(&name))];
		search(c, item, base, scope, filter, attributes);
	}
	buf_done(&name);
	*ret = &item->entries;
	return item->code;
}

/* --- keys with their values ------------------------------------------------------- */

static int by_key(const void *a, const void *b)
{
	const struct link *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	return order ? order : (x->item > y->item) - (x->item < y->item);
}

static void give(void *ctx, struct text value)
{
	struct collection *c = ctx;

	c->n_bytes += value.n;
	if (c->rows && c->n_bytes <= KEY_BYTES_MAX)
		rows_value(c->rows, value);
}

/* Walk some entries of a key. False: its values are of no use. */
static bool walk(struct collection *c, const struct entries *entries, uint64_t until)
{
	const struct fetcher fetcher = { fetch, c };
	struct buf why = { 0 };
	int code;

	if (c->rows && c->expiry)
		rows_until(c->rows, until);
	code = values_walk(c->t, entries, &fetcher, give, c, &why);
	c->key_code = code;
	if (code != LDAP_SUCCESS && !c->is_failed && c->rows)
		log_warn("key_unusable", setting_get(c->s->source, "name", ""),
			 F_STR("source", setting_get(c->s->source, "name", "")),
			 F_STR("why", why.n ? buf_cstr(&why) : ldap_err2string(code)));
	buf_done(&why);
	return code == LDAP_SUCCESS && c->n_bytes <= KEY_BYTES_MAX;
}

/*
 * Each entry with an end of its own. What terminal and leaf attributes and size_limit mean is
 * a matter of all entries together, though: then there must be one end for all.
 */
static bool walk_until(struct collection *c)
{
	const struct entries *group = &c->group;
	uint64_t first = 0, until;
	bool is_same = true;

	for (size_t i = 0; c->expiry && i < group->n; i++) {
		if (!entry_expiry(group->list[i], c->expiry, &until))
			return false;
		first = i ? first : until;
		is_same = is_same && until == first;
	}
	if (is_same)
		return walk(c, group, first);
	if (c->t->n_terminal || c->t->n_leaf ||
	    (c->t->size_limit && group->n > c->t->size_limit))
		return false;
	for (size_t i = 0; i < group->n; i++) {
		const struct entries one = { group->list + i, 1 };

		entry_expiry(group->list[i], c->expiry, &until);
		if (!walk(c, &one, until))
			return false;
	}
	return true;
}

/* Was it for the rules of the table, or for what the entries hold: the same at every lookup? */
static bool is_rule(int code)
{
	return code == LDAP_CLIENT_LOOP || code == LDAP_SIZELIMIT_EXCEEDED ||
	       code == LDAP_PARAM_ERROR || code == LDAP_FILTER_ERROR ||
	       code == LDAP_INVALID_DN_SYNTAX;
}

/* The `n` links of one key. False: more has failed than this key. */
static bool walk_key(struct collection *c, const struct link *links, size_t n)
{
	bool is_usable;

	driver_alive();		/* a ring of groups takes long in memory, too */
	c->n_fetches = c->n_bytes = c->group.n = 0;
	c->key_code = LDAP_SUCCESS;
	for (size_t i = 0; i < n; i++) {
		const struct item *item = c->items[links[i].item];

		if (i == 0 || links[i].item != links[i - 1].item)
			append(&c->group, &c->room_group, item->entries.list[0]);
	}
	if (c->rows)
		rows_key(c->rows, text_of(links->key));
	is_usable = walk_until(c);
	if (!is_usable && c->rows && !c->is_failed)
		(is_rule(c->key_code) ? rows_fail : rows_unusable)(c->rows);
	return !c->is_failed;
}

static enum ended walk_all(struct collection *c, struct buf *ret_why)
{
	size_t n;

	if (c->n_links > 1)
		qsort(c->links, c->n_links, sizeof *c->links, by_key);
	for (size_t i = 0; i < c->n_links; i += n) {
		n = 1;
		while (i + n < c->n_links && strcmp(c->links[i + n].key, c->links[i].key) == 0)
			n++;
		if (walk_key(c, &c->links[i], n))
			continue;
		buf_text(ret_why, buf_view(&c->why));
		return c->code == LDAP_USER_CANCELLED ? ENDED_TEMP :
		       session_failed(c->s, c->code, "search", ret_why);
	}
	return ENDED_DONE;
}

enum ended collection_fetch(struct collection *c, struct buf *ret_why)
{
	c->rows = NULL;
	return c->t->n_special ? walk_all(c, ret_why) : ENDED_DONE;
}

enum ended collection_send(struct collection *c, struct rows *rows, struct buf *ret_why)
{
	c->rows = rows;
	return walk_all(c, ret_why);
}

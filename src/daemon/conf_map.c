#include "daemon/conf_parts.h"

#include "base/fold.h"
#include "base/must.h"
#include "daemon/nearest.h"

#include <limits.h>
#include <stdlib.h>

/* Which kinds look at parent domains, and how unless told otherwise. */
static const struct {
	bool has_parents;
	enum parent_style otherwise;
} kinds[SEARCH_KINDS] = {
	[SEARCH_TRANSPORT] = { true, PARENTS_DOTTED },
	[SEARCH_MAIL_ACCESS] = { true, PARENTS_PLAIN },
	[SEARCH_DOMAIN_ACCESS] = { true, PARENTS_PLAIN },
	[SEARCH_NETWORK_ACCESS] = { true, PARENTS_PLAIN },
	[SEARCH_DOMAIN] = { true, PARENTS_NONE },
};

static struct strings copy_strings(const struct strings *from)
{
	struct strings to = { must_calloc(from->n + 1, sizeof *to.list), from->n };

	for (size_t i = 0; i < from->n; i++)
		to.list[i] = must_strdup(from->list[i]);
	return to;
}

static struct key_settings copy_keys(const struct key_settings *from)
{
	return (struct key_settings){
		must_strdup(from->recipient_delimiter),
		copy_strings(&from->local_domains),
		copy_strings(&from->propagate),
		from->owner_request_special,
	};
}

static void name_kinds(struct text unknown, struct buf *out)
{
	struct nearest nearest = { .name = unknown };

	for (enum search_kind k = 0; k < SEARCH_KINDS; k++) {
		buf_printf(out, "%s\"%s\"", k ? ", " : "", search_kind_name(k));
		nearest_try(&nearest, search_kind_name(k));
	}
	if (unknown.n)
		nearest_hint(&nearest, out);
}

/* The kind of search, and which class of propagate_unmatched_extensions the map is in. */
static const char *choose_kind(struct conf *c, const struct node *root, const char *name,
			       const struct map_block *b, struct search_rules *rules)
{
	enum search_kind named_kind = SEARCH_EXACT;
	const char *class = NULL;
	bool is_named =
		search_defaults(text_of(name), &named_kind, &rules->parents, &class);
	struct buf words = { 0 };

	rules->kind = named_kind;
	if (b->search && !search_kind_parse(text_of(b->search), &rules->kind)) {
		name_kinds(text_of(b->search), &words);
		conf_error(c, node_find(root, "search"), "search: \"%s\" is none of %s",
			   b->search, buf_cstr(&words));
	} else if (!b->search && !is_named && !node_find(root, "search")) {
		name_kinds(TEXT(""), &words);
		conf_error(c, root,
			   "search is missing: \"%s\" is no parameter of Postfix that "
			   "would tell; one of %s",
			   name, buf_cstr(&words));
	}
	if (!is_named || rules->kind != named_kind)
		rules->parents = kinds[rules->kind].otherwise;
	if (rules->kind != SEARCH_VIRTUAL)
		class = NULL;
	else if (!class)
		class = "virtual";
	buf_done(&words);
	return class;
}

static void choose_parents(struct conf *c, const struct node *root,
			   const struct map_block *b, struct search_rules *rules)
{
	if (b->parents == UINT_MAX)
		return;
	rules->parents = (enum parent_style)b->parents;
	if (!kinds[rules->kind].has_parents)
		conf_error(c, node_find(root, "parent_domain_style"),
			   "parent_domain_style: search = \"%s\" tries no parent domains",
			   search_kind_name(rules->kind));
}

static void make_rules(struct conf *c, const struct node *root, const char *name,
		       struct map_block *b, struct search_rules *rules)
{
	const char *class = choose_kind(c, root, name, b, rules);
	const struct strings *locals = &b->keys.local_domains;
	struct text *folded = must_calloc(locals->n + 1, sizeof *folded);

	choose_parents(c, root, b, rules);
	for (size_t i = 0; i < b->keys.propagate.n; i++)
		if (class && strcmp(b->keys.propagate.list[i], class) == 0)
			rules->propagate = true;
	for (size_t i = 0; i < locals->n; i++) {
		struct buf domain = { 0 };

		fold(text_of(locals->list[i]), &domain);	/* strings are UTF-8 */
		folded[i].n = domain.n;
		folded[i].p = buf_take(&domain);
	}
	rules->local_domains = folded;
	rules->n_local_domains = locals->n;
	rules->owner_request_special = b->keys.owner_request_special;
	rules->recipient_delimiter = text_of(b->keys.recipient_delimiter);
	b->keys.recipient_delimiter = NULL;
}

static void fingerprint(struct map_settings *m)
{
	const struct search_rules *r = &m->rules;
	struct buf text = { 0 };

	buf_printf(&text,
		   "name=%s\nsecret=%d\nsearch=%s\nparents=%d\npropagate=%d\nowner=%d\n"
		   "delimiter=", m->name, m->is_secret, search_kind_name(r->kind),
		   (int)r->parents, r->propagate, r->owner_request_special);
	buf_escaped(&text, r->recipient_delimiter);
	buf_str(&text, "\nexport=");
	buf_escaped(&text, text_of(m->export_path));
	for (size_t i = 0; i < r->n_local_domains; i++) {
		buf_str(&text, "\nlocal=");
		buf_escaped(&text, r->local_domains[i]);
	}
	for (size_t i = 0; i < m->n_tables; i++)
		buf_printf(&text, "\ntable\n%s", m->tables[i]->fingerprint);
	m->fingerprint = buf_take(&text);
}

static void read_tables(struct conf *c, struct map_settings *m, const struct node *root)
{
	const struct target targets[] = {
		{ .rows = map_rows },
		{ .rows = table_rows, .refuse = "belongs into each of the tables" },
		{ 0 },
	};
	const struct node *list = node_find(root, "tables"), *groups;
	size_t n;

	if (!list) {
		conf_tables(c, m, root, map_rows);
		return;
	}
	conf_apply(c, root, targets);
	n = conf_blocks(c, root, "tables", &groups);
	for (size_t i = 0; i < n; i++)
		conf_tables(c, m, &groups[i], NULL);
	if (list->type == NODE_LIST && list->n == 0)
		conf_error(c, list, "tables: there must be one");
}

void conf_map(struct conf *c, const char *name, const struct node *root)
{
	struct map_settings *m = must_calloc(1, sizeof *m);
	struct map_block b = { .parents = UINT_MAX, .keys = copy_keys(&c->daemon.keys) };
	struct settings *all = c->settings;

	m->name = must_strdup(name);
	for (size_t i = 0; i < root->n; i++) {
		const struct option_row *row =
			option_find(map_rows, text_of(root->items[i].name));

		if (row && row->type != OPTION_BLOCKS)
			conf_set(c, &root->items[i], row, &b);
	}
	make_rules(c, root, name, &b, &m->rules);
	m->is_secret = b.is_secret;
	read_tables(c, m, root);
	conf_export(c, root, b.export, m);
	fingerprint(m);
	options_clear(map_rows, &b);
	all->maps = must(realloc(all->maps, (all->n_maps + 1) * sizeof *all->maps));
	all->maps[all->n_maps++] = m;
}

const struct map_settings *conf_map_find(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->settings->n_maps; i++)
		if (strcmp(c->settings->maps[i]->name, name) == 0)
			return c->settings->maps[i];
	return NULL;
}

/* Whoever asks a domain map never waits for it to look a domain up. */
static bool knows_foreign(const struct table_settings *t)
{
	return t->mode == TABLE_MIRROR && t->on_miss == ON_MISS_NOTFOUND &&
	       t->stale_miss == STALE_MISS_NOTFOUND;
}

/*
 * A domain map answers at once and for itself, or the tables that ask it could wait in
 * a ring.
 */
static void check_domain_map(struct conf *c, const struct node *where, const char *name)
{
	const struct map_settings *m = conf_map_find(c, name);
	struct nearest nearest = { .name = text_of(name) };
	struct buf hint = { 0 };

	for (size_t i = 0; i < c->settings->n_maps; i++)
		nearest_try(&nearest, c->settings->maps[i]->name);
	nearest_hint(&nearest, &hint);
	if (!m)
		conf_error(c, where, "domains: there is no map \"%s\"%s", name,
			   buf_cstr(&hint));
	else if (m->rules.kind != SEARCH_DOMAIN && m->rules.kind != SEARCH_EXACT)
		conf_error(c, where, "domains: the map \"%s\" holds no domains: its "
			   "search is \"%s\"", name, search_kind_name(m->rules.kind));
	for (size_t i = 0; m && i < m->n_tables; i++) {
		if (m->tables[i]->domains)
			conf_error(c, where,
				   "domains: the map \"%s\" asks a domain map itself",
				   name);
		if (!knows_foreign(m->tables[i]))
			conf_note(c, where, "domains: the map \"%s\" calls a domain "
				  "foreign at once, and in an outage, only with mode = "
				  "\"mirror\", on_miss and stale_miss = \"notfound\"",
				  name);
	}
	buf_done(&hint);
}

void conf_maps_check(struct conf *c)
{
	for (size_t i = 0; i < c->settings->n_maps; i++) {
		const struct map_settings *m = c->settings->maps[i];
		struct buf file = { 0 };

		buf_printf(&file, "%s/%s.conf", c->daemon.maps_directory, m->name);
		for (size_t t = 0; t < m->n_tables; t++) {
			struct node where = { .file = (char *)buf_cstr(&file),
					      .line = m->tables[t]->line };

			if (m->tables[t]->domains)
				check_domain_map(c, &where, m->tables[t]->domains);
		}
		buf_done(&file);
	}
}

#include "daemon/conf_parts.h"

#include "base/cf.h"
#include "base/must.h"
#include "daemon/nearest.h"

#include <stdlib.h>
#include <strings.h>

static const struct option_row *find_postfix(const struct option_row *rows,
					     const char *name)
{
	const struct option_row *row = option_find(rows, text_of(name));

	return row && row->flags & OPTION_POSTFIX ? row : NULL;
}

static struct node new_group(const char *file)
{
	return (struct node){ NODE_GROUP, .file = must_strdup(file), .line = 1 };
}

static void add_item(struct node *group, enum node_type type, const char *name,
		     const char *text, unsigned line)
{
	group->items = must(realloc(group->items, (group->n + 1) * sizeof *group->items));
	group->items[group->n++] = (struct node){
		.type = type, .name = must_strdup(name), .text = must_strdup(text),
		.file = must_strdup(group->file), .line = line,
	};
}

/* Postfix ignores them; but it may be a typing error. */
static void ignored(struct conf *c, const struct driver_kind *kind, char *file,
			const struct cf_entry *e)
{
	const struct option_row *const tables[] = { kind->source_rows, kind->table_rows,
						    table_rows };
	const struct node where = { .file = file, .line = e->line };
	struct nearest nearest = { .name = text_of(e->name) };
	struct buf hint = { 0 };

	for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
		for (const struct option_row *r = tables[i]; r->name; r++)
			if (r->flags & OPTION_POSTFIX)
				nearest_try(&nearest, r->name);
	nearest_hint(&nearest, &hint);
	conf_note(c, &where,
		  "%s: no parameter of %s: tables, and ignored as in Postfix%s",
		  e->name, kind->name, buf_cstr(&hint));
	buf_done(&hint);
}

/* The word for a value as a driver gets it: "true" and "false", times with a unit. */
static void add_parameter(struct conf *c, struct node *group,
			  const struct option_row *row, const struct cf_entry *e)
{
	const struct node where = { .file = group->file, .line = e->line };
	struct buf value = { 0 };

	buf_str(&value, e->value);
	if (row->type == OPTION_BOOL) {
		bool is_yes = strcasecmp(e->value, "yes") == 0;

		if (!is_yes && strcasecmp(e->value, "no") != 0)
			conf_error(c, &where, "%s: wants yes or no", e->name);
		buf_clear(&value);
		buf_str(&value, is_yes ? "true" : "false");
	} else if (row->type == OPTION_TIME &&
		   strspn(e->value, "0123456789") == value.n) {
		buf_byte(&value, 's');
	}
	add_item(group, NODE_WORD, e->name, buf_cstr(&value), e->line);
	buf_done(&value);
}

/* A secret stays where it is. */
static void add_secret(struct node *source, const char *path, const struct cf_entry *e)
{
	struct buf name = { 0 };

	buf_printf(&name, "%s_cf", e->name);
	add_item(source, NODE_WORD, buf_cstr(&name), path, e->line);
	buf_done(&name);
}

/* The row of a parameter that belongs to the source. */
static const struct option_row *find_of_source(const struct driver_kind *kind,
					       const char *name)
{
	for (size_t i = 0; kind->postfix_names && kind->postfix_names[i]; i++)
		if (strcmp(kind->postfix_names[i], name) == 0)
			return option_find(source_rows, text_of(name));
	return find_postfix(kind->source_rows, name);
}

/* Deal the parameters out to a source and a table. */
static void deal(struct conf *c, const struct driver_kind *kind, const struct cf *cf,
		 struct node *source, struct node *table)
{
	for (size_t i = 0; i < cf->n; i++) {
		const struct cf_entry *e = &cf->entries[i];
		const struct option_row *row = find_of_source(kind, e->name);
		struct node *group = row ? source : table;

		if (!row)
			row = find_postfix(kind->table_rows, e->name);
		if (!row)
			row = find_postfix(table_rows, e->name);
		if (row && row->flags & OPTION_SECRET)
			add_secret(source, source->file, e);
		else if (row)
			add_parameter(c, group, row, e);
		else
			ignored(c, kind, source->file, e);
	}
}

static bool same_secret(const char *name, const char *path, const char *other)
{
	struct cf a, b = { 0 };
	struct buf ignored = { 0 };
	bool is_same = cf_read(path, &a, &ignored) && cf_read(other, &b, &ignored) &&
		       cf_get(&a, name) && cf_get(&b, name) &&
		       strcmp(cf_get(&a, name), cf_get(&b, name)) == 0;

	cf_done(&a);
	cf_done(&b);
	buf_done(&ignored);
	return is_same;
}

/*
 * Each table of a site has its file, and each file has the same password: when `same`,
 * which may be NULL, reads it from another one of them, that will do for us.
 */
static void share_secret(const struct driver_kind *kind,
			 const struct source_settings *same, struct node *group)
{
	for (const struct option_row *r = kind->source_rows; r->name; r++) {
		struct buf name = { 0 };
		struct node *item;
		const char *path;

		buf_printf(&name, "%s_cf", r->name);
		item = (struct node *)node_find(group, buf_cstr(&name));
		path = same ? conf_option_get(&same->options, buf_cstr(&name)) : NULL;
		buf_done(&name);
		if (!(r->flags & OPTION_SECRET) || !item)
			continue;
		if (!path || !same_secret(r->name, path, group->file))
			path = group->file;
		free(item->text);
		item->text = must_strdup(path);
	}
}

/*
 * Find a source with these settings, or add it. It is named after the setting that
 * identifies it, "sqlite:/var/mail.sqlite"; another one with that name gets "#2".
 */
static const struct source_settings *
share_source(struct conf *c, const struct driver_kind *kind, struct node *group)
{
	struct settings *all = c->settings;
	const struct node *item = node_find(group, kind->source_rows[0].name);
	const char *id = item ? item->text : kind->source_rows[0].otherwise;
	struct buf name = { 0 };

	add_item(group, NODE_STRING, "driver", kind->name, group->line);
	add_item(group, NODE_STRING, "name", "", group->line);
	for (unsigned i = 1;; i++) {
		buf_clear(&name);
		buf_printf(&name, "%s:%s", kind->name, id ? id : "");
		if (i > 1)
			buf_printf(&name, "#%u", i);
		free(group->items[group->n - 1].text);
		group->items[group->n - 1].text = must_strdup(buf_cstr(&name));

		struct source_settings *same = conf_source_find(c, name.p);
		share_secret(kind, same, group);
		struct source_settings *s = conf_source_add(c, group);

		if (!same || strcmp(same->fingerprint, s->fingerprint) == 0) {
			buf_done(&name);
			if (!same)
				return s;
			source_settings_free(all->sources[--all->n_sources]);
			return same;
		}
		source_settings_free(all->sources[--all->n_sources]);
	}
}

bool conf_postfix(struct conf *c, const struct node *where, struct text name,
		  const struct source_settings **ret_source, struct node *ret_rest)
{
	struct text whole = name;
	struct buf path = { 0 }, why = { 0 };
	struct cf cf = { 0 };
	const struct driver_kind *kind = NULL;
	bool is_good = false;

	if (text_starts(name, TEXT("proxy:")))
		name = text_skip(name, strlen("proxy:"));

	const char *colon = text_chr(name, ':');
	if (colon) {
		kind = driver_kind_find(text_before(name, colon));
		buf_text(&path, text_from(name, colon + 1));
	}
	if (!kind)
		conf_error(c, where,
			   "postfix_table: there is no driver here for \"%.*s\"",
			   (int)whole.n, whole.p);
	else if (*buf_cstr(&path) != '/')
		conf_error(c, where,
			   "postfix_table: the path in \"%.*s\" must begin with '/'",
			   (int)whole.n, whole.p);
	else if (!cf_read(path.p, &cf, &why))
		conf_error(c, where, "postfix_table: %s", buf_cstr(&why));
	else
		is_good = true;
	if (is_good) {
		struct node source = new_group(path.p);

		*ret_rest = new_group(path.p);
		if (kind->from_postfix)
			kind->from_postfix(c, path.p, &cf);
		deal(c, kind, &cf, &source, ret_rest);
		*ret_source = share_source(c, kind, &source);
		node_done(&source);
	}
	cf_done(&cf);
	buf_done(&path);
	buf_done(&why);
	return is_good;
}

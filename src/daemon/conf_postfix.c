#include "daemon/conf_parts.h"

#include "base/cf.h"
#include "base/must.h"
#include "daemon/nearest.h"

#include <stdlib.h>

static bool is_postfix(const struct option_row *rows, const char *name)
{
	const struct option_row *row = option_find(rows, text_of(name));

	return row && row->flags & OPTION_POSTFIX;
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

static void unsupported(struct conf *c, const struct driver_kind *kind, char *file,
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
	conf_error(c, &where, "parameter \"%s\" is not supported for %s: tables%s",
		   e->name, kind->name, buf_cstr(&hint));
	buf_done(&hint);
}

/* Deal the parameters out to a source and a table. */
static void deal(struct conf *c, const struct driver_kind *kind, const struct cf *cf,
		 struct node *source, struct node *table)
{
	for (size_t i = 0; i < cf->n; i++) {
		const struct cf_entry *e = &cf->entries[i];

		if (is_postfix(kind->source_rows, e->name))
			add_item(source, NODE_WORD, e->name, e->value, e->line);
		else if (is_postfix(kind->table_rows, e->name) ||
			 is_postfix(table_rows, e->name))
			add_item(table, NODE_WORD, e->name, e->value, e->line);
		else
			unsupported(c, kind, source->file, e);
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
	const char *id = item ? item->text : "";
	struct buf name = { 0 };

	add_item(group, NODE_STRING, "driver", kind->name, group->line);
	add_item(group, NODE_STRING, "name", "", group->line);
	for (unsigned i = 1;; i++) {
		buf_clear(&name);
		buf_printf(&name, "%s:%s", kind->name, id);
		if (i > 1)
			buf_printf(&name, "#%u", i);
		free(group->items[group->n - 1].text);
		group->items[group->n - 1].text = must_strdup(buf_cstr(&name));

		struct source_settings *same = conf_source_find(c, name.p);
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
		deal(c, kind, &cf, &source, ret_rest);
		*ret_source = share_source(c, kind, &source);
		node_done(&source);
	}
	cf_done(&cf);
	buf_done(&path);
	buf_done(&why);
	return is_good;
}

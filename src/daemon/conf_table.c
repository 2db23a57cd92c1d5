#include "daemon/conf_parts.h"

#include "base/file.h"
#include "base/fold.h"
#include "base/must.h"
#include "daemon/nearest.h"
#include "daemon/units.h"

#include <stdlib.h>

#define LIST_SEPARATORS ", \t\r\n"
#define MAX_AGE_LEAST ((uint64_t)5 * 60 * 1000)

const struct node *table_where(const struct table_draft *d, const char *name)
{
	const struct node *item = node_find(d->group, name);

	if (!item && d->postfix)
		item = node_find(d->postfix, name);
	return item ? item : d->postfix ? d->postfix : d->group;
}

static void check_templates(struct table_draft *d)
{
	struct table_settings *s = &d->block.s;
	struct buf why = { 0 };

	s->result_format =
		template_new(text_of(d->block.result_format), TEMPLATE_RESULT, &why);
	if (s->result_format)
		s->needs = needs_both(s->needs, template_needs(s->result_format));
	else
		conf_error(d->conf, table_where(d, "result_format"), "result_format: %s",
			   buf_cstr(&why));

	buf_clear(&why);
	if (*d->block.domain) {
		s->domain = domain_list_new(text_of(d->block.domain), &why);
		if (!s->domain)
			conf_error(d->conf, table_where(d, "domain"), "domain: %s",
				   buf_cstr(&why));
	}
	buf_done(&why);
}

static void fold_expected(struct table_draft *d)
{
	struct table_settings *s = &d->block.s;
	const struct strings *expect = &d->block.expect;
	struct text *keys = must_calloc(expect->n + 1, sizeof *keys);

	for (size_t i = 0; i < expect->n; i++) {
		struct buf key = { 0 };

		fold(text_of(expect->list[i]), &key);	/* strings are UTF-8 */
		keys[i].n = key.n;
		keys[i].p = buf_take(&key);
	}
	s->expect = keys;
	s->n_expect = expect->n;
}

static void check_ages(struct table_draft *d)
{
	struct table_settings *s = &d->block.s;
	const char *change = d->kind && d->kind->change_option ? d->kind->change_option
							       : "change_query";
	bool is_given = s->max_age > 0;

	if (s->mode != TABLE_MIRROR)
		return;
	if (!is_given) {
		s->max_age = 3 * s->refresh;
		if (s->max_age < MAX_AGE_LEAST)
			s->max_age = MAX_AGE_LEAST;
		if (s->max_age > s->stale_max)
			s->max_age = s->stale_max;
	}
	if (s->change_interval && !conf_option_get(&s->options, change))
		conf_error(d->conf, table_where(d, "change_interval"),
			   "change_interval: there is no %s to ask", change);
	if (s->stale_max < s->refresh)
		conf_error(d->conf, table_where(d, "stale_max"),
			   "stale_max: shorter than refresh: every copy would expire");
	else if (s->max_age < s->refresh)
		conf_error(d->conf, table_where(d, "max_age"),
			   "max_age: shorter than refresh: every copy would go stale");
	else if (s->max_age > s->stale_max)
		conf_error(d->conf, table_where(d, "max_age"),
			   "max_age: longer than stale_max");
}

static bool asks_domains(const struct table_settings *s)
{
	return s->mode == TABLE_MIRROR &&
	       (s->on_miss == ON_MISS_DOMAIN || s->stale_miss == STALE_MISS_DOMAIN);
}

/* Settings that are right but do nothing here. */
static void check_effects(struct table_draft *d)
{
	const struct table_settings *s = &d->block.s;

	if (asks_domains(s) && !s->domains)
		conf_error(d->conf, table_where(d, "mode"),
			   "domains is missing: the name of the map of our domains");
	if (s->mode == TABLE_MIRROR && s->domains && !asks_domains(s))
		conf_note(d->conf, table_where(d, "domains"),
			  "domains: no effect without on_miss or stale_miss = "
			  "\"domain\"");
	for (size_t i = 0; s->mode == TABLE_DEMAND && i < d->group->n; i++) {
		const struct node *item = &d->group->items[i];
		const struct option_row *row =
			option_find(table_rows, text_of(item->name));

		if (!row && d->kind)
			row = option_find(d->kind->table_rows, text_of(item->name));
		if (row && row->flags & OPTION_MIRROR)
			conf_note(d->conf, item,
				  "%s: no effect without mode = \"mirror\"", row->name);
	}
}

/* What stands in the files that `domain` names is part of the settings, too. */
static void print_domain_files(const char *domain, struct buf *out)
{
	struct text list = text_of(domain), item;

	while (text_next(&list, LIST_SEPARATORS, &item)) {
		const char *slash = text_chr(item, '/');
		struct buf path = { 0 }, file = { 0 }, ignored = { 0 };

		if (slash) {
			buf_text(&path, text_from(item, slash));
			file_read(buf_cstr(&path), 1 << 20, &file, &ignored);
			buf_escaped(out, buf_view(&file));
			buf_byte(out, '\n');
		}
		buf_done(&path);
		buf_done(&file);
		buf_done(&ignored);
	}
}

static void table_finish(struct table_draft *d, struct map_settings *map,
			 const struct source_settings *source)
{
	struct table_settings *s = &d->block.s, *table = must_calloc(1, sizeof *table);
	struct buf fingerprint = { 0 }, domain_files = { 0 };

	check_templates(d);
	fold_expected(d);
	check_ages(d);
	if (d->kind)
		d->kind->finish(d);
	check_effects(d);
	s->line = d->group->line;
	options_fingerprint(table_rows, &d->block, &fingerprint);
	conf_options_print(&s->options, NULL, &fingerprint);
	print_domain_files(d->block.domain, &domain_files);
	buf_text(&fingerprint, buf_view(&domain_files));
	s->fingerprint = buf_take(&fingerprint);
	conf_identify_table(d, source, buf_view(&domain_files));
	buf_done(&domain_files);

	*table = *s;
	*s = (struct table_settings){ 0 };
	map->tables =
		must(realloc(map->tables, (map->n_tables + 1) * sizeof *map->tables));
	map->tables[map->n_tables++] = table;
}

/* The named source; an error when there is none. */
static const struct source_settings *find_source(struct conf *c, const struct node *group)
{
	const struct node *name = node_find(group, "source");
	const struct source_settings *source = NULL;
	struct nearest nearest = { .name = text_of(name ? name->text : NULL) };
	struct buf hint = { 0 };

	if (!name)
		conf_error(c, group, "source is missing, or postfix_table");
	if (!name || name->type != NODE_STRING)
		return NULL;
	source = conf_source_find(c, name->text);
	for (size_t i = 0; i < c->settings->n_sources; i++)
		if (c->settings->sources[i]->name)
			nearest_try(&nearest, c->settings->sources[i]->name);
	nearest_hint(&nearest, &hint);
	if (!source)
		conf_error(c, name, "there is no source \"%s\"%s", name->text,
			   buf_cstr(&hint));
	buf_done(&hint);
	return source;
}

/* One table: from `group` alone, or with what a Postfix table file says. */
static void add_table(struct conf *c, struct map_settings *map, const struct node *group,
		      const struct option_row *outer,
		      const struct source_settings *source, const struct node *postfix)
{
	struct table_draft d = { .conf = c, .group = group, .postfix = postfix };
	struct options *options = &d.block.s.options;

	d.kind = driver_kind_find(text_of(source ? source->driver : NULL));
	options_default(table_rows, c->dir, &d.block);

	const struct target targets[] = {
		{ .rows = table_rows, .block = &d.block },
		{ .rows = outer ? outer : map_rows,
		  .refuse = outer ? NULL : "belongs to the map, outside of its tables" },
		{ .rows = d.kind ? d.kind->table_rows : NULL,
		  .options = options }, /* of a program we do not know: anything */
		{ 0 },
	};
	conf_apply(c, group, targets);
	for (size_t i = 0; postfix && i < postfix->n; i++)
		if (node_find(group, postfix->items[i].name))
			conf_error(c, node_find(group, postfix->items[i].name),
				   "%s: %s:%u has it, too", postfix->items[i].name,
				   postfix->file, postfix->items[i].line);
	if (postfix) {
		conf_apply(c, postfix, targets);
		d.block.s.source = must_strdup(source->name);
	}
	conf_complete(c, group, d.kind ? d.kind->table_rows : NULL, options);
	table_finish(&d, map, source);
	options_clear(table_rows, &d.block);
}

void conf_tables(struct conf *c, struct map_settings *map, const struct node *group,
		 const struct option_row *outer)
{
	const struct node *list = node_find(group, "postfix_table");
	struct text names = text_of(list ? list->text : NULL), name;

	if (!list) {
		add_table(c, map, group, outer, find_source(c, group), NULL);
		return;
	}
	if (node_find(group, "source")) {
		conf_error(c, list, "postfix_table brings its own source");
		return;
	}
	if (list->type != NODE_STRING || text_trim(names).n == 0)
		conf_error(c, list,
			   "postfix_table: wants \"sqlite:/path/x.cf\", as in main.cf");
	while (list->type == NODE_STRING && text_next(&names, LIST_SEPARATORS, &name)) {
		const struct source_settings *source;
		struct node rest = { 0 };

		if (conf_postfix(c, list, name, &source, &rest))
			add_table(c, map, group, outer, source, &rest);
		node_done(&rest);
	}
}

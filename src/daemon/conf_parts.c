#include "daemon/conf_parts.h"

#include "base/hash.h"
#include "base/must.h"
#include "daemon/conf.h"
#include "daemon/nearest.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Is `line`, with its newline, in `lines` already? */
static bool is_said(struct text lines, struct text line)
{
	while (lines.n) {
		const char *end = text_chr(lines, '\n');

		if (text_starts(lines, line))
			return true;
		lines = end ? text_from(lines, end + 1) : TEXT("");
	}
	return false;
}

/* What files hold may hold line breaks; a message is one line. */
static void add_printable(struct buf *out, struct text t)
{
	for (size_t i = 0; i < t.n; i++)
		if ((unsigned char)t.p[i] < ' ' || t.p[i] == 0x7f)
			buf_printf(out, "\\x%02x", (unsigned)t.p[i]);
		else
			buf_byte(out, t.p[i]);
}

/* Once: a map's file is walked for each of its tables. */
static void say(struct buf *out, const struct node *where, const char *format,
		va_list args)
{
	struct buf line = { 0 };
	char message[1024];

	if (!out)
		return;
	vsnprintf(message, sizeof message, format, args);
	add_printable(&line, text_of(where->file));
	buf_printf(&line, ":%u: ", where->line);
	add_printable(&line, text_of(message));
	buf_byte(&line, '\n');
	if (!is_said(buf_view(out), buf_view(&line)))
		buf_text(out, buf_view(&line));
	buf_done(&line);
}

void conf_error(struct conf *c, const struct node *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(c->why, where, format, args);
	va_end(args);
}

void conf_note(struct conf *c, const struct node *where, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(c->notes, where, format, args);
	va_end(args);
}

enum log_level conf_note_level(struct text note)
{
	struct text what = TEXT(": " NOTE_MIRROR);	/* behind FILE:LINE */

	return memmem(note.p, note.n, what.p, what.n) ? LOG_AT_INFO : LOG_AT_WARN;
}

#define ONE(type) (1u << (type))

/* Which kinds of node an option may stand in. */
static const unsigned accepted[OPTION_TYPES] = {
	[OPTION_TEXT] = ONE(NODE_STRING), [OPTION_PATH] = ONE(NODE_STRING),
	[OPTION_USER] = ONE(NODE_STRING), [OPTION_GROUP] = ONE(NODE_STRING),
	[OPTION_TIME] = ONE(NODE_STRING), [OPTION_SIZE] = ONE(NODE_STRING),
	[OPTION_WORD] = ONE(NODE_STRING), [OPTION_MODE] = ONE(NODE_STRING),
	[OPTION_COUNT] = ONE(NODE_INTEGER),
	[OPTION_BOOL] = ONE(NODE_BOOLEAN),
	[OPTION_LIST] = ONE(NODE_STRING) | ONE(NODE_LIST),
};

/* What an array holds; false where that is something else than strings. */
static bool strings_of(const struct node *list, struct text *ret_items)
{
	for (size_t i = 0; i < list->n; i++) {
		if (list->items[i].type != NODE_STRING)
			return false;
		ret_items[i] = text_of(list->items[i].text);
	}
	return true;
}

static bool parse_item(struct conf *c, const struct node *item,
		       const struct option_row *row, void *field, struct buf *why)
{
	bool is_word = item->type == NODE_WORD;
	bool is_good = false;

	if (!is_word && !(accepted[row->type] & ONE(item->type))) {
		buf_printf(why, "wants %s", option_wants(row->type));
	} else if (item->type == NODE_LIST) {
		struct text *items = must_calloc(item->n + 1, sizeof *items);

		if (strings_of(item, items))
			is_good = option_parse_list(row, items, item->n, field, why);
		else
			buf_printf(why, "wants %s", option_wants(row->type));
		free(items);
	} else {
		is_good = option_parse(row, text_of(item->text), is_word ? NULL : c->dir,
				       field, why);
	}
	return is_good;
}

void conf_set(struct conf *c, const struct node *item, const struct option_row *row,
	      void *block)
{
	struct buf why = { 0 };

	if (!parse_item(c, item, row, (char *)block + row->offset, &why))
		conf_error(c, item, "%s: %s", row->name, buf_cstr(&why));
	buf_done(&why);
}

/* A value in the form that drivers get. */
static char *canonical(const struct option_row *row, const void *field)
{
	struct buf b = { 0 };

	option_print(row, field, &b);
	return buf_take(&b);
}

/* Room for a field of any type. */
union field {
	uint64_t number;
	char *text;
	struct strings strings;
};

static struct option_row with_size(const struct option_row *row)
{
	struct option_row r = *row;

	r.size = sizeof(uint64_t);
	return r;
}

static void set_option(struct conf *c, const struct node *item,
		       const struct option_row *row, struct options *options)
{
	struct option_row r = with_size(row);
	union field field = { 0 };
	struct buf why = { 0 };

	if (parse_item(c, item, &r, &field, &why)) {
		char *value = canonical(&r, &field);

		conf_option_set(options, r.name, value);
		if (r.type == OPTION_PATH && access(value, F_OK) != 0)
			conf_note(c, item, "%s: there is no %s yet", r.name, value);
		free(value);
	} else {
		conf_error(c, item, "%s: %s", r.name, buf_cstr(&why));
	}
	buf_done(&why);
	option_clear(&r, &field);
}

static void set_default_option(const struct option_row *row, struct options *options)
{
	struct option_row r = with_size(row);
	union field field = { 0 };
	struct buf ignored = { 0 };

	if (option_parse(&r, text_of(r.otherwise), "", &field, &ignored)) {
		char *value = canonical(&r, &field);

		conf_option_set(options, r.name, value);
		free(value);
	}
	buf_done(&ignored);
	option_clear(&r, &field);
}

static void unknown(struct conf *c, const struct node *item, const struct target *targets)
{
	struct text name = text_of(item->name);
	struct nearest nearest = { .name = name };
	struct buf hint = { 0 };

	for (size_t i = 0; driver_kinds[i]; i++) {
		const struct driver_kind *k = driver_kinds[i];
		bool is_source = option_find(k->source_rows, name) != NULL;

		if (is_source || option_find(k->table_rows, name))
			buf_printf(&hint, "%s a %s of driver \"%s\"",
				   hint.n ? " or" : "; it belongs to",
				   is_source ? "source" : "table", k->name);
	}

	for (; targets->rows; targets++)
		for (const struct option_row *r = targets->rows;
		     r->name && !targets->refuse; r++)
			nearest_try(&nearest, r->name);
	if (hint.n == 0)
		nearest_hint(&nearest, &hint);
	conf_error(c, item, "unknown setting \"%s\"%s", item->name, buf_cstr(&hint));
	buf_done(&hint);
}

static void apply_item(struct conf *c, const struct node *item,
		       const struct target *targets)
{
	const struct option_row *row = NULL;
	const struct target *t = targets;

	while (t->rows && !(row = option_find(t->rows, text_of(item->name))))
		t++;
	if (!row && !t->options)
		unknown(c, item, targets);
	else if (!row && item->text)
		conf_option_set(t->options, item->name, item->text);
	else if (!row)
		conf_error(c, item, "%s: a driver program takes only single values",
			   item->name);
	else if (t->refuse)
		conf_error(c, item, "%s %s", item->name, t->refuse);
	else if (t->options)
		set_option(c, item, row, t->options);
	else if (t->block && row->type != OPTION_BLOCKS)
		conf_set(c, item, row, t->block);
}

void conf_apply(struct conf *c, const struct node *group, const struct target *targets)
{
	for (size_t i = 0; i < group->n; i++)
		apply_item(c, &group->items[i], targets);
}

void conf_complete(struct conf *c, const struct node *group,
		   const struct option_row *rows, struct options *options)
{
	for (const struct option_row *r = rows; r && r->name; r++) {
		if (node_find(group, r->name) ||
		    (options && conf_option_get(options, r->name)))
			continue;
		if (r->flags & OPTION_REQUIRED)
			conf_error(c, group, "%s is missing: %s", r->name, r->help);
		else if (options && r->otherwise)
			set_default_option(r, options);
	}
}

size_t conf_blocks(struct conf *c, const struct node *group, const char *name,
		   const struct node **ret_groups)
{
	const struct node *list = node_find(group, name);

	*ret_groups = list ? list->items : NULL;
	if (!list)
		return 0;

	bool is_good = list->type == NODE_LIST;
	for (size_t i = 0; is_good && i < list->n; i++)
		is_good = list->items[i].type == NODE_GROUP;
	if (is_good)
		return list->n;
	conf_error(c, list, "%s: wants %s", name, option_wants(OPTION_BLOCKS));
	return 0;
}

void conf_option_set(struct options *options, const char *name, const char *value)
{
	size_t i = options->n;

	options->list = must(realloc(options->list, (i + 1) * sizeof *options->list));
	for (; i > 0 && strcmp(options->list[i - 1].name, name) > 0; i--)
		options->list[i] = options->list[i - 1];
	options->list[i] =
		(struct driver_option){ must_strdup(name), must_strdup(value) };
	options->n++;
}

const char *conf_option_get(const struct options *options, const char *name)
{
	for (size_t i = 0; i < options->n; i++)
		if (strcmp(options->list[i].name, name) == 0)
			return options->list[i].value;
	return NULL;
}

void conf_option_drop(struct options *options, const char *name)
{
	size_t kept = 0;

	for (size_t i = 0; i < options->n; i++) {
		struct driver_option *o = &options->list[i];

		if (strcmp(o->name, name) == 0) {
			free(o->name);
			free(o->value);
		} else {
			options->list[kept++] = *o;
		}
	}
	options->n = kept;
}

void conf_options_print(const struct options *options, const struct option_row *rows,
			struct buf *out)
{
	for (size_t i = 0; i < options->n; i++) {
		const struct option_row *row =
			option_find(rows, text_of(options->list[i].name));
		struct text value = text_of(options->list[i].value);

		buf_printf(out, "%s=", options->list[i].name);
		if (row && row->flags & OPTION_SECRET)
			buf_printf(out, "%016" PRIx64, hash_text(value));
		else
			buf_escaped(out, value);
		buf_byte(out, '\n');
	}
}

bool conf_is_name(struct text name)
{
	static const char allowed[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		"0123456789_.-";

	for (size_t i = 0; i < name.n; i++)
		if (!name.p[i] || !strchr(allowed, name.p[i]))
			return false;
	return name.n > 0;
}

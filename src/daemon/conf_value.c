#include "daemon/options.h"

#include "base/must.h"
#include "daemon/nearest.h"
#include "daemon/units.h"

#include <assert.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>

#define LIST_SEPARATORS ", \t\r\n"

static const struct { const char *name, *wants;
} types[OPTION_TYPES] = {
	[OPTION_TEXT] = { "string", "a string in double quotes" },
	[OPTION_PATH] = { "path", "a path in double quotes" },
	[OPTION_USER] = { "user", "the name of a user, in double quotes" },
	[OPTION_GROUP] = { "group", "the name of a group, in double quotes" },
	[OPTION_COUNT] = { "number", "a whole number below 2147483648" },
	[OPTION_TIME] = { "duration", "a duration in double quotes, with its unit: "
				      "\"500ms\", \"30s\", \"5m\", \"3d\"" },
	[OPTION_SIZE] = { "size", "a size in double quotes, with its unit: \"64K\", "
				  "\"16M\", \"1G\"" },
	[OPTION_BOOL] = { "boolean", "true or false, without quotes" },
	[OPTION_WORD] = { "word", "a word in double quotes" },
	[OPTION_MODE] = { "mode", "an octal mode in double quotes: \"0660\"" },
	[OPTION_LIST] = { "list", "a list: [ \"a\", \"b\" ], or \"a, b\"" },
	[OPTION_BLOCKS] = { "blocks", "a list of groups: ( { ... }, { ... } )" },
};

const char *option_wants(enum option_type type)
{
	return types[type].wants;
}

const char *option_type_name(enum option_type type)
{
	return types[type].name;
}

/* Numbers of every width pass through a uint64_t. */

static void store(const struct option_row *row, void *field, uint64_t n)
{
	if (row->size == sizeof(uint64_t))
		*(uint64_t *)field = n;
	else if (row->size == sizeof(unsigned))
		*(unsigned *)field = (unsigned)n;
	else if (row->size == sizeof(bool))
		*(bool *)field = n;
	else
		assert(!"a field of that size");
}

static uint64_t load(const struct option_row *row, const void *field)
{
	if (row->size == sizeof(uint64_t))
		return *(const uint64_t *)field;
	if (row->size == sizeof(unsigned))
		return *(const unsigned *)field;
	assert(row->size == sizeof(bool));
	return *(const bool *)field;
}

static const char *const bool_words[] = { "false", "true", NULL };

static const char *const *words_of(const struct option_row *row)
{
	return row->type == OPTION_BOOL ? bool_words : row->words;
}

static bool parse_word(const char *const *words, struct text t, uint64_t *ret_n,
		       struct buf *ret_why)
{
	struct nearest nearest = { .name = t };

	for (size_t i = 0; words[i]; i++) {
		if (text_is(t, words[i])) {
			*ret_n = i;
			return true;
		}
		nearest_try(&nearest, words[i]);
	}
	buf_str(ret_why, "\"");
	buf_escaped(ret_why, t);
	buf_str(ret_why, "\" is none of ");
	for (size_t i = 0; words[i]; i++)
		buf_printf(ret_why, "%s\"%s\"", i ? ", " : "", words[i]);
	nearest_hint(&nearest, ret_why);
	return false;
}

static bool mode_parse(struct text t, uint64_t *ret_mode)
{
	uint64_t mode = 0;

	if (t.n < 3 || t.n > 4)
		return false;
	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] < '0' || t.p[i] > '7')
			return false;
		mode = mode * 8 + (uint64_t)(t.p[i] - '0');
	}
	*ret_mode = mode;
	return true;
}

static bool (*const number_parsers[OPTION_TYPES])(struct text t, uint64_t *ret) = {
	[OPTION_COUNT] = count_parse, [OPTION_TIME] = duration_parse,
	[OPTION_SIZE] = size_parse, [OPTION_MODE] = mode_parse,
};

static void print_number(const struct option_row *row, uint64_t n, struct buf *out)
{
	switch (row->type) {
	case OPTION_TIME:
		duration_print(out, n);
		break;
	case OPTION_SIZE:
		size_print(out, n);
		break;
	case OPTION_MODE:
		buf_printf(out, "%04" PRIo64, n);
		break;
	default:
		buf_printf(out, "%" PRIu64, n);
	}
}

static bool parse_number(const struct option_row *row, struct text t, uint64_t *ret_n,
			 struct buf *ret_why)
{
	uint64_t max = row->max			       ? row->max
		       : row->size == sizeof(unsigned) ? UINT32_MAX
						       : INT64_MAX;
	uint64_t n;

	if (!number_parsers[row->type](t, &n)) {
		buf_str(ret_why, "\"");
		buf_escaped(ret_why, t);
		buf_printf(ret_why, "\": wants %s", types[row->type].wants);
		return false;
	}
	if (n >= row->min && n <= max) {
		*ret_n = n;
		return true;
	}
	print_number(row, n, ret_why);
	buf_str(ret_why, n > max ? " is more than " : " is less than ");
	print_number(row, n > max ? max : row->min, ret_why);
	return false;
}

static bool exists(const struct option_row *row, const char *name)
{
	return row->type == OPTION_USER ? getpwnam(name) != NULL :
	       row->type == OPTION_GROUP ? getgrnam(name) != NULL : true;
}

static bool parse_text(const struct option_row *row, struct text t, const char *dir,
		       char **ret_text, struct buf *ret_why)
{
	struct buf text = { 0 };
	bool is_relative = row->type == OPTION_PATH && !text_starts(t, TEXT("/"));

	if (t.n == 0 && row->flags & OPTION_EMPTY) {
		*ret_text = NULL;
		return true;
	}
	if (t.n < row->min || (is_relative && t.n == 0)) {
		buf_str(ret_why, "must not be empty");
		return false;
	}
	if (is_relative && !dir) {
		buf_printf(ret_why, "\"%.*s\" must begin with '/'", (int)t.n, t.p);
		return false;
	}
	if (is_relative && *dir)
		buf_printf(&text, "%s/", dir);
	buf_text(&text, t);
	if (!exists(row, buf_cstr(&text))) {
		buf_printf(ret_why, "there is no %s \"%s\" on this host",
			   types[row->type].name, text.p);
		buf_done(&text);
		return false;
	}
	*ret_text = buf_take(&text);
	return true;
}

bool option_parse_list(const struct option_row *row, const struct text *items, size_t n,
		       void *field, struct buf *ret_why)
{
	struct strings *strings = field;

	for (size_t i = 0; i < n; i++) {
		uint64_t ignored;

		if (items[i].n == 0) {
			buf_str(ret_why, "an empty item");
			return false;
		}
		if (row->words && !parse_word(row->words, items[i], &ignored, ret_why))
			return false;
	}
	option_clear(row, field);
	strings->list = must_calloc(n ? n : 1, sizeof *strings->list);
	for (strings->n = 0; strings->n < n; strings->n++)
		strings->list[strings->n] =
			must(strndup(items[strings->n].p, items[strings->n].n));
	return true;
}

static bool parse_words(const struct option_row *row, struct text t, void *field,
			struct buf *ret_why)
{
	struct text rest = t, item, *items = must_calloc(t.n + 1, sizeof *items);
	size_t n = 0;

	while (text_next(&rest, LIST_SEPARATORS, &item))
		items[n++] = item;

	bool is_good = option_parse_list(row, items, n, field, ret_why);
	free(items);
	return is_good;
}

bool option_parse(const struct option_row *row, struct text text, const char *dir,
		  void *field, struct buf *ret_why)
{
	char *string = NULL;
	uint64_t n = 0;

	switch (row->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
	case OPTION_USER:
	case OPTION_GROUP:
		if (!parse_text(row, text, dir, &string, ret_why))
			return false;
		option_clear(row, field);
		*(char **)field = string;
		return true;
	case OPTION_LIST:
		return parse_words(row, text, field, ret_why);
	case OPTION_BOOL:
	case OPTION_WORD:
		if (!parse_word(words_of(row), text, &n, ret_why))
			return false;
		break;
	default:
		if (!parse_number(row, text, &n, ret_why))
			return false;
	}
	store(row, field, n);
	return true;
}

static void print_list(const struct strings *strings, struct buf *out)
{
	for (size_t i = 0; i < strings->n; i++)
		buf_printf(out, "%s%s", i ? "\n" : "", strings->list[i]);
}

void option_print(const struct option_row *row, const void *field, struct buf *out)
{
	switch (row->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
	case OPTION_USER:
	case OPTION_GROUP:
		buf_text(out, text_of(*(char *const *)field));
		break;
	case OPTION_LIST:
		print_list(field, out);
		break;
	case OPTION_BLOCKS:
		break;
	case OPTION_BOOL:
	case OPTION_WORD:
		buf_str(out, words_of(row)[load(row, field)]);
		break;
	default:
		buf_printf(out, "%" PRIu64, load(row, field));
	}
}

void option_clear(const struct option_row *row, void *field)
{
	struct strings *strings = field;

	switch (row->type) {
	case OPTION_TEXT:
	case OPTION_PATH:
	case OPTION_USER:
	case OPTION_GROUP:
		free(*(char **)field);
		*(char **)field = NULL;
		break;
	case OPTION_LIST:
		for (size_t i = 0; i < strings->n; i++)
			free(strings->list[i]);
		free(strings->list);
		*strings = (struct strings){ 0 };
		break;
	default:
		break;
	}
}

#include "daemon/conf_file.h"

#include "base/fold.h"
#include "base/must.h"
#include "daemon/conf.h"

#include <libconfig.h>
#include <stdlib.h>

#define STRING_(x) #x
#define STRING(x) STRING_(x)

const char *conf_version(void)
{
	return "libconfig " STRING(LIBCONFIG_VER_MAJOR) "." STRING(LIBCONFIG_VER_MINOR);
}

const struct node *node_find(const struct node *group, const char *name)
{
	for (size_t i = 0; i < group->n; i++)
		if (strcmp(group->items[i].name, name) == 0)
			return &group->items[i];
	return NULL;
}

void node_done(struct node *node)
{
	for (size_t i = 0; i < node->n; i++)
		node_done(&node->items[i]);
	free(node->items);
	free(node->name);
	free(node->text);
	free(node->file);
	*node = (struct node){ 0 };
}

static char *number_text(long long n)
{
	struct buf b = { 0 };

	buf_printf(&b, "%lld", n);
	return buf_take(&b);
}

static void convert(const struct conf_text *t, config_setting_t *from, struct node *ret);

static void convert_items(const struct conf_text *t, config_setting_t *from,
			  struct node *ret)
{
	ret->n = (size_t)config_setting_length(from);
	ret->items = must_calloc(ret->n ? ret->n : 1, sizeof *ret->items);
	for (size_t i = 0; i < ret->n; i++)
		convert(t, config_setting_get_elem(from, (unsigned)i), &ret->items[i]);
}

/* `\xHH` can make any byte. */
static void convert_string(const char *string, struct node *ret)
{
	ret->type = utf8_valid(text_of(string)) ? NODE_STRING : NODE_OTHER;
	ret->text = ret->type == NODE_STRING ? must_strdup(string) : NULL;
}

static void convert_value(const struct conf_text *t, config_setting_t *from,
			  struct node *ret)
{
	switch (config_setting_type(from)) {
	case CONFIG_TYPE_STRING:
		convert_string(config_setting_get_string(from), ret);
		break;
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		ret->type = NODE_INTEGER;
		ret->text = number_text(config_setting_get_int64(from));
		break;
	case CONFIG_TYPE_BOOL:
		ret->type = NODE_BOOLEAN;
		ret->text = must_strdup(config_setting_get_bool(from) ? "true" : "false");
		break;
	case CONFIG_TYPE_GROUP:
		ret->type = NODE_GROUP;
		convert_items(t, from, ret);
		break;
	case CONFIG_TYPE_LIST:
	case CONFIG_TYPE_ARRAY:
		ret->type = NODE_LIST;
		convert_items(t, from, ret);
		break;
	default:
		ret->type = NODE_OTHER;
	}
}

static void convert(const struct conf_text *t, config_setting_t *from, struct node *ret)
{
	unsigned line = config_setting_source_line(from);
	const struct span *span = conf_text_span(t, line);

	ret->name =
		config_setting_name(from) ? must_strdup(config_setting_name(from)) : NULL;
	ret->file = must_strdup(span->file);
	ret->line = line ? line - span->first + span->line : 1;	/* 0: the root */
	convert_value(t, from, ret);
}

/*
 * libconfig 1.5 looks at no result of malloc(3): it would write to NULL, and the server be
 * gone. So there must be room for much more than it takes, a moment before: each setting costs
 * it some 200 bytes, and is 4 bytes of text or more; the parser has 32 KiB of its own.
 */
static void need_room(size_t text_bytes)
{
	free(must(malloc((64 << 10) + 64 * text_bytes)));
}

bool conf_file_parse(const struct conf_text *t, struct node *ret_root,
		     struct buf *ret_why)
{
	struct buf text = { 0 };
	config_t config;
	bool is_good;

	buf_text(&text, buf_view(&t->text));
	need_room(text.n);
	config_init(&config);
	is_good = config_read_string(&config, buf_cstr(&text));
	if (is_good) {
		*ret_root = (struct node){ 0 };
		convert(t, config_root_setting(&config), ret_root);
	} else {
		unsigned line = (unsigned)config_error_line(&config);
		const struct span *span = conf_text_span(t, line);

		buf_printf(ret_why, "%s:%u: %s\n", span->file,
			   line - span->first + span->line, config_error_text(&config));
	}
	config_destroy(&config);
	buf_done(&text);
	return is_good;
}

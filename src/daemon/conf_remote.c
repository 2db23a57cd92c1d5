#include "daemon/conf_parts.h"

#include <inttypes.h>

const struct node *conf_check_secret(struct conf *c, const struct node *group,
				     const char *name)
{
	static const char *const suffixes[] = { "", "_file", "_credential", "_cf" };
	const struct node *first = NULL;

	for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
		struct buf full = { 0 };
		const struct node *item;

		buf_printf(&full, "%s%s", name, suffixes[i]);
		item = node_find(group, buf_cstr(&full));
		if (item && first)
			conf_error(c, item, "%s: there is a %s already", item->name,
				   first->name);
		first = first ? first : item;
		buf_done(&full);
	}
	if (first && strcmp(first->name, name) == 0)
		conf_note(c, first, "%s: a %s_file of mode 0600 keeps it out of here",
			  name, name);
	return first;
}

static void pass_on(struct options *options, const char *name, uint64_t msec)
{
	struct buf value = { 0 };

	buf_printf(&value, "%" PRIu64, msec);
	conf_option_set(options, name, buf_cstr(&value));
	buf_done(&value);
}

void conf_pass_limits(struct source_settings *s)
{
	pass_on(&s->options, "timeout", s->timeout);
	pass_on(&s->options, "scan_timeout", s->scan_timeout);
	pass_on(&s->options, "scan_idle", s->scan_idle);
}

#include "engine/settings.h"

#include <stdlib.h>

void options_done(struct options *options)
{
	for (size_t i = 0; i < options->n; i++) {
		free(options->list[i].name);
		free(options->list[i].value);
	}
	free(options->list);
	*options = (struct options){ 0 };
}

void source_settings_free(struct source_settings *s)
{
	if (!s)
		return;
	free(s->name);
	free(s->driver);
	free(s->program);
	options_done(&s->options);
	free(s->fingerprint);
	free(s->identity);
	free(s);
}

static void free_texts(const struct text *texts, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free((char *)texts[i].p);
	free((struct text *)texts);
}

void table_settings_free(struct table_settings *s)
{
	if (!s)
		return;
	free(s->source);
	options_done(&s->options);
	template_free(s->result_format);
	domain_list_free(s->domain);
	free(s->domains);
	free_texts(s->expect, s->n_expect);
	free(s->fingerprint);
	free(s->identity);
	free(s);
}

void map_settings_free(struct map_settings *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_tables; i++)
		table_settings_free(s->tables[i]);
	free(s->tables);
	free(s->name);
	free(s->export_path);
	free((char *)s->rules.recipient_delimiter.p);
	free_texts(s->rules.local_domains, s->rules.n_local_domains);
	free(s->fingerprint);
	free(s);
}

void listener_settings_free(struct listener_settings *s)
{
	if (!s)
		return;
	free(s->address);
	free(s->map);
	free(s->owner);
	free(s->group);
	free(s->fingerprint);
	free(s);
}

void settings_free(struct settings *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n_listeners; i++)
		listener_settings_free(s->listeners[i]);
	for (size_t i = 0; i < s->n_sources; i++)
		source_settings_free(s->sources[i]);
	for (size_t i = 0; i < s->n_maps; i++)
		map_settings_free(s->maps[i]);
	free(s->listeners);
	free(s->sources);
	free(s->maps);
	free(s->daemon.user);
	free(s->daemon.group);
	free(s->daemon.state_directory);
	free(s);
}

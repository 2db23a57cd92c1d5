#include "daemon/conf_parts.h"

#include "base/must.h"
#include "daemon/nearest.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const struct driver_kind *const driver_kinds[] = {
	&driver_sqlite, &driver_mysql, &driver_ldap, NULL,
};

const struct driver_kind *driver_kind_find(struct text name)
{
	for (const struct driver_kind *const *k = driver_kinds; *k; k++)
		if (text_is(name, (*k)->name))
			return *k;
	return NULL;
}

struct source_settings *conf_source_find(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->settings->n_sources; i++) {
		struct source_settings *s = c->settings->sources[i];

		if (s->name && strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

/*
 * The directory this program is in, so that a checkout works without being installed, and
 * an installation wherever it was put.
 */
static void own_directory(struct buf *out)
{
	char *room = buf_room(out, 4096);
	ssize_t n = readlink("/proc/self/exe", room, 4096);
	const char *slash = n > 0 ? memrchr(room, '/', (size_t)n) : NULL;

	if (slash)
		out->n += (size_t)(slash - room);
}

static char *find_program(const struct conf *c, const struct driver_kind *kind)
{
	const char *directory = c->daemon.driver_directory;
	struct buf path = { 0 };

	if (directory)
		buf_str(&path, directory);
	else
		own_directory(&path);
	buf_printf(&path, "/socketmapd-%s", kind->name);
	if (!directory && !is_program(buf_cstr(&path))) {
		buf_clear(&path);
		own_directory(&path);
		buf_printf(&path, "/../libexec/socketmapd/socketmapd-%s", kind->name);
	}
	return buf_take(&path);
}

static void check_driver(struct conf *c, const struct node *group,
			 struct source_settings *s)
{
	const struct driver_kind *kind = driver_kind_find(text_of(s->driver));
	const struct node *where = node_find(group, "driver");
	struct nearest nearest = { .name = text_of(s->driver) };
	struct buf hint = { 0 };

	if (!s->driver)
		return;
	if (kind)
		s->program = find_program(c, kind);
	else if (*s->driver == '/')
		s->program = must_strdup(s->driver);
	for (size_t i = 0; driver_kinds[i]; i++)
		nearest_try(&nearest, driver_kinds[i]->name);
	nearest_hint(&nearest, &hint);
	if (!s->program)
		conf_error(c, where, "unknown driver \"%s\"%s", s->driver,
			   buf_cstr(&hint));
	else if (!is_program(s->program))
		conf_error(c, where, "driver: there is no program %s that may be started",
			   s->program);
	buf_done(&hint);
}

static void fingerprint(struct source_settings *s, const struct driver_kind *kind)
{
	struct buf text = { 0 };

	options_fingerprint(source_rows, s, &text);
	buf_printf(&text, "program=%s\n", s->program ? s->program : "");
	conf_options_print(&s->options, kind ? kind->source_rows : NULL, &text);
	s->fingerprint = buf_take(&text);
}

struct source_settings *conf_source_add(struct conf *c, const struct node *group)
{
	struct source_settings *s = must_calloc(1, sizeof *s);
	const struct node *driver = node_find(group, "driver");
	const struct driver_kind *kind =
		driver_kind_find(text_of(driver ? driver->text : NULL));
	const struct target targets[] = {
		{ .rows = source_rows, .block = s },
		{ .rows = kind ? kind->source_rows : NULL, .options = &s->options },
		{ 0 },
	};
	struct settings *all = c->settings;

	options_default(source_rows, c->dir, s);
	conf_apply(c, group, targets);
	conf_complete(c, group, source_rows, NULL);
	conf_complete(c, group, kind ? kind->source_rows : NULL, &s->options);
	check_driver(c, group, s);
	if (kind && kind->finish_source)
		kind->finish_source(c, group, s);
	fingerprint(s, kind);
	conf_identify_source(s, kind);
	all->sources =
		must(realloc(all->sources, (all->n_sources + 1) * sizeof *all->sources));
	all->sources[all->n_sources++] = s;
	return s;
}

void conf_sources(struct conf *c)
{
	const struct node *groups;
	size_t n = conf_blocks(c, &c->root, "sources", &groups);

	for (size_t i = 0; i < n; i++) {
		const struct node *name = node_find(&groups[i], "name");

		if (name && name->type == NODE_STRING) {
			if (!conf_is_name(text_of(name->text)))
				conf_error(c, name,
					   "name: \"%s\" is not made of letters, digits, "
					   "'_', '.', '-'",
					   name->text);
			if (conf_source_find(c, name->text))
				conf_error(c, name, "name: a second source \"%s\"",
					   name->text);
		}
		conf_source_add(c, &groups[i]);
	}
}

/* conf_dir.h - a configuration in a temporary directory, for the tests of conf. */
#ifndef UNIT_CONF_DIR_H
#define UNIT_CONF_DIR_H

#include "unit/test.h"

#include "daemon/conf.h"
#include "daemon/options.h"

#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_QUERY "query = \"SELECT v FROM t WHERE k='%s'\"; "
#define GOOD_MAP "source = \"db\"; " MAP_QUERY
#define MIRROR GOOD_MAP "mode = \"mirror\"; scan_query = \"SELECT k, v FROM t\"; "
#define ALIAS "virtual_alias_maps"
#define ALIAS_FILE "maps.d/virtual_alias_maps.conf"

/* Everything that a map needs. */
static const char good_conf[] =
	"driver_directory = \"bin\";\n"
	"listeners = ( { protocol = \"socketmap\"; address = \"inet:127.0.0.1:8999\"; } "
	");\n"
	"sources = ( { name = \"db\"; driver = \"sqlite\"; dbpath = \"db.sqlite\"; } "
	");\n";

static const char *const programs[] = { "bin/socketmapd-sqlite", "bin/socketmapd-ldap" };

static char dir[PATH_MAX];

static inline void write_file(const char *name, struct text text)
{
	char path[PATH_MAX + 64];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fwrite(text.p, 1, text.n, f);
	fclose(f);
}

static inline void remove_file(const char *name)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	unlink(path);
}

/* `text` without the name of the temporary directory. */
static inline void without_dir(struct buf *text)
{
	size_t n = strlen(dir) + 1;
	char *at;

	buf_cstr(text);
	while ((at = strstr(text->p, dir))) {
		memmove(at, at + n, strlen(at + n) + 1);
		text->n -= n;
	}
}

static inline struct settings *load(struct buf *why, struct buf *notes)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof path, "%s/s.conf", dir);

	struct settings *s = conf_load(path, why, notes);
	without_dir(why);
	without_dir(notes);
	return s;
}

/* Load good_conf with one map. */
static inline struct settings *load_map(const char *name, const char *map,
					struct buf *why, struct buf *notes)
{
	char file[128];

	snprintf(file, sizeof file, "maps.d/%s.conf", name);
	write_file("s.conf", text_of(good_conf));
	write_file(file, text_of(map));

	struct settings *s = load(why, notes);
	remove_file(file);
	return s;
}

/* Write x.cf and y.cf and a map that names them. */
static inline struct settings *load_postfix_noting(const char *cf, const char *map,
						   struct buf *why, struct buf *notes)
{
	struct buf text = { 0 };

	write_file("x.cf", text_of(cf));
	write_file("y.cf", TEXT("dbpath = /nowhere/db.sqlite\nquery = SELECT 2\n"));
	for (const char *p = map; *p; p++)	/* @ is the directory */
		if (*p == '@')
			buf_str(&text, dir);
		else
			buf_byte(&text, *p);

	struct settings *s = load_map(ALIAS, buf_cstr(&text), why, notes);
	if (text_starts(buf_view(notes), TEXT("s.conf:")))	/* there is no db.sqlite */
		buf_drop(notes, (size_t)(strchr(buf_cstr(notes), '\n') + 1 - notes->p));
	buf_done(&text);
	return s;
}

static inline struct settings *load_postfix(const char *cf, const char *map,
					    struct buf *why)
{
	struct buf notes = { 0 };
	struct settings *s = load_postfix_noting(cf, map, why, &notes);

	buf_done(&notes);
	return s;
}

/* What a driver is told of `name`; NULL: nothing. */
static inline const char *option_of(const struct options *options, const char *name)
{
	for (size_t i = 0; i < options->n; i++)
		if (strcmp(options->list[i].name, name) == 0)
			return options->list[i].value;
	return NULL;
}

static inline int make_dir(void **state)
{
	char path[PATH_MAX + 64];
	(void)state;

	strcpy(dir, "/tmp/conf-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/maps.d", dir);
	mkdir(path, 0755);
	snprintf(path, sizeof path, "%s/bin", dir);
	mkdir(path, 0755);
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
		write_file(programs[i], TEXT("#!/bin/sh\n"));
		snprintf(path, sizeof path, "%s/%s", dir, programs[i]);
		if (chmod(path, 0755) != 0)
			return -1;
	}
	return 0;
}

static inline int remove_dir(void **state)
{
	static const char *const files[] = { "s.conf", "x.cf", "y.cf" };
	static const char *const dirs[] = { "/bin", "/maps.d", "" };
	char path[PATH_MAX + 64];
	(void)state;

	for (size_t i = 0; i < sizeof files / sizeof *files; i++)
		remove_file(files[i]);
	for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
		remove_file(programs[i]);
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		snprintf(path, sizeof path, "%s%s", dir, dirs[i]);
		if (rmdir(path) != 0)
			return -1;	/* a test left something behind */
	}
	return 0;
}

#endif

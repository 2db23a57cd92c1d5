#include "daemon/conf.h"

#include "base/must.h"
#include "daemon/conf_file.h"
#include "daemon/conf_parts.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

#define MAP_SUFFIX ".conf"

/* The directory that relative paths start from. */
static char *directory_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	struct buf b = { 0 };

	if (slash)
		buf_add(&b, path, (size_t)(slash - path) + (slash == path));
	else
		buf_byte(&b, '.');

	char *real = realpath(buf_cstr(&b), NULL);
	if (!real && errno == ENOMEM)
		must(NULL);
	if (!real)
		return buf_take(&b);
	buf_done(&b);
	return real;
}

/* Parse a file, or `text` in place of it. */
static bool parse(struct conf *c, const char *path, const struct text *text,
		  struct node *ret_root)
{
	struct conf_text t = { 0 };
	bool is_good = text ? conf_text_take(&t, path, *text, c->why)
			    : conf_text_read(&t, path, c->why);

	is_good = is_good && conf_file_parse(&t, ret_root, c->why);
	conf_text_done(&t);
	return is_good;
}

/* systemd's StateDirectory= wins over our default; several are separated by ':', systemd.exec(5). */
static void take_state_directory(struct conf *c)
{
	struct text list = text_of(getenv("STATE_DIRECTORY")), first;

	if (node_find(&c->root, "state_directory"))
		return;
	if (!text_next(&list, ":", &first))
		first = TEXT(STATEDIR);
	c->daemon.s.state_directory = must(strndup(first.p, first.n));
}

static void read_daemon(struct conf *c)
{
	struct daemon_block *b = &c->daemon;
	const struct target targets[] = { { .rows = daemon_rows, .block = b }, { 0 } };

	conf_apply(c, &c->root, targets);
	conf_complete(c, &c->root, daemon_rows, NULL);
	take_state_directory(c);
	if (!log_parse_target(text_of(b->log), &b->s.log.facility))
		conf_error(c, node_find(&c->root, "log"), "log: \"%s\" is none of %s",
			   b->log,
			   "\"stderr\", \"syslog:mail\", \"syslog:daemon\", "
			   "\"syslog:local0\" to \"local7\"");
}

static void read_map(struct conf *c, const char *name, const struct text *text)
{
	struct buf path = { 0 };
	struct node root = { 0 };

	buf_printf(&path, "%s/%s" MAP_SUFFIX, c->daemon.maps_directory, name);
	if (!conf_is_name(text_of(name)))
		conf_error(c,
			   &(struct node){ .file = (char *)buf_cstr(&path), .line = 1 },
			   "a map's name is made of letters, digits, '_', '.' and '-'");
	else if (parse(c, buf_cstr(&path), text, &root))
		conf_map(c, name, &root);
	node_done(&root);
	buf_done(&path);
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The nth name. False: out of memory. */
static bool add_name(char ***names, size_t n, struct text name)
{
	char **more = realloc(*names, (n + 1) * sizeof *more);

	if (more)
		*names = more;
	return more && (more[n] = strndup(name.p, name.n));
}

/* The names of the map files, sorted; backups and dotfiles are none. */
static char **list_maps(struct conf *c, size_t *ret_n)
{
	const struct node *item = node_find(&c->root, "maps_directory");
	DIR *dir = opendir(c->daemon.maps_directory);
	char **names = NULL;
	size_t n = 0;

	if (!dir)
		conf_error(c, item ? item : &c->root, "maps_directory: %s: %s",
			   c->daemon.maps_directory, strerror(errno));
	for (struct dirent *e; dir && (e = readdir(dir));) {
		struct text name = text_of(e->d_name), suffix = TEXT(MAP_SUFFIX);

		if (name.n <= suffix.n || name.p[0] == '.' ||
		    !text_eq(text_skip(name, name.n - suffix.n), suffix))
			continue;
		if (!add_name(&names, n, (struct text){ name.p, name.n - suffix.n })) {
			closedir(dir);
			must(NULL);
		}
		n++;
	}
	if (dir)
		closedir(dir);
	if (dir && n == 0)
		conf_error(c, item ? item : &c->root,
			   "maps_directory: no map (NAME.conf) in %s",
			   c->daemon.maps_directory);
	if (n)
		qsort(names, n, sizeof *names, by_text);
	*ret_n = n;
	return names;
}

static void read_maps(struct conf *c)
{
	size_t n;
	char **names = list_maps(c, &n);

	for (size_t i = 0; i < n; i++) {
		read_map(c, names[i], NULL);
		free(names[i]);
	}
	free(names);
}

/* What to load, and what came of it. */
struct load {
	const char *path;
	const struct text *conf;	/* NULL: from files */
	const char *map_name;
	const struct text *map;
	struct buf *why, *notes;
	struct settings *settings;
};

static void load(void *ctx)
{
	struct load *l = ctx;
	struct conf c = { .dir = directory_of(l->path), .why = l->why, .notes = l->notes };
	size_t before = l->why->n;

	c.settings = must_calloc(1, sizeof *c.settings);
	options_default(daemon_rows, c.dir, &c.daemon);
	if (parse(&c, l->path, l->conf, &c.root)) {
		read_daemon(&c);
		conf_sources(&c);
		conf_listeners(&c);
		if (l->map_name)
			read_map(&c, l->map_name, l->map);
		else
			read_maps(&c);
		conf_listeners_check(&c);
		conf_maps_check(&c);
	}
	c.settings->daemon = c.daemon.s;
	c.daemon.s = (struct daemon_settings){ 0 };
	options_clear(daemon_rows, &c.daemon);
	node_done(&c.root);
	free(c.dir);
	if (l->why->n == before)
		l->settings = c.settings;
	else
		settings_free(c.settings);
}

/* Load, or say that memory is out, for which there is room from the beginning. */
static struct settings *load_guarded(struct load *l)
{
	static const char out_of_memory[] = "out of memory while reading the configuration\n";
	size_t before = l->why->n;

	if (buf_reserve(l->why, sizeof out_of_memory) && must_guard(load, l))
		return l->settings;
	l->why->n = before;
	if (buf_reserve(l->why, sizeof out_of_memory))
		buf_str(l->why, out_of_memory);
	return NULL;
}

struct settings *conf_load(const char *path, struct buf *ret_why, struct buf *ret_notes)
{
	struct load l = { .path = path, .why = ret_why, .notes = ret_notes };

	return load_guarded(&l);
}

struct settings *conf_load_text(const char *path, struct text conf, const char *map_name,
				struct text map, struct buf *ret_why,
				struct buf *ret_notes)
{
	struct load l = {
		.path = path, .conf = &conf, .map_name = map_name, .map = &map,
		.why = ret_why, .notes = ret_notes,
	};

	return load_guarded(&l);
}

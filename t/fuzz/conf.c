/*
 * The configuration, all or nothing: socketmapd.conf, one map file behind a line "---",
 * and a Postfix table file or a domain list behind another, which the texts may name as
 * /proc/self/fd/900.
 */
#include "fuzz/fuzz.h"

#include "base/hash.h"
#include "daemon/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#define FILE_FD 900
#define CONF "fuzz/s.conf"

/* libconfig 1.5 loses the string that a syntax error stands in (scanner.l). */
const char *__lsan_default_suppressions(void)
{
	return "leak:libconfig.so\n";
}

/* Drivers are looked for beside the program. */
static void make_driver(const char *program, const char *name)
{
	struct buf path = { 0 };
	const char *slash = strrchr(program, '/');

	buf_text(&path, text_before(text_of(program), slash ? slash + 1 : program));
	buf_str(&path, name);
	assert(symlink("/bin/true", buf_cstr(&path)) == 0 || errno == EEXIST);
	buf_done(&path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	int fd = memfd_create("file", 0);

	(void)argc;
	hash_init();
	make_driver((*argv)[0], "socketmapd-sqlite");
	make_driver((*argv)[0], "socketmapd-ldap");
	assert(fd >= 0 && dup2(fd, FILE_FD) == FILE_FD && close(fd) == 0);
	return 0;
}

/* Cut the part before the next line "---" off `*in`. */
static struct text part(struct text *in)
{
	const struct text mark = TEXT("\n---\n");
	const char *end = in->n ? memmem(in->p, in->n, mark.p, mark.n) : NULL;
	struct text all = *in;

	*in = end ? text_from(*in, end + mark.n) : TEXT("");
	return end ? text_before(all, end) : all;
}

/* Every message is a line that names a file. */
static void check_lines(struct text lines)
{
	struct text line;

	while (text_next(&lines, "\n", &line)) {
		assert(text_chr(line, ':'));
		for (size_t i = 0; i < line.n; i++)
			assert((unsigned char)line.p[i] >= ' ');
	}
}

static bool has_source(const struct settings *s, const char *name)
{
	for (size_t i = 0; i < s->n_sources; i++)
		if (strcmp(s->sources[i]->name, name) == 0)
			return true;
	return false;
}

static void check_table(const struct settings *s, const struct table_settings *t)
{
	assert(has_source(s, t->source) && t->fingerprint && t->deadline);
	assert(t->mode != TABLE_MIRROR || t->refresh);
	assert(!t->asks_odd_keys || t->mode == TABLE_MIRROR);
	assert(t->cache_size || t->mode == TABLE_MIRROR);
	/* A demand table has neither a miss nor a stale copy; the settings do nothing there. */
	assert(t->mode != TABLE_MIRROR || t->domains ||
	       (t->on_miss != ON_MISS_DOMAIN && t->stale_miss != STALE_MISS_DOMAIN));
}

/* Whatever is accepted can be served. */
static void check_settings(const struct settings *s)
{
	for (size_t i = 0; i < s->n_maps; i++) {
		assert(s->maps[i]->n_tables && s->maps[i]->fingerprint);
		assert(s->maps[i]->rules.kind < SEARCH_KINDS);
		for (size_t k = 0; k < s->maps[i]->n_tables; k++)
			check_table(s, s->maps[i]->tables[k]);
	}
	for (size_t i = 0; i < s->n_sources; i++) {
		assert(s->sources[i]->program && s->sources[i]->connections);
		assert(s->sources[i]->timeout && s->sources[i]->fingerprint);
	}
	for (size_t i = 0; i < s->n_listeners; i++) {
		const struct listener_settings *l = s->listeners[i];

		assert(l->protocol && l->address && l->max_request && l->max_pipelined);
		assert(!l->map == l->protocol->names_map);
	}
	assert(s->daemon.max_clients);
}

static bool load(struct text conf, struct text map, struct buf *said)
{
	struct buf why = { 0 }, notes = { 0 };
	struct settings *s =
		conf_load_text(CONF, conf, "virtual_alias_maps", map, &why, &notes);
	bool ok = s != NULL;

	assert(ok == (why.n == 0));
	check_lines(buf_view(&why));
	check_lines(buf_view(&notes));
	if (s)
		check_settings(s);
	settings_free(s);
	buf_text(said, buf_view(&why));
	buf_text(said, buf_view(&notes));
	buf_done(&why);
	buf_done(&notes);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct text in = fuzz_text(data, size);
	struct text conf = fuzz_copy(part(&in)), map = fuzz_copy(part(&in));
	struct buf said = { 0 }, again = { 0 };

	assert(ftruncate(FILE_FD, 0) == 0);
	assert(pwrite(FILE_FD, in.p, in.n, 0) == (ssize_t)in.n);
	bool ok = load(conf, map, &said);
	assert(load(conf, map, &again) == ok);
	assert(text_eq(buf_view(&said), buf_view(&again)));
	buf_done(&said);
	buf_done(&again);
	fuzz_free(conf);
	fuzz_free(map);
	return 0;
}

#include "engine/registry.h"

#include "base/must.h"
#include "engine/source.h"

#include <stdlib.h>
#include <sys/mman.h>

/* --- maps --------------------------------------------------------------------------------- */

struct map *map_ref(struct map *m)
{
	m->refs++;
	return m;
}

void map_unref(struct map *m)
{
	if (!m || --m->refs > 0)
		return;
	for (size_t i = 0; i < m->n_tables; i++)
		table_unref(m->tables[i]);
	map_settings_free(m->settings);
	free(m->tables);
	free(m->counters);
	free(m);
}

/* A table of the old map with the same settings and the same source keeps its caches. */
static struct table *find_table(const struct map *old, const struct table_settings *settings,
				const struct source *source)
{
	for (size_t i = 0; old && i < old->n_tables; i++)
		if (old->tables[i]->source == source &&
		    strcmp(old->tables[i]->settings->fingerprint, settings->fingerprint) == 0)
			return old->tables[i];
	return NULL;
}

static struct source *find_source(const struct registry *r, const char *name)
{
	for (size_t i = 0; i < r->n_sources; i++)
		if (strcmp(source_settings(r->sources[i])->name, name) == 0)
			return r->sources[i];
	abort();	/* conf_load() checks that every source is there */
}

/* Is the old map the same, and does it stand on the same sources? */
static bool is_unchanged(const struct registry *r, const struct map *old,
			 const struct map_settings *settings)
{
	if (!old || strcmp(old->settings->fingerprint, settings->fingerprint) != 0)
		return false;
	for (size_t i = 0; i < old->n_tables; i++)
		if (old->tables[i]->source != find_source(r, settings->tables[i]->source))
			return false;
	return true;
}

static void raise_to(_Atomic uint64_t *to, uint64_t value)
{
	if (value > atomic_load(to))
		atomic_store(to, value);
}

/*
 * What an old table holds is true for a new one with the same identity: a setting that only
 * tunes costs no answer. After a changed query there is nothing: TEMP until the first scan.
 * What people have ordered for any table of the map is not lost: the file may be older.
 */
static void inherit(struct table *t, const struct map *old)
{
	for (size_t i = 0; old && i < old->n_tables; i++) {
		struct table *o = old->tables[i];
		struct mirror *m = atomic_load(&o->mirror);

		raise_to(&t->doubted, atomic_load(&o->doubted));
		raise_to(&t->wanted, atomic_load(&o->wanted));
		if (demand_has_forgotten(o->demand))
			demand_forget_all(t->demand);
		if (m && t->settings->mode == TABLE_MIRROR && !atomic_load(&t->mirror) &&
		    strcmp(o->settings->identity, t->settings->identity) == 0)
			atomic_store(&t->mirror, mirror_ref(m));
	}
}

static struct map *map_new(const struct registry *r, struct map_settings *settings,
			   const struct map *old)
{
	struct map *m = must_calloc(1, sizeof *m);

	m->refs = 1;
	m->settings = settings;
	m->name = text_of(settings->name);
	m->n_tables = settings->n_tables;
	m->tables = must_calloc(m->n_tables, sizeof *m->tables);
	m->counters = must(aligned_alloc(_Alignof(struct counters),
					 r->loops->n_answers * sizeof *m->counters));
	memset(m->counters, 0, r->loops->n_answers * sizeof *m->counters);
	for (size_t i = 0; i < m->n_tables; i++) {
		struct source *source = find_source(r, settings->tables[i]->source);
		struct table *same = find_table(old, settings->tables[i], source);

		if (same) {
			m->tables[i] = table_ref(same);
		} else {
			m->tables[i] = table_new(settings->tables[i], settings->name, source);
			inherit(m->tables[i], old);
			settings->tables[i] = NULL;
		}
	}
	return m;
}

/* --- the registry --------------------------------------------------------------------------- */

static struct source *old_source(const struct registry *old, const struct source_settings *settings)
{
	for (size_t i = 0; old && i < old->n_sources; i++)
		if (strcmp(source_settings(old->sources[i])->fingerprint, settings->fingerprint) == 0)
			return source_ref(old->sources[i]);
	return NULL;
}

static uint64_t next_serial(void)
{
	static uint64_t last;	/* control thread only */

	return ++last;
}

/* Of a table, without its cache; generously. */
#define TABLE_BYTES ((size_t)64 << 10)

bool registry_has_room(const struct settings *settings, const struct registry *old)
{
	size_t n = TABLE_BYTES;

	for (size_t i = 0; i < settings->n_maps; i++) {
		const struct map_settings *m = settings->maps[i];
		const struct map *before = old ? registry_find(old, text_of(m->name)) : NULL;

		if (before && strcmp(before->settings->fingerprint, m->fingerprint) == 0)
			continue;
		for (size_t k = 0; k < m->n_tables; k++)
			n += TABLE_BYTES + table_least_cache(m->tables[k]);
	}

	void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return false;
	munmap(p, n);
	return true;
}

struct registry *registry_new(struct settings *settings, struct registry *old, struct loops *loops)
{
	struct registry *r = must_calloc(1, sizeof *r);

	r->serial = next_serial();
	r->loops = loops;
	r->n_sources = settings->n_sources;
	r->sources = must_calloc(r->n_sources + 1, sizeof *r->sources);
	for (size_t i = 0; i < r->n_sources; i++) {
		r->sources[i] = old_source(old, settings->sources[i]);
		if (!r->sources[i]) {
			r->sources[i] = source_new(settings->sources[i], &loops->control);
			settings->sources[i] = NULL;
		}
		source_enter(r->sources[i]);
	}
	r->n_maps = settings->n_maps;
	r->maps = must_calloc(r->n_maps + 1, sizeof *r->maps);
	for (size_t i = 0; i < r->n_maps; i++) {
		struct map *before = old ? registry_find(old, text_of(settings->maps[i]->name)) : NULL;

		if (is_unchanged(r, before, settings->maps[i])) {
			r->maps[i] = map_ref(before);
		} else {
			r->maps[i] = map_new(r, settings->maps[i], before);
			settings->maps[i] = NULL;
		}
	}
	return r;
}

void registry_free(void *registry)
{
	struct registry *r = registry;

	if (!r)
		return;
	for (size_t i = 0; i < r->n_maps; i++)
		map_unref(r->maps[i]);
	for (size_t i = 0; i < r->n_sources; i++) {
		source_leave(r->sources[i]);
		source_unref(r->sources[i]);
	}
	free(r->maps);
	free(r->sources);
	free(r);
}

struct map *registry_find(const struct registry *r, struct text name)
{
	size_t low = 0, high = r->n_maps;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		struct text have = r->maps[middle]->name;
		size_t n = have.n < name.n ? have.n : name.n;
		int order = n ? memcmp(name.p, have.p, n) : 0;

		if (order == 0)
			order = (name.n > have.n) - (name.n < have.n);
		if (order == 0)
			return r->maps[middle];
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

/* registry.h - all maps of one configuration: published, immutable, retired. */
#ifndef ENGINE_REGISTRY_H
#define ENGINE_REGISTRY_H

#include "engine/counters.h"
#include "engine/loop.h"
#include "engine/settings.h"
#include "engine/table.h"

/* How the file of a map with `export` is. Written by the refresh thread, read by anybody. */
struct export_status {
	_Atomic bool has_failed;	/* to be written, the last time; the old file stays */
	_Atomic uint64_t current_at;	/* Unix msec: it held what the map did; 0: never yet */
	_Atomic size_t entries, bad;	/* keys; errors among them; 0: not by this process */
};

/* A map: what clients ask by name. Constant, but for its counters and its export. */
struct map {
	struct text name;		/* in its settings */
	struct map_settings *settings;	/* owned; its tables' settings belong to the tables */
	struct table **tables;		/* references */
	size_t n_tables;
	struct counters *counters;	/* one cell per answer loop */
	struct export_status export;
	unsigned refs;			/* control thread only */
};

/*
 * Everything that requests can see. Maps and sources that a new configuration leaves as they
 * were are shared with the old registry, with their caches and processes.
 */
struct registry {
	uint64_t serial;		/* never used twice */
	struct loops *loops;
	struct map **maps;		/* references, sorted by name */
	size_t n_maps;
	struct source **sources;	/* references */
	size_t n_sources;
};

/*
 * Is there memory for the tables that are new in `settings`? registry_new() cannot fail, so
 * ask before. `old` as there. Control thread.
 */
bool registry_has_room(const struct settings *settings, const struct registry *old);

/*
 * Build a registry from settings, taking maps and sources out of them (NULL stays in the lists)
 * where they are new or changed. Control thread; cannot fail.
 *
 * old        the registry in force, or NULL
 */
struct registry *registry_new(struct settings *settings, struct registry *old,
			      struct loops *loops);

/* Drop its references. Control thread, when nobody sees it any more; void* for loops_retire(). */
void registry_free(void *registry);

/* Hold on to a map beyond its registry. Control thread. */
struct map *map_ref(struct map *m);
void map_unref(struct map *m);		/* NULL is fine */

/* The map of that name, or NULL. Any thread. */
struct map *registry_find(const struct registry *r, struct text name);

#endif

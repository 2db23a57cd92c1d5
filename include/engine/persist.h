/* persist.h - writes tables to the state directory, and restores them at the start. */
#ifndef ENGINE_PERSIST_H
#define ENGINE_PERSIST_H

#include "engine/registry.h"

struct persist;

/*
 * Keeps each table of the adopted registry in a file of `directory`, "MAP.N.snapshot" for its Nth
 * table; tables of secret maps never. Works on the refresh loop; writing itself is done by a
 * thread of the pool, one file at a time, each at most every `interval` msec. What is written
 * is the mirror and the demand cache of that moment.
 *
 * directory  opened and locked here; NULL, or one that cannot be used (logged): nothing is
 *            ever written or restored
 */
struct persist *persist_new(struct loops *loops, const char *directory, uint64_t interval);

/*
 * From now on keep the tables of this registry, NULL: none. New ones are restored first, each
 * mirror with the age it had plus the time since, so that refreshes posted to the loop after
 * this see them. An age from the future (the wall clock was set back) counts as past max_age.
 * Control thread.
 */
void persist_adopt(struct persist *p, const struct registry *r);

/* A table has a new mirror: it is to be written. Refresh thread. */
void persist_changed(struct persist *p, const struct table *t);

/*
 * The server stops: write what has changed since the last time, now. All other threads have
 * ended, the tables are still there.
 */
void persist_flush(struct persist *p, const struct registry *r);

void persist_free(struct persist *p);	/* NULL is fine */

/* For status: outcomes since the start. */
struct persist_stats {
	uint64_t written, failed;	/* files */
	uint64_t restored, rejected;	/* at starts and reloads; moved aside or foreign */
};
struct persist_stats persist_stats(const struct persist *p);

#endif

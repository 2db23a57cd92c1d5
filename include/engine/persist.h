/* persist.h - writes tables to the state directory, and restores them at the start. */
#ifndef ENGINE_PERSIST_H
#define ENGINE_PERSIST_H

#include "engine/registry.h"

struct persist;

/*
 * Keeps each table of the adopted registry in a file of `directory`, "MAP.N.snapshot" for its Nth
 * table, counted from 0; tables of secret maps never. Works on the refresh loop; writing itself is
 * done by a thread of the pool, one file at a time. What is written is the mirror and
 * the demand cache of one moment: after a new mirror, or for a table without mirror when it
 * has learnt something.
 *
 * The directory is opened by the first persist_adopt(), as the user that the server is then. As long
 * as it cannot be used, or another server has its lock (state.h), nothing is written, and
 * both are tried again; what another server has written is restored all the same.
 *
 * directory  NULL: nothing is ever written or restored
 */
struct persist *persist_new(struct loops *loops, const char *directory);

/*
 * From now on keep the tables of this registry, each written every `interval` msec at most. Those
 * that hold nothing yet are restored first, each mirror with the age it had plus the time since,
 * so that refreshes posted to the loop after this see them; see restore_ages(). Files of tables that
 * are no more are removed.
 * Control thread; the old registry may be retired right after this.
 */
void persist_adopt(struct persist *p, const struct registry *r, uint64_t interval);

/* Has it looked into the directory? Before that nobody knows what will be restored. Any thread. */
bool persist_has_looked(const struct persist *p);

/* A table has a new mirror: it is to be written. Refresh thread. */
void persist_changed(struct persist *p, const struct table *t);

/*
 * Something was forgotten on purpose: the file is not to bring it back, so it is written soon, that of
 * a table without mirror at once. Control thread.
 */
void persist_forgotten(struct persist *p, const struct table *t);

/* Begin to write no further file: the server stops. Control thread. */
void persist_stop(struct persist *p);

/*
 * Write what has changed since the last time, now. After persist_stop(); all other threads have
 * ended, the tables adopted last are still there.
 */
void persist_flush(struct persist *p);

/* After the end of the refresh loop's thread; the rest of it goes when that loop is closed. */
void persist_free(struct persist *p);

/* For status: outcomes since the start. Any thread. */
struct persist_stats {
	uint64_t written, failed;	/* files */
	uint64_t restored, rejected;	/* at starts and reloads; moved aside, or ignored */
};
struct persist_stats persist_stats(const struct persist *p);

#endif

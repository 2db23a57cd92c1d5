/* restore.h - what becomes of the files in the state directory: into tables, or away. Blocking. */
#ifndef ENGINE_RESTORE_H
#define ENGINE_RESTORE_H

#include "engine/table.h"
#include "store/snapshot.h"

/*
 * Give the table what the snapshot has and it has not: the mirror, aged by the time since, and
 * entries of the demand cache. The caller has compared the identities. NULL, or what is
 * wrong with the snapshot; then the table is as it was. Refresh thread; logs what it restored.
 *
 * now        msec of clock_msec()
 * wall       of clock_wall_msec()
 */
const char *restore_table(struct table *t, const struct snapshot *s, uint64_t now, uint64_t wall);

/*
 * How old things in a file are now, msec. Never more than `now`, the time since the beginning
 * of our clock, which is more than any stale_max.
 *
 * The wall clock may have been wrong, then or now, and ours starts anew with each boot. So a mirror
 * is FRESH, and an absence in the cache still believed, only if both clocks say so; a file of the
 * future, by either, is of another boot or of a wrong clock, and nobody knows: whatever is only true
 * for a while is over. What may stand in for a directory stands in as long as the wall clock
 * says.
 */
struct ages {
	uint64_t mirror;
	uint64_t demand;	/* to add to the ages of the entries */
};
struct ages restore_ages(const struct snapshot *s, const struct table_settings *t, uint64_t now,
			 uint64_t wall);

/* Append the name of the file for a map's table: "MAP.N.snapshot". */
void snapshot_name(struct text map, size_t table, struct buf *out);

/*
 * Remove from the directory `dir` the files of tables that are not in `names`, those moved
 * aside included, and what killed writers have left. Touches no name that we could not have given.
 */
void snapshots_sweep(int dir, char *const *names, size_t n_names);

#endif

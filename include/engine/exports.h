/* exports.h - keeps the files of maps with `export`, which Postfix reads by itself. */
#ifndef ENGINE_EXPORTS_H
#define ENGINE_EXPORTS_H

#include "engine/registry.h"

struct exports;

/*
 * Writes each map of the adopted registry that has an export (settings.h) to its file
 * (store/cdb_export.h), whenever one of its mirrors is new and none is EMPTY or EXPIRED. Works on
 * the refresh loop; writing itself is done by a thread of the pool, one file at a time. A file
 * that could not be written stays as it was, and is tried again. Files of maps that are no
 * more stay: main.cf may still name them.
 *
 * A file's directory must be ours or root's, and nobody else may write to it: from the uid maps
 * virtual(8) learns whose files to write. Below the state directory it is made when it is not there,
 * and the state directory lets everybody pass (0711), as virtual(8) opens tables as postfix.
 *
 * state_directory    NULL: none
 */
struct exports *exports_new(struct loops *loops, const char *state_directory);

/*
 * From now on keep the files of this registry's maps, and of no others. What has mirrors is
 * written now; at the start (the first call) only where the file is missing or older than the
 * mirrors, which may be of a snapshot older than the file. Control thread, after
 * persist_adopt(); the old registry may be retired right after this.
 */
void exports_adopt(struct exports *e, const struct registry *r);

/* A table has a new mirror. Refresh thread. */
void exports_changed(struct exports *e, const struct table *t);

/* Begin to write no further file: the server stops. Control thread. */
void exports_stop(struct exports *e);

/* After the end of the refresh loop's thread; the rest of it goes when that loop is closed. */
void exports_free(struct exports *e);

/* For status: outcomes since the start, of all maps. Any thread. For one map: struct map. */
struct exports_stats {
	uint64_t written, unchanged, failed;
};
struct exports_stats exports_stats(const struct exports *e);

#endif

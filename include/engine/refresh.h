/* refresh.h - keeps mirrors young: when which table is scanned. Its own loop, at low priority. */
#ifndef ENGINE_REFRESH_H
#define ENGINE_REFRESH_H

#include "engine/exports.h"
#include "engine/persist.h"

struct refresh;

/*
 * Works on loops->refresh; nothing happens before refresh_adopt(). Control thread.
 *
 * persist    is told of every new mirror, and so is
 * exports
 */
struct refresh *refresh_new(struct loops *loops, struct persist *persist,
			    struct exports *exports);

/*
 * From now on keep the mirrors of this registry's tables, and of no others. Control thread;
 * what it does happens on the refresh loop, before anything that is posted there later, so the
 * old registry may be retired right after this. NULL: none, which also ends all scans.
 */
void refresh_adopt(struct refresh *refresh, const struct registry *r);

/*
 * Let the first scan of each table be at once, even where a snapshot is young enough: another
 * server may know more than that. Before the loop's thread starts.
 */
void refresh_hurry(struct refresh *refresh);

/*
 * Scan a table now, or NULL: all of them, whatever change_query says. Requests coalesce: a round of
 * scans that has not begun serves all that came before, as a driver may read it all from one
 * snapshot of the directory; and no table is scanned more than once
 * a second. One without a mirror is left alone. Control thread.
 */
void refresh_now(struct refresh *refresh, struct table *t);

/* The same with scan_accept(): false, and no scan, when nothing was rejected. Control thread. */
bool refresh_accept(struct refresh *refresh, struct table *t);

/* After refresh_adopt(NULL) and the end of the refresh loop's thread. */
void refresh_free(struct refresh *refresh);

#endif

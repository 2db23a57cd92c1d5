/* refresh.h - keeps mirrors young: when which table is scanned. Its own loop, at low priority. */
#ifndef ENGINE_REFRESH_H
#define ENGINE_REFRESH_H

#include "engine/registry.h"

struct refresh;

/* Works on loops->refresh; nothing happens before refresh_adopt(). Control thread. */
struct refresh *refresh_new(struct loops *loops);

/*
 * From now on keep the mirrors of this registry's tables, and of no others. Control thread;
 * what it does happens on the refresh loop, before anything that is posted there later, so the
 * old registry may be retired right after this. NULL: none, which also ends all scans.
 */
void refresh_adopt(struct refresh *refresh, const struct registry *r);

/* After refresh_adopt(NULL) and the end of the refresh loop's thread. */
void refresh_free(struct refresh *refresh);

#endif

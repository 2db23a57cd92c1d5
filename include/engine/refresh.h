/* refresh.h - keeps mirrors young: scans, judges, publishes. Its own loop, at low priority. */
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

/*
 * May a scan's mirror replace `old` (NULL: nothing yet)? NULL: yes; else why not,
 * for the log. DESIGN 6, reliability.md 3.
 *
 * n_rows, n_bad    what the scan brought, bad ones included
 */
const char *refresh_verdict(const struct table_settings *s, const struct mirror *old,
			    const struct mirror *scanned, size_t n_rows, size_t n_bad);

#endif

/* conf.h - from socketmapd.conf and maps.d to settings, all or nothing. */
#ifndef DAEMON_CONF_H
#define DAEMON_CONF_H

#include "base/log.h"
#include "engine/settings.h"

/*
 * Read the configuration file `path` and the map files it points to.
 *
 * ret_why    every error found, a line each: "FILE:LINE: reason", with the nearest known
 *            name where a name is unknown; "FILE: reason" for a file that cannot be read
 * ret_notes  things an administrator should know that are no errors, a line each (a
 *            query that is escaped rather than bound); may be NULL
 *
 * NULL when there is any error. The caller frees the result with settings_free(). Opens
 * no socket and starts no process.
 */
struct settings *conf_load(const char *path, struct buf *ret_why, struct buf *ret_notes);

/*
 * The same from memory, for fuzzing: `conf` as if it stood in `path`, and in place of the
 * maps directory one map file, `map`, called `map_name`. Files are only read that the
 * texts name.
 */
struct settings *conf_load_text(const char *path, struct text conf, const char *map_name,
				struct text map, struct buf *ret_why,
				struct buf *ret_notes);

/*
 * How much a note matters: LOG_AT_INFO for one that only tells how something is understood, which
 * is said each time; LOG_AT_WARN for all others.
 */
enum log_level conf_note_level(struct text note);

/* "libconfig 1.5", for --version. */
const char *conf_version(void);

#endif

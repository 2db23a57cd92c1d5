/* copies.h - the mirrors of a map at one moment, kept for a thread without a loop. */
#ifndef DAEMON_COPIES_H
#define DAEMON_COPIES_H

#include "daemon/command.h"

struct copies {
	struct mirror **list;	/* of each table a reference, or NULL */
	size_t n;		/* tables of the map */
	size_t n_entries;	/* of all together */
};

/*
 * From a command's run(). Without any mirror, or of a secret map, whose values are not told in bulk, the
 * command fails.
 */
void copies_take(struct copies *s, struct command *c, const struct map *map);

/* Any thread. */
void copies_done(struct copies *s);

#endif

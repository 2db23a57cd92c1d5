/* recent.h - the last events worth showing to an administrator. Any thread. */
#ifndef BASE_RECENT_H
#define BASE_RECENT_H

#include "base/log.h"

#define RECENT_EVENTS 100

struct recent {
	uint64_t at;		/* clock_wall_msec() */
	enum log_level level;
	char event[32];
	char text[400];		/* "field=value ...", escaped, cut; keys as hashes, whatever log_keys says */
};

/* Are such events kept: what is at WARN or above, and a few that end what those began? */
bool recent_wants(enum log_level level, const char *event);

/* Of what is at INFO only the last of each map stays, so that daily business hides no warning. */
void recent_add(enum log_level level, const char *event, struct text text);

/* Copy them, the oldest first; returns how many there are. */
size_t recent_get(struct recent ret[static RECENT_EVENTS]);

#endif

/* stats.h - what SIGUSR1 logs: one line per map, one per source. Control thread. */
#ifndef DAEMON_STATS_H
#define DAEMON_STATS_H

#include "engine/registry.h"

void stats_log(const struct registry *r, size_t clients);

#endif

/*
 * stats.h - what SIGUSR1 logs: one line per map, one per source, one for the server; and one for each
 * table with rejected scans.
 */
#ifndef DAEMON_STATS_H
#define DAEMON_STATS_H

#include "daemon/report.h"

void stats_log(const struct report *r);

#endif

/* wait.h - until scans that were asked for have ended, with progress for whoever watches. */
#ifndef CTL_WAIT_H
#define CTL_WAIT_H

#include "ctl/ctl.h"

/*
 * Poll /v1/status until scans have ended, at most for `--timeout`. Then one line for each map, or
 * the status with --json.
 *
 * maps      names, a JSON array
 * tables    the tables of each of them, an array of indexes; NULL: all mirrors
 * since     when they were asked for, Unix time of the server
 *
 * An exit code: CTL_FAILED when one failed, was rejected, or goes on.
 */
int wait_for_scans(struct ctl *c, const json_t *maps, const json_t *tables, double since);

#endif

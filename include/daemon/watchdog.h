/*
 * watchdog.h - tells the service manager that the server is alive as long as every loop is,
 * and the log when one is not. Control thread.
 */
#ifndef DAEMON_WATCHDOG_H
#define DAEMON_WATCHDOG_H

#include "engine/loop.h"

struct watchdog {
	uv_timer_t timer;
	const struct loops *loops;
	const struct loop *stalled;	/* as of the last look, or NULL */
};

/*
 * From now on look at the loops, and as long as none is stalled say so with notify_alive(),
 * several times in notify_patience(). This is the control loop: when it is the one that is
 * stuck, nothing is said either.
 */
void watchdog_start(struct watchdog *w, struct loops *loops);

/* Look no more. After watchdog_start(), or all zeroes. */
void watchdog_done(struct watchdog *w);

#endif

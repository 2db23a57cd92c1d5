/*
 * drain.h - how the server ends: clients get what they have asked for, messages arrive, threads
 * end, snapshots are written. Control thread.
 */
#ifndef DAEMON_DRAIN_H
#define DAEMON_DRAIN_H

#include "daemon/acceptor.h"

struct drain {
	struct engine *engine;
	struct answers *answers;	/* one per answer loop */
	struct acceptor *acceptor;
	uv_timer_t patience;		/* until it is cut short */
	size_t n_left;			/* answer loops that have clients */
	void (*on_quiet)(void *user);
	void *user;
};

/* Before the answer loops' threads start. */
void drain_init(struct drain *d, struct engine *e, struct answers *answers, struct acceptor *a);

/*
 * Begin; at the end the control loop stops, and is the only thread. Once.
 *
 * patience   msec, after which clients who still wait are cut off
 * on_quiet   called when nobody is left to be answered. What follows may wait for a disk that
 *            hangs, and the control loop hears nothing meanwhile.
 */
void drain_begin(struct drain *d, uint64_t patience, void (*on_quiet)(void *user), void *user);

void drain_done(struct drain *d);	/* closes its handle */

#endif

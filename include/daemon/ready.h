/* ready.h - when the server is ready after its start: every mirror is there, or it took too long. */
#ifndef DAEMON_READY_H
#define DAEMON_READY_H

#include "engine/engine.h"

/* All on the control thread. */
struct ready {
	uv_timer_t timer;
	struct engine *engine;
	uint64_t deadline;		/* msec of clock_msec() */
	void (*on_ready)(void *user);
	void *user;
};

/*
 * Call `on_ready` once, from the loop: as soon as engine_is_ready(), after `wait` msec at the
 * latest; then tables that have nothing yet answer TEMP. Logs "ready", and what is missing.
 */
void ready_watch(struct ready *r, struct engine *e, uint64_t wait, void (*on_ready)(void *user),
		 void *user);

/* Call it no more. Of a ready_watch(), or all zeroes. */
void ready_done(struct ready *r);

#endif

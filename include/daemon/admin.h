/* admin.h - what the administrator's side knows of the server, and what it may ask of it. */
#ifndef DAEMON_ADMIN_H
#define DAEMON_ADMIN_H

#include "engine/engine.h"

struct acceptor;

enum admin_phase { ADMIN_STARTING, ADMIN_SERVING, ADMIN_STOPPING };

/* What became of reloads. */
struct admin_reloads {
	uint64_t n_ok, n_failed;
	uint64_t at, good_at;		/* the last one, the last good one: clock_wall_msec(); 0: none */
	bool is_ok;			/* the last one */
	char why[512];			/* not ok: its first error */
};

/*
 * One in each server; constant, but where noted. Handlers run on HTTP's threads, and use inquiries
 * (inquiry.h) to the control loop for what belongs to the control thread.
 */
struct admin {
	struct engine *engine;
	struct acceptor *acceptor;	/* control thread */
	const char *path;		/* the configuration file */
	size_t max_clients;
	const char *state_directory;	/* or NULL; see settings_keep_started() */
	uint64_t started;		/* clock_wall_msec() */
	uint64_t born;			/* the same moment by clock_msec() */
	_Atomic int phase;		/* enum admin_phase */
	struct admin_reloads reloads;	/* control thread */

	/*
	 * Do what SIGHUP does. False, with the errors in `ret_why`, a line each, and nothing
	 * changed. Control thread.
	 */
	bool (*reload)(void *server, struct buf *ret_why, struct buf *ret_notes);
	void *server;			/* for that */
};

/* How long a handler waits for a loop, msec. */
#define ADMIN_PATIENCE 2000

#endif

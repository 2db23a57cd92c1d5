/*
 * replace.h - takes the place of a running server without a gap. Control thread.
 *
 * The running server notices nothing until ours can answer as well as it does and has all
 * its sockets. Then in one go: inet sockets listen beside the other's and get all new
 * connections, unix sockets take over the names (listener_place()). After a moment, in which
 * whatever was on its way to the other server arrives, that one is told to stop, and answers
 * what it has been asked.
 */
#ifndef DAEMON_REPLACE_H
#define DAEMON_REPLACE_H

#include "daemon/acceptor.h"

struct replace;

/*
 * From here until the other server has ended, or replace_free(), nobody else may do the same: a
 * lock on the state directory, or else on the directory of the first unix socket, flock(2);
 * either may be NULL. NULL, with a reason, while somebody does.
 */
struct replace *replace_begin(const char *state_directory, const char *unix_path,
			      struct buf *ret_why);

/* Does somebody, so that a server with these is, or is about to be, replaced? */
bool replace_is_under_way(const char *state_directory, const char *unix_path);

/*
 * Find the server to replace: it has the lock of the state directory (state.h), which nobody in
 * this process may use yet, or answers on the unix sockets of `list`, which were opened
 * with may_be_answered. False, with a reason, when there are signs of one that cannot be
 * found, or of two, or when we may not tell it to stop.
 *
 * ret_pid    its process; 0: there is none
 */
bool replace_find(struct replace *r, const char *state_directory, struct listener **list,
		  size_t n, pid_t *ret_pid, struct buf *ret_why);

/* What happens next; at most one of the two. */
struct replace_events {
	void (*on_done)(void *user);	/* the listeners are in force, clients are let in */
	void (*on_failed)(void *user);	/* logged; ours is to stop, and the other one goes on */
};

/*
 * Take its place as soon as every mirror of `e` was scanned since replace_begin(), as the other
 * server may know more than the last snapshot; once `wait` msec are over, snapshots will do. Without
 * those it fails: clients would be told TEMP for what the other server knows. Takes
 * over `list`.
 */
void replace_watch(struct replace *r, struct engine *e, struct acceptor *a,
		   struct listener **list, size_t n, uint64_t wait,
		   const struct replace_events *events, void *user);

/* The server stops: leave everything as it was, or finish what has been done. */
void replace_stop(struct replace *r);		/* NULL is fine */

/* Close its handles; replace_free() after the loop has run once more. */
void replace_done(struct replace *r);		/* NULL is fine */
void replace_free(struct replace *r);		/* NULL is fine */

#endif

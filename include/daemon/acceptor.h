/*
 * acceptor.h - all listeners of the server: lets clients in and deals them out to the answer
 * loops. Control thread.
 */
#ifndef DAEMON_ACCEPTOR_H
#define DAEMON_ACCEPTOR_H

#include "daemon/answers.h"
#include "daemon/listener.h"

struct acceptor {
	struct loops *loops;
	struct answers *answers;	/* one per answer loop */
	struct admission *admission;
	struct listener **listeners;	/* in force */
	size_t n;
	bool is_open;			/* the answer loops run, and take clients */
	unsigned turn;			/* the answer loop for the next client */
	uint64_t n_accepted, n_refused, n_refused_address, n_evicted;	/* since the start */
	uv_timer_t rest;		/* until accepting goes on */
	uv_timer_t hold;		/* while clients of inherited sockets have to wait */
	struct admin *admin;		/* for listeners of administrators; set before any is watched */
	size_t n_http;			/* sockets of those that are not closed yet */
	void (*on_closed)(void *user);	/* acceptor_close() waits */
	void *user;
};

/* `answers` of all answer loops; their clients are counted from now on. */
void acceptor_init(struct acceptor *a, struct loops *loops, struct answers *answers,
		   const struct daemon_settings *settings);

/* Close what is left; acceptor_free() when no client is, and the loop has run once more. */
void acceptor_done(struct acceptor *a);
void acceptor_free(struct acceptor *a);

/*
 * Open what is new in `settings`; nobody can connect yet. False, with a reason and nothing left
 * open; else `ret`, of as many places as there are listeners, also holds the unchanged ones.
 */
bool acceptor_open(struct acceptor *a, struct settings *settings, const struct opening *how,
		   struct listener **ret, struct buf *ret_why);

/* Place all of them. False, with a reason, when one cannot be placed: then none is. */
bool acceptor_place(struct listener **list, size_t n, struct buf *ret_why);

/* Close again what acceptor_open() has opened. */
void acceptor_abandon(struct acceptor *a, struct listener **list, size_t n);

/*
 * Put a placed list (malloc'ed) into force. Of listeners that are not in it those who have
 * already knocked are let in, then they are closed. NULL and 0: all of them. A line in
 * `ret_unchanged`, NULL where none of the list is shared, for each that listener_inherit() could
 * not change.
 */
void acceptor_adopt(struct acceptor *a, struct listener **list, size_t n,
		    struct buf *ret_unchanged);

/* The server stops: close all listeners but those of administrators, who want to watch that. */
void acceptor_close_tables(struct acceptor *a);

/* Close these, too, and then call on_closed(user). */
void acceptor_close(struct acceptor *a, void (*on_closed)(void *user), void *user);

/* Let clients in, from now on. */
void acceptor_watch(struct acceptor *a);

/*
 * Leave clients of inherited sockets in their queues until acceptor_release(), but `msec` at
 * most: they may have come while no server was running, and would rather wait than be told
 * TEMP by one that has just started.
 */
void acceptor_hold(struct acceptor *a, uint64_t msec);
void acceptor_release(struct acceptor *a);

#endif

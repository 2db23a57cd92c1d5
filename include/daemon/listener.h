/* listener.h - sockets that clients connect to. Control thread, but for the reference. */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include "base/buf.h"
#include "daemon/activation.h"
#include "engine/counters.h"
#include "engine/settings.h"

#include <stdatomic.h>
#include <uv.h>

struct listener;

/* One listening socket. */
struct gate {
	struct listener *listener;
	int fd;				/* -1 once closed */
	uv_poll_t poll;
	bool is_polled;
	struct http *http;		/* serves it instead, with is_http; see acceptor_watch() */
};

/*
 * An address with its settings and its socket: one, or all those that were inherited under one
 * name. Clients hold a reference for the settings' sake.
 */
struct listener {
	struct listener_settings *settings;	/* owned, constant */
	struct gate *gates;
	size_t n_gates;
	char *path;			/* of a unix socket that we made, to remove at the end */
	char *beside;			/* where it waits to be placed; then, until it is settled,
					   where the socket waits whose place it took; or NULL */
	dev_t device;			/* which file it is: others may take its place */
	ino_t inode;
	bool is_inherited;		/* others have the sockets, too, and who waits there */
	bool is_answered;		/* another server answers on the address */
	pid_t former;			/* its process; 0: not known */
	enum { LISTENER_BOUND, LISTENER_PLACED, LISTENER_SETTLED } stage;
	void *user;
	struct listener_counters *counters;	/* one cell per answer loop; acceptor_open() */
	_Atomic unsigned refs;
};

/* How listeners come to their sockets. */
struct opening {
	struct activation *inherited;	/* for systemd: addresses */
	bool may_be_answered;		/* whoever answers there is going to be replaced */
	uid_t uid;			/* who will be the server's user, (uid_t)-1: who it is */
};

/*
 * Make and bind the socket; nobody can connect yet. A unix socket gets its owner, group and mode
 * before it gets its name. An address where somebody answers is refused, or found out about,
 * as `how` says. NULL with a reason. Takes over `settings` on success. One reference is the
 * caller's.
 */
struct listener *listener_open(struct listener_settings *settings, const struct opening *how,
			       struct buf *ret_why);

/*
 * Let clients connect. In place of a server that answers there: a unix socket trades names
 * with its socket, so that there is one at every moment; of an inet socket, SO_REUSEPORT and
 * a filter that chooses us see to it that all new connections come here, socket(7). What
 * has begun to come to the other one still does. False, with a reason and nothing changed.
 */
bool listener_place(struct listener *l, struct buf *ret_why);

/* Back: connections go where they went before. Some may be waiting here already. */
void listener_withdraw(struct listener *l);

/* No way back any more: remove the other socket's file. */
void listener_settle(struct listener *l);

/*
 * A listener with other settings on the address of `old`, which shares its sockets: clients that
 * are knocking at this moment are let in by either. NULL with a reason. Takes over `settings` on
 * success. When it comes into force it is to inherit what belongs to the file of a unix socket; a
 * line in `ret_unchanged` says so when the file cannot have its owner, group and mode, and then
 * the next reload tries again.
 */
struct listener *listener_share(struct listener *old, struct listener_settings *settings,
				struct buf *ret_why);
void listener_inherit(struct listener *l, struct listener *old, struct buf *ret_unchanged);

/*
 * Call `on_ready` (with poll->data == the gate) whenever somebody may be accepted: once it is
 * settled, never before.
 */
void listener_watch(struct listener *l, uv_loop_t *loop, uv_poll_cb on_ready);

/* Stop watching for a while (descriptors are exhausted); listener_watch() again later. */
void listener_rest(struct listener *l);

/* Close the sockets and remove what files they have; drops the caller's reference. */
void listener_close(struct listener *l);

struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);	/* any thread */

#endif

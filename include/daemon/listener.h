/* listener.h - sockets that clients connect to. Control thread, but for the reference. */
#ifndef DAEMON_LISTENER_H
#define DAEMON_LISTENER_H

#include "base/buf.h"
#include "engine/settings.h"

#include <stdatomic.h>
#include <uv.h>

/* An open listening socket and its settings. Clients hold a reference for the settings' sake. */
struct listener {
	struct listener_settings *settings;	/* owned, constant */
	int fd;					/* -1 once closed */
	char *path;				/* of a unix socket, to remove at the end; or NULL */
	dev_t device;				/* which file that was, as it may have been replaced */
	ino_t inode;
	uv_poll_t poll;
	bool is_polled;
	void *user;
	_Atomic unsigned refs;
};

/*
 * Bind and listen. A unix socket gets its owner, group and mode before it gets its name,
 * and takes the place of a stale one only when nobody answers there.
 * NULL with a reason. Takes over `settings` on success. One reference is the caller's.
 */
struct listener *listener_open(struct listener_settings *settings, struct buf *ret_why);

/*
 * A listener with other settings on the address of `old`, which shares its socket: clients that
 * are knocking at this moment are let in by either. NULL with a reason. Takes over `settings` on
 * success. When it comes into force it is to inherit what belongs to the file of a unix socket.
 */
struct listener *listener_share(struct listener *old, struct listener_settings *settings,
				struct buf *ret_why);
void listener_inherit(struct listener *l, struct listener *old);

/* Call `on_ready` (with poll->data == the listener) whenever somebody may be accepted. */
void listener_watch(struct listener *l, uv_loop_t *loop, uv_poll_cb on_ready);

/* Stop watching for a while (descriptors are exhausted); listener_watch() again later. */
void listener_rest(struct listener *l);

/* Close the socket and remove its file; drops the caller's reference. */
void listener_close(struct listener *l);

struct listener *listener_ref(struct listener *l);
void listener_unref(struct listener *l);	/* any thread */

#endif

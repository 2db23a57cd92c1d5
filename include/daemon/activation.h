/*
 * activation.h - listening sockets that were open before we were: systemd's protocol,
 * sd_listen_fds(3), without its library. Main thread.
 */
#ifndef DAEMON_ACTIVATION_H
#define DAEMON_ACTIVATION_H

#include "base/buf.h"

struct inherited {
	char *name;		/* FileDescriptorName= of the .socket unit */
	int fd;			/* stays open, for reloads; -1: closed, as nobody wanted it */
	bool is_wanted;
};

/* All of them, in the order of the units' ListenStream= lines. All zeroes: none. */
struct activation {
	struct inherited *list;
	size_t n;
};

/*
 * Take what the environment says: LISTEN_PID must be our process, or none of it is for us;
 * LISTEN_FDS descriptors start at 3; LISTEN_FDNAMES names them, with colons between, and
 * without it each is called "unknown". Driver processes get neither the variables nor the
 * descriptors. False, with a reason, when the variables contradict each other.
 */
bool activation_take(struct activation *ret, struct buf *ret_why);

/*
 * The first socket of that name from place `*at` on, as a descriptor of the caller's own, close-
 * on-exec and non-blocking; `*at` is then the place after it. -1 without a reason: there
 * is none left. -1 with one: it is no listening stream socket.
 */
int activation_next(struct activation *a, const char *name, size_t *at, struct buf *ret_why);

/* Log and close those that activation_next() was never asked for. */
void activation_tidy(struct activation *a);

void activation_done(struct activation *a);

#endif

/* peer.h - who is at the other end of a unix socket, and who may give orders. */
#ifndef DAEMON_PEER_H
#define DAEMON_PEER_H

#include <stdbool.h>
#include <sys/types.h>

struct admin;

/* Who called connect(), as this process sees it: unix(7), SO_PEERCRED. */
struct peer {
	uid_t uid;
	gid_t gid;		/* the primary group */
	pid_t pid;
};

/* False: it is no unix socket. */
bool peer_get(int fd, struct peer *ret);

/*
 * May it use the control socket, whatever the file's mode lets in? Root and the server's own user
 * may, and who has the server's group, as the primary one or another (SO_PEERGROUPS). A refusal is
 * logged. For struct http_limits; any thread.
 */
bool peer_may(struct admin *admin, int fd);

#endif

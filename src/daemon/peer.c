#include "daemon/peer.h"

#include "base/log.h"
#include "base/must.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

bool peer_get(int fd, struct peer *ret)
{
	struct ucred who;
	socklen_t n = sizeof who, size = sizeof(int);
	int domain;

	/* Of a TCP connection SO_PEERCRED says something, too. */
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 || domain != AF_UNIX ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0 || n != sizeof who)
		return false;
	*ret = (struct peer){ who.uid, who.gid, who.pid };
	return true;
}

/* Is the group one of its others? */
static bool is_member(int fd, gid_t group)
{
	socklen_t n = 64 * sizeof(gid_t);
	gid_t *groups = must(malloc(n));
	bool is_there = false;

	/* With too little room it says how much it takes. */
	int rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n);
	if (rc != 0 && errno == ERANGE) {
		groups = must(realloc(groups, n));
		rc = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &n);
	}
	for (size_t i = 0; rc == 0 && i < n / sizeof *groups; i++)
		is_there |= groups[i] == group;
	free(groups);
	return is_there;
}

bool peer_may(struct admin *admin, int fd)
{
	struct peer peer = { (uid_t)-1, (gid_t)-1, -1 };
	(void)admin;

	if (peer_get(fd, &peer) && (peer.uid == 0 || peer.uid == geteuid() ||
				    peer.gid == getegid() || is_member(fd, getegid())))
		return true;
	log_warn("control_refused", "", F_NUM("who", peer.uid), F_NUM("pid", peer.pid));
	return false;
}

/* ldap_network.h - a socket to a server, in bounded time. Knows nothing of LDAP. */
#ifndef DRIVER_LDAP_NETWORK_H
#define DRIVER_LDAP_NETWORK_H

#include "base/hosts.h"

/*
 * Where a host was found last, for when the name servers are gone. All zeroes: nowhere yet.
 * Freed by addresses_done().
 */
struct addresses {
	struct addrinfo *list;
	bool is_numeric;	/* nothing to resolve: what it says stays true */
};

void addresses_done(struct addresses *a);

/*
 * Find the addresses of a host, in at most `msec`, whatever the resolver does. When it fails,
 * those known from before are good enough. False with a reason.
 */
bool network_resolve(const struct host *host, unsigned port, struct addresses *a,
		     uint64_t msec, struct buf *ret_why);

/*
 * Connect to its socket, or to the first of its addresses that answers; each gets its share
 * of the `msec`. A blocking socket, which the caller closes; -1 with a reason.
 */
int network_connect(const struct host *host, const struct addresses *a, uint64_t msec,
		    struct buf *ret_why);

/*
 * Wait for what poll(2) calls `events`. False, with errno, when `deadline` (of clock_msec())
 * comes first.
 */
bool network_wait(int fd, short events, uint64_t deadline);

#endif

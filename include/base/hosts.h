/* hosts.h - the servers of a source, as in Postfix: which one is tried next. Pure. */
#ifndef BASE_HOSTS_H
#define BASE_HOSTS_H

#include "base/buf.h"

struct host {
	char *label;			/* as configured, for messages */
	char *name;			/* of it, or its socket; NULL: the library's */
	bool is_unix;
	bool is_tls;			/* ldaps: TLS from the first byte on */
	unsigned port;			/* 0: the library's */
	uint64_t rests_until;		/* msec; 0: it may be tried */
	bool is_refused;		/* it turned us away, and must not be hammered */
};

struct hosts {
	struct host *list;
	size_t n;
	uint64_t random;		/* of clock_random() */
};

/*
 * Parse a list: "unix:/path", "inet:host", "inet:host:port", each without "inet:", too; a
 * port is a number or a service; IPv6 addresses stand in brackets. `localhost` is the
 * library's own socket. False with a reason. The caller frees it with hosts_done().
 * Source: Postfix src/global/dict_mysql.c, host_init().
 */
bool hosts_parse(struct text list, struct hosts *ret, struct buf *ret_why);
void hosts_done(struct hosts *h);

/*
 * Parse server_host of LDAP: URLs (ldap://host:port, ldaps://, ldapi://%2Fpath; what follows
 * the port is ignored) and "host" or "host:port", which get `port` where they have none; 0: 389.
 * `localhost` is a name like any other here. Every host has a name and, unless it is a socket,
 * a port: an URL without one gets 389 or 636, without a host localhost or Debian's own
 * socket. An empty list is an error. False with a reason. Source: Postfix
 * src/global/dict_ldap.c, dict_ldap_open(); RFC 4516; libldap, ldap_url_parse().
 */
bool hosts_parse_urls(struct text list, unsigned port, struct hosts *ret, struct buf *ret_why);

/* The first in their order that does not rest; NULL: all of them do. */
struct host *hosts_first(struct hosts *h, uint64_t now);

/* One at random of those that do not rest, unix sockets first; NULL: all of them rest. */
struct host *hosts_pick(struct hosts *h, uint64_t now);

/* End the rest of all that did not refuse us: perhaps they are back. */
void hosts_wake(struct hosts *h);

#endif

/* ldap_bind.h - what a plain connection needs before it is asked: options, TLS, a bind. */
#ifndef DRIVER_LDAP_BIND_H
#define DRIVER_LDAP_BIND_H

#include "driver/ldap.h"
#include "driver/ldap_network.h"

/* How to log in, by the setting `bind`; whatever is not known is simple. */
enum bind_kind { BIND_SIMPLE, BIND_NONE, BIND_SASL };
enum bind_kind connection_bind_kind(const struct session *s);

/* How far it got. */
enum bound {
	BOUND,
	BOUND_NOT,	/* the connection is of no use */
	BOUND_REFUSED,	/* the server does not want us: asking again may lock the account */
};

/*
 * Make s->ld, a new connection, ready for searches. The caller's watchdog keeps the time.
 *
 * addresses	where it is connected to, for finding out what is wrong with TLS
 * deadline	of clock_msec(), for the same
 * ret_phase	what it failed in: "tls" or "bind"
 */
enum bound connection_bind(struct session *s, const struct addresses *addresses,
			   const char *password, uint64_t deadline, const char **ret_phase,
			   struct buf *ret_why);

/*
 * Follow referrals, for lookups of a source that is to. Never for scans: of the pages of other
 * servers the library knows nothing.
 */
void connection_set_referrals(struct session *s);

/* What a result code means, with what the server says about it. */
void connection_describe(struct session *s, int code, struct buf *out);

/* Seconds since the epoch when the certificate of the server expires; 0: there is none. */
uint64_t connection_not_after(struct session *s);

/* "TLS1.3 ECDHE-...", "none": for the log. */
void connection_cipher(struct session *s, struct buf *out);

#endif

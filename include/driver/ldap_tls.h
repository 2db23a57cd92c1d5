/*
 * ldap_tls.h - words for what libldap cannot say about TLS, and a look at certificates.
 * Nothing of this decides whether a connection is good: that is libldap's.
 */
#ifndef DRIVER_LDAP_TLS_H
#define DRIVER_LDAP_TLS_H

#include "driver/ldap_network.h"

/* A connection that has failed, as it was tried. Paths may be NULL or "". */
struct tls_attempt {
	const struct host *host;
	const struct addresses *addresses;
	bool is_verified;		/* the certificate was to be checked */
	const char *ca_file, *ca_dir, *cert, *key;
};

/* Is one of our files at fault? Then its name and what is wrong with it go to `out`. */
bool tls_explain_files(const struct tls_attempt *attempt, struct buf *out);

/*
 * Find out what is wrong: with our files, or else by a connection of our own, over which
 * nothing goes but the handshake (for `ldap://` after asking for StartTLS, RFC 4511 4.14).
 *
 * deadline   of clock_msec(); it returns by then
 * out        gets the checks that failed, in words for an administrator
 *
 * False when nothing was found.
 */
bool tls_explain(const struct tls_attempt *attempt, uint64_t deadline, struct buf *out);

/* When a certificate (DER) expires, in Unix seconds; false: it is none. */
bool tls_not_after(const void *der, size_t n, uint64_t *ret_seconds);

#endif

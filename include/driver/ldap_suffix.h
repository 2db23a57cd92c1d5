/* ldap_suffix.h - which parts of the tree a server has, and where names lie in them. */
#ifndef DRIVER_LDAP_SUFFIX_H
#define DRIVER_LDAP_SUFFIX_H

#include "driver/ldap.h"

/*
 * Is `dn` the entry `base`, or below it? By their text: names of attributes and values are
 * compared without case. Everything is below "". False when in doubt: one of them is not a DN.
 */
bool dn_is_within(const char *dn, const char *base);

/* The root DSE with its namingContexts (RFC 4512 5.1), as search_entry(). */
int suffixes_read(struct session *s, struct entry **ret, struct buf *ret_why);

/* The top entry of one part with its contextCSN (draft-chu-ldap-csn), as search_entry(). */
int suffix_read_csn(struct session *s, const char *suffix, struct entry **ret,
		    struct buf *ret_why);

/*
 * Of two lists of contextCSN, divided by blanks: the least entryCSN that any change between them
 * may have. Each value is the last change by one server (its third part), so that those which
 * are in both do not count. Empty: nobody can tell, as there is a new server, or no CSN.
 */
struct text csn_of_first_change(struct text before, struct text after);

/* The base of scans, which is the same for all keys. False with a reason: it is not. */
bool base_expand(const struct table *t, struct buf *ret, struct buf *ret_why);

#endif

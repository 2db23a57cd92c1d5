/* ldap_suffix.h - which parts of the tree a server has, and where names lie in them. */
#ifndef DRIVER_LDAP_SUFFIX_H
#define DRIVER_LDAP_SUFFIX_H

#include "driver/ldap.h"

/*
 * Is `dn` the entry `base`, or below it? By their text: names of attributes and values are
 * compared without case. Everything is below "". False when in doubt: one of them is not a DN.
 */
bool dn_is_within(const char *dn, const char *base);

/*
 * Read the root DSE with its namingContexts (RFC 4512 5.1) into `*ret`, which is NULL before
 * and may be so afterwards, for entry_free(). LDAP_SUCCESS, or as search_run().
 */
int suffixes_read(struct session *s, struct entry **ret, struct buf *ret_why);

#endif

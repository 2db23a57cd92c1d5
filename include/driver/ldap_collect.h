/*
 * ldap_collect.h - a scan in memory: its entries, the keys they have, the entries they
 * refer to. What one entry of a key is worth may depend on the others.
 */
#ifndef DRIVER_LDAP_COLLECT_H
#define DRIVER_LDAP_COLLECT_H

#include "driver/ldap_keys.h"

/* All it holds; more is no scan. */
#define COLLECT_BYTES_MAX ((size_t)1 << 30)

struct collection;

/* `expiry` is an attribute or NULL. Freed with collection_free(), where NULL is fine. */
struct collection *collection_new(struct session *s, const struct table *t,
				  const char *expiry);
void collection_free(struct collection *c);

/*
 * Take over an entry of the scan with its keys. One that has come before, by its DN, gets the
 * keys only. False with a reason: COLLECT_BYTES_MAX.
 */
bool collection_add(struct collection *c, struct entry *e, const struct entry_keys *keys,
		    struct buf *ret_why);

/*
 * Fetch all that the entries refer to, so that collection_send() need not. As
 * session_failed() for what goes wrong.
 */
enum ended collection_fetch(struct collection *c, struct buf *ret_why);

/* Send all keys with their values. */
enum ended collection_send(struct collection *c, struct rows *rows, struct buf *ret_why);

#endif

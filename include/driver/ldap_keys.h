/* ldap_keys.h - the keys of an entry, and when it ends. No network. */
#ifndef DRIVER_LDAP_KEYS_H
#define DRIVER_LDAP_KEYS_H

#include "driver/ldap.h"

/* How the values of one attribute are keys, and how the server compares them. */
struct key_rule {
	const struct ldap_key *key;
	struct key_type type;
	bool is_seen;		/* some entry has shown it */
};

/* One key of an entry. */
struct entry_key {
	struct text key;	/* plain and folded; a view into the list's `bytes` */
	/*
	 * Servers differ in whether a lookup of it finds this entry: the value has blanks,
	 * accents, ligatures, control characters. This one is to be asked.
	 */
	bool is_doubtful;
};

/* Sorted, each key once. All zeroes is empty; freed with entry_keys_done(). */
struct entry_keys {
	struct entry_key *list;
	size_t n, room;
	struct buf bytes;
};

/*
 * Replace `ret` by the keys of `e`: those that are plain (ldap_key_is_plain()). False: the
 * entry has none of the attributes.
 */
bool entry_keys_find(const struct entry *e, struct key_rule *rules, size_t n_rules,
		     struct entry_keys *ret);
void entry_keys_done(struct entry_keys *keys);

/* A set of hashes. All zeroes is empty; freed with marks_done(). */
struct marks {
	uint64_t *slots;	/* 0: free */
	size_t n, n_slots;	/* a power of two, or 0 */
};

/* False: it was there already. */
bool marks_add(struct marks *m, uint64_t hash);
void marks_done(struct marks *m);

/*
 * When the values of `e` end, by its attribute of that name: Unix seconds, or a
 * GeneralizedTime (RFC 4517 3.3.13); 0: never, as there is none. False: something else.
 */
bool entry_expiry(const struct entry *e, const char *attribute, uint64_t *ret);

#endif

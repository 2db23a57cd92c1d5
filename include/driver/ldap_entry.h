/* ldap_entry.h - entries out of messages, and attributes that come in parts. No network. */
#ifndef DRIVER_LDAP_ENTRY_H
#define DRIVER_LDAP_ENTRY_H

#include "driver/ldap.h"

/* One entry in memory, in all; more of it is no entry. */
#define ENTRY_BYTES_MAX ((size_t)64 << 20)

/*
 * Copy an entry out of a message, for entry_free(). NULL with a reason when it cannot be
 * decoded, is larger than ENTRY_BYTES_MAX, or has a NUL where only values may have one. An
 * attribute that comes twice, as from a database that slapadd -q has filled, is one.
 */
struct entry *entry_new(LDAP *ld, LDAPMessage *message, struct buf *ret_why);

/* The attribute of exactly this name; NULL: there is none. */
const struct attribute *entry_find(const struct entry *e, const char *name);

/* `on_entry` of a search for one entry; the context is a struct entry **. */
bool entry_take(void *ctx, struct entry *e);

/*
 * "member;range=0-1499": part of the values of "member", of which Active Directory sends no
 * more at once. Source: Microsoft MS-ADTS 3.1.1.3.1.3.3; draft-kashi-incremental-00.
 */
struct range {
	size_t before;		/* so much of the name stands before it */
	const char *behind;	/* options that follow, or "" */
	size_t from, to;	/* both included */
	bool is_last;		/* it goes to "*": there are no more */
};

/* Does the name have such an option? */
bool range_is(const char *name);

/* False: not one that makes sense. `ret` looks into `name`. */
bool range_parse(const char *name, struct range *ret);

/* The name without it, for the caller to free(). */
char *range_plain(const char *name, const struct range *r);

/* Are as many values there as it says? */
bool range_is_whole(const struct attribute *a, const struct range *r);

/*
 * Move the values of `plain` that begin at number `from` out of `part` to the end of `to`, an
 * attribute of `e`. False: they are not there, or not all of those that the name tells of, or
 * it is too much.
 */
bool range_take(struct entry *e, struct attribute *to, struct entry *part, const char *plain,
		size_t from, struct range *ret);

/*
 * Beside "member;range=0-1499" an empty "member" may have come, which goes. False: it
 * has values.
 */
bool range_drop_empty(struct entry *e, size_t i);

#endif

/* ldap_filter.h - LDAP filter templates: escaping, and the scan that finds the same. Pure. */
#ifndef BASE_LDAP_FILTER_H
#define BASE_LDAP_FILTER_H

#include "base/template.h"

/*
 * For template_expand(): parts of a key inside a search filter (RFC 4515 3: `*`, `(`, `)`,
 * `\`, NUL, and here every byte that is not printable ASCII, as \XX) and inside a DN (RFC
 * 4514 2.4: the same for everything but letters, digits and a few harmless signs). The
 * context is unused.
 */
template_quote ldap_quote_filter, ldap_quote_dn;

/*
 * How the values of one attribute are keys: an assertion of the query filter, "mail=%s",
 * "proxyAddresses=smtp:%s", "mailacceptinggeneralid=*@%s", the other way round.
 */
struct ldap_key {
	char *attribute;
	char *before;		/* stands before the key in the value: "smtp:", "@", "" */
	char *after;		/* stands behind it */
	bool is_open;		/* anything may stand before `before`: "*@%s" */
	bool wants_address;	/* "%u@%d": the key has both parts */
	bool is_cased;		/* `before` or `after` had capitals that were folded */
};

/* One search of a scan, and which of its entries' attributes hold keys. */
struct ldap_branch {
	char *filter;		/* complete, without expansions */
	struct ldap_key *keys;
	size_t n_keys;
};

/*
 * All searches of a scan. With several, an entry that comes in two of them counts once for
 * each key, as in a lookup. All zeroes is empty; freed by ldap_plan_done().
 */
struct ldap_plan {
	struct ldap_branch *branches;
	size_t n;
};

/*
 * Derive a scan from a query filter: DESIGN 8. Each parametrised assertion becomes the
 * presence of its attribute (`attr=*`; for "smtp:%s" a presence, too), with all that stands
 * beside it under an AND and nothing of what stands beside it under an OR. Assertions with
 * the same surroundings share a branch.
 *
 * False with the precise reason, for an administrator, when a scan of this cannot be shown to
 * be the same as the lookups: no expansion at all; one under NOT; an OR with a branch that has
 * none; an AND with several subtrees that have one; an expansion in an attribute's name, in a
 * `>=`, `<=`, `~=` or extended match; an attribute with options; a pattern by which one value
 * has keys without end ("%s*", "*%s", "%u", "%d", %1 to %9), or mixes several parts; blanks
 * or non-ASCII text beside the key, which matching rules treat variously.
 * The outer parentheses may be missing, as for Postfix. Errors of syntax are reasons, too.
 */
bool ldap_plan_derive(struct text query_filter, struct ldap_plan *ret, struct buf *ret_why);

/*
 * The same as the administrator says it: one branch. `attributes` is a list as in Postfix;
 * `pattern` is for all of them, "%s" or "smtp:%s"; empty: "%s". A percent sign is written
 * as %% in the filter, too, lest a `%s` there is taken for one.
 */
bool ldap_plan_explicit(struct text scan_filter, struct text attributes, struct text pattern,
			struct ldap_plan *ret, struct buf *ret_why);

void ldap_plan_done(struct ldap_plan *plan);

/*
 * The keys of one value, one after the other: false when there is no other. Start with
 * `*at` 0. Everything is folded already, `before` and `after` by ldap_plan_*(); "*@%s" of
 * "a@b@c" gives "b@c" and "c".
 */
bool ldap_key_next(const struct ldap_key *k, struct text value, size_t *at,
		   struct text *ret_key);

/*
 * Is it a key that every matching rule for text compares byte by byte: printable ASCII without
 * a blank, 1 to LDAP_KEY_MAX bytes? Of any other key (blanks are insignificant in LDAP,
 * Unicode is normalised) a mirror knows nothing, and the directory is asked.
 */
#define LDAP_KEY_MAX 512
bool ldap_key_is_plain(struct text key);

#endif

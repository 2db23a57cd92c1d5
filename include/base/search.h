/* search.h - which keys Postfix would try for one lookup, and what it makes of a hit. */
#ifndef BASE_SEARCH_H
#define BASE_SEARCH_H

#include "base/address.h"
#include "base/buf.h"

/*
 * The order in which Postfix asks a hash: table, by what the table is for.
 * socketmap and tcp tables get only the first key from Postfix, so the server
 * walks the rest. Source: postfix-client.md 5, from Postfix
 * src/global/mail_addr_find.c, mail_addr_map.c, src/smtpd/smtpd_check.c,
 * src/trivial-rewrite/transport.c, src/util/match_ops.c.
 */
enum search_kind {
	SEARCH_EXACT,		/* the folded key alone */
	SEARCH_VIRTUAL,		/* address rewriting: virtual_alias, canonical, generic */
	SEARCH_ADDRESS,		/* recipients, sender login, bcc, relayhost, relocated */
	SEARCH_TRANSPORT,	/* address, then domain and .parents; "*" is literal */
	SEARCH_MAIL_ACCESS,	/* check_sender_access, check_recipient_access */
	SEARCH_DOMAIN_ACCESS,	/* check_helo_access: name and parents */
	SEARCH_NETWORK_ACCESS,	/* check_client_access: that, or address and networks */
	SEARCH_DOMAIN,		/* virtual_alias_domains, relay_domains, ... */
	SEARCH_KINDS
};

/* What parent domains look like to a table: not asked, "example.com", ".example.com". */
enum parent_style { PARENTS_NONE, PARENTS_PLAIN, PARENTS_DOTTED };

/* How one map is searched. Constant while in use; the texts belong to whoever made it. */
struct search_rules {
	enum search_kind kind;
	enum parent_style parents;		/* transport, access and domain kinds */
	struct text recipient_delimiter;	/* a set; empty: no extensions */
	const struct text *local_domains;	/* folded; for bare-user keys */
	size_t n_local_domains;
	bool propagate;			/* virtual: put the extension back on results */
	bool owner_request_special;	/* owner-x and x-request keep their '-' */
};

/* Parse a kind's name in the configuration, "virtual"; false: no such kind. */
bool search_kind_parse(struct text name, enum search_kind *ret_kind);
const char *search_kind_name(enum search_kind kind);

/*
 * What a map named after a main.cf parameter gets without being told. False: the name
 * is none that Postfix knows, and the map must name its search kind.
 *
 * ret_parents  PARENTS_PLAIN for relay_domains and the access tables, PARENTS_DOTTED for
 *              transport_maps (parent_domain_matches_subdomains' default)
 * ret_class    the word of propagate_unmatched_extensions that covers it: "virtual",
 *              "canonical", "generic"; NULL for maps that do not rewrite
 */
bool search_defaults(struct text map_name, enum search_kind *ret_kind,
		     enum parent_style *ret_parents, const char **ret_class);

/*
 * The walk of one request. All zeroes is valid; one struct serves any number of
 * walks in turn without allocating; search_done() frees it.
 */
struct search {
	const struct search_rules *rules;
	struct text key;		/* as the client sent it */
	unsigned step;			/* how far the walk is; starts at 0 */
	bool is_stripped;		/* the current candidate lacks the extension */
	struct address address;		/* from step 1 on: views into `key` and `local` */
	bool is_raw;			/* the key lacks the quotes that it needs */
	bool is_quoted;			/* the current candidate has a raw form too */
	size_t extension;		/* where it starts in address.local, or its end */
	struct text host;		/* the current candidate, or a parent of it */
	struct buf local;		/* the unquoted local part */
	struct buf candidate;		/* the current key; `host` looks into it */
	struct buf last;		/* the one before, to leave out repetitions */
	struct buf scratch;
};

/*
 * Begin a walk. `key` and `rules` must outlive it. False when the key is not
 * UTF-8, which means not found (Postfix src/util/dict_utf8.c).
 */
bool search_start(struct search *s, const struct search_rules *rules, struct text key);

/*
 * The next candidate key, folded. False when there is none left; a walk may have
 * no candidate at all (an empty key). Deterministic: the same key and rules give
 * the same keys in the same order, so that a walk can be resumed by counting.
 *
 * ret_key    set on true; a view, dead at the next call
 */
bool search_next(struct search *s, struct text *ret_key);

/*
 * What the client gets when the current candidate was found with `value`:
 * `value` itself, or, for the rewriting kinds, with the local part put in front of
 * "@other" and the extension put back on each address of the list.
 *
 * out        the result is appended
 *
 * False: the value holds no address to rewrite ("non-address result" in
 * Postfix, an error); the answer is TEMP then.
 */
bool search_result(const struct search *s, struct text value, struct buf *out);

/* Is this domain, folded, one of local_domains? */
bool search_is_local(const struct search_rules *rules, struct text domain);

void search_done(struct search *s);

#endif

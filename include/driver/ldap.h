/* ldap.h - what the files of the ldap driver share: a connection, searches, a table. */
#ifndef DRIVER_LDAP_H
#define DRIVER_LDAP_H

#include "base/hosts.h"
#include "base/ldap_filter.h"
#include "driver/driver.h"

#include <ldap.h>

/* --- ldap_connect.c: hosts, TLS, bind; the only place that waits for a network ------------ */

/* What a request is for. Its time limits follow from that. */
enum purpose { FOR_LOOKUPS, FOR_SCANS };

/* The servers of the source, and the connection to one of them. All times in msec. */
struct session {
	const struct settings *source;
	struct hosts hosts;		/* in the configured order */
	uint64_t connect_timeout;	/* one host: resolve, connect, TLS, bind */
	uint64_t timeout;		/* one lookup, all its searches */
	uint64_t scan_timeout, scan_idle;
	uint64_t retry_interval, idle_interval;
	uint64_t began;			/* the current request */
	uint64_t ends;			/* the time of the current host for it */
	enum purpose purpose;		/* its purpose */

	LDAP *ld;			/* NULL: not connected */
	struct host *host;		/* whose it is, or was last; or NULL */
	bool is_new;			/* made for the current request */
	unsigned opened;		/* so many connections: the number of this one */
	uint64_t used;			/* when the last request ended */
	struct watchdog *watchdog;	/* breaks calls of the library that hang */
	uint64_t watched;		/* what the last one was given */
	struct place *places;		/* what is known of each host, in their order */
	uint64_t tls_made;		/* when the library read the files for TLS; 0: not */
	struct buf why;			/* what the last host failed of */
};

/* Does not connect. False with a reason. Freed with session_done(), whatever the result. */
bool session_init(struct session *s, const struct settings *source, struct buf *ret_why);
void session_done(struct session *s);

/*
 * For the request that `began`: connect to the first host that does not rest unless that is
 * done. ENDED_DONE, or with a reason (host, phase, what is wrong) ENDED_DOWN; ENDED_TEMP when
 * there was no time for the hosts that are left. Phases: resolve, connect, tls, bind.
 */
enum ended session_open(struct session *s, enum purpose purpose, struct buf *ret_why);
void session_close(struct session *s);

/*
 * From now on the library has `msec`; then the connection is shut down under it, and whatever
 * it is in comes back with LDAP_SERVER_DOWN. 0: no longer. Every call that may read or write
 * stands between two of these; libldap's own time limits do not hold (ecosystem.md 3.1).
 */
void session_watch(struct session *s, uint64_t msec);

/* What this host has left for this request; at least 1, for session_watch(). */
uint64_t session_left(const struct session *s);

/*
 * What has come of a result code of a search. ENDED_TEMP when the request is to blame. When the
 * connection is, it is closed (`ld` is NULL then, also with some ENDED_TEMP), and with
 * ENDED_DOWN another host, or the same one, is worth a try; a host that was at fault rests.
 */
enum ended session_failed(struct session *s, int code, const char *phase,
			  struct buf *ret_why);

/* --- ldap_search.c: one search, and entries as the server sent them ----------------------- */

struct attribute {
	char *name;			/* as the server calls it, with its options */
	struct text *values;		/* C strings: cut at the first NUL, as in Postfix */
	size_t n;
};

/* All values are there: what came as `;range=` has been fetched to its end. */
struct entry {
	char *dn;
	struct attribute *attributes;	/* in the order of the server */
	size_t n;
	size_t bytes;			/* what it takes in memory, about */
};

void entry_free(struct entry *e);	/* NULL is fine */

struct search {
	const char *base;
	int scope;			/* LDAP_SCOPE_* */
	const char *filter;
	char **attributes;		/* NULL-terminated */
	size_t size_limit;		/* entries; 0: none */
	unsigned page_size;		/* 0: not paged */
	/*
	 * Takes over `e`. False: enough, and the search ends with LDAP_USER_CANCELLED. Called
	 * between calls of the library and between pages, so that it may search itself,
	 * without pages.
	 */
	bool (*on_entry)(void *ctx, struct entry *e);
	void *ctx;
};

struct search_result {
	int code;			/* LDAP_SUCCESS only when every page was, and the last cookie empty */
	bool has_references;		/* part of it is elsewhere */
	char *matched;			/* with LDAP_NO_SUCH_OBJECT: how far it got; owned */
};

/*
 * Run it to its end. The caller makes of the code what it means: session_failed(). What we
 * have to add to that goes to `ret_why`, before it, with a colon.
 */
struct search_result search_run(struct session *s, const struct search *what,
				struct buf *ret_why);

/*
 * Read one entry, if the filter finds it, into `*ret`, which is NULL before and may be so
 * afterwards, for entry_free(). LDAP_SUCCESS, or as search_run().
 */
int search_entry(struct session *s, const char *dn, const char *filter, char **attributes,
		 struct entry **ret, struct buf *ret_why);

/* --- ldap_values.c: what entries are worth, by the rules of ldap_table(5) ------------------ */

/* The settings of a table, ready for use. */
struct table {
	struct template *search_base, *query_filter;
	bool is_base_dynamic;
	int scope;
	char **attributes;		/* to ask for: terminal, leaf, ordinary, special */
	size_t n_terminal, n_leaf, n_result, n_special;	/* of them, in that order */
	size_t recursion_limit, size_limit, expansion_limit;	/* 0: none, but for the first */
	unsigned page_size;
	bool ignore_references;		/* in scans; lookups do as Postfix */
	struct ldap_plan plan;		/* of scans; n == 0: `why_not` */
	bool is_plan_explicit;		/* key_attribute is set: its matching rule is taken on trust */
	struct buf why_not;
	const char *change_check;	/* NULL: there is none */
	const struct settings *settings;
};

/*
 * Fetch the entries that a DN or LDAP URL leads to: a list owned by the cache or to be freed
 * with it. What happened is an LDAP code; see value_walk.
 */
struct entries {
	struct entry **list;
	size_t n;
};

/*
 * How the walk gets at referenced entries: live for a lookup, through a memo for a scan. The
 * entries stay the fetcher's and live until the walk ends.
 */
struct fetcher {
	int (*fetch)(void *ctx, const char *base, int scope, const char *filter,
		     char **attributes, const struct entries **ret);
	void *ctx;
};

/*
 * Give out the values of the entries of one search, as dict_ldap_get_values() does: terminal
 * and leaf attributes, special ones with their recursion; postfix-tables.md 8, Postfix
 * src/global/dict_ldap.c. Of expansion_limit only that is an error here which is one with
 * any result_format; the server counts.
 *
 * LDAP_SUCCESS; with a reason LDAP_SIZELIMIT_EXCEEDED (a limit), LDAP_CLIENT_LOOP (too deep),
 * LDAP_PARAM_ERROR (a URL that is none); or, without one, what a fetch ended with.
 */
int values_walk(const struct table *t, const struct entries *entries,
		const struct fetcher *fetcher, void (*on_value)(void *ctx, struct text value),
		void *ctx, struct buf *ret_why);

/* --- the requests: ldap_lookup.c, ldap_scan.c ----------------------------------------------- */

/*
 * Once, on an open session. As session_failed() for what goes wrong. A base that is not there
 * is a key that is not there when the key is part of it, as in Postfix, but not when that
 * is missing which is the same for all keys, or all that the server should have:
 * postfix-tables.md 8. Nothing where referrals were followed is ENDED_TEMP.
 */
enum ended ldap_lookup(struct session *s, struct table *t, struct text key,
		       struct rows *rows, struct buf *ret_why);
enum ended ldap_scan(struct session *s, struct table *t, struct rows *rows,
		     struct buf *ret_why);

/*
 * For change_check: values that are the same as long as a scan would be. Not seen are other
 * access rights, values that the server makes up as it answers (dynamic groups, memberOf),
 * and entries that references lead to elsewhere: for contextCSN in a database without
 * one, for modifyTimestamp outside of search_base. A full scan at `refresh` sees all.
 */
enum ended ldap_changed(struct session *s, struct table *t, struct rows *rows,
			struct buf *ret_why);

/* --- ldap_schema.c: how the server compares values of an attribute ------------------------ */

enum matching {
	MATCHING_UNKNOWN,	/* no rule, or one that is more than a comparison of text */
	MATCHING_IGNORE,	/* text, case ignored */
	MATCHING_EXACT,		/* text or numbers; only what is its own fold can be a key */
	MATCHING_OCTETS,	/* the same byte by byte, with all blanks */
};

/* A key attribute: how it is compared, and by which names the server calls it. */
struct key_type {
	enum matching matching;
	bool has_substrings;		/* a SUBSTR rule alike: "*@%s" can match */
	char **names;			/* its and its subtypes', OIDs, too; NULL-terminated */
};

struct schema;

/*
 * Read the subschema (RFC 4512 4.2) that the root DSE names. ENDED_DONE, or with a reason
 * as session_failed(), ENDED_TEMP also when there is none.
 */
enum ended schema_read(struct session *s, struct schema **ret, struct buf *ret_why);

/*
 * Of an attribute, by any of its names; freed with the schema. NULL with a reason: the server
 * does not know it. With a reason, too, when the matching is unknown. Active Directory
 * publishes no rules: there the syntax decides.
 */
const struct key_type *schema_key_type(struct schema *schema, const char *attribute,
				       struct buf *ret_why);

void schema_free(struct schema *schema);	/* NULL is fine */

#endif

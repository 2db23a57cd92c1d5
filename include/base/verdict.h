/* verdict.h - the four words of an answer, and the only way to say NOTFOUND. */
#ifndef BASE_VERDICT_H
#define BASE_VERDICT_H

#include "base/text.h"

/*
 * What a map says about a key. The four are never folded into fewer:
 * a TEMP mistaken for NOTFOUND bounces somebody's mail. TEMP is zero, so that
 * what nobody filled in is a delay and not a bounce.
 */
enum verdict {
	TEMP,		/* nobody could say; value is the reason, for the log */
	FOUND,		/* value is set and not empty */
	NOTFOUND,	/* absent, and there is a proof of it; see answer_absent() */
	PERM,		/* the request itself makes no sense; value is the reason */
	VERDICTS
};

/* Why nobody could say, for counting: one row makes the number and the name. */
#define TEMP_REASON_ROWS(X) \
	X(REASON_OTHER, "other") \
	X(REASON_EMPTY, "empty")		/* no scan has been accepted yet */ \
	X(REASON_EXPIRED, "expired")		/* the copy is older than stale_max */ \
	X(REASON_STALE, "stale")		/* it is STALE, and lacks the key */ \
	X(REASON_DEADLINE, "deadline")		/* the directory did not answer in time */ \
	X(REASON_DOWN, "down")			/* it cannot be reached */ \
	X(REASON_FAILED, "failed")		/* it answered with an error, or a driver died */ \
	X(REASON_QUEUE, "queue")		/* too many lookups wait for it */ \
	X(REASON_CACHE_FULL, "cache_full")	/* no room for another question */ \
	X(REASON_UNUSABLE, "unusable")		/* a value that no client may see */ \
	X(REASON_TOO_LONG, "too_long")		/* the protocol cannot carry the value */ \
	X(REASON_UNKNOWN_MAP, "unknown_map") \
	X(REASON_STOPPING, "stopping")		/* the server is, or was told of other sources */

enum temp_reason {
#define X(id, name) id,
	TEMP_REASON_ROWS(X)
#undef X
	TEMP_REASONS
};

/*
 * A verdict and its text: the value for FOUND, a short ASCII reason without
 * data for TEMP and PERM, nothing for NOTFOUND. The text is a view; who makes the
 * answer says how long it lives.
 */
struct answer {
	enum verdict verdict;
	struct text value;
	enum temp_reason reason;	/* of a TEMP */
};

/* Why a key may be called absent. Zero proves nothing. */
enum proof {
	PROOF_NONE,
	PROOF_DIRECTORY,	/* the directory was asked, ended in success, and had no value */
	PROOF_CACHED,		/* it said so less than negative_ttl ago */
	PROOF_MIRROR,		/* a FRESH and complete mirror has no such key */
	PROOF_POLICY,		/* the mirror is STALE and stale_miss tells us to say so */
	PROOF_UNASKABLE,	/* the template or the domain list leaves nothing to ask */
	PROOF_NOT_UTF8,		/* a key that is not UTF-8 is never asked (dict_utf8.c) */
	PROOF_ALL_TABLES,	/* each candidate key is absent, with proof, in each table */
	PROOFS
};

/* NOTFOUND on a proof, TEMP without one. The only place that makes a NOTFOUND. */
struct answer answer_absent(enum proof proof);

/* FOUND with `value`; TEMP when it is empty, as a bare OK means "not found" to Postfix 3.7. */
struct answer answer_found(struct text value);

/* TEMP or PERM for `why`, a string that outlives the answer. */
struct answer answer_temp(const char *why);
struct answer answer_temp_for(enum temp_reason reason, const char *why);
struct answer answer_perm(const char *why);

/* "TEMP", "FOUND", ... */
const char *verdict_name(enum verdict verdict);

/* "deadline" */
const char *temp_reason_name(enum temp_reason reason);

#endif

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

/*
 * A verdict and its text: the value for FOUND, a short ASCII reason without
 * data for TEMP and PERM, nothing for NOTFOUND. The text is a view; who makes the
 * answer says how long it lives.
 */
struct answer {
	enum verdict verdict;
	struct text value;
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
struct answer answer_perm(const char *why);

/* "TEMP", "FOUND", ... */
const char *verdict_name(enum verdict verdict);

#endif

/* explain.h - everything that bears on the answer to one key, gathered for people. */
#ifndef ENGINE_EXPLAIN_H
#define ENGINE_EXPLAIN_H

#include "engine/engine.h"

/* What the directory says to one key of one table at this moment, past all caches. */
struct explain_live {
	bool was_asked;			/* else `text` says why not, or is empty where nobody would ask */
	enum verdict verdict;		/* of the values after result_format */
	enum temp_reason reason;	/* TEMP */
	struct buf text;		/* value or reason */
	uint64_t took;			/* usec */
	struct buf queries;		/* as sent, expanded and escaped; each ends with a NUL */
};

/* One table about one candidate key. */
struct explain_table {
	size_t index;			/* of the table in its map */
	char *source;
	bool is_mirror;			/* mode */
	bool is_reached;		/* the walk comes here: nothing before it settles the answer */
	const char *why_not;		/* not NULL: nothing is asked, and why: "the domain list does not hold it" */
	enum table_state state;		/* of the mirror */
	uint64_t age;			/* msec, of the mirror; 0 without one */
	bool has_mirror, is_mirrored;	/* there is a copy; this key is one that it can know */
	enum mirror_says mirror;
	struct buf mirror_value;	/* MIRROR_HIT */
	struct demand_view cache;	/* demand.h: what is noted about the key */
	struct buf cache_value;
	struct rejection rejection;	/* times 0: none */
	char scan_why[200];		/* why the last scan failed; empty: it did not */
	enum source_state source_state;
	char source_why[200];		/* the last failure of the source; empty: none */
	struct explain_live live;
	/* What the table gives to the walk now; with would_ask: after the directory's word in `live`. */
	bool would_ask;
	enum verdict verdict;
	enum temp_reason reason;
	enum origin origin;
	bool is_stale;
	struct buf text;
};

struct explain_step {
	struct buf key;			/* folded, as the tables see it */
	struct explain_table *tables;
	size_t n_tables;
};

struct explanation {
	bool has_map, is_secret;
	enum search_kind search;
	bool is_unaskable;		/* the key is not UTF-8, or has no candidate at all */
	struct explain_step *steps;	/* every candidate, in order; those behind the answer, too */
	size_t n_steps;
	bool is_cut;			/* there were more than EXPLAIN_MAX table views */
};

#define EXPLAIN_MAX 64	/* table views of one explanation */

/*
 * Gather it. Nothing changes: no cache learns from it. With `is_live` the directory is asked about
 * each key of each table, bounded by EXPLAIN_MAX and `msec` in all. From a thread without a loop. NULL:
 * the control loop does not answer. Ends with explain_free().
 */
struct explanation *explain_get(struct engine *e, struct text map, struct text key, bool is_live,
				uint64_t msec);
void explain_free(struct explanation *x);	/* NULL is fine */

#endif

/* explain.h - everything that bears on the answer to one key, gathered for people. */
#ifndef ENGINE_EXPLAIN_H
#define ENGINE_EXPLAIN_H

#include "engine/question.h"
#include "engine/source.h"

/* What the directory says to one key of one table at this moment, past all caches. */
struct explain_live {
	bool was_asked;			/* else `why` says why not; empty: nobody would ask */
	enum verdict verdict;		/* of the values after result_format */
	enum temp_reason reason;	/* TEMP */
	struct buf text;		/* value, or what clients would be told */
	struct buf why;			/* TEMP: the driver's own words, escaped; or why it was not asked */
	uint64_t took;			/* usec in the driver process; 0: it did not come to that */
	uint64_t waited;		/* usec, for a process that was free, or in vain */
	bool is_late;			/* no client of this table would have waited for so long */
	struct buf queries;		/* as sent, expanded and escaped; each ends with a NUL */
};

/* Of a table's settings, msec. */
struct explain_times {
	uint64_t refresh, max_age, stale_max;	/* of a mirror */
	uint64_t ttl, negative_ttl;
	uint64_t deadline;
};

/* Its last scan. */
struct explain_scan {
	bool is_running;
	uint64_t ago;			/* msec since it ended; 0: there was none */
	enum scan_outcome outcome;
	char why[200];			/* not SCAN_OK, escaped */
};

/* One table about one candidate key. */
struct explain_table {
	size_t index;			/* of the table in its map */
	char *source;
	bool is_mirror;			/* mode */
	bool is_reached;		/* the walk comes here: nothing before it settles the answer */
	const char *why_not;		/* not NULL: nothing is asked for such a key, and why */
	enum stale_miss stale_miss;
	char *domains;			/* the domain map, if a stale miss asks it, or NULL */
	struct buf domain;		/* what it is asked about; empty: the key has none */
	enum membership membership;	/* what it says */
	struct explain_times times;

	enum table_state state;		/* of the mirror */
	uint64_t age;			/* msec, of the mirror; 0 without one */
	bool has_mirror, is_mirrored;	/* there is a copy; this key is one that it can know */
	enum mirror_says mirror;
	bool is_ended;			/* MIRROR_ABSENT, as the time of its values has passed */
	struct buf mirror_value;	/* MIRROR_HIT */
	struct rejection rejection;	/* times 0: none */
	uint64_t rejected_for;		/* msec since the first of these */
	struct explain_scan scan;

	struct demand_view cache;	/* demand.h: what is noted about the key */
	struct buf cache_value;		/* NOTED_FOUND */

	enum source_state source_state;
	char source_why[200];		/* the last failure of the source; empty: none */
	uint64_t failing_for;		/* msec since the first failure in a row; 0: it does not fail */
	struct explain_live live;

	/* What the table gives to the walk: by itself, or after the directory's word in `live`. */
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
	bool has_map, is_refused;	/* as in struct question_reply; then there is nothing else */
	enum search_kind search;
	struct explain_step *steps;	/* every candidate, in order; those behind the answer, too */
	size_t n_steps;
	bool is_live;			/* the directory was asked, where there was time */
	bool is_cut;			/* there were more than EXPLAIN_MAX table views */
	/*
	 * What a client gets. Where the directory would be asked, and was not: what clients get when it
	 * does not answer in time.
	 */
	struct question_reply answer;
	const struct explain_table *decisive;	/* whose word that is; NULL: not found, or no candidate */
};

#define EXPLAIN_MAX 64	/* table views of one explanation */

/*
 * Gather it. Nothing changes: no cache learns from it. With `is_live` the directory is asked about
 * each key of each table, one at a time, for `msec` in all. From a thread without a loop. NULL:
 * the control loop does not answer. Ends with explain_free().
 *
 * with_secrets   of maps that are secret, too
 */
struct explanation *explain_get(struct engine *e, struct text map, struct text key,
				bool with_secrets, bool is_live, uint64_t msec);
void explain_free(struct explanation *x);	/* NULL is fine */

#endif

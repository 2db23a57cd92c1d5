/* lookup.h - one request's walk through a map, and how it waits for a directory. Answer loops. */
#ifndef ENGINE_LOOKUP_H
#define ENGINE_LOOKUP_H

#include "engine/loop.h"
#include "engine/registry.h"

/* What else there is to count of an answer. */
struct tally {
	unsigned step;			/* FOUND: the place of the candidate key, from 0 */
	bool is_stale;			/* FOUND or NOTFOUND by a copy past its time */
	enum origin origin;		/* NOTFOUND: the farthest of all that were asked */
	unsigned table;			/* not NOTFOUND: whose word it is */
};

/*
 * A parked request. It belongs to its loop and is only lent to a table's demand
 * cache, which gives it back through ask_wake(); until then the loop may answer the client
 * (deadline) or lose it, by setting `owner` to NULL, but not free it.
 *
 * It remembers where the walk stood by counting, not by pointers: registry, map and
 * table may be replaced while it waits.
 */
struct ask {
	struct waiter waiter;		/* first: the cache's handle on it */
	struct message message;		/* brings it home */
	struct loop *home;
	void (*on_home)(struct ask *);	/* on the home loop, when the directory has spoken */
	void *owner;			/* the client; NULL: answered, or gone */
	struct ask *prev, *next;	/* the loop's list of parked requests */
	uint64_t deadline;		/* msec of clock_msec() */
	struct buf map, key;		/* the request, copied */
	uint64_t serial;		/* of the registry in which it was parked */
	unsigned candidate, table;	/* where the walk stopped */
	struct tally so_far;		/* of the tables before that one */
	enum verdict delivered;		/* what the directory said */
	enum temp_reason reason;	/* with TEMP */
	struct buf text;		/* value or reason that came with it */
	struct buf stale;		/* may stand in for the directory; empty: nothing */
};

/* A loop's scratch memory for walks; all zeroes is valid. */
struct lookup {
	struct loop *loop;
	void (*on_home)(struct ask *);	/* for the asks that are parked */
	struct search search;
	struct buf value;		/* what a demand cache copied out */
	struct buf result;		/* the rewritten value */
	struct buf reason;		/* "MAP: why" */
	struct ask *spare;		/* the ask for the next park */
	struct tally tally;		/* of the last answer */
};

/*
 * Answer a request, or park it.
 *
 * r          the current registry
 * resumed    an ask that came home; NULL for a new request. Its walk goes on where it
 *            stopped, or from the start when the configuration has changed.
 * now        msec of clock_msec()
 * ret        set when answered; the value is good until the callback returns or `l` is used again
 * ret_map    the map, for the counters, which are the caller's to see to; NULL when unknown
 *
 * Returns NULL when answered, else the ask, which is now waiting; the caller sets its owner.
 */
struct ask *lookup_run(struct lookup *l, struct registry *r, struct text map, struct text key,
		       const struct ask *resumed, uint64_t now, struct answer *ret,
		       struct map **ret_map);

/*
 * The same for an ask whose deadline has passed while it is still lent out: the
 * table's old value, a FRESH mirror's word, or TEMP. `late` itself is left alone.
 */
struct ask *lookup_expire(struct lookup *l, struct registry *r, const struct ask *late,
			  uint64_t now, struct answer *ret, struct map **ret_map);

/* The answer for a candidate that was found: what search_result() makes of it, in `out`. */
struct answer lookup_result(const struct search *search, struct answer found, struct buf *out);

/* "MAP: why", as clients are told of a TEMP; in `out`. */
struct answer lookup_refusal(struct text map, struct answer temp, struct buf *out);

/* How domain maps are asked; on the stack of whoever makes a domain_oracle. */
struct oracle {
	struct registry *registry;
	unsigned depth;
	const struct search_rules *rules;	/* of the map that asks */
};

/* For table_get() and its like, in a callback of a loop. `o` is filled in, and lives as long as that. */
struct domain_oracle lookup_oracle(struct oracle *o, struct registry *r,
				   const struct search_rules *rules, struct text request);

void lookup_done(struct lookup *l);
void ask_free(struct ask *a);	/* NULL is fine */

/* Send everybody home who waited in a demand cache. From any thread. */
void ask_wake(struct waiter *waiters, struct answer answer);

#endif

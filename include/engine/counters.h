/*
 * counters.h - what is counted, by map and by listener; one cell per answer loop, summed when read.
 */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include "base/verdict.h"
#include "wire/protocol.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/*
 * A counter has one writer and any reader. Relaxed: a number nobody acts upon. A plain load and
 * store, as nobody else writes.
 */
static inline void count_up(_Atomic uint64_t *counter, uint64_t by)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
			      memory_order_relaxed);
}

static inline uint64_t count_of(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

/* --- how long things take ------------------------------------------------------------------ */

#define HISTOGRAM_BUCKETS 12

/* Upper bounds in usec, ascending; what is over the last one falls into one bucket more. */
struct histogram_bounds {
	uint64_t usec[HISTOGRAM_BUCKETS];
};
extern const struct histogram_bounds lookup_bounds;	/* 50 us to 2.5 s */
extern const struct histogram_bounds refresh_bounds;	/* 0.1 s to 10 min */

struct histogram {
	_Atomic uint64_t n[HISTOGRAM_BUCKETS + 1];
	_Atomic uint64_t usec;				/* all together */
};

static inline void histogram_add(struct histogram *h, const struct histogram_bounds *bounds,
				 uint64_t usec)
{
	size_t i = 0;

	while (i < HISTOGRAM_BUCKETS && usec > bounds->usec[i])
		i++;
	count_up(&h->n[i], 1);
	count_up(&h->usec, usec);
}

/* --- maps ---------------------------------------------------------------------------------- */

/* One row makes the number and the name. Adding a counter is adding a row. */
#define MAP_COUNTERS(X) \
	X(COUNT_STALE_HITS, "stale_hits")	/* values from a copy past its time */ \
	X(COUNT_STALE_MISSES, "stale_misses")	/* not found, by such a copy and stale_miss */ \
	X(COUNT_ASKED, "asked")			/* had to wait for a directory */

enum map_counter {
#define X(id, name) id,
	MAP_COUNTERS(X)
#undef X
	MAP_COUNTS
};

/* Search steps that are told apart; the last stands for all that follow it. */
#define COUNTED_STEPS 8

/* The counters of one map and one loop; written by that loop alone, read by anybody. */
struct counters {
	_Alignas(64) _Atomic uint64_t n[MAP_COUNTS];
	_Atomic uint64_t replies[PROTOCOLS][VERDICTS];	/* as they were sent */
	_Atomic uint64_t temps[TEMP_REASONS];
	_Atomic uint64_t hits[COUNTED_STEPS];		/* which candidate key was found */
	struct histogram took;				/* from request to reply */
};

static inline void count(struct counters *c, enum map_counter which)
{
	count_up(&c->n[which], 1);
}

/* Add the cells up; `ret` is the caller's alone. */
void counters_sum(const struct counters *cells, size_t n, struct counters *ret);

/* Of all protocols, in a sum. */
uint64_t counters_replies(const struct counters *sum, enum verdict verdict);

/* "notfound": how replies are called where they are counted. */
extern const char *const reply_words[VERDICTS];

/* --- listeners ----------------------------------------------------------------------------- */

#define LISTENER_COUNTERS(X) \
	X(LISTENER_REQUESTS, "requests")	/* answered, with whatever */ \
	X(LISTENER_SYNTAX, "syntax")		/* out of step: closed */ \
	X(LISTENER_TOO_LONG, "too_long")	/* closed */ \
	X(LISTENER_REQUEST, "request")		/* well framed but meaningless: PERM */ \
	X(LISTENER_TIMEOUT, "timeout")		/* not finished in request_timeout: closed */ \
	X(LISTENER_UNREAD, "unread")		/* reads no replies: closed */

enum listener_counter {
#define X(id, name) id,
	LISTENER_COUNTERS(X)
#undef X
	LISTENER_COUNTS
};

/* Of one listener and one loop. */
struct listener_counters {
	_Alignas(64) _Atomic uint64_t n[LISTENER_COUNTS];
};

#endif

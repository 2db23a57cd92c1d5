/* counters.h - what is counted, by map; one cell per answer loop, summed when read. */
#ifndef ENGINE_COUNTERS_H
#define ENGINE_COUNTERS_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* One row makes the number, the name, and the help. Adding a counter is adding a row. */
#define MAP_COUNTERS(X) \
	X(COUNT_FOUND, "found", "Requests answered with a value.") \
	X(COUNT_NOTFOUND, "notfound", "Requests answered with not found.") \
	X(COUNT_TEMP, "temp", "Requests answered with a temporary error.") \
	X(COUNT_PERM, "perm", "Requests that made no sense.") \
	X(COUNT_STALE, "stale", "Answers from a copy past its time, while the directory failed.") \
	X(COUNT_ASKED, "asked", "Requests that waited for the directory.") \
	X(COUNT_TOO_LONG, "too_long", "Values that the protocol could not carry.")

enum map_counter {
#define X(id, name, help) id,
	MAP_COUNTERS(X)
#undef X
	MAP_COUNTS
};

/* The counters of one map and one loop; written by that loop alone, read by anybody. */
struct counters {
	_Alignas(64) _Atomic uint64_t n[MAP_COUNTS];
};

/* Relaxed: a number nobody acts upon. A plain load and store, as there is one writer. */
static inline void count(struct counters *c, enum map_counter which)
{
	atomic_store_explicit(&c->n[which],
			      atomic_load_explicit(&c->n[which], memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static inline uint64_t counters_sum(const struct counters *cells, size_t n, enum map_counter which)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += atomic_load_explicit(&cells[i].n[which], memory_order_relaxed);
	return sum;
}

#endif

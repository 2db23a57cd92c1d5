/* shard.h - entries in a fixed piece of memory: by key, evicted by age. For demand.c. */
#ifndef STORE_SHARD_H
#define STORE_SHARD_H

#include "base/buf.h"

#include <pthread.h>
#include <stdalign.h>

struct waiter;

#define CHUNK_BYTES 128

/* Every entry is on exactly one list; shard_move() is the only mover. */
enum list {
	GUESTS,		/* NOTFOUNDs and failures: strangers can cause any number */
	VALUES,		/* FOUNDs */
	ASKED,		/* somebody fetches it, waiters may be parked: never evicted */
	LISTS
};

/* FORGOTTEN is nothing, too: what is on its way about the key is not to be kept. */
enum known { NOTHING, VALUE, ABSENCE, FORGOTTEN };

/*
 * What is noted about a key: the first of a chain of chunks, which alone holds a usual
 * address and its value. Chunks are named by number; 0 is none.
 */
struct entry {
	struct waiter *waiters;
	uint64_t fresh_until;	/* of what is known, msec */
	uint64_t retry_at;	/* not asked again before; 0: any time */
	uint32_t hash;
	uint32_t chain;		/* next in the bucket */
	uint32_t newer, older;	/* neighbours in the list */
	uint32_t more;		/* next chunk */
	uint32_t n_key, n_value;
	uint32_t known_at;	/* since when it is known, for the caller */
	uint8_t known;		/* enum known */
	uint8_t list;		/* enum list */
	bool is_used;		/* since it became the newest: spares it once */
	char data[CHUNK_BYTES - 59];	/* the key, and right behind it the value */
};

struct lru {
	uint32_t newest, oldest;
	uint32_t n_entries, n_chunks;
};

union chunk;

/* Callers of all but shard_init() and shard_done() hold the lock. */
struct shard {
	alignas(64) pthread_mutex_t lock;	/* guards all to `random`, and chunks */
	struct lru lists[LISTS];
	uint32_t free;		/* first of the chunks given back */
	uint32_t n_touched;	/* chunks 1 to here have been used, the others never */
	uint64_t random;	/* clock_random() state, for the caller */
	uint32_t n_chunks;	/* this and all below: set at the start, then constant */
	uint32_t *buckets;	/* n_chunks of them, so that nothing is ever rehashed */
	union chunk *chunks;	/* n_chunks and number 0 */
};

/*
 * An empty shard in `n_bytes` zeroes at `p`, which the caller keeps; aligned to CHUNK_BYTES.
 * Nothing else is ever allocated: the bound holds by construction, nothing fragments, no
 * allocation can fail under a lock, and pages never touched stay with the kernel.
 */
void shard_init(struct shard *s, char *p, size_t n_bytes);
void shard_done(struct shard *s);	/* no waiter may be parked */

/* Bytes of it that hold no entry. */
size_t shard_unused(const struct shard *s);

/* The entry of a key, or NULL. `hash` is any part of hash_text(key), always the same. */
struct entry *shard_find(struct shard *s, uint32_t hash, struct text key);

/*
 * A new entry on a list, for a key that has none; old ones are evicted to make room. With
 * a value (then on VALUES) that is known, else nothing is. NULL when there is no room.
 */
struct entry *shard_add(struct shard *s, uint32_t hash, struct text key,
			struct text value, enum list list);

/* Forget an entry, which has no waiters; it is dead afterwards. */
void shard_drop(struct shard *s, struct entry *e);

/* Make an entry the newest of a list. */
void shard_move(struct shard *s, struct entry *e, enum list list);

/* Append the value of an entry. */
void shard_read(struct shard *s, struct entry *e, struct buf *value);

/* Append its key, and right behind it its value. */
void shard_read_both(struct shard *s, struct entry *e, struct buf *out);

/*
 * The entries of a bucket (below n_chunks), one after the other: the first for NULL, and NULL
 * after the last. A key stays in its bucket for as long as it is known.
 */
struct entry *shard_next(struct shard *s, uint32_t bucket, struct entry *before);

#endif

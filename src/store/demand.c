#include "store/demand.h"

#include "base/clock.h"
#include "base/hash.h"
#include "store/shard.h"

#include <sys/mman.h>

#define SHARDS_MAX 16
#define SHARD_BYTES_MIN ((size_t)64 << 10)
#define PAGE ((size_t)4096)
#define FOREVER (UINT64_MAX / 2)	/* msec: jitter may still add to it */

/* One mapping holds this and the memory of all shards. */
struct demand {
	struct demand_times times;
	size_t size;		/* of the mapping */
	unsigned n_shards;
	struct shard shards[];
};

static const struct text none;

/* --- time --------------------------------------------------------------------------- */

static uint64_t later(uint64_t now, uint64_t msec)
{
	return msec > UINT64_MAX - now ? UINT64_MAX : now + msec;
}

static bool is_fresh(const struct entry *e, uint64_t now)
{
	return e->known != NOTHING && now < e->fresh_until;
}

/* May what is known still be used in some way? An absence may only while it is fresh. */
static bool is_usable(const struct demand *d, const struct entry *e, uint64_t now)
{
	return is_fresh(e, now) ||
	       (e->known == VALUE && now < later(e->fresh_until, d->times.stale_max));
}

/* Is a fresh value so near its end that somebody should fetch the next one? */
static bool is_due(const struct demand *d, const struct entry *e, uint64_t now)
{
	return e->known == VALUE && e->list != ASKED && now >= e->retry_at &&
	       e->fresh_until - now <= d->times.ttl / 10;
}

/* --- the cache ---------------------------------------------------------------------- */

static unsigned shards_for(size_t n_bytes)
{
	size_t n = n_bytes / SHARD_BYTES_MIN;

	return n < 1 ? 1 : n > SHARDS_MAX ? SHARDS_MAX : (unsigned)n;
}

struct demand *demand_new(size_t max_bytes, const struct demand_times *times)
{
	size_t size = max_bytes < SHARD_BYTES_MIN ? SHARD_BYTES_MIN
						  : max_bytes & ~(PAGE - 1);
	unsigned n = shards_for(size);
	size_t head = sizeof(struct demand) + n * sizeof(struct shard);
	struct demand *d = mmap(NULL, size, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (d == MAP_FAILED)
		return NULL;
	d->times = *times;
	if (d->times.ttl > FOREVER)
		d->times.ttl = FOREVER;
	if (d->times.negative_ttl > FOREVER)
		d->times.negative_ttl = FOREVER;
	d->size = size;
	d->n_shards = n;

	head = (head + CHUNK_BYTES - 1) & ~(size_t)(CHUNK_BYTES - 1);
	size_t part = ((size - head) / n) & ~(size_t)(CHUNK_BYTES - 1);
	for (unsigned i = 0; i < n; i++) {
		shard_init(&d->shards[i], (char *)d + head + i * part, part);
		hash_random(&d->shards[i].random, sizeof d->shards[i].random);
	}
	return d;
}

void demand_free(struct demand *d)
{
	if (!d)
		return;
	for (unsigned i = 0; i < d->n_shards; i++)
		shard_done(&d->shards[i]);
	munmap(d, d->size);
}

/* The shard of a key, locked. Different bits choose shard and bucket. */
static struct shard *lock_shard(struct demand *d, struct text key, uint32_t *ret_hash)
{
	uint64_t hash = hash_text(key);
	struct shard *s = &d->shards[(hash >> 48) * d->n_shards >> 16];

	*ret_hash = (uint32_t)hash;
	pthread_mutex_lock(&s->lock);
	return s;
}

/* Park the waiter; the first one is to ask the directory. */
static struct demand_reply park(struct shard *s, struct entry *e, struct waiter *w)
{
	bool is_first = e->list != ASKED;

	shard_move(s, e, ASKED);
	w->next = e->waiters;
	e->waiters = w;
	return (struct demand_reply){ .says = DEMAND_WAIT, .lead = is_first };
}

static struct demand_reply reply_fresh(struct demand *d, struct shard *s, struct entry *e,
				       uint64_t now, struct buf *value)
{
	bool is_found = e->known == VALUE;
	struct demand_reply reply = {
		.says = is_found ? DEMAND_FOUND : DEMAND_NOTFOUND,
		.lead = is_due(d, e, now),
	};

	if (is_found)
		shard_read(s, e, value);
	if (reply.lead)
		shard_move(s, e, ASKED);
	else
		e->is_used = true;
	return reply;
}

static struct demand_reply reply_old(struct demand *d, struct shard *s, struct entry *e,
				     uint64_t now, struct waiter *w, struct buf *value)
{
	bool has_stale = is_usable(d, e, now);
	struct demand_reply reply = { .says = has_stale ? DEMAND_STALE : DEMAND_FAILED };

	if (now >= e->retry_at) {
		reply = park(s, e, w);
		reply.has_stale = has_stale;
	}
	if (has_stale)
		shard_read(s, e, value);
	return reply;
}

struct demand_reply demand_get(struct demand *d, struct text key, uint64_t now,
			       struct waiter *w, struct buf *value)
{
	struct demand_reply reply = { .says = DEMAND_FULL };
	uint32_t hash;
	struct shard *s = lock_shard(d, key, &hash);
	struct entry *e = shard_find(s, hash, key);

	if (!e)
		e = shard_add(s, hash, key, none, GUESTS);
	if (e && is_fresh(e, now))
		reply = reply_fresh(d, s, e, now, value);
	else if (e)
		reply = reply_old(d, s, e, now, w, value);
	pthread_mutex_unlock(&s->lock);
	return reply;
}

enum demand_says demand_peek(struct demand *d, struct text key, uint64_t now)
{
	static const enum demand_says says[] = {
		[NOTHING] = DEMAND_FAILED,
		[VALUE] = DEMAND_FOUND,
		[ABSENCE] = DEMAND_NOTFOUND,
	};
	uint32_t hash;
	struct shard *s = lock_shard(d, key, &hash);
	const struct entry *e = shard_find(s, hash, key);
	enum known known = e && is_fresh(e, now) ? e->known : NOTHING;

	pthread_mutex_unlock(&s->lock);
	return says[known];
}

/* The directory gave a value. One that does not fit is not kept. */
static void put_found(struct demand *d, struct shard *s, uint32_t hash, struct text key,
		      struct text value, uint64_t now)
{
	uint64_t ttl = d->times.ttl;
	struct entry *e = ttl ? shard_add(s, hash, key, value, VALUES) : NULL;

	if (e)
		e->fresh_until = later(now, clock_jitter(ttl, &s->random));
}

/* The directory has none. Jitter only takes away: never used past negative_ttl. */
static void put_notfound(struct demand *d, struct shard *s, uint32_t hash,
			 struct text key, uint64_t now)
{
	uint64_t ttl = d->times.negative_ttl;
	struct entry *e = ttl ? shard_add(s, hash, key, none, GUESTS) : NULL;

	if (!e)
		return;
	e->known = ABSENCE;
	e->fresh_until = later(now, clock_jitter(ttl - ttl / 10, &s->random));
}

/* Nobody could say. What is past all use makes way for the bare note of the failure. */
static void put_failure(struct demand *d, struct shard *s, struct entry *e, uint32_t hash,
			struct text key, uint64_t now)
{
	if (e && !is_usable(d, e, now)) {
		shard_drop(s, e);
		e = NULL;
	}
	if (!e && d->times.retry)
		e = shard_add(s, hash, key, none, GUESTS);
	if (!e)
		return;
	e->retry_at = later(now, d->times.retry);
	shard_move(s, e, e->known == VALUE ? VALUES : GUESTS);
}

struct waiter *demand_put(struct demand *d, struct text key, struct answer answer,
			  uint64_t now)
{
	uint32_t hash;
	struct shard *s = lock_shard(d, key, &hash);
	struct entry *e = shard_find(s, hash, key);
	struct waiter *waiters = e ? e->waiters : NULL;
	bool is_found = answer.verdict == FOUND && answer.value.n;

	if (e)
		e->waiters = NULL;
	if (e && (is_found || answer.verdict == NOTFOUND))
		shard_drop(s, e);
	if (is_found)
		put_found(d, s, hash, key, answer.value, now);
	else if (answer.verdict == NOTFOUND)
		put_notfound(d, s, hash, key, now);
	else
		put_failure(d, s, e, hash, key, now);
	pthread_mutex_unlock(&s->lock);
	return waiters;
}

size_t demand_entries(struct demand *d)
{
	size_t n = 0;

	for (unsigned i = 0; i < d->n_shards; i++) {
		struct shard *s = &d->shards[i];

		pthread_mutex_lock(&s->lock);
		for (int list = 0; list < LISTS; list++)
			n += s->lists[list].n_entries;
		pthread_mutex_unlock(&s->lock);
	}
	return n;
}

size_t demand_bytes(struct demand *d)
{
	size_t n = d->size;

	for (unsigned i = 0; i < d->n_shards; i++) {
		struct shard *s = &d->shards[i];

		pthread_mutex_lock(&s->lock);
		n -= shard_unused(s);
		pthread_mutex_unlock(&s->lock);
	}
	return n;
}

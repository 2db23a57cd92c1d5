#include "store/demand.h"

#include "base/clock.h"
#include "base/hash.h"
#include "store/shard.h"
#include "store/varint.h"

#include <assert.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define SHARDS_MAX 16
#define SHARD_BYTES_MIN ((size_t)64 << 10)
#define PAGE ((size_t)4096)
#define FOREVER (UINT64_MAX / 2)	/* msec: jitter may still add to it */
#define SLICE 512u		/* buckets walked under the lock; each has an entry or less */

/* One mapping holds this and the memory of all shards. */
struct demand {
	struct demand_times times;
	size_t size;		/* of the mapping */
	unsigned n_shards;
	_Atomic bool has_forgotten;	/* since the start: images may know more */
	struct shard shards[];
};

static const struct text none;

/* --- time --------------------------------------------------------------------------- */

static uint64_t later(uint64_t now, uint64_t msec)
{
	return msec > UINT64_MAX - now ? UINT64_MAX : now + msec;
}

/* Ages are for people: they are kept in small numbers, which do for 13 years of uptime. */
#define AGE_UNIT 100u	/* msec */

static uint32_t in_units(uint64_t msec)
{
	return msec / AGE_UNIT < UINT32_MAX ? (uint32_t)(msec / AGE_UNIT) : UINT32_MAX;
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

/*
 * Did it fail so lately that the directory is not asked again yet? Or is it still being asked from
 * before demand_forget()? Who comes after that must not get such an answer.
 */
static bool is_pausing(const struct entry *e, uint64_t now)
{
	return now < e->retry_at || e->known == FORGOTTEN;
}

/* Is a fresh value so near its end that somebody should fetch the next one? */
static bool is_due(const struct demand *d, const struct entry *e, uint64_t now)
{
	return e->known == VALUE && e->list != ASKED && !is_pausing(e, now) &&
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

	if (!is_pausing(e, now)) {
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

static struct demand_view view(const struct demand *d, const struct entry *e, uint64_t now)
{
	struct demand_view v = { .is_in_flight = e->list == ASKED, .says = DEMAND_WAIT };
	uint64_t since = (uint64_t)e->known_at * AGE_UNIT;

	switch ((enum known)e->known) {
	case VALUE:
		v.what = NOTED_FOUND;
		break;
	case ABSENCE:
		v.what = NOTED_NOTFOUND;
		break;
	case NOTHING:
	case FORGOTTEN:
		v.what = e->retry_at ? NOTED_FAILED : NOTED_NOTHING;
		since = e->retry_at - d->times.retry;
		break;
	}
	v.is_fresh = v.what == NOTED_FAILED ? is_pausing(e, now) : is_fresh(e, now);
	v.is_usable = v.what == NOTED_FOUND && is_usable(d, e, now);
	v.age = v.what != NOTED_NOTHING && now > since ? now - since : 0;
	if (is_fresh(e, now))
		v.says = v.what == NOTED_FOUND ? DEMAND_FOUND : DEMAND_NOTFOUND;
	else if (is_pausing(e, now))
		v.says = v.is_usable ? DEMAND_STALE : DEMAND_FAILED;
	return v;
}

struct demand_view demand_look(struct demand *d, struct text key, uint64_t now, struct buf *value)
{
	struct demand_view v = { .says = DEMAND_WAIT };
	uint32_t hash;
	struct shard *s = lock_shard(d, key, &hash);
	struct entry *e = shard_find(s, hash, key);

	if (e)
		v = view(d, e, now);
	if (v.what == NOTED_FOUND)
		shard_read(s, e, value);
	pthread_mutex_unlock(&s->lock);
	return v;
}

/* The directory gave a value. One that does not fit is not kept. */
static void put_found(struct demand *d, struct shard *s, uint32_t hash, struct text key,
		      struct text value, uint64_t now)
{
	uint64_t ttl = d->times.ttl;
	struct entry *e = ttl ? shard_add(s, hash, key, value, VALUES) : NULL;

	if (!e)
		return;
	e->fresh_until = later(now, clock_jitter(ttl, &s->random));
	e->known_at = in_units(now);
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
	e->known_at = in_units(now);
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
	bool is_forgotten = e && e->known == FORGOTTEN;

	if (e)
		e->waiters = NULL;
	if (e && (is_found || answer.verdict == NOTFOUND || is_forgotten))
		shard_drop(s, e);
	if (is_forgotten)
		;	/* it may be from before that */
	else if (is_found)
		put_found(d, s, hash, key, answer.value, now);
	else if (answer.verdict == NOTFOUND)
		put_notfound(d, s, hash, key, now);
	else
		put_failure(d, s, e, hash, key, now);
	pthread_mutex_unlock(&s->lock);
	return waiters;
}

/* --- forgetting --------------------------------------------------------------------- */

/* True: something was noted. A question in flight stays, for those who wait for its answer. */
static bool forget(struct shard *s, struct entry *e)
{
	bool is_noted = e->known == VALUE || e->known == ABSENCE || e->retry_at;

	if (e->list != ASKED) {
		shard_drop(s, e);
		return is_noted;
	}
	e->known = FORGOTTEN;
	e->fresh_until = e->retry_at = 0;
	return is_noted;
}

size_t demand_forget(struct demand *d, struct text key)
{
	uint32_t hash;

	atomic_store(&d->has_forgotten, true);	/* before the lock, see restore() */
	struct shard *s = lock_shard(d, key, &hash);
	struct entry *e = shard_find(s, hash, key);
	bool is_noted = e && forget(s, e);

	pthread_mutex_unlock(&s->lock);
	return is_noted;
}

/* Forget some buckets under the lock; returns the first one that is left. */
static uint32_t forget_slice(struct shard *s, uint32_t bucket, size_t *n)
{
	uint32_t end = s->n_chunks - bucket > SLICE ? bucket + SLICE : s->n_chunks;

	pthread_mutex_lock(&s->lock);
	for (; bucket < end; bucket++)
		for (struct entry *e = shard_next(s, bucket, NULL), *next; e; e = next) {
			next = shard_next(s, bucket, e);
			*n += forget(s, e);
		}
	pthread_mutex_unlock(&s->lock);
	return end;
}

size_t demand_forget_all(struct demand *d)
{
	size_t n = 0;

	atomic_store(&d->has_forgotten, true);
	for (struct shard *s = d->shards; s < d->shards + d->n_shards; s++)
		for (uint32_t bucket = 0; bucket < s->n_chunks;)
			bucket = forget_slice(s, bucket, &n);
	return n;
}

bool demand_has_forgotten(const struct demand *d)
{
	return atomic_load(&d->has_forgotten);
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

/* --- for files ---------------------------------------------------------------------- */

/*
 * Numbers as varints:
 *
 *	format, one byte | negative_ttl | entries
 *
 * An entry is the length of the key, that of the value (0: an absence), msec that it is still
 * fresh, msec since it went stale (one of them is 0), the key, the value.
 */
#define IMAGE_FORMAT '\1'
#define IMAGE_HEAD (1 + VARINT_MAX)

struct saved {
	uint64_t n_key, n_value, fresh, stale;
	struct text key, value;
};

static void add_number(struct buf *out, uint64_t n)
{
	out->n = (size_t)(varint_put(buf_room(out, VARINT_MAX), n) - out->p);
}

static void save(struct shard *s, struct entry *e, uint64_t now, struct buf *out)
{
	add_number(out, e->n_key);
	add_number(out, e->n_value);
	add_number(out, e->fresh_until > now ? e->fresh_until - now : 0);
	add_number(out, e->fresh_until > now ? 0 : now - e->fresh_until);
	shard_read_both(s, e, out);
}

/* Save some buckets under the lock; returns the first one that is left. */
static uint32_t save_slice(struct demand *d, struct shard *s, uint32_t bucket, uint64_t now,
			   struct buf *out)
{
	uint32_t end = s->n_chunks - bucket > SLICE ? bucket + SLICE : s->n_chunks;

	pthread_mutex_lock(&s->lock);
	for (; bucket < end; bucket++)
		for (struct entry *e = shard_next(s, bucket, NULL); e;
		     e = shard_next(s, bucket, e))
			if (is_usable(d, e, now))
				save(s, e, now, out);
	pthread_mutex_unlock(&s->lock);
	return end;
}

bool demand_image(struct demand *d, uint64_t now, struct buf *out)
{
	size_t before = out->n;

	if (!buf_reserve(out, IMAGE_HEAD))
		return false;
	buf_byte(out, IMAGE_FORMAT);
	add_number(out, d->times.negative_ttl);
	for (struct shard *s = d->shards; s < d->shards + d->n_shards; s++)
		for (uint32_t bucket = 0; bucket < s->n_chunks;) {
			/* An entry takes fewer bytes here than in its chunks, so this is room
			   for whatever is in them, and nothing is allocated under the lock. */
			if (!buf_reserve(out, (size_t)s->n_chunks * CHUNK_BYTES)) {
				out->n = before;
				return false;
			}
			bucket = save_slice(d, s, bucket, now, out);
		}
	return true;
}

static bool take_entry(struct text *image, struct saved *ret)
{
	struct text t = *image;

	if (!varint_take(&t, &ret->n_key) || !varint_take(&t, &ret->n_value) ||
	    !varint_take(&t, &ret->fresh) || !varint_take(&t, &ret->stale) ||
	    ret->n_key > t.n || ret->n_value > t.n - ret->n_key ||
	    (ret->stale && (ret->fresh || !ret->n_value)))
		return false;
	ret->key = (struct text){ t.p, ret->n_key };
	ret->value = (struct text){ t.p + ret->n_key, ret->n_value };
	*image = text_skip(t, ret->n_key + ret->n_value);
	return true;
}

/* When what was saved ends to be fresh, or ended; false when it is of no use any more. */
static bool is_still_usable(const struct demand *d, const struct saved *e, uint64_t now,
			    uint64_t elapsed, uint64_t *ret_fresh_until)
{
	uint64_t ttl = e->n_value ? d->times.ttl + d->times.ttl / 10 : d->times.negative_ttl;
	uint64_t fresh = e->fresh < ttl ? e->fresh : ttl;

	if (ttl == 0)
		return false;
	if (fresh > elapsed) {
		*ret_fresh_until = later(now, fresh - elapsed);
		return true;
	}

	uint64_t stale = later(e->stale, elapsed - fresh);
	*ret_fresh_until = now - stale;
	return e->n_value && stale <= now && stale < d->times.stale_max;
}

/* Put it in the place of `old`: of nothing, a failure, or a question in flight. */
static void replace(struct shard *s, struct entry *old, uint32_t hash, const struct saved *e,
		    uint64_t fresh_until, uint32_t known_at)
{
	struct waiter *waiters = old ? old->waiters : NULL;
	bool is_asked = old && old->list == ASKED;
	uint64_t retry_at = old ? old->retry_at : 0;
	struct entry *new;

	if (old) {
		old->waiters = NULL;
		shard_drop(s, old);
	}
	new = shard_add(s, hash, e->key, e->value, e->n_value ? VALUES : GUESTS);
	if (new) {
		new->known = e->n_value ? VALUE : ABSENCE;
		new->fresh_until = fresh_until;
	} else if (is_asked) {
		new = shard_add(s, hash, e->key, none, GUESTS);
		assert(new);	/* it takes the room that was just given back */
	}
	if (!new)
		return;
	new->known_at = known_at;
	new->retry_at = retry_at;
	new->waiters = waiters;
	if (is_asked)
		shard_move(s, new, ASKED);
}

static void restore(struct demand *d, const struct saved *e, uint64_t fresh_until)
{
	uint32_t hash;
	struct shard *s = lock_shard(d, e->key, &hash);
	struct entry *old = shard_find(s, hash, e->key);
	uint64_t ttl = e->n_value ? d->times.ttl : d->times.negative_ttl;
	/* Files do not tell; nobody but demand_look() wants to know. */
	uint32_t known_at = in_units(fresh_until > ttl ? fresh_until - ttl : 0);

	if ((!old || old->known == NOTHING) && !atomic_load(&d->has_forgotten))
		replace(s, old, hash, e, fresh_until, known_at);
	pthread_mutex_unlock(&s->lock);
}

bool demand_restore(struct demand *d, struct text image, uint64_t now, uint64_t elapsed)
{
	uint64_t negative_ttl, fresh_until;
	struct saved e;

	if (image.n == 0 || image.p[0] != IMAGE_FORMAT)
		return false;
	image = text_skip(image, 1);
	if (!varint_take(&image, &negative_ttl))
		return false;
	for (struct text rest = image; rest.n;)
		if (!take_entry(&rest, &e))
			return false;
	while (image.n && take_entry(&image, &e))
		if ((e.n_value || negative_ttl <= d->times.negative_ttl) &&
		    is_still_usable(d, &e, now, elapsed, &fresh_until))
			restore(d, &e, fresh_until);
	return true;
}

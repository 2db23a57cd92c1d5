#include "store/shard.h"

#include <assert.h>

union chunk {
	struct entry entry;
	struct {
		uint32_t more;
		char data[CHUNK_BYTES - 4];
	} rest;
	uint32_t next_free;
};

static_assert(sizeof(union chunk) == CHUNK_BYTES, "a chunk has no padding");

/* --- the bytes of an entry ---------------------------------------------------------- */

struct cursor {
	struct shard *s;
	char *p;		/* n bytes are left in this chunk */
	size_t n;
	uint32_t more;
};

static struct cursor cursor_at(struct shard *s, struct entry *e)
{
	return (struct cursor){ s, e->data, sizeof e->data, e->more };
}

/* The next bytes that lie side by side, at most `n`; returns how many. */
static size_t cursor_take(struct cursor *c, size_t n, char **ret_p)
{
	if (c->n == 0) {
		union chunk *chunk = &c->s->chunks[c->more];

		c->p = chunk->rest.data;
		c->n = sizeof chunk->rest.data;
		c->more = chunk->rest.more;
	}
	if (n > c->n)
		n = c->n;
	*ret_p = c->p;
	c->p += n;
	c->n -= n;
	return n;
}

static void cursor_write(struct cursor *c, struct text t)
{
	char *p;

	while (t.n) {
		size_t n = cursor_take(c, t.n, &p);

		memcpy(p, t.p, n);
		t = text_skip(t, n);
	}
}

static bool has_key(struct shard *s, struct entry *e, uint32_t hash, struct text key)
{
	struct cursor c = cursor_at(s, e);
	char *p;

	if (e->hash != hash || e->n_key != key.n)
		return false;
	while (key.n) {
		size_t n = cursor_take(&c, key.n, &p);

		if (memcmp(p, key.p, n))
			return false;
		key = text_skip(key, n);
	}
	return true;
}

static void cursor_read(struct cursor *c, size_t left, struct buf *out)
{
	char *p;

	for (size_t n; left; left -= n) {
		n = cursor_take(c, left, &p);
		buf_add(out, p, n);
	}
}

void shard_read(struct shard *s, struct entry *e, struct buf *value)
{
	struct cursor c = cursor_at(s, e);
	char *p;

	for (size_t left = e->n_key; left;)
		left -= cursor_take(&c, left, &p);
	cursor_read(&c, e->n_value, value);
}

void shard_read_both(struct shard *s, struct entry *e, struct buf *out)
{
	struct cursor c = cursor_at(s, e);

	cursor_read(&c, (size_t)e->n_key + e->n_value, out);
}

static size_t chunks_for(size_t n_bytes)
{
	const size_t first = sizeof ((struct entry *)0)->data;
	const size_t each = sizeof ((union chunk *)0)->rest.data;

	return n_bytes <= first ? 1 : 1 + (n_bytes - first + each - 1) / each;
}

static uint32_t chunks_of(const struct entry *e)
{
	return (uint32_t)chunks_for((size_t)e->n_key + e->n_value);
}

/* --- lists and buckets -------------------------------------------------------------- */

static struct entry *entry_of(struct shard *s, uint32_t chunk)
{
	return &s->chunks[chunk].entry;
}

static uint32_t chunk_of(struct shard *s, struct entry *e)
{
	return (uint32_t)((union chunk *)(void *)e - s->chunks);
}

static void list_remove(struct shard *s, struct entry *e)
{
	struct lru *l = &s->lists[e->list];

	*(e->newer ? &entry_of(s, e->newer)->older : &l->newest) = e->older;
	*(e->older ? &entry_of(s, e->older)->newer : &l->oldest) = e->newer;
	l->n_entries--;
	l->n_chunks -= chunks_of(e);
}

static void list_add(struct shard *s, struct entry *e, enum list list)
{
	struct lru *l = &s->lists[list];
	uint32_t chunk = chunk_of(s, e);

	e->list = (uint8_t)list;
	e->is_used = false;
	e->newer = 0;
	e->older = l->newest;
	*(e->older ? &entry_of(s, e->older)->newer : &l->oldest) = chunk;
	l->newest = chunk;
	l->n_entries++;
	l->n_chunks += chunks_of(e);
}

void shard_move(struct shard *s, struct entry *e, enum list list)
{
	list_remove(s, e);
	list_add(s, e, list);
}

static uint32_t *bucket_of(struct shard *s, uint32_t hash)
{
	return &s->buckets[(uint64_t)hash * s->n_chunks >> 32];
}

struct entry *shard_find(struct shard *s, uint32_t hash, struct text key)
{
	for (uint32_t i = *bucket_of(s, hash); i; i = entry_of(s, i)->chain)
		if (has_key(s, entry_of(s, i), hash, key))
			return entry_of(s, i);
	return NULL;
}

struct entry *shard_next(struct shard *s, uint32_t bucket, struct entry *before)
{
	uint32_t chunk = before ? before->chain : s->buckets[bucket];

	return chunk ? entry_of(s, chunk) : NULL;
}

/* --- room --------------------------------------------------------------------------- */

static uint32_t take_chunk(struct shard *s)
{
	uint32_t chunk = s->free;

	if (!chunk)
		return ++s->n_touched;
	s->free = s->chunks[chunk].next_free;
	return chunk;
}

void shard_drop(struct shard *s, struct entry *e)
{
	uint32_t chunk = chunk_of(s, e), next = e->more;
	uint32_t *link = bucket_of(s, e->hash);

	assert(!e->waiters);
	list_remove(s, e);
	while (*link != chunk)
		link = &entry_of(s, *link)->chain;
	*link = e->chain;

	for (;;) {
		s->chunks[chunk].next_free = s->free;
		s->free = chunk;
		if (!next)
			return;
		chunk = next;
		next = s->chunks[chunk].rest.more;
	}
}

/*
 * The end of a list, where what was used meanwhile gets a second chance. So a hit need
 * only mark its entry, and not write to its neighbours, which are rarely in the
 * processor's cache. Chances are counted so that nobody waits long for the lock.
 */
static struct entry *oldest(struct shard *s, enum list list)
{
	for (int chances = 8;; chances--) {
		uint32_t chunk = s->lists[list].oldest;
		struct entry *e = chunk ? entry_of(s, chunk) : NULL;

		if (!e || !e->is_used || !chances)
			return e;
		shard_move(s, e, list);
	}
}

/*
 * The entry to give up next for `n` chunks, or NULL. Strangers can ask for any number of
 * keys that do not exist. So questions, NOTFOUNDs and failures use what is free, but from
 * the FOUNDs, which must outlast a dead directory, they take no more than a quarter of
 * the shard: beyond that they only push out each other.
 */
static struct entry *victim(struct shard *s, size_t n, bool is_for_value)
{
	size_t n_others = s->lists[GUESTS].n_chunks + s->lists[ASKED].n_chunks;
	bool is_crowded = n_others + (is_for_value ? 0 : n) > s->n_chunks / 4;
	struct entry *e = oldest(s, is_crowded ? GUESTS : VALUES);

	if (!e && (!is_crowded || is_for_value))
		e = oldest(s, is_crowded ? VALUES : GUESTS);
	return e;
}

static size_t n_free(const struct shard *s)
{
	return s->n_chunks - s->lists[GUESTS].n_chunks - s->lists[VALUES].n_chunks -
	       s->lists[ASKED].n_chunks;
}

/* Evict until `n` chunks are free; false when that cannot be. */
static bool make_room(struct shard *s, size_t n, bool is_for_value)
{
	if (n > s->n_chunks - s->lists[ASKED].n_chunks)
		return false;
	while (n_free(s) < n) {
		struct entry *e = victim(s, n, is_for_value);

		if (!e)
			return false;
		shard_drop(s, e);
	}
	return true;
}

struct entry *shard_add(struct shard *s, uint32_t hash, struct text key,
			struct text value, enum list list)
{
	size_t n = chunks_for(key.n + value.n);

	if (key.n + value.n > UINT32_MAX || !make_room(s, n, list == VALUES))
		return NULL;

	uint32_t first = take_chunk(s), *bucket = bucket_of(s, hash);
	struct entry *e = entry_of(s, first);
	*e = (struct entry){
		.hash = hash, .chain = *bucket, .known = value.n ? VALUE : NOTHING,
		.n_key = (uint32_t)key.n, .n_value = (uint32_t)value.n,
	};
	*bucket = first;

	uint32_t *link = &e->more;
	for (; --n; link = &s->chunks[*link].rest.more)
		*link = take_chunk(s);
	*link = 0;

	struct cursor c = cursor_at(s, e);
	cursor_write(&c, key);
	cursor_write(&c, value);
	list_add(s, e, list);
	return e;
}

/* --- life --------------------------------------------------------------------------- */

void shard_init(struct shard *s, char *p, size_t n_bytes)
{
	size_t n = n_bytes / (CHUNK_BYTES + sizeof *s->buckets) - 1;

	pthread_mutex_init(&s->lock, NULL);
	s->n_chunks = n < UINT32_MAX ? (uint32_t)n : UINT32_MAX - 1;
	s->chunks = (void *)p;
	s->buckets = (void *)(s->chunks + s->n_chunks + 1);
}

size_t shard_unused(const struct shard *s)
{
	return n_free(s) * CHUNK_BYTES;
}

void shard_done(struct shard *s)
{
	for (uint32_t c = s->lists[ASKED].newest; c; c = entry_of(s, c)->older)
		assert(!entry_of(s, c)->waiters);
	pthread_mutex_destroy(&s->lock);
}

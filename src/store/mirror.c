#include "store/mirror.h"

#include "base/hash.h"

#include <stdlib.h>
#include <sys/mman.h>

/*
 * One mapping, position independent:
 *
 *	struct mirror | records, one behind the other | padding | slots
 *
 * A record is the length of the key, the length of the value (both as LEB128: seven
 * bits a byte, low ones first), the key, the value. A value of length 0 marks a bad key.
 * A slot is 0 (empty) or 24 bits of hash over 40 bits of offset from the mapping's start.
 * A key's slots are probed upwards from the one that the hash's upper half points at.
 */
struct mirror {
	size_t size;		/* bytes of the mapping */
	size_t slots;		/* offset of the slots */
	size_t n_slots;		/* < 2^32; three for two entries: a miss probes five */
	size_t entries;
	size_t bad;
	size_t payload;
	uint64_t born;
};

#define OFFSET_BITS 40
#define OFFSET_MAX (((size_t)1 << OFFSET_BITS) - 1)
#define PAGE ((size_t)4096)
#define CAP_MIN ((size_t)64 << 10)
#define FIRST sizeof(struct mirror)	/* offset of the first record; so 0 is none */

/* The same mapping while it grows: no slots yet. Pages never touched cost nothing. */
struct mirror_builder {
	struct mirror_limits limits;
	char *map;
	size_t cap;		/* bytes mapped */
	size_t end;		/* offset behind the last record */
	size_t last;		/* offset of the last record; 0: none */
	size_t records;
	size_t payload;
	size_t rows;
	size_t bad;
};

/* A record, taken apart: views, and where the next one begins. */
struct record {
	struct text key;
	struct text value;
	const char *end;
};

/* Rows of one key that are not neighbours: offsets of the first and of a later one. */
struct duplicate {
	size_t first;
	size_t later;
};

struct duplicates {
	struct duplicate *list;	/* by `later`, ascending */
	size_t n, cap;
};

/* --- records ------------------------------------------------------------------------ */

static size_t varint_size(size_t n)
{
	size_t size = 1;

	while (n >>= 7)
		size++;
	return size;
}

static char *varint_put(char *to, size_t n)
{
	for (; n > 0x7f; n >>= 7)
		*to++ = (char)(n | 0x80);
	*to++ = (char)n;
	return to;
}

static inline const char *varint_get(const char *p, size_t *ret_n)
{
	size_t n = (unsigned char)*p++;

	if (n & 0x80) {
		n &= 0x7f;
		for (unsigned shift = 7;; shift += 7) {
			unsigned char c = (unsigned char)*p++;

			n |= (size_t)(c & 0x7f) << shift;
			if (!(c & 0x80))
				break;
		}
	}
	*ret_n = n;
	return p;
}

static inline struct record record_at(const char *p)
{
	struct record r;

	p = varint_get(p, &r.key.n);
	p = varint_get(p, &r.value.n);
	r.key.p = p;
	r.value.p = p + r.key.n;
	r.end = r.value.p + r.value.n;
	return r;
}

/* --- reading ------------------------------------------------------------------------ */

/*
 * The slot of a key, or the empty one where it belongs. The upper half of the hash
 * scaled to n_slots needs no division and no power of two, so the index fits exactly.
 */
static inline size_t find_slot(const struct mirror *m, uint64_t hash, struct text key)
{
	const char *base = (const char *)m;
	const uint64_t *slots = (const uint64_t *)(const void *)(base + m->slots);
	uint64_t tag = hash & (((uint64_t)1 << (64 - OFFSET_BITS)) - 1);
	size_t i = (hash >> 32) * m->n_slots >> 32;

	for (; slots[i]; i = i + 1 == m->n_slots ? 0 : i + 1)
		if (slots[i] >> OFFSET_BITS == tag &&
		    text_eq(record_at(base + (slots[i] & OFFSET_MAX)).key, key))
			break;
	return i;
}

enum mirror_says mirror_find(const struct mirror *m, struct text key,
			     struct text *ret_value)
{
	const char *base = (const char *)m;
	const uint64_t *slots = (const uint64_t *)(const void *)(base + m->slots);

	if (key.n > MIRROR_MAX_KEY)
		return MIRROR_BAD;

	uint64_t slot = slots[find_slot(m, hash_text(key), key)];
	if (!slot)
		return MIRROR_ABSENT;

	struct text value = record_at(base + (slot & OFFSET_MAX)).value;
	if (value.n == 0)
		return MIRROR_BAD;
	*ret_value = value;
	return MIRROR_HIT;
}

bool mirror_sample(const struct mirror *m, uint64_t random, struct text *ret_key,
		   struct text *ret_value)
{
	const char *base = (const char *)m;
	const uint64_t *slots = (const uint64_t *)(const void *)(base + m->slots);

	for (size_t tries = 0; m->entries > m->bad && tries < 1000; tries++) {
		uint64_t slot = slots[(random % m->n_slots + tries) % m->n_slots];

		if (!slot)
			continue;

		struct record r = record_at(base + (slot & OFFSET_MAX));
		if (r.value.n) {
			*ret_key = r.key;
			*ret_value = r.value;
			return true;
		}
	}
	return false;
}

size_t mirror_entries(const struct mirror *m)
{
	return m->entries;
}

size_t mirror_bad(const struct mirror *m)
{
	return m->bad;
}

size_t mirror_bytes(const struct mirror *m)
{
	return m->size;
}

size_t mirror_payload(const struct mirror *m)
{
	return m->payload;
}

uint64_t mirror_born(const struct mirror *m)
{
	return m->born;
}

void mirror_free(struct mirror *m)
{
	if (m)
		munmap(m, m->size);
}

/* --- collecting rows ---------------------------------------------------------------- */

/* Make the mapping `size` bytes, rounded up to pages. Moving it copies nothing. */
static bool resize(struct mirror_builder *b, size_t size)
{
	if (size > OFFSET_MAX)
		return false;
	size = (size + PAGE - 1) & ~(PAGE - 1);

	char *map = b->map ? mremap(b->map, b->cap, size, MREMAP_MAYMOVE)
			   : mmap(NULL, size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return false;
	b->map = map;
	b->cap = size;
	return true;
}

/* Room for `n` more bytes of records, within max_bytes. */
static bool reserve(struct mirror_builder *b, size_t n)
{
	if (n > b->limits.max_bytes + FIRST - b->end)
		return false;
	if (n <= b->cap - b->end)
		return true;
	return resize(b, n < b->cap ? 2 * b->cap : b->cap + n);
}

struct mirror_builder *mirror_builder_new(const struct mirror_limits *limits)
{
	struct mirror_builder *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->limits = *limits;
	if (b->limits.max_bytes > OFFSET_MAX / 2)
		b->limits.max_bytes = OFFSET_MAX / 2;
	b->end = FIRST;
	if (!resize(b, CAP_MIN)) {
		free(b);
		return NULL;
	}
	return b;
}

void mirror_builder_free(struct mirror_builder *b)
{
	if (!b)
		return;
	if (b->map)
		munmap(b->map, b->cap);
	free(b);
}

static bool append(struct mirror_builder *b, struct text key, struct text value)
{
	if (!reserve(b, varint_size(key.n) + varint_size(value.n) + key.n + value.n))
		return false;

	char *to = varint_put(varint_put(b->map + b->end, key.n), value.n);
	if (key.n)
		memcpy(to, key.p, key.n);
	if (value.n)
		memcpy(to + key.n, value.p, value.n);
	b->last = b->end;
	b->end = (size_t)(to + key.n + value.n - b->map);
	b->records++;
	b->payload += key.n + value.n;
	return true;
}

/*
 * Cut the value of the last record to `n` bytes, or stretch it; new bytes are for the
 * caller to fill. What is there moves only where the length itself takes more or fewer
 * bytes, so that a value of many parts costs linear time.
 */
static void set_last_length(struct mirror_builder *b, size_t n)
{
	struct record r = record_at(b->map + b->last);
	char *length = b->map + b->last + varint_size(r.key.n);
	char *key = length + varint_size(n);

	if (key != r.key.p)
		memmove(key, r.key.p, r.key.n + (r.value.n < n ? r.value.n : n));
	varint_put(length, n);
	b->end = (size_t)(key + r.key.n + n - b->map);
	b->payload = b->payload - r.value.n + n;
}

/* One more value for the last record, whose value has `n_old` bytes. */
static bool join(struct mirror_builder *b, size_t n_old, struct text value)
{
	size_t n = n_old + 1 + value.n;

	if (n_old == 0)
		return true;		/* bad already, and stays so */
	if (value.n == 0 || n > b->limits.max_value) {
		b->bad++;
		set_last_length(b, 0);
		return true;
	}
	if (!reserve(b, 1 + value.n + varint_size(n) - varint_size(n_old)))
		return false;
	set_last_length(b, n);

	char *to = b->map + b->end - value.n;
	to[-1] = ',';
	memcpy(to, value.p, value.n);
	return true;
}

/* A row, counted already; an empty value is a bad one. */
static bool add(struct mirror_builder *b, struct text key, struct text value)
{
	/* To count the values of a key, each stays a record of its own until sealing. */
	if (b->last && !b->limits.max_values) {
		struct record r = record_at(b->map + b->last);

		if (text_eq(r.key, key))
			return join(b, r.value.n, value);
	}
	if (value.n == 0 || value.n > b->limits.max_value) {
		b->bad++;
		value.n = 0;
	}
	return append(b, key, value);
}

bool mirror_add(struct mirror_builder *b, struct text key, struct text value)
{
	b->rows++;
	if (key.n > MIRROR_MAX_KEY) {
		b->bad++;
		return true;
	}
	return add(b, key, value);
}

bool mirror_add_bad(struct mirror_builder *b, struct text key)
{
	return mirror_add(b, key, (struct text){ NULL, 0 });
}

size_t mirror_builder_rows(const struct mirror_builder *b)
{
	return b->rows;
}

size_t mirror_builder_bad(const struct mirror_builder *b)
{
	return b->bad;
}

/* --- sealing ------------------------------------------------------------------------ */

static bool add_duplicate(struct duplicates *d, size_t first, size_t later)
{
	if (d->n == d->cap) {
		size_t cap = d->cap ? 2 * d->cap : 64;
		struct duplicate *list = realloc(d->list, cap * sizeof *list);

		if (!list)
			return false;
		d->list = list;
		d->cap = cap;
	}
	d->list[d->n++] = (struct duplicate){ first, later };
	return true;
}

/* Put empty slots for all records behind them. */
static struct mirror *add_slots(struct mirror_builder *b, uint64_t born)
{
	size_t slots = (b->end + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
	size_t n_slots = b->records + b->records / 2 + 1;

	if (n_slots > UINT32_MAX || !resize(b, slots + n_slots * sizeof(uint64_t)))
		return NULL;

	struct mirror *m = (void *)b->map;
	*m = (struct mirror){
		.size = b->cap, .slots = slots, .n_slots = n_slots,
		.payload = b->payload, .born = born,
	};
	memset(b->map + b->end, 0, b->cap - b->end);
	return m;
}

/*
 * Fill the slots. Rows of a key that has a slot already are left out and noted in
 * `duplicates`. NULL when memory or max_entries is exceeded.
 */
static struct mirror *index_records(struct mirror_builder *b, uint64_t born,
				    struct duplicates *duplicates)
{
	struct mirror *m = add_slots(b, born);

	if (!m)
		return NULL;

	uint64_t *slots = (uint64_t *)(void *)(b->map + m->slots);
	struct record r;
	for (size_t at = FIRST; at < b->end; at = (size_t)(r.end - b->map)) {
		r = record_at(b->map + at);

		uint64_t hash = hash_text(r.key);
		uint64_t *slot = &slots[find_slot(m, hash, r.key)];

		if (*slot) {
			if (!add_duplicate(duplicates, *slot & OFFSET_MAX, at))
				return NULL;
			continue;
		}
		if (m->entries == b->limits.max_entries)
			return NULL;
		*slot = hash << OFFSET_BITS | at;
		m->entries++;
		m->bad += r.value.n == 0;
	}
	return m;
}

static int by_first(const void *a, const void *b)
{
	const struct duplicate *x = a, *y = b;

	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->later < y->later ? -1 : 1;
}

/*
 * Copy the rows of `b` into `to`, those of a key side by side, so that adding joins them.
 *
 * in_order   the duplicates by `later`, to leave them out where they stand
 * by_key     the same by `first`, to add them behind it
 */
static bool regroup(const struct mirror_builder *b, const struct duplicate *in_order,
		    const struct duplicate *by_key, size_t n, struct mirror_builder *to)
{
	const struct duplicate *skip = in_order, *next = by_key;
	struct record r;

	for (size_t at = FIRST; at < b->end; at = (size_t)(r.end - b->map)) {
		size_t n_values = 1;

		r = record_at(b->map + at);
		if (skip < in_order + n && skip->later == at) {
			skip++;
			continue;
		}
		if (!add(to, r.key, r.value))
			return false;
		for (; next < by_key + n && next->first == at; next++, n_values++)
			if (!add(to, r.key, record_at(b->map + next->later).value))
				return false;
		if (b->limits.max_values && n_values > b->limits.max_values &&
		    !add(to, r.key, (struct text){ NULL, 0 }))
			return false;
	}
	return true;
}

/*
 * A builder in which each key has one record; frees `b`. Only here a second arena is
 * needed; the slots are given back before it grows.
 */
static struct mirror_builder *without_duplicates(struct mirror_builder *b,
						 const struct duplicates *d)
{
	struct mirror_limits limits = b->limits;
	struct duplicate *by_key = malloc(d->n * sizeof *by_key);

	limits.max_values = 0;		/* so that adding joins */
	struct mirror_builder *to = mirror_builder_new(&limits);

	if (!by_key || !to || !resize(b, b->end))
		goto fail;
	memcpy(by_key, d->list, d->n * sizeof *by_key);
	qsort(by_key, d->n, sizeof *by_key, by_first);
	if (!regroup(b, d->list, by_key, d->n, to))
		goto fail;
	free(by_key);
	mirror_builder_free(b);
	return to;

fail:
	free(by_key);
	mirror_builder_free(to);
	mirror_builder_free(b);
	return NULL;
}

struct mirror *mirror_seal(struct mirror_builder *b, uint64_t born)
{
	struct duplicates d = { 0 };
	struct mirror *m = index_records(b, born, &d);

	if (m && d.n) {
		b = without_duplicates(b, &d);
		m = b ? index_records(b, born, &d) : NULL;
	}
	free(d.list);
	if (m)
		b->map = NULL;		/* it is the mirror now */
	mirror_builder_free(b);
	return m;
}

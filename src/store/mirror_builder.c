#include "store/mirror_record.h"

#include "base/hash.h"
#include "store/distinct.h"
#include "store/timed.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CAP_MIN ((size_t)64 << 10)

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
	struct distinct seen;	/* is_distinct: offsets of the records, by key and value */
};

/* --- collecting rows ---------------------------------------------------------------- */

/* Make the mapping `size` bytes, rounded up to pages. Moving it copies nothing. */
static bool resize(struct mirror_builder *b, size_t size)
{
	if (size > OFFSET_MAX) {
		errno = ERANGE;
		return false;
	}
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
	if (n > b->limits.max_bytes + FIRST - b->end) {
		errno = ERANGE;
		return false;
	}
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
	distinct_done(&b->seen);
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
	/* To count or compare the values of a key, each stays a record of its own until sealing. */
	if (b->last && !b->limits.max_values && !b->limits.is_distinct) {
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

/* A row, for comparing it with the records of a builder. */
struct candidate {
	const struct mirror_builder *builder;
	struct text key, value;
};

static bool is_same_row(const void *ctx, uint64_t offset)
{
	const struct candidate *c = ctx;
	struct record r = record_at(c->builder->map + offset);

	return text_eq(r.key, c->key) && text_eq(timed_value(r.value), c->value);
}

/* The row, unless it is there already; then the value ends with the later one. */
static bool add_distinct(struct mirror_builder *b, struct text key, struct text value)
{
	const struct candidate c = { b, key, timed_value(value) };
	uint64_t hash = hash_text(key) * 31 + hash_text(c.value);
	uint64_t known = distinct_find(&b->seen, hash, is_same_row, &c);

	if (!known)
		return distinct_add(&b->seen, hash, b->end) && add(b, key, value);
	timed_extend((char *)record_at(b->map + known).value.p, value);
	return true;
}

bool mirror_add(struct mirror_builder *b, struct text key, struct text value)
{
	b->rows++;
	if (key.n > MIRROR_MAX_KEY) {
		b->bad++;
		return true;
	}
	if (b->limits.is_distinct && value.n && value.n <= b->limits.max_value)
		return add_distinct(b, key, value);
	return add(b, key, value);
}

bool mirror_add_bad(struct mirror_builder *b, struct text key)
{
	return mirror_add(b, key, (struct text){ NULL, 0 });
}

bool mirror_add_failed(struct mirror_builder *b, struct text key)
{
	size_t bad = b->bad;
	bool is_kept = mirror_add_bad(b, key);

	b->bad = bad;
	return is_kept;
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

/* Index the records where they are. NULL when a limit is exceeded or memory is out. */
static struct mirror *index_records(struct mirror_builder *b, uint64_t born,
				    struct duplicates *duplicates)
{
	size_t size = mirror_size(b->end, b->records);

	if (!size)
		errno = ERANGE;
	if (!size || !resize(b, size))
		return NULL;

	struct mirror *m = mirror_lay_out(b->map, b->end, b->records, b->payload, born);
	return mirror_index(m, b->limits.max_entries, duplicates) ? m : NULL;
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
	limits.is_distinct = false;
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

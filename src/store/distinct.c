#include "store/distinct.h"

#include <stdlib.h>
#include <string.h>

#define CAP_MIN ((size_t)64)
#define CAP_KEPT ((size_t)1024)

struct distinct_slot {
	uint64_t hash;
	uint64_t place;		/* 0: empty */
};

/* Probed upwards; a power of two of slots, at most three quarters of them taken. */
static size_t next(const struct distinct *d, size_t i)
{
	return (i + 1) & (d->cap - 1);
}

static void put(struct distinct *d, struct distinct_slot slot)
{
	size_t i = slot.hash & (d->cap - 1);

	while (d->slots[i].place)
		i = next(d, i);
	d->slots[i] = slot;
	d->n++;
}

static bool grow(struct distinct *d)
{
	struct distinct bigger = { .cap = d->cap ? 2 * d->cap : CAP_MIN };

	bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
	if (!bigger.slots)
		return false;
	for (size_t i = 0; i < d->cap; i++)
		if (d->slots[i].place)
			put(&bigger, d->slots[i]);
	free(d->slots);
	*d = bigger;
	return true;
}

uint64_t distinct_find(const struct distinct *d, uint64_t hash,
		       bool (*is_same)(const void *ctx, uint64_t place), const void *ctx)
{
	if (d->cap == 0)
		return 0;
	for (size_t i = hash & (d->cap - 1); d->slots[i].place; i = next(d, i))
		if (d->slots[i].hash == hash && is_same(ctx, d->slots[i].place))
			return d->slots[i].place;
	return 0;
}

bool distinct_add(struct distinct *d, uint64_t hash, uint64_t place)
{
	if (4 * (d->n + 1) > 3 * d->cap && !grow(d))
		return false;
	put(d, (struct distinct_slot){ hash, place });
	return true;
}

void distinct_clear(struct distinct *d)
{
	if (d->cap > CAP_KEPT)
		distinct_done(d);
	else if (d->n)
		memset(d->slots, 0, d->cap * sizeof *d->slots);
	d->n = 0;
}

void distinct_done(struct distinct *d)
{
	free(d->slots);
	*d = (struct distinct){ 0 };
}

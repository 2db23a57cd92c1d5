/* distinct.h - finds what was seen before by its hash: a set of places. Pure. */
#ifndef STORE_DISTINCT_H
#define STORE_DISTINCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Places (offsets into whatever the caller keeps; never 0) by the hash of what stands there.
 * All zeroes is an empty set; distinct_done() frees it. Linear in what is added, whatever it
 * is, as the hash is keyed.
 */
struct distinct {
	struct distinct_slot *slots;
	size_t n, cap;
};

/* The first place with that hash that `is_same` says yes to, or 0. */
uint64_t distinct_find(const struct distinct *d, uint64_t hash,
		       bool (*is_same)(const void *ctx, uint64_t place), const void *ctx);

/* Add a place; one that is there already is there twice then. False: out of memory. */
bool distinct_add(struct distinct *d, uint64_t hash, uint64_t place);

/* Empty it; a small set keeps its memory. */
void distinct_clear(struct distinct *d);

void distinct_done(struct distinct *d);

#endif

/* mirror_record.h - how a mirror lies in memory. For mirror*.c. */
#ifndef STORE_MIRROR_RECORD_H
#define STORE_MIRROR_RECORD_H

#include "store/mirror.h"
#include "store/varint.h"

#include <stdatomic.h>

/*
 * One mapping, position independent:
 *
 *	struct mirror | format | records, one behind the other | padding | slots
 *
 * From the format, one byte, to the end of the records it is the image for files; thanks to
 * that byte the image of an empty mirror is not empty, so that it differs from no image.
 * A record is the length of the key, the length of the value (both as varints), the key, the
 * value. A value of length 0 marks a bad key.
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
	size_t end;		/* offset behind the last record */
	uint64_t born;
	atomic_uint refs;	/* the only thing here that ever changes */
};

#define OFFSET_BITS 40
#define OFFSET_MAX (((size_t)1 << OFFSET_BITS) - 1)
#define IMAGE sizeof(struct mirror)	/* offset of the image */
#define FIRST (IMAGE + 1)		/* offset of the first record; so 0 is none */
#define IMAGE_FORMAT '\1'
#define PAGE ((size_t)4096)

/* A record, taken apart: views, and where the next one begins. */
struct record {
	struct text key;
	struct text value;
	const char *end;
};

/* Read what varint_put() wrote, trusting it; returns what is behind it. */
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

static inline size_t first_slot(const struct mirror *m, uint64_t hash)
{
	/* Scaling the upper half needs no division and no power of two. */
	return (hash >> 32) * m->n_slots >> 32;
}

/* The slot of a key, or the empty one where it belongs. */
static inline size_t find_slot(const struct mirror *m, uint64_t hash, struct text key)
{
	const char *base = (const char *)m;
	const uint64_t *slots = (const uint64_t *)(const void *)(base + m->slots);
	uint64_t tag = hash & (((uint64_t)1 << (64 - OFFSET_BITS)) - 1);
	size_t i = first_slot(m, hash);

	for (; slots[i]; i = i + 1 == m->n_slots ? 0 : i + 1)
		if (slots[i] >> OFFSET_BITS == tag &&
		    text_eq(record_at(base + (slots[i] & OFFSET_MAX)).key, key))
			break;
	return i;
}

/*
 * Bytes that a mirror takes whose records end at offset `end`, in whole pages; 0 when there
 * are more than an index can have.
 */
size_t mirror_size(size_t end, size_t n_records);

/*
 * Make a mirror of the records in a mapping of mirror_size() bytes: everything but the
 * records is written here. Its index is still empty.
 */
struct mirror *mirror_lay_out(char *map, size_t end, size_t n_records, size_t payload,
			      uint64_t born);

/* Rows of one key that are not neighbours: offsets of the first and of a later one. */
struct duplicate {
	size_t first;
	size_t later;
};

struct duplicates {
	struct duplicate *list;	/* by `later`, ascending; the caller frees it */
	size_t n, cap;
};

/*
 * Index the records. Those of a key that is in the index already are left out and noted in
 * `duplicates`; NULL: there must be none. False when they cannot be, or there are more than
 * max_entries keys.
 */
bool mirror_index(struct mirror *m, size_t max_entries, struct duplicates *duplicates);

#endif

#include "store/mirror.h"

#include "base/hash.h"
#include "store/mirror_record.h"

#include <sys/mman.h>

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

bool mirror_next(const struct mirror *m, size_t *at, struct text *ret_key,
		 struct text *ret_value)
{
	const char *base = (const char *)m;

	if (*at == 0)
		*at = FIRST;
	if (*at >= m->end)
		return false;

	struct record r = record_at(base + *at);
	*ret_key = r.key;
	*ret_value = r.value;
	*at = (size_t)(r.end - base);
	return true;
}

/* A sum, so that order does not matter: of whole records, lengths included. */
uint64_t mirror_digest(const struct mirror *m)
{
	const char *end = (const char *)m + m->end;
	uint64_t sum = 0;

	for (const char *p = (const char *)m + FIRST; p < end;) {
		const char *next = record_at(p).end;

		sum += hash_text((struct text){ p, (size_t)(next - p) });
		p = next;
	}
	return sum;
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

struct text mirror_image(const struct mirror *m)
{
	return (struct text){ (const char *)m + IMAGE, m->end - IMAGE };
}

struct mirror *mirror_ref(struct mirror *m)
{
	atomic_fetch_add_explicit(&m->refs, 1, memory_order_relaxed);
	return m;
}

void mirror_free(struct mirror *m)
{
	if (m && atomic_fetch_sub_explicit(&m->refs, 1, memory_order_acq_rel) == 1)
		munmap(m, m->size);
}

#include "store/mirror_record.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

/* --- the index ---------------------------------------------------------------------- */

static size_t slots_at(size_t end)
{
	return (end + sizeof(uint64_t) - 1) & ~(sizeof(uint64_t) - 1);
}

static size_t slots_for(size_t n_records)
{
	return n_records + n_records / 2 + 1;
}

size_t mirror_size(size_t end, size_t n_records)
{
	if (end > OFFSET_MAX || n_records > UINT32_MAX / 2)
		return 0;

	size_t size = slots_at(end) + slots_for(n_records) * sizeof(uint64_t);
	return (size + PAGE - 1) & ~(PAGE - 1);
}

struct mirror *mirror_lay_out(char *map, size_t end, size_t n_records, size_t payload,
			      uint64_t born)
{
	struct mirror *m = (void *)map;

	*m = (struct mirror){
		.size = mirror_size(end, n_records), .slots = slots_at(end),
		.n_slots = slots_for(n_records), .payload = payload, .end = end,
		.born = born, .refs = 1,
	};
	map[IMAGE] = IMAGE_FORMAT;
	memset(map + end, 0, m->size - end);
	return m;
}

static bool add_duplicate(struct duplicates *d, size_t first, size_t later)
{
	if (!d)
		return false;
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

/* A few records ahead, so that their slots are on the way from memory at the same time. */
#define BATCH 16

struct hashed {
	size_t at;
	uint64_t hash;
};

/* Hash the next keys from `at` on; returns where the records after them begin. */
static size_t hash_batch(const struct mirror *m, size_t at, struct hashed batch[BATCH],
			 size_t *ret_n)
{
	const char *base = (const char *)m;
	const uint64_t *slots = (const uint64_t *)(const void *)(base + m->slots);
	size_t n = 0;

	for (; n < BATCH && at < m->end; n++) {
		struct record r = record_at(base + at);
		uint64_t hash = hash_text(r.key);

		__builtin_prefetch(&slots[first_slot(m, hash)], 1);
		batch[n] = (struct hashed){ at, hash };
		at = (size_t)(r.end - base);
	}
	*ret_n = n;
	return at;
}

bool mirror_index(struct mirror *m, size_t max_entries, struct duplicates *duplicates)
{
	char *base = (char *)m;
	uint64_t *slots = (uint64_t *)(void *)(base + m->slots);
	struct hashed batch[BATCH];
	size_t n;

	for (size_t at = FIRST; at < m->end;) {
		at = hash_batch(m, at, batch, &n);
		for (const struct hashed *h = batch; h < batch + n; h++) {
			struct record r = record_at(base + h->at);
			uint64_t *slot = &slots[find_slot(m, h->hash, r.key)];

			if (*slot) {
				if (!add_duplicate(duplicates, *slot & OFFSET_MAX, h->at))
					return false;
				continue;
			}
			if (m->entries == max_entries) {
				errno = ERANGE;
				return false;
			}
			*slot = h->hash << OFFSET_BITS | h->at;
			m->entries++;
			m->bad += r.value.n == 0;
		}
	}
	return true;
}

/* --- from a file -------------------------------------------------------------------- */

/* Check a record at the front of any bytes, and skip it. NULL, or what is wrong with it. */
static const char *take_record(struct text *image, const struct mirror_limits *limits,
			       size_t *payload)
{
	uint64_t n_key, n_value;

	if (!varint_take(image, &n_key) || !varint_take(image, &n_value) ||
	    n_key > image->n || n_value > image->n - n_key)
		return "malformed";
	if (n_key > MIRROR_MAX_KEY)
		return "a key is longer than a key can be";
	if (n_value > limits->max_value)
		return "a value is longer than now allowed";
	*image = text_skip(*image, n_key + n_value);
	*payload += n_key + n_value;
	return NULL;
}

/* Check an image whole. NULL, or what is wrong with it. */
static const char *check_image(struct text image, size_t entries,
			       const struct mirror_limits *limits, size_t *ret_payload)
{
	size_t n = 0;

	if (image.n == 0 || image.p[0] != IMAGE_FORMAT)
		return "malformed";
	if (image.n - 1 > limits->max_bytes)
		return "more bytes than now allowed";
	if (entries > limits->max_entries)
		return "more entries than now allowed";
	*ret_payload = 0;
	for (image = text_skip(image, 1); image.n; n++) {
		const char *why = take_record(&image, limits, ret_payload);

		if (why)
			return why;
	}
	return n == entries ? NULL : "another number of entries than announced";
}

struct mirror *mirror_from_image(struct text image, size_t entries,
				 const struct mirror_limits *limits, uint64_t born,
				 const char **ret_why)
{
	size_t payload, size = mirror_size(IMAGE + image.n, entries);
	const char *why = check_image(image, entries, limits, &payload);

	*ret_why = why ? why : "out of memory";
	if (why || !size)
		return NULL;

	char *map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			 -1, 0);
	if (map == MAP_FAILED)
		return NULL;
	memcpy(map + IMAGE, image.p, image.n);

	struct mirror *m = mirror_lay_out(map, IMAGE + image.n, entries, payload, born);
	if (mirror_index(m, limits->max_entries, NULL))
		return m;
	*ret_why = "a key is there twice";
	mirror_free(m);
	return NULL;
}

/* mirror.h - a complete, immutable copy of a table, and how it is built. Pure. */
#ifndef STORE_MIRROR_H
#define STORE_MIRROR_H

#include "base/text.h"

#include <stdint.h>

/*
 * A sealed mirror: one arena of keys and values, and an open-addressing index of
 * 64-bit slots over it (keyed hash), in one mapping and without pointers. Never
 * changed, so any number of threads read it without locks.
 */
struct mirror;

/* The longest key kept, bytes. Nobody can ask for a longer one; see mirror_find(). */
#define MIRROR_MAX_KEY ((size_t)64 << 10)

/* Limits on what a scan may bring, so that a wrong query does not eat the host. */
struct mirror_limits {
	size_t max_entries;	/* distinct keys */
	size_t max_bytes;	/* keys, values, lengths; a key once per run of rows */
	size_t max_value;	/* one joined value, bytes; longer ones answer TEMP */
	size_t max_values;	/* values of one key; more answer TEMP; 0: any number */
	bool is_distinct;	/* a value that its key has already is left out */
};

/* Collects the rows of one scan. One thread at a time. */
struct mirror_builder;

/* Limits are copied. NULL when memory is out. */
struct mirror_builder *mirror_builder_new(const struct mirror_limits *limits);
void mirror_builder_free(struct mirror_builder *b);	/* NULL is fine */

/*
 * Add one value for a key. Values of one key are joined with ',' in the order in
 * which they come, however far apart, as Postfix joins rows: repetitions stay, unless the
 * limits say is_distinct.
 *
 * key        folded; over MIRROR_MAX_KEY it is counted bad and not kept
 * value      formatted; an empty one, or one over max_value, makes the key bad
 *
 * False: a limit is exceeded (errno is ERANGE) or memory is out (ENOMEM), the scan must be
 * given up.
 */
bool mirror_add(struct mirror_builder *b, struct text key, struct text value);

/*
 * The key has a value nobody may see (bad, too long): it will answer TEMP, whatever other
 * rows say. False as for mirror_add().
 */
bool mirror_add_bad(struct mirror_builder *b, struct text key);

/* The same where that is how the directory would answer: not counted by mirror_builder_bad(). */
bool mirror_add_failed(struct mirror_builder *b, struct text key);

/* So far: distinct keys are known only after sealing, so these count rows. */
size_t mirror_builder_rows(const struct mirror_builder *b);
size_t mirror_builder_bad(const struct mirror_builder *b);

/*
 * Join, index, and hand over the mirror; the builder is freed. The mirror is freed by the
 * caller with mirror_free() when no reader can see it any more. NULL: a limit is
 * exceeded (errno is ERANGE), or memory is out (ENOMEM).
 *
 * born       when the scan began, msec of clock_msec(): what came later may be missing
 */
struct mirror *mirror_seal(struct mirror_builder *b, uint64_t born);
void mirror_free(struct mirror *m);	/* drops one reference; NULL is fine */

/* One more reference, for a thread that writes it to disk; the sealer has the first. `m`. */
struct mirror *mirror_ref(struct mirror *m);

/*
 * All that a copy needs, in the form of files: no padding, no index, the same bytes for the
 * same keys and values in the same order on every machine; never empty, not even that of an
 * empty mirror. A view, dead with the mirror.
 */
struct text mirror_image(const struct mirror *m);

/*
 * Make a mirror of an image, which may be any bytes: lengths are checked, keys must be
 * distinct and `entries` of them. NULL with a reason (a literal) when it is none, the limits
 * are exceeded (max_values cannot be checked any more), or memory is out. The index is made
 * anew: this process hashes with another secret.
 */
struct mirror *mirror_from_image(struct text image, size_t entries,
				 const struct mirror_limits *limits, uint64_t born,
				 const char **ret_why);

/* What a mirror says. It never says NOTFOUND: MIRROR_ABSENT is only half a proof. */
enum mirror_says { MIRROR_ABSENT, MIRROR_HIT, MIRROR_BAD };

/*
 * Look up a folded key. No lock, no allocation, no system call. A key over MIRROR_MAX_KEY
 * is MIRROR_BAD, as it would not have been kept.
 *
 * ret_value  set on MIRROR_HIT: a view into the mirror
 */
enum mirror_says mirror_find(const struct mirror *m, struct text key,
			     struct text *ret_value);

/*
 * Any key that does not answer MIRROR_BAD, chosen by `random`. Views into the mirror. False
 * when there is none to be found.
 */
bool mirror_sample(const struct mirror *m, uint64_t random, struct text *ret_key,
		   struct text *ret_value);

/*
 * Walk through all entries, in the order in which their keys first came: start with `*at` 0.
 * False at the end. Views into the mirror; the value of a bad key is empty.
 */
bool mirror_next(const struct mirror *m, size_t *at, struct text *ret_key,
		 struct text *ret_value);

/* The same number for the same keys and values, whatever the order of the keys; in this process. */
uint64_t mirror_digest(const struct mirror *m);

size_t mirror_entries(const struct mirror *m);	/* distinct keys, bad ones included */
size_t mirror_bad(const struct mirror *m);	/* those of them that answer MIRROR_BAD */
size_t mirror_bytes(const struct mirror *m);	/* memory, all included */
size_t mirror_payload(const struct mirror *m);	/* key and value bytes alone */
uint64_t mirror_born(const struct mirror *m);

#endif

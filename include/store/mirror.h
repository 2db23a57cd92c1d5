/* mirror.h - a complete, immutable copy of a table, and how it is built. Pure. */
#ifndef STORE_MIRROR_H
#define STORE_MIRROR_H

#include "base/buf.h"
#include "base/verdict.h"

/*
 * A sealed mirror: one arena of keys and values, and an open-addressing index of
 * 64-bit slots over it (keyed hash). Never changed, so any number of threads read it without locks.
 */
struct mirror;

/* Limits on what a scan may bring, so that a wrong query does not eat the host. */
struct mirror_limits {
	size_t max_entries;	/* distinct keys */
	size_t max_bytes;	/* keys and values together */
	size_t max_value;	/* one joined value, bytes; longer ones answer TEMP */
};

/* Collects the rows of one scan. One thread. */
struct mirror_builder;

struct mirror_builder *mirror_builder_new(const struct mirror_limits *limits);
void mirror_builder_free(struct mirror_builder *b);	/* NULL is fine */

/*
 * Add one value for a key. Values of one key are joined with ',' in the order in
 * which they come, however far apart, without removing repetitions, as Postfix joins rows.
 *
 * key        folded, not empty
 * value      formatted, not empty
 *
 * False: a limit is exceeded, the scan must be given up.
 */
bool mirror_add(struct mirror_builder *b, struct text key, struct text value);

/* The key has a value nobody may see (bad, too long, over expansion_limit): it will answer TEMP. */
bool mirror_add_bad(struct mirror_builder *b, struct text key);

/* So far: distinct keys are known only after sealing, so these count rows. */
size_t mirror_builder_rows(const struct mirror_builder *b);
size_t mirror_builder_bad(const struct mirror_builder *b);

/*
 * Join, index, and hand over the mirror; the builder is freed. The mirror is freed by the
 * caller with mirror_free() when no reader can see it any more. NULL: limits exceeded.
 *
 * born       when the scan began, msec of clock_msec(): what came later may be missing
 */
struct mirror *mirror_seal(struct mirror_builder *b, uint64_t born);
void mirror_free(struct mirror *m);

/* What a mirror says. It never says NOTFOUND: MIRROR_ABSENT is only half a proof. */
enum mirror_says { MIRROR_ABSENT, MIRROR_HIT, MIRROR_BAD };

/*
 * Look up a folded key. No lock, no allocation, no system call.
 *
 * ret_value  set on MIRROR_HIT: a view into the mirror
 */
enum mirror_says mirror_find(const struct mirror *m, struct text key, struct text *ret_value);

size_t mirror_entries(const struct mirror *m);	/* distinct keys */
size_t mirror_bytes(const struct mirror *m);	/* memory, all included */
size_t mirror_payload(const struct mirror *m);	/* key and value bytes alone */
uint64_t mirror_born(const struct mirror *m);

#endif

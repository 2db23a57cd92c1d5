/* hash.h - the keyed hash of everything that strangers choose; checksums. Knows xxhash. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/text.h"

#include <stdint.h>

/*
 * XXH3 of `t` under a secret drawn once per process, so that nobody outside
 * can choose keys that collide. hash_init() first, before any thread starts.
 * Values differ from one process to the next and mean nothing outside.
 */
void hash_init(void);
uint64_t hash_text(struct text t);

/*
 * XXH3, 128 bits, of the parts as if they were one text, without any secret: the same in every
 * process on every machine (canonical form, as xxhsum -H2 prints it). Against corruption only;
 * whoever wants to makes other bytes with the same checksum. False: memory is out.
 */
#define HASH_CHECKSUM_BYTES 16
bool hash_checksum(const struct text *parts, size_t n_parts, void *ret_checksum);

/* Bytes from the kernel's generator, for secrets and for seeding clock_random(). */
void hash_random(void *p, size_t n);

/* The library and its version, for --version. */
const char *hash_version(void);

#endif

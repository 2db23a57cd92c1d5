/* hash.h - the keyed hash of everything that strangers choose. Knows xxhash. */
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

/* Bytes from the kernel's generator, for secrets and for seeding clock_random(). */
void hash_random(void *p, size_t n);

/* The library and its version, for --version. */
const char *hash_version(void);

#endif

/* must.h - the small allocations that cannot be allowed to fail. */
#ifndef BASE_MUST_H
#define BASE_MUST_H

#include <stddef.h>

/*
 * `p` itself; aborts when it is NULL. For sizes of our own choosing. What a
 * peer or a database sizes is capped by the caller before it gets here.
 */
void *must(void *p);

/* malloc'ed copy of a C string, for the caller to free(). */
char *must_strdup(const char *s);

/* Zeroed memory for `n` things of `size` bytes, for the caller to free(). */
void *must_calloc(size_t n, size_t size);

#endif

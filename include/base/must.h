/* must.h - the small allocations that cannot be allowed to fail. */
#ifndef BASE_MUST_H
#define BASE_MUST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * `p` itself. When it is NULL, memory is out: that ends a must_guard(), and anywhere else the
 * process. For sizes of our own choosing. What a peer or a database sizes is capped by
 * the caller before it gets here.
 *
 * Ending the process is what we want on the way of a request, of messages between threads and
 * of what is put into force: these are few bytes, and half of any of it would be a wrong
 * answer, or none ever. What is big or grows with the data never comes here: mirrors and what
 * their builds need (store/), caches of single keys, snapshots.
 */
void *must(void *p);

/*
 * Call `run`, and come back as soon as a must() in it fails: false then. What it has allocated
 * until then is lost, so that is for what happens seldom and is pure: it holds no lock and no
 * descriptor while it allocates, and nobody else sees what it makes before it is done. Not
 * inside of another one.
 */
bool must_guard(void (*run)(void *ctx), void *ctx);

/* malloc'ed copy of a C string, for the caller to free(). */
char *must_strdup(const char *s);

/* Zeroed memory for `n` things of `size` bytes, for the caller to free(). */
void *must_calloc(size_t n, size_t size);

#endif

/* wait.h - waiting for another thread, but not for ever: conditions of a clock that never steps. */
#ifndef BASE_WAIT_H
#define BASE_WAIT_H

#include <pthread.h>
#include <stdint.h>
#include <time.h>

/* pthread_cond_init(3) for CLOCK_MONOTONIC; ends with pthread_cond_destroy(). */
void wait_init(pthread_cond_t *c);

/* In `msec` from now: the end of pthread_cond_timedwait(3) for such a one. */
struct timespec wait_until(uint64_t msec);

#endif

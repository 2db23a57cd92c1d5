/* clock.h - time that only goes forward, and the one on the wall. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/*
 * Milliseconds on CLOCK_BOOTTIME: never steps with the wall clock and does
 * count suspend, so that a copy of the directory is as old after a night's
 * sleep as it really is. Starts high enough that any age of up to ten years can be subtracted,
 * so that what is older than this boot has a time of birth, too.
 */
uint64_t clock_msec(void);

/*
 * Milliseconds since the epoch by the wall clock, which steps: for what is written to disk
 * and for times that others have set, never for ages or timers.
 */
uint64_t clock_wall_msec(void);

/* The same clock in microseconds, for what needs a finer order. */
uint64_t clock_usec(void);

/*
 * `msec` moved by up to a tenth of itself, up or down, so that what was
 * started together does not come due together for ever. `*state` is the
 * caller's generator (any value; one per thread).
 */
uint64_t clock_jitter(uint64_t msec, uint64_t *state);

/* The next number of the caller's generator; not for secrets. */
uint64_t clock_random(uint64_t *state);

#endif

#include "base/clock.h"

#include <time.h>

#define START_SECONDS ((uint64_t)10 * 366 * 86400)

uint64_t clock_usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return ((uint64_t)ts.tv_sec + START_SECONDS) * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

uint64_t clock_wall_msec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t clock_msec(void)
{
	return clock_usec() / 1000;
}

/* splitmix64: one add and three mixes, good for any starting value. */
uint64_t clock_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
	z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
	return z ^ (z >> 31);
}

uint64_t clock_jitter(uint64_t msec, uint64_t *state)
{
	uint64_t tenth = msec / 10;

	return msec - tenth + clock_random(state) % (2 * tenth + 1);
}

/* inquiry.h - asks something of a loop from another thread, and waits for it, but not for ever. */
#ifndef ENGINE_INQUIRY_H
#define ENGINE_INQUIRY_H

#include "engine/loop.h"

#include <stdint.h>

struct inquiry;

/*
 * Have `ask` run on the loop's thread and wait until it, or a later callback of that loop, says
 * inquiry_end(): `ask` may have to wait for a directory. This is how threads that own no
 * loop see what only loops may see; published pointers are loaded in `ask` and forgotten there
 * (loops_retire()). Never from a loop's own thread.
 *
 * ctx     for `ask`, allocated. On true it is the caller's again, and nobody else touches it.
 *         On false it is the loop's, which ends with drop(ctx) on its thread, after inquiry_end().
 * msec    how long to wait
 *
 * False: the loop has not answered in time. Every inquiry must have come back, or timed out
 * and been ended, before the loop's thread ends.
 */
bool inquiry_run(struct loop *loop, void (*ask)(struct inquiry *q, void *ctx), void *ctx,
		 void (*drop)(void *ctx), uint64_t msec);

/* It is answered, or never will be: what is in its ctx stands. Exactly once, on the loop's thread. */
void inquiry_end(struct inquiry *q);

#endif

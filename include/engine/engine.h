/* engine.h - the published registry, and the loops that read it. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "engine/refresh.h"
#include "engine/registry.h"

struct engine {
	struct loops loops;
	_Atomic(struct registry *) registry;	/* published; see loops_retire() */
	struct refresh *refresh;
};

/* `threads` answer loops; nothing is started, and there is no registry yet. */
void engine_init(struct engine *e, unsigned threads);

/*
 * Put `settings` into force: build, publish, retire the old. Takes what it keeps
 * out of `settings`. Control thread.
 */
void engine_adopt(struct engine *e, struct settings *settings);

/* End all scans and driver processes, and send home everybody who waits. Control thread. */
void engine_stop(struct engine *e);

/* Free everything; every other thread has ended. */
void engine_done(struct engine *e);

/* The registry, for the length of a callback. */
static inline struct registry *engine_registry(struct engine *e)
{
	return atomic_load_explicit(&e->registry, memory_order_acquire);
}

#endif

/* engine.h - the published registry, and the loops that read it. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "engine/exports.h"
#include "engine/persist.h"
#include "engine/refresh.h"
#include "engine/registry.h"

struct engine {
	struct loops loops;
	_Atomic(struct registry *) registry;	/* published; see loops_retire() */
	struct persist *persist;
	struct exports *exports;
	struct refresh *refresh;
	_Atomic bool is_closing;	/* see engine_close() */
};

/*
 * `threads` answer loops; nothing is started, and there is no registry yet.
 *
 * state_directory    for snapshots; NULL: none. Opened by the first engine_adopt().
 */
void engine_init(struct engine *e, unsigned threads, const char *state_directory);

/*
 * Put `settings` into force: build, publish, retire the old. Takes what it keeps
 * out of `settings`. Control thread.
 */
void engine_adopt(struct engine *e, struct settings *settings);

/*
 * Is all restored that can be, and does every mirrored table have a mirror, restored or scanned,
 * that is not EXPIRED and of a scan since `since` (msec of clock_msec(), 0: ever)? The names of
 * those maps that lack something are appended to `ret_missing`, separated by blanks. Control thread.
 */
bool engine_is_ready(struct engine *e, uint64_t since, struct buf *ret_missing);

/*
 * Questions of administrators (question.h, explain.h) end at once from now on, so that nobody waits
 * for those who wait for them. Any thread.
 */
void engine_close(struct engine *e);

/* End all scans and driver processes, and send home everybody who waits. Control thread. */
void engine_stop(struct engine *e);

/* Write what has changed since it was written last. After engine_stop(); every other thread has ended. */
void engine_save(struct engine *e);

/* Free everything; every other thread has ended. */
void engine_done(struct engine *e);

/* The registry, for the length of a callback. */
static inline struct registry *engine_registry(struct engine *e)
{
	return atomic_load_explicit(&e->registry, memory_order_acquire);
}

#endif

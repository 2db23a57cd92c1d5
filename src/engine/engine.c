#include "engine/engine.h"

#include "engine/source.h"

#define REFRESH_NICE 10

void engine_init(struct engine *e, unsigned threads)
{
	*e = (struct engine){ 0 };
	loops_init(&e->loops, threads);
	e->loops.refresh.nice = REFRESH_NICE;
	e->refresh = refresh_new(&e->loops);
}

void engine_adopt(struct engine *e, struct settings *settings)
{
	struct registry *old = engine_registry(e);
	struct registry *r = registry_new(settings, old, &e->loops);

	atomic_store_explicit(&e->registry, r, memory_order_release);
	refresh_adopt(e->refresh, r);
	if (old)
		loops_retire(&e->loops, &e->loops.control, old, registry_free);
}

void engine_stop(struct engine *e)
{
	struct registry *r = engine_registry(e);

	refresh_adopt(e->refresh, NULL);
	for (size_t i = 0; r && i < r->n_sources; i++)
		source_stop(r->sources[i]);
}

void engine_done(struct engine *e)
{
	registry_free(engine_registry(e));
	loop_stop(&e->loops.control);
	uv_run(&e->loops.control.uv, UV_RUN_DEFAULT);	/* until all driver processes are reaped */
	refresh_free(e->refresh);
	loops_done(&e->loops);
}

#include "engine/engine.h"

#include "base/clock.h"
#include "engine/source.h"

void engine_init(struct engine *e, unsigned threads, const char *state_directory)
{
	*e = (struct engine){ 0 };
	loops_init(&e->loops, threads);
	e->persist = persist_new(&e->loops, state_directory);
	e->exports = exports_new(&e->loops, state_directory);
	e->refresh = refresh_new(&e->loops, e->persist, e->exports);
}

void engine_adopt(struct engine *e, struct settings *settings)
{
	struct registry *old = engine_registry(e);
	struct registry *r = registry_new(settings, old, &e->loops);

	atomic_store_explicit(&e->registry, r, memory_order_release);
	/* In this order: what is restored need not be scanned at once. */
	persist_adopt(e->persist, r, settings->daemon.snapshot_interval);
	exports_adopt(e->exports, r);
	refresh_adopt(e->refresh, r);
	if (old)
		loops_retire(&e->loops, &e->loops.control, old, registry_free);
}

static bool has_mirrors(const struct map *m, uint64_t since, uint64_t now)
{
	for (size_t i = 0; i < m->n_tables; i++) {
		const struct table *t = m->tables[i];
		enum table_state state = table_state(t, now);

		if (t->settings->mode != TABLE_MIRROR)
			continue;
		if (state == TABLE_EMPTY || state == TABLE_EXPIRED ||
		    mirror_born(atomic_load_explicit(&t->mirror, memory_order_acquire)) < since)
			return false;
	}
	return true;
}

bool engine_is_ready(struct engine *e, uint64_t since, struct buf *ret_missing)
{
	const struct registry *r = engine_registry(e);
	bool has_looked = persist_has_looked(e->persist);
	size_t before = ret_missing->n;

	for (size_t i = 0; i < r->n_maps; i++)
		if (!has_looked || !has_mirrors(r->maps[i], since, clock_msec()))
			buf_printf(ret_missing, "%s%s", ret_missing->n > before ? " " : "",
				   r->maps[i]->settings->name);
	return ret_missing->n == before;
}

void engine_close(struct engine *e)
{
	atomic_store_explicit(&e->is_closing, true, memory_order_relaxed);
}

void engine_stop(struct engine *e)
{
	struct registry *r = engine_registry(e);

	engine_close(e);
	persist_stop(e->persist);
	exports_stop(e->exports);
	refresh_adopt(e->refresh, NULL);
	for (size_t i = 0; r && i < r->n_sources; i++)
		source_stop(r->sources[i]);
}

void engine_save(struct engine *e)
{
	persist_flush(e->persist);
}

void engine_done(struct engine *e)
{
	registry_free(engine_registry(e));
	loop_stop(&e->loops.control);
	uv_run(&e->loops.control.uv, UV_RUN_DEFAULT);	/* until all driver processes are reaped */
	refresh_free(e->refresh);
	exports_free(e->exports);
	persist_free(e->persist);
	loops_done(&e->loops);
}

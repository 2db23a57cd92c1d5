#include "engine/table.h"

#include "base/clock.h"
#include "base/must.h"
#include "engine/source.h"

#include <stdio.h>
#include <stdlib.h>

/* How long a key whose lookup failed is not asked again. */
#define RETRY_MSEC 1000

/* cache_size is an upper bound: when the host has no room for it, so much will do. */
#define CACHE_LEAST ((size_t)1 << 20)

size_t table_least_cache(const struct table_settings *settings)
{
	return settings->cache_size < CACHE_LEAST ? settings->cache_size : CACHE_LEAST;
}

static struct demand *new_demand(size_t max_bytes, const struct demand_times *times)
{
	struct demand *d = demand_new(max_bytes, times);

	while (!d && max_bytes > CACHE_LEAST) {
		max_bytes /= 2;
		d = demand_new(max_bytes, times);
	}
	return must(d);
}

struct table *table_new(struct table_settings *settings, const char *map, struct source *source)
{
	static uint64_t last_id;	/* control thread only */
	struct table *t = must_calloc(1, sizeof *t);
	const struct demand_times times = {
		.ttl = settings->ttl,
		.negative_ttl = settings->negative_ttl,
		.stale_max = settings->stale_max,
		.retry = RETRY_MSEC,
	};

	t->id = ++last_id;
	t->settings = settings;
	t->map = must_strdup(map);
	t->source = source_ref(source);
	t->demand = new_demand(settings->cache_size, &times);
	pthread_mutex_init(&t->lock, NULL);
	t->refs = 1;
	return t;
}

struct table *table_ref(struct table *t)
{
	t->refs++;
	return t;
}

void table_unref(struct table *t)
{
	if (!t || --t->refs > 0)
		return;
	source_forget(t->source, t->id);
	source_unref(t->source);
	mirror_free(t->mirror);
	demand_free(t->demand);
	pthread_mutex_destroy(&t->lock);
	table_settings_free(t->settings);
	free(t->map);
	free(t);
}

void table_doubt(struct table *t)
{
	/* One more, as a scan may have begun earlier in this millisecond. */
	atomic_store_explicit(&t->doubted, clock_msec() + 1, memory_order_relaxed);
}

struct rejection table_rejection(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	struct rejection r = t->rejection;
	pthread_mutex_unlock(&t->lock);
	return r;
}

const char *scan_outcome_name(enum scan_outcome outcome)
{
	static const char *const names[SCAN_OUTCOMES] = {
		[SCAN_OK] = "ok", [SCAN_WAS_REJECTED] = "rejected", [SCAN_FAILED] = "failed",
	};

	return names[outcome];
}

void table_scan_begins(struct table *t)
{
	atomic_store_explicit(&t->scan_rows, 0, memory_order_relaxed);
	atomic_store_explicit(&t->scan_began, clock_msec(), memory_order_relaxed);
}

void table_scan_ended(struct table *t, enum scan_outcome outcome, size_t rows, struct text why)
{
	uint64_t began = atomic_exchange_explicit(&t->scan_began, 0, memory_order_relaxed);
	struct table_scans *s = &t->scans;
	struct buf escaped = { 0 };

	buf_escaped(&escaped, why);
	pthread_mutex_lock(&t->lock);
	s->n[outcome]++;
	s->ended = clock_wall_msec();
	s->outcome = outcome;
	s->msec = began ? clock_msec() - began : 0;
	s->rows = rows;
	snprintf(s->why, sizeof s->why, "%s", buf_cstr(&escaped));
	if (outcome == SCAN_OK)
		histogram_add(&s->took, &refresh_bounds, s->msec * 1000);
	pthread_mutex_unlock(&t->lock);
	buf_done(&escaped);
}

struct table_scans table_scans(struct table *t)
{
	pthread_mutex_lock(&t->lock);
	struct table_scans s = t->scans;
	pthread_mutex_unlock(&t->lock);
	s.began = atomic_load_explicit(&t->scan_began, memory_order_relaxed);
	s.rows_now = atomic_load_explicit(&t->scan_rows, memory_order_relaxed);
	return s;
}

struct process_table table_for_process(const struct table *t)
{
	return (struct process_table){ t->id, &t->settings->options };
}

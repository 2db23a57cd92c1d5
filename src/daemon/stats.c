#include "daemon/stats.h"

#include "base/clock.h"
#include "base/log.h"
#include "engine/source.h"

/* What a map's tables hold together. */
struct holdings {
	size_t entries, bytes, cached;
	uint64_t age;			/* of the oldest mirror, msec */
	enum table_state state;		/* the worst of its mirrors */
	bool has_mirror;
};

static enum table_state worse(enum table_state a, enum table_state b)
{
	if (a == TABLE_EMPTY || b == TABLE_EMPTY)
		return TABLE_EMPTY;
	return a > b ? a : b;
}

static struct holdings holdings(const struct map *m, uint64_t now)
{
	struct holdings h = { .state = TABLE_FRESH };

	for (size_t i = 0; i < m->n_tables; i++) {
		struct table *t = m->tables[i];
		const struct mirror *mirror = atomic_load_explicit(&t->mirror, memory_order_acquire);

		h.cached += demand_entries(t->demand);
		h.bytes += demand_bytes(t->demand);
		if (t->settings->mode == TABLE_MIRROR) {
			h.has_mirror = true;
			h.state = worse(h.state, table_state(t, now));
		}
		if (mirror) {
			uint64_t age = now - mirror_born(mirror);

			h.entries += mirror_entries(mirror);
			h.bytes += mirror_bytes(mirror);
			h.age = age > h.age ? age : h.age;
		}
	}
	return h;
}

static void log_map(const struct map *m, size_t loops, uint64_t now)
{
	static const char *const names[MAP_COUNTS] = {
#define X(id, name, help) [id] = name,
		MAP_COUNTERS(X)
#undef X
	};
	struct log_field fields[6 + MAP_COUNTS];
	struct holdings h = holdings(m, now);
	size_t n = 0;

	fields[n++] = F_STR("map", m->settings->name);
	fields[n++] = F_STR("state", h.has_mirror ? table_state_name(h.state) : "DEMAND");
	fields[n++] = F_NUM("entries", h.entries);
	fields[n++] = F_NUM("cached", h.cached);
	fields[n++] = F_NUM("bytes", h.bytes);
	fields[n++] = F_MSEC("age", h.age);
	for (size_t i = 0; i < MAP_COUNTS; i++)
		fields[n++] = F_NUM(names[i], counters_sum(m->counters, loops, i));
	log_event(LOG_AT_INFO, "stats", m->settings->name, fields, n);
}

void stats_log(const struct registry *r, size_t clients)
{
	uint64_t now = clock_msec();

	for (size_t i = 0; i < r->n_maps; i++)
		log_map(r->maps[i], r->loops->n_answers, now);
	for (size_t i = 0; i < r->n_sources; i++) {
		struct source_stats s = source_stats(r->sources[i]);

		log_info("stats", s.name, F_STR("source", s.name), F_NUM("up", s.up),
			 F_NUM("busy", s.busy), F_NUM("queued", s.queued),
			 F_NUM("lookups", s.lookups), F_NUM("failures", s.failures),
			 F_NUM("restarts", s.restarts), F_STR("host", s.host),
			 F_NUM("cert_not_after", s.cert_not_after));
	}
	log_info("stats", "server", F_NUM("clients", clients));
}

#include "daemon/stats.h"

#include "base/log.h"

static void log_map(const struct report_map *m, uint64_t now)
{
	const struct counters *c = &m->counts;
	size_t entries = 0, cached = 0, bytes = 0;
	uint64_t age = 0;
	bool has_copy = false;

	for (size_t i = 0; i < m->n_tables; i++) {
		const struct report_table *t = &m->tables[i];

		entries += t->entries;
		cached += t->cached;
		bytes += t->bytes + t->cache_bytes;
		has_copy |= t->born != 0;
		if (t->born && now - t->born > age)
			age = now - t->born;
	}

	struct log_field fields[] = {
		F_STR("map", m->name), F_STR("state", m->state), F_NUM("entries", entries),
		F_NUM("cached", cached), F_NUM("bytes", bytes),
		F_NUM("found", counters_replies(c, FOUND)),
		F_NUM("notfound", counters_replies(c, NOTFOUND)),
		F_NUM("temp", counters_replies(c, TEMP)), F_NUM("perm", counters_replies(c, PERM)),
		F_NUM("stale", count_of(&c->n[COUNT_STALE_HITS])),
		F_NUM("stale_misses", count_of(&c->n[COUNT_STALE_MISSES])),
		F_NUM("asked", count_of(&c->n[COUNT_ASKED])),
		F_NUM("too_long", count_of(&c->temps[REASON_TOO_LONG])),
		F_MSEC("age", age),	/* last: of what has no copy it is left out */
	};
	size_t n = sizeof fields / sizeof *fields;
	log_event(LOG_AT_INFO, "stats", m->name, fields, has_copy ? n : n - 1);
}

/* Scans that were rejected since the last good one, if any. */
static void log_rejection(const char *map, const struct report_table *t, uint64_t now)
{
	const struct rejection *r = &t->rejection;

	if (r->times)
		log_info("stats_rejected", map, F_STR("map", map), F_STR("source", t->source),
			 F_STR("why", scan_fault_name(r->fault)), F_NUM("old", r->old),
			 F_NUM("new", r->new), F_NUM("rows", r->rows), F_NUM("bad", r->bad),
			 F_NUM("times", r->times), F_MSEC("since", now - r->since),
			 F_MSEC("same_since", now - r->same_since), F_KEYS("missing", r->missing));
}

void stats_log(const struct report *r)
{
	for (size_t i = 0; i < r->n_maps; i++) {
		log_map(&r->maps[i], r->now);
		for (size_t k = 0; k < r->maps[i].n_tables; k++)
			log_rejection(r->maps[i].name, &r->maps[i].tables[k], r->now);
	}
	for (size_t i = 0; i < r->n_sources; i++) {
		const struct source_stats *s = &r->sources[i].stats;
		const char *name = r->sources[i].name;

		log_info("stats", name, F_STR("source", name),
			 F_STR("state", source_state_name(s->state)), F_NUM("up", s->up),
			 F_NUM("busy", s->busy), F_NUM("queued", s->queued),
			 F_NUM("lookups", s->lookups), F_NUM("failures", s->failures),
			 F_NUM("restarts", s->restarts), F_STR("host", s->host),
			 F_NUM("cert_not_after", s->cert_not_after));
	}
	log_info("stats", "server", F_NUM("clients", r->clients),
		 F_NUM("snapshots_written", r->snapshots.written),
		 F_NUM("snapshots_failed", r->snapshots.failed),
		 F_NUM("snapshots_restored", r->snapshots.restored),
		 F_NUM("snapshots_rejected", r->snapshots.rejected),
		 F_NUM("exports_written", r->exports.written),
		 F_NUM("exports_unchanged", r->exports.unchanged),
		 F_NUM("exports_failed", r->exports.failed));
}

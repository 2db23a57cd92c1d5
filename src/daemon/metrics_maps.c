#include "daemon/metrics.h"
#include "daemon/metrics_lines.h"

#include <math.h>

#define P METRICS_PREFIX

static double larger(double a, double b)
{
	return a > b ? a : b;
}

/* --- maps: one value each ---------------------------------------------------------------- */

static bool has_mirror(const struct report_map *m)
{
	return strcmp(m->state, "DEMAND") != 0;
}

static double generation(const struct report *r, const struct report_map *m)
{
	double n = 0;
	(void)r;

	for (size_t i = 0; i < m->n_tables; i++)
		n += (double)m->tables[i].scans.n[SCAN_OK];
	return has_mirror(m) ? n : NAN;
}

/* Of its oldest mirror; 0 while one is missing, so that its age is enormous. */
static double last_success(const struct report *r, const struct report_map *m)
{
	if (!has_mirror(m))
		return NAN;
	return m->born ? ((double)r->wall - ((double)r->now - (double)m->born)) / 1000 : 0;
}

static double last_attempt(const struct report *r, const struct report_map *m)
{
	double last = 0;
	(void)r;

	for (size_t i = 0; i < m->n_tables; i++)
		last = larger(last, (double)m->tables[i].scans.ended / 1000);
	return has_mirror(m) ? last : NAN;
}

static double interval(const struct report *r, const struct report_map *m)
{
	double longest = 0;
	(void)r;

	for (size_t i = 0; i < m->n_tables; i++)
		if (m->tables[i].is_mirror)
			longest = larger(longest, (double)m->tables[i].refresh / 1000);
	return has_mirror(m) ? longest : NAN;
}

static double rejected(const struct report *r, const struct report_map *m)
{
	double most = 0;
	(void)r;

	for (size_t i = 0; i < m->n_tables; i++)
		most = larger(most, (double)m->tables[i].rejection.times);
	return has_mirror(m) ? most : NAN;
}

static double waits(const struct report *r, const struct report_map *m)
{
	(void)r;
	return (double)count_of(&m->counts.n[COUNT_ASKED]);
}

/* Either the sum of a size_t of each table, or what a function says. */
static const struct {
	const char *name, *type, *help;
	size_t sum_of;
	double (*value)(const struct report *r, const struct report_map *m);
} of_maps[] = {
#define SUM(member) offsetof(struct report_table, member), NULL
	{ P "map_entries", "gauge", "Keys in the mirrors of the map.", SUM(entries) },
	{ P "map_bytes", "gauge", "Memory of the mirrors of the map.", SUM(bytes) },
	{ P "map_cached_keys", "gauge", "Single keys in the caches of the map.", SUM(cached) },
	{ P "map_cache_bytes", "gauge", "Memory of these caches.", SUM(cache_bytes) },
	{ P "map_differing_keys_total", "counter",
	  "Sampled keys to which the directory said something else than the mirror.",
	  SUM(differing) },
#undef SUM
	{ P "map_generation", "gauge", "Mirrors put in force since the start.", 0, generation },
	{ P "map_last_success_timestamp_seconds", "gauge",
	  "When the oldest mirror of the map was true; 0: one is missing.", 0, last_success },
	{ P "map_last_attempt_timestamp_seconds", "gauge", "When a scan ended last, however.", 0,
	  last_attempt },
	{ P "map_refresh_interval_seconds", "gauge",
	  "The setting refresh, the longest of its tables.", 0, interval },
	{ P "map_rejected_scans", "gauge", "Scans rejected since the last accepted one.", 0,
	  rejected },
	{ P "directory_waits_total", "counter", "Requests that had to wait for a directory.", 0,
	  waits },
};

static double map_value(size_t row, const struct report *r, const struct report_map *m)
{
	double n = 0;

	if (of_maps[row].value)
		return of_maps[row].value(r, m);
	for (size_t i = 0; i < m->n_tables; i++)
		n += (double)*(const size_t *)((const char *)&m->tables[i] + of_maps[row].sum_of);
	return n;
}

/* --- maps: the others -------------------------------------------------------------------- */

static void requests(struct buf *out, const struct report *r)
{
	metrics_family(out, P "requests_total", "counter", "Requests answered, by reply.");
	for (size_t i = 0; i < r->n_maps; i++)
		for (size_t p = 0; p < PROTOCOLS; p++)
			for (size_t v = 0; v < VERDICTS; v++)
				metrics_line(out, P "requests_total", "",
					     LABELS({ "proto", protocols[p]->name },
						    { "map", r->maps[i].name },
						    { "result", reply_words[v] }),
					     (double)count_of(&r->maps[i].counts.replies[p][v]));

	metrics_family(out, P "request_duration_seconds", "histogram",
		       "From a request to its reply.");
	for (size_t i = 0; i < r->n_maps; i++)
		metrics_histogram(out, P "request_duration_seconds", "map", r->maps[i].name,
				  &r->maps[i].counts.took, &lookup_bounds);
}

static void reasons(struct buf *out, const struct report *r)
{
	metrics_family(out, P "temp_replies_total", "counter", "TEMP replies, by reason.");
	for (size_t i = 0; i < r->n_maps; i++)
		for (size_t n = 0; n < TEMP_REASONS; n++)
			if (n != REASON_UNKNOWN_MAP)
				metrics_line(out, P "temp_replies_total", "",
					     LABELS({ "map", r->maps[i].name },
						    { "reason", temp_reason_name(n) }),
					     (double)count_of(&r->maps[i].counts.temps[n]));
	metrics_single(out, P "unknown_map_requests_total", "counter",
		       "Requests for a map that is not configured; they are told TEMP.",
		       (double)r->unknown_map);

	metrics_family(out, P "stale_replies_total", "counter",
		       "Replies from a copy past its time: values, and absences by stale_miss.");
	for (size_t i = 0; i < r->n_maps; i++) {
		const struct counters *c = &r->maps[i].counts;

		metrics_line(out, P "stale_replies_total", "",
			     LABELS({ "map", r->maps[i].name }, { "kind", "hit" }),
			     (double)count_of(&c->n[COUNT_STALE_HITS]));
		metrics_line(out, P "stale_replies_total", "",
			     LABELS({ "map", r->maps[i].name }, { "kind", "miss" }),
			     (double)count_of(&c->n[COUNT_STALE_MISSES]));
	}
}

static void steps(struct buf *out, const struct report *r)
{
	metrics_family(out, P "search_hits_total", "counter",
		       "Keys found, by their place in the search order; the last is all that follow.");
	for (size_t i = 0; i < r->n_maps; i++)
		for (size_t n = 0; n < COUNTED_STEPS; n++) {
			char step[] = { (char)('1' + n), '\0' };

			if (n && r->maps[i].search == SEARCH_EXACT)
				break;
			metrics_line(out, P "search_hits_total", "",
				     LABELS({ "map", r->maps[i].name }, { "step", step }),
				     (double)count_of(&r->maps[i].counts.hits[n]));
		}
}

static void states(struct buf *out, const struct report *r)
{
	static const char *const all[][2] = {
		{ "EMPTY", "empty" }, { "FRESH", "fresh" }, { "STALE", "stale" },
		{ "EXPIRED", "expired" }, { "DEMAND", "demand" },
	};

	metrics_family(out, P "map_state", "gauge", "1 for the state of the map, 0 for the others.");
	for (size_t i = 0; i < r->n_maps; i++)
		for (size_t n = 0; n < sizeof all / sizeof *all; n++)
			metrics_line(out, P "map_state", "",
				     LABELS({ "map", r->maps[i].name }, { "state", all[n][1] }),
				     strcmp(all[n][0], r->maps[i].state) == 0);
}

static uint64_t scans(const struct report_map *m, enum scan_outcome outcome, struct histogram *took)
{
	uint64_t n = 0;

	for (size_t i = 0; i < m->n_tables; i++) {
		const struct table_scans *s = &m->tables[i].scans;

		n += s->n[outcome];
		for (size_t k = 0; k <= HISTOGRAM_BUCKETS; k++)
			count_up(&took->n[k], count_of(&s->took.n[k]));
		count_up(&took->usec, count_of(&s->took.usec));
	}
	return n;
}

static void refreshes(struct buf *out, const struct report *r)
{
	struct histogram ignored = { 0 };

	metrics_family(out, P "refresh_total", "counter", "Scans of mirrored tables, by outcome.");
	for (size_t i = 0; i < r->n_maps; i++)
		for (size_t n = 0; has_mirror(&r->maps[i]) && n < SCAN_OUTCOMES; n++)
			metrics_line(out, P "refresh_total", "",
				     LABELS({ "map", r->maps[i].name },
					    { "outcome", scan_outcome_name(n) }),
				     (double)scans(&r->maps[i], n, &ignored));
	metrics_family(out, P "refresh_duration_seconds", "histogram", "Scans that were accepted.");
	for (size_t i = 0; i < r->n_maps; i++) {
		struct histogram took = { 0 };

		scans(&r->maps[i], SCAN_OK, &took);
		if (has_mirror(&r->maps[i]))
			metrics_histogram(out, P "refresh_duration_seconds", "map",
					  r->maps[i].name, &took, &refresh_bounds);
	}
}

static double export_failed(const struct report_export *e)
{
	return e->has_failed;
}

static double export_last_success(const struct report_export *e)
{
	return (double)e->current_at / 1000;
}

static double export_entries(const struct report_export *e)
{
	return e->entries || e->bad ? (double)e->entries : NAN;
}

static double export_bad(const struct report_export *e)
{
	return e->entries || e->bad ? (double)e->bad : NAN;
}

static void exports(struct buf *out, const struct report *r)
{
	static const struct {
		const char *name, *type, *help;
		double (*value)(const struct report_export *e);
	} rows[] = {
		{ P "export_failed", "gauge",
		  "1: the file could not be written the last time, and is the one from before.",
		  export_failed },
		{ P "export_last_success_timestamp_seconds", "gauge",
		  "When the file last held what the map did; 0: not yet.", export_last_success },
		{ P "export_entries", "gauge", "Keys in the file.", export_entries },
		{ P "export_bad_entries", "gauge", "Keys in the file that are errors to Postfix.",
		  export_bad },
	};

	for (size_t n = 0; n < sizeof rows / sizeof *rows; n++) {
		metrics_family(out, rows[n].name, rows[n].type, rows[n].help);
		for (size_t i = 0; i < r->n_maps; i++)
			if (r->maps[i].export.path)
				metrics_line(out, rows[n].name, "",
					     LABELS({ "map", r->maps[i].name }),
					     rows[n].value(&r->maps[i].export));
	}
}

void metrics_maps(struct buf *out, const struct report *r)
{
	requests(out, r);
	reasons(out, r);
	steps(out, r);
	states(out, r);
	for (size_t n = 0; n < sizeof of_maps / sizeof *of_maps; n++) {
		metrics_family(out, of_maps[n].name, of_maps[n].type, of_maps[n].help);
		for (size_t i = 0; i < r->n_maps; i++)
			metrics_line(out, of_maps[n].name, "", LABELS({ "map", r->maps[i].name }),
				     map_value(n, r, &r->maps[i]));
	}
	refreshes(out, r);
	exports(out, r);
}

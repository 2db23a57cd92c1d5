#include "daemon/metrics.h"

#include "base/log.h"
#include "daemon/json.h"

#include <math.h>
#include <stdio.h>
#include <uv.h>

#define P "socketmapd_"

/* --- lines ------------------------------------------------------------------------------- */

/* Append a label's value: backslash, quote and newline are escaped. */
static void add_label(struct buf *out, const char *value)
{
	for (; *value; value++)
		if (*value == '\n')
			buf_str(out, "\\n");
		else if (*value == '"' || *value == '\\')
			buf_printf(out, "\\%c", *value);
		else
			buf_byte(out, *value);
}

struct label {
	const char *name, *value;
};

#define LABELS_MAX 4
#define LABELS(...) ((const struct label[LABELS_MAX]){ __VA_ARGS__ })
#define NO_LABELS ((const struct label[LABELS_MAX]){ { NULL, NULL } })

/* NAN is no value, and no line. */
static void line(struct buf *out, const char *name, const char *suffix, const struct label *labels,
		 double value)
{
	const char *before = "{";

	if (isnan(value))
		return;
	buf_printf(out, "%s%s", name, suffix);
	for (size_t i = 0; i < LABELS_MAX && labels[i].name; i++) {
		buf_printf(out, "%s%s=\"", before, labels[i].name);
		add_label(out, labels[i].value);
		buf_byte(out, '"');
		before = ",";
	}
	buf_printf(out, "%s %.16g\n", *before == ',' ? "}" : "", value);
}

static void single(struct buf *out, const char *name, const char *type, const char *help,
		   double value)
{
	metrics_family(out, name, type, help);
	line(out, name, "", NO_LABELS, value);
}

static void histogram(struct buf *out, const char *name, const char *label, const char *value,
		      const struct histogram *h, const struct histogram_bounds *bounds)
{
	uint64_t n = 0;
	char le[32];

	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
		n += count_of(&h->n[i]);
		if (i < HISTOGRAM_BUCKETS)
			snprintf(le, sizeof le, "%g", (double)bounds->usec[i] / 1e6);
		else
			snprintf(le, sizeof le, "+Inf");
		line(out, name, "_bucket", LABELS({ label, value }, { "le", le }), (double)n);
	}
	line(out, name, "_sum", LABELS({ label, value }), (double)count_of(&h->usec) / 1e6);
	line(out, name, "_count", LABELS({ label, value }), (double)n);
}

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
				line(out, P "requests_total", "",
				     LABELS({ "proto", protocols[p]->name },
					    { "map", r->maps[i].name }, { "result", reply_words[v] }),
				     (double)count_of(&r->maps[i].counts.replies[p][v]));

	metrics_family(out, P "request_duration_seconds", "histogram",
		       "From a request to its reply.");
	for (size_t i = 0; i < r->n_maps; i++)
		histogram(out, P "request_duration_seconds", "map", r->maps[i].name,
			  &r->maps[i].counts.took, &lookup_bounds);
}

static void reasons(struct buf *out, const struct report *r)
{
	metrics_family(out, P "temp_replies_total", "counter", "TEMP replies, by reason.");
	for (size_t i = 0; i < r->n_maps; i++)
		for (size_t n = 0; n < TEMP_REASONS; n++)
			if (n != REASON_UNKNOWN_MAP)
				line(out, P "temp_replies_total", "",
				     LABELS({ "map", r->maps[i].name },
					    { "reason", temp_reason_name(n) }),
				     (double)count_of(&r->maps[i].counts.temps[n]));
	single(out, P "unknown_map_requests_total", "counter",
	       "Requests for a map that is not configured; they are told TEMP.",
	       (double)r->unknown_map);

	metrics_family(out, P "stale_replies_total", "counter",
		       "Replies from a copy past its time: values, and absences by stale_miss.");
	for (size_t i = 0; i < r->n_maps; i++) {
		const struct counters *c = &r->maps[i].counts;

		line(out, P "stale_replies_total", "",
		     LABELS({ "map", r->maps[i].name }, { "kind", "hit" }),
		     (double)count_of(&c->n[COUNT_STALE_HITS]));
		line(out, P "stale_replies_total", "",
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
			line(out, P "search_hits_total", "",
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
			line(out, P "map_state", "",
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
			line(out, P "refresh_total", "",
			     LABELS({ "map", r->maps[i].name }, { "outcome", scan_outcome_name(n) }),
			     (double)scans(&r->maps[i], n, &ignored));
	metrics_family(out, P "refresh_duration_seconds", "histogram", "Scans that were accepted.");
	for (size_t i = 0; i < r->n_maps; i++) {
		struct histogram took = { 0 };

		scans(&r->maps[i], SCAN_OK, &took);
		if (has_mirror(&r->maps[i]))
			histogram(out, P "refresh_duration_seconds", "map", r->maps[i].name, &took,
				  &refresh_bounds);
	}
}

static void print_maps(struct buf *out, const struct report *r)
{
	requests(out, r);
	reasons(out, r);
	steps(out, r);
	states(out, r);
	for (size_t n = 0; n < sizeof of_maps / sizeof *of_maps; n++) {
		metrics_family(out, of_maps[n].name, of_maps[n].type, of_maps[n].help);
		for (size_t i = 0; i < r->n_maps; i++)
			line(out, of_maps[n].name, "", LABELS({ "map", r->maps[i].name }),
			     map_value(n, r, &r->maps[i]));
	}
	refreshes(out, r);
}

/* --- sources ----------------------------------------------------------------------------- */

static double is_up(const struct source_stats *s)
{
	return s->state != SOURCE_DOWN;
}

static double processes(const struct source_stats *s)
{
	return s->up;
}

static double busy(const struct source_stats *s)
{
	return s->busy;
}

static double queued(const struct source_stats *s)
{
	return (double)s->queued;
}

static double lookups(const struct source_stats *s)
{
	return (double)s->lookups;
}

static double errors(const struct source_stats *s)
{
	return (double)s->failures;
}

static double restarts(const struct source_stats *s)
{
	return (double)s->restarts;
}

static double cert_not_after(const struct source_stats *s)
{
	return s->cert_not_after ? (double)s->cert_not_after : NAN;
}

static const struct {
	const char *name, *type, *help;
	double (*value)(const struct source_stats *s);
} of_sources[] = {
	{ P "source_up", "gauge", "0 while the directory cannot be reached.", is_up },
	{ P "source_processes", "gauge", "Driver processes for lookups.", processes },
	{ P "source_processes_busy", "gauge", "Those of them with a lookup.", busy },
	{ P "source_queued_lookups", "gauge", "Lookups that wait for a process.", queued },
	{ P "source_lookups_total", "counter", "Lookups passed to driver processes.", lookups },
	{ P "source_errors_total", "counter", "Lookups without an answer.", errors },
	{ P "source_restarts_total", "counter", "Driver processes that ended or had to be killed.",
	  restarts },
	{ P "source_cert_not_after_timestamp_seconds", "gauge",
	  "When the certificate of the directory server ends.", cert_not_after },
};

static void print_sources(struct buf *out, const struct report *r)
{
	for (size_t n = 0; n < sizeof of_sources / sizeof *of_sources; n++) {
		metrics_family(out, of_sources[n].name, of_sources[n].type, of_sources[n].help);
		for (size_t i = 0; i < r->n_sources; i++)
			line(out, of_sources[n].name, "", LABELS({ "source", r->sources[i].name }),
			     of_sources[n].value(&r->sources[i].stats));
	}
	metrics_family(out, P "source_lookup_duration_seconds", "histogram",
		       "Lookups, from a driver process's getting one to its answer.");
	for (size_t i = 0; i < r->n_sources; i++)
		histogram(out, P "source_lookup_duration_seconds", "source", r->sources[i].name,
			  &r->sources[i].stats.took, &lookup_bounds);
}

/* --- clients and listeners --------------------------------------------------------------- */

static void print_listeners(struct buf *out, const struct report *r)
{
	static const char *const reason[LISTENER_COUNTS] = {
#define X(id, name) [id] = name,
		LISTENER_COUNTERS(X)
#undef X
	};

	metrics_family(out, P "listener_requests_total", "counter", "Requests answered, by listener.");
	for (size_t i = 0; i < r->n_listeners; i++)
		if (!r->listeners[i].is_http)
			line(out, P "listener_requests_total", "",
			     LABELS({ "proto", r->listeners[i].protocol },
				    { "listener", r->listeners[i].address }),
			     (double)r->listeners[i].counts[LISTENER_REQUESTS]);
	metrics_family(out, P "protocol_errors_total", "counter",
		       "What clients did wrong; all but reason=request close the connection.");
	for (size_t i = 0; i < r->n_listeners; i++)
		for (size_t n = 0; !r->listeners[i].is_http && n < LISTENER_COUNTS; n++)
			if (n != LISTENER_REQUESTS)
				line(out, P "protocol_errors_total", "",
				     LABELS({ "proto", r->listeners[i].protocol },
					    { "listener", r->listeners[i].address },
					    { "reason", reason[n] }),
				     (double)r->listeners[i].counts[n]);
}

static void print_clients(struct buf *out, const struct report *r)
{
	const char *rejected_total = P "clients_rejected_total";

	single(out, P "clients", "gauge", "Connections.", (double)r->clients);
	single(out, P "clients_limit", "gauge", "The setting max_clients.", (double)r->max_clients);
	single(out, P "clients_accepted_total", "counter", "Connections let in.", (double)r->accepted);
	single(out, P "clients_evicted_total", "counter",
	       "Idle connections closed for want of room.", (double)r->evicted);
	metrics_family(out, rejected_total, "counter", "Connections closed at once, by limit.");
	line(out, rejected_total, "", LABELS({ "reason", "max_clients" }), (double)r->refused);
	line(out, rejected_total, "", LABELS({ "reason", "max_clients_per_address" }),
	     (double)r->refused_address);
}

/* --- the server -------------------------------------------------------------------------- */

static void outcomes(struct buf *out, const char *name, const char *help, const char *good,
		     uint64_t n_good, const char *bad, uint64_t n_bad)
{
	metrics_family(out, name, "counter", help);
	line(out, name, "", LABELS({ "outcome", good }), (double)n_good);
	line(out, name, "", LABELS({ "outcome", bad }), (double)n_bad);
}

static void print_loop(struct buf *out, const struct loop *loop)
{
	line(out, P "loop_lag_seconds", "", LABELS({ "loop", loop->name }),
	     (double)loop_silence(loop) / 1000);
}

static void print_loops(struct buf *out, const struct loops *loops)
{
	metrics_family(out, P "loop_lag_seconds", "gauge",
		       "Since the loop last showed that it is alive; it does so every second.");
	for (size_t i = 0; i < loops->n_answers; i++)
		print_loop(out, &loops->answers[i]);
	print_loop(out, &loops->control);
	print_loop(out, &loops->refresh);
}

static void print_http(struct buf *out)
{
	unsigned long long n[HTTP_CLASSES];

	http_counts(n);
	metrics_family(out, P "http_requests_total", "counter", "Requests like this one, by status.");
	for (size_t i = 2; i < HTTP_CLASSES; i++) {
		char code[] = { (char)('0' + i), 'x', 'x', '\0' };

		line(out, P "http_requests_total", "", LABELS({ "code", code }), (double)n[i]);
	}
}

/* "1.2" of "libthing 1.2" */
static const char *number_of(const char *version)
{
	const char *blank = strchr(version, ' ');

	return blank ? blank + 1 : version;
}

static void print_server(struct buf *out, const struct report *r, const struct admin *a)
{
	const struct admin_reloads *l = &r->reloads;

	metrics_family(out, P "build_info", "gauge", "1, with the versions as labels.");
	line(out, P "build_info", "",
	     LABELS({ "version", VERSION }, { "libuv", uv_version_string() },
		    { "libmicrohttpd", number_of(http_version()) },
		    { "jansson", number_of(json_version()) }), 1);
	single(out, P "serving", "gauge", "0 until the start is over, and from a stop on.",
	       r->phase == ADMIN_SERVING);
	outcomes(out, P "config_reloads_total", "Reloads of the configuration.", "ok", l->n_ok,
		 "failed", l->n_failed);
	single(out, P "config_last_reload_successful", "gauge",
	       "0: the last reload failed, and the configuration before it is in force.",
	       !l->at || l->is_ok);
	single(out, P "config_last_reload_success_timestamp_seconds", "gauge",
	       "Since when the configuration has been in force.",
	       (double)(l->good_at ? l->good_at : a->started) / 1000);
	outcomes(out, P "snapshot_writes_total", "Tables written to state_directory.", "ok",
		 r->snapshots.written, "failed", r->snapshots.failed);
	outcomes(out, P "snapshot_restores_total", "Tables read from there.", "ok",
		 r->snapshots.restored, "rejected", r->snapshots.rejected);
	outcomes(out, P "export_writes_total", "Files of maps with the setting export.", "ok",
		 r->exports.written, "failed", r->exports.failed);
	single(out, P "log_suppressed_total", "counter", "Log lines that were one too many.",
	       (double)log_suppressed());
	print_loops(out, &a->engine->loops);
	print_http(out);
}

void metrics_print(const struct report *r, const struct admin *a, struct buf *out)
{
	print_maps(out, r);
	print_sources(out, r);
	print_listeners(out, r);
	print_clients(out, r);
	print_server(out, r, a);
	metrics_process(out);
}

void metrics_reply(const struct http_request *request, struct http_reply *reply)
{
	struct report *r = report_get(request->admin);

	if (!r) {
		json_fail(reply, 503, "the control loop does not answer");
		return;
	}
	reply->type = "text/plain; version=0.0.4; charset=utf-8";
	metrics_print(r, request->admin, &reply->body);
	report_free(r);
}

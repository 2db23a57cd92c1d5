#include "daemon/metrics.h"

#include "base/log.h"
#include "daemon/json.h"
#include "daemon/metrics_lines.h"

#include <math.h>
#include <uv.h>

#define P METRICS_PREFIX

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
			metrics_line(out, of_sources[n].name, "",
				     LABELS({ "source", r->sources[i].name }),
				     of_sources[n].value(&r->sources[i].stats));
	}
	metrics_family(out, P "source_lookup_duration_seconds", "histogram",
		       "Lookups, from a driver process's getting one to its answer.");
	for (size_t i = 0; i < r->n_sources; i++)
		metrics_histogram(out, P "source_lookup_duration_seconds", "source",
				  r->sources[i].name, &r->sources[i].stats.took, &lookup_bounds);
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
			metrics_line(out, P "listener_requests_total", "",
				     LABELS({ "proto", r->listeners[i].protocol },
					    { "listener", r->listeners[i].address }),
				     (double)r->listeners[i].counts[LISTENER_REQUESTS]);
	metrics_family(out, P "protocol_errors_total", "counter",
		       "What clients did wrong; all but reason=request close the connection.");
	for (size_t i = 0; i < r->n_listeners; i++)
		for (size_t n = 0; !r->listeners[i].is_http && n < LISTENER_COUNTS; n++)
			if (n != LISTENER_REQUESTS)
				metrics_line(out, P "protocol_errors_total", "",
					     LABELS({ "proto", r->listeners[i].protocol },
						    { "listener", r->listeners[i].address },
						    { "reason", reason[n] }),
					     (double)r->listeners[i].counts[n]);
}

static void print_clients(struct buf *out, const struct report *r)
{
	const char *rejected_total = P "clients_rejected_total";

	metrics_single(out, P "clients", "gauge", "Connections.", (double)r->clients);
	metrics_single(out, P "clients_limit", "gauge", "The setting max_clients.",
		       (double)r->max_clients);
	metrics_single(out, P "clients_accepted_total", "counter", "Connections let in.",
		       (double)r->accepted);
	metrics_single(out, P "clients_evicted_total", "counter",
		       "Idle connections closed for want of room.", (double)r->evicted);
	metrics_family(out, rejected_total, "counter", "Connections closed at once, by limit.");
	metrics_line(out, rejected_total, "", LABELS({ "reason", "max_clients" }),
		     (double)r->refused);
	metrics_line(out, rejected_total, "", LABELS({ "reason", "max_clients_per_address" }),
		     (double)r->refused_address);
}

/* --- the server -------------------------------------------------------------------------- */

static void outcomes(struct buf *out, const char *name, const char *help, const char *good,
		     uint64_t n_good, const char *bad, uint64_t n_bad)
{
	metrics_family(out, name, "counter", help);
	metrics_line(out, name, "", LABELS({ "outcome", good }), (double)n_good);
	metrics_line(out, name, "", LABELS({ "outcome", bad }), (double)n_bad);
}

static void print_loop(struct buf *out, const struct loop *loop)
{
	metrics_line(out, P "loop_lag_seconds", "", LABELS({ "loop", loop->name }),
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

		metrics_line(out, P "http_requests_total", "", LABELS({ "code", code }), (double)n[i]);
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
	metrics_line(out, P "build_info", "",
		     LABELS({ "version", VERSION }, { "libuv", uv_version_string() },
			    { "libmicrohttpd", number_of(http_version()) },
			    { "jansson", number_of(json_version()) }), 1);
	metrics_single(out, P "serving", "gauge", "0 until the start is over, and from a stop on.",
		       r->phase == ADMIN_SERVING);
	outcomes(out, P "config_reloads_total", "Reloads of the configuration.", "ok", l->n_ok,
		 "failed", l->n_failed);
	metrics_single(out, P "config_last_reload_successful", "gauge",
		       "0: the last reload failed, and the configuration before it is in force.",
		       !l->at || l->is_ok);
	metrics_single(out, P "config_last_reload_success_timestamp_seconds", "gauge",
		       "Since when the configuration has been in force.",
		       (double)(l->good_at ? l->good_at : a->started) / 1000);
	outcomes(out, P "snapshot_writes_total", "Tables written to state_directory.", "ok",
		 r->snapshots.written, "failed", r->snapshots.failed);
	outcomes(out, P "snapshot_restores_total", "Tables read from there.", "ok",
		 r->snapshots.restored, "rejected", r->snapshots.rejected);
	outcomes(out, P "export_writes_total", "Files of maps with the setting export.", "ok",
		 r->exports.written, "failed", r->exports.failed);
	metrics_single(out, P "log_suppressed_total", "counter", "Log lines that were one too many.",
		       (double)log_suppressed());
	print_loops(out, &a->engine->loops);
	print_http(out);
}

void metrics_print(const struct report *r, const struct admin *a, struct buf *out)
{
	metrics_maps(out, r);
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

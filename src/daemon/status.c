#include "daemon/status.h"

#include "base/log.h"
#include "base/must.h"
#include "base/recent.h"
#include "daemon/json.h"
#include "daemon/report.h"
#include "engine/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/statvfs.h>
#include <unistd.h>

/* --- health ------------------------------------------------------------------------------ */

void status_live(const struct http_request *request, struct http_reply *reply)
{
	const struct loop *stalled = loops_stalled(&request->admin->engine->loops);

	reply->type = HTTP_TEXT;
	if (!stalled) {
		buf_str(&reply->body, "ok\n");
		return;
	}
	reply->status = 503;
	buf_printf(&reply->body, "%s has been silent for %u s\n", stalled->name,
		   (unsigned)(loop_silence(stalled) / 1000));
}

static struct report *get_report(const struct http_request *request, struct http_reply *reply)
{
	struct report *r = report_get(request->admin);

	if (!r)
		json_fail(reply, 503, "the control loop does not answer");
	return r;
}

/* What keeps a map from answering: of its first table that does not. */
static const char *why_not_ready(const struct report_map *m)
{
	for (size_t i = 0; i < m->n_tables; i++) {
		const struct report_table *t = &m->tables[i];

		if (!t->is_mirror || t->state == TABLE_FRESH || t->state == TABLE_STALE)
			continue;
		if (t->rejection.times)
			return scan_fault_name(t->rejection.fault);
		if (t->scans.ended)
			return t->scans.why;
		return t->state == TABLE_EXPIRED ? "the copy is older than stale_max" :
						   "the first scan has not ended yet";
	}
	return NULL;
}

static bool is_ready(const struct report *r)
{
	bool is_ready = r->phase == ADMIN_SERVING;

	for (size_t i = 0; i < r->n_maps; i++)
		is_ready &= r->maps[i].is_ready;
	return is_ready;
}

static const char *phase_name(enum admin_phase phase)
{
	static const char *const names[] = {
		[ADMIN_STARTING] = "starting", [ADMIN_SERVING] = "serving",
		[ADMIN_STOPPING] = "stopping",
	};

	return names[phase];
}

void status_ready(const struct http_request *request, struct http_reply *reply)
{
	struct report *r = get_report(request, reply);

	if (!r)
		return;

	json_t *maps = json_array();
	for (size_t i = 0; i < r->n_maps; i++) {
		const struct report_map *m = &r->maps[i];

		json_array_append_new(maps, json_pack("{s:o, s:b, s:s, s:o}", "name", json_str(m->name),
						      "ready", m->is_ready, "state", m->state, "why",
						      json_str(why_not_ready(m))));
	}
	json_reply(reply, json_pack("{s:b, s:s, s:o}", "ready", is_ready(r), "phase",
				    phase_name(r->phase), "maps", maps));
	reply->status = is_ready(r) ? 200 : 503;
	report_free(r);
}

/* --- /v1/status -------------------------------------------------------------------------- */

static json_t *number(uint64_t n)
{
	return json_integer((json_int_t)n);
}

/* A moment of clock_wall_msec(); 0: there was none. */
static json_t *moment(uint64_t wall)
{
	return wall ? json_seconds(wall) : json_null();
}

/* A moment of clock_msec() on the wall. */
static json_t *on_wall(const struct report *r, uint64_t at)
{
	return json_seconds(r->wall - (r->now - at));
}

static json_t *took_of(const struct histogram *h)
{
	uint64_t n = 0;

	for (size_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
		n += count_of(&h->n[i]);
	return json_pack("{s:o, s:f}", "count", number(n), "sum", (double)count_of(&h->usec) / 1e6);
}

static json_t *config_of(const struct report *r, const struct admin *a)
{
	const struct admin_reloads *l = &r->reloads;
	json_t *last = json_null();

	if (l->at)
		last = json_pack("{s:o, s:b, s:o}", "time", moment(l->at), "ok", l->is_ok, "why",
				 json_str(l->is_ok ? NULL : l->why));
	return json_pack("{s:o, s:o, s:o, s:o}", "path", json_str(a->path), "reloads_ok",
			 number(l->n_ok), "reloads_failed", number(l->n_failed), "last_reload",
			 last);
}

static json_t *clients_of(const struct report *r)
{
	return json_pack("{s:o, s:o, s:o, s:o, s:o}", "now", number(r->clients), "max",
			 number(r->max_clients), "accepted", number(r->accepted), "refused",
			 number(r->refused + r->refused_address), "evicted", number(r->evicted));
}

static json_t *http_of(void)
{
	unsigned long long n[HTTP_CLASSES];
	json_t *o = json_object();

	http_counts(n);
	for (size_t i = 2; i < HTTP_CLASSES; i++) {
		char status[] = { (char)('0' + i), 'x', 'x', '\0' };

		json_object_set_new(o, status, number(n[i]));
	}
	return o;
}

static json_t *loop_of(const struct loop *loop)
{
	return json_pack("{s:s, s:o}", "name", loop->name, "beat_age",
			 json_seconds(loop_silence(loop)));
}

static json_t *loops_of(const struct loops *loops)
{
	json_t *list = json_array();

	for (size_t i = 0; i < loops->n_answers; i++)
		json_array_append_new(list, loop_of(&loops->answers[i]));
	json_array_append_new(list, loop_of(&loops->control));
	json_array_append_new(list, loop_of(&loops->refresh));
	return list;
}

static json_t *listeners_of(const struct report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n_listeners; i++) {
		const struct report_listener *l = &r->listeners[i];
		uint64_t errors = 0;

		for (size_t n = 0; n < LISTENER_COUNTS; n++)
			errors += n == LISTENER_REQUESTS ? 0 : l->counts[n];
		json_t *sockets = json_array();
		for (char **s = l->sockets; *s; s++)
			json_array_append_new(sockets, json_str(*s));
		json_array_append_new(
			list, json_pack("{s:s, s:o, s:o, s:o, s:o, s:o}", "protocol", l->protocol,
					"address", json_str(l->address), "sockets", sockets, "map",
					json_str(l->map), "requests",
					l->is_http ? json_null() :
						     number(l->counts[LISTENER_REQUESTS]),
					"protocol_errors",
					l->is_http ? json_null() : number(errors)));
	}
	return list;
}

static json_t *last_refresh_of(const struct table_scans *s)
{
	if (!s->ended)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:s, s:o}", "time", moment(s->ended), "took",
			 json_seconds(s->msec), "rows", number(s->rows), "outcome",
			 scan_outcome_name(s->outcome), "why",
			 json_str(s->outcome == SCAN_OK ? NULL : s->why));
}

static json_t *rejection_of(const struct report *report, const struct rejection *r)
{
	struct text hashes = text_of(r->hashes), hash;
	json_t *missing;

	if (!r->times)
		return json_null();
	missing = json_array();
	while (text_next(&hashes, " ", &hash))
		json_array_append_new(missing, json_text(hash));
	return json_pack("{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o}", "why",
			 scan_fault_name(r->fault), "old", number(r->old), "new", number(r->new),
			 "rows", number(r->rows), "bad", number(r->bad), "since",
			 on_wall(report, r->since), "times", number(r->times), "accepted",
			 r->is_accepted, "missing", missing);
}

static json_t *scan_of(const struct report *r, const struct table_scans *s)
{
	if (!s->began)
		return json_null();
	return json_pack("{s:o, s:o}", "rows", number(s->rows_now), "seconds",
			 json_seconds(r->now > s->began ? r->now - s->began : 0));
}

static json_t *table_of(const struct report *r, const struct report_table *t, size_t index)
{
	json_t *o = json_pack("{s:o, s:o, s:s, s:s, s:o, s:o}", "index", number(index), "source",
			      json_str(t->source), "mode", t->is_mirror ? "mirror" : "demand", "state",
			      t->is_mirror ? table_state_name(t->state) : "DEMAND", "entries",
			      number(t->entries), "bytes", number(t->bytes));
	json_t *more = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "age",
				 t->born ? json_seconds(r->now > t->born ? r->now - t->born : 0) :
					   json_null(),
				 "cached", number(t->cached), "cache_bytes", number(t->cache_bytes),
				 "differing", number(t->differing), "refresh",
				 t->is_mirror ? json_seconds(t->refresh) : json_null(),
				 "last_refresh", last_refresh_of(&t->scans), "rejected",
				 rejection_of(r, &t->rejection), "scan", scan_of(r, &t->scans));

	json_object_update_new(o, more);
	return o;
}

static json_t *export_of(const struct report_export *e)
{
	bool is_counted = e->entries || e->bad;

	if (!e->path)
		return json_null();
	return json_pack("{s:o, s:o, s:b, s:o, s:o}", "path", json_str(e->path), "current",
			 moment(e->current_at), "failed", e->has_failed, "entries",
			 is_counted ? number(e->entries) : json_null(), "bad",
			 is_counted ? number(e->bad) : json_null());
}

static json_t *reasons_of(const struct counters *c)
{
	json_t *o = json_object();

	for (size_t i = 0; i < TEMP_REASONS; i++)
		if (i != REASON_UNKNOWN_MAP)
			json_object_set_new(o, temp_reason_name(i), number(count_of(&c->temps[i])));
	return o;
}

static json_t *map_of(const struct report *r, const struct report_map *m)
{
	const struct counters *c = &m->counts;
	json_t *tables = json_array();

	for (size_t i = 0; i < m->n_tables; i++)
		json_array_append_new(tables, table_of(r, &m->tables[i], i));

	json_t *o = json_pack("{s:o, s:s, s:b, s:s, s:o}", "name", json_str(m->name), "search",
			      search_kind_name(m->search), "secret", m->is_secret, "state",
			      m->state, "why", json_str(why_not_ready(m)));
	json_t *counts = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "stale_hits",
				   number(count_of(&c->n[COUNT_STALE_HITS])), "stale_misses",
				   number(count_of(&c->n[COUNT_STALE_MISSES])), "asked",
				   number(count_of(&c->n[COUNT_ASKED])), "too_long",
				   number(count_of(&c->temps[REASON_TOO_LONG])),
				   "temp_reasons", reasons_of(c), "took",
				   took_of(&c->took), "export", export_of(&m->export), "tables",
				   tables);

	for (size_t v = 0; v < VERDICTS; v++)
		json_object_set_new(o, reply_words[v], number(counters_replies(c, v)));
	json_object_update_new(o, counts);
	return o;
}

/*
 * What keeps snapshots from being written at this moment; nothing if it cannot be seen from
 * outside. That it is there comes first, as state_open() would make it.
 */
static void directory_fault(const char *path, struct buf *ret_why)
{
	struct statvfs fs;

	if (faccessat(AT_FDCWD, path, W_OK | X_OK, AT_EACCESS) != 0)
		buf_str(ret_why, strerror(errno));
	else if (statvfs(path, &fs) == 0 && fs.f_blocks &&
		 (geteuid() ? fs.f_bavail : fs.f_bfree) == 0)
		buf_str(ret_why, strerror(ENOSPC));
	else
		state_close(state_open(path, ret_why));
}

static json_t *snapshots_of(const struct persist_stats *s, const char *directory)
{
	struct buf why = { 0 };

	if (directory)
		directory_fault(directory, &why);
	json_t *o = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "written", number(s->written),
			      "failed", number(s->failed), "restored", number(s->restored),
			      "rejected", number(s->rejected), "directory", json_str(directory),
			      "why", json_text_if(why.n, buf_view(&why)));
	buf_done(&why);
	return o;
}

static json_t *exports_of(const struct exports_stats *s)
{
	return json_pack("{s:o, s:o, s:o}", "written", number(s->written), "unchanged",
			 number(s->unchanged), "failed", number(s->failed));
}

static json_t *source_of(const struct report_source *source)
{
	const struct source_stats *s = &source->stats;
	json_t *last_error = json_null();

	if (s->failed_at)
		last_error = json_pack("{s:o, s:o}", "time", moment(s->failed_at), "why",
				       json_str(s->why));

	json_t *o = json_pack("{s:o, s:o, s:s, s:o}", "name", json_str(source->name), "driver",
			      json_str(source->driver), "state", source_state_name(s->state),
			      "host", json_str(*s->host ? s->host : NULL));
	json_t *more = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "up",
				 number(s->up), "busy", number(s->busy), "queued",
				 number(s->queued), "lookups", number(s->lookups), "took",
				 took_of(&s->took), "failures", number(s->failures), "restarts",
				 number(s->restarts), "cert_not_after",
				 s->cert_not_after ? number(s->cert_not_after) : json_null(),
				 "failing_since", moment(s->failing_since), "last_error",
				 last_error);

	json_object_update_new(o, more);
	return o;
}

static json_t *events(void)
{
	static const char *const levels[] = {
		[LOG_AT_ERROR] = "error", [LOG_AT_WARN] = "warn",
		[LOG_AT_INFO] = "info", [LOG_AT_DEBUG] = "debug",
	};
	struct recent *recent = must_calloc(RECENT_EVENTS, sizeof *recent);
	size_t n = recent_get(recent);
	json_t *list = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(
			list, json_pack("{s:o, s:s, s:s, s:o}", "time", moment(recent[i].at), "level",
					levels[recent[i].level], "event", recent[i].event, "text",
					json_str(recent[i].text)));
	free(recent);
	return list;
}

void status_all(const struct http_request *request, struct http_reply *reply)
{
	const struct admin *a = request->admin;
	struct report *r = get_report(request, reply);
	json_t *maps = json_array(), *sources = json_array();

	for (size_t i = 0; r && i < r->n_maps; i++)
		json_array_append_new(maps, map_of(r, &r->maps[i]));
	for (size_t i = 0; r && i < r->n_sources; i++)
		json_array_append_new(sources, source_of(&r->sources[i]));
	if (!r) {
		json_decref(maps);
		json_decref(sources);
		return;
	}

	json_t *o = json_pack("{s:s, s:o, s:o, s:o, s:b, s:s, s:o}", "version", VERSION, "pid",
			      number((uint64_t)getpid()), "started", moment(a->started), "uptime",
			      json_seconds(r->now - a->born), "ready", is_ready(r), "phase",
			      phase_name(r->phase), "config", config_of(r, a));
	json_t *more = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:o}, s:o}",
				 "clients", clients_of(r), "unknown_map", number(r->unknown_map),
				 "loops", loops_of(&a->engine->loops), "listeners", listeners_of(r),
				 "maps", maps, "sources", sources, "snapshots",
				 snapshots_of(&r->snapshots, a->state_directory), "exports",
				 exports_of(&r->exports), "http", http_of(), "log", "suppressed",
				 number(log_suppressed()), "events", events());

	json_object_update_new(o, more);
	json_reply(reply, o);
	report_free(r);
}

#include "ctl/columns.h"
#include "ctl/ctl.h"
#include "ctl/health.h"
#include "ctl/value.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* A thread of the server that has been silent for so long counts as stalled, seconds. */
#define STALLED 10.0

/* --- status ------------------------------------------------------------------------------ */

/* A line of something that is not well; `name` is from the server. */
static void unwell(struct buf *out, const char *what, struct text name, const struct buf *why)
{
	if (!why->n)
		return;
	buf_printf(out, "  %s ", what);
	show_text(out, name);
	buf_str(out, ": ");
	show_coloured(out, YELLOW, buf_view(why));
	buf_byte(out, '\n');
}

static void unwell_map(struct buf *out, const json_t *map)
{
	const json_t *tables = value_get(map, "tables"), *export = value_get(map, "export"), *t;
	size_t i;

	json_array_foreach(tables, i, t) {
		struct buf why = { 0 };

		health_of_table(&why, t, value_text(map, "name"));
		if (why.n && json_array_size(tables) > 1)
			buf_printf(&why, " (table %zu)", i);
		unwell(out, "map", value_text(map, "name"), &why);
		buf_done(&why);
	}
	if (value_true(export, "failed")) {
		struct buf why = { 0 };

		buf_str(&why, "its export cannot be written: ");
		show_text(&why, value_text(export, "path"));
		buf_str(&why, "; the log has the reason (event=export_failed)");
		unwell(out, "map", value_text(map, "name"), &why);
		buf_done(&why);
	}
}

static void unwell_snapshots(struct buf *out, const json_t *snapshots)
{
	double failed = value_number(snapshots, "failed");
	struct buf why = { 0 };

	if (value_get(snapshots, "why")) {
		buf_str(&why, "no snapshots can be written: ");
		show_text(&why, value_text(snapshots, "why"));
	} else if (failed > 0) {
		buf_str(&why, "the log has the reasons (event=snapshot_failed)");
	}
	if (failed > 0) {
		buf_str(&why, "; since the start ");
		show_plural(&why, failed, "attempt");
		buf_str(&why, " failed");
	}
	unwell(out, "state_directory", value_text(snapshots, "directory"), &why);
	buf_done(&why);
}

static void unwell_server(struct buf *out, const json_t *status)
{
	const json_t *reload = value_get(value_get(status, "config"), "last_reload"), *loop;
	struct buf why = { 0 };
	size_t i;

	if (reload && !value_true(reload, "ok")) {
		buf_str(&why, "refused ");
		show_ago(&why, value_number(reload, "time"));
		buf_str(&why, ": ");
		show_text(&why, value_text(reload, "why"));
		unwell(out, "reload", value_text(value_get(status, "config"), "path"), &why);
	}
	unwell_snapshots(out, value_get(status, "snapshots"));
	json_array_foreach(value_get(status, "loops"), i, loop) {
		buf_clear(&why);
		if (value_number(loop, "beat_age") > STALLED) {
			buf_str(&why, "stands still for ");
			show_seconds(&why, value_number(loop, "beat_age"));
			unwell(out, "thread", value_text(loop, "name"), &why);
		}
	}
	buf_done(&why);
}

static const char *const verdicts[] = { "found", "notfound", "temp", "perm" };

static double requests_of(const json_t *map)
{
	double sum = 0;

	for (size_t v = 0; v < sizeof verdicts / sizeof *verdicts; v++)
		sum += value_number(map, verdicts[v]);
	return sum;
}

static void totals(struct buf *out, const json_t *status)
{
	const json_t *maps = value_get(status, "maps"), *m;
	const json_t *clients = value_get(status, "clients");
	double entries = 0, requests = 0, temp = 0;
	size_t i;

	json_array_foreach(maps, i, m) {
		double n = health_entries(m);

		entries += isnan(n) ? 0 : n;
		requests += requests_of(m);
		temp += value_number(m, "temp");
	}
	show_plural(out, (double)json_array_size(maps), "map");
	buf_str(out, " with ");
	show_count(out, entries);
	buf_str(out, " mirrored keys, ");
	show_plural(out, (double)json_array_size(value_get(status, "sources")), "source");
	buf_str(out, ", ");
	show_count(out, value_number(clients, "now"));
	buf_str(out, " of ");
	show_count(out, value_number(clients, "max"));
	buf_str(out, " connections, ");
	show_plural(out, requests, "request");
	buf_str(out, ", ");
	show_count(out, temp);
	buf_str(out, " of them told TEMP\n");
	if (value_number(status, "unknown_map") > 0) {
		show_plural(out, value_number(status, "unknown_map"), "request");
		buf_str(out, " more for maps that are not configured, all told TEMP: the log names "
			     "them (event=unknown_map)\n");
	}
}

static void headline(struct buf *out, const json_t *status)
{
	bool is_ready = value_true(status, "ready");

	buf_str(out, "socketmapd ");
	show_text(out, value_text(status, "version"));
	buf_str(out, " is ");
	show_coloured(out, is_ready ? GREEN : RED, is_ready ? TEXT("ready") : TEXT("not ready"));
	if (!value_is(status, "phase", "serving")) {
		buf_str(out, " (");
		show_text(out, value_text(status, "phase"));
		buf_byte(out, ')');
	}
	buf_printf(out, ", process %.0f, up ", value_number(status, "pid"));
	show_seconds(out, value_number(status, "uptime"));
	buf_byte(out, '\n');
}

int ctl_status(struct ctl *c)
{
	json_t *status, *item;
	struct buf out = { 0 };
	size_t i;
	int code = ctl_ask(c, GET, "/v1/status", &status);

	if (!code && !json_is_boolean(value_get(status, "ready")))
		code = ctl_fail(CTL_NO_SERVER, "the server's answer is not the status of a "
				"socketmapd");
	if (!code) {
		headline(&out, status);
		json_array_foreach(value_get(status, "maps"), i, item)
			unwell_map(&out, item);
		json_array_foreach(value_get(status, "sources"), i, item) {
			struct buf why = { 0 };

			health_of_source(&why, item);
			unwell(&out, "source", value_text(item, "name"), &why);
			buf_done(&why);
		}
		unwell_server(&out, status);
		totals(&out, status);
		if (!c->is_json)
			show_out(&out);
		code = value_true(status, "ready") ? CTL_DONE : CTL_NO;
	}
	buf_done(&out);
	json_decref(status);
	return code;
}

/* --- maps and sources -------------------------------------------------------------------- */

static void map_rows(struct columns *t, const json_t *map)
{
	const json_t *tables = value_get(map, "tables"), *table;
	size_t i;

	json_array_foreach(tables, i, table) {
		bool is_first = i == 0;		/* then the row is of the map, too */

		columns_text(t, PLAIN, is_first ? value_text(map, "name") : TEXT(""));
		columns_text(t, PLAIN, is_first ? value_text(map, "search") : TEXT(""));
		columns_text(t, PLAIN, value_text(table, "source"));
		columns_text(t, health_colour(value_text(table, "state")),
			     value_text(table, "state"));
		show_count(columns_cell(t, PLAIN), value_is(table, "mode", "mirror") ?
				   value_number(table, "entries") : NAN);
		show_seconds(columns_cell(t, PLAIN), value_number(table, "age"));
		show_seconds(columns_cell(t, PLAIN), value_number(table, "refresh"));
		show_count(columns_cell(t, PLAIN), value_number(table, "cached"));
		show_bytes(columns_cell(t, PLAIN), value_number(table, "bytes") +
				   value_number(table, "cache_bytes"));

		struct buf *requests = columns_cell(t, PLAIN);
		if (is_first)
			show_count(requests, requests_of(map));
		struct buf *temp = columns_cell(t, PLAIN);
		if (is_first)
			show_count(temp, value_number(map, "temp"));
	}
}

static void source_row(struct columns *t, const json_t *source)
{
	const json_t *took = value_get(source, "took");
	double cert = value_number(source, "cert_not_after");
	struct buf *why;

	columns_text(t, PLAIN, value_text(source, "name"));
	columns_text(t, PLAIN, value_text(source, "driver"));
	columns_text(t, health_colour(value_text(source, "state")), value_text(source, "state"));
	columns_text(t, PLAIN, value_text(source, "host"));
	show_count(columns_cell(t, PLAIN), value_number(source, "up"));
	show_count(columns_cell(t, PLAIN), value_number(source, "busy"));
	show_count(columns_cell(t, PLAIN), value_number(source, "queued"));
	show_count(columns_cell(t, PLAIN), value_number(source, "lookups"));
	show_count(columns_cell(t, PLAIN), value_number(source, "failures"));
	show_count(columns_cell(t, PLAIN), value_number(source, "restarts"));
	show_seconds(columns_cell(t, PLAIN),
		     value_number(took, "sum") / value_number(took, "count"));
	show_seconds(columns_cell(t, PLAIN), cert - show_now());
	why = columns_cell(t, PLAIN);
	if (value_get(source, "last_error")) {
		show_text(why, value_text(value_get(source, "last_error"), "why"));
		buf_str(why, ", ");
		show_ago(why, value_number(value_get(source, "last_error"), "time"));
	}
}

/* One array of the status, as it is or as a table. */
static int print_list(struct ctl *c, const char *name, const struct column *columns,
		      void (*add)(struct columns *t, const json_t *item))
{
	struct columns t = { .columns = columns };
	struct buf out = { 0 };
	json_t *status, *item;
	size_t i;
	int code = ctl_get_status(c, c->timeout, &status);

	if (!code && c->is_json) {
		char *list = json_dumps(value_get(status, name), JSON_COMPACT |
					JSON_REAL_PRECISION(15) | JSON_ENCODE_ANY);

		puts(list ? list : "[]");
		free(list);
	} else if (!code) {
		json_array_foreach(value_get(status, name), i, item)
			add(&t, item);
		columns_print(&t, &out, 0, 0);
		show_out(&out);
	}
	columns_done(&t);
	buf_done(&out);
	json_decref(status);
	return code;
}

int ctl_maps(struct ctl *c)
{
	static const struct column columns[] = {
		{ "MAP", false }, { "SEARCH", false }, { "SOURCE", false }, { "STATE", false },
		{ "KEYS", true }, { "AGE", true }, { "REFRESH", true }, { "CACHED", true },
		{ "BYTES", true }, { "REQUESTS", true }, { "TEMP", true }, { NULL, false },
	};

	return print_list(c, "maps", columns, map_rows);
}

int ctl_sources(struct ctl *c)
{
	static const struct column columns[] = {
		{ "SOURCE", false }, { "DRIVER", false }, { "STATE", false }, { "HOST", false },
		{ "UP", true }, { "BUSY", true }, { "QUEUED", true }, { "LOOKUPS", true },
		{ "FAILURES", true }, { "RESTARTS", true }, { "MEAN", true }, { "CERT", true },
		{ "LAST ERROR", false }, { NULL, false },
	};

	return print_list(c, "sources", columns, source_row);
}

#include "ctl/wait.h"

#include "base/clock.h"
#include "ctl/health.h"
#include "ctl/interrupt.h"
#include "ctl/show.h"
#include "ctl/value.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#define LOOK_MSEC 250

/* Times of the server are cut to milliseconds. */
#define ROUNDING 0.005

/* What was waited for. */
struct wait {
	const json_t *maps, *tables;
	double since;
};

/* How far one map is. */
struct progress {
	size_t n_tables, n_ended;
	double keys, rows, took;	/* of scans that have ended */
	const json_t *bad;		/* a table whose scan failed or was rejected */
	const json_t *scan;		/* one that runs */
};

/*
 * Has a scan of this table ended that knows what the directory held when we asked? One that ran
 * already then is followed by another, unless it fails.
 */
static bool has_ended(const json_t *table, double since)
{
	const json_t *last = value_get(table, "last_refresh");
	double ended = value_number(last, "time");

	if (!(ended > since))
		return false;
	return value_is(last, "outcome", "failed") ||
	       !(ended - value_number(last, "took") < since - ROUNDING);
}

static bool is_awaited(const struct wait *w, const json_t *table, size_t index)
{
	const json_t *i;
	size_t n;

	if (!value_is(table, "mode", "mirror"))
		return false;
	if (!w->tables)
		return true;
	json_array_foreach(w->tables, n, i)
		if ((size_t)json_integer_value(i) == index)
			return true;
	return false;
}

static struct progress progress_of(const struct wait *w, const json_t *map)
{
	struct progress p = { 0 };
	const json_t *table;
	size_t i;

	json_array_foreach(value_get(map, "tables"), i, table) {
		const json_t *last = value_get(table, "last_refresh");

		if (!is_awaited(w, table, i))
			continue;
		p.n_tables++;
		if (value_get(table, "scan"))
			p.scan = value_get(table, "scan");
		if (!has_ended(table, w->since))
			continue;
		p.n_ended++;
		p.keys += value_number(table, "entries");
		p.rows += value_number(last, "rows");
		p.took += value_number(last, "took");
		if (!value_is(last, "outcome", "ok"))
			p.bad = table;
	}
	return p;
}

static const json_t *find_map(const json_t *status, struct text name)
{
	const json_t *map;
	size_t i;

	json_array_foreach(value_get(status, "maps"), i, map)
		if (text_eq(value_text(map, "name"), name))
			return map;
	return NULL;
}

static struct text name_at(const json_t *names, size_t i)
{
	return value_string(json_array_get(names, i));
}

/* --- while it lasts ---------------------------------------------------------------------- */

/* Rewrite the line on a terminal's stderr; an empty one removes it. */
static void draw(struct text line)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%.*s", (int)line.n, line.n ? line.p : "");
}

static void add_running(struct buf *line, struct text name, const json_t *scan)
{
	double rows = value_number(scan, "rows"), seconds = value_number(scan, "seconds");

	buf_str(line, "; ");
	show_text(line, name);
	buf_str(line, ": ");
	show_plural(line, rows, "row");
	if (rows > 0 && seconds > 0.1) {
		buf_str(line, ", ");
		show_rate(line, rows / seconds);
		buf_str(line, "/s");
	}
}

/* Are all of them done? Shows how far they are. */
static bool look(const struct wait *w, const json_t *status)
{
	size_t n = json_array_size(w->maps), n_done = 0;
	struct buf running = { 0 }, line = { 0 };

	for (size_t i = 0; i < n; i++) {
		const json_t *map = find_map(status, name_at(w->maps, i));
		struct progress p = progress_of(w, map);

		n_done += !map || p.n_ended == p.n_tables;
		if (p.scan && p.n_ended < p.n_tables && !running.n)
			add_running(&running, name_at(w->maps, i), p.scan);
	}
	buf_printf(&line, "%zu of ", n_done);
	show_plural(&line, (double)n, "map");
	buf_text(&line, buf_view(&running));
	draw(buf_view(&line));
	buf_done(&running);
	buf_done(&line);
	return n_done == n;
}

/* --- how it ended ------------------------------------------------------------------------ */

static void add_bad(struct buf *out, const json_t *table, struct text name)
{
	const json_t *last = value_get(table, "last_refresh"), *r = value_get(table, "rejected");

	show_text(out, value_text(last, "outcome"));
	buf_str(out, ": ");
	show_text(out, value_text(last, "why"));
	if (r) {
		buf_str(out, " (");
		health_change(out, r);
		buf_str(out, "; ");
		health_advice(out, r, name);
		buf_byte(out, ')');
	}
}

static int result(struct buf *out, const struct wait *w, const json_t *map, struct text name,
		  uint64_t timeout)
{
	struct progress p = progress_of(w, map);
	int code = CTL_DONE;

	show_text(out, name);
	buf_str(out, ": ");
	if (!map || p.n_tables == 0) {
		buf_str(out, "is not there any more");
		code = CTL_FAILED;
	} else if (p.n_ended < p.n_tables) {
		buf_str(out, p.scan ? "is still being scanned after " :
				      "has not been scanned after ");
		show_seconds(out, (double)timeout / 1000);
		buf_str(out, "; that goes on without us, --timeout waits longer");
		code = CTL_FAILED;
	} else if (p.bad) {
		add_bad(out, p.bad, name);
		code = CTL_FAILED;
	} else {
		show_plural(out, p.keys, "key");
		buf_str(out, " of ");
		show_plural(out, p.rows, "row");
		buf_str(out, ", took ");
		show_seconds(out, p.took);
	}
	buf_byte(out, '\n');
	return code;
}

static int results(struct ctl *c, const struct wait *w, const json_t *status)
{
	struct buf out = { 0 };
	int code = CTL_DONE;

	for (size_t i = 0; i < json_array_size(w->maps); i++) {
		struct text name = name_at(w->maps, i);
		int one = result(&out, w, find_map(status, name), name, c->timeout);

		code = one ? one : code;
	}
	if (!c->is_json)
		show_out(&out);
	buf_done(&out);
	return code;
}

int wait_for_scans(struct ctl *c, const json_t *maps, const json_t *tables, double since)
{
	struct wait w = { maps, tables, since };
	uint64_t end = clock_msec() + c->timeout, now;
	json_t *status;
	int code;

	if (!isfinite(since))
		return ctl_fail(CTL_NO_SERVER, "the server's answer does not say when");
	for (;;) {
		now = clock_msec();
		code = ctl_get_status(c, now < end ? end - now + LOOK_MSEC : LOOK_MSEC, &status);
		if (code || look(&w, status) || clock_msec() >= end)
			break;
		json_decref(status);
		if (interrupt_came() || (poll(NULL, 0, LOOK_MSEC) < 0 && interrupt_came())) {
			draw(TEXT(""));
			return 128 + interrupt_came();
		}
	}
	draw(TEXT(""));
	if (!code && c->is_json) {
		json_dumpf(status, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
		putchar('\n');
	}
	if (!code)
		code = results(c, &w, status);
	json_decref(status);
	return code;
}

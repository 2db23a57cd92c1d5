#include "ctl/health.h"

#include "base/fault.h"
#include "ctl/value.h"

#include <math.h>

/* A certificate that ends sooner than this is worth a word, seconds. */
#define CERTIFICATE_WARNING (14 * 86400.0)

enum colour health_colour(struct text state)
{
	static const struct {
		const char *state;
		enum colour colour;
	} rows[] = {
		{ "FRESH", GREEN }, { "up", GREEN }, { "STALE", YELLOW }, { "EMPTY", RED },
		{ "EXPIRED", RED }, { "down", RED },
	};

	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		if (text_is(state, rows[i].state))
			return rows[i].colour;
	return PLAIN;
}

/* What comes next is a clause of its own, if there was one before. */
static void next_clause(struct buf *out, size_t start)
{
	if (out->n > start)
		buf_str(out, "; ");
}

void health_change(struct buf *out, const json_t *rejected)
{
	show_plural(out, value_number(rejected, "old"), "key");
	buf_str(out, " before, ");
	show_count(out, value_number(rejected, "new"));
	buf_str(out, " now");
}

void health_times(struct buf *out, const json_t *rejected)
{
	double times = value_number(rejected, "times");

	if (times == 1) {
		buf_str(out, "once, ");
		return;
	}
	show_plural(out, times, "time");
	buf_str(out, ", first ");
}

void health_advice(struct buf *out, const json_t *rejected, struct text map)
{
	struct buf shown = { 0 };

	show_text(&shown, map);
	scan_fault_advise(out, value_text(rejected, "why"), buf_view(&shown));
	buf_done(&shown);
}

static void rejection(struct buf *out, const json_t *r, struct text map)
{
	buf_str(out, "the scan was rejected: ");
	show_text(out, value_text(r, "why"));
	buf_str(out, " (");
	health_change(out, r);
	buf_str(out, "; ");
	health_times(out, r);
	show_ago(out, value_number(r, "since"));
	buf_str(out, "); ");
	if (value_true(r, "accepted"))
		buf_str(out, "the next one like it will be taken");
	else
		health_advice(out, r, map);
}

static void state_of_mirror(struct buf *out, const json_t *table)
{
	const json_t *scan = value_get(table, "scan");
	bool is_empty = value_is(table, "state", "EMPTY");

	if (value_is(table, "state", "STALE")) {
		buf_str(out, "STALE: the copy is ");
		show_seconds(out, value_number(table, "age"));
		buf_str(out, " old");
	} else if (value_is(table, "state", "EXPIRED")) {
		buf_str(out, "EXPIRED: the copy is older than stale_max, so that every key is "
			     "told TEMP");
	} else if (is_empty) {
		buf_str(out, "EMPTY: there is no copy yet, so that every key is told TEMP");
	}
	if (is_empty && scan) {
		buf_str(out, "; being scanned, ");
		show_plural(out, value_number(scan, "rows"), "row");
		buf_str(out, " so far");
	}
}

void health_of_table(struct buf *out, const json_t *table, struct text map)
{
	const json_t *last = value_get(table, "last_refresh");
	const json_t *rejected = value_get(table, "rejected");
	size_t start = out->n;

	if (!value_is(table, "mode", "mirror"))
		return;
	state_of_mirror(out, table);
	if (rejected) {
		next_clause(out, start);
		rejection(out, rejected, map);
	}
	if (value_is(last, "outcome", "failed")) {
		next_clause(out, start);
		buf_str(out, "the last scan failed ");
		show_ago(out, value_number(last, "time"));
		buf_str(out, ": ");
		show_text(out, value_text(last, "why"));
	}
}

void health_of_source(struct buf *out, const json_t *source)
{
	const json_t *error = value_get(source, "last_error");
	double left = value_number(source, "cert_not_after") - show_now();
	double since = value_number(source, "failing_since");
	size_t start = out->n;

	if (value_is(source, "state", "down")) {
		buf_str(out, "down");
		if (isfinite(since)) {
			buf_str(out, " for ");
			show_seconds(out, show_now() - since);
		}
		if (error) {
			buf_str(out, isfinite(since) ? ", last tried " : ", ");
			show_ago(out, value_number(error, "time"));
			buf_str(out, ": ");
			show_text(out, value_text(error, "why"));
		}
	}
	if (left < CERTIFICATE_WARNING) {
		next_clause(out, start);
		buf_str(out, left > 0 ? "its certificate ends in " :
					"its certificate has ended");
		if (left > 0)
			show_seconds(out, left);
	}
}

static bool is_mirror(const json_t *table)
{
	return value_is(table, "mode", "mirror");
}

double health_age(const json_t *map)
{
	double oldest = -1;
	const json_t *table;
	size_t i;

	json_array_foreach(value_get(map, "tables"), i, table)
		if (is_mirror(table) && !(value_number(table, "age") <= oldest))
			oldest = value_number(table, "age");	/* NAN stays */
	return oldest < 0 ? NAN : oldest;
}

double health_entries(const json_t *map)
{
	double sum = NAN;
	const json_t *table;
	size_t i;

	json_array_foreach(value_get(map, "tables"), i, table)
		if (is_mirror(table) && isfinite(value_number(table, "entries")))
			sum = (isnan(sum) ? 0 : sum) + value_number(table, "entries");
	return sum;
}

#include "base/clock.h"
#include "base/must.h"
#include "ctl/columns.h"
#include "ctl/ctl.h"
#include "ctl/health.h"
#include "ctl/interrupt.h"
#include "ctl/screen.h"
#include "ctl/value.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

/* Two looks at the server, one after the other; rates are their differences. */
struct top {
	struct ctl *ctl;
	json_t *now, *before;
	double at, before_at;		/* seconds of a clock that only goes forward */
	bool has_screen;
	size_t width, height;		/* of the screen; 0: no limit */
};

/* A map and what is worth knowing of it. */
struct row {
	const json_t *map;
	double requests, asked, temp;	/* per second */
	bool is_well;
	size_t order;
};

/* --- differences ------------------------------------------------------------------------- */

/* The one of that name in another status. */
static const json_t *same_in(const json_t *list, const json_t *item)
{
	const json_t *other;
	size_t i;

	json_array_foreach(list, i, other)
		if (text_eq(value_text(other, "name"), value_text(item, "name")))
			return other;
	return NULL;
}

/* How much more there is than before; NAN when that is not known, or less, after a restart. */
static double more(const json_t *now, const json_t *before, const char *name)
{
	double difference = value_number(now, name) - value_number(before, name);

	return difference >= 0 ? difference : NAN;
}

static double seconds_of(const struct top *t)
{
	bool is_same = t->before && value_number(t->now, "started") ==
					    value_number(t->before, "started");

	return is_same && t->at > t->before_at ? t->at - t->before_at : NAN;
}

static struct row row_of(const struct top *t, const json_t *map, size_t order)
{
	const json_t *old = same_in(value_get(t->before, "maps"), map);
	double seconds = seconds_of(t);
	struct row r = { .map = map, .order = order };
	struct text state = value_text(map, "state");

	r.temp = more(map, old, "temp") / seconds;
	r.requests = r.temp + (more(map, old, "found") + more(map, old, "notfound") +
			       more(map, old, "perm")) / seconds;
	r.asked = more(map, old, "asked") / seconds;
	r.is_well = text_is(state, "FRESH") || text_is(state, "DEMAND");
	return r;
}

/* What is not well first, then what is busy, then as in the configuration. */
static int compare(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->is_well != y->is_well)
		return x->is_well - y->is_well;
	if (x->requests > y->requests || x->requests < y->requests)
		return x->requests > y->requests ? -1 : 1;
	return (x->order > y->order) - (x->order < y->order);
}

/* --- the table --------------------------------------------------------------------------- */

static void add_share(struct buf *out, double part, double all)
{
	if (all > 0 && part >= 0)
		buf_printf(out, "%.0f%%", 100 * part / all);
	else
		buf_byte(out, '-');
}

static void add_map(struct columns *t, const struct row *r)
{
	struct text state = value_text(r->map, "state");
	double unasked = r->requests - r->asked;

	columns_text(t, PLAIN, value_text(r->map, "name"));
	columns_text(t, health_colour(state), state);
	show_count(columns_cell(t, PLAIN), health_entries(r->map));
	show_seconds(columns_cell(t, PLAIN), health_age(r->map));
	show_rate(columns_cell(t, PLAIN), r->requests);
	add_share(columns_cell(t, PLAIN), unasked > 0 ? unasked : 0, r->requests);
	show_rate(columns_cell(t, r->temp > 0 ? RED : PLAIN), r->temp);
}

static void add_source(struct columns *t, const struct top *top, const json_t *source)
{
	const json_t *old = same_in(value_get(top->before, "sources"), source);
	const json_t *took = value_get(source, "took"), *took_before = value_get(old, "took");
	struct text state = value_text(source, "state");
	double seconds = seconds_of(top);

	columns_text(t, PLAIN, value_text(source, "name"));
	columns_text(t, health_colour(state), state);
	show_rate(columns_cell(t, PLAIN), more(source, old, "lookups") / seconds);
	show_seconds(columns_cell(t, PLAIN),
		     more(took, took_before, "sum") / more(took, took_before, "count"));
	show_count(columns_cell(t, PLAIN), value_number(source, "queued"));
	show_count(columns_cell(t, PLAIN), value_number(source, "busy"));
	show_rate(columns_cell(t, PLAIN), more(source, old, "failures") / seconds);
	columns_text(t, PLAIN, value_text(source, "host"));
}

static void add_maps(const struct top *t, struct buf *out, size_t rows)
{
	static const struct column columns[] = {
		{ "MAP", false }, { "STATE", false }, { "KEYS", true }, { "AGE", true },
		{ "REQ/S", true }, { "HIT", true }, { "TEMP/S", true }, { NULL, false },
	};
	const json_t *maps = value_get(t->now, "maps");
	size_t n = json_array_size(maps);
	struct row *list = must_calloc(n + 1, sizeof *list);
	struct columns table = { .columns = columns };

	for (size_t i = 0; i < n; i++)
		list[i] = row_of(t, json_array_get(maps, i), i);
	qsort(list, n, sizeof *list, compare);
	for (size_t i = 0; i < n; i++)
		add_map(&table, &list[i]);
	columns_print(&table, out, t->width, rows);
	columns_done(&table);
	free(list);
}

static void add_sources(const struct top *t, struct buf *out, size_t rows)
{
	static const struct column columns[] = {
		{ "SOURCE", false }, { "STATE", false }, { "LOOKUPS/S", true }, { "MEAN", true },
		{ "QUEUE", true }, { "BUSY", true }, { "FAILED/S", true }, { "HOST", false },
		{ NULL, false },
	};
	struct columns table = { .columns = columns };
	const json_t *source;
	size_t i;

	json_array_foreach(value_get(t->now, "sources"), i, source)
		add_source(&table, t, source);
	columns_print(&table, out, t->width, rows);
	columns_done(&table);
}

/* A line that is not longer than the screen is wide. */
static void add_line(const struct top *t, struct buf *out, struct buf *line, enum colour colour)
{
	const struct column one[] = { { "", false }, { NULL, false } };
	struct columns table = { .columns = one };
	struct buf printed = { 0 };

	buf_text(columns_cell(&table, colour), buf_view(line));
	columns_print(&table, &printed, t->width, 0);
	buf_text(out, text_skip(buf_view(&printed), 1));	/* without its empty head */
	columns_done(&table);
	buf_done(&printed);
	buf_clear(line);
}

static void add_head(const struct top *t, struct buf *out)
{
	const json_t *clients = value_get(t->now, "clients");
	bool is_ready = value_true(t->now, "ready");
	struct buf line = { 0 };

	buf_str(&line, "socketmapd ");
	show_text(&line, value_text(t->now, "version"));
	buf_str(&line, is_ready ? ", ready, up " : ", NOT READY, up ");
	show_seconds(&line, value_number(t->now, "uptime"));
	buf_str(&line, ", ");
	show_count(&line, value_number(clients, "now"));
	buf_str(&line, " of ");
	show_count(&line, value_number(clients, "max"));
	buf_str(&line, " connections, ");
	show_clock(&line, show_now());
	line.n -= 4;		/* whole seconds will do */
	add_line(t, out, &line, is_ready ? PLAIN : RED);
	buf_done(&line);
}

/* Everything; `trouble` instead of fresh numbers when the server did not answer. */
static void render(const struct top *t, struct buf *out, struct text trouble)
{
	size_t n_sources = json_array_size(value_get(t->now, "sources")), for_sources = 0;
	size_t for_maps = 0;

	if (t->height) {		/* head, two tables with heads, a gap before each */
		size_t room = t->height > 9 ? t->height - 6 : 4;

		for_sources = n_sources < room / 2 ? n_sources : room / 2;
		for_maps = room - for_sources;
		for_sources = for_sources ? for_sources : 1;
	}
	if (trouble.n) {
		struct buf line = { 0 };

		show_text(&line, trouble);
		add_line(t, out, &line, RED);
		buf_done(&line);
	} else {
		add_head(t, out);
	}
	buf_byte(out, '\n');
	add_maps(t, out, for_maps);
	buf_byte(out, '\n');
	add_sources(t, out, for_sources);
}

/* --- again and again --------------------------------------------------------------------- */

/* Get a new status; the old one is kept when that fails. */
static int look(struct top *t, struct buf *ret_trouble)
{
	struct reply reply = { 0 };
	enum heard heard = client_ask(t->ctl->client, GET, "/v1/status", t->ctl->timeout,
				      &reply);
	json_t *root = heard == HEARD ? value_parse(buf_view(&reply.body)) : NULL;
	int code = CTL_DONE;

	buf_clear(ret_trouble);
	if (heard == HEARD_INTERRUPT) {
		code = 128 + interrupt_came();
	} else if (heard == HEARD && reply.status == 200 && value_get(root, "maps")) {
		json_decref(t->before);
		t->before = t->now;
		t->before_at = t->at;
		t->now = json_incref(root);
		t->at = (double)clock_usec() / 1e6;
	} else if (!t->now || !t->has_screen) {
		code = ctl_outcome(heard, &reply, root);
		if (!code)
			code = ctl_fail(CTL_NO_SERVER, "the server's answer is not the status "
					"of a socketmapd");
	} else {
		struct text error = value_text(root, "error");

		buf_text(ret_trouble, heard == HEARD_NOTHING ? buf_view(&reply.why) :
				      error.n ? error :
				      TEXT("the server's answer makes no sense"));
	}
	json_decref(root);
	reply_done(&reply);
	return code;
}

/* Wait for the next round: true, or the end. */
static bool wait_for_turn(struct top *t)
{
	uint64_t end = clock_msec() + t->ctl->interval, now;
	int key = 0;

	while ((now = clock_msec()) < end && !interrupt_came()) {
		size_t width = t->width, height = t->height;

		if (!t->has_screen) {
			poll(NULL, 0, (int)(end - now));
			continue;
		}
		key = screen_key(end - now);
		if (key < 0 || key == 'q' || key == 'Q')
			return false;
		screen_size(&t->width, &t->height);
		if (key || width != t->width || height != t->height)
			return true;
	}
	return !interrupt_came();
}

int ctl_top(struct ctl *c)
{
	struct top t = { .ctl = c };
	struct buf out = { 0 }, trouble = { 0 };
	int code = look(&t, &trouble);

	if (!code && !c->is_json)
		t.has_screen = screen_enter();
	while (!code) {
		if (t.has_screen)
			screen_size(&t.width, &t.height);
		buf_clear(&out);
		if (c->is_json) {
			json_dumpf(t.now, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15));
			putchar('\n');
		} else {
			render(&t, &out, buf_view(&trouble));
			if (t.has_screen)
				screen_draw(buf_view(&out));
			else
				show_out(&out);
		}
		fflush(stdout);
		if (ferror(stdout) || !wait_for_turn(&t))
			break;
		code = look(&t, &trouble);
	}
	screen_leave();
	if (!code && interrupt_came())
		code = 128 + interrupt_came();
	json_decref(t.now);
	json_decref(t.before);
	buf_done(&out);
	buf_done(&trouble);
	return code;
}

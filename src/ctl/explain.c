#include "ctl/ctl.h"
#include "ctl/health.h"
#include "ctl/show.h"
#include "ctl/value.h"

#include <stdio.h>

/* --- pieces ------------------------------------------------------------------------------ */

/* "    mirror     ", what follows is the caller's up to its newline. */
static void begin(struct buf *out, const char *name)
{
	buf_printf(out, "      %-10s ", name);
}

static void line(struct buf *out, const char *name, const char *text)
{
	begin(out, name);
	buf_printf(out, "%s\n", text);
}

/* A value between quotes, as it may hold blanks, or end in one. */
static void quoted(struct buf *out, struct text value)
{
	buf_byte(out, '"');
	show_text(out, value);
	buf_byte(out, '"');
}

/* ' "value"', ": why": members that may not be there. */
static void add_quoted(struct buf *out, const json_t *o, const char *name)
{
	if (value_get(o, name)) {
		buf_byte(out, ' ');
		quoted(out, value_text(o, name));
	}
}

static void add_why(struct buf *out, const json_t *o, const char *name)
{
	if (value_get(o, name)) {
		buf_str(out, ": ");
		show_text(out, value_text(o, name));
	}
}

static enum colour verdict_colour(struct text verdict)
{
	if (text_is(verdict, "FOUND"))
		return GREEN;
	return text_is(verdict, "NOTFOUND") ? YELLOW : RED;
}

static void add_verdict(struct buf *out, const json_t *o)
{
	struct text verdict = value_text(o, "verdict");
	struct buf shown = { 0 };

	show_text(&shown, verdict.p ? verdict : TEXT("?"));
	show_coloured(out, verdict_colour(verdict), buf_view(&shown));
	buf_done(&shown);
}

/* " from the mirror, stale" */
static void add_origin(struct buf *out, const json_t *o)
{
	struct text from = value_text(o, "from");

	if (from.p) {
		buf_str(out, text_is(from, "rules") ? " by the " : " from the ");
		show_text(out, from);
	}
	if (value_true(o, "stale"))
		buf_str(out, ", stale");
}

static void add_age(struct buf *out, const json_t *o)
{
	if (value_get(o, "age")) {
		buf_str(out, ", ");
		show_seconds(out, value_number(o, "age"));
		buf_str(out, " old");
	}
}

/* --- one table about one key ------------------------------------------------------------- */

static void mirror(struct buf *out, const json_t *t, struct text map)
{
	const json_t *rejected = value_get(t, "rejected");

	if (value_is(t, "mode", "mirror")) {
		begin(out, "mirror");
		if (value_is(t, "mirror", "hit")) {
			buf_str(out, "has");
			add_quoted(out, t, "mirror_value");
		} else if (value_true(t, "ended")) {
			buf_str(out, "had a value, whose time has passed");
		} else if (value_is(t, "mirror", "miss")) {
			buf_str(out, "does not have the key");
		} else if (value_is(t, "mirror", "bad")) {
			buf_str(out, "has the key, but a value that cannot be used");
		} else if (value_is(t, "state", "EMPTY")) {
			buf_str(out, "is EMPTY: no scan has been accepted yet");
		} else {
			buf_str(out, "cannot know this key");
		}
		buf_byte(out, '\n');
	}
	if (rejected) {
		begin(out, "rejected");
		buf_str(out, "the scan was rejected");
		add_why(out, rejected, "why");
		add_quoted(out, rejected, "expected");
		buf_str(out, " (");
		health_times(out, rejected);
		show_seconds(out, value_number(rejected, "since"));
		buf_str(out, " ago); ");
		health_advice(out, rejected, map);
		buf_byte(out, '\n');
	}
	if (value_get(t, "scan_why") &&
	    !(rejected && text_eq(value_text(t, "scan_why"), value_text(rejected, "why")))) {
		begin(out, "scan");
		buf_str(out, "the last one failed");
		add_why(out, t, "scan_why");
		buf_byte(out, '\n');
	}
}

static void cache(struct buf *out, const json_t *c)
{
	bool is_found = value_is(c, "noted", "found");
	bool is_failure = value_is(c, "noted", "failed");
	bool is_nothing = value_is(c, "noted", "nothing");

	if (!c || (is_nothing && !value_true(c, "in_flight")))
		return;
	begin(out, "cache");
	if (is_found) {
		buf_str(out, "FOUND");
		add_quoted(out, c, "value");
	} else if (is_nothing) {
		buf_str(out, "knows nothing");
	} else if (is_failure) {
		buf_str(out, "the directory failed");
	} else {
		buf_str(out, "NOTFOUND, a negative answer");
	}
	add_age(out, c);
	if (is_failure && value_true(c, "fresh"))
		buf_str(out, ", so it is left alone for a moment");
	else if (value_true(c, "fresh"))
		buf_str(out, ", fresh");
	else if (is_found)
		buf_str(out, value_true(c, "usable") ? ", past its ttl, may stand in" :
						       ", too old to be used");
	if (value_true(c, "in_flight"))
		buf_str(out, "; the directory is being asked right now");
	buf_byte(out, '\n');
}

static void source(struct buf *out, const json_t *t)
{
	struct buf state = { 0 };

	if (!value_is(t, "source_state", "down"))
		return;
	begin(out, "source");
	show_text(&state, value_text(t, "source_state"));
	show_coloured(out, RED, buf_view(&state));
	add_why(out, t, "source_why");
	buf_byte(out, '\n');
	buf_done(&state);
}

static void directory(struct buf *out, const json_t *d)
{
	const json_t *query;
	size_t i;

	json_array_foreach(value_get(d, "queries"), i, query) {
		begin(out, "query");
		show_text(out, value_string(query));
		buf_byte(out, '\n');
	}
	if (!d)
		return;
	begin(out, "directory");
	add_verdict(out, d);
	add_quoted(out, d, "value");
	if (value_number(d, "took") > 0) {
		buf_str(out, " in ");
		show_seconds(out, value_number(d, "took"));
	}
	add_why(out, d, "why");
	buf_byte(out, '\n');
}

static void table_verdict(struct buf *out, const json_t *t)
{
	begin(out, "so");
	add_verdict(out, t);
	add_quoted(out, t, "value");
	add_origin(out, t);
	add_why(out, t, "reason");
	if (value_true(t, "asks"))
		buf_str(out, " (for this the directory is asked)");
	buf_byte(out, '\n');
}

static void table(struct buf *out, const json_t *t, struct text map)
{
	struct text state = value_text(t, "state");
	struct buf shown = { 0 };

	buf_printf(out, "    table %.0f, ", value_number(t, "index"));
	buf_str(out, value_is(t, "mode", "mirror") ? "a mirror of source " :
						     "single keys of source ");
	quoted(out, value_text(t, "source"));
	if (state.p && value_is(t, "mode", "mirror")) {
		show_text(&shown, state);
		buf_str(out, ", ");
		show_coloured(out, health_colour(state), buf_view(&shown));
		add_age(out, t);
	}
	buf_byte(out, '\n');
	buf_done(&shown);
	if (!value_true(t, "reached")) {
		line(out, "-", "not reached: what comes before settles the answer");
		return;
	}
	if (value_get(t, "why_not")) {
		begin(out, "not asked");
		show_text(out, value_text(t, "why_not"));
		buf_byte(out, '\n');
	}
	mirror(out, t, map);
	cache(out, value_get(t, "cache"));
	source(out, t);
	directory(out, value_get(t, "directory"));
	table_verdict(out, t);
}

static void step(struct buf *out, size_t number, const json_t *s, struct text map)
{
	const json_t *t;
	size_t i;

	buf_printf(out, "\n%3zu. ", number);
	quoted(out, value_text(s, "key"));
	if (!value_true(s, "reached")) {
		buf_str(out, "  not tried: a key before it settles the answer\n");
		return;
	}
	buf_byte(out, '\n');
	json_array_foreach(value_get(s, "tables"), i, t)
		table(out, t, map);
}

/* --- the whole --------------------------------------------------------------------------- */

static void headline(struct buf *out, const json_t *x)
{
	const json_t *answer = value_get(x, "answer");

	show_text(out, value_text(x, "map"));
	buf_byte(out, ' ');
	quoted(out, value_text(x, "key"));
	buf_str(out, ": ");
	add_verdict(out, answer);
	add_quoted(out, answer, "value");
	add_origin(out, answer);
	add_age(out, answer);
	if (value_get(answer, "matched_key"))
		buf_str(out, ", as");
	add_quoted(out, answer, "matched_key");
	add_why(out, answer, "reason");
	buf_str(out, "\n\n");
	buf_str(out, "Keys that are tried, in order (search = ");
	show_text(out, value_text(x, "search"));
	buf_str(out, "):\n");
	if (value_get(x, "note")) {
		buf_str(out, "  Note: ");
		show_text(out, value_text(x, "note"));
		buf_byte(out, '\n');
	}
}

static void replies(struct buf *out, const json_t *r)
{
	const char *name;
	json_t *reply;

	buf_str(out, "\nReplies\n");
	json_object_foreach((json_t *)r, name, reply) {
		buf_str(out, "  ");
		show_text(out, text_of(name));
		buf_str(out, ": ");
		quoted(out, value_string(reply));
		buf_byte(out, '\n');
	}
}

static void print(const json_t *x)
{
	const json_t *steps = value_get(x, "steps"), *s;
	struct buf out = { 0 };
	size_t i;

	headline(&out, x);
	json_array_foreach(steps, i, s)
		step(&out, i + 1, s, value_text(x, "map"));
	if (json_array_size(steps) == 0)
		buf_str(&out, "  none: there is nothing that could be asked\n");
	if (value_get(x, "replies"))
		replies(&out, value_get(x, "replies"));
	buf_str(&out, "\nWhy\n  ");
	show_text(&out, value_text(x, "why"));
	buf_byte(&out, '\n');
	show_out(&out);
	buf_done(&out);
}

int ctl_explain(struct ctl *c)
{
	struct buf path = { 0 };
	json_t *x;

	ctl_path(&path, "explain", "map", c->words[0]);
	ctl_path_more(&path, "key", c->words[1]);
	if (c->is_not_live)
		buf_str(&path, "&live=0");
	int code = ctl_ask(c, GET, buf_cstr(&path), &x);
	if (!code && !value_get(x, "steps"))
		code = ctl_fail(CTL_NO_SERVER, "the server's answer is no explanation");
	if (!code && !c->is_json)
		print(x);
	json_decref(x);
	buf_done(&path);
	return code;
}

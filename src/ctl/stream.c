#include "base/clock.h"
#include "ctl/ctl.h"
#include "ctl/show.h"
#include "ctl/value.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* One stream: each line is an object of JSON. */
struct stream {
	struct ctl *ctl;
	void (*show)(struct stream *s, const json_t *line);
	struct buf out;
	json_t *end;		/* the last line, if it has come */
	uint64_t began;		/* msec of clock_msec() */
	double table;		/* the table whose keys were printed last */
	double n_bad;
	bool is_progress_shown;
	bool is_nonsense;
};

static void clear_progress(struct stream *s)
{
	if (s->is_progress_shown)
		fputs("\r\033[K", stderr);
	s->is_progress_shown = false;
}

static bool on_line(void *ctx, struct text line)
{
	struct stream *s = ctx;
	json_t *o = value_parse(line);

	s->is_nonsense = !json_is_object(o);
	if (s->is_nonsense) {
		json_decref(o);
		return false;
	}
	clear_progress(s);
	if (s->ctl->is_json && json_object_size(o) > 0) {	/* empty: a sign of life */
		buf_text(&s->out, line);
		buf_byte(&s->out, '\n');
	} else if (!s->ctl->is_json) {
		s->show(s, o);
	}
	if (value_true(o, "end"))
		s->end = json_incref(o);
	json_decref(o);
	show_out(&s->out);
	return !s->end && !ferror(stdout);
}

/*
 * Ask for a stream and show it. 0, or an exit code. `is_endless`: it has no last line; else one
 * without it is cut short, and s->end is set at success.
 */
static int run(struct stream *s, const char *path, bool is_endless)
{
	struct reply reply = { 0 };

	s->began = clock_msec();
	enum heard heard = client_stream(s->ctl->client, path, s->ctl->timeout, on_line, s,
					 &reply);
	json_t *root = value_parse(buf_view(&reply.body));

	clear_progress(s);
	if (root && s->ctl->is_json) {
		buf_text(&s->out, buf_view(&reply.body));
		show_out(&s->out);
	}
	int code = heard == HEARD_ENOUGH ? CTL_DONE : ctl_outcome(heard, &reply, root);
	if (!code && s->is_nonsense)
		code = ctl_fail(CTL_NO_SERVER, "the server's answer is no JSON");
	else if (!code && is_endless && heard == HEARD)
		code = ctl_fail(CTL_NO_SERVER, "the server has ended this");
	else if (!code && !is_endless && !s->end)
		code = ctl_fail(CTL_NO_SERVER, "the server's answer is not complete");
	json_decref(root);
	reply_done(&reply);
	return code;
}

static void stream_done(struct stream *s)
{
	json_decref(s->end);
	buf_done(&s->out);
}

/* --- dump -------------------------------------------------------------------------------- */

/* "key<tab>value"; where a map has several tables, a line before those of each but the first. */
static void show_entry(struct stream *s, const json_t *line)
{
	double table = value_number(line, "table");

	if (!value_get(line, "key"))
		return;
	if (table > s->table) {
		s->table = table;
		buf_printf(&s->out, "# table %.0f\n", table);
	}
	if (value_true(line, "bad")) {
		s->n_bad++;
		buf_str(&s->out, "# cannot be used: ");
	}
	show_text(&s->out, value_text(line, "key"));
	if (!value_true(line, "bad")) {
		buf_byte(&s->out, '\t');
		show_text(&s->out, value_text(line, "value"));
	}
	buf_byte(&s->out, '\n');
}

int ctl_dump(struct ctl *c)
{
	struct stream s = { .ctl = c, .show = show_entry };
	struct buf path = { 0 };

	ctl_path(&path, "dump", "map", c->words[0]);
	int code = run(&s, buf_cstr(&path), false);
	if (!code && s.n_bad) {
		buf_clear(&s.out);
		show_plural(&s.out, s.n_bad, "key");
		fflush(stdout);
		fprintf(stderr, "socketmapctl: %s with a value that cannot be used: lookups of "
			"such a key are told TEMP\n", buf_cstr(&s.out));
	}
	stream_done(&s);
	buf_done(&path);
	return code;
}

/* --- diff -------------------------------------------------------------------------------- */

static void show_progress(struct stream *s, const json_t *p)
{
	struct buf line = { 0 };
	double compared = value_number(p, "compared"), total = value_number(p, "total");
	double seconds = (double)(clock_msec() - s->began) / 1000;

	if (!isatty(STDERR_FILENO))
		return;
	buf_str(&line, "compared ");
	show_count(&line, compared);
	buf_str(&line, " of ");
	show_count(&line, total);
	if (total > 0)
		buf_printf(&line, " (%.0f%%)", 100 * compared / total);
	if (compared > 0 && seconds > 0.1) {
		buf_str(&line, ", ");
		show_rate(&line, compared / seconds);
		buf_str(&line, "/s");
	}
	fflush(stdout);
	fputs(buf_cstr(&line), stderr);
	s->is_progress_shown = true;
	buf_done(&line);
}

/* `nothing`: in words, if there is no value. */
static void side(struct buf *out, const json_t *line, const char *name, const char *nothing)
{
	buf_printf(out, "  %s ", name);
	if (value_get(line, name)) {
		buf_byte(out, '"');
		show_text(out, value_text(line, name));
		buf_byte(out, '"');
	} else {
		buf_str(out, nothing);
	}
}

static void show_difference(struct stream *s, const json_t *line)
{
	if (value_get(line, "progress"))
		show_progress(s, value_get(line, "progress"));
	if (!value_get(line, "key"))
		return;
	show_text(&s->out, value_text(line, "key"));
	if (value_number(line, "table") > 0)
		buf_printf(&s->out, " (table %.0f)", value_number(line, "table"));
	buf_byte(&s->out, ':');
	side(&s->out, line, "mirror", value_true(line, "bad") ? "cannot be used" : "nothing");
	side(&s->out, line, "directory", "nothing");
	buf_byte(&s->out, '\n');
}

static int judge(const json_t *end)
{
	double different = value_number(end, "different"), failed = value_number(end, "failed");
	double tried = value_number(end, "compared");
	struct buf line = { 0 };

	show_plural(&line, failed > 0 ? tried - failed : tried, "key");
	buf_str(&line, " compared, ");
	show_count(&line, different);
	buf_str(&line, " different");
	if (failed > 0) {
		buf_str(&line, "; ");
		show_count(&line, failed);
		buf_str(&line, " could not be looked up");
	}
	fflush(stdout);
	fprintf(stderr, "%s\n", buf_cstr(&line));
	buf_done(&line);
	if (different > 0)
		return CTL_NO;
	return different == 0 && failed == 0 ? CTL_DONE : CTL_FAILED;
}

int ctl_diff(struct ctl *c)
{
	struct stream s = { .ctl = c, .show = show_difference };
	struct buf path = { 0 };

	if (c->is_full && c->sample)
		return ctl_fail(CTL_USAGE, "usage: socketmapctl diff [--sample N|--full] MAP");
	ctl_path(&path, "diff", "map", c->words[0]);
	if (c->is_full || c->sample)
		buf_printf(&path, "&sample=%s", c->is_full ? "0" : c->sample);
	int code = run(&s, buf_cstr(&path), false);
	if (!code)
		code = judge(s.end);
	stream_done(&s);
	buf_done(&path);
	return code;
}

/* --- trace ------------------------------------------------------------------------------- */

static void show_answer(struct stream *s, const json_t *line)
{
	struct text verdict = value_text(line, "verdict");

	if (value_get(line, "lost")) {
		show_plural(&s->out, value_number(line, "lost"), "lookup");
		buf_str(&s->out, " came too fast to be shown\n");
	}
	if (!verdict.p)
		return;
	show_clock(&s->out, value_number(line, "time"));
	buf_byte(&s->out, ' ');
	show_text(&s->out, value_text(line, "map"));
	buf_byte(&s->out, ' ');
	show_text(&s->out, value_text(line, "key"));
	buf_str(&s->out, " -> ");
	show_text(&s->out, verdict);
	if (value_get(line, "value")) {
		buf_byte(&s->out, ' ');
		show_text(&s->out, value_text(line, "value"));
	}
	buf_str(&s->out, "  [");
	show_text(&s->out, value_text(line, "from"));
	buf_str(&s->out, value_true(line, "stale") ? ", stale, " : ", ");
	show_seconds(&s->out, value_number(line, "took"));
	buf_str(&s->out, ", ");
	show_text(&s->out, value_text(line, "protocol"));
	buf_str(&s->out, "]\n");
}

int ctl_trace(struct ctl *c)
{
	struct stream s = { .ctl = c, .show = show_answer };
	struct buf path = { 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);	/* whoever reads it wants each line at once */
	if (c->map)
		ctl_path(&path, "trace", "map", c->map);
	else
		buf_str(&path, "/v1/trace");
	int code = run(&s, buf_cstr(&path), true);
	stream_done(&s);
	buf_done(&path);
	return code;
}

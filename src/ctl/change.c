#include "ctl/ctl.h"
#include "ctl/show.h"
#include "ctl/value.h"
#include "ctl/wait.h"

#include <stdio.h>

/* Ask for something whose --json is told when all is over, if that is waited for. */
static int post(struct ctl *c, const char *path, json_t **ret_root)
{
	bool is_json = c->is_json;

	c->is_json = is_json && !c->is_waiting;
	int code = ctl_ask(c, POST, path, ret_root);
	c->is_json = is_json;
	return code;
}

/* --- scans ------------------------------------------------------------------------------- */

int ctl_refresh(struct ctl *c)
{
	struct buf path = { 0 }, out = { 0 };
	json_t *reply = NULL, *name;
	size_t i;

	if (c->is_all != (c->n_words == 0))
		return ctl_fail(CTL_USAGE, "usage: socketmapctl refresh MAP|--all [--wait]");
	ctl_path(&path, "refresh", c->is_all ? "all" : "map", c->is_all ? "1" : c->words[0]);
	int code = post(c, buf_cstr(&path), &reply);
	const json_t *maps = value_get(reply, "requested");
	if (!code && c->is_waiting) {
		code = wait_for_scans(c, maps, NULL, value_number(reply, "time"));
	} else if (!code && !c->is_json) {
		json_array_foreach(maps, i, name) {
			show_text(&out, value_string(name));
			buf_str(&out, ": will be scanned\n");
		}
		if (json_array_size(maps) == 0)
			buf_str(&out, "no map has a mirror\n");
		show_out(&out);
	}
	buf_done(&path);
	buf_done(&out);
	json_decref(reply);
	return code;
}

int ctl_accept(struct ctl *c)
{
	struct buf path = { 0 }, out = { 0 };
	json_t *reply;

	ctl_path(&path, "accept", "map", c->words[0]);
	int code = post(c, buf_cstr(&path), &reply);
	const json_t *tables = value_get(reply, "accepted");
	if (!code && c->is_waiting) {
		json_t *maps = json_pack("[s]", c->words[0]);

		code = wait_for_scans(c, maps, tables, value_number(reply, "time"));
		json_decref(maps);
	} else if (!code && !c->is_json) {
		show_text(&out, text_of(c->words[0]));
		buf_str(&out, ": accepted; ");
		show_plural(&out, (double)json_array_size(tables), "table");
		buf_str(&out, " will be scanned, and the result taken if it is like the one "
			      "that was rejected\n");
		show_out(&out);
	}
	buf_done(&path);
	buf_done(&out);
	json_decref(reply);
	return code;
}

/* --- caches ------------------------------------------------------------------------------ */

static void add_names(struct buf *out, const char *before, const json_t *names)
{
	const json_t *name;
	size_t i;

	json_array_foreach(names, i, name) {
		buf_str(out, i ? ", " : before);
		show_text(out, value_string(name));
	}
}

int ctl_flush(struct ctl *c)
{
	struct buf path = { 0 }, out = { 0 };
	json_t *reply = NULL;

	if ((c->address != NULL) != (c->n_words == 0))
		return ctl_fail(CTL_USAGE, "usage: socketmapctl flush MAP [KEY] | --address A");
	ctl_path(&path, "flush", c->address ? "address" : "map",
		c->address ? c->address : c->words[0]);
	if (c->n_words == 2)
		ctl_path_more(&path, "key", c->words[1]);
	int code = ctl_ask(c, POST, buf_cstr(&path), &reply);
	if (!code && !c->is_json) {
		show_plural(&out, value_number(reply, "flushed"), "answer");
		buf_str(&out, " forgotten");
		add_names(&out, "; looked at: ", value_get(reply, "maps"));
		add_names(&out, "; will be scanned: ", value_get(reply, "refreshing"));
		buf_byte(&out, '\n');
		show_out(&out);
	}
	buf_done(&path);
	buf_done(&out);
	json_decref(reply);
	return code;
}

/* --- the configuration ------------------------------------------------------------------- */

static void add_lines(struct buf *out, const json_t *lines, size_t first)
{
	for (size_t i = first; i < json_array_size(lines); i++) {
		const json_t *line = json_array_get(lines, i);

		show_text(out, value_string(line));
		buf_byte(out, '\n');
	}
}

int ctl_reload(struct ctl *c)
{
	struct buf out = { 0 };
	json_t *reply;
	int code = ctl_ask(c, POST, "/v1/reload", &reply);

	if (!code && !c->is_json) {
		add_lines(&out, value_get(reply, "notes"), 0);
		buf_str(&out, "reloaded\n");
		show_out(&out);
	} else if (code == CTL_FAILED) {
		/* The first one has been said: it is the reply's error. */
		add_lines(&out, value_get(reply, "errors"), 1);
		fprintf(stderr, "%ssocketmapctl: nothing has changed\n", buf_cstr(&out));
	}
	buf_done(&out);
	json_decref(reply);
	return code;
}

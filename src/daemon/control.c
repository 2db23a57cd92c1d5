#include "daemon/control.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "daemon/admin.h"
#include "daemon/command.h"
#include "daemon/json.h"

/* A configuration may be long. */
#define RELOAD_PATIENCE 30000

/* --- scans ------------------------------------------------------------------------------- */

struct scan_order {
	struct command command;
	json_t *list;		/* maps that are scanned, or tables whose scan is accepted */
	uint64_t at;		/* clock_wall_msec() before it began */
};

static void scan_order_done(struct command *c)
{
	json_decref(((struct scan_order *)c)->list);
}

static struct scan_order *scan_order_new(const struct http_request *request,
					 void (*run)(struct command *, struct map *))
{
	struct scan_order *o = must_calloc(1, sizeof *o);

	o->command = (struct command){ .admin = request->admin, .run = run, .done = scan_order_done };
	o->list = json_array();
	return o;
}

static void scan_order_reply(struct scan_order *o, const char *name, struct http_reply *reply)
{
	json_reply(reply, json_pack("{s:O, s:o}", name, o->list, "time", json_seconds(o->at)));
	reply->status = 202;
}

static void refresh_map(struct scan_order *o, const struct map *m)
{
	bool has_mirror = false;

	for (size_t i = 0; i < m->n_tables; i++)
		if (m->tables[i]->settings->mode == TABLE_MIRROR) {
			refresh_now(o->command.admin->engine->refresh, m->tables[i]);
			has_mirror = true;
		}
	if (has_mirror)
		json_array_append_new(o->list, json_text(m->name));
}

static void run_refresh(struct command *c, struct map *map)
{
	struct scan_order *o = (struct scan_order *)c;
	const struct registry *r = engine_registry(c->admin->engine);

	o->at = clock_wall_msec();
	if (map)
		refresh_map(o, map);
	for (size_t i = 0; !map && i < r->n_maps; i++)
		refresh_map(o, r->maps[i]);
	if (map && json_array_size(o->list) == 0)
		command_fail(c, 409, "this map has no mirror: each key is looked up by itself");
}

void control_refresh(const struct http_request *request, struct http_reply *reply)
{
	struct scan_order *o = scan_order_new(request, run_refresh);
	struct text map = TEXT(""), all;
	bool is_all = http_argument(request, "all", &all) && text_is(all, "1");

	if (is_all == (http_argument(request, "map", &map) && map.n)) {
		json_fail(reply, 400, "which map? It wants map=NAME or all=1");
		command_free(&o->command);
		return;
	}
	buf_text(&o->command.map, map);
	if (!command_run(&o->command, ADMIN_PATIENCE, reply))
		return;
	log_info("control_refresh", "", F_TEXT("map", is_all ? TEXT("*") : map),
		 F_NUM("who", command_who(request)));
	scan_order_reply(o, "requested", reply);
	command_free(&o->command);
}

static void run_accept(struct command *c, struct map *map)
{
	struct scan_order *o = (struct scan_order *)c;

	o->at = clock_wall_msec();
	for (size_t i = 0; i < map->n_tables; i++)
		if (refresh_accept(c->admin->engine->refresh, map->tables[i]))
			json_array_append_new(o->list, json_integer((json_int_t)i));
	if (json_array_size(o->list) == 0)
		command_fail(c, 409, "nothing was rejected");
}

void control_accept(const struct http_request *request, struct http_reply *reply)
{
	struct scan_order *o = scan_order_new(request, run_accept);

	if (!command_wants_map(&o->command, request, reply)) {
		command_free(&o->command);
		return;
	}
	if (!command_run(&o->command, ADMIN_PATIENCE, reply))
		return;
	log_info("control_accept", "", F_TEXT("map", buf_view(&o->command.map)),
		 F_NUM("tables", json_array_size(o->list)), F_NUM("who", command_who(request)));
	scan_order_reply(o, "accepted", reply);
	command_free(&o->command);
}

/* --- reload ------------------------------------------------------------------------------ */

struct reload_order {
	struct command command;
	bool is_done;
	struct buf errors, notes;	/* a line each */
};

static void reload_order_done(struct command *c)
{
	struct reload_order *o = (struct reload_order *)c;

	buf_done(&o->errors);
	buf_done(&o->notes);
}

static void run_reload(struct command *c, struct map *map)
{
	struct reload_order *o = (struct reload_order *)c;
	(void)map;

	o->is_done = c->admin->reload(c->admin->server, &o->errors, &o->notes);
}

static json_t *lines_of(const struct buf *lines)
{
	struct text rest = buf_view(lines), line;
	json_t *list = json_array();

	while (text_next(&rest, "\n", &line))
		json_array_append_new(list, json_text(line));
	return list;
}

static void reload_reply(const struct reload_order *o, struct http_reply *reply)
{
	json_t *errors = lines_of(&o->errors), *first = json_array_get(errors, 0);

	if (o->is_done)
		json_reply(reply, json_pack("{s:b, s:o}", "ok", 1, "notes", lines_of(&o->notes)));
	else
		json_reply(reply, json_pack("{s:b, s:O, s:O}", "ok", 0, "error", first, "errors",
					    errors));
	reply->status = o->is_done ? 200 : 409;
	json_decref(errors);
}

void control_reload(const struct http_request *request, struct http_reply *reply)
{
	struct reload_order *o = must_calloc(1, sizeof *o);

	o->command = (struct command){ .admin = request->admin, .run = run_reload,
				       .done = reload_order_done };
	log_info("control_reload", "", F_NUM("who", command_who(request)));
	if (!command_run(&o->command, RELOAD_PATIENCE, reply))
		return;
	if (!o->is_done && o->errors.n == 0)
		buf_str(&o->errors, "the other server is not replaced yet");
	reload_reply(o, reply);
	command_free(&o->command);
}

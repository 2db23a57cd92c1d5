#include "daemon/control.h"

#include "base/log.h"
#include "base/must.h"
#include "daemon/admin.h"
#include "daemon/command.h"
#include "daemon/json.h"
#include "engine/flush.h"

struct flush_order {
	struct command command;
	struct buf key;			/* or the address, without a map; empty: all keys */
	size_t n;			/* forgotten */
	json_t *maps, *refreshing;
};

static void done(struct command *c)
{
	struct flush_order *o = (struct flush_order *)c;

	json_decref(o->maps);
	json_decref(o->refreshing);
	buf_done(&o->key);
}

static void note(struct flush_order *o, const struct map *m, struct flushed f)
{
	o->n += f.n;
	if (f.is_concerned)
		json_array_append_new(o->maps, json_text(m->name));
	if (f.is_refreshing)
		json_array_append_new(o->refreshing, json_text(m->name));
}

static void run(struct command *c, struct map *map)
{
	struct flush_order *o = (struct flush_order *)c;
	struct engine *e = c->admin->engine;
	const struct registry *r = engine_registry(e);
	struct text key = buf_view(&o->key);

	if (map)
		note(o, map, key.n ? flush_key(e, map, key) : flush_map(e, map));
	for (size_t i = 0; !map && i < r->n_maps; i++)
		note(o, r->maps[i], flush_address(e, r->maps[i], key));
}

/* Which of the three forms is it? False: none. */
static bool take_arguments(struct flush_order *o, const struct http_request *request)
{
	struct text map = TEXT(""), key = TEXT(""), address = TEXT("");
	bool has_map = http_argument(request, "map", &map);
	bool has_key = http_argument(request, "key", &key);
	bool has_address = http_argument(request, "address", &address);

	buf_text(&o->command.map, map);
	buf_text(&o->key, has_address ? address : key);
	if (has_address)
		return address.n && !has_map && !has_key;
	return map.n && (!has_key || key.n);
}

void control_flush(const struct http_request *request, struct http_reply *reply)
{
	struct flush_order *o = must_calloc(1, sizeof *o);

	o->command = (struct command){ .admin = request->admin, .run = run, .done = done };
	o->maps = json_array();
	o->refreshing = json_array();
	if (!take_arguments(o, request)) {
		json_fail(reply, 400, "flush what? It wants map=NAME, map=NAME and key=KEY, or "
				      "address=ADDRESS");
		command_free(&o->command);
		return;
	}
	if (!command_run(&o->command, ADMIN_PATIENCE, reply))
		return;
	log_info("control_flush", "",
		 F_TEXT("map", o->command.map.n ? buf_view(&o->command.map) : TEXT("*")),
		 o->key.n ? F_KEY("key", buf_view(&o->key)) : F_STR("key", "*"), F_NUM("flushed", o->n),
		 F_NUM("who", command_who(request)));
	json_reply(reply, json_pack("{s:I, s:O, s:O}", "flushed", (json_int_t)o->n, "maps", o->maps,
				    "refreshing", o->refreshing));
	command_free(&o->command);
}

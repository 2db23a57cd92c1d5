#include "daemon/command.h"

#include "daemon/admin.h"
#include "daemon/json.h"
#include "daemon/nearest.h"
#include "daemon/peer.h"
#include "engine/inquiry.h"

#include <stdlib.h>

void no_such_map(const struct registry *r, struct text name, struct buf *out)
{
	struct nearest nearest = { .name = name };

	for (size_t i = 0; i < r->n_maps; i++)
		nearest_try(&nearest, r->maps[i]->settings->name);
	buf_str(out, "no such map: ");
	buf_escaped(out, name);
	nearest_hint(&nearest, out);
}

static void on_control(struct inquiry *q, void *ctx)
{
	struct command *c = ctx;
	const struct registry *r = engine_registry(c->admin->engine);
	struct map *map = c->map.n ? registry_find(r, buf_view(&c->map)) : NULL;

	if (c->map.n && !map) {
		c->status = 404;
		no_such_map(r, buf_view(&c->map), &c->why);
	} else {
		c->run(c, map);
	}
	inquiry_end(q);
}

static void drop(void *ctx)
{
	command_free(ctx);
}

bool command_run(struct command *c, uint64_t msec, struct http_reply *reply)
{
	if (!inquiry_run(&c->admin->engine->loops.control, on_control, c, drop, msec)) {
		json_fail(reply, 503, "the control loop does not answer");
		return false;
	}
	if (!c->status)
		return true;
	json_fail(reply, c->status, "%s", buf_cstr(&c->why));
	command_free(c);
	return false;
}

void command_free(struct command *c)
{
	if (c->done)
		c->done(c);
	buf_done(&c->map);
	buf_done(&c->why);
	free(c);
}

void command_fail(struct command *c, unsigned status, const char *why)
{
	c->status = status;
	buf_str(&c->why, why);
}

bool command_wants_map(struct command *c, const struct http_request *r, struct http_reply *reply)
{
	struct text name;

	c->admin = r->admin;
	if (http_argument(r, "map", &name) && name.n) {
		buf_text(&c->map, name);
		return true;
	}
	json_fail(reply, 400, "which map? It wants map=NAME");
	return false;
}

uint64_t command_who(const struct http_request *r)
{
	struct peer peer = { (uid_t)-1, (gid_t)-1, -1 };

	peer_get(r->fd, &peer);
	return peer.uid;
}

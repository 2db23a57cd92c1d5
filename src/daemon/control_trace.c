#include "daemon/control.h"

#include "base/log.h"
#include "base/must.h"
#include "daemon/admin.h"
#include "daemon/command.h"
#include "daemon/json.h"
#include "engine/trace.h"

/* A client that is gone is noticed when something is written to it. */
#define SILENCE_MSEC 1000

#define PIECE ((size_t)16 << 10)

static json_t *event_of(const struct trace_event *e)
{
	json_t *o = json_pack("{s:o, s:s, s:o, s:o, s:s, s:o}", "time", json_seconds(e->at),
			      "protocol", protocols[e->protocol]->name, "map",
			      json_text(buf_view(&e->map)), "key", json_text(buf_view(&e->key)),
			      "verdict", verdict_name(e->verdict), "value",
			      json_text_if(e->value.n > 0, buf_view(&e->value)));
	json_t *more = json_pack("{s:s, s:b, s:f}", "from", origin_name(e->origin), "stale",
				 e->is_stale, "took", (double)e->took / 1e6);

	json_object_update_new(o, more);
	return o;
}

static bool more(void *ctx, struct buf *out)
{
	struct trace *t = ctx;
	uint64_t lost, wait = SILENCE_MSEC;
	struct trace_event e;

	for (bool has_one = true; has_one && out->n < PIECE; wait = 0) {
		has_one = trace_next(t, wait, &e, &lost);
		if (lost)
			json_line(out, json_pack("{s:I}", "lost", (json_int_t)lost));
		if (!has_one)
			break;
		json_line(out, event_of(&e));
		trace_event_done(&e);
	}
	if (out->n == 0)
		json_line(out, json_object());
	return true;
}

static void on_over(void *ctx)
{
	trace_end(ctx);
}

/* A map to be watched must be there, and not be secret. */
static void run(struct command *c, struct map *map)
{
	if (map && map->settings->is_secret)
		command_fail(c, 403, "this map is secret");
}

void control_trace(const struct http_request *request, struct http_reply *reply)
{
	struct command *c = must_calloc(1, sizeof *c);
	struct text map = TEXT("");
	struct trace *t;

	*c = (struct command){ .admin = request->admin, .run = run };
	if (http_argument(request, "map", &map))
		buf_text(&c->map, map);
	if (!command_run(c, ADMIN_PATIENCE, reply))
		return;
	t = trace_begin(buf_view(&c->map));
	command_free(c);
	if (!t) {
		json_fail(reply, 503, "%d others watch already", TRACE_WATCHERS);
		return;
	}
	log_info("control_trace", "", F_TEXT("map", map.n ? map : TEXT("*")),
		 F_NUM("who", command_who(request)));
	reply->type = HTTP_NDJSON;
	reply->stream = (struct http_stream){ more, on_over, t };
}

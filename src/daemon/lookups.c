#include "daemon/lookups.h"

#include "base/must.h"
#include "daemon/admin.h"
#include "daemon/command.h"

bool lookups_may_see_secrets(const struct http_request *request)
{
	return request->door == HTTP_CONTROL;
}

static void do_nothing(struct command *c, struct map *map)
{
	(void)map;
	command_fail(c, 503, "the map has just come: ask again");
}

void lookups_refuse(const struct http_request *request, struct text map, bool has_map,
		    struct http_reply *reply)
{
	if (has_map) {
		json_fail(reply, 403, "the map is secret: its values are for the control socket");
		return;
	}
	if (!map.n) {		/* to a command, no map at all */
		json_fail(reply, 404, "no such map: its name is empty");
		return;
	}

	struct command *c = must_calloc(1, sizeof *c);
	c->admin = request->admin;
	c->run = do_nothing;
	buf_text(&c->map, map);
	command_run(c, ADMIN_PATIENCE, reply);	/* never succeeds */
}

static const char *class_of(struct answer a)
{
	return a.verdict == TEMP ? temp_reason_name(a.reason) : NULL;
}

json_t *lookups_json(struct text map, struct text key, const struct question_reply *r)
{
	bool is_found = r->answer.verdict == FOUND;
	/* Of what nobody could say there is no age. */
	bool has_age = (r->origin == ORIGIN_MIRROR || r->origin == ORIGIN_CACHE) &&
		       (is_found || r->answer.verdict == NOTFOUND);

	return json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:s, s:b, s:o, s:o, s:o, s:f}",
			 "map", json_text(map), "key", json_text(key),
			 "verdict", verdict_name(r->answer.verdict),
			 "value", json_text_if(is_found, r->answer.value),
			 "matched_key", json_text_if(is_found, buf_view(&r->matched_key)),
			 "step", is_found ? json_integer(r->step) : json_null(),
			 "from", origin_name(r->origin), "stale", r->is_stale,
			 "age", has_age ? json_seconds(r->age) : json_null(),
			 "reason", json_text_if(r->answer.value.n && !is_found, r->answer.value),
			 "reason_class", json_str(class_of(r->answer)),
			 "took", (double)r->took / 1e6);
}

bool lookups_take_key(const struct http_request *request, struct text *ret_key,
		      struct http_reply *reply)
{
	if (!http_argument(request, "key", ret_key))
		json_fail(reply, 400, "which key? It wants key=KEY");
	else if (ret_key->n > LOOKUPS_KEY_MAX)
		json_fail(reply, 400, "the key is longer than %zu bytes", LOOKUPS_KEY_MAX);
	else
		return true;
	return false;
}

void lookups_get(const struct http_request *request, struct http_reply *reply)
{
	struct question_reply r;
	struct text key;

	if (!lookups_take_key(request, &key, reply))
		return;
	if (!question_ask(request->admin->engine, request->rest, key,
			  lookups_may_see_secrets(request), &r)) {
		json_fail(reply, 503, "no answer loop answers");
		return;
	}
	if (!r.has_map || r.is_refused)
		lookups_refuse(request, request->rest, r.has_map, reply);
	else
		json_reply(reply, lookups_json(request->rest, key, &r));
	question_done(&r);
}

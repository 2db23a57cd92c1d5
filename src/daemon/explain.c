#include "daemon/explain.h"

#include "daemon/admin.h"
#include "daemon/lookups.h"
#include "daemon/why.h"
#include "engine/explain.h"
#include "wire/netstring.h"

#include <stdlib.h>

/* Bytes of one table's value that are shown; an answer is shown whole. */
#define SHOWN_MAX ((size_t)64 << 10)

static json_t *text_if(bool is_there, const struct buf *b)
{
	struct text t = buf_view(b);

	if (!is_there)
		return json_null();
	if (t.n > SHOWN_MAX) {	/* but no half characters */
		t.n = SHOWN_MAX;
		while (t.n && ((unsigned char)t.p[t.n] & 0xc0) == 0x80)
			t.n--;
	}
	return json_text(t);
}

static json_t *str_if(bool is_there, const char *s)
{
	return is_there ? json_str(s) : json_null();
}

/* --- one table about one key ------------------------------------------------------------- */

static json_t *queries_of(const struct buf *queries)
{
	json_t *list = json_array();

	for (size_t i = 0; i < queries->n; i += strlen(queries->p + i) + 1)
		json_array_append_new(list, json_str(queries->p + i));
	return list;
}

static json_t *live_of(const struct explain_live *l)
{
	if (!l->was_asked)
		return json_null();
	return json_pack("{s:s, s:o, s:o, s:f, s:o}", "verdict", verdict_name(l->verdict), "value",
			 text_if(l->verdict == FOUND, &l->text), "why",
			 text_if(l->why.n > 0, &l->why), "took", (double)l->took / 1e6, "queries",
			 queries_of(&l->queries));
}

static json_t *rejected_of(const struct explain_table *t)
{
	const struct rejection *r = &t->rejection;
	struct text expected = text_of(r->expected);

	if (!r->times)
		return json_null();
	return json_pack("{s:s, s:o, s:I, s:o}", "why", scan_fault_name(r->fault), "expected",
			 json_text_if(expected.n > 0, expected), "times", (json_int_t)r->times,
			 "since", json_seconds(t->rejected_for));
}

static json_t *cache_of(const struct explain_table *t)
{
	static const char *const names[] = {
		[NOTED_NOTHING] = "nothing", [NOTED_FOUND] = "found",
		[NOTED_NOTFOUND] = "notfound", [NOTED_FAILED] = "failed",
	};
	const struct demand_view *v = &t->cache;

	return json_pack("{s:s, s:b, s:b, s:b, s:o, s:o}", "noted", names[v->what], "fresh",
			 v->is_fresh, "usable", v->is_usable, "in_flight", v->is_in_flight, "age",
			 v->what == NOTED_NOTHING ? json_null() : json_seconds(v->age), "value",
			 text_if(v->what == NOTED_FOUND, &t->cache_value));
}

static json_t *mirror_of(const struct explain_table *t)
{
	static const char *const names[] = {
		[MIRROR_ABSENT] = "miss", [MIRROR_HIT] = "hit", [MIRROR_BAD] = "bad",
	};

	return str_if(t->has_mirror && t->is_mirrored, names[t->mirror]);
}

/* What the table is, and what it knows. */
static json_t *facts_of(const struct explain_table *t)
{
	bool is_hit = t->has_mirror && t->is_mirrored && t->mirror == MIRROR_HIT;

	return json_pack("{s:I, s:s, s:s, s:b, s:o, s:s, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:s, "
			 "s:o}", "index", (json_int_t)t->index, "source", t->source, "mode",
			 t->is_mirror ? "mirror" : "demand", "reached", t->is_reached, "why_not",
			 json_str(t->why_not), "state",
			 t->is_mirror ? table_state_name(t->state) : "DEMAND", "age",
			 t->has_mirror ? json_seconds(t->age) : json_null(), "mirror",
			 mirror_of(t), "mirror_value", text_if(is_hit, &t->mirror_value),
			 "ended", t->is_ended, "rejected", rejected_of(t), "scan_why",
			 str_if(t->scan.ago && t->scan.outcome != SCAN_OK, t->scan.why), "cache",
			 cache_of(t), "source_state", source_state_name(t->source_state),
			 "source_why", str_if(*t->source_why, t->source_why));
}

static json_t *table_of(const struct explain_table *t)
{
	json_t *table = facts_of(t);
	bool is_found = t->verdict == FOUND;

	json_object_update_new(table, json_pack("{s:o, s:s, s:s, s:b, s:b, s:o, s:o}", "directory",
						live_of(&t->live), "verdict",
						verdict_name(t->verdict), "from",
						origin_name(t->origin), "stale", t->is_stale,
						"asks", t->would_ask, "value",
						text_if(is_found, &t->text), "reason",
						text_if(!is_found && t->text.n, &t->text)));
	return table;
}

/* --- the whole --------------------------------------------------------------------------- */

static json_t *steps_of(const struct explanation *x)
{
	json_t *steps = json_array();

	for (size_t i = 0; i < x->n_steps; i++) {
		const struct explain_step *s = &x->steps[i];
		json_t *tables = json_array();

		for (size_t k = 0; k < s->n_tables; k++)
			json_array_append_new(tables, table_of(&s->tables[k]));
		json_array_append_new(steps, json_pack("{s:o, s:b, s:o}", "key",
						       json_text(buf_view(&s->key)), "reached",
						       s->tables[0].is_reached, "tables", tables));
	}
	return steps;
}

/* A reply without what is around it: a netstring's, or a newline. */
static json_t *unframed(const struct buf *reply)
{
	struct text t = buf_view(reply), content;
	size_t used;

	if (t.n && t.p[t.n - 1] == '\n')
		t.n--;
	else if (netstring_parse(t, t.n, &content, &used) == PARSED)
		t = content;
	return json_text(t);
}

/* What clients get, made by the protocols themselves. */
static json_t *replies_of(const struct explanation *x, enum verdict sent[static PROTOCOLS])
{
	json_t *replies = json_object();
	struct buf reply = { 0 };

	for (size_t i = 0; i < PROTOCOLS; i++) {
		buf_clear(&reply);
		sent[i] = protocols[i]->reply(x->answer.answer, &reply);
		json_object_set_new(replies, protocols[i]->name, unframed(&reply));
	}
	buf_done(&reply);
	return replies;
}

/* Was a table not asked for want of time? */
static bool is_short(const struct explanation *x)
{
	for (size_t i = 0; i < x->n_steps; i++)
		for (size_t k = 0; k < x->steps[i].n_tables; k++)
			if (!x->steps[i].tables[k].live.was_asked &&
			    x->steps[i].tables[k].live.why.n)
				return true;
	return false;
}

static const char *note_of(const struct explanation *x)
{
	if (x->is_cut)
		return "more keys are tried than are shown";
	if (!x->is_live)
		return "no directory was asked: where one would be, this is what clients get when it "
		       "does not answer in time";
	return is_short(x) ? "there was no time to ask the directory about every key" : NULL;
}

static json_t *json_of(const struct explanation *x, struct text map, struct text key)
{
	enum verdict sent[PROTOCOLS];
	struct buf why = { 0 };
	json_t *replies = replies_of(x, sent), *root;

	why_say(x, map, key, sent, &why);
	root = json_pack("{s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}", "map", json_text(map), "key",
			 json_text(key), "search", search_kind_name(x->search), "note",
			 json_str(note_of(x)), "steps", steps_of(x), "answer",
			 lookups_json(map, key, &x->answer), "replies", replies, "why",
			 json_text(buf_view(&why)));
	buf_done(&why);
	return root;
}

/* Keys of `expect` are the administrator's: others get them no more than those of a log. */
static void hide_expected(struct explanation *x)
{
	for (size_t i = 0; i < x->n_steps; i++)
		for (size_t k = 0; k < x->steps[i].n_tables; k++)
			*x->steps[i].tables[k].rejection.expected = '\0';
}

void explain_reply(const struct http_request *request, struct http_reply *reply)
{
	struct text map, key, live = { 0 };

	if (!http_argument(request, "map", &map)) {
		json_fail(reply, 400, "which map? It wants map=NAME");
		return;
	}
	if (!lookups_take_key(request, &key, reply))
		return;
	http_argument(request, "live", &live);

	bool may_see = lookups_may_see_secrets(request);
	struct explanation *x = explain_get(request->admin->engine, map, key, may_see,
					    !text_is(live, "0"), EXPLAIN_MSEC);
	if (x && !may_see)
		hide_expected(x);
	if (!x)
		json_fail(reply, 503, "the control loop does not answer");
	else if (!x->has_map || x->is_refused)
		lookups_refuse(request, map, x->has_map, reply);
	else
		json_reply(reply, json_of(x, map, key));
	explain_free(x);
}

#include "daemon/control.h"

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/must.h"
#include "daemon/admin.h"
#include "daemon/copies.h"
#include "daemon/json.h"
#include "daemon/units.h"
#include "engine/probes.h"
#include "engine/scan.h"

#include <stdlib.h>

/* Lookups under way at a time: the directory has others to serve. */
#define LOOKUPS_MAX 4

#define SAMPLE_DEFAULT 100

/* Between two lines of progress. */
#define PROGRESS_MSEC 1000

/* Tables that are held, to be let go on the control thread, which alone counts their references. */
struct held {
	struct message message;
	struct table **list;
	size_t n;
};

/* First the command that brings mirrors and tables, then the stream's. */
struct diff {
	struct command command;
	struct copies copies;
	struct held *held;		/* the tables, or NULL */
	struct probes *probes;
	size_t table, at;		/* the next entry: mirror_next() */
	uint64_t n_left, n_wanted;	/* entries from there on; how many of them are to be compared */
	uint64_t random;
	size_t n_asked;			/* lookups under way */
	size_t total, compared, different, failed;
	uint64_t told;			/* the last progress, msec of clock_msec() */
	struct buf scratch;
};

static void let_go(struct message *message)
{
	struct held *h = (struct held *)message;

	for (size_t i = 0; i < h->n; i++)
		table_unref(h->list[i]);
	free(h->list);
	free(h);
}

static void done(struct command *c)
{
	struct diff *d = (struct diff *)c;

	if (d->probes)
		probes_end(d->probes);
	if (d->held)
		loop_post(&c->admin->engine->loops.control, &d->held->message);
	copies_done(&d->copies);
	buf_done(&d->scratch);
}

static void run(struct command *c, struct map *map)
{
	struct diff *d = (struct diff *)c;

	copies_take(&d->copies, c, map);
	if (c->status)
		return;
	d->held = must_calloc(1, sizeof *d->held);
	d->held->message.run = let_go;
	d->held->n = map->n_tables;
	d->held->list = must_calloc(map->n_tables, sizeof *d->held->list);
	for (size_t i = 0; i < map->n_tables; i++)
		d->held->list[i] = table_ref(map->tables[i]);
}

/* --- which keys -------------------------------------------------------------------------- */

static bool next_entry(struct diff *d, struct text *ret_key)
{
	struct text value;

	for (; d->table < d->copies.n; d->table++, d->at = 0) {
		const struct mirror *m = d->copies.list[d->table];

		if (m && mirror_next(m, &d->at, ret_key, &value))
			return true;
	}
	return false;
}

/*
 * Each of those that are left has the same chance: Knuth, TAOCP 2, 3.4.2, algorithm S. A key that is
 * not asked is none to clients either, whatever the mirror has.
 */
static bool next_key(struct diff *d, struct text *ret_key)
{
	while (d->n_wanted && next_entry(d, ret_key)) {
		bool is_chosen = clock_random(&d->random) % d->n_left < d->n_wanted;

		d->n_left--;
		d->n_wanted -= is_chosen;
		if (is_chosen && table_asks(d->held->list[d->table]->settings, *ret_key))
			return true;
		d->total -= is_chosen;
	}
	return false;
}

static void ask(struct diff *d)
{
	struct text key;

	while (d->n_asked < LOOKUPS_MAX && next_key(d, &key)) {
		probes_ask(d->probes, d->held->list[d->table], key, (void *)(uintptr_t)d->table);
		d->n_asked++;
	}
}

/* --- what came of them ------------------------------------------------------------------- */

/* An unusable value is as good as another one, to those who want it. */
static bool is_same(const struct probe *p, enum mirror_says says, struct text copied)
{
	switch (p->verdict) {
	case FOUND:
		return says == MIRROR_HIT && scan_is_same(buf_view(&p->text), copied);
	case NOTFOUND:
		return says == MIRROR_ABSENT;
	default:
		return says == MIRROR_BAD && p->reason == REASON_UNUSABLE;
	}
}

static void judge(struct diff *d, const struct probe *p, struct buf *out)
{
	size_t table = (size_t)(uintptr_t)p->user;
	struct text key = buf_view(&p->job.key), copied = { 0 };
	enum mirror_says says = table_find(d->copies.list[table], key, &d->scratch, &copied);
	bool is_known = p->verdict == FOUND || p->verdict == NOTFOUND;

	d->compared++;
	if (is_same(p, says, copied))
		return;
	if (!is_known) {
		d->failed++;
		return;
	}
	d->different++;
	json_line(out, json_pack("{s:I, s:o, s:o, s:b, s:o, s:s}", "table", (json_int_t)table,
				 "key", json_text(key), "mirror",
				 json_text_if(says == MIRROR_HIT, copied), "bad",
				 says == MIRROR_BAD, "directory",
				 json_text_if(p->verdict == FOUND, buf_view(&p->text)), "verdict",
				 verdict_name(p->verdict)));
}

static void tell_progress(struct diff *d, uint64_t now, struct buf *out)
{
	d->told = now;
	json_line(out, json_pack("{s:{s:I, s:I}}", "progress", "compared", (json_int_t)d->compared,
				 "total", (json_int_t)d->total));
}

/* --- the stream -------------------------------------------------------------------------- */

static bool more(void *ctx, struct buf *out)
{
	struct diff *d = ctx;
	uint64_t now = clock_msec(), due = d->told + PROGRESS_MSEC;
	struct probe *p;

	ask(d);
	if (!d->n_asked) {
		json_line(out, json_pack("{s:b, s:I, s:I, s:I}", "end", 1, "compared",
					 (json_int_t)d->compared, "different",
					 (json_int_t)d->different, "failed", (json_int_t)d->failed));
		return false;
	}
	p = probes_next(d->probes, due > now ? due - now : 0);
	if (p) {
		judge(d, p, out);
		d->n_asked--;
		probes_free(p);
	}
	now = clock_msec();
	if (now >= due)
		tell_progress(d, now, out);
	return true;
}

static void on_over(void *ctx)
{
	command_free(ctx);
}

static bool take_sample(const struct http_request *request, uint64_t *ret, struct http_reply *reply)
{
	struct text sample;

	*ret = SAMPLE_DEFAULT;
	if (!http_argument(request, "sample", &sample) || count_parse(sample, ret))
		return true;
	json_fail(reply, 400, "sample wants a number of keys, 0 for all");
	return false;
}

void control_diff(const struct http_request *request, struct http_reply *reply)
{
	struct diff *d = must_calloc(1, sizeof *d);
	uint64_t sample;

	d->command = (struct command){ .run = run, .done = done };
	if (!command_wants_map(&d->command, request, reply) ||
	    !take_sample(request, &sample, reply)) {
		command_free(&d->command);
		return;
	}
	if (!command_run(&d->command, ADMIN_PATIENCE, reply))
		return;
	log_info("control_diff", "", F_TEXT("map", buf_view(&d->command.map)),
		 F_NUM("sample", sample), F_NUM("who", command_who(request)));
	d->n_left = d->copies.n_entries;
	d->n_wanted = sample && sample < d->n_left ? sample : d->n_left;
	d->total = d->n_wanted;
	hash_random(&d->random, sizeof d->random);
	d->probes = probes_begin(&d->command.admin->engine->loops.control);
	d->told = clock_msec();
	reply->type = HTTP_NDJSON;
	reply->stream = (struct http_stream){ more, on_over, d };
}

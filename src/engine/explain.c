#include "engine/explain.h"

#include "base/clock.h"
#include "base/must.h"
#include "engine/inquiry.h"
#include "engine/lookup.h"

#include <stdio.h>
#include <stdlib.h>

/* How often it is looked whether time is up. */
#define TICK_MSEC 20

/* On its way to the control loop, and back. */
struct errand {
	struct engine *engine;
	struct buf map, key;
	bool with_secrets, is_live;
	uint64_t msec;
	struct explanation *x;
};

/* On the control loop. */
struct gathering {
	struct errand *errand;		/* the asker's again once is_over */
	struct inquiry *inquiry;
	struct map *map;		/* a reference */
	uv_timer_t timer;
	struct probe probe;
	size_t step, table;		/* the view that is probed, or would be next */
	uint64_t ends;			/* msec of clock_msec() */
	uint64_t asked;			/* when the probe began, likewise */
	bool is_probing;		/* it is the source's */
	bool is_looping;		/* ask_all() goes on by itself when it ends */
	bool is_over;
	bool is_closed;			/* the timer's handle */
};

/* --- one table about one key ------------------------------------------------------------- */

/* A callback's eyes: nothing here outlives it. */
struct view {
	const struct map *map;
	struct text request;		/* the whole key */
	uint64_t now;
	struct oracle oracle;
	struct domain_oracle domains;
};

static void view_init(struct view *v, struct engine *e, const struct map *m, struct text request)
{
	v->map = m;
	v->request = request;
	v->now = clock_msec();
	v->domains = lookup_oracle(&v->oracle, engine_registry(e), &m->settings->rules, request);
}

static void take_mirror(struct explain_table *et, const struct table *t, struct text key,
			uint64_t now)
{
	const struct mirror *m = atomic_load_explicit(&t->mirror, memory_order_acquire);
	struct buf scratch = { 0 };
	struct text value;

	et->state = table_state_of(t->settings, m, now);
	et->is_mirrored = table_is_mirrored(t->settings, key);
	et->has_mirror = m != NULL;
	if (!m)
		return;
	et->age = now > mirror_born(m) ? now - mirror_born(m) : 0;
	et->mirror = table_find(m, key, &scratch, &value);
	if (et->mirror == MIRROR_HIT)
		buf_text(&et->mirror_value, value);
	et->is_ended = et->mirror == MIRROR_ABSENT && mirror_find(m, key, &value) == MIRROR_HIT;
	buf_done(&scratch);
}

static uint64_t since(uint64_t now, uint64_t then)
{
	return then && now > then ? now - then : 0;
}

static void take_scans(struct explain_table *et, struct table *t, uint64_t now)
{
	struct table_scans scans = table_scans(t);

	et->rejection = table_rejection(t);
	et->rejected_for = et->rejection.times ? since(now, et->rejection.since) : 0;
	et->scan.is_running = scans.began != 0;
	et->scan.ago = since(clock_wall_msec(), scans.ended);
	et->scan.outcome = scans.outcome;
	memcpy(et->scan.why, scans.why, sizeof et->scan.why);
}

/* As it is when all else is known: it may have gone, or come back, while it was asked. */
static void take_source(struct explain_table *et, struct source *s)
{
	struct source_stats stats = source_stats(s);

	et->source = must_strdup(stats.name);
	et->source_state = stats.state;
	et->failing_for = since(clock_wall_msec(), stats.failing_since);
	memcpy(et->source_why, stats.why, sizeof et->source_why);
}

static void take_domain(struct explain_table *et, const struct view *v,
			const struct table_settings *s, struct text key)
{
	const struct domain_oracle *o = &v->domains;
	struct text domain = table_domain(key, o);

	if (!et->is_mirror || et->stale_miss != STALE_MISS_DOMAIN || !s->domains)
		return;
	et->domains = must_strdup(s->domains);
	buf_text(&et->domain, domain);
	if (domain.n)
		et->membership = o->ask(o->ctx, s->domains, domain, v->now);
}

static void take_reply(struct explain_table *et, const struct table_reply *r)
{
	et->verdict = r->answer.verdict;
	et->reason = r->answer.reason;
	et->origin = r->origin;
	et->is_stale = r->is_stale;
	buf_text(&et->text, r->answer.value);
}

static void take_table(struct explain_table *et, const struct view *v, size_t index,
		       struct text key)
{
	struct table *t = v->map->tables[index];
	const struct table_settings *s = t->settings;
	struct buf scratch = { 0 };

	*et = (struct explain_table){
		.index = index, .is_mirror = s->mode == TABLE_MIRROR,
		.why_not = table_why_not(s, key), .stale_miss = s->stale_miss,
		.times = { s->refresh, s->max_age, s->stale_max, s->ttl, s->negative_ttl,
			   s->deadline },
	};
	take_mirror(et, t, key, v->now);
	take_scans(et, t, v->now);
	take_domain(et, v, s, key);
	et->cache = demand_look(t->demand, key, v->now, &et->cache_value);

	struct table_reply r = table_foretell(t, key, v->now, &v->domains, &scratch);
	et->would_ask = r.is_parked;
	if (!r.is_parked)
		take_reply(et, &r);
	buf_done(&scratch);
}

/* What becomes of the directory's word, or of its silence, where the table would ask. */
static void deliver(struct explain_table *et, const struct view *v, struct text key)
{
	struct answer said = { et->live.verdict, buf_view(&et->live.text), et->live.reason };
	struct text stale = et->cache.is_usable ? buf_view(&et->cache_value) : TEXT("");
	struct buf scratch = { 0 };

	if (!et->would_ask)
		return;
	if (!et->live.was_asked || et->live.is_late)
		said = answer_temp_for(REASON_DEADLINE, "no answer from the directory in time");

	struct table_reply r = table_delivered(v->map->tables[et->index], key, v->now, &v->domains,
					       stale, said, &scratch);
	take_reply(et, &r);
	buf_done(&scratch);
}

/* --- all of them ------------------------------------------------------------------------- */

static void take_step(struct explanation *x, const struct view *v, struct text key)
{
	struct explain_step *step;

	x->steps = must(reallocarray(x->steps, x->n_steps + 1, sizeof *x->steps));
	step = &x->steps[x->n_steps++];
	*step = (struct explain_step){ .n_tables = v->map->n_tables };
	buf_text(&step->key, key);
	step->tables = must_calloc(step->n_tables + 1, sizeof *step->tables);
	for (size_t i = 0; i < step->n_tables; i++)
		take_table(&step->tables[i], v, i, buf_view(&step->key));
}

static void take_all(struct explanation *x, const struct view *v)
{
	struct search search = { 0 };
	size_t n_views = 0;
	struct text key;

	if (!search_start(&search, &v->map->settings->rules, v->request)) {
		question_set(&x->answer, answer_absent(PROOF_NOT_UTF8));
		search_done(&search);
		return;
	}
	while (!x->is_cut && search_next(&search, &key)) {
		n_views += v->map->n_tables;
		x->is_cut = n_views > EXPLAIN_MAX;
		if (!x->is_cut)
			take_step(x, v, key);
	}
	search_done(&search);
}

/* The first table that has something to say; all before it are reached, too. */
static struct explain_table *find_decisive(struct explanation *x, size_t *ret_step)
{
	for (size_t i = 0; i < x->n_steps; i++)
		for (size_t k = 0; k < x->steps[i].n_tables; k++) {
			struct explain_table *et = &x->steps[i].tables[k];

			et->is_reached = true;
			if (et->would_ask)
				x->answer.took += et->live.took;
			if (et->verdict != NOTFOUND) {
				*ret_step = i;
				return et;
			}
		}
	return NULL;
}

static uint64_t age_of(const struct explain_table *et, enum origin origin)
{
	return origin == ORIGIN_MIRROR ? et->age : origin == ORIGIN_CACHE ? et->cache.age : 0;
}

/* All tables say that they have nothing: as old as the oldest, as far as the farthest. */
static void conclude_absence(struct explanation *x)
{
	struct question_reply *a = &x->answer;

	for (size_t i = 0; i < x->n_steps; i++)
		for (size_t k = 0; k < x->steps[i].n_tables; k++) {
			const struct explain_table *et = &x->steps[i].tables[k];

			a->is_stale |= et->is_stale;
			if (et->origin > a->origin)
				a->origin = et->origin;
		}
	for (size_t i = 0; i < x->n_steps; i++)
		for (size_t k = 0; k < x->steps[i].n_tables; k++) {
			uint64_t age = age_of(&x->steps[i].tables[k], a->origin);

			a->age = age > a->age ? age : a->age;
		}
	if (x->is_cut)
		question_set(a, answer_temp("there are more keys than are looked at here"));
	else
		question_set(a, answer_absent(PROOF_ALL_TABLES));
}

/* `x->decisive` has the value for a step: what a client would get. */
static void conclude_found(struct explanation *x, const struct view *v, size_t step)
{
	struct question_reply *a = &x->answer;
	const struct answer found = answer_found(buf_view(&x->decisive->text));
	struct search search = { 0 };
	struct buf result = { 0 };
	struct text key;

	search_start(&search, &v->map->settings->rules, v->request);
	for (size_t i = 0; i <= step && search_next(&search, &key); i++)
		;
	question_set(a, lookup_result(&search, found, &result));
	a->step = (unsigned)step;
	buf_text(&a->matched_key, buf_view(&x->steps[step].key));
	search_done(&search);
	buf_done(&result);
}

static void conclude(struct explanation *x, const struct view *v)
{
	struct question_reply *a = &x->answer;
	struct buf result = { 0 };
	size_t step = 0;

	if (a->answer.verdict == NOTFOUND)	/* not even a key to ask */
		return;
	for (size_t i = 0; i < x->n_steps; i++)
		for (size_t k = 0; k < x->steps[i].n_tables; k++) {
			take_source(&x->steps[i].tables[k], v->map->tables[k]->source);
			deliver(&x->steps[i].tables[k], v, buf_view(&x->steps[i].key));
		}

	const struct explain_table *et = x->decisive = find_decisive(x, &step);
	if (!et) {
		conclude_absence(x);
		return;
	}
	a->origin = et->origin;
	a->is_stale = et->is_stale;
	a->age = age_of(et, et->origin);
	if (et->verdict == FOUND)
		conclude_found(x, v, step);
	else
		question_set(a, (struct answer){ et->verdict, buf_view(&et->text), et->reason });
	if (a->answer.verdict == TEMP) {
		const struct answer temp = a->answer;

		question_set(a, lookup_refusal(v->map->name, temp, &result));
	}
	buf_done(&result);
}

/* --- asking the directory ---------------------------------------------------------------- */

static void release(struct gathering *g)
{
	if (g->is_probing || !g->is_closed)
		return;
	probe_done(&g->probe);
	free(g);
}

static void on_closed(uv_handle_t *timer)
{
	struct gathering *g = timer->data;

	g->is_closed = true;
	release(g);
}

static struct explain_table *current(const struct gathering *g)
{
	const struct explanation *x = g->errand->x;

	return g->step < x->n_steps ? &x->steps[g->step].tables[g->table] : NULL;
}

static void advance(struct gathering *g)
{
	if (++g->table < g->map->n_tables)
		return;
	g->table = 0;
	g->step++;
}

/* All is gathered, or time is up: the errand goes home. A probe that is under way comes back to `g`. */
static void finish(struct gathering *g)
{
	struct errand *e = g->errand;
	struct view v;

	view_init(&v, e->engine, g->map, buf_view(&e->key));
	conclude(e->x, &v);
	g->is_over = true;
	map_unref(g->map);
	inquiry_end(g->inquiry);
	uv_close((uv_handle_t *)&g->timer, on_closed);
}

/* What the probe has brought so far. */
static void take_probe(struct gathering *g, struct explain_live *live)
{
	const struct probe *p = &g->probe;
	uint64_t msec = clock_msec() - g->asked;

	live->was_asked = true;
	live->took = p->took;
	live->waited = msec * 1000 > p->took ? msec * 1000 - p->took : 0;
	live->is_late = msec > current(g)->times.deadline;
	buf_text(&live->queries, buf_view(&p->queries));
}

static void ask_all(struct gathering *g);

static void on_probed(struct probe *p)
{
	struct gathering *g = p->user;

	g->is_probing = false;
	if (g->is_over) {
		release(g);
		return;
	}

	struct explain_live *live = &current(g)->live;
	take_probe(g, live);
	live->verdict = p->verdict;
	live->reason = p->reason;
	buf_text(&live->text, buf_view(&p->text));
	if (p->verdict == TEMP)
		buf_text(&live->why, buf_view(p->why.n ? &p->why : &p->text));
	advance(g);
	if (!g->is_looping)
		ask_all(g);
}

static bool is_time_up(const struct gathering *g)
{
	return clock_msec() >= g->ends ||
	       atomic_load_explicit(&g->errand->engine->is_closing, memory_order_relaxed);
}

static void on_tick(uv_timer_t *timer)
{
	struct gathering *g = timer->data;
	struct explain_live *live;

	if (!is_time_up(g))
		return;
	live = &current(g)->live;
	take_probe(g, live);
	live->took = live->waited;	/* nobody knows how much of it was which */
	live->waited = 0;
	live->is_late = true;
	buf_str(&live->why, "it has not answered yet");
	for (advance(g); current(g); advance(g))
		if (!current(g)->why_not)
			buf_str(&current(g)->live.why, "there was no time left to ask");
	finish(g);
}

/* One after the other: what explains must not be in the way of what answers. */
static void ask_all(struct gathering *g)
{
	struct explain_table *et;

	g->is_looping = true;
	while (!g->is_probing && (et = current(g))) {
		struct probe *p = &g->probe;

		if (et->why_not) {
			advance(g);
			continue;
		}
		buf_clear(&p->job.key);
		buf_text(&p->job.key, buf_view(&g->errand->x->steps[g->step].key));
		p->job.expires = g->ends;
		g->asked = clock_msec();
		g->is_probing = true;
		source_probe(g->map->tables[g->table], p);
	}
	g->is_looping = false;
	if (!g->is_probing)
		finish(g);
}

static void gather(struct errand *e, struct inquiry *q, struct map *m)
{
	struct gathering *g = must_calloc(1, sizeof *g);

	*g = (struct gathering){
		.errand = e, .inquiry = q, .map = map_ref(m), .ends = clock_msec() + e->msec,
		.probe = { .on_end = on_probed, .user = g, .wants_queries = true },
	};
	uv_timer_init(&e->engine->loops.control.uv, &g->timer);
	g->timer.data = g;
	uv_timer_start(&g->timer, on_tick, TICK_MSEC, TICK_MSEC);
	ask_all(g);
}

static void begin(struct inquiry *q, void *ctx)
{
	struct errand *e = ctx;
	struct map *m = registry_find(engine_registry(e->engine), buf_view(&e->map));
	struct explanation *x = e->x;
	struct view v;

	x->has_map = x->answer.has_map = m != NULL;
	x->is_refused = x->answer.is_refused = m && m->settings->is_secret && !e->with_secrets;
	x->is_live = e->is_live;
	if (!m || x->is_refused) {
		inquiry_end(q);
		return;
	}
	x->search = m->settings->rules.kind;
	view_init(&v, e->engine, m, buf_view(&e->key));
	take_all(x, &v);
	if (x->is_live) {
		gather(e, q, m);
		return;
	}
	conclude(x, &v);
	inquiry_end(q);
}

/* --- from outside ------------------------------------------------------------------------ */

static void table_done(struct explain_table *et)
{
	free(et->source);
	free(et->domains);
	buf_done(&et->domain);
	buf_done(&et->mirror_value);
	buf_done(&et->cache_value);
	buf_done(&et->live.text);
	buf_done(&et->live.why);
	buf_done(&et->live.queries);
	buf_done(&et->text);
}

void explain_free(struct explanation *x)
{
	if (!x)
		return;
	for (size_t i = 0; i < x->n_steps; i++) {
		for (size_t k = 0; k < x->steps[i].n_tables; k++)
			table_done(&x->steps[i].tables[k]);
		free(x->steps[i].tables);
		buf_done(&x->steps[i].key);
	}
	free(x->steps);
	question_done(&x->answer);
	free(x);
}

static void errand_free(void *ctx)
{
	struct errand *e = ctx;

	explain_free(e->x);
	buf_done(&e->map);
	buf_done(&e->key);
	free(e);
}

struct explanation *explain_get(struct engine *engine, struct text map, struct text key,
				bool with_secrets, bool is_live, uint64_t msec)
{
	struct errand *e = must_calloc(1, sizeof *e);
	struct explanation *x;

	*e = (struct errand){
		.engine = engine, .with_secrets = with_secrets, .is_live = is_live,
		.msec = is_live ? msec : 0,
		.x = must_calloc(1, sizeof *x),
	};
	buf_text(&e->map, map);
	buf_text(&e->key, key);
	if (!inquiry_run(&engine->loops.control, begin, e, errand_free,
			 e->msec + QUESTION_PATIENCE))
		return NULL;
	x = e->x;
	e->x = NULL;
	errand_free(e);
	return x;
}

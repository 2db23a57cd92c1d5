#include "engine/question.h"

#include "base/clock.h"
#include "base/must.h"
#include "engine/inquiry.h"
#include "engine/lookup.h"

#include <stdlib.h>

/* How often it is looked whether the deadline is over. */
#define TICK_MSEC 20

/* On its way to an answer loop, and back. */
struct errand {
	struct engine *engine;
	struct loop *loop;
	struct buf map, key;
	bool with_secrets;
	uint64_t deadline;		/* the longest of the map's tables, msec */
	struct question_reply reply;
};

/* On the loop, while it waits for a directory. */
struct asking {
	struct errand *errand;
	struct inquiry *inquiry;
	struct lookup lookup;
	uv_timer_t timer;
	struct ask *ask;		/* lent out */
	uint64_t began;			/* usec of clock_usec() */
	uint64_t ends;			/* msec of clock_msec(): by then nobody listens any more */
};

void question_set(struct question_reply *r, struct answer answer)
{
	buf_clear(&r->text);
	buf_text(&r->text, answer.value);
	r->answer = answer;
	r->answer.value = buf_view(&r->text);
}

void question_done(struct question_reply *r)
{
	buf_done(&r->text);
	buf_done(&r->matched_key);
}

/* --- how old ----------------------------------------------------------------------------- */

/* What a table has said about a key. */
static uint64_t age_of(const struct table *t, struct text key, enum origin origin, uint64_t now)
{
	const struct mirror *m = atomic_load_explicit(&t->mirror, memory_order_acquire);
	struct buf ignored = { 0 };
	struct demand_view v;

	switch (origin) {
	case ORIGIN_MIRROR:
		return m && now > mirror_born(m) ? now - mirror_born(m) : 0;
	case ORIGIN_CACHE:
		v = demand_look(t->demand, key, now, &ignored);
		buf_done(&ignored);
		return v.age;
	case ORIGIN_RULES:
	case ORIGIN_DIRECTORY:
		break;
	}
	return 0;
}

/* Of an absence, all have said it: the oldest. */
static uint64_t oldest(struct search *s, const struct map *m, struct text key, enum origin origin,
		       uint64_t now)
{
	uint64_t age = 0;
	struct text candidate;

	if (!search_start(s, &m->settings->rules, key))
		return 0;
	while (search_next(s, &candidate))
		for (size_t i = 0; i < m->n_tables; i++) {
			uint64_t its = age_of(m->tables[i], candidate, origin, now);

			age = its > age ? its : age;
		}
	return age;
}

/* --- on the loop ------------------------------------------------------------------------- */

static void on_closed(uv_handle_t *timer)
{
	struct asking *a = timer->data;

	lookup_done(&a->lookup);
	free(a);
}

/* The errand is the asker's again. `m` is NULL when there is no such map any more. */
static void end(struct asking *a, struct answer answer, const struct map *m)
{
	struct question_reply *r = &a->errand->reply;
	struct lookup *l = &a->lookup;
	uint64_t usec = clock_usec();

	question_set(r, answer);
	r->has_map = m != NULL;
	r->step = l->tally.step;
	r->origin = l->tally.origin;
	r->is_stale = l->tally.is_stale;
	r->took = usec - a->began;
	if (m && answer.verdict == FOUND) {
		buf_text(&r->matched_key, l->search.host);
		r->age = age_of(m->tables[l->tally.table], buf_view(&r->matched_key), r->origin,
				usec / 1000);
	} else if (m && answer.verdict == NOTFOUND) {
		r->age = oldest(&l->search, m, buf_view(&a->errand->key), r->origin, usec / 1000);
	}
	inquiry_end(a->inquiry);
	uv_close((uv_handle_t *)&a->timer, on_closed);
}

static void give_up(struct asking *a, struct answer why)
{
	struct errand *e = a->errand;
	struct text map = buf_view(&e->map);

	a->lookup.tally = (struct tally){ 0 };
	end(a, lookup_refusal(map, why, &a->lookup.reason),
	    registry_find(engine_registry(e->engine), map));
}

/* Begin, or go on with an ask that came home, or did not in time. */
static void go_on(struct asking *a, const struct ask *ask, bool is_late)
{
	struct errand *e = a->errand;
	struct registry *r = engine_registry(e->engine);
	struct text map = buf_view(&e->map), key = buf_view(&e->key);
	uint64_t now = clock_msec();
	struct map *found = NULL;
	struct answer answer;

	if (atomic_load_explicit(&e->engine->is_closing, memory_order_relaxed)) {
		give_up(a, answer_temp_for(REASON_STOPPING, "server is stopping"));
		return;
	}
	if (now >= a->ends) {	/* a long walk, each step of which asks somebody */
		give_up(a, answer_temp_for(REASON_DEADLINE, "no answer in time"));
		return;
	}
	a->ask = is_late ? lookup_expire(&a->lookup, r, ask, now, &answer, &found) :
			   lookup_run(&a->lookup, r, map, key, ask, now, &answer, &found);
	if (a->ask)
		a->ask->owner = a;
	else
		end(a, answer, found);
}

static void on_home(struct ask *ask)
{
	struct asking *a = ask->owner;

	if (a)
		go_on(a, ask, false);
	ask_free(ask);
}

static void on_tick(uv_timer_t *timer)
{
	struct asking *a = timer->data;
	struct ask *ask = a->ask;

	if (clock_msec() < ask->deadline &&
	    !atomic_load_explicit(&a->errand->engine->is_closing, memory_order_relaxed))
		return;
	ask->owner = NULL;	/* it comes home all the same, and fills the cache */
	go_on(a, ask, true);
}

static void begin(struct inquiry *q, void *ctx)
{
	struct asking *a = must_calloc(1, sizeof *a);
	struct errand *e = ctx;

	a->errand = e;
	a->inquiry = q;
	a->began = clock_usec();
	a->ends = a->began / 1000 + e->deadline + QUESTION_PATIENCE / 2;
	a->lookup.loop = e->loop;
	a->lookup.on_home = on_home;
	uv_timer_init(&e->loop->uv, &a->timer);
	a->timer.data = a;
	go_on(a, NULL, false);
	if (a->ask)
		uv_timer_start(&a->timer, on_tick, TICK_MSEC, TICK_MSEC);
}

/* What kind of map it is. */
static void meet(struct inquiry *q, void *ctx)
{
	struct errand *e = ctx;
	const struct map *m = registry_find(engine_registry(e->engine), buf_view(&e->map));

	e->reply.has_map = m != NULL;
	e->reply.is_refused = m && m->settings->is_secret && !e->with_secrets;
	for (size_t i = 0; m && i < m->n_tables; i++)
		if (m->tables[i]->settings->deadline > e->deadline)
			e->deadline = m->tables[i]->settings->deadline;
	inquiry_end(q);
}

/* --- from outside ------------------------------------------------------------------------ */

static void errand_free(void *ctx)
{
	struct errand *e = ctx;

	question_done(&e->reply);
	buf_done(&e->map);
	buf_done(&e->key);
	free(e);
}

bool question_ask(struct engine *engine, struct text map, struct text key, bool with_secrets,
		  struct question_reply *ret)
{
	static _Atomic unsigned turn;
	struct loops *loops = &engine->loops;
	struct errand *e = must_calloc(1, sizeof *e);

	e->engine = engine;
	e->loop = &loops->answers[atomic_fetch_add(&turn, 1) % loops->n_answers];
	e->with_secrets = with_secrets;
	buf_text(&e->map, map);
	buf_text(&e->key, key);
	if (!inquiry_run(e->loop, meet, e, errand_free, QUESTION_PATIENCE))
		return false;
	if (e->reply.has_map && !e->reply.is_refused &&
	    !inquiry_run(e->loop, begin, e, errand_free, e->deadline + QUESTION_PATIENCE))
		return false;
	*ret = e->reply;
	e->reply = (struct question_reply){ 0 };
	errand_free(e);
	return true;
}

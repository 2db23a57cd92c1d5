#include "daemon/drain.h"

#include "base/must.h"

#include <stdlib.h>

/* Something for a loop to do. */
struct order {
	struct message message;
	struct answers *answers;
	void (*run)(struct answers *);
};

static void on_order(struct message *message)
{
	struct order *o = (struct order *)message;

	o->run(o->answers);
	free(o);
}

static void give_order(struct loop *loop, struct answers *answers, void (*run)(struct answers *))
{
	struct order *o = must_calloc(1, sizeof *o);

	*o = (struct order){ { NULL, on_order }, answers, run };
	loop_post(loop, &o->message);
}

static void order_all(struct drain *d, void (*run)(struct answers *))
{
	for (size_t i = 0; i < d->engine->loops.n_answers; i++)
		give_order(d->answers[i].loop, &d->answers[i], run);
}

static void end_refresh(struct answers *any)
{
	loop_stop(&any->engine->loops.refresh);
}

/* Every message that was under way when stopping began has arrived: the threads may end. */
static void on_quiet(void *drain)
{
	struct drain *d = drain;
	struct loops *loops = &d->engine->loops;

	d->on_quiet(d->user);
	give_order(&loops->refresh, d->answers, end_refresh);
	order_all(d, answers_stop);
	for (size_t i = 0; i < loops->n_answers; i++)
		loop_join(&loops->answers[i]);
	loop_join(&loops->refresh);
	engine_save(d->engine);
	uv_stop(&loops->control.uv);
}

/* A message may be one loop behind the first token (loops_retire()), not behind the second. */
static void on_almost_quiet(void *drain)
{
	struct drain *d = drain;

	loops_retire(&d->engine->loops, &d->engine->loops.control, d, on_quiet);
}

/* Nobody watches any more, so no thread but the loops' will ask anything of them. */
static void on_closed(void *drain)
{
	struct drain *d = drain;

	engine_stop(d->engine);
	loops_retire(&d->engine->loops, &d->engine->loops.control, d, on_almost_quiet);
}

static void on_drained(struct message *message)
{
	struct answers *a = (struct answers *)((char *)message - offsetof(struct answers, drained));
	struct drain *d = a->user;

	if (--d->n_left > 0)
		return;
	uv_timer_stop(&d->patience);
	engine_close(d->engine);
	acceptor_close(d->acceptor, on_closed, d);
}

static void on_impatient(uv_timer_t *timer)
{
	order_all(timer->data, answers_cut);
}

void drain_init(struct drain *d, struct engine *e, struct answers *answers, struct acceptor *a)
{
	*d = (struct drain){ .engine = e, .answers = answers, .acceptor = a };
	uv_timer_init(&e->loops.control.uv, &d->patience);
	d->patience.data = d;
	for (size_t i = 0; i < e->loops.n_answers; i++) {
		answers[i].on_drained = on_drained;
		answers[i].user = d;
	}
}

void drain_begin(struct drain *d, uint64_t patience, void (*quiet)(void *user), void *user)
{
	d->on_quiet = quiet;
	d->user = user;
	acceptor_close_tables(d->acceptor);
	d->n_left = d->engine->loops.n_answers;
	order_all(d, answers_drain);
	uv_timer_start(&d->patience, on_impatient, patience, 0);
}

void drain_done(struct drain *d)
{
	uv_close((uv_handle_t *)&d->patience, NULL);
}

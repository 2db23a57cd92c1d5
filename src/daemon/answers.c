#include "daemon/answers.h"

#include "base/clock.h"
#include "daemon/client.h"

#define SWEEP_MSEC 250
#define DEADLINE_TICK_MSEC 20

/* --- turns ------------------------------------------------------------------------------------ */

static void on_again(uv_idle_t *idle)
{
	struct answers *a = idle->data;
	struct client *c = a->waiting;

	/* One client a turn of the loop, so that everybody else's events come between. */
	if (c) {
		a->waiting = c->next_waiting;
		client_turn(c);
	}
	if (!a->waiting)
		uv_idle_stop(idle);
}

void answers_again(struct answers *a, struct client *c)
{
	struct client **at = &a->waiting;

	while (*at)
		at = &(*at)->next_waiting;
	*at = c;
	c->next_waiting = NULL;
	c->is_waiting = true;
	uv_idle_start(&a->again, on_again);
}

/* --- parked requests ---------------------------------------------------------------------------- */

static void on_deadlines(uv_timer_t *timer)
{
	struct answers *a = timer->data;
	uint64_t now = clock_msec();
	struct ask *next;

	for (struct ask *ask = a->asks; ask; ask = next) {
		struct client *c = ask->owner;

		next = ask->next;
		if (now < ask->deadline)
			continue;
		answers_unpark(a, ask);
		ask->owner = NULL;
		client_resume(c, ask, true);
		/* That may have parked and unparked others, but only at the front of the list. */
	}
}

void answers_park(struct answers *a, struct ask *ask)
{
	ask->prev = NULL;
	ask->next = a->asks;
	if (ask->next)
		ask->next->prev = ask;
	a->asks = ask;
	if (!uv_is_active((uv_handle_t *)&a->deadlines))
		uv_timer_start(&a->deadlines, on_deadlines, DEADLINE_TICK_MSEC, DEADLINE_TICK_MSEC);
}

void answers_unpark(struct answers *a, struct ask *ask)
{
	if (ask->prev)
		ask->prev->next = ask->next;
	else
		a->asks = ask->next;
	if (ask->next)
		ask->next->prev = ask->prev;
	if (!a->asks)
		uv_timer_stop(&a->deadlines);
}

static void on_home(struct ask *ask)
{
	struct answers *a = ask->home->user;
	struct client *c = ask->owner;

	if (c) {
		answers_unpark(a, ask);
		client_resume(c, ask, false);
	}
	ask_free(ask);
}

/* --- limits and the end -------------------------------------------------------------------------- */

void answers_check_drained(struct answers *a)
{
	if (!a->is_draining || a->clients || !a->on_drained)
		return;
	a->drained.run = a->on_drained;
	a->on_drained = NULL;
	loop_post(&a->engine->loops.control, &a->drained);
}

static void on_sweep(uv_timer_t *timer)
{
	struct answers *a = timer->data;
	uint64_t now = clock_msec();
	struct client *next;

	for (struct client *c = a->clients; c; c = next) {
		next = c->next;
		client_check(c, now);
	}
	answers_check_drained(a);
}

void answers_init(struct answers *a, struct engine *engine, struct loop *loop)
{
	a->engine = engine;
	a->loop = loop;
	loop->user = a;
	a->lookup.loop = loop;
	a->lookup.on_home = on_home;
	uv_timer_init(&loop->uv, &a->sweep);
	uv_timer_init(&loop->uv, &a->deadlines);
	uv_idle_init(&loop->uv, &a->again);
	a->sweep.data = a->deadlines.data = a->again.data = a;
	uv_timer_start(&a->sweep, on_sweep, SWEEP_MSEC, SWEEP_MSEC);
}

void answers_drain(struct answers *a)
{
	struct client *next;

	a->is_draining = true;
	for (struct client *c = a->clients; c; c = next) {
		next = c->next;
		client_finish(c);
	}
	answers_check_drained(a);
}

void answers_cut(struct answers *a)
{
	while (a->clients)
		client_close(a->clients);
	answers_check_drained(a);
}

void answers_stop(struct answers *a)
{
	uv_close((uv_handle_t *)&a->sweep, NULL);
	uv_close((uv_handle_t *)&a->deadlines, NULL);
	uv_close((uv_handle_t *)&a->again, NULL);
	loop_stop(a->loop);
}

void answers_done(struct answers *a)
{
	lookup_done(&a->lookup);
	buf_done(&a->out);
	buf_done(&a->scratch);
}

#include "daemon/ready.h"

#include "base/clock.h"
#include "base/log.h"

/* Mirrors appear on another thread, and at a start nobody counts milliseconds. */
#define LOOK_MSEC 20

static void look(uv_timer_t *timer)
{
	struct ready *r = timer->data;
	struct buf missing = { 0 };
	bool is_ready = engine_is_ready(r->engine, 0, &missing);

	if (is_ready || clock_msec() >= r->deadline) {
		uv_timer_stop(timer);
		if (is_ready)
			log_event(LOG_AT_INFO, "ready", "", NULL, 0);
		else
			log_warn("ready", "", F_TEXT("missing", buf_view(&missing)));
		r->on_ready(r->user);
	}
	buf_done(&missing);
}

void ready_watch(struct ready *r, struct engine *e, uint64_t wait, void (*on_ready)(void *user),
		 void *user)
{
	*r = (struct ready){ .engine = e, .deadline = clock_msec() + wait,
			     .on_ready = on_ready, .user = user };
	uv_timer_init(&e->loops.control.uv, &r->timer);
	r->timer.data = r;
	uv_timer_start(&r->timer, look, 0, LOOK_MSEC);
}

void ready_done(struct ready *r)
{
	if (r->engine)
		uv_close((uv_handle_t *)&r->timer, NULL);
}

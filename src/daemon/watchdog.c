#include "daemon/watchdog.h"

#include "base/log.h"
#include "daemon/notify.h"

/* How often to look when the manager is not waiting. */
#define LOOK_MSEC 5000

/* A process that was stopped and goes on may find a loop late once, and has another chance. */
#define CHANCES 4

static void on_look(uv_timer_t *timer)
{
	struct watchdog *w = timer->data;
	const struct loop *stalled = loops_stalled(w->loops);

	if (!stalled)
		notify_alive();
	if (stalled && stalled != w->stalled)
		log_error("loop_stalled", stalled->name, F_STR("loop", stalled->name),
			  F_MSEC("silent", loop_silence(stalled)));
	else if (!stalled && w->stalled)
		log_warn("loop_resumed", w->stalled->name, F_STR("loop", w->stalled->name));
	w->stalled = stalled;
}

void watchdog_start(struct watchdog *w, struct loops *loops)
{
	uint64_t patience = notify_patience() / CHANCES;
	uint64_t every = patience && patience < LOOK_MSEC ? patience : LOOK_MSEC;

	*w = (struct watchdog){ .loops = loops };
	uv_timer_init(&loops->control.uv, &w->timer);
	w->timer.data = w;
	uv_timer_start(&w->timer, on_look, 0, every);
}

void watchdog_done(struct watchdog *w)
{
	if (w->loops)
		uv_close((uv_handle_t *)&w->timer, NULL);
}

#include "engine/turn.h"

#include "base/clock.h"
#include "engine/table.h"

#include <stdlib.h>

/* A failed scan is tried again after this, doubled each time, up to the longest or `refresh`. */
#define FIRST_RETRY_MSEC 1000
#define LONGEST_RETRY_MSEC 60000

/* Between the beginnings of two scans of a table, whoever wants them. */
#define SCAN_EVERY_MSEC 1000

/* Over this time the first scans of tables are spread that are due but have something to say. */
#define SPREAD_MSEC 3000

static const struct table_settings *settings(const struct turn *t)
{
	return t->scan.table->settings;
}

/* --- when ----------------------------------------------------------------------------------- */

static void on_timer(uv_timer_t *timer)
{
	struct turn *t = timer->data;

	t->is_due = true;
	t->on_due(t);
}

/* How long it must wait until it may be scanned again, msec. */
static uint64_t pause_msec(const struct turn *t)
{
	uint64_t last = t->scan.began > t->tried_at ? t->scan.began : t->tried_at;
	uint64_t now = clock_msec();

	return last + SCAN_EVERY_MSEC > now ? last + SCAN_EVERY_MSEC - now : 0;
}

static void schedule(struct turn *t, uint64_t msec)
{
	uv_timer_start(&t->timer, on_timer,
		       t->is_wanted ? pause_msec(t) : clock_jitter(msec, t->random), 0);
}

/* After success: the next whole scan, or the next look whether there is anything new. */
static void schedule_next(struct turn *t)
{
	uint64_t now = clock_msec(), wait = t->full_at > now ? t->full_at - now : 0;
	uint64_t look = settings(t)->change_interval;

	t->failures = 0;
	schedule(t, look && look < wait ? look : wait);
}

static uint64_t retry(struct turn *t)
{
	uint64_t refresh = settings(t)->refresh;
	uint64_t longest = refresh < LONGEST_RETRY_MSEC ? refresh : LONGEST_RETRY_MSEC;
	uint64_t wait = (uint64_t)FIRST_RETRY_MSEC << (t->failures > 6 ? 6 : t->failures);

	wait = wait < longest ? wait : longest;
	t->failures++;
	schedule(t, wait);
	return wait;
}

/* --- what happens to it ------------------------------------------------------------------------ */

void turn_begin(struct turn *t, uv_loop_t *loop, void (*on_due)(struct turn *t), uint64_t *random,
		bool is_in_a_hurry)
{
	const struct table *table = t->scan.table;
	uint64_t now = clock_msec();
	bool is_fresh = table_state(table, now) == TABLE_FRESH;
	uint64_t born = is_fresh ? mirror_born(atomic_load(&table->mirror)) : 0;

	t->on_due = on_due;
	t->random = random;
	uv_timer_init(loop, &t->timer);
	t->timer.data = t;
	if (is_in_a_hurry || !is_fresh || born <= table->wanted) {
		schedule(t, 0);
		return;
	}
	t->full_at = born + settings(t)->refresh;
	if (t->full_at < now + SPREAD_MSEC)
		t->full_at = now + clock_random(random) % SPREAD_MSEC;
	schedule_next(t);
}

static void on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void turn_free(struct turn *t)
{
	scan_done(&t->scan);
	uv_close((uv_handle_t *)&t->timer, on_closed);
}

bool turn_is_near(const struct turn *t)
{
	return t->is_due ||
	       (!t->failures && uv_timer_get_due_in(&t->timer) < settings(t)->refresh / 10);
}

void turn_take(struct turn *t)
{
	uv_timer_stop(&t->timer);
	t->is_due = false;
	t->tried_at = clock_msec();
}

bool turn_is_owed(struct turn *t)
{
	uint64_t now = clock_msec();

	if (now < t->full_at && t->mark == t->new_mark && !t->is_wanted) {
		schedule_next(t);
		return false;
	}
	if (now < t->scan.began + SCAN_EVERY_MSEC) {
		t->is_wanted = true;
		schedule(t, 0);
		return false;
	}
	return true;
}

void turn_scans(struct turn *t, uint64_t since)
{
	t->is_wanted &= t->wanted_at >= since;
	t->full_at = 0;		/* owed until one is accepted, whatever change_query says */
}

void turn_accepted(struct turn *t)
{
	t->full_at = t->scan.began + clock_jitter(settings(t)->refresh, t->random);
	t->mark = t->new_mark;
	schedule_next(t);
}

uint64_t turn_rejected(struct turn *t)
{
	return retry(t);
}

uint64_t turn_failed(struct turn *t)
{
	if (t->is_wanted)	/* tried, in vain: as after any failure, but a scan is owed */
		t->full_at = 0;
	t->is_wanted = false;
	return retry(t);
}

void turn_want(struct turn *t)
{
	t->is_wanted = true;
	t->scan.table->wanted = t->wanted_at = clock_msec();
	if (uv_is_active((uv_handle_t *)&t->timer))	/* else its turn is about to come, or is */
		schedule(t, 0);
}

/* turn.h - when a mirrored table is scanned next. Refresh thread. */
#ifndef ENGINE_TURN_H
#define ENGINE_TURN_H

#include "engine/scan.h"

#include <uv.h>

struct scanner;

/* A mirrored table: when its next turn is, and the turn itself. */
struct turn {
	struct turn *next;		/* in refresh.turns */
	struct scanner *scanner;
	struct scan scan;
	bool is_in_round;		/* waits for the running process */
	enum { CHECKING, SCANNING, SAMPLING } phase;	/* while it runs */
	const char *why;		/* the scan is lost, and its process killed for it */
	uint64_t mark, new_mark;	/* hash of what change_query said before the last good scan; now */
	unsigned failures;		/* in a row */
	bool is_due;			/* waits for its scanner */

	/* Of turn.c alone. */
	uv_timer_t timer;
	void (*on_due)(struct turn *t);
	uint64_t *random;
	uint64_t full_at;		/* scanned then, even if change_query says the same */
	bool is_wanted;			/* somebody asked for a scan, whatever change_query says */
	uint64_t wanted_at;		/* the last time, msec of clock_msec() */
	uint64_t tried_at;		/* when its last round began */
};

/*
 * Set the first turn of t->scan.table; `on_due` is called from the loop whenever one has come, as it
 * may be again and again until turn_take().
 *
 * At once, unless there is a FRESH mirror already, of a snapshot or of the settings before: that one
 * is as good as if we had just scanned it at its time, but if somebody wanted another since.
 *
 * random           of clock_random(); the caller's, shared with other turns
 * is_in_a_hurry    at once in any case
 */
void turn_begin(struct turn *t, uv_loop_t *loop, void (*on_due)(struct turn *t), uint64_t *random,
		bool is_in_a_hurry);

/* Stop it. The struct, from malloc(), is freed when the loop has let go of its timer. */
void turn_free(struct turn *t);

/* Has it come, or will it within a tenth of its interval? One that failed waits its time. */
bool turn_is_near(const struct turn *t);

/* It becomes part of a round, which ends for it with turn_is_owed() or one of the last three. */
void turn_take(struct turn *t);

/*
 * change_query said t->new_mark: is there to be a scan now? If not, the next turn is set: there is
 * nothing new, or the last scan was less than a second ago.
 */
bool turn_is_owed(struct turn *t);

/* A scan begins in a process that may read a snapshot of `since`, msec: what was wanted later still is. */
void turn_scans(struct turn *t, uint64_t since);

/* How it ended; sets the next turn. Of those that did not end well, returns in how many msec. */
void turn_accepted(struct turn *t);
uint64_t turn_rejected(struct turn *t);
uint64_t turn_failed(struct turn *t);	/* also without a scan */

/* Somebody wants a scan, as soon as there may be one. */
void turn_want(struct turn *t);

#endif

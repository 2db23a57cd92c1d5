/* answers.h - an answer loop: its clients, its parked requests, its sweeps. */
#ifndef DAEMON_ANSWERS_H
#define DAEMON_ANSWERS_H

#include "daemon/admission.h"
#include "daemon/listener.h"
#include "engine/engine.h"
#include "engine/lookup.h"

struct client;

/* One answer loop. Touched by its own thread only, but for the constants. */
struct answers {
	struct engine *engine;
	struct loop *loop;
	struct admission *admission;	/* control thread only */
	void (*on_client_gone)(struct message *);	/* runs on the control loop; see client_begin() */
	void (*on_drained)(struct message *);		/* likewise, once, after answers_drain() */
	struct message drained;
	void *user;			/* of on_drained */
	struct lookup lookup;
	uv_timer_t sweep;		/* all time limits of clients */
	uv_timer_t deadlines;		/* of asks; runs only while there are any */
	uv_idle_t again;		/* turns for clients that have more to say */
	struct client *clients;
	struct client *waiting;		/* for another turn */
	struct ask *asks;		/* parked, with a client */
	bool is_draining;
	_Atomic uint64_t n_unknown_map;	/* requests for maps that are not there; as in counters.h */
	struct buf out;			/* replies of the running callback */
	struct buf scratch;		/* for decoding */
	char in[64 << 10];		/* what is being read */
};

/* Before the loop's thread starts. */
void answers_init(struct answers *a, struct engine *engine, struct loop *loop);

/* On its thread: say goodbye to idle clients, finish the others, then post `drained` to control. */
void answers_drain(struct answers *a);

/* A client has left: was it the last that a drain waits for? */
void answers_check_drained(struct answers *a);

/* On its thread: close whoever is left. */
void answers_cut(struct answers *a);

/* On its thread, after `drained` and with every ask home: let the thread end. */
void answers_stop(struct answers *a);
void answers_done(struct answers *a);	/* after loop_join() */

/* A turn for `c` after all other events. */
void answers_again(struct answers *a, struct client *c);

/* Keep the books on a parked request of `c`. */
void answers_park(struct answers *a, struct ask *ask);
void answers_unpark(struct answers *a, struct ask *ask);

#endif

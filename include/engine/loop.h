/* loop.h - threads with an event loop and a mailbox, and how published things are retired. */
#ifndef ENGINE_LOOP_H
#define ENGINE_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/* Something for another thread to do. Embed one; it belongs to the receiver once posted. */
struct message {
	struct message *next;
	void (*run)(struct message *message);
};

/* A thread's event loop and mailbox. Messages of one sender run in the order they were posted. */
struct loop {
	uv_loop_t uv;
	uv_async_t wake;
	pthread_mutex_t lock;		/* guards first, last */
	struct message *first, **last;
	pthread_t thread;
	bool has_thread;
	unsigned index;			/* of the answer loop, for its counter cells; set before start */
	void *user;			/* whatever the loop's owner keeps there; loop thread only */
	char name[16];			/* "answers0", "control", "refresh" */
	uv_timer_t pulse;		/* does not keep the loop running */
	_Atomic uint64_t beat;		/* when it had time for that last, see loop_silence() */
	uint64_t patience;		/* msec that one of its callbacks may take; constant */
};

/* All loops of the server: answer loops own connections, control and refresh do the rest. */
struct loops {
	struct loop *answers;
	size_t n_answers;
	struct loop control;		/* the main thread: accept, signals, driver processes */
	struct loop refresh;		/* scans and builds, at low priority */
};

/* Make `n` answer loops and the other two; no thread is started. */
void loops_init(struct loops *loops, size_t n);
void loops_done(struct loops *loops);	/* all threads joined, all handles closed */

/* Start the loop's thread; it runs until the loop has no handle left but its mailbox, see loop_stop(). */
void loop_start(struct loop *loop, const char *name);

/* From now on the calling thread, and the processes that it starts, give way to others. */
void loop_yield(void);

/* From the loop's own thread: the mailbox no longer keeps the loop running. */
void loop_stop(struct loop *loop);

/* Wait for the loop's thread to end. */
void loop_join(struct loop *loop);

/* Have `message` run on `loop`'s thread. From any thread, the loop's own included. */
void loop_post(struct loop *loop, struct message *message);

/*
 * For how long the loop has been in one callback, msec; up to a second more, from one beat to the
 * next. Suspend does not count, as for the service manager. From any thread.
 */
uint64_t loop_silence(const struct loop *loop);

/*
 * The first loop that is silent for longer than anything it does may take; NULL: all are alive.
 * While the loops run, as one that has ended is silent, too. From any thread.
 */
const struct loop *loops_stalled(const struct loops *loops);

/* uv_close() for a handle with a descriptor. */
void loop_close_stream(uv_stream_t *stream, uv_close_cb on_closed);

/*
 * Free `object` on `last` (the control or the refresh loop) after every loop has
 * finished the callback it is in. This is our whole RCU, and it rests on one rule:
 *
 *     A PUBLISHED POINTER IS LOADED IN A LOOP'S CALLBACK
 *     AND FORGOTTEN BEFORE THE CALLBACK RETURNS.
 *
 * The token passes the answer loops first, so what they posted to `last` before
 * they looked away is handled there before the object is freed.
 */
void loops_retire(struct loops *loops, struct loop *last, void *object, void (*free)(void *));

#endif

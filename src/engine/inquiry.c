#include "engine/inquiry.h"

#include "base/must.h"

#include <stdlib.h>
#include <time.h>

/* Shared by the two sides; whoever comes last frees it. */
struct inquiry {
	struct message message;
	void (*ask)(struct inquiry *q, void *ctx);
	void (*drop)(void *ctx);
	void *ctx;
	pthread_mutex_t lock;		/* guards what follows */
	pthread_cond_t ended;
	bool is_ended;
	bool is_given_up;		/* nobody waits for it any more */
};

static void on_message(struct message *message)
{
	struct inquiry *q = (struct inquiry *)message;

	q->ask(q, q->ctx);
}

static struct inquiry *inquiry_new(void (*ask)(struct inquiry *, void *), void *ctx,
				   void (*drop)(void *))
{
	struct inquiry *q = must_calloc(1, sizeof *q);
	pthread_condattr_t attributes;

	*q = (struct inquiry){ .message.run = on_message, .ask = ask, .drop = drop, .ctx = ctx };
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&q->ended, &attributes);
	pthread_condattr_destroy(&attributes);
	return q;
}

static void inquiry_free(struct inquiry *q)
{
	pthread_cond_destroy(&q->ended);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

static struct timespec in_msec(uint64_t msec)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_sec += (time_t)(msec / 1000);
	t.tv_nsec += (long)(msec % 1000) * 1000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	return t;
}

bool inquiry_run(struct loop *loop, void (*ask)(struct inquiry *q, void *ctx), void *ctx,
		 void (*drop)(void *ctx), uint64_t msec)
{
	struct inquiry *q = inquiry_new(ask, ctx, drop);
	const struct timespec end = in_msec(msec);

	loop_post(loop, &q->message);
	pthread_mutex_lock(&q->lock);
	while (!q->is_ended && pthread_cond_timedwait(&q->ended, &q->lock, &end) == 0)
		;
	bool is_ended = q->is_ended;
	q->is_given_up = !is_ended;
	pthread_mutex_unlock(&q->lock);
	if (is_ended)
		inquiry_free(q);
	return is_ended;
}

void inquiry_end(struct inquiry *q)
{
	pthread_mutex_lock(&q->lock);
	bool is_given_up = q->is_given_up;
	q->is_ended = true;
	pthread_cond_signal(&q->ended);
	pthread_mutex_unlock(&q->lock);
	if (is_given_up) {
		q->drop(q->ctx);
		inquiry_free(q);
	}
}

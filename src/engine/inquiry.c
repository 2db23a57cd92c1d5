#include "engine/inquiry.h"

#include "base/must.h"
#include "base/wait.h"

#include <stdlib.h>

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

	*q = (struct inquiry){ .message.run = on_message, .ask = ask, .drop = drop, .ctx = ctx };
	pthread_mutex_init(&q->lock, NULL);
	wait_init(&q->ended);
	return q;
}

static void inquiry_free(struct inquiry *q)
{
	pthread_cond_destroy(&q->ended);
	pthread_mutex_destroy(&q->lock);
	free(q);
}

bool inquiry_run(struct loop *loop, void (*ask)(struct inquiry *q, void *ctx), void *ctx,
		 void (*drop)(void *ctx), uint64_t msec)
{
	struct inquiry *q = inquiry_new(ask, ctx, drop);
	const struct timespec end = wait_until(msec);

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

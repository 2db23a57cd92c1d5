#include "engine/probes.h"

#include "base/clock.h"
#include "base/must.h"
#include "base/wait.h"
#include "engine/table.h"

#include <stdlib.h>

/* One lookup; belongs to the control thread while it is under way. */
struct flight {
	struct probe probe;	/* first: all that the asker sees of it */
	struct message message;
	struct table *table;
	struct probes *probes;
	struct flight *next;
};

struct probes {
	struct loop *control;
	pthread_mutex_t lock;	/* guards what follows */
	pthread_cond_t landed;
	struct flight *first, **last;	/* have ended */
	size_t n_flying;
	bool is_ended;		/* nobody asks any more; freed by the last that lands */
};

struct probes *probes_begin(struct loop *control)
{
	struct probes *p = must_calloc(1, sizeof *p);

	p->control = control;
	p->last = &p->first;
	pthread_mutex_init(&p->lock, NULL);
	wait_init(&p->landed);
	return p;
}

void probes_free(struct probe *probe)
{
	probe_done(probe);
	free(probe);	/* the first member of its flight */
}

static void destroy(struct probes *p)
{
	for (struct flight *f = p->first, *next; f; f = next) {
		next = f->next;
		probes_free(&f->probe);
	}
	pthread_cond_destroy(&p->landed);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

void probes_end(struct probes *p)
{
	pthread_mutex_lock(&p->lock);
	p->is_ended = true;
	bool is_last = p->n_flying == 0;
	pthread_mutex_unlock(&p->lock);
	if (is_last)
		destroy(p);
}

/* On the control thread. */
static void on_end(struct probe *probe)
{
	struct flight *f = (struct flight *)probe;
	struct probes *p = f->probes;

	pthread_mutex_lock(&p->lock);
	f->next = NULL;
	*p->last = f;
	p->last = &f->next;
	bool is_last = --p->n_flying == 0 && p->is_ended;
	pthread_cond_signal(&p->landed);
	pthread_mutex_unlock(&p->lock);
	if (is_last)
		destroy(p);
}

static void on_take_off(struct message *message)
{
	struct flight *f = (struct flight *)((char *)message - offsetof(struct flight, message));

	f->probe.job.expires = clock_msec() + f->table->settings->deadline;
	source_probe(f->table, &f->probe);
}

void probes_ask(struct probes *p, struct table *t, struct text key, void *user)
{
	struct flight *f = must_calloc(1, sizeof *f);

	*f = (struct flight){ .message.run = on_take_off, .table = t, .probes = p };
	f->probe.on_end = on_end;
	f->probe.user = user;
	buf_text(&f->probe.job.key, key);
	pthread_mutex_lock(&p->lock);
	p->n_flying++;
	pthread_mutex_unlock(&p->lock);
	loop_post(p->control, &f->message);
}

struct probe *probes_next(struct probes *p, uint64_t msec)
{
	const struct timespec end = wait_until(msec);

	pthread_mutex_lock(&p->lock);
	while (!p->first && pthread_cond_timedwait(&p->landed, &p->lock, &end) == 0)
		;
	struct flight *f = p->first;
	if (f) {
		p->first = f->next;
		if (!p->first)
			p->last = &p->first;
	}
	pthread_mutex_unlock(&p->lock);
	return f ? &f->probe : NULL;
}

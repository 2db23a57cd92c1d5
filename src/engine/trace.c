#include "engine/trace.h"

#include "base/clock.h"
#include "base/must.h"
#include "base/wait.h"

#include <stdlib.h>

/* One watcher; all but `map` is guarded by `lock`. */
struct trace {
	struct buf map;			/* empty: all; constant */
	struct trace_event *queue;	/* a ring of TRACE_QUEUE */
	size_t first, n;
	uint64_t n_lost;
	pthread_cond_t arrived;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct trace *watchers[TRACE_WATCHERS];	/* guarded by `lock` */
static _Atomic unsigned n_watchers;		/* changed under it */

/* --- watching ---------------------------------------------------------------------------- */

static struct trace *trace_new(struct text map)
{
	struct trace *t = must_calloc(1, sizeof *t);

	buf_text(&t->map, map);
	t->queue = must_calloc(TRACE_QUEUE, sizeof *t->queue);
	wait_init(&t->arrived);
	return t;
}

static void trace_free(struct trace *t)
{
	for (size_t i = 0; i < t->n; i++)
		trace_event_done(&t->queue[(t->first + i) % TRACE_QUEUE]);
	pthread_cond_destroy(&t->arrived);
	free(t->queue);
	buf_done(&t->map);
	free(t);
}

/* Put `new` in the place of `old`; false when there is no such place. */
static bool exchange(struct trace *old, struct trace *new)
{
	bool is_done = false;

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < TRACE_WATCHERS && !is_done; i++)
		if (watchers[i] == old) {
			watchers[i] = new;
			is_done = true;
		}
	if (is_done && new)
		atomic_fetch_add_explicit(&n_watchers, 1, memory_order_relaxed);
	else if (is_done)
		atomic_fetch_sub_explicit(&n_watchers, 1, memory_order_relaxed);
	pthread_mutex_unlock(&lock);
	return is_done;
}

struct trace *trace_begin(struct text map)
{
	struct trace *t = trace_new(map);

	if (exchange(NULL, t))
		return t;
	trace_free(t);
	return NULL;
}

void trace_end(struct trace *t)
{
	exchange(t, NULL);
	trace_free(t);
}

bool trace_next(struct trace *t, uint64_t msec, struct trace_event *ret, uint64_t *ret_lost)
{
	const struct timespec end = wait_until(msec);

	pthread_mutex_lock(&lock);
	while (!t->n && pthread_cond_timedwait(&t->arrived, &lock, &end) == 0)
		;
	bool has_one = t->n > 0;
	if (has_one) {
		*ret = t->queue[t->first];
		t->first = (t->first + 1) % TRACE_QUEUE;
		t->n--;
	}
	*ret_lost = t->n_lost;
	t->n_lost = 0;
	pthread_mutex_unlock(&lock);
	return has_one;
}

void trace_event_done(struct trace_event *e)
{
	buf_done(&e->map);
	buf_done(&e->key);
	buf_done(&e->value);
}

/* --- telling ----------------------------------------------------------------------------- */

bool trace_is_on(void)
{
	return atomic_load_explicit(&n_watchers, memory_order_relaxed) > 0;
}

/* Of a long one the beginning, and no half characters: RFC 3629 3. */
static struct buf copy(struct text t)
{
	struct buf b = { 0 };
	size_t n = t.n;

	if (n > TRACE_TEXT)
		for (n = TRACE_TEXT; n > TRACE_TEXT - 3 && (t.p[n] & 0xc0) == 0x80;)
			n--;
	buf_add(&b, t.p, n);
	return b;
}

void trace_tell(struct text map, struct text key, const struct answer *sent,
		enum protocol_kind protocol, const struct tally *tally, uint64_t usec)
{
	const struct trace_event event = {
		.at = clock_wall_msec(), .verdict = sent->verdict, .protocol = protocol,
		.origin = tally->origin, .is_stale = tally->is_stale, .took = usec,
	};

	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < TRACE_WATCHERS; i++) {
		struct trace *t = watchers[i];

		if (!t || (t->map.n && !text_eq(buf_view(&t->map), map)))
			continue;
		if (t->n == TRACE_QUEUE) {
			t->n_lost++;
			continue;
		}

		struct trace_event *e = &t->queue[(t->first + t->n++) % TRACE_QUEUE];
		*e = event;
		e->map = copy(map);
		e->key = copy(key);
		e->value = copy(sent->value);
		pthread_cond_signal(&t->arrived);
	}
	pthread_mutex_unlock(&lock);
}

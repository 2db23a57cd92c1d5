#include "engine/loop.h"

#include "base/must.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

/* Far behind whatever answers, but not starved by it. */
#define YIELD_NICE 10

/* How often a loop shows that it is alive. */
#define BEAT_MSEC 1000

/* Nothing that these loops do waits for anything. Postfix waits 100 s for an answer. */
#define PATIENCE_MSEC 10000

/*
 * This one checks the snapshots of all tables in one callback and indexes tables of any size in
 * another, at a low priority: as long as a whole scan may take. No answer waits for it.
 */
#define PATIENCE_REFRESH_MSEC 600000

static void on_wake(uv_async_t *wake)
{
	struct loop *loop = wake->data;

	/* Wake-ups coalesce: take the whole inbox. */
	pthread_mutex_lock(&loop->lock);
	struct message *m = loop->first;
	loop->first = NULL;
	loop->last = &loop->first;
	pthread_mutex_unlock(&loop->lock);

	while (m) {
		struct message *next = m->next;

		m->run(m);
		m = next;
	}
}

static uint64_t monotonic_msec(void)
{
	return uv_hrtime() / 1000000;
}

static void beat(struct loop *loop)
{
	atomic_store_explicit(&loop->beat, monotonic_msec(), memory_order_relaxed);
}

static void on_pulse(uv_timer_t *pulse)
{
	beat(pulse->data);
}

static void loop_init(struct loop *loop, const char *name, unsigned index, uint64_t patience)
{
	if (uv_loop_init(&loop->uv) != 0 || uv_async_init(&loop->uv, &loop->wake, on_wake) != 0) {
		fputs("socketmapd: cannot make an event loop\n", stderr);
		abort();
	}
	loop->wake.data = loop;
	loop->uv.data = loop;
	pthread_mutex_init(&loop->lock, NULL);
	loop->last = &loop->first;
	loop->index = index;
	loop->patience = patience;
	snprintf(loop->name, sizeof loop->name, "%s", name);
	loop->pulse.data = loop;
	uv_timer_init(&loop->uv, &loop->pulse);
	uv_timer_start(&loop->pulse, on_pulse, BEAT_MSEC, BEAT_MSEC);
	uv_unref((uv_handle_t *)&loop->pulse);
	beat(loop);
}

static void loop_done(struct loop *loop)
{
	assert(!loop->first);
	uv_close((uv_handle_t *)&loop->wake, NULL);
	uv_close((uv_handle_t *)&loop->pulse, NULL);
	uv_run(&loop->uv, UV_RUN_DEFAULT);
	int rc = uv_loop_close(&loop->uv);
	assert(rc == 0);
	(void)rc;
	pthread_mutex_destroy(&loop->lock);
}

void loops_init(struct loops *loops, size_t n)
{
	*loops = (struct loops){ .n_answers = n };
	loops->answers = must_calloc(n, sizeof *loops->answers);
	for (size_t i = 0; i < n; i++) {
		char name[sizeof loops->control.name];

		snprintf(name, sizeof name, "answers%u", (unsigned)i % 1000);
		loop_init(&loops->answers[i], name, (unsigned)i, PATIENCE_MSEC);
	}
	loop_init(&loops->control, "control", 0, PATIENCE_MSEC);
	loop_init(&loops->refresh, "refresh", 0, PATIENCE_REFRESH_MSEC);
}

void loops_done(struct loops *loops)
{
	for (size_t i = 0; i < loops->n_answers; i++)
		loop_done(&loops->answers[i]);
	loop_done(&loops->control);
	loop_done(&loops->refresh);
	free(loops->answers);
}

static void *run_thread(void *arg)
{
	struct loop *loop = arg;

	uv_run(&loop->uv, UV_RUN_DEFAULT);
	return NULL;
}

void loop_yield(void)
{
	/* On Linux this is the priority of the calling thread alone, setpriority(2) NOTES. */
	setpriority(PRIO_PROCESS, 0, YIELD_NICE);
}

void loop_start(struct loop *loop, const char *name)
{
	sigset_t all, before;

	/* Signals are the main thread's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&loop->thread, NULL, run_thread, loop) != 0) {
		fputs("socketmapd: cannot start a thread\n", stderr);
		abort();
	}
	pthread_setname_np(loop->thread, name);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	loop->has_thread = true;
}

uint64_t loop_silence(const struct loop *loop)
{
	uint64_t last = atomic_load_explicit(&loop->beat, memory_order_relaxed);
	uint64_t now = monotonic_msec();

	return now > last ? now - last : 0;
}

const struct loop *loops_stalled(const struct loops *loops)
{
	for (size_t i = 0; i < loops->n_answers; i++)
		if (loop_silence(&loops->answers[i]) > loops->answers[i].patience)
			return &loops->answers[i];
	if (loop_silence(&loops->control) > loops->control.patience)
		return &loops->control;
	return loop_silence(&loops->refresh) > loops->refresh.patience ? &loops->refresh : NULL;
}

void loop_stop(struct loop *loop)
{
	uv_unref((uv_handle_t *)&loop->wake);
}

void loop_join(struct loop *loop)
{
	if (loop->has_thread)
		pthread_join(loop->thread, NULL);
	loop->has_thread = false;
}

void loop_post(struct loop *loop, struct message *message)
{
	message->next = NULL;
	pthread_mutex_lock(&loop->lock);
	bool was_empty = !loop->first;
	*loop->last = message;
	loop->last = &message->next;
	pthread_mutex_unlock(&loop->lock);
	if (was_empty)
		uv_async_send(&loop->wake);
}

#ifdef __SANITIZE_THREAD__
void __sanitizer_syscall_pre_impl_close(long fd);	/* of libtsan; gcc ships no header for it */
#endif

void loop_close_stream(uv_stream_t *stream, uv_close_cb on_closed)
{
#ifdef __SANITIZE_THREAD__
	/*
	 * libuv closes by a raw system call, which ThreadSanitizer does not see: without being told
	 * it takes the next use of the number, on another thread, for a race.
	 */
	uv_os_fd_t fd;

	if (uv_fileno((uv_handle_t *)stream, &fd) == 0)
		__sanitizer_syscall_pre_impl_close(fd);
#endif
	uv_close((uv_handle_t *)stream, on_closed);
}

/* The token that passes every loop before an object is freed. */
struct retired {
	struct message message;
	struct loops *loops;
	struct loop *last;
	size_t step;
	void *object;
	void (*free)(void *);
};

static void on_retired(struct message *message)
{
	struct retired *r = (struct retired *)message;
	struct loops *loops = r->loops;
	size_t step = r->step++;

	if (step < loops->n_answers) {
		loop_post(&loops->answers[step], message);
	} else if (step == loops->n_answers) {
		loop_post(r->last == &loops->control ? &loops->refresh : &loops->control, message);
	} else if (step == loops->n_answers + 1) {
		loop_post(r->last, message);
	} else {
		r->free(r->object);
		free(r);
	}
}

void loops_retire(struct loops *loops, struct loop *last, void *object, void (*free_object)(void *))
{
	struct retired *r = must_calloc(1, sizeof *r);

	*r = (struct retired){ { NULL, on_retired }, loops, last, 0, object, free_object };
	on_retired(&r->message);
}

#include "driver/ldap_watchdog.h"

#include "base/must.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

struct watchdog {
	pthread_t thread;
	pthread_mutex_t lock;	/* guards all that follows */
	pthread_cond_t changed;
	struct timespec due;	/* CLOCK_MONOTONIC; tv_sec 0: never */
	int fd;			/* the duplicate; -1: none */
	bool has_bitten;
	bool is_over;
};

static bool is_due(const struct watchdog *w)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return w->due.tv_sec && (now.tv_sec > w->due.tv_sec ||
				 (now.tv_sec == w->due.tv_sec &&
				  now.tv_nsec >= w->due.tv_nsec));
}

/* With the lock held: sleep until there is something to do; false: never again. */
static bool sleep_until_due(struct watchdog *w)
{
	while (!w->is_over && !is_due(w)) {
		if (w->due.tv_sec)
			pthread_cond_timedwait(&w->changed, &w->lock, &w->due);
		else
			pthread_cond_wait(&w->changed, &w->lock);
	}
	return !w->is_over;
}

static void *run(void *ctx)
{
	struct watchdog *w = ctx;

	pthread_mutex_lock(&w->lock);
	while (sleep_until_due(w)) {
		if (w->fd >= 0) {
			shutdown(w->fd, SHUT_RDWR);
			w->has_bitten = true;
		}
		w->due.tv_sec = 0;
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

struct watchdog *watchdog_new(void)
{
	struct watchdog *w = must_calloc(1, sizeof *w);
	pthread_condattr_t clock;
	sigset_t all, before;
	int error;

	w->fd = -1;
	pthread_mutex_init(&w->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&w->changed, &clock);
	pthread_condattr_destroy(&clock);

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&w->thread, NULL, run, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error == 0)
		return w;
	free(w);
	errno = error;
	return NULL;
}

void watchdog_free(struct watchdog *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->is_over = true;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);

	if (w->fd >= 0)
		close(w->fd);
	pthread_cond_destroy(&w->changed);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

bool watchdog_guard(struct watchdog *w, int fd)
{
	int copy = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

	pthread_mutex_lock(&w->lock);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = copy;
	w->has_bitten = false;
	w->due.tv_sec = 0;
	pthread_mutex_unlock(&w->lock);
	return copy >= 0 || fd < 0;
}

void watchdog_set(struct watchdog *w, uint64_t msec)
{
	struct timespec due = { 0 };

	if (msec) {
		clock_gettime(CLOCK_MONOTONIC, &due);
		due.tv_sec += (time_t)(msec / 1000);
		due.tv_nsec += (long)(msec % 1000) * 1000000;
		due.tv_sec += due.tv_nsec / 1000000000;
		due.tv_nsec %= 1000000000;
	}
	pthread_mutex_lock(&w->lock);
	w->due = due;
	pthread_cond_signal(&w->changed);
	pthread_mutex_unlock(&w->lock);
}

bool watchdog_has_bitten(struct watchdog *w)
{
	bool has_bitten;

	pthread_mutex_lock(&w->lock);
	has_bitten = w->has_bitten;
	pthread_mutex_unlock(&w->lock);
	return has_bitten;
}

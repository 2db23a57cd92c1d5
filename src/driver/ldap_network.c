#include "driver/ldap_network.h"

#include "base/clock.h"
#include "base/must.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* No list of addresses may take more than so many tries. */
#define ADDRESSES_MAX 8

/* --- resolving -------------------------------------------------------------------- */

/* A question to the resolver, which may answer when nobody waits for it any more. */
struct question {
	char *name;
	char port[16];
	pthread_mutex_t lock;		/* guards what follows */
	pthread_cond_t answered;
	struct addrinfo *list;
	int error;			/* EAI_INPROGRESS: there is no answer yet */
	bool is_abandoned;		/* whoever answers frees it */
};

static struct question *question_new(const struct host *host, unsigned port)
{
	struct question *q = must_calloc(1, sizeof *q);
	pthread_condattr_t clock;

	q->name = must_strdup(host->name);
	snprintf(q->port, sizeof q->port, "%u", port);
	q->error = EAI_INPROGRESS;
	pthread_mutex_init(&q->lock, NULL);
	pthread_condattr_init(&clock);
	pthread_condattr_setclock(&clock, CLOCK_MONOTONIC);
	pthread_cond_init(&q->answered, &clock);
	pthread_condattr_destroy(&clock);
	return q;
}

static void question_free(struct question *q)
{
	if (q->list)
		freeaddrinfo(q->list);
	pthread_cond_destroy(&q->answered);
	pthread_mutex_destroy(&q->lock);
	free(q->name);
	free(q);
}

static void *answer(void *ctx)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct question *q = ctx;
	struct addrinfo *list = NULL;
	int error = getaddrinfo(q->name, q->port, &hints, &list);
	bool is_abandoned;

	pthread_mutex_lock(&q->lock);
	q->list = list;
	q->error = error;
	is_abandoned = q->is_abandoned;
	pthread_cond_signal(&q->answered);
	pthread_mutex_unlock(&q->lock);
	if (is_abandoned)
		question_free(q);
	return NULL;
}

/*
 * getaddrinfo(3) in a thread, as it cannot be called off: when the time is over it is left
 * alone. EAI_*; 0: answered.
 */
static int ask(const struct host *host, unsigned port, uint64_t msec,
	       struct addrinfo **ret_list)
{
	struct question *q = question_new(host, port);
	struct timespec end;
	pthread_t thread;
	int error, late = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += (time_t)(msec / 1000);
	end.tv_nsec += (long)(msec % 1000) * 1000000;
	end.tv_sec += end.tv_nsec / 1000000000;
	end.tv_nsec %= 1000000000;
	if (pthread_create(&thread, NULL, answer, q) != 0) {
		question_free(q);
		return EAI_AGAIN;
	}
	pthread_detach(thread);

	pthread_mutex_lock(&q->lock);
	while (q->error == EAI_INPROGRESS && late == 0)
		late = pthread_cond_timedwait(&q->answered, &q->lock, &end);
	error = q->error;
	*ret_list = q->list;
	q->list = NULL;
	q->is_abandoned = error == EAI_INPROGRESS;
	pthread_mutex_unlock(&q->lock);
	if (error != EAI_INPROGRESS)
		question_free(q);
	return error;
}

void addresses_done(struct addresses *a)
{
	if (a->list)
		freeaddrinfo(a->list);
	*a = (struct addresses){ 0 };
}

static bool resolve_numeric(const struct host *host, unsigned port, struct addresses *a)
{
	const struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
					.ai_socktype = SOCK_STREAM };
	char service[16];

	snprintf(service, sizeof service, "%u", port);
	if (!a->list && getaddrinfo(host->name, service, &hints, &a->list) == 0)
		a->is_numeric = true;
	return a->is_numeric;
}

bool network_resolve(const struct host *host, unsigned port, struct addresses *a,
		     uint64_t msec, struct buf *ret_why)
{
	struct addrinfo *list = NULL;
	int error;

	if (host->is_unix || resolve_numeric(host, port, a))
		return true;
	/* With addresses to fall back on, time is left for connecting to them. */
	error = ask(host, port, a->list ? msec / 2 : msec, &list);
	if (error == 0) {
		addresses_done(a);
		a->list = list;
	} else if (!a->list) {
		buf_str(ret_why, error == EAI_INPROGRESS ? "no answer from the name servers" :
				 gai_strerror(error));
	}
	return a->list != NULL;
}

/* --- connecting ------------------------------------------------------------------- */

bool network_wait(int fd, short events, uint64_t deadline)
{
	struct pollfd p = { .fd = fd, .events = events };
	int ready;

	do {
		uint64_t now = clock_msec();
		ready = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);
	} while (ready < 0 && errno == EINTR);
	if (ready == 0)
		errno = ETIMEDOUT;
	return ready > 0;
}

static bool set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) == 0;
}

/* A socket, or -1 with errno. */
static int connect_to(const struct sockaddr *address, socklen_t n, uint64_t msec)
{
	int fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int error = 0;
	socklen_t size = sizeof error;

	if (fd < 0)
		return -1;
	if (connect(fd, address, n) < 0) {
		error = errno;
		if (error == EINPROGRESS && network_wait(fd, POLLOUT, clock_msec() + msec))
			getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
		else if (error == EINPROGRESS)
			error = errno;
	}
	if (error == 0 && set_blocking(fd))
		return fd;
	error = error ? error : errno;
	close(fd);
	errno = error;
	return -1;
}

static int connect_unix(const char *path, uint64_t msec)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof address.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(address.sun_path, path, strlen(path));
	return connect_to((struct sockaddr *)&address, sizeof address, msec);
}

static int connect_inet(const struct addresses *a, uint64_t msec)
{
	uint64_t end = clock_msec() + msec;
	unsigned left = 0;
	int fd = -1, yes = 1;

	for (const struct addrinfo *i = a->list; i && left < ADDRESSES_MAX; i = i->ai_next)
		left++;
	errno = EADDRNOTAVAIL;
	for (const struct addrinfo *i = a->list; i && left && fd < 0; i = i->ai_next, left--) {
		uint64_t now = clock_msec();

		fd = connect_to(i->ai_addr, i->ai_addrlen,
				now < end ? (end - now) / left : 0);
	}
	if (fd >= 0) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
		setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
	}
	return fd;
}

int network_connect(const struct host *host, const struct addresses *a, uint64_t msec,
		    struct buf *ret_why)
{
	int fd = host->is_unix ? connect_unix(host->name, msec) : connect_inet(a, msec);

	if (fd < 0)
		buf_str(ret_why, strerror(errno));
	return fd;
}

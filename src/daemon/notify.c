#include "daemon/notify.h"

#include "base/buf.h"
#include "base/log.h"
#include "daemon/units.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct sockaddr_un manager;
static socklen_t manager_n;	/* 0: nobody wants to know */
static uint64_t patience;	/* msec; see notify_patience() */

/* The variables of sd_watchdog_enabled(3). Without WATCHDOG_PID they mean whoever has them. */
static void take_watchdog(void)
{
	const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	uint64_t n;

	if (usec && count_parse(text_of(usec), &n))
		patience = n / 1000;
	if (pid && (!count_parse(text_of(pid), &n) || n != (uint64_t)getpid()))
		patience = 0;
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_init(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	size_t n = path ? strlen(path) : 0;

	/* A path, or an abstract name that starts with '@'; other kinds are for machines. */
	if (n > 1 && n < sizeof manager.sun_path && (*path == '/' || *path == '@')) {
		manager.sun_family = AF_UNIX;
		memcpy(manager.sun_path, path, n);
		if (*path == '@')
			manager.sun_path[0] = '\0';
		manager_n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
	}
	unsetenv("NOTIFY_SOCKET");
	take_watchdog();
}

static void send_state(struct buf *state)
{
	int fd = manager_n ? socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;

	if (manager_n && (fd < 0 || sendto(fd, state->p, state->n, MSG_NOSIGNAL,
					   (struct sockaddr *)&manager, manager_n) < 0))
		log_warn("notify_failed", "", F_STR("why", strerror(errno)));
	if (fd >= 0)
		close(fd);
	buf_done(state);
}

void notify_ready(void)
{
	struct buf state = { 0 };

	buf_printf(&state, "READY=1\nMAINPID=%ld", (long)getpid());
	send_state(&state);
}

void notify_reloading(void)
{
	struct buf state = { 0 };
	struct timespec t;

	/* The manager compares it with its own clock: not ours, which starts elsewhere. */
	clock_gettime(CLOCK_MONOTONIC, &t);
	buf_printf(&state, "RELOADING=1\nMONOTONIC_USEC=%" PRIu64,
		   (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000);
	send_state(&state);
}

void notify_stopping(void)
{
	struct buf state = { 0 };

	buf_str(&state, "STOPPING=1");
	send_state(&state);
}

uint64_t notify_patience(void)
{
	return manager_n ? patience : 0;
}

void notify_alive(void)
{
	struct buf state = { 0 };

	if (!notify_patience())
		return;
	buf_str(&state, "WATCHDOG=1");
	send_state(&state);
}

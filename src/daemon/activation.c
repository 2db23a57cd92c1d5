#include "daemon/activation.h"

#include "base/log.h"
#include "base/must.h"
#include "daemon/units.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* SD_LISTEN_FDS_START, sd_listen_fds(3). */
#define FIRST_FD 3

/* More than any unit has; descriptors are numbers up to a limit. */
#define MOST_FDS 1024

static bool take_number(const char *variable, uint64_t *ret)
{
	const char *value = getenv(variable);

	return value && count_parse(text_of(value), ret);
}

/* The next of the names with colons between. */
static char *take_name(struct text *names)
{
	const char *colon = memchr(names->p, ':', names->n);
	struct text name = colon ? text_before(*names, colon) : *names;

	*names = colon ? text_from(*names, colon + 1) : (struct text){ NULL, 0 };
	return must(strndup(name.n ? name.p : "", name.n));
}

static bool take_all(struct activation *a, uint64_t n, const char *names, struct buf *ret_why)
{
	struct text rest = text_of(names);
	size_t n_names = 1;

	for (const char *c = names; c && *c; c++)
		n_names += *c == ':';
	if (names && n > 0 && n_names != n) {
		buf_printf(ret_why, "LISTEN_FDNAMES has %zu names for %zu descriptors", n_names,
			   (size_t)n);
		return false;
	}
	a->list = must_calloc(n + 1, sizeof *a->list);
	for (size_t i = 0; i < n; i++) {
		int fd = FIRST_FD + (int)i, flags = fcntl(fd, F_GETFD);

		if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) != 0) {
			buf_printf(ret_why, "LISTEN_FDS: descriptor %d: %s", fd, strerror(errno));
			return false;
		}
		a->list[a->n++] = (struct inherited){
			.name = names ? take_name(&rest) : must_strdup("unknown"),
			.fd = fd,
		};
	}
	return true;
}

bool activation_take(struct activation *ret, struct buf *ret_why)
{
	static const char *const variables[] = { "LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS",
						 "LISTEN_FDNAMES" };
	struct activation a = { 0 };
	uint64_t pid, n;
	bool is_good = true;

	if (take_number("LISTEN_PID", &pid) && pid == (uint64_t)getpid()) {
		is_good = take_number("LISTEN_FDS", &n) && n <= MOST_FDS;
		if (!is_good)
			buf_str(ret_why, "LISTEN_FDS is no number of descriptors");
		else
			is_good = take_all(&a, n, getenv("LISTEN_FDNAMES"), ret_why);
	}
	for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
		unsetenv(variables[i]);
	if (is_good)
		*ret = a;
	else
		activation_done(&a);
	return is_good;
}

static bool is_listening_stream(int fd)
{
	int type = 0, listens = 0, domain = 0;
	socklen_t n = sizeof(int);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM &&
	       getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) == 0 && listens &&
	       getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) == 0 &&
	       (domain == AF_UNIX || domain == AF_INET || domain == AF_INET6);
}

int activation_next(struct activation *a, const char *name, size_t *at, struct buf *ret_why)
{
	while (*at < a->n && (a->list[*at].fd < 0 || strcmp(a->list[*at].name, name) != 0))
		++*at;
	if (*at >= a->n)
		return -1;

	struct inherited *found = &a->list[(*at)++];
	int fd = -1, flags;
	if (!is_listening_stream(found->fd))
		buf_printf(ret_why, "descriptor %d called \"%s\" is no listening stream socket: "
			   "the .socket unit needs ListenStream= and Accept=no", found->fd, name);
	else if ((flags = fcntl(found->fd, F_GETFL)) < 0 ||
		 fcntl(found->fd, F_SETFL, flags | O_NONBLOCK) != 0 ||
		 (fd = fcntl(found->fd, F_DUPFD_CLOEXEC, 0)) < 0)
		buf_printf(ret_why, "descriptor %d: %s", found->fd, strerror(errno));
	found->is_wanted |= fd >= 0;
	return fd;
}

void activation_tidy(struct activation *a)
{
	for (size_t i = 0; i < a->n; i++) {
		struct inherited *in = &a->list[i];

		if (in->is_wanted || in->fd < 0)
			continue;
		log_warn("socket_unwanted", "", F_STR("name", in->name),
			 F_NUM("descriptor", in->fd),
			 F_STR("why", "no listener has the address systemd:NAME with this name"));
		close(in->fd);
		in->fd = -1;
	}
}

void activation_done(struct activation *a)
{
	for (size_t i = 0; i < a->n; i++) {
		if (a->list[i].fd >= 0)
			close(a->list[i].fd);
		free(a->list[i].name);
	}
	free(a->list);
	*a = (struct activation){ 0 };
}

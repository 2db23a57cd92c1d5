#include "daemon/listener.h"

#include "base/log.h"
#include "base/must.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

/* A full backlog of a unix socket is an instant 451 (postfix-client.md 2.4); the kernel caps this. */
#define BACKLOG 4096

static bool fail_errno(struct buf *ret_why, const char *address, const char *what)
{
	buf_printf(ret_why, "%s: %s: %s", address, what, strerror(errno));
	return false;
}

/* --- unix sockets ----------------------------------------------------------------------- */

/* Does a server answer on the socket? Only a clear refusal means that none does. */
static bool is_answered(const struct sockaddr_un *sun)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return true;
	bool refused = connect(fd, (const struct sockaddr *)sun, sizeof *sun) != 0 &&
		       (errno == ECONNREFUSED || errno == ENOENT);
	close(fd);
	return !refused;
}

/* May the path be taken? */
static bool is_free(const struct sockaddr_un *sun, struct buf *ret_why)
{
	struct stat st;

	if (lstat(sun->sun_path, &st) != 0)
		return errno == ENOENT || fail_errno(ret_why, sun->sun_path, "stat");
	if (!S_ISSOCK(st.st_mode)) {
		buf_printf(ret_why, "%s: exists and is no socket", sun->sun_path);
		return false;
	}
	if (is_answered(sun)) {
		buf_printf(ret_why, "%s: another server answers there", sun->sun_path);
		return false;
	}
	return true;
}

static bool owner_ids(const struct listener_settings *s, uid_t *ret_uid, gid_t *ret_gid,
		      struct buf *ret_why)
{
	const struct passwd *user = s->owner ? getpwnam(s->owner) : NULL;
	const struct group *group = s->group ? getgrnam(s->group) : NULL;

	if (s->owner && !user) {
		buf_printf(ret_why, "%s: no such user \"%s\"", s->address, s->owner);
		return false;
	}
	if (s->group && !group) {
		buf_printf(ret_why, "%s: no such group \"%s\"", s->address, s->group);
		return false;
	}
	*ret_uid = user ? user->pw_uid : (uid_t)-1;
	*ret_gid = group ? group->gr_gid : (gid_t)-1;
	return true;
}

/* Made under a name beside the real one, finished, and renamed: never there half done. */
static bool bind_unix(struct listener *l, const char *path, struct buf *ret_why)
{
	const struct listener_settings *s = l->settings;
	struct sockaddr_un sun = { .sun_family = AF_UNIX }, made = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');
	uid_t uid;
	gid_t gid;
	struct stat st;

	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	int n = snprintf(made.sun_path, sizeof made.sun_path, "%.*s.%ld",
			 (int)(slash ? slash - path + 1 : 0), path, (long)getpid());
	if (n < 0 || (size_t)n >= sizeof made.sun_path) {
		buf_printf(ret_why, "%s: the path is too long", path);
		return false;
	}
	if (!owner_ids(s, &uid, &gid, ret_why) || !is_free(&sun, ret_why))
		return false;
	unlink(made.sun_path);
	if (bind(l->fd, (struct sockaddr *)&made, sizeof made) != 0)
		return fail_errno(ret_why, path, "bind");
	if (chown(made.sun_path, uid, gid) != 0 || chmod(made.sun_path, s->mode) != 0 ||
	    stat(made.sun_path, &st) != 0 || listen(l->fd, BACKLOG) != 0 ||
	    rename(made.sun_path, path) != 0) {
		fail_errno(ret_why, path, "set owner, group, mode");
		unlink(made.sun_path);
		return false;
	}
	l->path = must_strdup(path);
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return true;
}

/* --- TCP ---------------------------------------------------------------------------------- */

static bool parse_inet(const char *address, struct sockaddr_storage *ret, socklen_t *ret_n)
{
	struct text host = text_of(address);
	const char *colon = text_rchr(host, ':');
	char name[64];

	if (!colon)
		return false;
	host = text_before(host, colon);
	if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
		host = (struct text){ host.p + 1, host.n - 2 };
	if (host.n >= sizeof name)
		return false;
	memcpy(name, host.p, host.n);
	name[host.n] = '\0';

	int port = atoi(colon + 1);
	if (uv_ip4_addr(name, port, (struct sockaddr_in *)ret) == 0)
		*ret_n = sizeof(struct sockaddr_in);
	else if (uv_ip6_addr(name, port, (struct sockaddr_in6 *)ret) == 0)
		*ret_n = sizeof(struct sockaddr_in6);
	else
		return false;
	return true;
}

static bool bind_inet(struct listener *l, const struct sockaddr_storage *ss, socklen_t n,
		      struct buf *ret_why)
{
	const int on = 1;

	setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (ss->ss_family == AF_INET6)
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (bind(l->fd, (const struct sockaddr *)ss, n) != 0)
		return fail_errno(ret_why, l->settings->address, "bind");
	if (listen(l->fd, BACKLOG) != 0)
		return fail_errno(ret_why, l->settings->address, "listen");
	return true;
}

/* --- both --------------------------------------------------------------------------------- */

static bool open_socket(struct listener *l, struct buf *ret_why)
{
	const char *address = l->settings->address;
	struct sockaddr_storage ss = { .ss_family = AF_UNIX };
	socklen_t n = 0;
	bool is_unix = text_starts(text_of(address), TEXT("unix:"));

	if (!is_unix && !parse_inet(address + strlen("inet:"), &ss, &n)) {
		buf_printf(ret_why, "%s: no address", address);
		return false;
	}
	l->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0)
		return fail_errno(ret_why, address, "socket");
	return is_unix ? bind_unix(l, address + strlen("unix:"), ret_why) :
			 bind_inet(l, &ss, n, ret_why);
}

struct listener *listener_open(struct listener_settings *settings, struct buf *ret_why)
{
	struct listener *l = must_calloc(1, sizeof *l);

	l->settings = settings;
	l->fd = -1;
	l->refs = 1;
	if (open_socket(l, ret_why))
		return l;
	l->settings = NULL;	/* stays the caller's */
	if (l->fd >= 0)
		close(l->fd);
	listener_unref(l);
	return NULL;
}

struct listener *listener_share(struct listener *old, struct listener_settings *settings,
				struct buf *ret_why)
{
	int fd = fcntl(old->fd, F_DUPFD_CLOEXEC, 0);

	if (fd < 0) {
		fail_errno(ret_why, settings->address, "dup");
		return NULL;
	}

	struct listener *l = must_calloc(1, sizeof *l);
	l->settings = settings;
	l->fd = fd;
	l->refs = 1;
	return l;
}

void listener_inherit(struct listener *l, struct listener *old)
{
	struct buf why = { 0 };
	uid_t uid;
	gid_t gid;

	l->path = old->path;
	l->device = old->device;
	l->inode = old->inode;
	old->path = NULL;
	if (l->path && (!owner_ids(l->settings, &uid, &gid, &why) ||
			chown(l->path, uid, gid) != 0 || chmod(l->path, l->settings->mode) != 0)) {
		if (why.n == 0)
			fail_errno(&why, l->path, "set owner, group, mode");
		log_error("listener_unchanged", l->settings->address, F_TEXT("why", buf_view(&why)));
	}
	buf_done(&why);
}

static void on_poll_closed(uv_handle_t *handle)
{
	listener_unref(handle->data);
}

void listener_watch(struct listener *l, uv_loop_t *loop, uv_poll_cb on_ready)
{
	if (l->fd < 0)
		return;
	if (!l->is_polled) {
		uv_poll_init(loop, &l->poll, l->fd);
		l->poll.data = listener_ref(l);
		l->is_polled = true;
	}
	uv_poll_start(&l->poll, UV_READABLE, on_ready);
}

void listener_rest(struct listener *l)
{
	if (l->is_polled)
		uv_poll_stop(&l->poll);
}

void listener_close(struct listener *l)
{
	struct stat st;

	if (l->is_polled)
		uv_close((uv_handle_t *)&l->poll, on_poll_closed);
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
		unlink(l->path);
	close(l->fd);
	l->fd = -1;
	listener_unref(l);
}

struct listener *listener_ref(struct listener *l)
{
	atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
	return l;
}

void listener_unref(struct listener *l)
{
	if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) > 1)
		return;
	listener_settings_free(l->settings);
	free(l->path);
	free(l);
}

#include "daemon/listener.h"

#include "base/log.h"
#include "base/must.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <netinet/in.h>
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

static struct gate *add_gate(struct listener *l, int fd)
{
	l->gates = must(reallocarray(l->gates, l->n_gates + 1, sizeof *l->gates));
	l->gates[l->n_gates] = (struct gate){ .listener = l, .fd = fd };
	return &l->gates[l->n_gates++];
}

static bool make_socket(struct listener *l, int family, struct buf *ret_why)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return fail_errno(ret_why, l->settings->address, "socket");
	add_gate(l, fd);
	return true;
}

/* --- unix sockets ------------------------------------------------------------------------ */

/* Does a server answer on the socket? Only a clear refusal means that none does. */
static bool is_answered(const struct sockaddr_un *sun, pid_t *ret_pid)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct ucred who = { 0 };
	socklen_t n = sizeof who;

	if (fd < 0)
		return true;
	bool refused = connect(fd, (const struct sockaddr *)sun, sizeof *sun) != 0 &&
		       (errno == ECONNREFUSED || errno == ENOENT);
	/* Who called listen(), as this process sees it: unix(7). */
	if (!refused && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &n) == 0 && who.pid > 0)
		*ret_pid = who.pid;
	close(fd);
	return !refused;
}

/* May the path be taken? */
static bool check_path(struct listener *l, const struct sockaddr_un *sun, bool may_be_answered,
		       struct buf *ret_why)
{
	struct stat st;

	if (lstat(sun->sun_path, &st) != 0)
		return errno == ENOENT || fail_errno(ret_why, sun->sun_path, "stat");
	if (!S_ISSOCK(st.st_mode)) {
		buf_printf(ret_why, "%s: exists and is no socket", sun->sun_path);
		return false;
	}
	l->is_answered = is_answered(sun, &l->former);
	if (l->is_answered && !may_be_answered) {
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

/* Under a name beside the real one, finished: never there half done. */
static bool bind_unix(struct listener *l, const char *path, const struct opening *how,
		      struct buf *ret_why)
{
	const struct listener_settings *s = l->settings;
	struct sockaddr_un sun = { .sun_family = AF_UNIX }, made = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');
	uid_t uid;
	gid_t gid;
	struct stat st;

	snprintf(sun.sun_path, sizeof sun.sun_path, "%s", path);
	int n = snprintf(made.sun_path, sizeof made.sun_path, "%.*s.%ld.%d",
			 (int)(slash ? slash - path + 1 : 0), path, (long)getpid(), l->gates->fd);
	if (n < 0 || (size_t)n >= sizeof made.sun_path) {
		buf_printf(ret_why, "%s: the path is too long", path);
		return false;
	}
	if (!owner_ids(s, &uid, &gid, ret_why) ||
	    !check_path(l, &sun, how->may_be_answered, ret_why))
		return false;
	unlink(made.sun_path);
	if (bind(l->gates->fd, (struct sockaddr *)&made, sizeof made) != 0)
		return fail_errno(ret_why, path, "bind");
	l->beside = must_strdup(made.sun_path);
	if (chown(l->beside, uid, gid) != 0 || chmod(l->beside, s->mode) != 0 ||
	    stat(l->beside, &st) != 0 || listen(l->gates->fd, BACKLOG) != 0)
		return fail_errno(ret_why, path, "set owner, group, mode");
	l->path = must_strdup(path);
	l->device = st.st_dev;
	l->inode = st.st_ino;
	return true;
}

static bool exchange(const struct listener *l)
{
	return renameat2(AT_FDCWD, l->beside, AT_FDCWD, l->path, RENAME_EXCHANGE) == 0;
}

static bool place_unix(struct listener *l, struct buf *ret_why)
{
	if (exchange(l))
		return true;
	/* Nothing is there; or the file system cannot exchange: then there is no way back. */
	if ((errno != ENOENT && errno != EINVAL) || rename(l->beside, l->path) != 0)
		return fail_errno(ret_why, l->path, "rename");
	free(l->beside);
	l->beside = NULL;
	return true;
}

/* --- TCP --------------------------------------------------------------------------------- */

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

/*
 * Sockets share an address when all of them say SO_REUSEPORT and are of one user, socket(7).
 * Saying so only after bind() keeps out whoever did not come to replace us.
 */
static bool bind_inet(struct listener *l, const struct sockaddr_storage *ss, socklen_t n,
		      const struct opening *how, struct buf *ret_why)
{
	const struct sockaddr *sa = (const struct sockaddr *)ss;
	const int on = 1;
	int fd = l->gates->fd;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (ss->ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
	if (fchown(fd, how->uid, (gid_t)-1) != 0)
		return fail_errno(ret_why, l->settings->address, "fchown");
	if (bind(fd, sa, n) != 0) {
		if (errno != EADDRINUSE || !how->may_be_answered)
			return fail_errno(ret_why, l->settings->address, "bind");
		l->is_answered = true;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
		return fail_errno(ret_why, l->settings->address, "SO_REUSEPORT");
	if (l->is_answered && bind(fd, sa, n) != 0)
		return fail_errno(ret_why, l->settings->address, "bind");
	return true;
}

/*
 * Have new connections go to the socket of that place among those on the address. They stand in
 * the order in which they came; of two, ours is the second.
 */
static bool steer(const struct listener *l, unsigned place)
{
	struct sock_filter code[] = { { BPF_RET | BPF_K, 0, 0, place } };
	struct sock_fprog program = { 1, code };

	return setsockopt(l->gates->fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program,
			  sizeof program) == 0;
}

static bool place_inet(struct listener *l, struct buf *ret_why)
{
	if (listen(l->gates->fd, BACKLOG) != 0)
		return fail_errno(ret_why, l->settings->address, "listen");
	if (l->is_answered && !steer(l, 1))
		return fail_errno(ret_why, l->settings->address, "SO_ATTACH_REUSEPORT_CBPF");
	return true;
}

/* --- inherited sockets ------------------------------------------------------------------- */

static bool take_inherited(struct listener *l, const char *name, const struct opening *how,
			   struct buf *ret_why)
{
	size_t at = 0, before = ret_why->n;
	int fd;

	while ((fd = activation_next(how->inherited, name, &at, ret_why)) >= 0)
		add_gate(l, fd);
	if (ret_why->n > before)
		return false;
	if (l->n_gates == 0)
		buf_printf(ret_why,
			   "%s: no socket called \"%s\" was passed to this process: the .socket "
			   "unit needs FileDescriptorName=%s, and the service Sockets= with it",
			   l->settings->address, name, name);
	l->is_inherited = true;
	l->stage = LISTENER_SETTLED;
	return l->n_gates > 0;
}

/* --- all kinds --------------------------------------------------------------------------- */

static bool open_sockets(struct listener *l, const struct opening *how, struct buf *ret_why)
{
	const char *address = l->settings->address;
	struct text t = text_of(address);
	struct sockaddr_storage ss;
	socklen_t n;

	if (text_starts(t, TEXT("systemd:")))
		return take_inherited(l, address + strlen("systemd:"), how, ret_why);
	if (text_starts(t, TEXT("unix:")))
		return make_socket(l, AF_UNIX, ret_why) &&
		       bind_unix(l, address + strlen("unix:"), how, ret_why);
	if (!parse_inet(address + strlen("inet:"), &ss, &n)) {
		buf_printf(ret_why, "%s: no address", address);
		return false;
	}
	return make_socket(l, ss.ss_family, ret_why) && bind_inet(l, &ss, n, how, ret_why);
}

struct listener *listener_open(struct listener_settings *settings, const struct opening *how,
			       struct buf *ret_why)
{
	struct listener *l = must_calloc(1, sizeof *l);

	l->settings = settings;
	l->refs = 1;
	if (open_sockets(l, how, ret_why))
		return l;
	l->settings = NULL;	/* stays the caller's */
	listener_close(l);
	return NULL;
}

bool listener_place(struct listener *l, struct buf *ret_why)
{
	if (l->stage != LISTENER_BOUND)
		return true;
	if (!(l->path ? place_unix(l, ret_why) : place_inet(l, ret_why)))
		return false;
	l->stage = LISTENER_PLACED;
	return true;
}

void listener_withdraw(struct listener *l)
{
	if (l->stage != LISTENER_PLACED)
		return;
	if (l->beside && !exchange(l)) {
		log_error("socket_misplaced", l->settings->address, F_STR("file", l->beside),
			  F_STR("why", strerror(errno)));
		free(l->beside);	/* it is the other server's */
		l->beside = NULL;
	}
	if (!l->path && l->is_answered)
		steer(l, 0);
	l->stage = LISTENER_BOUND;
}

void listener_settle(struct listener *l)
{
	if (l->beside)
		unlink(l->beside);
	free(l->beside);
	l->beside = NULL;
	l->is_answered = false;
	l->stage = LISTENER_SETTLED;
}

struct listener *listener_share(struct listener *old, struct listener_settings *settings,
				struct buf *ret_why)
{
	struct listener *l = must_calloc(1, sizeof *l);

	l->refs = 1;
	l->is_inherited = old->is_inherited;
	l->stage = LISTENER_SETTLED;
	for (size_t i = 0; i < old->n_gates; i++) {
		int fd = fcntl(old->gates[i].fd, F_DUPFD_CLOEXEC, 0);

		if (fd < 0) {
			fail_errno(ret_why, settings->address, "dup");
			listener_close(l);
			return NULL;
		}
		add_gate(l, fd);
	}
	l->settings = settings;
	return l;
}

/* As a reload may no longer be root, it is enough that the file is so already. */
static bool give_file(const struct listener *l, struct buf *ret_why)
{
	mode_t mode = l->settings->mode;
	struct stat st;
	uid_t uid;
	gid_t gid;

	if (!owner_ids(l->settings, &uid, &gid, ret_why))
		return false;
	if (chown(l->path, uid, gid) == 0 && chmod(l->path, mode) == 0)
		return true;
	fail_errno(ret_why, l->path, "set owner, group, mode");
	return stat(l->path, &st) == 0 && (st.st_mode & 07777) == mode &&
	       (uid == (uid_t)-1 || st.st_uid == uid) && (gid == (gid_t)-1 || st.st_gid == gid);
}

void listener_inherit(struct listener *l, struct listener *old, struct buf *ret_unchanged)
{
	struct buf why = { 0 };

	l->path = old->path;
	l->device = old->device;
	l->inode = old->inode;
	old->path = NULL;
	if (l->path && !give_file(l, &why)) {
		buf_text(ret_unchanged, buf_view(&why));
		buf_str(ret_unchanged, "; the socket stays as it was\n");
		/* Like no settings that are read: a later reload takes it for changed. */
		*l->settings->fingerprint = '\0';
	}
	buf_done(&why);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct gate *gate = handle->data;

	listener_unref(gate->listener);
}

void listener_watch(struct listener *l, uv_loop_t *loop, uv_poll_cb on_ready)
{
	for (size_t i = 0; i < l->n_gates && l->stage == LISTENER_SETTLED; i++) {
		struct gate *g = &l->gates[i];

		if (g->fd < 0)
			continue;
		if (!g->is_polled) {
			uv_poll_init(loop, &g->poll, g->fd);
			g->poll.data = g;
			g->is_polled = true;
			listener_ref(l);
		}
		uv_poll_start(&g->poll, UV_READABLE, on_ready);
	}
}

void listener_rest(struct listener *l)
{
	for (size_t i = 0; i < l->n_gates; i++)
		if (l->gates[i].is_polled)
			uv_poll_stop(&l->gates[i].poll);
}

void listener_close(struct listener *l)
{
	struct stat st;

	if (l->beside)
		unlink(l->beside);
	if (l->path && lstat(l->path, &st) == 0 && st.st_dev == l->device && st.st_ino == l->inode)
		unlink(l->path);
	for (size_t i = 0; i < l->n_gates; i++) {
		struct gate *g = &l->gates[i];

		if (g->is_polled)
			uv_close((uv_handle_t *)&g->poll, on_poll_closed);
		close(g->fd);
		g->fd = -1;
	}
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
	free(l->beside);
	free(l->gates);
	free(l->counters);
	free(l);
}

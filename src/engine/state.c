#include "engine/state.h"

#include "base/must.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_NAME "lock"

struct state {
	int dir;
	int lock;		/* of the file "lock"; -1: not open yet */
	bool is_locked;		/* by us */
};

static int open_directory(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Is what `fd` stands for ours, and can nobody else write to it? */
static bool is_ours(int fd, struct buf *ret_why)
{
	struct stat st;

	if (fstat(fd, &st) != 0) {
		buf_str(ret_why, strerror(errno));
		return false;
	}
	if (st.st_uid != geteuid()) {
		buf_printf(ret_why, "belongs to uid %u, not to us (%u)", (unsigned)st.st_uid,
			   (unsigned)geteuid());
		return false;
	}
	if (st.st_mode & (S_IWGRP | S_IWOTH)) {
		buf_printf(ret_why, "others may write to it (mode %04o)",
			   (unsigned)st.st_mode & 07777);
		return false;
	}
	return true;
}

struct state *state_open(const char *path, struct buf *ret_why)
{
	int dir = open_directory(path);
	struct state *s;

	if (dir < 0 && errno == ENOENT && mkdir(path, 0700) == 0)
		dir = open_directory(path);
	if (dir < 0) {
		buf_str(ret_why, strerror(errno));
		return NULL;
	}
	if (!is_ours(dir, ret_why)) {
		close(dir);
		return NULL;
	}
	s = must_calloc(1, sizeof *s);
	s->dir = dir;
	s->lock = -1;
	return s;
}

void state_close(struct state *s)
{
	if (!s)
		return;
	if (s->lock >= 0)
		close(s->lock);
	close(s->dir);
	free(s);
}

int state_directory(const struct state *s)
{
	return s->dir;
}

/* Open the lock file, made if need be: a reader may not have made one. */
static bool open_lock(struct state *s, struct buf *ret_why)
{
	if (s->lock >= 0)
		return true;
	int fd = openat(s->dir, LOCK_NAME, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC,
			0600);
	if (fd < 0) {
		buf_printf(ret_why, LOCK_NAME ": %s", strerror(errno));
		return false;
	}
	if (!is_ours(fd, ret_why)) {
		close(fd);
		return false;
	}
	s->lock = fd;
	return true;
}

pid_t state_holder(const struct state *s)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (s->lock < 0 || fcntl(s->lock, F_GETLK, &l) != 0 || l.l_type == F_UNLCK)
		return 0;
	return l.l_pid > 0 ? l.l_pid : 0;
}

bool state_lock(struct state *s, struct buf *ret_why)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	if (s->is_locked)
		return true;
	if (!open_lock(s, ret_why))
		return false;
	if (fcntl(s->lock, F_SETLK, &l) == 0) {
		s->is_locked = true;
		return true;
	}
	if (errno != EACCES && errno != EAGAIN)
		buf_printf(ret_why, LOCK_NAME ": %s", strerror(errno));
	else
		buf_printf(ret_why, "process %d has it", (int)state_holder(s));
	return false;
}

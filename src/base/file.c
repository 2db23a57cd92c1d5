#include "base/file.h"

#include "base/must.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

/* Read to the end; returns an errno, 0 for success. */
static int read_all(int fd, size_t max, struct buf *out)
{
	size_t before = out->n;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return errno;
	if (!S_ISREG(st.st_mode))
		return S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	for (;;) {
		if (!buf_reserve(out, 4096))
			return ENOMEM;

		ssize_t n = read(fd, out->p + out->n, 4096);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? errno : 0;
		out->n += (size_t)n;
		if (out->n - before > max)
			return EFBIG;
	}
}

bool file_read(const char *path, size_t max, struct buf *out, struct buf *ret_why)
{
	size_t before = out->n;
	/* O_NONBLOCK: a FIFO must not stop a reload. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	int error = fd < 0 ? errno : read_all(fd, max, out);

	if (fd >= 0)
		close(fd);
	if (error == 0)
		return true;
	if (error == ENOMEM)
		must(NULL);	/* not before the file is closed: see must_guard() */
	out->n = before;
	buf_printf(ret_why, "%s: %s", path, strerror(error));
	return false;
}

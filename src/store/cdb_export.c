#include "store/cdb_export.h"

#include "store/timed.h"

#include <cdb.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MODE 0644

/* cdb(5): 256 pointers in front; two lengths for each record, two places in a hash table. */
#define CDB_HEAD 2048
#define CDB_RECORD (8 + 2 * 8)

/* --- the contents --------------------------------------------------------------------- */

/* A file in the making. */
struct writer {
	struct cdb_make cdb;
	const struct cdb_table *tables;
	uint64_t now;
	uint64_t bytes;			/* that it will have */
	struct buf scratch;		/* for values that end */
	struct cdb_exported made;
};

static bool is_asked(const struct cdb_table *t, struct text key)
{
	return needs_met(t->needs, key) && (!t->domain || domain_list_admits(t->domain, key));
}

/* A value of a mirror as it is now. */
static enum mirror_says read_value(struct writer *w, struct text *value)
{
	if (value->n == 0)
		return MIRROR_BAD;
	return timed_is(*value) ? timed_read(value, w->now, &w->scratch) : MIRROR_HIT;
}

/* Does a table before this one have an answer? */
static bool is_hidden(struct writer *w, size_t table, struct text key)
{
	for (size_t i = 0; i < table; i++) {
		struct text value;
		enum mirror_says says;

		if (!is_asked(&w->tables[i], key))
			continue;
		says = mirror_find(w->tables[i].mirror, key, &value);
		if (says == MIRROR_HIT)
			says = read_value(w, &value);
		if (says != MIRROR_ABSENT)
			return true;
	}
	return false;
}

static bool put(struct writer *w, struct text key, struct text value)
{
	w->bytes += CDB_RECORD + key.n + value.n;
	if (w->bytes > UINT32_MAX) {
		errno = EFBIG;
		return false;
	}
	w->made.entries++;
	return cdb_make_add(&w->cdb, key.p, (unsigned)key.n, value.p, (unsigned)value.n) == 0;
}

static bool put_table(struct writer *w, size_t table)
{
	const struct cdb_table *t = &w->tables[table];
	struct text key, value;

	for (size_t at = 0; mirror_next(t->mirror, &at, &key, &value);) {
		/* Nobody can ask for a NUL; Postfix could take it for the end of another key. */
		if (!is_asked(t, key) || text_chr(key, '\0') || is_hidden(w, table, key))
			continue;
		switch (read_value(w, &value)) {
		case MIRROR_ABSENT:
			continue;
		case MIRROR_BAD:
			value = (struct text){ "", 1 };
			w->made.bad++;
			break;
		case MIRROR_HIT:
			break;
		}
		if (!put(w, key, value))
			return false;
	}
	return true;
}

/* Fill an empty file. False with errno. */
static bool fill(int fd, const struct cdb_table *tables, size_t n_tables, uint64_t now,
		 struct cdb_exported *ret)
{
	struct writer w = { .tables = tables, .now = now, .bytes = CDB_HEAD };
	bool is_good = cdb_make_start(&w.cdb, fd) == 0;
	int error;

	for (size_t i = 0; is_good && i < n_tables; i++)
		is_good = put_table(&w, i);
	error = errno;
	/* This also frees what it has; the head, without which there are no keys, comes last. */
	if (cdb_make_finish(&w.cdb) != 0 && is_good) {
		error = errno;
		is_good = false;
	}
	buf_done(&w.scratch);
	*ret = w.made;
	errno = error;
	return is_good;
}

/* --- the file ------------------------------------------------------------------------- */

/* Is what `fd` stands for a file of ours alone, and still called `name`? */
static bool is_ours(int fd, int dir, const char *name)
{
	struct stat st, named;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       st.st_uid == geteuid() &&
	       fstatat(dir, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	       st.st_dev == named.st_dev && st.st_ino == named.st_ino;
}

/*
 * Open the file in the making, empty: a new one, or one that a killed writer has left. Its lock
 * is held until it is closed, renamed or not, so that nobody renames what another process is still
 * writing. NULL, or what failed, with errno.
 */
static const char *open_temp(int dir, const char *temp, int *ret_fd)
{
	const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	int fd = openat(dir, temp, flags, 0600);
	const char *failed = NULL;

	if (fd < 0)
		return "open";
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		failed = "lock";
	} else if (!is_ours(fd, dir, temp)) {
		errno = EPERM;
		failed = "not a file of ours alone";
	} else if (ftruncate(fd, 0) < 0) {
		failed = "truncate";
	}
	if (failed) {
		int error = errno;

		close(fd);
		errno = error;
		return failed;
	}
	*ret_fd = fd;
	return NULL;
}

static bool same_bytes(int a, int b, size_t n)
{
	char x[16384], y[sizeof x];

	for (size_t at = 0; at < n;) {
		ssize_t got = pread(a, x, sizeof x, (off_t)at);

		if (got <= 0 || pread(b, y, (size_t)got, (off_t)at) != got ||
		    memcmp(x, y, (size_t)got))
			return false;
		at += (size_t)got;
	}
	return true;
}

/* Is the file there, and just what `fd` is? Each new one makes daemons of Postfix start anew. */
static bool is_there(int fd, int dir, const char *name)
{
	int old = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat st, st_old;
	bool is_same = old >= 0 && fstat(fd, &st) == 0 && fstat(old, &st_old) == 0 &&
		       S_ISREG(st_old.st_mode) && (st_old.st_mode & 07777) == FILE_MODE &&
		       st_old.st_uid == st.st_uid && st_old.st_size == st.st_size &&
		       same_bytes(fd, old, (size_t)st.st_size);

	if (old >= 0)
		close(old);
	return is_same;
}

/* Push it to the disk and give it its name. NULL, or what failed, with errno. */
static const char *put_in_place(int fd, int dir, const char *temp, const char *name)
{
	if (fchmod(fd, FILE_MODE) < 0)
		return "chmod";
	if (fsync(fd) < 0)
		return "fsync";
	if (renameat(dir, temp, dir, name) < 0)
		return "rename";
	return fsync(dir) < 0 ? "fsync of the directory" : NULL;
}

bool cdb_export(int dir, const char *name, const struct cdb_table *tables, size_t n_tables,
		uint64_t now, struct cdb_exported *ret, struct buf *ret_why)
{
	char temp[NAME_MAX + 1];
	int fd = -1, n = snprintf(temp, sizeof temp, "%s" CDB_TEMP_SUFFIX, name);
	const char *failed;

	errno = ENAMETOOLONG;
	failed = n < 0 || (size_t)n >= sizeof temp ? "name" : open_temp(dir, temp, &fd);
	if (!failed) {
		if (!fill(fd, tables, n_tables, now, ret))
			failed = errno == EFBIG ? "write (a cdb has 4 GiB at most)" : "write";
		else if (is_there(fd, dir, name))
			ret->is_same = true;
		else
			failed = put_in_place(fd, dir, temp, name);
		int error = errno;
		if (failed || ret->is_same)
			unlinkat(dir, temp, 0);	/* while it is locked */
		close(fd);
		errno = error;
	}
	if (failed)
		buf_printf(ret_why, "%s: %s: %s", name, failed, strerror(errno));
	return !failed;
}

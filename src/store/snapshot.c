#include "store/snapshot.h"

#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * A file, numbers in the byte order of the machine that wrote it:
 *
 *	struct header | fingerprint | mirror image | demand image | checksum
 *
 * The checksum is XXH3-128 of all before it, so `head -c -16 FILE | xxhsum -H2` shows it.
 * Nothing is padded, and the lengths in the header add up to the size of the file.
 */
struct header {
	char magic[16];
	uint32_t byte_order;
	uint32_t version;
	uint64_t n_fingerprint, n_mirror, n_demand;
	uint64_t entries;	/* these four as in struct snapshot */
	uint64_t written;
	uint64_t age;
	uint64_t clock;
};

static_assert(sizeof(struct header) == 80, "the header has no padding");

#define MAGIC "socketmapd-snap\n"
#define BYTE_ORDER_MARK 0x01020304u
#define VERSION_1 1u

#define TEMP_SUFFIX ".new"
#define BAD_SUFFIX ".bad"

/* NAME and a suffix; false with errno when that is too long for a file name. */
static bool suffixed(const char *name, const char *suffix, char ret[NAME_MAX + 1])
{
	if (strlen(name) + strlen(suffix) > NAME_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	strcpy(ret, name);
	strcat(ret, suffix);
	return true;
}

/* --- writing ------------------------------------------------------------------------ */

#define PARTS 5

/*
 * Bytes for one write(2). A thread of low priority gives way when it leaves the kernel, or at the next tick
 * of the clock: with all in one call, answers waited for 4 ms (t/bench/snapshot).
 */
#define PIECE 65536

static bool write_part(int fd, struct text part)
{
	while (part.n > 0) {
		ssize_t n = write(fd, part.p, part.n < PIECE ? part.n : PIECE);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		part.p += n;
		part.n -= (size_t)n;
	}
	return true;
}

static bool write_all(int fd, const struct text parts[PARTS])
{
	for (int i = 0; i < PARTS; i++)
		if (!write_part(fd, parts[i]))
			return false;
	return true;
}

/* Make a file that was not there and push it to the disk. NULL, or what failed, with errno. */
static const char *make_file(int dir, const char *name, const struct text parts[PARTS])
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd < 0)
		return "open";

	const char *failed = !write_all(fd, parts) ? "write" : fsync(fd) < 0 ? "fsync" : NULL;
	int error = errno;
	close(fd);		/* after the fsync it has nothing left to tell */
	errno = error;
	return failed;
}

/* All or nothing. NULL, or what failed, with errno. */
static const char *replace_file(int dir, const char *name, const struct text parts[PARTS])
{
	char temp[NAME_MAX + 1];
	const char *failed;

	if (!suffixed(name, TEMP_SUFFIX, temp))
		return "name";
	unlinkat(dir, temp, 0);	/* of a writer that was killed */
	failed = make_file(dir, temp, parts);
	if (!failed && renameat(dir, temp, dir, name) < 0)
		failed = "rename";
	if (failed) {
		int error = errno;

		unlinkat(dir, temp, 0);
		errno = error;
		return failed;
	}
	return fsync(dir) < 0 ? "fsync of the directory" : NULL;
}

bool snapshot_write(int dir, const char *name, const struct snapshot *s, struct buf *ret_why)
{
	struct header h = {
		.byte_order = BYTE_ORDER_MARK, .version = VERSION_1,
		.n_fingerprint = s->fingerprint.n, .n_mirror = s->mirror.n,
		.n_demand = s->demand.n,
		.entries = s->entries, .written = s->written, .age = s->age, .clock = s->clock,
	};
	char checksum[HASH_CHECKSUM_BYTES];
	const struct text parts[PARTS] = {
		{ (const char *)&h, sizeof h }, s->fingerprint, s->mirror, s->demand,
		{ checksum, sizeof checksum },
	};

	memcpy(h.magic, MAGIC, sizeof h.magic);
	if (!hash_checksum(parts, PARTS - 1, checksum)) {
		buf_printf(ret_why, "%s: %s", name, strerror(ENOMEM));
		return false;
	}

	const char *failed = replace_file(dir, name, parts);
	if (failed)
		buf_printf(ret_why, "%s: %s: %s", name, failed, strerror(errno));
	return !failed;
}

/* --- reading ------------------------------------------------------------------------ */

/* Say why it is what it is. */
static enum snapshot_says because(enum snapshot_says says, struct buf *ret_why,
				  const char *why)
{
	buf_str(ret_why, why);
	return says;
}

/* Is this ours, and could nobody else have changed it? */
static enum snapshot_says check_inode(int fd, size_t *ret_size, struct buf *ret_why)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return because(SNAPSHOT_ERROR, ret_why, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return because(SNAPSHOT_BAD, ret_why, "not a regular file");
	if (st.st_uid != geteuid() && st.st_uid != 0)
		return because(SNAPSHOT_BAD, ret_why, "owned by somebody else");
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return because(SNAPSHOT_BAD, ret_why, "others may write it");
	if (st.st_nlink > 1)	/* none: a writer has just put a new one in its place */
		return because(SNAPSHOT_BAD, ret_why, "it has another name, too");
	*ret_size = (size_t)st.st_size;
	return SNAPSHOT_GOOD;
}

/* Read exactly `n` bytes from an offset. */
static enum snapshot_says read_all(int fd, char *p, size_t n, size_t from, struct buf *ret_why)
{
	while (n) {
		ssize_t got = pread(fd, p, n, (off_t)from);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return because(SNAPSHOT_ERROR, ret_why, strerror(errno));
		if (got == 0)
			return because(SNAPSHOT_BAD, ret_why, "truncated");
		p += got;
		n -= (size_t)got;
		from += (size_t)got;
	}
	return SNAPSHOT_GOOD;
}

static enum snapshot_says check_header(const struct header *h, size_t size,
				       struct buf *ret_why)
{
	size_t left = size - sizeof *h - HASH_CHECKSUM_BYTES;

	if (memcmp(h->magic, MAGIC, sizeof h->magic))
		return because(SNAPSHOT_BAD, ret_why, "not a snapshot");
	if (h->byte_order != BYTE_ORDER_MARK)
		return because(SNAPSHOT_BAD, ret_why, "of another byte order");
	if (h->version != VERSION_1) {
		buf_printf(ret_why, "format version %u, we know %u", h->version, VERSION_1);
		return SNAPSHOT_BAD;
	}
	if (h->n_fingerprint > left || h->n_mirror > left - h->n_fingerprint ||
	    h->n_demand != left - h->n_fingerprint - h->n_mirror)
		return because(SNAPSHOT_BAD, ret_why, "truncated or corrupt: its lengths do "
			       "not add up to its size");
	return SNAPSHOT_GOOD;
}

/*
 * Read it into memory of our own. It is not mapped: a file that shrinks while it is mapped
 * kills whoever reads it, and what was verified could change afterwards.
 */
static enum snapshot_says read_file(int fd, struct snapshot_file *f, struct buf *ret_why)
{
	struct header h;
	enum snapshot_says says = check_inode(fd, &f->size, ret_why);

	if (says != SNAPSHOT_GOOD)
		return says;
	if (f->size < sizeof h + HASH_CHECKSUM_BYTES)
		return because(SNAPSHOT_BAD, ret_why, "truncated");
	says = read_all(fd, (char *)&h, sizeof h, 0, ret_why);
	if (says == SNAPSHOT_GOOD)
		says = check_header(&h, f->size, ret_why);
	if (says != SNAPSHOT_GOOD)
		return says;

	f->map = mmap(NULL, f->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		      -1, 0);
	if (f->map == MAP_FAILED) {
		f->map = NULL;
		return because(SNAPSHOT_ERROR, ret_why, strerror(errno));
	}
	memcpy(f->map, &h, sizeof h);
	return read_all(fd, (char *)f->map + sizeof h, f->size - sizeof h, sizeof h, ret_why);
}

/* Check every byte, then hand out what the header says. */
static enum snapshot_says verify(struct snapshot_file *f, struct text fingerprint,
				 struct buf *ret_why)
{
	const struct header *h = f->map;
	const struct text all = { f->map, f->size - HASH_CHECKSUM_BYTES };
	struct snapshot *s = &f->s;
	char checksum[HASH_CHECKSUM_BYTES];

	if (!hash_checksum(&all, 1, checksum))
		return because(SNAPSHOT_ERROR, ret_why, strerror(ENOMEM));
	if (memcmp(checksum, all.p + all.n, sizeof checksum))
		return because(SNAPSHOT_BAD, ret_why, "corrupt: its checksum is wrong");

	s->fingerprint = (struct text){ all.p + sizeof *h, h->n_fingerprint };
	s->mirror = (struct text){ s->fingerprint.p + h->n_fingerprint, h->n_mirror };
	s->demand = (struct text){ s->mirror.p + h->n_mirror, h->n_demand };
	s->entries = h->entries;
	s->written = h->written;
	s->age = h->age;
	s->clock = h->clock;
	if (!text_eq(s->fingerprint, fingerprint))
		return because(SNAPSHOT_FOREIGN, ret_why, "of another configuration");
	return SNAPSHOT_GOOD;
}

/* What an open(2) that failed tells about the file. */
static enum snapshot_says not_opened(int error, struct buf *ret_why)
{
	switch (error) {
	case ENOENT:
		return SNAPSHOT_ABSENT;
	case ELOOP:
		return because(SNAPSHOT_BAD, ret_why, "a symbolic link");
	case ENXIO:		/* a socket */
		return because(SNAPSHOT_BAD, ret_why, "not a regular file");
	default:
		return because(SNAPSHOT_ERROR, ret_why, strerror(error));
	}
}

enum snapshot_says snapshot_read(int dir, const char *name, struct text fingerprint,
				 struct snapshot_file *ret, struct buf *ret_why)
{
	/* O_NONBLOCK: a FIFO in its place must not stop the start. */
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct snapshot_file f = { 0 };

	if (fd < 0)
		return not_opened(errno, ret_why);

	enum snapshot_says says = read_file(fd, &f, ret_why);
	close(fd);
	if (says == SNAPSHOT_GOOD)
		says = verify(&f, fingerprint, ret_why);
	if (says == SNAPSHOT_GOOD)
		*ret = f;
	else
		snapshot_done(&f);
	return says;
}

void snapshot_done(struct snapshot_file *f)
{
	if (f->map)
		munmap(f->map, f->size);
	*f = (struct snapshot_file){ 0 };
}

void snapshot_move_aside(int dir, const char *name)
{
	char bad[NAME_MAX + 1];

	if (suffixed(name, BAD_SUFFIX, bad))
		renameat(dir, name, dir, bad);
}

/*
 * snapshot.h - a table's mirror and demand cache as a file, for the next start. Blocking; any
 * thread, one writer for each directory.
 */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "base/buf.h"

/*
 * What a file holds. The checksum (XXH3, 128 bits, over every other byte) is against
 * corruption, not malice: the directory is ours alone.
 */
struct snapshot {
	struct text fingerprint; /* of all that defines the answers; another: other answers */
	uint64_t written;	/* Unix msec */
	uint64_t clock;		/* the same moment by clock_msec(): of that boot */
	uint64_t age;		/* of the mirror at that time, msec */
	uint64_t entries;	/* keys of the mirror */
	struct text mirror;	/* of mirror_image(), never empty; empty: there was none */
	struct text demand;	/* of demand_image(), the same */
};

/*
 * Write `name` in the directory of descriptor `dir`, all or nothing: a file beside it (0600,
 * made by us), fsync, rename, fsync of the directory. After any failure the file of before is
 * still there whole (only when the last fsync fails it is the new one, whole as well) and
 * nothing is left beside it; a failed fsync is not tried again on the same file (the kernel
 * may have dropped the pages). What a killed writer has left is removed. False with a reason.
 *
 * dir        opened for reading, not with O_PATH, which cannot be fsynced
 *
 * SIGXFSZ must be ignored, or a limit of file size (RLIMIT_FSIZE) kills instead of failing.
 */
bool snapshot_write(int dir, const char *name, const struct snapshot *s, struct buf *ret_why);

enum snapshot_says {
	SNAPSHOT_GOOD,
	SNAPSHOT_ABSENT,	/* no such file */
	SNAPSHOT_FOREIGN,	/* whole, but of another fingerprint: ignore it */
	SNAPSHOT_BAD,		/* truncated, corrupt, of another format, version, byte order;
				   not a regular file that only we can write: move it aside */
	SNAPSHOT_ERROR,		/* could not be read; may be whole */
};

/* A file, copied to memory. */
struct snapshot_file {
	struct snapshot s;	/* views into it */
	void *map;
	size_t size;
};

/*
 * Read and verify the whole file; what is wrong with it is appended to `ret_why`. No link is
 * followed, nothing blocks but the disk. `ret` is set on SNAPSHOT_GOOD only; the caller ends
 * with snapshot_done(), after which the views are dead.
 */
enum snapshot_says snapshot_read(int dir, const char *name, struct text fingerprint,
				 struct snapshot_file *ret, struct buf *ret_why);
void snapshot_done(struct snapshot_file *f);

/* Rename NAME to NAME.bad, in place of an older one, for somebody to look at. */
void snapshot_move_aside(int dir, const char *name);

#endif

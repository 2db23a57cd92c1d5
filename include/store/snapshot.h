/*
 * snapshot.h - a table's mirror and demand cache as a file, for the next start. Blocking; any
 * thread, one writer for each directory.
 */
#ifndef STORE_SNAPSHOT_H
#define STORE_SNAPSHOT_H

#include "base/buf.h"

/*
 * What a file holds. The checksum (XXH3, 128 bits, over every other byte) is against corruption,
 * not malice: the directory is ours alone.
 */
struct snapshot {
	struct text fingerprint;	/* of all that defines the answers; another one is another question */
	uint64_t written;		/* Unix msec */
	uint64_t age;			/* of the mirror at that time, msec */
	uint64_t entries;		/* keys of the mirror */
	struct text mirror;		/* of mirror_image(); empty: there was none */
	struct text demand;		/* of demand_image() */
};

/*
 * Write `name` in the directory of descriptor `dir`, all or nothing: a file beside it (0600, made
 * by us), fsync, rename, fsync of the directory. After any failure the file of before is still
 * there whole and nothing is left beside it; a failed fsync is not tried again on the same
 * file (the kernel may have dropped the pages). False with a reason.
 */
bool snapshot_write(int dir, const char *name, const struct snapshot *s, struct buf *ret_why);

enum snapshot_says {
	SNAPSHOT_GOOD,
	SNAPSHOT_ABSENT,	/* no such file */
	SNAPSHOT_FOREIGN,	/* whole, but of another fingerprint: ignore it */
	SNAPSHOT_BAD,		/* truncated, corrupt, of another format, version or byte order, or not
				   a regular file of ours that only we can write: move it aside */
	SNAPSHOT_ERROR,		/* could not be read; may be whole */
};

/* A file in memory. */
struct snapshot_file {
	struct snapshot s;	/* views into it */
	void *map;
	size_t size;
};

/*
 * Read and verify the whole file; what is wrong with it is appended to `ret_why`. No link is
 * followed. On SNAPSHOT_GOOD the caller ends with snapshot_done().
 */
enum snapshot_says snapshot_read(int dir, const char *name, struct text fingerprint,
				 struct snapshot_file *ret, struct buf *ret_why);
void snapshot_done(struct snapshot_file *f);

/* Rename NAME to NAME.bad, in place of an older one, for somebody to look at. */
void snapshot_move_aside(int dir, const char *name);

#endif

/*
 * cdb_export.h - the tables of a map as a cdb file, which Postfix reads by itself. Blocking; any
 * thread.
 */
#ifndef STORE_CDB_EXPORT_H
#define STORE_CDB_EXPORT_H

#include "base/domain_list.h"
#include "base/template.h"
#include "store/mirror.h"

/* What a cdb file is called: to Postfix "cdb:/x/NAME" is the file "/x/NAME.cdb". */
#define CDB_SUFFIX ".cdb"

/* Behind the file's name: the file in the making. */
#define CDB_TEMP_SUFFIX ".new"

/* One table of the map: its mirror, and which keys it is asked for; those alone are written. */
struct cdb_table {
	struct mirror *mirror;
	struct needs needs;
	struct domain_list *domain;	/* NULL: every key */
};

/* What came of it. */
struct cdb_exported {
	size_t entries;		/* keys in the file */
	size_t bad;		/* those of them that are errors to Postfix */
	bool is_same;		/* the file of before was the same to the byte, and was left alone */
};

/*
 * Write `tables`, in the order of the map, to the file `name` in the directory of descriptor
 * `dir`. A key is as the first table has it that has it. Of values that end, those are written that
 * live at `now` (Unix seconds).
 *
 * A key that answers TEMP is not left out: a program that misses it bounces mail. Its value is a
 * single NUL, for which Postfix reads an empty string, and that is a lookup error: "returns an
 * empty string result", mail waits (src/global/maps.c). No byte at all would crash Postfix
 * when it is the first that it reads (src/util/dict_cdb.c). Other keys and values have no NUL at
 * their ends: Postfix tries both forms, and stays with the one that it found first.
 *
 * All or nothing: a file beside it, fsync, rename, fsync of the directory. After any
 * failure the file of before is still there whole. Links are not followed. The mode is 0644, as
 * postmap makes it: daemons of Postfix read it as root or as postfix, and nothing in it is
 * secret. Who else may, is for the directory to say. Two processes that write the same
 * file do not get into each other's way. False with a reason; also when it would be larger than
 * 4 GiB, which is all that a cdb can have.
 *
 * SIGXFSZ must be ignored, as for snapshot_write().
 */
bool cdb_export(int dir, const char *name, const struct cdb_table *tables, size_t n_tables,
		uint64_t now, struct cdb_exported *ret, struct buf *ret_why);

#endif

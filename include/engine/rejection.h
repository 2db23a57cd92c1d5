/* rejection.h - scans that looked wrong: what is known of them, and who may accept one. */
#ifndef ENGINE_REJECTION_H
#define ENGINE_REJECTION_H

#include "base/fault.h"
#include "engine/settings.h"
#include "store/mirror.h"

#define REJECTION_SAMPLE 8	/* keys */

/* The scans of a table that were rejected since the last accepted one. All zeroes: none. */
struct rejection {
	uint64_t times;		/* in a row; 0: none */
	uint64_t since;		/* when the first was rejected, msec of clock_msec() */
	uint64_t same_since;	/* since when all of them brought the same as the last one */
	enum scan_fault fault;	/* of the last one, as all that follows */
	size_t old, new;	/* keys of the mirror that was kept, and of the scan */
	size_t rows, bad;	/* of the scan */
	uint64_t digest;	/* mirror_digest() of the scan */
	/*
	 * Some keys that the scan lacks, as log_keys says, and the same by log_key_hash(); that of
	 * `expect` comes first. "": none.
	 */
	char missing[256];
	char hashes[128];
	char expected[256];	/* SCAN_LACKS_KEY: that of `expect` itself, maybe cut; not for logs */
	bool is_accepted;	/* an operator wants to have it; see rejection_add() */
};

/* A scan that was judged. */
struct judged {
	enum scan_fault fault;
	const struct mirror *old, *new;	/* old: NULL when there is none */
	size_t rows, bad;
};

/*
 * Add a faulty scan to what is known. True: it is to be accepted all the same, as one of
 *
 *   - an operator accepted the one before, and this one brings the same, or, when only its
 *     size was wrong, no fewer keys. What he accepted is for one scan, this or none.
 *   - only its size is wrong, and for shrink_confirm all scans have brought the same.
 */
bool rejection_add(struct rejection *r, const struct table_settings *s, const struct judged *j,
		   uint64_t now);

/* The first key of `expect` that a scan's mirror lacks, or NULL. */
const struct text *rejection_lacks(const struct table_settings *s, const struct mirror *scanned);

#endif

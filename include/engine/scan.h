/* scan.h - one scan of a table: rows become a mirror, are judged, and become visible. Refresh thread. */
#ifndef ENGINE_SCAN_H
#define ENGINE_SCAN_H

#include "engine/loop.h"
#include "engine/table.h"

/* What a running scan has brought. All zeroes but `table` is valid; scan_done() frees it. */
struct scan {
	struct table *table;		/* alive while the scan is */
	uint64_t began;
	uint64_t born;			/* what comes may be as old as this; a caller may put it before `began` */
	struct mirror_builder *builder;	/* while it runs */
	struct buf key;			/* the folded key of the row before */
	struct buf row_key;		/* as it came */
	struct buf value, timed;	/* of the row; the same with the time when it ends */
	bool is_bad_key;
	unsigned samples;		/* keys of the new mirror still to be compared */
	struct text sampled_key, sampled;	/* views into the mirror, which only this thread replaces */
	struct values live;		/* what the directory says to the sampled key */
};

/* What a mirror of such a table may hold. */
struct mirror_limits scan_limits(const struct table_settings *s);

/* Start collecting, `born` now. False: out of memory. */
bool scan_begin(struct scan *s);

/* Take a row. NULL, or why the scan must be given up. */
const char *scan_row(struct scan *s, const struct row *row);

/* How many rows there are so far, for the log. */
size_t scan_rows(const struct scan *s);

/* What became of a scan that the directory ended in success. */
enum scan_end {
	SCAN_PUBLISHED,		/* and logged */
	SCAN_REJECTED,		/* logged; see table_rejection(). The old mirror stays. */
	SCAN_LOST		/* for ret_why, a literal. The old mirror stays. */
};

/*
 * The directory ended in success: judge what came, and publish it or keep the old mirror. A
 * replaced mirror is retired on the refresh loop.
 */
enum scan_end scan_finish(struct scan *s, struct loops *loops, const char **ret_why);

/*
 * An operator accepts the table's rejected scan: the next one is published in spite of its
 * fault if it brings the same, or, when only its size is wrong, no fewer keys. False: none was
 * rejected since the last good one. Any thread.
 */
bool scan_accept(struct table *t);

/* The scan failed: drop what came. */
void scan_abandon(struct scan *s);

void scan_done(struct scan *s);

/*
 * Choose a key of the mirror just published, to be looked up live; its values come
 * through scan_live(), then scan_compare() logs and counts a difference. False: enough have been.
 */
bool scan_sample(struct scan *s, uint64_t random, struct text *ret_key);
void scan_live(struct scan *s, struct text value);
void scan_compare(struct scan *s);

/*
 * Are these the same joined values? Directories need not keep to one order; of long lists the
 * length will do.
 */
bool scan_is_same(struct text a, struct text b);

/*
 * May a scan's mirror replace the old one? DESIGN 6, reliability.md 3. `fault` of what is
 * judged is ignored. Faults of size come last: they are the ones that can be accepted without
 * being looked at.
 */
enum scan_fault scan_verdict(const struct table_settings *s, const struct judged *j);

#endif

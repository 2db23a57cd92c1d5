/* scan.h - one scan of a table: rows become a mirror, are judged, and become visible. Refresh thread. */
#ifndef ENGINE_SCAN_H
#define ENGINE_SCAN_H

#include "engine/loop.h"
#include "engine/table.h"

/* What a running scan has brought. All zeroes but `table` is valid; scan_done() frees it. */
struct scan {
	struct table *table;		/* alive while the scan is */
	uint64_t began;
	struct mirror_builder *builder;	/* while it runs */
	struct buf key;			/* the folded key of the row before */
	struct buf row_key;		/* as it came */
	struct buf value;
	bool is_bad_key;
	unsigned samples;		/* keys of the new mirror still to be compared */
	struct text sampled_key, sampled;	/* views into the mirror, which only this thread replaces */
	struct values live;		/* what the directory says to the sampled key */
};

/* Start collecting. False: out of memory. */
bool scan_begin(struct scan *s);

/* Take a row. NULL, or why the scan must be given up. */
const char *scan_row(struct scan *s, const struct row *row);

/* How many rows there are so far, for the log. */
size_t scan_rows(const struct scan *s);

/*
 * The directory ended in success: judge what came and publish it, or keep the old mirror. Logs
 * which. The replaced mirror is retired on the refresh loop. NULL, or why not.
 */
const char *scan_finish(struct scan *s, struct loops *loops);

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
 * May a scan's mirror replace `old` (NULL: nothing yet)? NULL: yes; else why not, for the
 * log. DESIGN 6, reliability.md 3.
 *
 * n_rows, n_bad    what the scan brought, bad ones included
 */
const char *scan_verdict(const struct table_settings *s, const struct mirror *old,
			 const struct mirror *scanned, size_t n_rows, size_t n_bad);

#endif

/* fault.h - what may be wrong with a scan that ended in success, and what helps. Pure. */
#ifndef BASE_FAULT_H
#define BASE_FAULT_H

#include "base/buf.h"

enum scan_fault {
	SCAN_GOOD,
	SCAN_UNUSABLE_ROWS,	/* more than 1 % */
	SCAN_LACKS_KEY,		/* one of `expect` */
	SCAN_TOO_SMALL,		/* min_entries */
	SCAN_SHRUNKEN,		/* max_shrink */
	SCAN_FAULTS
};

/* For the log and JSON: "fewer keys than min_entries". A literal. */
const char *scan_fault_name(enum scan_fault fault);

/*
 * Append "if the directory is right: `socketmapctl accept MAP`"; or, of a fault that every scan
 * to come has as well, which setting to change.
 *
 * why    scan_fault_name() of it
 * map    as it may be shown
 */
void scan_fault_advise(struct buf *out, struct text why, struct text map);

#endif

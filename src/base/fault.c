#include "base/fault.h"

const char *scan_fault_name(enum scan_fault fault)
{
	static const char *const names[SCAN_FAULTS] = {
		[SCAN_GOOD] = "nothing",
		[SCAN_UNUSABLE_ROWS] = "more than 1% unusable rows",
		[SCAN_LACKS_KEY] = "a key of `expect` is missing",
		[SCAN_TOO_SMALL] = "fewer keys than min_entries",
		[SCAN_SHRUNKEN] = "shrunken by more than max_shrink",
	};

	return names[fault];
}

void scan_fault_advise(struct buf *out, struct text why, struct text map)
{
	buf_str(out, "if the directory is right: ");
	if (text_is(why, scan_fault_name(SCAN_LACKS_KEY)))
		buf_str(out, "remove that key from `expect`, and reload");
	else if (text_is(why, scan_fault_name(SCAN_TOO_SMALL)))
		buf_str(out, "lower `min_entries`, and reload");
	else
		buf_printf(out, "`socketmapctl accept %.*s`", (int)map.n, map.n ? map.p : "");
}

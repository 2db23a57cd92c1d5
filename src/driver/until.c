#include "driver/until.h"

#define SECONDS_MIN ((uint64_t)100000000)	/* in 1973; above every YYYYMMDD */
#define SECONDS_MAX ((uint64_t)253402300799)	/* the end of 9999 */

bool until_parse(struct text column, uint64_t *ret_until)
{
	uint64_t seconds = 0;
	size_t i = 0;

	for (; i < column.n && column.p[i] >= '0' && column.p[i] <= '9'; i++) {
		seconds = seconds * 10 + (uint64_t)(column.p[i] - '0');
		if (seconds > SECONDS_MAX)
			return false;
	}
	bool is_number = i > 0 || column.n == 0;
	if (i > 0 && i < column.n && column.p[i] == '.')
		for (i++; i < column.n && column.p[i] >= '0' && column.p[i] <= '9';)
			i++;
	if (!is_number || i < column.n || (seconds && seconds < SECONDS_MIN))
		return false;
	*ret_until = seconds;
	return true;
}

void until_refuse(struct buf *ret_why, const char *name, const char *function, bool is_there)
{
	buf_printf(ret_why, "expiry_column %s %s: select ", name,
		   is_there ? "holds no Unix seconds" : "is not in the result of scan_query");
	for (const char *p = function; *p; p++)
		if (*p == '@')
			buf_str(ret_why, name);
		else
			buf_byte(ret_why, *p);
	buf_printf(ret_why, " AS %s", name);
}

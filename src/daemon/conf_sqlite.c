#include "daemon/conf_parts.h"

static const struct option_row sqlite_source_rows[] = {
	{ "dbpath", OPTION_PATH, .min = 1, .flags = OPTION_REQUIRED | OPTION_POSTFIX,
	  .help = "the database file" },
	{ "busy_timeout", OPTION_TIME, .max = 600000, .otherwise = "1s",
	  .flags = OPTION_TUNING, .help = "how long to wait for a locked database" },
	{ 0 }
};

static const struct option_row sqlite_table_rows[] = {
	{ "query", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: the value in its first column" },
	{ "scan_query", OPTION_TEXT, .min = 1, .help = "all keys and their values" },
	{ "expiry_column", OPTION_TEXT, .min = 1,
	  .help = "the column of scan_query that says when a row ends" },
	CONF_SQL_OLD_ROWS,
	{ 0 }
};

static void sqlite_finish(struct table_draft *d)
{
	conf_sql_finish(d, SQL_SQLITE);
}

const struct driver_kind driver_sqlite = {
	.name = "sqlite",
	.source_rows = sqlite_source_rows,
	.table_rows = sqlite_table_rows,
	.finish = sqlite_finish,
};

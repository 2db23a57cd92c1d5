#include "daemon/conf_parts.h"

#include "base/sql.h"

#include <stdlib.h>

static const struct option_row sqlite_source_rows[] = {
	{ "dbpath", OPTION_PATH, .min = 1, .flags = OPTION_REQUIRED | OPTION_POSTFIX,
	  .help = "the database file" },
	{ "busy_timeout", OPTION_TIME, .max = 600000, .otherwise = "1s",
	  .help = "how long to wait for a locked database" },
	{ 0 }
};

static const struct option_row sqlite_table_rows[] = {
	{ "query", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX,
	  .help = "as in Postfix: the value in its first column" },
	{ "scan_query", OPTION_TEXT, .min = 1, .help = "all keys and their values" },
	{ "select_field", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX,
	  .help = "for want of query: SELECT this" },
	{ "table", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX,
	  .help = "for want of query: FROM this" },
	{ "where_field", OPTION_TEXT, .min = 1, .flags = OPTION_POSTFIX,
	  .help = "for want of query: WHERE this = '%s'" },
	{ "additional_conditions", OPTION_TEXT, .flags = OPTION_POSTFIX,
	  .help = "for want of query: what follows" },
	{ 0 }
};

/* Postfix src/global/db_common.c, db_common_sql_build_query(). */
static void query_of_old(struct options *options)
{
	const char *field = conf_option_get(options, "select_field");
	const char *table = conf_option_get(options, "table");
	const char *where = conf_option_get(options, "where_field");
	const char *more = conf_option_get(options, "additional_conditions");
	struct buf query = { 0 };

	if (field && table && where && !conf_option_get(options, "query")) {
		buf_printf(&query, "SELECT %s FROM %s WHERE %s='%%s' %s", field, table,
			   where, more ? more : "");
		conf_option_set(options, "query", buf_cstr(&query));
	}
	buf_done(&query);
	for (const struct option_row *r = sqlite_table_rows; r->name; r++)
		if (strcmp(r->name, "query") != 0 && strcmp(r->name, "scan_query") != 0)
			conf_option_drop(options, r->name);
}

static void check_query(struct table_draft *d, const char *query)
{
	struct buf why = { 0 };
	struct sql *sql = sql_new(text_of(query), SQL_SQLITE, &why);
	const struct node *where = table_where(d, "query");

	if (!sql) {
		conf_error(d->conf, where, "query: %s", buf_cstr(&why));
	} else {
		d->block.s.needs = needs_both(d->block.s.needs, sql_needs(sql));
		if (sql_unbound(sql))
			conf_note(d->conf, where,
				  "query: %s: keys are escaped, not bound; write '%%s'",
				  sql_unbound(sql));
	}
	sql_free(sql);
	buf_done(&why);
}

static void sqlite_finish(struct table_draft *d)
{
	struct options *options = &d->block.s.options;

	query_of_old(options);

	const char *query = conf_option_get(options, "query");
	if (query)
		check_query(d, query);
	else if (!node_find(d->group, "query") &&
		 !(d->postfix && node_find(d->postfix, "query")))
		conf_error(d->conf, table_where(d, ""),
			   "query is missing, or select_field, table "
			   "and where_field");
	if (d->block.s.mode == TABLE_MIRROR && !conf_option_get(options, "scan_query") &&
	    !node_find(d->group, "scan_query"))
		conf_error(d->conf, table_where(d, "mode"),
			   "mode = \"mirror\" wants a scan_query");
}

const struct driver_kind driver_sqlite = {
	"sqlite", sqlite_source_rows, sqlite_table_rows, sqlite_finish,
};

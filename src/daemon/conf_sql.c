#include "daemon/conf_parts.h"

static const struct option_row old_rows[] = { CONF_SQL_OLD_ROWS, { 0 } };

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
	for (size_t i = 0; old_rows[i].name; i++)
		conf_option_drop(options, old_rows[i].name);
}

static void check_query(struct table_draft *d, enum sql_dialect dialect,
			const char *query)
{
	struct buf why = { 0 };
	struct sql *sql = sql_new(text_of(query), dialect, &why);
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

void conf_sql_finish(struct table_draft *d, enum sql_dialect dialect)
{
	struct options *options = &d->block.s.options;

	query_of_old(options);

	const char *query = conf_option_get(options, "query");
	if (query)
		check_query(d, dialect, query);
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

/* sql.h - SQL query templates as prepared statements with bound literals. Pure. */
#ifndef BASE_SQL_H
#define BASE_SQL_H

#include "base/template.h"

/* What differs between databases in where a string literal ends. */
enum sql_dialect {
	/* '' inside '...'; "..." `...` [...] are names; -- and C comments */
	SQL_SQLITE,
	/* "..." is a string, too, [...] no name; \x inside strings; # comments */
	SQL_MYSQL,
};

/*
 * A query template, taken apart: each quoted literal that contains an expansion is one
 * parameter ('%u@%d' is one). When an expansion stands elsewhere (bare, in a name, a
 * comment or a prefixed literal like X'%s'), or the query has a ? of its own, it cannot
 * be bound as a whole and is escaped instead, as Postfix does it.
 */
struct sql;

/*
 * Parse. NULL with a reason when the template is none (see template_new()). Only the
 * first statement counts for SQL_SQLITE's library, which the driver sees to.
 */
struct sql *sql_new(struct text query, enum sql_dialect dialect, struct buf *ret_why);
void sql_free(struct sql *sql);

/* What the query asks of a key. */
struct needs sql_needs(const struct sql *sql);

/* The statement to prepare, with a ? for each parameter; NULL when it cannot be bound. */
const char *sql_statement(const struct sql *sql);

/* Why not, for people: "%s outside a quoted string at column 31"; NULL when it can. */
const char *sql_unbound(const struct sql *sql);

/* The number of ? in sql_statement(). */
size_t sql_parameters(const struct sql *sql);

/* Append the value of parameter `i` for `key` to `out`. The key meets sql_needs(). */
void sql_parameter(const struct sql *sql, size_t i, struct text key, struct buf *out);

/* Append the whole query with `key` escaped by `quote`. The key meets sql_needs(). */
void sql_escaped(const struct sql *sql, struct text key, template_quote *quote, void *ctx,
		 struct buf *out);

#endif

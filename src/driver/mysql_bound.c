/*
 * Queries as prepared statements, with the same answers as their text form. It is the
 * binary protocol that could tell them apart: only what it carries as text or as whole
 * numbers is taken from it. Each is run once: no key leaves anything behind for the next.
 */
#include "driver/mysql.h"

#include "base/must.h"

#include <mariadb/errmsg.h>
#include <stdlib.h>

/* Longer values are fetched once more. */
#define VALUE_ROOM 256

/* One run, and where the columns of a row go. */
struct bound {
	struct session *session;
	MYSQL_STMT *stmt;
	unsigned n;
	MYSQL_BIND *binds;
	unsigned long *lengths;
	my_bool *nulls;
	char *room;
};

static void bound_done(struct bound *b)
{
	if (b->stmt)
		mysql_stmt_close(b->stmt);
	free(b->binds);
	free(b->lengths);
	free(b->nulls);
	free(b->room);
}

/*
 * Where " may begin a name, or \ is nothing special, literals are not as we read them. A
 * server may take the type of a parameter from its place, not its value: MySQL from
 * 8.0.22 on; MariaDB 10.11 in VALUES (?), ('x'), where it cuts it to one byte.
 */
bool bound_is_possible(const struct session *s, const struct table *t)
{
	const unsigned other = SERVER_STATUS_NO_BACKSLASH_ESCAPES |
			       SERVER_STATUS_ANSI_QUOTES;

	return s->is_mariadb && !(s->db->server_status & other) &&
	       t->unbindable != s->opened && sql_parameters(t->query) > 0 &&
	       !strcasestr(sql_statement(t->query), "values");
}

/*
 * What went wrong with the statement; some failures are told to the connection only. What
 * the server's own mean, the text form will tell, which comes next.
 */
static enum ended failed(const struct bound *b, struct buf *ret_why)
{
	struct session *s = b->session;
	unsigned code = mysql_stmt_errno(b->stmt);

	if (code && code < CR_MIN_ERROR) {
		buf_str(ret_why, mysql_stmt_error(b->stmt));
		return ENDED_TEMP;
	}
	if (code)
		return session_failed(s, code, mysql_stmt_error(b->stmt), ret_why);
	code = mysql_errno(s->db);
	return session_failed(s, code ? code : CR_COMMANDS_OUT_OF_SYNC,
			      mysql_error(s->db), ret_why);
}

static enum ended prepare(const struct bound *b, const struct sql *query,
			  struct buf *ret_why)
{
	struct text sql = text_of(sql_statement(query));

	if (mysql_stmt_prepare(b->stmt, sql.p, sql.n) != 0)
		return failed(b, ret_why);
	/* What has no columns yet, as CALL, may have any. */
	if (mysql_stmt_field_count(b->stmt) > 0 &&
	    mysql_stmt_param_count(b->stmt) == sql_parameters(query))
		return ENDED_DONE;
	buf_str(ret_why, "the query cannot be bound");
	return ENDED_TEMP;
}

static enum ended execute(const struct bound *b, const struct sql *query, struct text key,
			  struct buf *ret_why)
{
	size_t n = sql_parameters(query);
	MYSQL_BIND *binds = must_calloc(n, sizeof *binds);
	unsigned long *lengths = must_calloc(n, sizeof *lengths);
	struct buf *values = &b->session->scratch;
	const char *at;
	bool is_good;

	buf_clear(values);
	for (size_t i = 0; i < n; i++) {
		size_t before = values->n;

		sql_parameter(query, i, key, values);
		lengths[i] = values->n - before;
	}
	at = buf_cstr(values);
	for (size_t i = 0; i < n; at += lengths[i++])
		binds[i] = (MYSQL_BIND){
			.buffer_type = MYSQL_TYPE_STRING, .buffer = (char *)at,
			.buffer_length = lengths[i], .length = &lengths[i],
		};
	is_good = mysql_stmt_bind_param(b->stmt, binds) == 0 &&
		  mysql_stmt_execute(b->stmt) == 0;
	free(binds);
	free(lengths);
	return is_good ? ENDED_DONE : failed(b, ret_why);
}

/* Are its text and its binary form the same? */
static bool is_plain(const MYSQL_FIELD *f)
{
	switch (f->type) {
	case MYSQL_TYPE_TINY:
	case MYSQL_TYPE_SHORT:
	case MYSQL_TYPE_INT24:
	case MYSQL_TYPE_LONG:
	case MYSQL_TYPE_LONGLONG:
		return !(f->flags & ZEROFILL_FLAG);
	case MYSQL_TYPE_NEWDECIMAL:
	case MYSQL_TYPE_VARCHAR:
	case MYSQL_TYPE_VAR_STRING:
	case MYSQL_TYPE_STRING:
	case MYSQL_TYPE_ENUM:
	case MYSQL_TYPE_SET:
	case MYSQL_TYPE_TINY_BLOB:
	case MYSQL_TYPE_BLOB:
	case MYSQL_TYPE_MEDIUM_BLOB:
	case MYSQL_TYPE_LONG_BLOB:
	case MYSQL_TYPE_NULL:
		return true;
	default:
		return false;
	}
}

static enum ended bind_columns(struct bound *b, struct buf *ret_why)
{
	const MYSQL_FIELD *fields = mariadb_stmt_fetch_fields(b->stmt);

	b->n = mysql_stmt_field_count(b->stmt);
	for (unsigned i = 0; i < b->n; i++)
		if (!fields || !is_plain(&fields[i])) {
			buf_str(ret_why, "a column that is better read as text");
			return ENDED_TEMP;
		}
	b->binds = must_calloc(b->n, sizeof *b->binds);
	b->lengths = must_calloc(b->n, sizeof *b->lengths);
	b->nulls = must_calloc(b->n, sizeof *b->nulls);
	b->room = must_calloc(b->n, VALUE_ROOM);
	for (unsigned i = 0; i < b->n; i++)
		b->binds[i] = (MYSQL_BIND){
			.buffer_type = MYSQL_TYPE_STRING, .length = &b->lengths[i],
			.is_null = &b->nulls[i], .buffer = b->room + i * VALUE_ROOM,
			.buffer_length = VALUE_ROOM,
		};
	return mysql_stmt_bind_result(b->stmt, b->binds) == 0 ? ENDED_DONE :
								failed(b, ret_why);
}

/* Send one column of the current row. False: it was too long for its room and is lost. */
static bool send_column(const struct bound *b, unsigned i, struct rows *rows)
{
	unsigned long n = b->lengths[i];
	MYSQL_BIND bind = b->binds[i];

	if (b->nulls[i])
		return true;
	if (n > VALUE_ROOM) {
		struct buf *scratch = &b->session->scratch;

		buf_clear(scratch);
		bind.buffer = buf_room(scratch, n);
		bind.buffer_length = n;
		if (mysql_stmt_fetch_column(b->stmt, &bind, i, 0) != 0)
			return false;
	}
	rows_value(rows, c_string(bind.buffer, n));
	return true;
}

static enum ended fetch(const struct bound *b, struct rows *rows, struct buf *ret_why)
{
	int code;

	while ((code = mysql_stmt_fetch(b->stmt)) == 0 || code == MYSQL_DATA_TRUNCATED)
		for (unsigned i = 0; i < b->n; i++)
			if (!send_column(b, i, rows))
				return failed(b, ret_why);
	if (code != MYSQL_NO_DATA || mysql_stmt_errno(b->stmt) ||
	    mysql_errno(b->session->db))
		return failed(b, ret_why);
	if (mysql_stmt_more_results(b->stmt)) {
		buf_str(ret_why, "the query gives more than one result set");
		return ENDED_TEMP;
	}
	return ENDED_DONE;
}

enum ended bound_lookup(struct session *s, struct table *t, struct text key,
			struct rows *rows, struct buf *ret_why)
{
	struct bound b = { .session = s, .stmt = must(mysql_stmt_init(s->db)) };
	enum ended ended = prepare(&b, t->query, ret_why);

	if (ended == ENDED_DONE)
		ended = execute(&b, t->query, key, ret_why);
	if (ended == ENDED_DONE)
		ended = bind_columns(&b, ret_why);
	if (ended == ENDED_DONE)
		ended = fetch(&b, rows, ret_why);
	bound_done(&b);
	return ended;
}

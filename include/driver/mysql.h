/* mysql.h - what the files of the mysql driver share: a connection, a table. */
#ifndef DRIVER_MYSQL_H
#define DRIVER_MYSQL_H

#include "base/hosts.h"
#include "base/sql.h"
#include "driver/driver.h"

#include <mariadb/mysql.h>

/* What a connection is for. Its time limits follow from that. */
enum purpose { FOR_ANYTHING, FOR_LOOKUPS, FOR_SCANS };

/* The servers of the source, and the connection to one of them. All times in msec. */
struct session {
	const struct settings *source;
	struct hosts hosts;
	uint64_t connect_timeout;
	uint64_t timeout;		/* one lookup */
	uint64_t scan_timeout, scan_idle;
	uint64_t retry_interval, idle_interval;
	uint64_t began;			/* the current request */

	MYSQL *db;			/* NULL: not connected */
	struct host *host;		/* whose it is, or was last; or NULL */
	enum purpose purpose;
	unsigned opened;		/* so many connections: the number of this one */
	bool is_new;			/* made for the current request */
	bool is_mariadb;		/* not another server with its protocol */
	uint64_t used;			/* when the last request ended */
	unsigned round;			/* of scans; 0: their transaction is not open */
	unsigned rounds;

	struct buf why;			/* what the last host failed of */
	struct buf scratch;
};

/*
 * Settings: hosts, user, dbname, ..., see mysql_connect.c. Does not connect. False with a
 * reason when they are wrong. Freed with session_done(), whatever the result.
 */
bool session_init(struct session *s, const struct settings *source, struct buf *ret_why);
void session_done(struct session *s);

/* Connect to some host unless that is done. ENDED_DONE, or ENDED_DOWN with a reason. */
enum ended session_open(struct session *s, enum purpose purpose, struct buf *ret_why);
void session_close(struct session *s);

/*
 * What has come of an error. ENDED_TEMP when the statement is to blame; the connection
 * stays. When it does not, `db` is NULL afterwards, and with ENDED_DOWN another host, or
 * the same one, is worth a try.
 */
enum ended session_failed(struct session *s, unsigned code, const char *message,
			  struct buf *ret_why);

/*
 * Settings: query, a template; scan_query and change_query, SQL; expiry_column, of scan_query;
 * require_result_set.
 */
struct table {
	struct sql *query;		/* NULL: there is none */
	const char *scan_query;		/* NULL: there is none */
	const char *change_query;	/* NULL: there is none */
	const char *expiry_column;	/* says when a row ends, is no value; NULL: there is none */
	bool wants_set;
	unsigned scanned, asked;	/* the last rounds of scan_query, change_query */
	unsigned unbindable;		/* on this connection it is sent as text */
};

/*
 * Ask once, on an open session. As session_failed() for what goes wrong. mysql_text.c and
 * mysql_bound.c.
 */
enum ended text_lookup(struct session *s, struct table *t, struct text key,
		       struct rows *rows, struct buf *ret_why);
enum ended text_scan(struct session *s, struct table *t, struct rows *rows,
		     struct buf *ret_why);
enum ended text_changed(struct session *s, struct table *t, struct rows *rows,
			struct buf *ret_why);

/*
 * The same with the query as a prepared statement. Any ENDED_TEMP means that the text
 * form has the last word.
 */
enum ended bound_lookup(struct session *s, struct table *t, struct text key,
			struct rows *rows, struct buf *ret_why);

/* driver_query() for a key: the text form, which means the same as the bound one. */
void text_tell(struct session *s, const struct table *t, struct text key);

/* May the query be bound on this connection? */
bool bound_is_possible(const struct session *s, const struct table *t);

/* One column's value as Postfix sees it: a C string. */
static inline struct text c_string(const char *p, unsigned long n)
{
	return (struct text){ p, p ? strnlen(p, n) : 0 };
}

#endif

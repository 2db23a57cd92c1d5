/* The sqlite driver. Knows sqlite3. */
#include "driver/driver.h"

#include "base/must.h"
#include "base/sql.h"
#include "driver/until.h"
#include "wire/frame.h"

#include <errno.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>

/* What makes Unix seconds of a date; '@' is the column. */
#define EXPIRY_FUNCTION "strftime('%s', @)"

/* The database file, opened at the first request. Settings: dbpath, busy_timeout. */
struct handle {
	const char *path;
	int busy_msec;			/* how long to wait for a writer's lock */
	sqlite3 *db;			/* NULL: not open */
	dev_t dev;			/* what `path` was just before it was opened */
	ino_t ino;
	unsigned opened;		/* how many times; statements belong to one */
	struct buf scratch;
};

/*
 * Settings: query, a template; the value is its first column. scan_query, plain SQL: the
 * key is column 1, the value column 2. expiry_column: the name of a column of scan_query that
 * says when the row ends; it is no value.
 */
struct table {
	struct sql *query;		/* NULL: there is none */
	const char *scan_query;		/* NULL: there is none */
	const char *expiry_column;	/* NULL: there is none */
	unsigned opened;		/* the handle's, when what follows was made */
	sqlite3_stmt *bound;		/* `query`, prepared; NULL: not yet */
	bool is_unbindable;		/* sqlite refuses its ?, as in AS '%s' */
};

static const char *version(void)
{
	static char text[32];

	sqlite3_snprintf(sizeof text, text, "sqlite %s", sqlite3_libversion());
	return text;
}

/* --- the database ----------------------------------------------------------------- */

static void *open_handle(const struct settings *source, struct buf *ret_why)
{
	const char *path = setting_get(source, "dbpath", "");
	uint64_t busy;

	if (!*path) {
		buf_str(ret_why, "dbpath is not set");
		return NULL;
	}
	if (!frame_number(text_of(setting_get(source, "busy_timeout", "1000")), &busy) ||
	    busy > INT_MAX) {
		buf_str(ret_why, "busy_timeout is not a number of milliseconds");
		return NULL;
	}

	struct handle *h = must_calloc(1, sizeof *h);
	h->path = path;
	h->busy_msec = (int)busy;
	return h;
}

static void close_database(struct handle *h)
{
	sqlite3_stmt *s;

	while (h->db && (s = sqlite3_next_stmt(h->db, NULL)))
		sqlite3_finalize(s);
	sqlite3_close(h->db);
	h->db = NULL;
	h->opened++;
}

static void close_handle(void *handle)
{
	struct handle *h = handle;

	close_database(h);
	buf_done(&h->scratch);
	free(h);
}

/*
 * What went wrong, for the server. Whatever may come of a damaged or lost file closes
 * it, so that the next request opens what is there then.
 */
static enum ended fail(struct handle *h, int code, struct buf *ret_why)
{
	const char *message = h->db ? sqlite3_errmsg(h->db) : sqlite3_errstr(code);

	switch (code) {
	case SQLITE_ERROR:
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		buf_str(ret_why, message);
		return ENDED_TEMP;
	case SQLITE_CANTOPEN:
	case SQLITE_NOTADB:
		buf_printf(ret_why, "%s: %s", h->path, message);
		close_database(h);
		return ENDED_DOWN;
	default:
		buf_str(ret_why, message);
		close_database(h);
		return ENDED_TEMP;
	}
}

/* Open the file unless that is done already; anew when `path` is another file by now. */
static enum ended open_database(struct handle *h, struct buf *ret_why)
{
	struct stat st;

	if (stat(h->path, &st) < 0) {
		close_database(h);
		buf_printf(ret_why, "%s: %s", h->path, strerror(errno));
		return ENDED_DOWN;
	}
	if (h->db && h->dev == st.st_dev && h->ino == st.st_ino)
		return ENDED_DONE;
	close_database(h);
	h->dev = st.st_dev;
	h->ino = st.st_ino;

	int code = sqlite3_open_v2(h->path, &h->db, SQLITE_OPEN_READONLY, NULL);
	if (code == SQLITE_OK)
		code = sqlite3_busy_timeout(h->db, h->busy_msec);
	return code == SQLITE_OK ? ENDED_DONE : fail(h, code, ret_why);
}

static enum ended ping(void *handle, struct buf *ret_why)
{
	struct handle *h = handle;
	enum ended ended = open_database(h, ret_why);

	if (ended != ENDED_DONE)
		return ended;

	int code = sqlite3_exec(h->db, "SELECT 1 FROM sqlite_schema", NULL, NULL, NULL);
	return code == SQLITE_OK ? ENDED_DONE : fail(h, code, ret_why);
}

/* --- tables ----------------------------------------------------------------------- */

static void *table_new(void *handle, const struct settings *settings, struct buf *ret_why)
{
	const char *query = setting_get(settings, "query", NULL);
	struct table *t = must_calloc(1, sizeof *t);
	(void)handle;

	t->scan_query = setting_get(settings, "scan_query", NULL);
	t->expiry_column = setting_get(settings, "expiry_column", NULL);
	if (query) {
		struct buf why = { 0 };

		t->query = sql_new(text_of(query), SQL_SQLITE, &why);
		if (!t->query) {
			buf_printf(ret_why, "query: %s", buf_cstr(&why));
			free(t);
			t = NULL;
		}
		buf_done(&why);
	}
	return t;
}

/* Forget what was prepared for a database that is no longer open. */
static void table_refresh(const struct handle *h, struct table *t)
{
	if (t->opened == h->opened)
		return;
	t->opened = h->opened;
	t->bound = NULL;
	t->is_unbindable = false;
}

static void table_free(void *handle, void *table)
{
	struct table *t = table;

	table_refresh(handle, t);
	sqlite3_finalize(t->bound);
	sql_free(t->query);
	free(t);
}

/* --- queries ---------------------------------------------------------------------- */

/*
 * Prepare the first statement of `query`, which must only read and give `columns` columns
 * or more. What gives none (BEGIN, ATTACH) would make every key absent.
 */
static enum ended prepare(struct handle *h, const char *query, int columns,
			  sqlite3_stmt **ret_stmt, struct buf *ret_why)
{
	sqlite3_stmt *s = NULL;
	int code = sqlite3_prepare_v2(h->db, query, -1, &s, NULL);

	if (code != SQLITE_OK)
		return fail(h, code, ret_why);
	if (!s) {
		buf_str(ret_why, "the query is empty");
	} else if (!sqlite3_stmt_readonly(s)) {
		buf_str(ret_why, "the query writes");
	} else if (sqlite3_column_count(s) < columns) {
		buf_str(ret_why, "the query has too few columns");
	} else {
		*ret_stmt = s;
		return ENDED_DONE;
	}
	sqlite3_finalize(s);
	return ENDED_TEMP;
}

/* A column as text; empty for NULL. False: out of memory. Dead at the next step. */
static bool column(sqlite3_stmt *s, int i, struct text *ret)
{
	if (sqlite3_column_type(s, i) == SQLITE_NULL) {
		*ret = (struct text){ 0 };
		return true;
	}

	const char *p = (const char *)sqlite3_column_text(s, i);
	int n = sqlite3_column_bytes(s, i);
	*ret = (struct text){ p, p && n > 0 ? (size_t)n : 0 };
	return p || sqlite3_errcode(sqlite3_db_handle(s)) != SQLITE_NOMEM;
}

/* Which columns of a result are what, from 0; -1: there is no such column. */
struct columns {
	int key, value, expiry;
	const char *expiry_name;
};

static const struct columns of_lookup = { .key = -1, .value = 0, .expiry = -1 };

/* How sending a row ended. */
enum sent { SENT, SENT_NO_MEMORY, SENT_NO_TIME };

/* Send the key of the current row and when it ends; `ret_is_empty`: it has no key. */
static enum sent send_key(sqlite3_stmt *s, const struct columns *c, struct rows *rows,
			  bool *ret_is_empty)
{
	struct text key, time = { 0 };
	uint64_t until;

	if (!column(s, c->key, &key) || (c->expiry >= 0 && !column(s, c->expiry, &time)))
		return SENT_NO_MEMORY;
	if (!until_parse(time, &until))
		return SENT_NO_TIME;
	*ret_is_empty = key.n == 0;
	if (key.n) {
		rows_key(rows, key);
		rows_until(rows, until);
	}
	return SENT;
}

static enum sent send_row(sqlite3_stmt *s, const struct columns *c, struct rows *rows)
{
	struct text value;
	bool is_empty = false;

	if (!column(s, c->value, &value))
		return SENT_NO_MEMORY;
	/* Postfix reads a C string: what follows a NUL does not exist. */
	value.n = value.n ? strnlen(value.p, value.n) : 0;
	if (value.n == 0)
		return SENT;

	enum sent sent = c->key >= 0 ? send_key(s, c, rows, &is_empty) : SENT;
	if (sent == SENT && !is_empty)
		rows_value(rows, value);
	return sent;
}

/* Run a statement to its end. Only SQLITE_DONE is success. */
static enum ended run(struct handle *h, sqlite3_stmt *s, const struct columns *c,
		      struct rows *rows, struct buf *ret_why)
{
	enum sent sent = SENT;
	int code;

	while (sent == SENT && (code = sqlite3_step(s)) == SQLITE_ROW)
		sent = send_row(s, c, rows);
	if (sent == SENT_NO_TIME) {
		until_refuse(ret_why, c->expiry_name, EXPIRY_FUNCTION, true);
		return ENDED_TEMP;
	}
	if (sent == SENT_NO_MEMORY)
		code = SQLITE_NOMEM;
	return code == SQLITE_DONE ? ENDED_DONE : fail(h, code, ret_why);
}

/* Give the parameters of the prepared query their values. */
static int bind_key(struct handle *h, struct table *t, struct text key)
{
	/* Expansions behind the first statement are parsed, but not prepared. */
	int n = sqlite3_bind_parameter_count(t->bound);

	for (int i = 0; i < n; i++) {
		buf_clear(&h->scratch);
		sql_parameter(t->query, (size_t)i, key, &h->scratch);

		const char *text = buf_cstr(&h->scratch);
		int code = sqlite3_bind_text64(t->bound, i + 1, text, h->scratch.n,
					       SQLITE_TRANSIENT, SQLITE_UTF8);
		if (code != SQLITE_OK)
			return code;
	}
	return SQLITE_OK;
}

/* As Postfix src/global/dict_sqlite.c quotes. */
static void quote(void *ctx, struct text part, struct buf *out)
{
	char *quoted = must(sqlite3_mprintf("%.*q", (int)part.n, part.p));
	(void)ctx;

	buf_str(out, quoted);
	sqlite3_free(quoted);
}

/* The query as one would type it, with the key in its place, though it may be bound. */
static void tell_query(struct handle *h, const struct table *t, struct text key)
{
	if (!driver_tells_queries() || text_chr(key, '\0'))
		return;
	buf_clear(&h->scratch);
	sql_escaped(t->query, key, quote, NULL, &h->scratch);
	driver_query(buf_view(&h->scratch));
}

static enum ended lookup_bound(struct handle *h, struct table *t, struct text key,
			       struct rows *rows, struct buf *ret_why)
{
	unsigned opened = h->opened;
	int code = bind_key(h, t, key);
	enum ended ended = code == SQLITE_OK ? run(h, t->bound, &of_lookup, rows, ret_why) :
					       fail(h, code, ret_why);

	if (opened == h->opened) {
		sqlite3_reset(t->bound);
		sqlite3_clear_bindings(t->bound);
	}
	return ended;
}

static enum ended lookup_escaped(struct handle *h, struct table *t, struct text key,
				 struct rows *rows, struct buf *ret_why)
{
	unsigned opened = h->opened;
	sqlite3_stmt *s;

	if (text_chr(key, '\0')) {
		buf_str(ret_why, "key with a NUL in a query that cannot be bound");
		return ENDED_TEMP;
	}
	buf_clear(&h->scratch);
	sql_escaped(t->query, key, quote, NULL, &h->scratch);

	enum ended ended = prepare(h, buf_cstr(&h->scratch), 1, &s, ret_why);
	if (ended != ENDED_DONE)
		return ended;
	/* Should it have a bound form: sqlite has just refused that. */
	t->is_unbindable = true;
	ended = run(h, s, &of_lookup, rows, ret_why);
	if (opened == h->opened)
		sqlite3_finalize(s);
	return ended;
}

static enum ended lookup(void *handle, void *table, struct text key, struct rows *rows,
			 struct buf *ret_why)
{
	struct handle *h = handle;
	struct table *t = table;
	enum ended ended;

	if (!t->query) {
		buf_str(ret_why, "query is not set");
		return ENDED_TEMP;
	}
	if (!needs_met(sql_needs(t->query), key)) {
		buf_str(ret_why, "the query cannot be asked for such a key");
		return ENDED_TEMP;
	}
	ended = open_database(h, ret_why);
	if (ended != ENDED_DONE)
		return ended;

	tell_query(h, t, key);
	table_refresh(h, t);
	if (sql_statement(t->query) && !t->bound && !t->is_unbindable) {
		ended = prepare(h, sql_statement(t->query), 1, &t->bound, ret_why);
		if (ended != ENDED_DONE &&
		    (!h->db || sqlite3_errcode(h->db) != SQLITE_ERROR))
			return ended;
		buf_clear(ret_why);
	}
	return t->bound ? lookup_bound(h, t, key, rows, ret_why) :
			  lookup_escaped(h, t, key, rows, ret_why);
}

/* The key is column 1, the value the next one that does not say when the row ends. */
static enum ended find_columns(sqlite3_stmt *s, const struct table *t, struct columns *ret,
			       struct buf *ret_why)
{
	int n = sqlite3_column_count(s);

	*ret = (struct columns){ .key = 0, .value = 1, .expiry = -1,
				 .expiry_name = t->expiry_column };
	for (int i = 1; t->expiry_column && i < n && ret->expiry < 0; i++) {
		const char *name = sqlite3_column_name(s, i);

		if (name && strcasecmp(name, t->expiry_column) == 0)
			ret->expiry = i;
	}
	if (ret->expiry == 1)
		ret->value = 2;
	if (t->expiry_column && ret->expiry < 0)
		until_refuse(ret_why, t->expiry_column, EXPIRY_FUNCTION, false);
	else if (ret->value >= n)
		buf_str(ret_why, "the query has too few columns");
	else
		return ENDED_DONE;
	return ENDED_TEMP;
}

static enum ended scan(void *handle, void *table, struct rows *rows, struct buf *ret_why)
{
	struct handle *h = handle;
	struct table *t = table;
	struct columns columns;
	unsigned opened;
	sqlite3_stmt *s;

	if (!t->scan_query) {
		buf_str(ret_why, "scan_query is not set");
		return ENDED_TEMP;
	}

	enum ended ended = open_database(h, ret_why);
	if (ended != ENDED_DONE)
		return ended;
	opened = h->opened;
	ended = prepare(h, t->scan_query, 2, &s, ret_why);
	if (ended != ENDED_DONE)
		return ended;
	ended = find_columns(s, t, &columns, ret_why);
	if (ended == ENDED_DONE)
		ended = run(h, s, &columns, rows, ret_why);
	if (opened == h->opened)
		sqlite3_finalize(s);
	return ended;
}

int main(int argc, char **argv)
{
	static const struct driver sqlite = {
		.name = "socketmapd-sqlite",
		.version = version,
		.open = open_handle,
		.close = close_handle,
		.table_new = table_new,
		.table_free = table_free,
		.lookup = lookup,
		.scan = scan,
		.ping = ping,
	};

	return driver_main(&sqlite, argc, argv);
}

/* Queries as Postfix sends them: text to the server, text from it. */
#include "driver/mysql.h"

#include "driver/until.h"

#include <strings.h>

/* What makes Unix seconds of a date; '@' is the column. */
#define EXPIRY_FUNCTION "UNIX_TIMESTAMP(@)"

/* A result on its way to the server. */
struct result {
	struct rows *rows;
	unsigned columns;
	unsigned expiry;		/* which one says when a row ends; 0: none */
	bool has_no_time;		/* it did not, in some row: what follows is not sent */
};

/* Sends one row. */
typedef void send_row(struct result *r, const MYSQL_ROW row, const unsigned long *lengths);

/* What is asked, and what becomes of the answer. */
struct ask {
	struct text sql;
	send_row *send;
	unsigned columns;		/* at least so many */
	const char *expiry_column;	/* NULL: there is none */
	bool wants_set;			/* an answer without a result is an error */
	struct rows *rows;
};

static enum ended db_failed(struct session *s, struct buf *ret_why)
{
	return session_failed(s, mysql_errno(s->db), mysql_error(s->db), ret_why);
}

/* Every column of every row is a value. */
static void send_values(struct result *r, const MYSQL_ROW row, const unsigned long *lengths)
{
	for (unsigned i = 0; i < r->columns; i++)
		rows_value(r->rows, c_string(row[i], lengths[i]));
}

/* The first column is their key, another one may say when they end. */
static void send_keyed(struct result *r, const MYSQL_ROW row, const unsigned long *lengths)
{
	uint64_t until = 0;

	if (!row[0] || lengths[0] == 0)
		return;
	if (r->expiry && !until_parse(c_string(row[r->expiry], lengths[r->expiry]), &until)) {
		r->has_no_time = true;
		return;
	}
	rows_key(r->rows, (struct text){ row[0], lengths[0] });
	rows_until(r->rows, until);
	for (unsigned i = 1; i < r->columns; i++)
		if (!r->expiry || i != r->expiry)
			rows_value(r->rows, c_string(row[i], lengths[i]));
}

/* Nobody reads them, they are compared: NULL and the empty string differ, too. */
static void send_marks(struct result *r, const MYSQL_ROW row, const unsigned long *lengths)
{
	for (unsigned i = 0; i < r->columns; i++) {
		struct buf mark = { 0 };

		buf_byte(&mark, row[i] ? '=' : '-');
		buf_add(&mark, row[i], row[i] ? lengths[i] : 0);
		rows_value(r->rows, buf_view(&mark));
		buf_done(&mark);
	}
}

/* Read a whole result; without `send` to throw it away. False: that was not its end. */
static bool read_rows(struct session *s, MYSQL_RES *set, send_row *send, struct result *r)
{
	MYSQL_ROW row;

	while ((row = mysql_fetch_row(set)))
		if (send && !r->has_no_time)
			send(r, row, mysql_fetch_lengths(set));
	return mysql_errno(s->db) == 0;
}

/* The number of the column with that name, behind the key; 0: there is none. */
static unsigned find_column(MYSQL_RES *set, const char *name)
{
	const MYSQL_FIELD *fields = mysql_fetch_fields(set);

	for (unsigned i = 1; name && i < mysql_num_fields(set); i++)
		if (strcasecmp(fields[i].name, name) == 0)
			return i;
	return 0;
}

/* The result of the query; of what comes behind it, nothing is sent. */
static bool read_first(struct session *s, const struct ask *a, MYSQL_RES *set,
		       struct result *r)
{
	r->columns = mysql_num_fields(set);
	r->expiry = find_column(set, a->expiry_column);
	bool is_right = r->columns >= a->columns && (!a->expiry_column || r->expiry);

	return read_rows(s, set, is_right ? a->send : NULL, r);
}

/* What is wrong with what was read to its end, if anything. */
static enum ended judge(const struct ask *a, const struct result *r, unsigned sets,
			struct buf *ret_why)
{
	if (sets > 1)
		buf_str(ret_why, "the query gives more than one result set");
	else if (sets == 0 && a->wants_set)
		buf_str(ret_why, "the query gives no result set");
	else if (sets == 1 && r->columns < a->columns)
		buf_str(ret_why, "the query has too few columns");
	else if (sets == 1 && a->expiry_column && (!r->expiry || r->has_no_time))
		until_refuse(ret_why, a->expiry_column, EXPIRY_FUNCTION, r->expiry);
	else if (sets == 1 && r->expiry && r->columns < 3)
		buf_str(ret_why, "the query has too few columns");
	else
		return ENDED_DONE;
	return ENDED_TEMP;
}

/* Read all that the server answers, as Postfix does, so that nothing is left of it. */
static enum ended read_sets(struct session *s, const struct ask *a, struct buf *ret_why)
{
	struct result result = { .rows = a->rows };
	unsigned sets = 0;
	int more;

	do {
		MYSQL_RES *set = mysql_use_result(s->db);
		bool is_good = set || mysql_field_count(s->db) == 0;

		if (set) {
			is_good = sets++ == 0 ? read_first(s, a, set, &result) :
						read_rows(s, set, NULL, NULL);
			mysql_free_result(set);
		}
		if (!is_good || (more = mysql_next_result(s->db)) > 0)
			return db_failed(s, ret_why);
	} while (more == 0);
	return judge(a, &result, sets, ret_why);
}

static enum ended ask(struct session *s, const struct ask *a, struct buf *ret_why)
{
	if (mysql_real_query(s->db, a->sql.p, a->sql.n) != 0)
		return db_failed(s, ret_why);
	return read_sets(s, a, ret_why);
}

/* --- lookups ---------------------------------------------------------------------- */

static void quote(void *ctx, struct text part, struct buf *out)
{
	struct session *s = ctx;
	char *to = buf_room(out, 2 * part.n + 1);

	out->n += mysql_real_escape_string(s->db, to, part.p ? part.p : "", part.n);
}

/* The whole query, in the session's scratch memory. */
static struct text query_for(struct session *s, const struct table *t, struct text key)
{
	buf_clear(&s->scratch);
	sql_escaped(t->query, key, quote, s, &s->scratch);
	return buf_view(&s->scratch);
}

void text_tell(struct session *s, const struct table *t, struct text key)
{
	if (driver_tells_queries())
		driver_query(query_for(s, t, key));
}

enum ended text_lookup(struct session *s, struct table *t, struct text key,
		       struct rows *rows, struct buf *ret_why)
{
	struct ask a = {
		.sql = query_for(s, t, key), .send = send_values, .wants_set = t->wants_set,
		.rows = rows,
	};

	return ask(s, &a, ret_why);
}

/* --- scans ------------------------------------------------------------------------ */

static enum ended command(struct session *s, const char *sql, struct buf *ret_why)
{
	return mysql_query(s->db, sql) == 0 ? ENDED_DONE : db_failed(s, ret_why);
}

static enum ended end_round(struct session *s, struct buf *ret_why)
{
	s->round = 0;
	return command(s, "ROLLBACK", ret_why);
}

/*
 * All scans of a round see the same moment, and what was asked before them, too; a table
 * that comes again begins another.
 *
 * last       the round in which it was asked the same
 */
static enum ended join_round(struct session *s, unsigned *last, struct buf *ret_why)
{
	enum ended ended = ENDED_DONE;

	if (s->round && *last == s->round)
		ended = end_round(s, ret_why);
	if (s->round == 0 && ended == ENDED_DONE) {
		ended = command(s, "START TRANSACTION WITH CONSISTENT SNAPSHOT, "
				   "READ ONLY", ret_why);
		if (ended == ENDED_DONE)
			s->round = ++s->rounds;
	}
	*last = s->round;
	return ended;
}

/* An error may have ended the transaction. */
static enum ended ask_in_round(struct session *s, unsigned *last, const struct ask *a,
			       struct buf *ret_why)
{
	struct buf ignored = { 0 };
	enum ended ended = join_round(s, last, ret_why);

	if (ended == ENDED_DONE)
		ended = ask(s, a, ret_why);
	if (ended != ENDED_DONE && s->db && s->round)
		end_round(s, &ignored);
	buf_done(&ignored);
	return ended;
}

enum ended text_scan(struct session *s, struct table *t, struct rows *rows,
		     struct buf *ret_why)
{
	const struct ask a = {
		.sql = text_of(t->scan_query), .send = send_keyed, .columns = 2,
		.expiry_column = t->expiry_column, .wants_set = true, .rows = rows,
	};

	return ask_in_round(s, &t->scanned, &a, ret_why);
}

enum ended text_changed(struct session *s, struct table *t, struct rows *rows,
			struct buf *ret_why)
{
	const struct ask a = {
		.sql = text_of(t->change_query), .send = send_marks, .columns = 1,
		.wants_set = true, .rows = rows,
	};

	return ask_in_round(s, &t->asked, &a, ret_why);
}

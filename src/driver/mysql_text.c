/* Queries as Postfix sends them: text to the server, text from it. */
#include "driver/mysql.h"

/* Sends one row of `n` columns to the server. */
typedef void send_row(struct rows *rows, const MYSQL_ROW row,
		      const unsigned long *lengths, unsigned n);

/* What is asked, and what becomes of the answer. */
struct ask {
	struct text sql;
	send_row *send;
	unsigned columns;		/* at least so many */
	bool wants_set;			/* an answer without a result is an error */
	struct rows *rows;
};

static enum ended db_failed(struct session *s, struct buf *ret_why)
{
	return session_failed(s, mysql_errno(s->db), mysql_error(s->db), ret_why);
}

/* Every column of every row is a value. */
static void send_values(struct rows *rows, const MYSQL_ROW row,
			const unsigned long *lengths, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		rows_value(rows, c_string(row[i], lengths[i]));
}

/* The first column is their key. */
static void send_keyed(struct rows *rows, const MYSQL_ROW row,
		       const unsigned long *lengths, unsigned n)
{
	if (!row[0] || lengths[0] == 0)
		return;
	rows_key(rows, (struct text){ row[0], lengths[0] });
	send_values(rows, row + 1, lengths + 1, n - 1);
}

/* Nobody reads them, they are compared: NULL and the empty string differ, too. */
static void send_marks(struct rows *rows, const MYSQL_ROW row,
		       const unsigned long *lengths, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct buf mark = { 0 };

		buf_byte(&mark, row[i] ? '=' : '-');
		buf_add(&mark, row[i], row[i] ? lengths[i] : 0);
		rows_value(rows, buf_view(&mark));
		buf_done(&mark);
	}
}

/* Read a whole result; without `send` to throw it away. False: that was not its end. */
static bool read_rows(struct session *s, MYSQL_RES *set, send_row *send,
		      struct rows *rows)
{
	MYSQL_ROW row;

	while ((row = mysql_fetch_row(set)))
		if (send)
			send(rows, row, mysql_fetch_lengths(set), mysql_num_fields(set));
	return mysql_errno(s->db) == 0;
}

/* Read all that the server answers, as Postfix does, so that nothing is left of it. */
static enum ended read_sets(struct session *s, const struct ask *a, struct buf *ret_why)
{
	unsigned sets = 0, columns = 0;
	int more;

	do {
		MYSQL_RES *set = mysql_use_result(s->db);
		bool is_good = set || mysql_field_count(s->db) == 0;

		if (set) {
			if (sets++ == 0)
				columns = mysql_num_fields(set);
			is_good = read_rows(s, set, sets == 1 && columns >= a->columns ?
							    a->send : NULL, a->rows);
			mysql_free_result(set);
		}
		if (!is_good || (more = mysql_next_result(s->db)) > 0)
			return db_failed(s, ret_why);
	} while (more == 0);

	if (sets > 1)
		buf_str(ret_why, "the query gives more than one result set");
	else if (sets == 0 && a->wants_set)
		buf_str(ret_why, "the query gives no result set");
	else if (sets == 1 && columns < a->columns)
		buf_str(ret_why, "the query has too few columns");
	else
		return ENDED_DONE;
	return ENDED_TEMP;
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

enum ended text_lookup(struct session *s, struct table *t, struct text key,
		       struct rows *rows, struct buf *ret_why)
{
	struct ask a = {
		.send = send_values, .wants_set = t->wants_set, .rows = rows,
	};

	buf_clear(&s->scratch);
	sql_escaped(t->query, key, quote, s, &s->scratch);
	a.sql = buf_view(&s->scratch);
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
		.wants_set = true, .rows = rows,
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

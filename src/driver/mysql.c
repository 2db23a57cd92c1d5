/* The mysql driver, for MariaDB and what speaks its protocol. Knows libmariadb. */
#include "driver/mysql.h"

#include "base/clock.h"
#include "base/must.h"

#include <stdio.h>
#include <stdlib.h>

static const char *version(void)
{
	static char text[32];

	snprintf(text, sizeof text, "libmariadb %s", mysql_get_client_info());
	return text;
}

static void *open_handle(const struct settings *source, struct buf *ret_why)
{
	struct session *s = must_calloc(1, sizeof *s);

	if (mysql_library_init(0, NULL, NULL) == 0 && session_init(s, source, ret_why))
		return s;
	session_done(s);
	free(s);
	return NULL;
}

static void close_handle(void *handle)
{
	session_done(handle);
	free(handle);
	mysql_library_end();
}

/* --- tables ----------------------------------------------------------------------- */

static void *table_new(void *handle, const struct settings *settings, struct buf *ret_why)
{
	const char *query = setting_get(settings, "query", NULL);
	struct table *t = must_calloc(1, sizeof *t);
	struct buf why = { 0 };
	(void)handle;

	t->scan_query = setting_get(settings, "scan_query", NULL);
	t->change_query = setting_get(settings, "change_query", NULL);
	t->expiry_column = setting_get(settings, "expiry_column", NULL);
	t->wants_set = strcmp(setting_get(settings, "require_result_set", "true"),
			      "false") != 0;
	if (query && !(t->query = sql_new(text_of(query), SQL_MYSQL, &why))) {
		buf_printf(ret_why, "query: %s", buf_cstr(&why));
		free(t);
		t = NULL;
	}
	buf_done(&why);
	return t;
}

static void table_free(void *handle, void *table)
{
	struct table *t = table;
	(void)handle;

	sql_free(t->query);
	free(t);
}

/* --- requests --------------------------------------------------------------------- */

/* What the server wants. */
struct request {
	enum ended (*run)(struct session *s, const struct request *r,
			  struct buf *ret_why);
	enum purpose purpose;
	struct table *table;
	struct text key;
	struct rows *rows;		/* NULL for a ping */
};

/*
 * Run it on the connection there is, and when that gets lost, on another one: until a
 * host answers, or all of them rest. Rows on their way cannot be asked for again.
 */
static enum ended run(struct session *s, const struct request *r, struct buf *ret_why)
{
	enum ended ended;

	s->began = clock_msec();
	s->is_new = false;
	while ((ended = session_open(s, r->purpose, ret_why)) == ENDED_DONE) {
		ended = r->run(s, r, ret_why);
		if (ended != ENDED_DOWN)
			break;
		if (r->rows && !rows_undo(r->rows)) {
			ended = ENDED_TEMP;
			break;
		}
		buf_clear(ret_why);
	}
	s->used = clock_msec();
	return ended;
}

/* Where the bound form fails, the text form has the last word: Postfix sends the same. */
static enum ended run_lookup(struct session *s, const struct request *r,
			     struct buf *ret_why)
{
	struct table *t = r->table;
	enum ended ended;

	text_tell(s, t, r->key);
	if (!bound_is_possible(s, t))
		return text_lookup(s, t, r->key, r->rows, ret_why);
	ended = bound_lookup(s, t, r->key, r->rows, ret_why);
	if (ended != ENDED_TEMP || !s->db)
		return ended;
	if (clock_msec() - s->began > s->timeout / 2 || !rows_undo(r->rows))
		return ended;
	buf_clear(ret_why);
	ended = text_lookup(s, t, r->key, r->rows, ret_why);
	if (ended == ENDED_DONE)
		t->unbindable = s->opened;
	return ended;
}

static enum ended lookup(void *handle, void *table, struct text key, struct rows *rows,
			 struct buf *ret_why)
{
	struct table *t = table;
	const struct request r = { run_lookup, FOR_LOOKUPS, t, key, rows };
	const char *wrong = !t->query ? "query is not set" :
			    !needs_met(sql_needs(t->query), key) || text_chr(key, '\0') ?
			    "the query cannot be asked for such a key" : NULL;

	if (!wrong)
		return run(handle, &r, ret_why);
	buf_str(ret_why, wrong);
	return ENDED_TEMP;
}

static enum ended run_scan(struct session *s, const struct request *r,
			   struct buf *ret_why)
{
	return text_scan(s, r->table, r->rows, ret_why);
}

static enum ended scan(void *handle, void *table, struct rows *rows, struct buf *ret_why)
{
	struct table *t = table;
	const struct request r = { run_scan, FOR_SCANS, t, { 0 }, rows };

	if (t->scan_query)
		return run(handle, &r, ret_why);
	buf_str(ret_why, "scan_query is not set");
	return ENDED_TEMP;
}

static enum ended run_changed(struct session *s, const struct request *r,
			      struct buf *ret_why)
{
	return text_changed(s, r->table, r->rows, ret_why);
}

static enum ended changed(void *handle, void *table, struct rows *rows,
			  struct buf *ret_why)
{
	struct table *t = table;
	const struct request r = { run_changed, FOR_SCANS, t, { 0 }, rows };

	if (t->change_query)
		return run(handle, &r, ret_why);
	buf_str(ret_why, "change_query is not set");
	return ENDED_TEMP;
}

static enum ended run_ping(struct session *s, const struct request *r,
			   struct buf *ret_why)
{
	(void)r;
	if (s->is_new || mysql_ping(s->db) == 0)
		return ENDED_DONE;
	return session_failed(s, mysql_errno(s->db), mysql_error(s->db), ret_why);
}

/* The server asks whether anything is back, having waited by itself. */
static enum ended ping(void *handle, struct buf *ret_why)
{
	const struct request r = { run_ping, FOR_ANYTHING, NULL, { 0 }, NULL };
	struct session *s = handle;

	if (!s->db)
		hosts_wake(&s->hosts);
	return run(s, &r, ret_why);
}

static int idle(void *handle)
{
	struct session *s = handle;
	uint64_t unused = clock_msec() - s->used;

	if (!s->db)
		return -1;
	if (unused < s->idle_interval)
		return (int)(s->idle_interval - unused);
	session_close(s);
	return -1;
}

int main(int argc, char **argv)
{
	static const struct driver mysql = {
		.name = "socketmapd-mysql",
		.version = version,
		.open = open_handle,
		.close = close_handle,
		.table_new = table_new,
		.table_free = table_free,
		.lookup = lookup,
		.scan = scan,
		.changed = changed,
		.ping = ping,
		.idle = idle,
	};

	return driver_main(&mysql, argc, argv);
}

/* The sqlite driver, as a process: what the server would say to it, and what it answers. */
#define main driver_process
#include "driver/driver.c"
#include "driver/facts.c"
#include "driver/sqlite.c"
#include "driver/until.c"
#undef main

#include "unit/test.h"

#include <sys/socket.h>
#include <sys/wait.h>

static char dir[] = "/tmp/smsqXXXXXX";

/* A driver process. */
struct session {
	pid_t pid;
	int fd;
};

/* What it has said that nobody has looked at. */
static struct buf heard;

/* --- saying and hearing ----------------------------------------------------------- */

static struct session launch(void)
{
	char name[] = "socketmapd-sqlite", *args[] = { name, NULL };
	struct session s = { 0 };
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	fflush(NULL);
	s.pid = fork();
	if (s.pid == 0) {
		close(pair[0]);
		dup2(pair[1], STDIN_FILENO);
		dup2(pair[1], STDOUT_FILENO);
		close(pair[1]);
		stderr = fopen("/dev/null", "w");	/* a sanitizer writes elsewhere */
		exit(driver_process(1, args));
	}
	close(pair[1]);
	buf_clear(&heard);
	s.fd = pair[0];
	return s;
}

static void say_bytes(const struct session *s, struct text t)
{
	assert_int_equal(send(s->fd, t.p, t.n, MSG_NOSIGNAL), t.n);
}

/* Append `message` as a netstring; \0 in it cannot be, %0 stands for it. */
static void netstring(struct buf *out, const char *message)
{
	const char *nul = strstr(message, "%0");
	size_t before = nul ? (size_t)(nul - message) : strlen(message);

	buf_printf(out, "%zu:", strlen(message) - (nul ? 1 : 0));
	buf_add(out, message, before);
	if (nul) {
		buf_byte(out, '\0');
		buf_str(out, nul + 2);
	}
	buf_byte(out, ',');
}

static void say(const struct session *s, const char *message)
{
	struct buf out = { 0 };

	netstring(&out, message);
	say_bytes(s, buf_view(&out));
	buf_done(&out);
}

/* The next message; false at end of file. `ret` is good until the next call. */
static bool hear(struct session *s, size_t *taken, struct frame *ret)
{
	size_t used;

	buf_drop(&heard, *taken);
	*taken = 0;
	for (;;) {
		enum parsed parsed = frame_parse(buf_view(&heard), ret, &used);

		if (parsed == PARSED) {
			*taken = used;
			return true;
		}
		assert_int_equal(parsed, NEED_MORE);

		ssize_t n = recv(s->fd, buf_room(&heard, 65536), 65536, 0);
		if (n <= 0)
			return false;
		heard.n += (size_t)n;
	}
}

/*
 * Everything up to the end of one request, in short: "key k" becomes "k:", values are joined
 * with '|', "until t" becomes "@t:", the end stands behind " ". A NUL is shown as ^. What a slow
 * scan says to show that it is alive is left out.
 */
static const char *answer(struct session *s)
{
	static struct buf text;
	size_t taken = 0;
	struct frame f = { 0 };

	buf_clear(&text);
	do {
		if (!hear(s, &taken, &f)) {
			buf_str(&text, "EOF");
			break;
		}
		if (f.verb == FRAME_INFO)
			continue;
		if (f.verb == FRAME_VALUE && text.n && text.p[text.n - 1] != ':')
			buf_byte(&text, '|');
		if (f.verb == FRAME_KEY && text.n)
			buf_byte(&text, '|');
		if (f.verb == FRAME_UNTIL)
			buf_byte(&text, '@');
		else if (f.verb != FRAME_KEY && f.verb != FRAME_VALUE)
			buf_printf(&text, " %s ", frame_verb_name(f.verb));
		buf_text(&text, f.args[f.verb == FRAME_HELLO]);
		if (f.verb == FRAME_KEY || f.verb == FRAME_UNTIL)
			buf_byte(&text, ':');
	} while (f.verb == FRAME_KEY || f.verb == FRAME_VALUE || f.verb == FRAME_UNTIL ||
		 f.verb == FRAME_INFO);
	buf_drop(&heard, taken);
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '\0')
			text.p[i] = '^';
	return buf_cstr(&text);
}

/* A driver that has said hello for the database `name` in the test's directory. */
static struct session launch_for(const char *name)
{
	struct session s = launch();
	struct buf source = { 0 };

	say(&s, "hello 1 test");
	say(&s, "source busy_timeout 20");
	buf_printf(&source, "source dbpath %s/%s", dir, name);
	say(&s, buf_cstr(&source));
	say(&s, "start");
	assert_string_equal(answer(&s), " hello socketmapd-sqlite/" VERSION " sqlite " SQLITE_VERSION);
	buf_done(&source);
	return s;
}

/* Hang up and return the exit status, -1 for a signal. */
static int hang_up(struct session *s)
{
	int status = -1;

	close(s->fd);
	assert_int_equal(waitpid(s->pid, &status, 0), s->pid);
	buf_done(&heard);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void check_said(struct session *s, const char *message, const char *want)
{
	const char *got;

	say(s, message);
	got = answer(s);
	if (strcmp(got, want) != 0)
		fail_msg("%s\n  got:  %s\n  want: %s", message, got, want);
}

/* --- databases -------------------------------------------------------------------- */

static const char *path_of(const char *name)
{
	static char path[64];

	snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

static sqlite3 *database(const char *name)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path_of(name), &db), SQLITE_OK);
	return db;
}

static void execute(sqlite3 *db, const char *sql)
{
	char *why = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		fail_msg("%s: %s", sql, why);
}

static void make(const char *name, const char *sql)
{
	sqlite3 *db = database(name);

	execute(db, sql);
	sqlite3_close(db);
}

static int make_files(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	make("main",
	     "CREATE TABLE kv(k TEXT, v);"
	     "INSERT INTO kv VALUES('a','1'), ('b@x.test','2'), ('a','3'), ('@x.test','catch'),"
	     " ('it''s','quote'), ('null',NULL), ('null','x'), ('empty',''), ('int',42),"
	     " ('real',1.5), ('big',1e21), ('blob',x'616263'), ('nul',CAST(x'6100620063' AS TEXT)),"
	     " ('nulfirst',x'0061'), ('noblob',x''), ('blank',' '), ('A','upper'), ('%','percent'),"
	     " ('a\\b','backslash'), (NULL,'nokey'), ('','emptykey'), ('\xc3\xa9','e');"
	     "CREATE TABLE num(id INTEGER, name TEXT);"
	     "INSERT INTO num VALUES(1,'one'), (2,'two'), (7,'seven');"
	     "CREATE TABLE folded(k TEXT COLLATE NOCASE PRIMARY KEY, v);"
	     "INSERT INTO folded VALUES('Ab','1'), ('cd','2'), ('ef','3');");
	return 0;
}

static int remove_files(void **state)
{
	static const char *const names[] = { "main", "other", "other-journal", "new" };
	(void)state;

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		unlink(path_of(names[i]));
	return rmdir(dir);
}

/* --- the protocol ----------------------------------------------------------------- */

static void a_conversation_ends_with_the_server(void **state)
{
	struct session s = launch_for("main");
	(void)state;

	check_said(&s, "ping", " done 0");
	assert_int_equal(kill(s.pid, SIGHUP), 0);
	assert_int_equal(kill(s.pid, SIGINT), 0);
	check_said(&s, "ping", " done 0");
	assert_int_equal(hang_up(&s), 0);
}

static void wrong_settings_are_refused_with_a_reason(void **state)
{
	static const struct { const char *setting, *want; } cases[] = {
		{ "source busy_timeout 1", " down dbpath is not set" },
		{ "source dbpath ", " down dbpath is not set" },
		{ "source busy_timeout 1s", " down dbpath is not set" },
	};
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct session s = launch();

		say(&s, "hello 1 test");
		say(&s, cases[i].setting);
		check_said(&s, "start", cases[i].want);
		assert_string_equal(answer(&s), "EOF");
		assert_int_equal(hang_up(&s), EXIT_SETTINGS);
	}

	struct session s = launch();
	say(&s, "source dbpath /x");
	say(&s, "source busy_timeout 1s");
	check_said(&s, "start", " down busy_timeout is not a number of milliseconds");
	assert_int_equal(hang_up(&s), EXIT_SETTINGS);
}

static void a_peer_that_speaks_nonsense_is_left(void **state)
{
	static const char *const before[] = {
		"7:hello 2,", "9:hello 2 x,", "4:ping,", "12:lookup 1 abc,", "x", "05:start,",
		"5:start;", "6:source,", "3:sup,", "9999999:",
	};
	static const char *const after[] = {
		"5:start,", "12:source dbpath,", "9:hello 1 x,", "6:done 0,", "5:value,", "garbage",
		"14:table 1 query ,13:lookup 1 key,15:table 1 query x,",
	};
	(void)state;

	for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
		struct session s = launch();

		say_bytes(&s, text_of(before[i]));
		assert_string_equal(answer(&s), "EOF");
		assert_int_equal(hang_up(&s), EXIT_PROTOCOL);
	}
	for (size_t i = 0; i < sizeof after / sizeof *after; i++) {
		struct session s = launch_for("main");

		say_bytes(&s, text_of(after[i]));
		while (strcmp(answer(&s), "EOF") != 0)
			;
		assert_int_equal(hang_up(&s), EXIT_PROTOCOL);
	}
}

static void messages_may_come_in_pieces_or_at_once(void **state)
{
	static const char *const messages[] = {
		"table 1 query SELECT v FROM kv WHERE k='%s'", "lookup 1 a", "lookup 1 x", "ping",
	};
	struct session s = launch_for("main");
	struct buf all = { 0 };
	(void)state;

	for (size_t i = 0; i < sizeof messages / sizeof *messages; i++)
		netstring(&all, messages[i]);
	netstring(&all, "forget 1");
	for (size_t at = 0; at <= all.n; at++) {
		say_bytes(&s, text_before(buf_view(&all), all.p + at));
		say_bytes(&s, text_skip(buf_view(&all), at));
		assert_string_equal(answer(&s), "1|3 done 2");
		assert_string_equal(answer(&s), " done 0");
		assert_string_equal(answer(&s), " done 0");
	}
	assert_int_equal(hang_up(&s), 0);
	buf_done(&all);
}

static void tables_are_told_apart_and_forgotten(void **state)
{
	struct session s = launch_for("main");
	(void)state;

	say(&s, "table 1 query SELECT 'one'");
	say(&s, "table 22 query SELECT 'none'");
	say(&s, "table 22 query SELECT 'two'");
	check_said(&s, "lookup 22 k", "two done 1");
	check_said(&s, "lookup 1 k", "one done 1");
	say(&s, "forget 1");
	check_said(&s, "lookup 1 k", " temp query is not set");
	check_said(&s, "lookup 22 k", "two done 1");
	say(&s, "forget 1");
	say(&s, "table 1 query SELECT 'again'");
	check_said(&s, "lookup 1 k", "again done 1");
	say(&s, "forget 333");
	assert_int_equal(hang_up(&s), 0);
}

/* --- lookups ---------------------------------------------------------------------- */

static void finds_what_postfix_would_find(void **state)
{
#define KV "SELECT v FROM kv WHERE k="
	static const struct { const char *query, *key, *want; } cases[] = {
		{ KV "'%s'", "a", "1|3 done 2" },
		{ KV "'%s'", "zz", " done 0" },
		{ KV "'%s'", "it's", "quote done 1" },
		{ KV "'%s'", "a\\b", "backslash done 1" },
		{ KV "'%s'", "null", "x done 1" },
		{ KV "'%s'", "empty", " done 0" },
		{ KV "'%s'", "blank", "  done 1" },
		{ KV "'%s'", "int", "42 done 1" },
		{ KV "'%s'", "real", "1.5 done 1" },
		{ KV "'%s'", "big", "1.0e+21 done 1" },
		{ KV "'%s'", "blob", "abc done 1" },
		{ KV "'%s'", "noblob", " done 0" },
		{ KV "'%s'", "nul", "a done 1" },	/* a C string */
		{ KV "'%s'", "nulfirst", " done 0" },
		{ KV "'%s'", "\xc3\xa9", "e done 1" },
		{ KV "'%s'", "a' OR '1'='1", " done 0" },
		{ KV "'%u@%d'", "b@x.test", "2 done 1" },
		{ KV "'@%d'", "b@x.test", "catch done 1" },
		{ KV "'%u'", "it's@x.test", "quote done 1" },
		{ KV "'@%2.%1'", "b@x..test.", "catch done 1" },
		{ KV "'%%'", "k", "percent done 1" },
		{ KV "'%s%%'", "a", " done 0" },
		{ "SELECT v FROM kv WHERE k LIKE '%s%%' AND v > '1'", "a", "3|upper|backslash done 3" },
		{ "SELECT v FROM kv WHERE k GLOB '%s'", "i*t", "42 done 1" },
		{ "SELECT v, k FROM kv WHERE k='%s'", "a", "1|3 done 2" },
		{ KV "'%s'; SELECT '%u'; nonsense", "a", "1|3 done 2" },
		{ "SELECT name FROM num WHERE id='%s'", "01", "one done 1" },
		{ "SELECT name FROM num WHERE id='%s'", "1.0", "one done 1" },
		{ "SELECT name FROM num WHERE id='%s'", "1abc", " done 0" },
		{ "SELECT name FROM num WHERE id=%s", "7", "seven done 1" },
		{ "SELECT name FROM num WHERE id=%s", "1 OR 1", "one|two|seven done 3" },
		{ KV "\"%s\" AND v='1'", "a", "1 done 1" },
		{ KV "\"%s\" AND v='1'", "k", "1 done 1" },	/* a column's name: every row */
		{ "SELECT 1 AS '%s'", "x", "1 done 1" },
		{ "SELECT v AS '%s' FROM 'kv' WHERE k='%s'", "it's", "quote done 1" },
		{ "SELECT name FROM '%u' WHERE id='%d'", "num@2", "two done 1" },
		{ "PRAGMA table_info('%s')", "num", "0|1 done 2" },
		{ "SELECT X'%s'", "6162", "ab done 1" },
		{ "SELECT 1 -- %s", "x", "1 done 1" },
		{ "SELECT '[%s]'", "a%0b", "[a done 1" },
		{ KV "'%s'", "a%0b", " done 0" },
		{ "SELECT v FROM folded WHERE k='%s'", "ab", "1 done 1" },
	};
	struct session s = launch_for("main");
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char message[200];

		snprintf(message, sizeof message, "table 1 query %s", cases[i].query);
		say(&s, message);
		snprintf(message, sizeof message, "lookup 1 %s", cases[i].key);
		for (int again = 0; again < 3; again++)
			check_said(&s, message, cases[i].want);
		say(&s, "forget 1");
	}
	assert_int_equal(hang_up(&s), 0);
}

/* The same query with an expansion in a comment behind it is escaped, as Postfix does it. */
static void bound_and_escaped_queries_agree(void **state)
{
	static const char *const queries[] = {
		KV "'%s' ORDER BY rowid", KV "'%u' ORDER BY rowid", "SELECT '%s'",
		"SELECT '''%s%%'", "SELECT typeof('%s')",
		"SELECT '%s' = 1", "SELECT 1 IN ('%s', '2')", "SELECT '%s' + 1", "SELECT length('%s')",
		"SELECT name FROM num WHERE id='%s'", "SELECT name FROM num WHERE id >= '%s'",
		"SELECT name FROM num WHERE '%s' = id || ''", "SELECT name FROM num WHERE id IN ('%s')",
		"SELECT v FROM kv WHERE k LIKE '%s' ORDER BY rowid", "SELECT v FROM kv WHERE k GLOB '%s'",
		"SELECT v FROM folded WHERE k LIKE '%s%%'", "SELECT v FROM folded WHERE k='%s'",
		"SELECT v FROM kv WHERE k LIKE '%s' ESCAPE '\\'", "SELECT name FROM num LIMIT '%s'",
		"SELECT x FROM (SELECT '%s' AS x) WHERE x = 1",
		"SELECT id FROM num WHERE id = (SELECT '%s')",
		"SELECT v FROM kv WHERE k = '%s' UNION SELECT '%s' ORDER BY 1",
		"SELECT '%s' UNION SELECT v FROM kv ORDER BY '%s'",
		"SELECT count(*) FROM kv GROUP BY '%s'", "SELECT name FROM num ORDER BY '%s'",
		"SELECT CASE '%s' WHEN 1 THEN 'int' WHEN '1' THEN 'text' END",
		"SELECT CAST('%s' AS INTEGER) || '%s'", "SELECT name AS '%s' FROM num",
		"SELECT coalesce(nullif('%s', '1'), 'one')", "SELECT 'x' WHERE '%s'",
		"SELECT 'x' WHERE NOT '%s'", "SELECT '%s' COLLATE NOCASE = 'AB'",
		"SELECT count(*) FROM num GROUP BY '%s' HAVING '%s' = max(id)",
		"WITH t(x) AS (VALUES('%s')) SELECT id FROM num, t WHERE id = x",
		"SELECT value FROM json_each('[1,\"%s\"]')", "SELECT '%s' BETWEEN '1' AND '2'",
		"SELECT name FROM num AS '%s' WHERE '%s'.id = 1", "SELECT name FROM '%s'",
	};
	static const char *const keys[] = {
		"a", "A", "it's", "1", "01", "1.0", "1e0", " 1", "-1", "0", "x", "a%", "a_b", "a*", "ab", "AB",
		"num", "id", "name", "kv", "null", "%s", "'", "''", "\\", "a\\b", "\"", "\xc3\xa9", "7 ",
		"9223372036854775808", "0x1", "1; DROP TABLE kv", "b@x.test", "a@'", "; --",
	};
	struct session s = launch_for("main");
	struct buf bound = { 0 };
	(void)state;

	for (size_t i = 0; i < sizeof queries / sizeof *queries; i++) {
		char message[300];

		snprintf(message, sizeof message, "table b%zu query %s", i, queries[i]);
		say(&s, message);
		snprintf(message, sizeof message, "table e%zu query %s -- %%s", i, queries[i]);
		say(&s, message);
		for (size_t j = 0; j < sizeof keys / sizeof *keys; j++) {
			snprintf(message, sizeof message, "lookup b%zu %s", i, keys[j]);
			say(&s, message);
			buf_clear(&bound);
			buf_str(&bound, answer(&s));
			snprintf(message, sizeof message, "lookup e%zu %s", i, keys[j]);
			say(&s, message);
			if (strcmp(buf_cstr(&bound), answer(&s)) != 0)
				fail_msg("%s, key %s: bound: %s", queries[i], keys[j], bound.p);
		}
	}
	buf_done(&bound);
	assert_int_equal(hang_up(&s), 0);
}

static void what_fails_is_temp_and_what_follows_works(void **state)
{
	static const struct { const char *table, *request, *want; } cases[] = {
		{ "query " KV "'%s' AND", "lookup 1 a", " temp incomplete input" },
		{ "query SELECT v FROM nope WHERE k='%s'", "lookup 1 a", " temp no such table: nope" },
		{ "query SELECT v FROM kv WHERE k=%s", "lookup 1 x", " temp no such column: x" },
		{ "query SELECT X'%s'", "lookup 1 6", " temp unrecognized token: \"X'6'\"" },
		{ "query SELECT %s", "lookup 1 \"\n\xc3\xa9", " temp unrecognized token: \"\"   \"" },
		{ "query BEGIN", "lookup 1 a", " temp the query has too few columns" },
		{ "query ATTACH '%s' AS x", "lookup 1 a", " temp the query has too few columns" },
		{ "query DELETE FROM kv WHERE k='%s'", "lookup 1 a", " temp the query writes" },
		{ "query DELETE FROM kv WHERE k=%s RETURNING 1", "lookup 1 1", " temp the query writes" },
		{ "query PRAGMA user_version=%s", "lookup 1 1", " temp the query writes" },
		{ "query ", "lookup 1 a", " temp the query is empty" },
		{ "query -- x", "lookup 1 a", " temp the query is empty" },
		{ "query %s", "lookup 1 ;", " temp the query is empty" },
		{ "query SELECT '%x'", "lookup 1 a",
		  " temp query: unknown expansion %x at character 9 (write %% for a percent sign)" },
		{ "query SELECT abs(-9223372036854775807-'%s')", "lookup 1 1", " temp integer overflow" },
		{ "query SELECT X'%s'", "lookup 1 61%062",
		  " temp key with a NUL in a query that cannot be bound" },
		{ "query SELECT '%u'", "lookup 1 @x", " temp the query cannot be asked for such a key" },
		{ "query SELECT '%s'", "lookup 1 ", " temp the query cannot be asked for such a key" },
		{ "query SELECT 1", "scan 1", " temp scan_query is not set" },
		{ "scan_query SELECT k FROM kv", "scan 1", " temp the query has too few columns" },
		{ "scan_query SELECT k, v FROM nope", "scan 1", " temp no such table: nope" },
		{ "scan_query DELETE FROM kv RETURNING k, v", "scan 1", " temp the query writes" },
		{ "scan_query SELECT id, CASE id WHEN 7 THEN abs(-9223372036854775807-1) ELSE name END"
		  " FROM num", "scan 1", "1:one|2:two temp integer overflow" },
	};
	struct session s = launch_for("main");
	(void)state;

	say(&s, "table good query " KV "'%s'");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char message[200];

		snprintf(message, sizeof message, "table 1 %s", cases[i].table);
		say(&s, message);
		check_said(&s, cases[i].request, cases[i].want);
		check_said(&s, "lookup good a", "1|3 done 2");
		check_said(&s, cases[i].request, cases[i].want);
		say(&s, "forget 1");
	}
	assert_int_equal(hang_up(&s), 0);
}

static void reasons_are_one_short_line(void **state)
{
	struct session s = launch_for("main");
	struct buf request = { 0 };
	(void)state;

	say(&s, "table 1 query SELECT X'%s'");
	buf_str(&request, "lookup 1 ");
	for (int i = 0; i < 500; i++)
		buf_str(&request, "\n\xc3\xa9x");
	say(&s, buf_cstr(&request));
	const char *got = answer(&s);
	assert_int_equal(strncmp(got, " temp ", 6), 0);
	assert_true(strlen(got) > 100);
	assert_true(strlen(got) <= strlen(" temp ") + REASON_MAX);
	for (; *got; got++)
		assert_in_range(*got, 0x20, 0x7e);
	buf_done(&request);
	assert_int_equal(hang_up(&s), 0);
}

/* --- scans ------------------------------------------------------------------------ */

static void a_scan_brings_keys_and_values(void **state)
{
	struct session s = launch_for("main");
	(void)state;

	say(&s, "table 1 scan_query SELECT id, name FROM num ORDER BY id; nonsense");
	check_said(&s, "scan 1", "1:one|2:two|7:seven done 3");
	check_said(&s, "scan 1", "1:one|2:two|7:seven done 3");
	say(&s, "table 2 scan_query SELECT k, v FROM kv WHERE v LIKE '%e%' OR k IN"
		" ('a','null','empty','nul','nulfirst') ORDER BY k, rowid");
	check_said(&s, "scan 2", "%:percent|A:upper|a:1|3|big:1.0e+21|it's:quote|"
				 "nul:a|null:x|\xc3\xa9:e done 9");
	say(&s, "table 3 scan_query SELECT CAST(x'610062' AS TEXT), 1 UNION ALL SELECT 'c', 2");
	check_said(&s, "scan 3", "a^b:1|c:2 done 2");
	say(&s, "table 4 scan_query SELECT 'k', 'v' WHERE 0");
	check_said(&s, "scan 4", " done 0");
	say(&s, "table 5 query SELECT 'x'");
	check_said(&s, "lookup 5 k", "x done 1");
	assert_int_equal(hang_up(&s), 0);
}

/* expiry_column is no value, wherever it stands, and never a guess. */
static void rows_say_when_they_end(void **state)
{
	static const char missing[] = " temp expiry_column ends is not in the result of scan_query: "
				      "select strftime('%s', ends) AS ends";
	static const char no_time[] = "expiry_column ends holds no Unix seconds: "
				      "select strftime('%s', ends) AS ends";
	static const struct { const char *columns, *want; } cases[] = {
		{ "k, v, 1700000000 AS ends", "a:@1700000000:1|b:@1700000000:2 done 2" },
		{ "k, 1700000000 AS Ends, v", "a:@1700000000:1|b:@1700000000:2 done 2" },
		{ "k, v, 0 AS ends", "a:1|b:2 done 2" },
		{ "k, v, NULL AS ends", "a:1|b:2 done 2" },
		{ "k, v, '' AS ends", "a:1|b:2 done 2" },
		{ "k, v, strftime('%s', '2030-01-01 00:00:00') AS ends",
		  "a:@1893456000:1|b:@1893456000:2 done 2" },
		{ "k, v, nullif(1700000000 * (v = 2), 0) AS ends", "a:1|b:@1700000000:2 done 2" },
		{ "'k', v, 1700000000 + v AS ends", "k:@1700000001:1@1700000002:2 done 2" },
		{ "'k', v, 1700000000 * (v = 1) AS ends", "k:@1700000000:1@0:2 done 2" },
		{ "'k', v, 1700000000.75 AS ends", "k:@1700000000:1|2 done 2" },
		{ "k, v", missing },
		{ "ends, v FROM (SELECT 1 AS ends, 2 AS v)--", missing },
		{ "k, 1700000000 AS ends", " temp the query has too few columns" },
	};
	struct session s = launch_for("main");
	char message[300], want[200];
	(void)state;

	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(message, sizeof message, "table 1 scan_query SELECT %s FROM (SELECT 'a' AS k,"
			 " 1 AS v UNION ALL SELECT 'b', 2)", cases[i].columns);
		say(&s, message);
		say(&s, "table 1 expiry_column ends");
		check_said(&s, "scan 1", cases[i].want);
		say(&s, "forget 1");
	}
	static const char *const dates[] = { "2030-01-01", "20300101", "-1", "1893456000000", "soon" };
	for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
		snprintf(message, sizeof message, "table 1 scan_query SELECT 'a', 1, 0 AS ends UNION ALL"
			 " SELECT 'b', 2, '%s' UNION ALL SELECT 'c', 3, 0", dates[i]);
		snprintf(want, sizeof want, "a:1 temp %s", no_time);
		say(&s, message);
		say(&s, "table 1 expiry_column ends");
		check_said(&s, "scan 1", want);
		check_said(&s, "scan 1", want);
		say(&s, "forget 1");
	}
	assert_int_equal(hang_up(&s), 0);
}

static void what_no_message_can_hold_is_unusable_not_absent(void **state)
{
	struct session s = launch_for("main");
	(void)state;

	say(&s, "table 1 query SELECT hex(zeroblob(600000)) WHERE '%s'='long' UNION ALL SELECT 'x'");
	check_said(&s, "lookup 1 long", "^|x done 2");
	check_said(&s, "lookup 1 short", "x done 1");
	say(&s, "table 2 scan_query SELECT 'a', hex(zeroblob(600000)) UNION ALL"
		" SELECT hex(zeroblob(600000)), 'gone' UNION ALL SELECT 'b', 'x'");
	check_said(&s, "scan 2", "a:^|b:x done 2");
	assert_int_equal(hang_up(&s), 0);
}

static void a_large_scan_arrives_whole(void **state)
{
	struct session s = launch_for("main");
	size_t taken = 0;
	unsigned keys = 0, values = 0;
	struct frame f;
	(void)state;

	say(&s, "table 1 scan_query WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n"
		" WHERE i < 99999) SELECT i/2, i FROM n");
	say(&s, "scan 1");
	while (hear(&s, &taken, &f) && f.verb != FRAME_DONE) {
		keys += f.verb == FRAME_KEY;
		values += f.verb == FRAME_VALUE;
	}
	assert_text(f.args[0], "100000");
	assert_int_equal(keys, 50000);
	assert_int_equal(values, 100000);
	assert_int_equal(hang_up(&s), 0);
}

static void a_driver_whose_server_has_gone_ends_quietly(void **state)
{
	struct session s = launch_for("main");
	char byte;
	(void)state;

	say(&s, "table 1 scan_query WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n)"
		" SELECT i, i FROM n");
	say(&s, "scan 1");
	assert_int_equal(recv(s.fd, &byte, 1, 0), 1);
	assert_int_equal(hang_up(&s), 0);
}

/* --- files ------------------------------------------------------------------------ */

#define OTHER_TABLE "CREATE TABLE kv(k, v); "

static struct session launch_for_other(void)
{
	struct session s = launch_for("other");

	say(&s, "table 1 query " KV "'%s'");
	say(&s, "table 2 query SELECT v FROM kv WHERE k=X'%s'");
	say(&s, "table 1 scan_query SELECT k, v FROM kv");
	return s;
}

static void check_all(struct session *s, const char *want)
{
	static const char *const requests[] = { "lookup 1 k", "lookup 2 6b", "scan 1", "ping" };

	for (size_t i = 0; i < sizeof requests / sizeof *requests; i++) {
		say(s, requests[i]);
		const char *got = answer(s);
		if (strncmp(got, want, strlen(want)) != 0)
			fail_msg("%s: %s", requests[i], got);
	}
}

static void a_missing_database_is_down_and_never_made(void **state)
{
	struct session s = launch_for_other();
	(void)state;

	check_all(&s, " down ");
	assert_int_equal(access(path_of("other"), F_OK), -1);
	make("other", OTHER_TABLE "INSERT INTO kv VALUES('k','1')");
	check_said(&s, "lookup 1 k", "1 done 1");
	unlink(path_of("other"));
	check_all(&s, " down ");
	make("other", OTHER_TABLE "INSERT INTO kv VALUES('k','2')");
	check_said(&s, "lookup 1 k", "2 done 1");
	unlink(path_of("other"));
	assert_int_equal(hang_up(&s), 0);
}

static void a_replaced_database_is_noticed_at_once(void **state)
{
	struct session s = launch_for_other();
	char old[64];
	(void)state;

	strcpy(old, path_of("new"));
	for (int i = 0; i < 10; i++) {
		char sql[100], want[32];

		snprintf(sql, sizeof sql, OTHER_TABLE "INSERT INTO kv VALUES('k',%d)", i);
		make("new", sql);
		assert_int_equal(rename(old, path_of("other")), 0);
		snprintf(want, sizeof want, "%d done 1", i);
		check_said(&s, "lookup 1 k", want);
		snprintf(want, sizeof want, "k:%d done 1", i);
		check_said(&s, "scan 1", want);
	}
	unlink(path_of("other"));
	assert_int_equal(hang_up(&s), 0);
}

static void a_changed_database_is_seen(void **state)
{
	struct session s = launch_for_other();
	sqlite3 *db = database("other");
	(void)state;

	execute(db, OTHER_TABLE "INSERT INTO kv VALUES('k','1')");
	check_said(&s, "lookup 1 k", "1 done 1");
	execute(db, "UPDATE kv SET v='2'");
	check_said(&s, "lookup 1 k", "2 done 1");
	execute(db, "DROP TABLE kv");
	check_said(&s, "lookup 1 k", " temp no such table: kv");
	check_said(&s, "scan 1", " temp no such table: kv");
	execute(db, "CREATE TABLE kv(x, k, v); INSERT INTO kv VALUES(0, 'k', '3')");
	check_said(&s, "lookup 1 k", "3 done 1");
	sqlite3_close(db);
	unlink(path_of("other"));
	assert_int_equal(hang_up(&s), 0);
}

static void a_locked_database_is_temp(void **state)
{
	struct session s = launch_for_other();
	sqlite3 *db = database("other");
	(void)state;

	execute(db, OTHER_TABLE "INSERT INTO kv VALUES('k','1')");
	execute(db, "BEGIN EXCLUSIVE");
	check_all(&s, " temp database is locked");
	execute(db, "COMMIT");
	check_said(&s, "lookup 1 k", "1 done 1");
	execute(db, "BEGIN EXCLUSIVE");
	check_all(&s, " temp database is locked");
	execute(db, "COMMIT");
	check_said(&s, "lookup 1 k", "1 done 1");
	sqlite3_close(db);
	unlink(path_of("other"));
	assert_int_equal(hang_up(&s), 0);
}

/* Overwrite `n` bytes from `at` on. */
static void damage(long at, size_t n)
{
	FILE *f = fopen(path_of("other"), "r+");

	assert_non_null(f);
	assert_int_equal(fseek(f, at, SEEK_SET), 0);
	while (n--)
		fputc(0xff, f);
	assert_int_equal(fclose(f), 0);
}

static void a_damaged_database_is_never_an_empty_answer(void **state)
{
	struct session s = launch_for_other();
	(void)state;

	make("other", OTHER_TABLE "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i+1 FROM n"
				  " WHERE i < 9999) INSERT INTO kv SELECT 'k' || i, 'some value' FROM n");
	damage(4096 + 8, 64000);
	say(&s, "lookup 1 k");
	assert_non_null(strstr(answer(&s), " temp "));
	say(&s, "scan 1");
	assert_non_null(strstr(answer(&s), " temp "));
	damage(0, 100);
	check_all(&s, " down ");
	assert_int_equal(truncate(path_of("other"), 0), 0);
	check_said(&s, "lookup 1 k", " temp no such table: kv");
	check_said(&s, "scan 1", " temp no such table: kv");
	unlink(path_of("other"));
	make("other", OTHER_TABLE "INSERT INTO kv VALUES('k','1')");
	check_said(&s, "lookup 1 k", "1 done 1");
	unlink(path_of("other"));
	assert_int_equal(hang_up(&s), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_conversation_ends_with_the_server),
		cmocka_unit_test(wrong_settings_are_refused_with_a_reason),
		cmocka_unit_test(a_peer_that_speaks_nonsense_is_left),
		cmocka_unit_test(messages_may_come_in_pieces_or_at_once),
		cmocka_unit_test(tables_are_told_apart_and_forgotten),
		cmocka_unit_test(finds_what_postfix_would_find),
		cmocka_unit_test(bound_and_escaped_queries_agree),
		cmocka_unit_test(what_fails_is_temp_and_what_follows_works),
		cmocka_unit_test(reasons_are_one_short_line),
		cmocka_unit_test(a_scan_brings_keys_and_values),
		cmocka_unit_test(rows_say_when_they_end),
		cmocka_unit_test(what_no_message_can_hold_is_unusable_not_absent),
		cmocka_unit_test(a_large_scan_arrives_whole),
		cmocka_unit_test(a_driver_whose_server_has_gone_ends_quietly),
		cmocka_unit_test(a_missing_database_is_down_and_never_made),
		cmocka_unit_test(a_replaced_database_is_noticed_at_once),
		cmocka_unit_test(a_changed_database_is_seen),
		cmocka_unit_test(a_locked_database_is_temp),
		cmocka_unit_test(a_damaged_database_is_never_an_empty_answer),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}

#!/usr/bin/env python3
# sanitizers: asan
"""socketmapd-mysql by itself, against MariaDB, bad networks and bad servers."""
import sys

sys.path.insert(0, "t/lib")
from harness import *
from driver import Driver
from mariadb import Impostor, MariaDB, Proxy

ROWS = 40
LONG = "x" * 700
SCHEMA = """
CREATE TABLE kv (id INT AUTO_INCREMENT PRIMARY KEY, k VARCHAR(255), v TEXT, KEY (k));
INSERT INTO kv(k, v) SELECT CONCAT('k', seq), CONCAT('value ', seq) FROM seq_1_to_%d;
INSERT INTO kv(k, v) VALUES ('two', 'a'), ('two', 'b'), ('null', NULL), ('empty', ''),
    ('long', '%s');
CREATE TABLE t (k INT PRIMARY KEY, i INT, z INT(5) ZEROFILL, u BIGINT UNSIGNED, f FLOAT, d DOUBLE,
    n DECIMAL(9,3), dt DATETIME(3), da DATE, ti TIME, y YEAR, b BIT(16), e ENUM('x','y'),
    s SET('p','q'), bl BLOB, bo BOOLEAN);
INSERT INTO t VALUES (1, -7, 42, 18446744073709551615, 0.1, 1e20, 1.5, '2024-02-03 04:05:06.7',
    '2024-02-03', '-01:02:03', 2024, 0x4142, 'y', 'p,q', 'blob', TRUE);
CREATE TABLE mark (n INT); INSERT INTO mark VALUES (NULL);
DELIMITER //
CREATE PROCEDURE one(p VARCHAR(255)) READS SQL DATA SELECT v FROM kv WHERE k = p ORDER BY id//
CREATE PROCEDURE two(p VARCHAR(255)) BEGIN SELECT 'a'; SELECT 'b'; END//
CREATE PROCEDURE none(p VARCHAR(255)) BEGIN END//
CREATE PROCEDURE late(p VARCHAR(255)) BEGIN SELECT 'a'; SIGNAL SQLSTATE '45000'; END//
CREATE PROCEDURE busy(p VARCHAR(255)) SIGNAL SQLSTATE '08S01' SET MYSQL_ERRNO = 1047//
""" % (ROWS, LONG)
TABLES = {
    "kv": {"query": "SELECT v FROM kv WHERE k='%s' ORDER BY id",
           "scan_query": "SELECT k, v FROM kv ORDER BY id",
           "change_query": "SELECT MAX(id), COUNT(*), NULL FROM kv"},
    "copy": {"scan_query": "SELECT k, v FROM kv ORDER BY id"},
    "text": {"query": "SELECT v FROM kv WHERE k='%s' ORDER BY id -- %s"},
    "one": {"query": "CALL one('%s')"}, "two": {"query": "CALL two('%s')"},
    "late": {"query": "CALL late('%s')"}, "none": {"query": "CALL none('%s')"},
    "none_ok": {"query": "CALL none('%s')", "require_result_set": False},
    "busy": {"query": "CALL busy('%s')"},
    "columns": {"query": "SELECT k, NULL, v, '' FROM kv WHERE k='%s' ORDER BY id"},
    "types": {"query": "SELECT i,z,u,f,d,n,dt,da,ti,y,b,e,s,bl,bo,NULL FROM t WHERE k='%s'"},
    "plain": {"query": "SELECT i,u,n,e,s,bl,bo FROM t WHERE k='%s'"},
    "set": {"query": "SET @a = '%s'"}, "no_table": {"query": "SELECT v FROM no WHERE k='%s'"},
    "write": {"query": "INSERT INTO kv(k) VALUES ('%s')"},
    "two_queries": {"query": "SELECT '%s'; SELECT 'b'"},
    "sleep": {"query": "SELECT SLEEP(20), '%s'"},
    "infile": {"query": "SELECT LOAD_FILE('/etc/passwd'), '%s'"},
    "narrow": {"scan_query": "SELECT k FROM kv"},
    "broken": {"scan_query": "SELECT k, IF(id = 30, (SELECT 1 UNION SELECT 2), v) FROM kv"},
    "ending": {"scan_query": "SELECT k, UNIX_TIMESTAMP(IF(id=1, '2030-01-01', NULL)) AS Ends, v,"
                             " k FROM kv WHERE id < 3 ORDER BY id", "expiry_column": "ends"},
    "ends_anyhow": {"scan_query": "SELECT k, v, IF(id=2, '2030-01-01', 0) AS ends FROM kv"
                                  " ORDER BY id", "expiry_column": "ends"},
    "ends_when": {"scan_query": "SELECT k, v FROM kv", "expiry_column": "ends"},
    "ends_only": {"scan_query": "SELECT k, 0 AS ends FROM kv", "expiry_column": "ends"},
    "from_file": {"query": "SELECT @from_file, '%s'"},
    "big": {"scan_query": "SELECT CONCAT('user', seq, '@example.com'), 'somewhere'"
                          " FROM seq_1_to_400000"},
    "session": {"query": "SELECT @@tx_isolation, @@tx_read_only, @@autocommit,"
                         " @@sql_select_limit, @@max_statement_time, @@lock_wait_timeout,"
                         " @@character_set_client FROM DUAL WHERE '%s' <> ''"},
}
TEXT_OF_TYPES = ["-7", "00042", "18446744073709551615", "0.1", "1e20", "1.500",
                 "2024-02-03 04:05:06.700", "2024-02-03", "-01:02:03", "2024", "AB", "y", "p,q",
                 "blob", "1"]
NASTY = ["'", "''", "\\", "\\'", "' OR '1'='1", "\\' OR 1=1 -- ", "\" OR \"\"=\"", "%", "_",
         "k%", "k1'; DROP TABLE kv; -- ", "\x1a", "\n", "ü", "\U0001f4e7", "k1\\", "k1 --", "?",
         "?; SELECT 1", "' UNION SELECT v FROM kv -- ", "/*", "#", ":a", "@a", "x" * 9000]


def driver(db, **settings):
    return Driver("mysql", {"hosts": "unix:" + db.socket, "user": "reader", "password": "secret",
                            "dbname": "mail", **settings}, TABLES)


def check_lookups(db):
    with driver(db) as d:
        like(d.hello.text, "^1 socketmapd-mysql/.* libmariadb 3", "it says which library it has")
        prepared = db.status("Com_stmt_execute")
        for table in "kv", "text", "one":
            same(d.lookup(table, "k7"), ["value 7"], table + ": a hit")
            same(d.lookup(table, "nobody"), [], table + ": a miss")
            same(d.lookup(table, "two"), ["a", "b"], table + ": two rows")
            same(d.lookup(table, "null"), [], table + ": NULL is no value")
            same(d.lookup(table, "empty"), [], table + ": nor is the empty string")
            same(d.lookup(table, "long"), [LONG], table + ": a long value is whole")
            if table == "kv":
                same(db.status("Com_stmt_execute") - prepared, 6, "kv is bound, the others not")
        same(db.status("Com_stmt_execute") - prepared, 6, "text and one are sent as text")
        same(db.status("Prepared_stmt_count"), 0, "no statement is left on the server")
        same(d.lookup("columns", "two"), ["two", "a", "two", "b"], "all columns of all rows")
        same(d.lookup("types", "1"), TEXT_OF_TYPES, "every type looks as in Postfix")
        same(d.lookup("plain", "1"), ["-7", "18446744073709551615", "1.500", "y", "p,q", "blob",
                                      "1"], "and so do those that come from a bound query")
        same(d.lookup("none_ok", "x"), [], "no result set is no value where that is allowed")
        for table in "two", "late", "none", "set", "no_table", "write", "two_queries":
            same(d.lookup(table, "x"), "temp", table + ": an error")
        same(d.lookup("infile", "x"), ["x"], "it reads no files of the server")
        same(d.lookup("kv", "k7"), ["value 7"], "none of that spoils the connection")
        for key in NASTY:
            for table in "kv", "text", "one":
                reply = d.lookup(table, key)
                ok(reply == [] or (table, len(key)) == ("one", 9000) and reply == "temp",
                   "%s: %.30r finds nothing" % (table, key), reply)
        same(d.lookup("session", "x"), ["REPEATABLE-READ", "1", "1", "18446744073709551615",
                                        "4.500000", "5", "utf8mb4"], "the session is as it must be")
        same(len(db.connections()), 1, "all of it on one connection")
        same(db.sql("SELECT COUNT(*) FROM mail.kv"), [[str(ROWS + 5)]], "nothing was written")


def check_scans(db):
    with driver(db) as d:
        reply = d.ask("scan", "kv")
        same((len(reply.rows), reply.end, reply.text), (ROWS + 3, "done", str(ROWS + 3)),
             "a scan brings all rows with a value")
        same(reply.rows[:2] + reply.rows[-3:], [("k1", "value 1"), ("k2", "value 2"), ("two", "a"),
             ("two", "b"), ("long", LONG)], "in their order")
        db.sql("INSERT INTO mail.kv(k, v) VALUES ('new', 'row')")
        same(d.ask("scan", "narrow").end, "temp", "one column is not enough")
        db.sql("INSERT INTO mail.kv(k, v) VALUES ('newer', 'row')")
        same(d.ask("scan", "broken").end, "temp", "an error among the rows is not their end")
        same(d.ask("scan", "kv").text, str(ROWS + 5), "an error ends a round")
        db.sql("INSERT INTO mail.kv(k, v) VALUES ('newest', 'row')")
        same(d.lookup("kv", "newest"), [], "a sample sees what the scan saw")
        same(d.ask("scan", "kv").text, str(ROWS + 6), "a second scan of a table sees what is new")
        before = d.ask("changed", "kv").rows
        same(before, d.ask("changed", "kv").rows, "nothing has changed")
        db.sql("INSERT INTO mail.kv(k, v) VALUES ('newest of all', 'row')")
        same(d.ask("scan", "kv").text, str(ROWS + 6), "a scan sees what was asked before it")
        same(d.ask("scan", "copy").text, str(ROWS + 6), "as does that of another table")
        same(d.ask("scan", "kv").text, str(ROWS + 7), "and the next one what is new")
        db.sql("DELETE FROM mail.kv WHERE k LIKE 'new%'")
        ok(d.ask("changed", "kv").rows != before, "something has changed")
        same(d.ask("changed", "text").end, "temp", "no change_query, no answer")
        same([len(db.sql("SHOW PROCESSLIST")), len(db.connections())], [2, 1], "on one connection")
    with driver(db) as d:
        same(d.ask("scan", "big").text, "400000", "many rows")
        kb = d.peak_kb()
        ok(kb < 30000 * SLOW * SLOW, "in little memory", kb)
    db.sql("SET GLOBAL sql_select_limit = 3")
    with driver(db) as d:
        same([d.ask("scan", "kv").text, d.lookup("two", "two")], [str(ROWS + 3), "temp"],
             "no limit of the server's cuts a result short")
    db.sql("SET GLOBAL sql_select_limit = DEFAULT")


def check_cut_connections(db):
    """However much of the conversation comes through, no row is missing from a `done`."""
    want = {("lookup", "kv", "two"): ["a", "b"], ("lookup", "text", "two"): ["a", "b"],
            ("lookup", "one", "k7"): ["value 7"], ("scan", "kv"): [str(ROWS + 3)]}
    for then in "close", "reset":
        for question, rows in want.items():
            wrong, seen, limit = [], set(), 300
            while limit < 6000:
                proxy = Proxy(db.port, limit, then)
                with driver(db, hosts="127.0.0.1:%d" % proxy.port, connect_timeout="1000",
                            timeout="2000") as d:
                    reply = d.ask(*question)
                values = [reply.text] if question[0] == "scan" else [v for _, v in reply.rows]
                if reply.end == "done" and values != rows:
                    wrong.append((limit, reply))
                seen.add(reply.end)
                proxy.close()
                if reply.end == "done":
                    break
                limit += 7 if limit < 1100 else 41
            ok(not wrong and "done" in seen and seen & {"temp", "down"},
               "%s after any number of bytes: %s %s" % (then, *question[:2]), wrong, seen)


def check_stalls(db):
    for limit, what in (0, "greeting"), (60, "login"), (130, "session"):
        proxy = Proxy(db.port, limit, "stall")
        with driver(db, hosts="127.0.0.1:%d" % proxy.port, connect_timeout="1000",
                    timeout="2000") as d:
            begin = time.monotonic()
            reply = d.ask("lookup", "kv", "k7")
            took = time.monotonic() - begin
            ok(reply.end == "down" and took < 6 * SLOW, "a stall in the %s is noticed" % what,
               reply, took)
        proxy.close()
    stalled = [Proxy(db.port, 0, "stall") for _ in range(3)]
    ports = [p.port for p in stalled] + [db.port]
    with driver(db, hosts=" ".join("127.0.0.1:%d" % p for p in ports)) as d:
        begin = time.monotonic()
        same(d.lookup("kv", "k7"), ["value 7"], "the fourth host answers")
        ok(time.monotonic() - begin < 5 * SLOW, "within the time of one lookup")
    for p in stalled:
        p.close()
    with driver(db, hosts="127.0.0.1:%d" % proxy.port, timeout="2000") as d:
        reply = d.ask("ping")
        like(reply.text, r"127\.0\.0\.1:%d: " % proxy.port, "the reason names the host")
        same(reply.end, "down", "nobody listens")
    with driver(db, timeout="1000") as d:
        begin = time.monotonic()
        same(d.lookup("sleep", "x"), "temp", "the server ends a query that takes too long")
        ok(time.monotonic() - begin < 3 * SLOW, "in time")
        same(d.lookup("kv", "k7"), ["value 7"], "and goes on")


def check_expiry(db):
    with driver(db) as d:
        hint = ": select UNIX_TIMESTAMP(ends) AS ends"
        year = int(db.sql("SELECT UNIX_TIMESTAMP('2030-01-01')")[0][0])
        reply = d.ask("scan", "ending")
        same(reply.rows, [("k1", "value 1"), ("k1", "k1"), ("k2", "value 2"), ("k2", "k2")],
             "the column that says when a row ends is no value")
        same(d.until, {"k1": year}, "but says when")
        reply = d.ask("scan", "ends_anyhow")
        same((reply.rows, reply.end, reply.text), ([("k1", "value 1")], "temp",
             "expiry_column ends holds no Unix seconds" + hint), "a date is not taken for seconds")
        reply = d.ask("scan", "ends_when")
        same((reply.rows, reply.end, reply.text), ([], "temp",
             "expiry_column ends is not in the result of scan_query" + hint), "nor is nothing")
        same(d.ask("scan", "ends_only").end, "temp", "there must be a value, too")
        same(d.ask("scan", "kv").end, "done", "what follows works")
        same(len(db.connections()), 1, "all of it on one connection")


def check_lost_connections(db):
    with driver(db) as d:
        same(d.lookup("kv", "k7"), ["value 7"], "connected")
        for table in "kv", "text", "one":
            db.sql("KILL %d" % db.connections()[0])
            wait_for(lambda: not db.connections())
            same(d.lookup(table, "k8"), ["value 8"], table + ": a killed connection is replaced")
        same(d.ask("ping").end, "done", "pinged")
        db.sql("KILL %d" % db.connections()[0])
        same(d.ask("ping").end, "done", "also by a ping")
    with driver(db, idle_interval="300") as d:
        same(d.lookup("kv", "k7"), ["value 7"], "connected")
        ok(wait_for(lambda: not db.connections()), "an unused connection is closed")
        same(d.lookup("kv", "k7"), ["value 7"], "and opened when it is needed")
    same(d.log.count("host_connected"), 1, "which nobody has to read about")


def check_hosts(db, other):
    dead = free_port()
    hosts = "inet:127.0.0.1:%d, inet:127.0.0.1:%d" % (dead, db.port)
    logs = ""
    for _ in range(8):
        with driver(db, hosts=hosts) as d:
            same(d.lookup("kv", "k7"), ["value 7"], "one of two hosts is enough")
        logs += d.log
    like(logs, r"event=host_failed source=test host=inet:127\.0\.0\.1:%d why=.* rests=60s" % dead,
         "the dead one is named")
    like(logs, r"event=host_connected source=test host=inet:127\.0\.0\.1:%d " % db.port,
         "and the one in use")
    with driver(db, hosts="127.0.0.1:%d unix:%s" % (dead, db.socket)) as d:
        same(d.lookup("kv", "k7"), ["value 7"], "a unix socket")
    same(d.log.count("host_failed"), 0, "comes first")
    other.sql("DROP PROCEDURE busy; CREATE PROCEDURE busy(p TEXT) SELECT 'fine'", "mail")
    seen = set()
    for _ in range(8):
        hosts = "127.0.0.1:%d 127.0.0.1:%d" % (db.port, other.port)
        with driver(db, hosts=hosts) as d:
            same(d.lookup("busy", "x"), ["fine"], "a host that refuses queries is left (Galera)")
            same(d.lookup("busy", "x"), ["fine"], "and stays so")
        seen.add(d.log.count("host_failed"))
    same(max(seen), 1, "it was asked once")
    with driver(db, password="wrong") as d:
        ends = [d.ask("lookup", "kv", "x").end for _ in range(5)] + [d.ask("ping").end]
        same(ends, ["down"] * 6, "a wrong password")
    same(d.log.count("host_failed"), 1, "is sent once")
    ok("wrong" not in d.log and "secret" not in d.log, "and told to nobody", d.log)


def check_option_files(db):
    home = scratch()
    replace(home + "/.my.cnf", "[client]\ninit-command=\"SET @from_file='yes'\"\n"
            "[mine]\ninit-command=\"SET @from_file='mine'\"\n")
    source = {"hosts": "unix:" + db.socket, "user": "reader", "password": "secret",
              "dbname": "mail"}
    for settings, want, why in (
            ({}, ["x"], "no option file is read"),
            ({"option_file": home + "/.my.cnf"}, ["yes", "x"], "but the one we are told to"),
            ({"option_file": home + "/.my.cnf", "option_group": "mine"}, ["mine", "x"],
             "and the group")):
        with Driver("mysql", dict(source, **settings), TABLES, HOME=home) as d:
            same(d.lookup("from_file", "x"), want, why)


def check_secrets(db):
    dir = scratch()
    path = dir + "/password"
    cf = dir + "/x.cf"
    replace(cf, "user = reader\npassword = secret\n")
    for text, mode, why in (
            ("secret\n", 0o600, None), ("secret", 0o400, None), ("secret\r\n", 0o640, None),
            ("secret\n", 0o644, "open to others"), ("secret\n", 0o660, "open to others"),
            ("\n", 0o600, "empty"), ("", 0o600, "empty"), (None, 0, "No such file")):
        if text is None:
            os.unlink(path)
        else:
            replace(path, text)
            os.chmod(path, mode)
        for setting in {"password_file": path}, {"password_credential": "password"}:
            with Driver("mysql", {"hosts": "unix:" + db.socket, "user": "reader", "dbname": "mail",
                                  **setting}, TABLES, CREDENTIALS_DIRECTORY=dir) as d:
                reply = d.ask("ping")
                ok(reply.end == ("down" if why else "done") and (why or "") in reply.text,
                   "%s of %r, mode %o" % (*setting, text, mode), reply)
    with Driver("mysql", {"hosts": "unix:" + db.socket, "user": "reader", "dbname": "mail",
                          "password_cf": cf}, TABLES) as d:
        same(d.ask("ping").end, "done", "the password of a Postfix table file")


def check_other_servers():
    """Not MariaDB, by its own account: nothing is bound, and max_statement_time not known."""
    db = MariaDB(SCHEMA, "version=8.0.36\n")
    with driver(db) as d:
        for table in "kv", "text", "one":
            same(d.lookup(table, "two"), ["a", "b"], table + ": answers from another server")
        same(d.ask("scan", "kv").end, "done", "and a scan")
    same(db.status("Com_stmt_prepare"), 0, "without prepared statements")
    db = MariaDB(SCHEMA, "sql_mode=ANSI_QUOTES,NO_BACKSLASH_ESCAPES\n")
    with driver(db) as d:
        for table in "kv", "text", "one":
            same(d.lookup(table, "k7"), ["value 7"], table + ": another sql_mode")
            for key in NASTY[:9]:
                same(d.lookup(table, key), [], "%s: %r finds nothing" % (table, key))
    same(db.status("Com_stmt_prepare"), 0, "without prepared statements")


def check_impostors(db):
    """A server may ask for anything; it gets neither a file of ours nor the password."""
    for plugin in b"mysql_clear_password", b"dialog":
        server = Impostor(then=b"\xfe" + plugin + b"\0Password: \0")
        with driver(db, hosts="127.0.0.1:%d" % server.port) as d:
            same(d.ask("ping").end, "down", "%s is refused" % plugin.decode())
        ok(server.heard and b"secret" not in server.heard, "and gets no password", server.heard)
    home = scratch()
    replace(home + "/my.cnf", "[client]\nlocal-infile=1\n")
    replace(home + "/file", "our file")
    for settings in {}, {"option_file": home + "/my.cnf"}:
        server = Impostor(query=b"\xfb" + home.encode() + b"/file")
        with driver(db, hosts="127.0.0.1:%d" % server.port, **settings) as d:
            same(d.ask("ping").end, "down", "a server that asks for a file %s" % settings)
            d.lookup("kv", "x")
        ok(b"SET" in server.heard and b"our file" not in server.heard, "does not get it",
           server.heard)


def check_settings(db):
    for settings, why in (({"hosts": "inet:x:99999"}, "hosts: "), ({"timeout": "soon"}, "timeout"),
                          ({"hosts": "unix:"}, "hosts: ")):
        with driver(db, **settings) as d:
            ok(d.hello.end == "down" and why in d.hello.text, "%s is refused" % settings, d.hello)
        same(d.process.returncode, 1, "and ends it")


db = MariaDB(SCHEMA)
other = MariaDB(SCHEMA)
for check in (check_lookups, check_scans, check_expiry, check_lost_connections, check_option_files, check_secrets,
              check_settings, check_impostors, check_cut_connections, check_stalls):
    check(db)
check_hosts(db, other)
check_other_servers()
done()

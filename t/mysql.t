#!/usr/bin/env python3
"""MariaDB behind the server: maps from it, and what becomes of them when it is in trouble."""
import sys

sys.path.insert(0, "t/lib")
from harness import *
from mariadb import MariaDB, PROGRAMS

SCHEMA = """
CREATE TABLE alias (address VARCHAR(255) PRIMARY KEY, goto TEXT, active BOOL DEFAULT 1);
INSERT INTO alias(address, goto) SELECT CONCAT('user', seq, '@d.example'), CONCAT('box', seq)
    FROM seq_1_to_100;
INSERT INTO alias VALUES ('off@d.example', 'x', 0), ('@d.example', 'catchall', 1),
    ('list@d.example', 'a@x,b@y', 1), ('null@d.example', NULL, 1), ('empty@d.example', '', 1);
CREATE TABLE member (list VARCHAR(255), m VARCHAR(255), n VARCHAR(255));
INSERT INTO member VALUES ('l@d.example', 'a', 'b'), ('l@d.example', NULL, 'c');
CREATE PROCEDURE find(p VARCHAR(255)) READS SQL DATA
    SELECT goto FROM alias WHERE address = p AND active;
"""
ALIAS = {"source": "db", "search": "exact",
         "query": "SELECT goto FROM alias WHERE address='%s' AND active"}
MIRROR = dict(ALIAS, mode="mirror", refresh="1h",
              scan_query="SELECT address, goto FROM alias WHERE active ORDER BY address")
# What the directory knows, and what it does not.
KNOWN = {"user%d@d.example" % i: "OK box%d" % i for i in range(1, 101)}
UNKNOWN = ["nobody%d@d.example" % i for i in range(100)]


def demand(**settings):
    return dict(ALIAS, ttl="100ms", negative_ttl="0", stale_max="0", **settings)


def never_wrong(key, reply):
    """TEMP is always right; anything else must be the truth."""
    if reply.startswith("TEMP ") or reply == KNOWN.get(key, "NOTFOUND "):
        return None
    return "is wrong"


def all_keys():
    return list(KNOWN) + UNKNOWN


def recovers(server, why, map="asked", seconds=20):
    same(server.wait_for_reply(map, "user1@d.example", "^OK", seconds), "OK box1", why)


def check_answers(db):
    maps = {
        "asked": ALIAS, "copied": MIRROR, "virtual_alias_maps": dict(MIRROR, search="virtual"),
        "called": dict(ALIAS, query="CALL find('%s')"),
        "members": dict(ALIAS, query="SELECT m, n FROM member WHERE list='%s'",
                        result_format="<%s>"),
        "copied_members": dict(MIRROR, query="SELECT m, n FROM member WHERE list='%s'",
                               scan_query="SELECT list, m, n FROM member"),
        "alone": dict(MIRROR, on_miss="notfound"),
    }
    with Server(maps=maps, sources=[db.source(connections=4)]) as server:
        for map in "copied", "virtual_alias_maps", "copied_members", "alone":
            ok(server.wait_for_event("refreshed", map=map), map + " is loaded", server.log())
        for map in "asked", "copied", "called", "alone":
            for key, want in (("user7@d.example", "OK box7"), ("USER7@D.Example", "OK box7"),
                              ("list@d.example", "OK a@x,b@y"), ("off@d.example", "NOTFOUND "),
                              ("null@d.example", "NOTFOUND "), ("empty@d.example", "NOTFOUND "),
                              ("' OR '1'='1", "NOTFOUND "), ("\\' OR 1=1 -- ", "NOTFOUND "),
                              ("user_@d.example", "NOTFOUND "), ("%", "NOTFOUND ")):
                same(server.ask(map, key), want, "%s: %s" % (map, key))
        same(server.ask("virtual_alias_maps", "nobody@d.example"), "OK catchall", "a catch-all")
        same(server.ask("members", "l@d.example"), "OK <a>,<b>,<c>", "rows and columns")
        same(server.ask("copied_members", "l@d.example"), "OK a,b,c", "also in a mirror")
        db.sql("INSERT INTO alias VALUES ('new@d.example', 'new', 1)", "mail")
        same(server.ask("copied", "new@d.example"), "OK new", "a mirror asks for what it lacks")
        same(server.ask("alone", "new@d.example"), "NOTFOUND ", "unless it shall not")
        ok(not server.events("mirror_differs"), "mirrors and lookups agree")
        for pid in [server.pid] + server.drivers():
            for file in "cmdline", "environ":
                ok("secret" not in proc_file(pid, file), "no password in %s" % file)
        ok("secret" not in server.log(), "nor in the log")
        ok(server.wait_for_event("host_connected", host="unix:" + db.socket, source="db"),
           "the log names the host in use")
    db.sql("DELETE FROM alias WHERE address = 'new@d.example'", "mail")


def check_many_clients(db):
    """500 clients ask for what nobody knows; the database sees `connections` and one that scans."""
    maps = {"asked": demand(deadline="10s"), "copied": dict(MIRROR, refresh="1s")}
    db.sql("FLUSH STATUS")
    with Server(maps=maps, sources=[db.source(connections=4)]) as server:
        recovers(server, "it answers")
        clients = [server.client() for _ in range(500)]
        for turn in range(4):
            for i, c in enumerate(clients):
                c.send(c.request("asked", "user%d@d.example" % (i % 100) if i % 2 else
                                 "no%d-%d@d.example" % (turn, i)))
            wrong = [r for i, r in enumerate(c.read() for c in clients)
                     if r != ("OK box%d" % (i % 100) if i % 2 else "NOTFOUND ")]
            ok(not wrong, "500 clients are answered", wrong[:5])
        most = db.status("Max_used_connections")
        ok(4 <= most <= 4 + 1 + 1, "over five connections at most, besides that of this test", most)
        for c in clients:
            c.close()


def check_kills(db):
    maps = {"asked": demand(), "copied": dict(MIRROR, refresh="1s")}
    with Server(maps=maps, sources=[db.source(connections=2)]) as server:
        recovers(server, "it answers")
        with Load(server, "asked", all_keys(), never_wrong) as load, \
                Load(server, "copied", list(KNOWN), lambda k, r: r != KNOWN[k]) as copied:
            ok(server.wait_for_event("refreshed", map="copied"), "the mirror is loaded")
            for _ in range(40):
                db.sql("KILL USER reader")
        ok(not load.wrong, "killed connections make no wrong answers", load.wrong[:5])
        ok(load.verdicts["OK"] > 100 and load.verdicts["NOTFOUND"] > 100, "but right ones",
           load.verdicts)
        ok(not [w for w in copied.wrong if "TEMP" not in w], "nor wrong mirrors", copied.wrong[:5])
        recovers(server, "all is well afterwards")


def check_outages(db):
    maps = {"asked": demand(deadline="3s"), "copied": dict(MIRROR, refresh="1s", max_age="1h")}
    source = db.source(connections=2, timeout="2s", connect_timeout="1s", retry_interval="1s")
    with Server(maps=maps, sources=[source]) as server:
        ok(server.wait_for_event("refreshed", map="copied"), "the mirror is loaded")
        recovers(server, "it answers")

        def trouble(why, begin, end, reason):
            with Load(server, "asked", all_keys(), never_wrong, 2) as load:
                begin()
                like(server.wait_for_reply("asked", "user1@d.example", "^TEMP"), "^TEMP",
                     why + ": TEMP")
                same(server.ask("copied", "user1@d.example"), "OK box1",
                     why + ": the mirror answers")
                ok(wait_for(lambda: re.search(reason, server.log())), why + ": the log says why",
                   server.log()[-2000:])
                end()
                recovers(server, why + ": it recovers", seconds=40)
            ok(not load.wrong, why + ": no wrong answer", load.wrong[:5])

        trouble("a crash", db.stop, db.start, r"host_failed .*sock")
        trouble("a stall", lambda: db.signal(signal.SIGSTOP), lambda: db.signal(signal.SIGCONT),
                "deadline missed|Lost connection")
        trouble("a lost table", lambda: db.sql("RENAME TABLE alias TO gone", "mail"),
                lambda: db.sql("RENAME TABLE gone TO alias", "mail"), "doesn't exist")
        trouble("a lost column", lambda: db.sql("ALTER TABLE alias CHANGE goto go_to TEXT", "mail"),
                lambda: db.sql("ALTER TABLE alias CHANGE go_to goto TEXT", "mail"),
                "Unknown column")
        trouble("a lost privilege",
                lambda: db.sql("REVOKE ALL ON mail.* FROM reader@'%'; KILL USER reader"),
                lambda: db.sql("GRANT SELECT, EXECUTE ON mail.* TO reader@'%'"), "denied")
        trouble("a locked table", lambda: lock(db), unlock, "max_statement_time|[Ll]ock wait")
        n = len(server.events("refreshed", map="copied"))
        db.sql("SET GLOBAL sql_select_limit = 2")
        db.sql("KILL USER reader")
        ok(server.wait_for_event("refreshed", n + 2, 20, map="copied", entries=102),
           "a limit of the server's does not shorten a mirror")
        db.sql("SET GLOBAL sql_select_limit = DEFAULT")


_locker = []


def lock(db):
    """Hold a lock on the table until unlock()."""
    p = subprocess.Popen([PROGRAMS["mariadb"], "--no-defaults", "-uroot", "-S", db.socket, "mail"],
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                         preexec_fn=die_with_parent)
    p.stdin.write("LOCK TABLE alias WRITE; SELECT SLEEP(0);\n")
    p.stdin.flush()
    _locker.append(p)


def unlock():
    _locker.pop().communicate()


def check_passwords(db):
    dir = scratch()
    path = dir + "/password"
    replace(path, "wrong\n")
    os.chmod(path, 0o600)
    source = db.source(connections=2, password_file=path, retry_interval="2s")
    del source["password"]
    with Server(maps={"asked": demand()}, sources=[source]) as server:
        before = db.status("Access_denied_errors")
        with Load(server, "asked", all_keys(), never_wrong) as load:
            ok(server.wait_for_event("host_failed", code=1045), "a wrong password is told")
            time.sleep(2)
            tries = db.status("Access_denied_errors") - before
            ok(tries <= 2 * 3, "but not tried again and again", tries)
            ok(load.verdicts["TEMP"] == load.total() > 100, "meanwhile all is TEMP", load.verdicts)
        replace(path, "secret\n")
        os.chmod(path, 0o600)
        recovers(server, "the right one is read by itself")
        db.sql("SET PASSWORD FOR reader@'%' = PASSWORD('new')")
        recovers(server, "a new password does not harm old connections")
        replace(path, "new\n")
        os.chmod(path, 0o600)
        db.sql("KILL USER reader")
        recovers(server, "and is read when they are gone")
        os.chmod(path, 0o644)
        db.sql("KILL USER reader")
        like(server.wait_for_reply("asked", "user1@d.example", "^TEMP"), "^TEMP", "gone")
        ok(server.wait_for_event("source_failed", why=path + ": open to others: chmod 0600"),
           "a password that others can read is not used", server.log()[-3000:])
        os.chmod(path, 0o600)
        recovers(server, "until they cannot")
        ok("secret" not in server.log() and "wrong\n" not in server.log(), "it is never logged")
        del source["password_file"]
        for password, want in (("none", "^TEMP"), ("new", "^OK box1")):
            source["password"] = password
            ok(server.reload(), "a password in socketmapd.conf is changed by a reload")
            like(server.wait_for_reply("asked", "user1@d.example", want), want, "at once")
    db.sql("SET PASSWORD FOR reader@'%' = PASSWORD('secret')")


def check_postfix_tables(db):
    """Files as they are, with one source for all that connect alike; passwords stay in them."""
    dir = scratch()
    common = "hosts = unix:%s\nuser = reader\npassword = secret\ndbname = mail\n" % db.socket
    files = {
        "a": common + "query = SELECT goto FROM alias WHERE address='%s' AND active\n",
        "b": common + "table = alias\nselect_field = goto\nwhere_field = address\n"
                      "additional_conditions = AND active\n",
        "c": common + "query = CALL find('%s')\nrequire_result_set = no\nretry_interval = 5\n"
                      "idle_interval = 7\ncharset = utf8mb4\ntls_verify_cert = no\n",
        "other": common.replace("secret", "other") + "query = SELECT '%s'\n",
    }
    for name, text in files.items():
        replace("%s/%s.cf" % (dir, name), text)
    maps = {n: {"postfix_table": "proxy:mysql:%s/%s.cf" % (dir, n), "search": "exact",
                "ttl": "100ms", "stale_max": "0"} for n in files}
    with Server(maps=maps) as server:
        for name in "a", "b", "c":
            same(server.ask(name, "user7@d.example"), "OK box7", "table file " + name)
        like(server.ask("other", "x"), "^TEMP", "another password is another source")
        like(server.events("started")[0]["sources"], "^3$", "files that connect alike share one")
        db.sql("SET PASSWORD FOR reader@'%' = PASSWORD('new')")
        for name in files:
            replace("%s/%s.cf" % (dir, name), files[name].replace("secret", "new"))
        db.sql("KILL USER reader")
        recovers(server, "a new password in the file is read by itself", "a")
        os.unlink(dir + "/a.cf")
        del server.maps["a"]
        ok(server.reload(), "a table goes, and its file with it")
        db.sql("KILL USER reader")
        recovers(server, "the others read theirs", "b")
        ok("secret" not in server.log(), "the log does not know it")
    db.sql("SET PASSWORD FOR reader@'%' = PASSWORD('secret')")


def check_configuration(db):
    def check(why, pattern, status, **settings):
        server = Server(maps={"asked": ALIAS}, sources=[db.source(**settings)])
        server.write()
        p = run(PROGRAM, "-t", "-c", server.conf)
        ok(p.returncode == status and re.search(pattern, p.stdout + p.stderr), why, p)
    check("a password in the file is taken, with a hint", "password: a password_file", 0)
    check("two passwords are one too many", "password_file: there is a password", 1,
          password_file="/x")
    check("hosts are checked", r'hosts: "inet:x:y" is no', 1, hosts="inet:x:y")
    check("hosts may be a list", "", 0, hosts=["inet:db1.example", "unix:/run/mysqld.sock"])
    check("a misspelt setting", 'did you mean "tls_CAfile"', 1, tls_cafile="/x")


db = MariaDB(SCHEMA)
for check in (check_answers, check_many_clients, check_kills, check_passwords,
              check_postfix_tables, check_configuration, check_outages):
    check(db)
done()

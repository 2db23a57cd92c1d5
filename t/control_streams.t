#!/usr/bin/env python3
# sanitizers: yes
"""What the control socket tells at length: all of a mirror, what differs from the directory, every answer."""
import collections
import json
import os
import sqlite3
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from mariadb import MariaDB
from web import Stream, ask, ask_json, post

ENTRIES = 300000 // SLOW // SLOW
SCHEMA = """
CREATE TABLE alias (address TEXT, goto TEXT, ends TEXT);
INSERT INTO alias VALUES ('always@x.test', 'a', NULL), ('late@x.test', 'b', '2099-01-01 00:00:00'),
    ('past@x.test', 'c', '2001-09-10 00:00:00'), ('list@x.test', 'one', NULL),
    ('list@x.test', 'two', '2001-09-10 00:00:00'), ('list@x.test', 'three', NULL),
    ('bad@x.test', '1', NULL), ('bad@x.test', '2', NULL), ('bad@x.test', '3', NULL),
    ('bad@x.test', '4', NULL), ('ü@x.test', 'é', NULL);
CREATE TABLE big (address TEXT PRIMARY KEY, goto TEXT);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
    INSERT INTO big SELECT 'somebody.' || i || '@example.test', 'box' || i || '@example.test' FROM n;
""" % ENTRIES
ALIAS = {"source": "db", "search": "exact", "mode": "mirror", "refresh": "1h", "on_miss": "notfound",
         "query": "SELECT goto FROM alias WHERE address = '%s' AND"
                  " (ends IS NULL OR ends > datetime('now')) ORDER BY rowid",
         "scan_query": "SELECT address, goto, strftime('%s', ends) AS ends FROM alias",
         "expiry_column": "ends", "expansion_limit": 3}
BIG = {"source": "db", "search": "exact", "mode": "mirror", "refresh": "1h", "on_miss": "notfound",
       "query": "SELECT goto FROM big WHERE address = '%s'", "scan_query": "SELECT address, goto FROM big"}
TWO = """search = "exact"; tables = (
    { source = "db"; mode = "mirror"; query = "SELECT goto FROM big WHERE address = '%s'";
      scan_query = "SELECT address, goto FROM big WHERE address LIKE '%.1%@example.test'"; refresh = "1h"; },
    { source = "db"; query = "SELECT 'found' WHERE '%s' = 'only'"; });
"""


def streams_server(maps, sources=None):
    server = Server(dict(maps))
    server.control = "unix:%s/control" % server.dir
    server.listeners += [{"protocol": "control", "address": server.control},
                         {"protocol": "tcp_table", "address": "unix:%s/t" % server.dir,
                          "mode": "0666", "map": next(iter(maps))}]
    if sources is None:
        database(server.dir + "/db", SCHEMA)
        sources = [{"name": "db", "driver": "sqlite", "dbpath": server.dir + "/db"}]
    server.sources = sources
    return server


def is_ready(server):
    return ask(server.control, "/readyz").status == 200


def connections(server):
    """How many threads and sockets HTTP has for clients."""
    names = list(threads(server.pid).values())
    with open("/proc/net/unix") as f:
        sockets = sum(line.split()[5:] == ["03", line.split()[6], server.control[5:]] for line in f)
    return sum(n.startswith("MHD-conn") for n in names), sockets


def check_left_nothing(server, what):
    ok(wait_for(lambda: connections(server) == (0, 0)),
       what + " leaves no thread and no connection behind", connections(server))


# --- dump ---------------------------------------------------------------------------------------

def dump(server, map):
    with Stream(server.control, "/v1/dump?map=" + map) as s:
        same((s.status, s.reply.headers["Content-Type"]), (200, "application/x-ndjson"),
             "a dump of " + map)
        return s.all()


def test_dump(server):
    lines = dump(server, "alias")
    same(lines[-1], {"end": True, "entries": 5}, "its end")
    same({l["key"]: l.get("value", l.get("bad")) for l in lines[:-1]},
         {"always@x.test": "a", "late@x.test": "b", "list@x.test": "one,three", "bad@x.test": True,
          "ü@x.test": "é"}, "entries as they answer now: bad ones, none that ended")
    same({l["table"] for l in lines[:-1]}, {0}, "of one table")
    lines = dump(server, "two")
    same({l["table"] for l in lines[:-1]}, {0}, "of two tables the one that is a mirror")
    like(lines[0]["key"], r"^somebody\.1\d*@example.test$", "with its rows")
    server.wait_for_event("control_dump", 2, who=os.getuid())
    same([e["map"] for e in server.events("control_dump")], ["alias", "two"], "logged, with who it was")


def test_big_dump(server):
    keys = ["somebody.%d@example.test" % i for i in range(1, ENTRIES, ENTRIES // 50)]
    rss = server.rss()
    with Load(server, "big", keys, lambda k, r: None if r == "OK box" + k[9:] else "wrong") as load:
        with Stream(server.control, "/v1/dump?map=big") as s, Stream(server.control,
                                                                       "/v1/dump?map=big") as lazy:
            n, seen = 0, set()
            lazy.line()
            at_start = load.total()
            while True:
                line = s.line()
                if line is None or "end" in line:
                    break
                n += 1
                seen.add(line["key"])
            same((line, n, len(seen)), ({"end": True, "entries": ENTRIES}, ENTRIES, ENTRIES),
                 "a dump of %d entries" % ENTRIES)
            ok(load.total() > at_start + 100, "while answering goes on")
            more = server.rss() - rss
            ok(SLOW > 1 or more < 8 << 20, "takes no memory to speak of, nor does one that nobody reads",
               more)
            body = post(server.control, "/v1/refresh?map=big")[1]
            ok(wait_for(lambda: len(server.events("refreshed", map="big")) > 1, 30),
               "meanwhile the mirror is replaced", body)
            same(lazy.line()["table"], 0, "and the old one can still be read")
    same(load.wrong[:3], [], "nobody got a wrong answer")
    check_left_nothing(server, "a dump that is given up")


def test_no_copy():
    directory = Directory(scratch())
    directory.script("scan * silent")
    with streams_server({"m": {"source": "fake", "search": "exact", "mode": "mirror"}},
                        [directory.source()]) as server:
        for path in "dump", "diff":
            status, body = ask_json(server.control, "/v1/%s?map=m" % path)
            same((status, "no copy yet" in body["error"]), (409, True), path + " before the first scan")


# --- diff -----------------------------------------------------------------------------------------

def diff(server, map, sample):
    """(the differences {key: line}, progress lines, the last line)"""
    with Stream(server.control, "/v1/diff?map=%s&sample=%s" % (map, sample)) as s:
        lines = s.all()
    return ({l["key"]: l for l in lines if "key" in l}, [l["progress"] for l in lines if "progress" in l],
            lines[-1])


def summary(compared, different=0, failed=0):
    return {"end": True, "compared": compared, "different": different, "failed": failed}


def test_ended(server):
    x = ask_json(server.control, "/v1/explain?map=alias&key=past@x.test")[1]
    t = x["steps"][0]["tables"][0]
    same((x["answer"]["verdict"], t["mirror"], t["ended"]), ("NOTFOUND", "miss", True),
         "explain: a value that has ended")
    like(x["why"], 'mirror has a row of "past@x.test", but its expiry time has passed', "in words")
    x = ask_json(server.control, "/v1/explain?map=alias&key=nobody@x.test")[1]
    same(x["steps"][0]["tables"][0]["ended"], False, "explain: none has ended")


def test_diff(server):
    same(diff(server, "alias", 0), ({}, [], summary(6)), "diff: nothing differs, nor what has ended")
    db = sqlite3.connect(server.dir + "/db")
    with db:
        db.execute("UPDATE alias SET goto = 'changed' WHERE address = 'always@x.test'")
        db.execute("DELETE FROM alias WHERE address = 'late@x.test'")
        db.execute("DELETE FROM alias WHERE goto = 'one' OR address = 'bad@x.test'")
        db.execute("INSERT INTO alias VALUES ('list@x.test', 'one', NULL), ('past@x.test', 'n', NULL)")
    found, _, end = diff(server, "alias", 0)
    same(end, summary(6, 4), "four keys have changed, one only the order of its values")
    same(found, {
        "always@x.test": {"table": 0, "key": "always@x.test", "mirror": "a", "bad": False,
                          "directory": "changed", "verdict": "FOUND"},
        "late@x.test": {"table": 0, "key": "late@x.test", "mirror": "b", "bad": False,
                        "directory": None, "verdict": "NOTFOUND"},
        "past@x.test": {"table": 0, "key": "past@x.test", "mirror": None, "bad": False,
                        "directory": "n", "verdict": "FOUND"},
        "bad@x.test": {"table": 0, "key": "bad@x.test", "mirror": None, "bad": True,
                       "directory": None, "verdict": "NOTFOUND"}}, "which, and how")
    same([server.ask("alias", "late@x.test"), server.ask("alias", "always@x.test")], ["OK b", "OK a"],
         "looking changes nothing")
    same(diff(server, "big", 7)[2], summary(7), "a sample of 7")
    same(diff(server, "two", 100)[2], summary(100),
         "a sample of one mirror of two tables")
    same(diff(server, "alias", 1000)[2]["compared"], 6, "a sample of more than there is")
    same(len(server.events("control_diff", map="big", sample=7, who=os.getuid())), 1, "logged")


def test_mariadb():
    db = MariaDB("CREATE TABLE alias (address VARCHAR(100), goto VARCHAR(100)); INSERT INTO alias VALUES"
                 "('a@x.test', 'one'), ('a@x.test', 'two'), ('b@x.test', 'b'), ('c@x.test', 'c');")
    alias = {"source": "db", "search": "exact", "mode": "mirror", "refresh": "1h", "on_miss": "notfound",
             "query": "SELECT goto FROM alias WHERE address = '%s'", "result_format": "<%s>",
             "scan_query": "SELECT address, goto FROM alias"}
    with streams_server({"m": alias}, [db.source()]) as server:
        ok(wait_for(lambda: is_ready(server), 20), "a mirror of MariaDB")
        same(diff(server, "m", 0), ({}, [], summary(3)), "which differs in nothing, formatted as it is")
        db.sql("UPDATE alias SET goto = 'x' WHERE address = 'b@x.test'", "mail")
        found, _, end = diff(server, "m", 0)
        same(([(l["mirror"], l["directory"]) for l in found.values()], end),
             ([("<b>", "<x>")], summary(3, 1)), "until a row changes")
        db.stop()
        found, _, end = diff(server, "m", 0)
        same((found, end), ({}, summary(3, 0, 3)), "a directory that is gone differs in nothing: it failed")


def lookups(directory):
    return directory.activity("lookup") + directory.activity("explain")


def most_at_once(directory, since, seconds):
    """How many lookups, each of which takes so long, were under way together, at most."""
    starts = sorted(a.time for a in lookups(directory)
                    if a.time > since and not a.text.startswith("k1"))
    return max(sum(t <= s < t + seconds for s in starts) for t in starts)


def test_slow_directory():
    directory = Directory(scratch())
    directory.rows({"k%d" % i: "v" for i in range(300)})
    mirror = {"source": "fake", "search": "exact", "mode": "mirror", "refresh": "1h",
              "on_miss": "notfound", "deadline": "20s"}
    server = streams_server({"m": mirror}, [directory.source(connections=8, timeout="20s")])
    with server:
        wait_for(lambda: is_ready(server))
        wait_for(lambda: len(lookups(directory)) >= 8)      # the samples of a new mirror
        since = time.monotonic()
        directory.script("lookup k1* temp no; delay 0\nlookup * delay 0.05; rows; done")
        found, progress, end = diff(server, "m", 0)
        same((found, end), ({}, summary(300, 0, 111)), "what fails is no difference, and the rest goes on")
        ok(progress and all(p["total"] == 300 for p in progress) and
           [p["compared"] for p in progress] == sorted(p["compared"] for p in progress),
           "progress is told", progress)
        same(most_at_once(directory, since, 0.05), 4, "with four lookups at once")
        with Stream(server.control, "/v1/diff?map=m&sample=0") as s:
            wait_for(lambda: len(lookups(directory)) > 320)
            s.connection.sock.close()

        def is_over():
            n = len(lookups(directory))
            time.sleep(0.3)
            return n == len(lookups(directory))
        ok(wait_for(is_over), "a client that goes away ends it")
        ok(len(lookups(directory)) < 590, "in the middle", len(lookups(directory)))
        check_left_nothing(server, "it")
        with Stream(server.control, "/v1/diff?map=m&sample=0") as s:
            wait_for(lambda: len(lookups(directory)) > 620)
            kept, server.maps = server.maps, {"other": dict(mirror, mode="demand")}
            server.listeners[-1]["map"] = "other"
            server.reload()
            same(s.all()[-1]["compared"], 300, "it outlives the map in a reload")
        server.maps, server.listeners[-1]["map"] = kept, "m"
        server.reload()
        wait_for(lambda: is_ready(server))
        directory.script("lookup * silent")
        n = len(lookups(directory))
        stream = Stream(server.control, "/v1/diff?map=m&sample=0")
        ok(wait_for(lambda: len(lookups(directory)) >= n + 4), "it hangs with the directory")
        same(stream.line(), {"progress": {"compared": 0, "total": 300}}, "and says so")
        began = time.monotonic()
        same(server.stop(), None, "the server stops all the same")
        ok(time.monotonic() - began < 10 * SLOW, "without waiting for the directory")
        ok(not [l for l in stream.all() if "end" in l], "which ends the stream, unfinished")


# --- trace ----------------------------------------------------------------------------------------

def events(stream, n):
    """The next `n` that say something."""
    lines = []
    while len(lines) < n:
        line = stream.line()
        if line is None:
            return lines
        if line:
            lines.append(line)
    return lines


def test_trace(server):
    began = time.time()
    with Stream(server.control, "/v1/trace") as all, Stream(server.control,
                                                            "/v1/trace?map=single") as one:
        same([all.line(), one.line()], [{}, {}], "silence is told")
        with server.client() as c:
            c.ask("single", "only")
            c.ask("single", "Only")
            c.ask("hidden", "always@x.test")
            c.ask("alias", "bad@x.test")
            c.ask("nomap", "key\\xff")
            c.send(netstring("nothing"))
            c.read()
        with TableClient("unix:%s/t" % server.dir) as c:
            c.ask("always@x.test")
        got = events(all, 6)
        same([(e["protocol"], e["map"], e["key"], e["verdict"], e["value"], e["from"]) for e in got], [
            ("socketmap", "single", "only", "FOUND", "found", "directory"),
            ("socketmap", "single", "Only", "FOUND", "found", "cache"),
            ("socketmap", "alias", "bad@x.test", "TEMP", "alias: unusable value", "mirror"),
            ("socketmap", "nomap", "key\\xff", "TEMP", "nomap: no such map here", "rules"),
            ("socketmap", "", "", "PERM", "bad request", "rules"),
            ("tcp_table", "alias", "always@x.test", "FOUND", "a", "mirror")],
            "each answer is told, as it was sent, none of secret maps")
        ok(all_of(got, lambda e: began <= e["time"] <= time.time() and 0 <= e["took"] < 60 and
                  e["stale"] is False), "when, and what it took", got)
        same([e["key"] for e in events(one, 2)], ["only", "Only"], "who watches one map hears of it alone")
        server.ask("single", "late")
        same(events(one, 1)[0]["verdict"], "NOTFOUND", "at once")
    check_left_nothing(server, "a watcher who goes away")


def all_of(items, is_right):
    return all(map(is_right, items))


def test_lost(server):
    """Who does not read loses events, and is told; nobody waits for him."""
    key = "somebody.1@example.test"
    with Stream(server.control, "/v1/trace?map=big") as s:
        s.line()
        with server.client() as c:
            for _ in range(60):
                c.send(c.request("big", key) * 500)
                for _ in range(500):
                    c.read_raw()
        told = lost = 0
        while told + lost < 30000:
            line = s.line()
            told += "key" in line
            lost += line.get("lost", 0)
        same(told + lost, 30000, "each answer is told, or told to be lost")
        note("%d of 30000 lost" % lost)
    check_left_nothing(server, "he")


def test_watchers(server):
    streams = [Stream(server.control, "/v1/trace") for _ in range(8)]
    same([s.status for s in streams], [200] * 8, "eight may watch")
    same(Stream(server.control, "/v1/trace").status, 503, "the ninth may not")
    streams.pop().__exit__()
    ok(wait_for(lambda: Stream(server.control, "/v1/trace").status == 200), "until one goes")
    for s in streams:
        s.__exit__()
    check_left_nothing(server, "a crowd")


MAPS = {"alias": ALIAS, "big": BIG, "two": TWO, "hidden": dict(ALIAS, secret=True),
        "single": {"source": "db", "search": "exact", "query": "SELECT 'found' WHERE '%s' = 'only'"}}
with streams_server(MAPS) as SERVER:
    ok(wait_for(lambda: is_ready(SERVER), 60), "all mirrors are loaded")
    for test in test_dump, test_big_dump, test_trace, test_lost, test_watchers, test_ended, test_diff:
        test(SERVER)
test_no_copy()
test_mariadb()
test_slow_directory()
done()

#!/usr/bin/env python3
# sanitizers: yes
"""Rows that end: a temporary alias vanishes on time, without a scan and without a directory."""
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *

LIFE = 4 * SLOW     # seconds from the start until the temporary ones end
SCHEMA = """
CREATE TABLE alias (address TEXT, goto TEXT, ends TEXT);
INSERT INTO alias VALUES ('always@x.test', 'a', NULL), ('late@x.test', 'b', '2099-01-01 00:00:00');
INSERT INTO alias VALUES ('list@x.test', 'one', NULL), ('other@x.test', 'c', NULL);
INSERT INTO alias VALUES ('list@x.test', 'three', '2099-01-01 00:00:00');
INSERT INTO alias VALUES ('past@x.test', 'd', '2001-09-10 00:00:00');
"""
TEMPORARY = "INSERT INTO alias SELECT a, g, datetime(%d, 'unixepoch') FROM (%s);"
ALIAS = {"source": "db", "search": "exact", "mode": "mirror", "refresh": "1h",
         "query": "SELECT goto FROM alias WHERE address = '%s' AND"
                  " (ends IS NULL OR ends > datetime('now')) ORDER BY rowid",
         "scan_query": "SELECT address, goto, strftime('%s', ends) AS ends FROM alias",
         "expiry_column": "ends"}
MAPS = {
    "trust": dict(ALIAS, on_miss="notfound"),
    "ask": dict(ALIAS, negative_ttl="100ms"),
    "distinct": dict(ALIAS, on_miss="notfound", result_format="x", distinct_values=True),
    "limited": dict(ALIAS, on_miss="notfound", expansion_limit=2),
}
TEMP = "temp@x.test"
REPLIES = {      # before and after the end
    TEMP: ("OK t", "NOTFOUND "), "list@x.test": ("OK one,three,two", "OK one,three"),
    "always@x.test": ("OK a", "OK a"), "late@x.test": ("OK b", "OK b"),
    "past@x.test": ("NOTFOUND ", "NOTFOUND "), "none@x.test": ("NOTFOUND ", "NOTFOUND "),
}


def make(path, ends):
    database(path, SCHEMA + TEMPORARY % (ends, "SELECT 'list@x.test' AS a, 'two' AS g UNION ALL"
                                         " SELECT 'temp@x.test', 't'"))


def all_replies(server, map):
    return {k: server.ask(map, k) for k in REPLIES}


def wait_for_end(server, ends):
    """The time at which the alias was first called absent."""
    with server.client() as c:
        wait_for(lambda: c.ask("trust", TEMP) == "NOTFOUND ", ends - time.time() + 10)
    return time.time()


def check_vanishing(life=LIFE):
    server = Server(MAPS)
    ends = int(time.time() + life)
    make(server.dir + "/db", ends)
    server.sources = [{"name": "db", "driver": "sqlite", "dbpath": server.dir + "/db"}]
    with server:
        for m in MAPS:
            server.wait_for_event("refreshed", map=m)
        before = {m: all_replies(server, m) for m in MAPS}
        is_too_late = time.time() >= ends
        for m in () if is_too_late else "trust", "ask":
            same(before[m], {k: r[0] for k, r in REPLIES.items()}, "%s: before the end" % m)
        if is_too_late:
            return check_vanishing(2 * life)
        same([before["distinct"][k] for k in (TEMP, "list@x.test")], ["OK x"] * 2,
             "distinct_values: one of each")
        like(before["limited"]["list@x.test"], "^TEMP ", "expansion_limit counts what will end")
        at = wait_for_end(server, ends)
        ok(ends <= at, "it is there until its end", at - ends)
        for m in "trust", "ask":
            same(all_replies(server, m), {k: r[1] for k, r in REPLIES.items()},
                 "%s: after it, what never ended is still there" % m)
        same([server.ask("distinct", k) for k in (TEMP, "list@x.test")], ["NOTFOUND ", "OK x"],
             "distinct_values: equal ones last as long as the last of them")
        same([len(server.events("refreshed", map=m)) for m in MAPS], [1] * len(MAPS),
             "without a scan")
        same(server.events("mirror_differs"), [], "and with what the database itself would say")
        same(server.stats()["trust"]["state"], "FRESH", "in a mirror that is FRESH")


def check_wrong_columns():
    """What is not seconds is never guessed: no scan, and the reason says what to write."""
    server = Server()
    make(server.dir + "/db", int(time.time()) + 1000)
    server.sources = [{"name": "db", "driver": "sqlite", "dbpath": server.dir + "/db"}]
    cases = {
        "text": ("SELECT address, goto, ends FROM alias", "holds no Unix seconds"),
        "missing": ("SELECT address, goto FROM alias", "is not in the result of scan_query"),
        "compact": ("SELECT address, goto, 20300101 AS ends FROM alias", "holds no Unix seconds"),
    }
    server.maps = {m: dict(ALIAS, scan_query=q) for m, (q, _) in cases.items()}
    with server:
        for m, (_, why) in cases.items():
            found = server.wait_for_event("refresh_failed", map=m) or {}
            same(found.get("why"), "expiry_column ends %s: select strftime('%%s', ends) AS ends" % why,
                 "%s: the reason says what to write" % m)
            like(server.ask(m, "always@x.test"), "^TEMP ", "%s: nothing is answered" % m)


def check_any_driver():
    """
    A driver may send times without being told to. Neither the directory's death nor our own,
    with a snapshot, changes anything.
    """
    server = Server()
    directory = Directory(server.dir)
    ends = int(time.time() + LIFE)
    directory.script("scan * key %s; until %d; value t; key k; value a; until %d; value b; until 0;"
                     " value c; done 4\nlookup * down gone" % (TEMP, ends, ends))
    server.sources = [directory.source()]
    server.maps = {"trust": {"source": "fake", "search": "exact", "mode": "mirror",
                             "refresh": "1h", "on_miss": "notfound"}}
    with server:
        server.wait_for_event("refreshed")
        before = server.ask("trust", TEMP), server.ask("trust", "k")
        ok(before == ("OK t", "OK a,b,c") or time.time() >= ends, "all values are there", before)
        directory.script("scan * down gone\nlookup * down gone")
        same(server.stop(), None, "the server stops")
        server.start()
        server.wait_for_event("snapshot_restored")
        before = server.ask("trust", TEMP), server.ask("trust", "k")
        ok(before == ("OK t", "OK a,b,c") or time.time() >= ends, "all are restored", before)
        ok(wait_for_end(server, ends) >= ends, "gone on time, while the directory is down")
        same(server.ask("trust", "k"), "OK a,c", "and nothing else with it")


check_vanishing()
check_wrong_columns()
check_any_driver()
done()

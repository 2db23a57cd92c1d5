#!/usr/bin/env python3
# sanitizers: yes
"""EMPTY, FRESH, STALE, EXPIRED through the whole server, and what a miss is worth in each."""
import sys
import threading
import time

sys.path.insert(0, "t/lib")
from harness import *

ROWS = {"a@here.test": "1", "b@here.test": "2"}
HIT, LOCAL, FOREIGN, BARE = "a@here.test", "none@here.test", "none@far.test", "none"
SHORT = {"refresh": "1s", "max_age": "2s", "stale_max": "5s", "negative_ttl": "300ms"}

# map: settings, {key: its replies in the course of a life, without repetitions}
LIVES = {
    "temp": ({"on_miss": "notfound"}, {
        HIT: "TEMP OK TEMP", LOCAL: "TEMP NOTFOUND TEMP", FOREIGN: "TEMP NOTFOUND TEMP"}),
    "notfound": ({"on_miss": "notfound", "stale_miss": "notfound"}, {
        HIT: "TEMP OK TEMP", LOCAL: "TEMP NOTFOUND TEMP", FOREIGN: "TEMP NOTFOUND TEMP"}),
    "domain": ({"on_miss": "notfound", "stale_miss": "domain", "domains": "ours"}, {
        HIT: "TEMP OK TEMP", LOCAL: "TEMP NOTFOUND TEMP", FOREIGN: "TEMP NOTFOUND TEMP",
        BARE: "TEMP NOTFOUND TEMP"}),
    # asked and gone: while FRESH the mirror's word stands
    "ask": ({"on_miss": "ask"}, {
        HIT: "TEMP OK TEMP", LOCAL: "TEMP NOTFOUND TEMP", FOREIGN: "TEMP NOTFOUND TEMP"}),
    "ask_domain": ({"on_miss": "domain", "stale_miss": "domain", "domains": "ours"}, {
        HIT: "TEMP OK TEMP", LOCAL: "TEMP NOTFOUND TEMP", FOREIGN: "TEMP NOTFOUND TEMP"}),
    # whose domain map knows nothing yet: everything may be ours
    "no_domains": ({"on_miss": "notfound", "stale_miss": "domain", "domains": "empty"}, {
        HIT: "TEMP OK TEMP", LOCAL: "TEMP NOTFOUND TEMP", FOREIGN: "TEMP NOTFOUND TEMP"}),
}
# When the directory is gone: which misses are TEMP from STALE on (about 2 s) and which not
# before EXPIRED (about 5 s).
ENDS_STALE = {("temp", LOCAL), ("temp", FOREIGN), ("domain", LOCAL), ("domain", BARE),
              ("ask", LOCAL), ("ask", FOREIGN), ("ask_domain", LOCAL),
              ("no_domains", LOCAL), ("no_domains", FOREIGN)}


def record(server, lives, until):
    """{(map, key): [(verdict, when it was first given)]}, asked all the time."""
    seen = {(m, k): [] for m, (_, keys) in lives.items() for k in keys}
    with server.client() as c:
        while not until(seen):
            for (m, k), replies in seen.items():
                verdict = c.ask(m, k).partition(" ")[0]
                if not replies or replies[-1][0] != verdict:
                    replies.append((verdict, time.monotonic()))
            time.sleep(0.02)
    return seen


def check_lives():
    """One life: nothing loaded, loaded, the directory gone for good."""
    server = Server()
    directory, domains, empty = (Directory(server.dir, n) for n in ("fake", "domains", "empty"))
    directory.rows(ROWS)
    domains.rows({"here.test": "x"})
    directory.script("scan * down not yet\nlookup * down not yet")
    server.sources = [d.source() for d in (directory, domains, empty)]
    server.maps = {m: dict({"source": "fake", "search": "exact", "mode": "mirror"}, **SHORT, **s)
                   for m, (s, _) in LIVES.items()}
    for name, source in (("ours", "domains"), ("empty", "empty")):
        server.maps[name] = {"source": source, "search": "domain", "mode": "mirror",
                             "refresh": "1s", "on_miss": "notfound", "stale_miss": "notfound"}
    left = [None]

    def is_over(seen):
        verdicts = {life: [v for v, _ in replies] for life, replies in seen.items()}
        if left[0] is None and all(v[-1:] not in ([], ["TEMP"]) for v in verdicts.values()):
            directory.script("scan * down gone\nlookup * down gone")
            left[0] = time.monotonic()
        return left[0] and all(v[-1] == "TEMP" for v in verdicts.values()) or \
            time.monotonic() > end

    with server:
        server.wait_for_reply("ours", "here.test", "OK")
        like(server.ask("temp", HIT), "^TEMP ", "EMPTY: TEMP for what will be there")
        like(server.ask("temp", LOCAL), "^TEMP ", "EMPTY: TEMP for what will not")
        directory.script("")
        end = time.monotonic() + 25 * SLOW
        seen = record(server, LIVES, is_over)
    for (m, k), replies in seen.items():
        wanted = LIVES[m][1][k].split()
        got = [v for v, _ in replies]
        ok(got in (wanted, wanted[1:]), "%s: %s: %s" % (m, k, " ".join(wanted)), got)
        if left[0] is None or got[-1:] != ["TEMP"]:
            ok(False, "%s: %s: ends" % (m, k))
            continue
        lived = replies[-1][1] - left[0]
        low, high = (0, 3.2) if (m, k) in ENDS_STALE else (2.8, 8)
        ok(low < lived < high + 2 * (SLOW - 1), "%s: %s: as long as its state allows" % (m, k),
           "%.1f s, wanted %s to %s" % (lived, low, high))


def check_recovery():
    """EXPIRED is not the end either."""
    server = Server({"m": dict(source="fake", search="exact", mode="mirror", on_miss="notfound",
                               refresh="1s", max_age="1s", stale_max="2s")})
    directory = Directory(server.dir)
    directory.rows(ROWS)
    server.sources = [directory.source()]
    with server:
        server.wait_for_reply("m", HIT, "OK")
        directory.script("scan * die")
        like(server.wait_for_reply("m", HIT, "TEMP"), "^TEMP ", "expired")
        same(server.stats()["m"].get("state"), "EXPIRED", "and the stats say so")
        directory.script("")
        same(server.wait_for_reply("m", HIT, "OK", 20), "OK 1", "back without a restart")
        same(server.stats()["m"].get("state"), "FRESH", "and fresh")
        like(server.ask("nix", HIT), "^TEMP ", "an unknown map is TEMP")


def check_on_miss():
    server = Server()
    directory, domains = Directory(server.dir), Directory(server.dir, "domains")
    directory.rows(ROWS)
    domains.rows({"here.test": "x"})
    server.sources = [directory.source(), domains.source()]
    mirror = {"source": "fake", "search": "exact", "mode": "mirror", "negative_ttl": "1s"}
    server.maps = {
        "ask": dict(mirror, on_miss="ask"),
        "trust": dict(mirror, on_miss="notfound"),
        "domain": dict(mirror, on_miss="domain", domains="ours"),
        "demand": dict(mirror, mode="demand"),
        "ours": dict(mirror, source="domains", search="domain", on_miss="notfound",
                     stale_miss="notfound"),
    }
    new, far = "new@here.test", "new@far.test"
    with server:
        for m in ("ask", "trust", "domain", "demand"):
            server.wait_for_reply(m, HIT, "OK")
        server.wait_for_reply("ours", "here.test", "OK")
        same([server.ask("ask", new) for _ in range(5)], ["NOTFOUND "] * 5, "a missing key")
        same(len(directory.activity("lookup", new)), 1, "is asked for once per negative_ttl")
        same(server.ask("demand", new), "NOTFOUND ", "in demand mode, too")
        directory.rows(dict(ROWS, **{new: "3", far: "4", "fresh@here.test": "5"}))
        same(server.ask("ask", "fresh@here.test"), "OK 5", "ask: a new row is there at once")
        same(server.ask("domain", "fresh@here.test"), "OK 5", "domain: in our domain, too")
        before = len(directory.activity("lookup"))
        same(server.ask("domain", far), "NOTFOUND ", "domain: a foreign one is not asked for")
        same(server.ask("trust", new), "NOTFOUND ", "notfound: only the next scan brings it")
        same(len(directory.activity("lookup")), before, "neither costs the directory anything")
        server.ask("domain", "new@%stest" % ("a." * 125))
        same(len(directory.activity("lookup")), before, "nor does the longest name of a host")
        same(server.ask("domain", "new@%stest" % ("a." * 130)), "NOTFOUND ", "a longer one")
        same(len(directory.activity("lookup")), before + 1, "is nobody's domain: it is asked for")
        same(server.wait_for_reply("ask", new, "OK"), "OK 3",
             "a row that was missed is there after negative_ttl")
        same(server.wait_for_reply("demand", new, "OK"), "OK 3", "in demand mode, too")
        directory.script("lookup slow* delay 5; value x; done")
        begin = time.monotonic()
        same(server.ask("ask", "slow@here.test"), "NOTFOUND ",
             "a directory slower than the deadline: the word of the FRESH mirror")
        took = time.monotonic() - begin
        ok(1.5 < took < 3 * SLOW, "after the deadline", took)
        like(server.ask("demand", "slow@here.test"), "^TEMP ", "demand mode has only TEMP")
        directory.script("lookup * down gone")
        same(server.ask("ask", "none1@here.test"), "NOTFOUND ", "a dead one as well")
        like(server.ask("demand", "none1@here.test"), "^TEMP ", "demand mode: TEMP")


def check_several_tables():
    """Per key all tables are asked; one that fails ends the walk."""
    server = Server()
    users, catchalls = Directory(server.dir, "users"), Directory(server.dir, "catchalls")
    users.rows({"u@d.test": "real@x.test", "@far.test": "never@x.test"})
    catchalls.rows({"@d.test": "catch@x.test", "u@d.test": "wrong@x.test"})
    server.sources = [users.source(), catchalls.source()]
    tables = [{"source": "catchalls", "mode": "mirror", "on_miss": "notfound"},
              {"source": "users", "mode": "demand", "ttl": "100ms", "negative_ttl": "0",
               "stale_max": "0"}]
    server.daemon["recipient_delimiter"] = "+"
    server.maps = {"v": {"search": "virtual", "tables": tables[::-1]},
                   "w": {"search": "virtual", "tables": tables}}
    with server:
        server.wait_for_reply("v", "x@d.test", "OK")
        for map, key, reply in (("v", "u@d.test", "OK real@x.test"),
                                ("w", "u@d.test", "OK wrong@x.test"),
                                ("v", "U+Ext@d.test", "OK real+Ext@x.test"),
                                ("v", "none@d.test", "OK catch@x.test"),
                                ("v", "none@other.test", "NOTFOUND ")):
            same(server.ask(map, key), reply, "two tables: %s %s" % (map, key))
        users.script("lookup * temp not now")
        for map, key in (("v", "u@d.test"), ("v", "none2@d.test"), ("v", "none2@other.test"),
                         ("w", "none3@d.test")):
            like(server.wait_for_reply(map, key, "TEMP"), "^TEMP ",
                 "a table that fails ends the walk: %s %s" % (map, key))
        users.script("")
        same(server.wait_for_reply("v", "none2@d.test", "OK"), "OK catch@x.test", "until it is back")


def check_round():
    """A driver may read all tables of a round as they were when it began; so old they are."""
    server = Server({m: {"source": "fake", "search": "exact", "mode": "mirror", "refresh": "1h"}
                     for m in ("one", "other")})
    directory = Directory(server.dir)
    directory.rows(ROWS)
    directory.script("scan * delay 1.2; rows; done")
    server.sources = [directory.source()]
    with server:
        ok(server.wait_for_event("refreshed", 2), "two tables are scanned one after the other")
        ages = sorted(int(f["age"][:-2]) for f in server.stats().values())
        ok(ages[0] >= 2300, "the second copy is no younger than the first", ages)


def check_bad_neighbours():
    """A table whose scan costs the process its life costs the others of its source nothing."""
    mirror = {"source": "fake", "search": "exact", "mode": "mirror", "refresh": "1h", "on_miss": "notfound"}
    server = Server({m: dict(mirror, max_bytes="64K" if m in "bd" else "1M") for m in "abcde"})
    directory = Directory(server.dir)
    directory.rows({"k%d" % i: "v" * 10000 for i in range(20)})
    server.sources = [directory.source()]
    with server:
        for m in "ace":
            ok(server.wait_for_event("refreshed", map=m), "a good table is scanned: " + m)
        for m in "bd":
            ok(server.wait_for_event("refresh_failed", map=m), "a bad one is not: " + m)
        same([e["map"] for e in server.events("refresh_failed") if e["map"] in "ace"], [],
             "no good one has ever failed")


def check_orders():
    """A scan that was ordered and failed is owed, though nothing has changed; one that fails keeps its pace."""
    mirror = {"source": "fake", "search": "exact", "mode": "mirror", "on_miss": "notfound"}
    server = Server({"quiet": dict(mirror, refresh="1h", change_query="x",
                                   change_interval="1s"),
                     "bad": dict(mirror, refresh="1h", max_bytes="64K"),
                     "busy": dict(mirror, refresh="1s", max_bytes="1M")})
    directory = Directory(server.dir)
    directory.rows({"k%d" % i: "v" * 10000 for i in range(20)})
    server.sources = [directory.source()]
    with server:
        server.wait_for_event("refreshed", map="quiet")
        directory.script("scan * temp not now")
        server.signal(signal.SIGUSR2)
        ok(server.wait_for_event("refresh_failed", map="quiet"), "an ordered scan fails")
        directory.script("")
        ok(server.wait_for_event("refreshed", 2, map="quiet"), "and comes all the same")
        n, at = len(server.events("refresh_failed", map="bad")), len(server.events("refreshed", map="busy"))
        server.wait_for_event("refreshed", at + 5, map="busy")
        ok(len(server.events("refresh_failed", map="bad")) - n <= 2,
           "one that fails waits its time beside a busy one", server.log()[-1500:])


check_lives()
check_recovery()
check_round()
check_orders()
check_bad_neighbours()
check_on_miss()
check_several_tables()
done()

#!/usr/bin/env python3
# sanitizers: yes
"""A directory that is slow, wrong, dying or gone: each fault has its own source, all run at once."""
import os
import signal
import sys
import threading
import time

sys.path.insert(0, "t/lib")
from harness import *

# What a driver may do to a lookup of "bad" whose value is "good"; all are TEMP and heal.
LOOKUP_FAULTS = {
    "late": "delay 30; value x; done",
    "garbage": "raw hello\\n",
    "unknown_message": "raw 5:bogus,",
    "endless_message": "raw 9999999:",
    "hello_again": "hello 1 x",
    "killed_in_mid_row": "value half; raw 9:value ha; die",
    "killed_between_rows": "value half; die",
    "exit_in_mid_row": "value half; exit 0",
    "silent": "silent",
    "flood": "flood",
    "no_verdict": "value half",
    "counts_too_many": "value half; done 2",
    "counts_too_few": "value half; done 0",
    "counts_none": "done 1",
    "fails_a_key": "fail; done 1",
    "tells_a_query_unasked": "query SELECT 1; value half; done 1",
    "count_is_no_number": "value half; done many",
    "count_missing": "value half; raw 4:done,",
    "temp": "value half; temp not now",
    "down": "value half; down gone",
}
# The same for a scan: nothing of it may ever be seen.
SCAN_FAULTS = {
    "late": "rows 2; delay 30",
    "garbage": "rows 2; raw hello\\n",
    "killed": "rows 2; die",
    "exit": "rows 2; exit 0",
    "silent": "silent",
    "no_verdict": "rows 2",
    "flood": "key k; flood",
    "miscounted": "rows 2; done 3",
    "counts_zero": "rows 2; done 0",
    "temp": "rows 2; temp not now",
    "down": "rows 2; down gone",
    "until_no_time": "key k; until noon; value v; done",
    "value_without_key": "value x; done",
    "changed": "key good; value changed; temp not now",
}
START_FAULTS = {
    "exits": "exit 1",
    "is_killed": "die",
    "says_nothing": "silent",
    "says_garbage": "raw garbage\\n",
    "has_another_version": "hello 2 future",
    "has_no_version": "hello x y",
    "skips_hello": "done 0",
    "refuses_settings": "down wrong settings",
}


def world(names, source, map, rows, script=""):
    """A server with a source and a map for each name; ({name: Directory}, Server)."""
    server = Server(threads=2)
    directories = {n: Directory(server.dir, n) for n in names}
    for n, d in directories.items():
        d.rows(rows)
        d.script(script.replace("FAULT", names[n]) if isinstance(names, dict) else script)
        server.sources.append(d.source(**source))
        server.maps[n] = dict({"source": n, "search": "exact"}, **map)
    return directories, server


def watch(server, map, key, until, seconds=15):
    """All different replies until one looks right."""
    replies = []

    def is_right():
        reply = server.ask(map, key)
        if reply not in replies[-1:]:
            replies.append(reply)
        return re.search(until, reply or "")
    wait_for(is_right, seconds)
    return replies


def check_lookup_faults():
    directories, server = world(
        LOOKUP_FAULTS, {"connections": 2, "timeout": "700ms", "start_timeout": "10s"},
        {"mode": "demand", "deadline": "1500ms"}, {"bad": "good", "other": "fine"},
        "lookup bad FAULT")
    seen = {}

    def break_and_heal(name):
        before = server.wait_for_reply(name, "other", "OK")
        begin = time.monotonic()
        during = server.ask(name, "bad")
        took = time.monotonic() - begin
        directories[name].script("")
        seen[name] = before, during, took, watch(server, name, "bad", "^OK"), \
            watch(server, name, "other", "^OK"), server.ask(name, "missing")
    with server:
        in_parallel(break_and_heal, LOOKUP_FAULTS)
        for name, (before, during, took, healing, other, missing) in seen.items():
            same(before, "OK fine", "lookup, %s: before" % name)
            like(during, "^TEMP [ -~]+$", "lookup, %s: TEMP" % name)
            ok(took < 4 * SLOW, "lookup, %s: in time" % name, took)
            ok(healing[-1] == "OK good" and all(r.startswith("TEMP") for r in healing[:-1]),
               "lookup, %s: heals" % name, healing)
            ok(set(other) <= {"OK fine"}, "lookup, %s: what is known stays known" % name, other)
            same(missing, "NOTFOUND ", "lookup, %s: and NOTFOUND is believed again" % name)


def check_scan_faults():
    rows = {"good": "1", "k2": "2", "k3": "3"}
    directories, server = world(
        SCAN_FAULTS, {"timeout": "2s", "scan_timeout": "2s", "scan_idle": "700ms"},
        {"mode": "mirror", "on_miss": "notfound", "refresh": "1s", "max_age": "1h",
         "max_bytes": "1M"}, rows,
        "scan * FAULT")
    seen = {}

    def scans(d, n):
        """Wait until n more scans have been tried."""
        n += len(d.activity("scan"))
        return wait_for(lambda: len(d.activity("scan")) >= n, 20)

    def break_and_heal(name):
        d = directories[name]
        wait_for(lambda: d.activity("scan"), 20)
        scans(d, 1)
        empty = [server.ask(name, k) for k in ("good", "missing")]
        d.script("")
        loaded = watch(server, name, "good", "^OK", 30)
        d.rows({"good": "1", "k2": "new", "k3": "3"})
        d.script("scan * " + SCAN_FAULTS[name])
        scans(d, 3)
        during = [server.ask(name, k) for k in ("good", "k3", "missing", "k")]
        d.script("")
        seen[name] = empty, loaded, during, watch(server, name, "k2", "^OK new", 30)
    with server:
        in_parallel(break_and_heal, SCAN_FAULTS)
        for name, (empty, loaded, during, healing) in seen.items():
            ok(all(r.startswith("TEMP ") for r in empty), "scan, %s: TEMP while empty" % name, empty)
            ok(loaded[-1] == "OK 1" and all(r.startswith("TEMP") for r in loaded[:-1]),
               "scan, %s: loads when it is over" % name, loaded)
            same(during, ["OK 1", "OK 3", "NOTFOUND ", "NOTFOUND "],
                 "scan, %s: the old copy stands" % name)
            ok(healing[-1] == "OK new" and set(healing[:-1]) <= {"OK 2"},
               "scan, %s: and is replaced when it is over" % name, healing)


def check_start_faults():
    directories, server = world(
        START_FAULTS, {"connections": 3, "timeout": "1s", "start_timeout": "500ms"},
        {"mode": "demand", "deadline": "1s"}, {"a": "1"},
        "hello * FAULT")
    seen = {}

    def break_and_heal(name):
        end = time.monotonic() + 4
        replies, n = [], 0
        while time.monotonic() < end:
            replies.append(server.ask(name, "key%d" % n))
            replies.append(server.ask(name, "a"))
            n += 1
            time.sleep(0.05)
        starts = len(directories[name].activity("hello"))
        rests = [int(e["next"].removesuffix("ms")) for e in server.events("source_failed", source=name)]
        directories[name].script("")
        seen[name] = replies, starts, rests, watch(server, name, "a", "^OK", 30)
    with server:
        in_parallel(break_and_heal, START_FAULTS)
        for name, (replies, starts, rests, healing) in seen.items():
            ok(all(r.startswith("TEMP ") for r in replies), "a driver that %s: TEMP" % name,
               set(replies))
            ok(3 <= starts <= 8, "a driver that %s: few starts" % name, starts)
            ok(rests[0] == 0 and all(0.89 * want <= rest <= 1.11 * want for rest, want in
                                     zip(rests[1:], (250, 500, 1000, 2000, 4000))),
               "a driver that %s: the first at once, with doubled rests between the others" % name,
               rests)
            ok(healing[-1] == "OK 1" and all(r.startswith("TEMP") for r in healing[:-1]),
               "a driver that %s: recovers" % name, healing)


def ask_all(server, map, keys):
    """One client per key, all at once: [(reply, seconds)]."""
    clients = [server.client() for _ in keys]
    results = [None] * len(keys)
    barrier = threading.Barrier(len(keys))

    def ask(i):
        barrier.wait()
        begin = time.monotonic()
        results[i] = clients[i].ask(map, keys[i]), time.monotonic() - begin
    in_parallel(ask, range(len(keys)))
    for c in clients:
        c.close()
    return results


def most_at_once(activity):
    """How many requests were under way at the same time, at most."""
    depth = most = 0
    for a in sorted(activity, key=lambda a: a.time):
        depth += {"lookup": 1, "end": -1}.get(a.what, 0)
        most = max(most, depth)
    return most


def pool(server, d):
    got = ask_all(server, "pool", ["k%d" % i for i in range(30)])
    same({r for r, _ in got}, {"OK x"}, "30 keys at once are all answered")
    same(len({a.pid for a in d.activity("lookup")}), 3, "by as many processes as connections")
    lookups = [a for a in d.activity() if a.what == "lookup" or a.text.startswith("lookup")]
    same(most_at_once(lookups), 3, "all of them busy, each with one")


def single_flight(server, d):
    got = ask_all(server, "single_flight", ["kold"] * 50)
    same({r for r, _ in got}, {"OK x"}, "50 clients ask one cold key")
    same(len(d.activity("lookup", "kold")), 1, "and it is looked up once")
    got = ask_all(server, "single_flight", ["missing"] * 50)
    same({r for r, _ in got}, {"NOTFOUND "}, "50 clients ask for a missing key")
    same(len(d.activity("lookup", "missing")), 1, "and it is looked up once")


def queue(server, d):
    same(server.ask("queue", "a"), "OK 1", "a queue of five")
    d.script("lookup k* delay 1.2; value x; done")
    got = ask_all(server, "queue", ["k%d" % i for i in range(20)])
    refused = [t for r, t in got if re.match("TEMP .*queue", r)]
    same(len(refused), 14, "takes six of twenty, one of them at once to the process")
    ok(all(t < 1.5 * SLOW for t in refused), "and refuses the others at once", refused)
    same({r for r, _ in got if not r.startswith("TEMP")}, {"OK x"}, "the six are answered")


def deadline(server, d):
    same(server.wait_for_reply("deadline", "a", "OK"), "OK 1", "a deadline shorter than the directory's time")
    d.script("lookup k* delay 0.8; value x; done")
    (reply, took), = ask_all(server, "deadline", ["k"])
    ok(reply.startswith("TEMP ") and took < 2 * SLOW, "TEMP when it is over", reply, took)
    same(server.wait_for_reply("deadline", "k", "OK"), "OK x", "the late answer is not lost")
    same(len(d.activity("lookup", "k")), 1, "it is not asked for again")


def stale(server, d):
    same(server.wait_for_reply("stale", "a", "OK"), "OK 1", "ttl")
    d.rows({"a": "new"})
    same(server.wait_for_reply("stale", "a", "new"), "OK new", "is how long an answer lives")
    d.script("lookup * delay 3; rows; done")
    same(watch(server, "stale", "a", "never", 2 / SLOW), ["OK new"],
         "the old answer stands in for a slow directory")
    d.script("lookup * down gone")
    same(watch(server, "stale", "a", "never", 2 / SLOW), ["OK new"], "and for one that is gone")
    d.script("")
    d.rows({"a": "back"})
    same(server.wait_for_reply("stale", "a", "back", 20), "OK back", "until it is back")


def poison(server, d):
    server.ask("poison", "a")
    d.script("lookup poison die")
    replies = set()
    for _ in range(10):
        replies |= {server.ask("poison", k)[:5] for k in ("poison", "b")}
    ok(replies <= {"TEMP ", "OK 2"}, "a key that kills its driver is TEMP", replies)
    same(server.wait_for_reply("poison", "b", "OK"), "OK 2", "others are still answered")
    ok(len(d.activity("hello")) <= 5, "and costs few processes", len(d.activity("hello")))


def gone(server, d):
    ask_all(server, "gone", ["k%d" % i for i in range(30)])
    same(len(d.activity("hello")), 3, "three processes")
    d.script("lookup * down gone\nping * down gone")
    n = len(d.activity("ping"))
    ask_all(server, "gone", ["l%d" % i for i in range(30)])
    wait_for(lambda: len(d.activity("ping")) >= n + 3, 20)
    times = [a.time for a in d.activity("ping")[n:]]
    pauses = [b - a for a, b in zip(times, times[1:])]
    ok(len(pauses) > 1 and min(pauses) > 0.2, "one of them at a time tries what is gone", pauses)
    d.script("")
    same(server.wait_for_reply("gone", "a", "OK", 20), "OK 1", "and sees that it is back")


def check_pool():
    checks = {f.__name__: f for f in (pool, single_flight, queue, deadline, stale, poison, gone)}
    directories, server = world(
        list(checks), {"connections": 3, "timeout": "10s"}, {"mode": "demand", "deadline": "10s"},
        {"a": "1", "b": "2"})
    for name in ("pool", "single_flight", "gone"):
        directories[name].script("lookup k* delay 0.2; value x; done")
    settings = {s["name"]: s for s in server.sources}
    settings["queue"].update(connections=1, queue=5)
    server.maps["deadline"]["deadline"] = "300ms"
    server.maps["stale"].update(ttl="1s", stale_max="1h", deadline="500ms")
    with server:
        in_parallel(lambda name: checks[name](server, directories[name]), checks)


def check_killed_idle():
    """Processes that die while they have nothing to do, and lookups that come at that moment."""
    _, server = world(("one",), {"connections": 2}, {"mode": "demand"}, {"a": "1"})
    replies, end = ["NOTFOUND "], time.monotonic() + 3

    def ask(n):
        with server.client() as c:
            while time.monotonic() < end and replies[-1]:
                replies.append(c.ask("one", "k%d.%d" % (n, len(replies))))
                time.sleep(0.0005)

    def kill(_):
        """Only while all is well, as after two failures in a row the source rests."""
        while time.monotonic() < end and replies[-1]:
            for pid in server.drivers()[:1] if replies[-1] == "NOTFOUND " else []:
                signal_if_there(pid, signal.SIGKILL)
            time.sleep(0.03)
    with server:
        in_parallel(lambda work: work[0](work[1]), [(ask, 1), (ask, 2), (kill, 0)])
        ok(all(r and r[:4] in ("NOTF", "TEMP") for r in replies),
           "processes killed while they are idle", replies[-1])
        if server.process.poll() is None:
            same(server.wait_for_reply("one", "a", "OK"), "OK 1", "the source survives it")


def check_scan_has_its_own_process():
    directories, server = world(
        ("one",), {"connections": 1, "scan_idle": "20s"}, {"mode": "demand"}, {"a": "1"},
        "scan * delay 1.5; rows; done")
    server.maps["mirror"] = {"source": "one", "search": "exact", "mode": "mirror"}
    d = directories["one"]
    with server:
        ok(wait_for(lambda: d.activity("scan")), "a scan begins")
        begin = time.monotonic()
        replies = {server.ask("one", "k%d" % i) for i in range(20)} | {server.ask("one", "a")}
        took = time.monotonic() - begin
        same(replies, {"NOTFOUND ", "OK 1"}, "lookups go on while it runs")
        ok(not d.activity("end", "scan ") or took < 1, "and do not wait for it", took)
        like(server.ask("mirror", "a"), "^TEMP |^OK 1", "the mirror waits for its scan")
        same(server.wait_for_reply("mirror", "a", "OK"), "OK 1", "and is there when it ends")
        # (It looks up some of the keys that it scanned, to compare; these it did not scan.)
        ok({a.pid for a in d.activity("scan")}.isdisjoint(
            {a.pid for a in d.activity("lookup") if a.text.startswith("k")}),
           "the scan had a process of its own")


def check_failing_keys():
    """A scan may say of a key that lookups of it fail; most keys of a scan, even."""
    directories, server = world(
        ("one",), {}, {"mode": "mirror", "on_miss": "notfound"}, {},
        "scan * key bad;fail;key half;value x;fail;key good;value y;done 4")
    with server:
        same(server.wait_for_reply("one", "good", "OK"), "OK y", "keys that fail do not spoil a scan")
        like(server.ask("one", "bad"), "^TEMP ", "a key that fails is TEMP")
        like(server.ask("one", "half"), "^TEMP ", "and whatever other values it has")
        same(server.ask("one", "none"), "NOTFOUND ", "what is not there is not")


def many(n, value="v", bad=0):
    rows = {"k%d" % i: value for i in range(n)}
    for i in range(bad):
        rows["k%d" % i] = "\udce4"      # latin-1
    return rows


# name: settings, the first rows, {key: reply} then, the second rows, {key: reply} in the end
ACCEPTANCE = {
    "empty_is_not_believed": ({}, {}, {"k1": "TEMP"}, many(3), {"k1": "OK v", "x": "NOTFOUND "}),
    "empty_where_allowed": ({"min_entries": 0}, {}, {"k1": "NOTFOUND "}, many(3), {"k1": "OK v"}),
    "min_entries": ({"min_entries": 10}, many(9), {"k1": "TEMP"}, many(10), {"k1": "OK v"}),
    "empty_later": ({}, many(3), {"k1": "OK v"}, {}, {"k1": "OK v"}),
    "shrunk_by_40_percent": ({}, many(100), {"k99": "OK v"}, many(60, "w"), {"k99": "OK v", "k1": "OK v"}),
    "shrunk_by_25_percent": ({}, many(100), {"k99": "OK v"}, many(75, "w"), {"k99": "NOTFOUND ", "k1": "OK w"}),
    "shrunk_by_few_rows": ({}, many(10), {"k9": "OK v"}, many(1, "w"), {"k9": "NOTFOUND ", "k0": "OK w"}),
    "max_shrink": ({"max_shrink": 10}, many(300), {"k299": "OK v"}, many(260, "w"), {"k299": "OK v"}),
    "expect": ({"expect": ["KEY@x"]}, many(9), {"k1": "TEMP"}, dict(many(9), **{"key@X": "1"}), {"k1": "OK v"}),
    "expect_later": ({"expect": ["k8"]}, many(9), {"k1": "OK v"}, many(8, "w"), {"k1": "OK v", "k8": "OK v"}),
    "few_bad_values": ({}, many(1000, bad=5), {"k1": "TEMP", "k9": "OK v"}, many(1000, "w"), {"k1": "OK w"}),
    "many_bad_values": ({}, many(1000), {"k1": "OK v"}, many(1000, "w", 20), {"k1": "OK v", "k99": "OK v"}),
    "max_entries": ({"max_entries": 50}, many(50), {"k49": "OK v"}, many(51, "w"), {"k49": "OK v"}),
    "max_bytes": ({"max_bytes": "64K"}, many(50), {"k49": "OK v"}, many(50, "w" * 2000), {"k49": "OK v"}),
    "folded_keys": ({}, {"JÖRG@x": "1"}, {"jörg@X": "OK 1", "Jörg@x": "OK 1"}, {"a": "w"}, {"a": "OK w"}),
    "several_values": ({}, {"k": ["1", "2", "1"]}, {"k": "OK 1,2,1"}, {"k": ["2"]}, {"k": "OK 2"}),
    "empty_values": ({}, {"k": ["", "2"], "e": ""}, {"k": "OK 2", "e": "NOTFOUND "}, {"k": "w"}, {"k": "OK w"}),
    "expansion_limit": ({"expansion_limit": 2}, {"k": ["1", "2"], **many(200)}, {"k": "OK 1,2"},
                        {"k": ["1", "2", "3"], **many(200, "w")}, {"k": "TEMP", "k1": "OK w"}),
}


def check_acceptance():
    directories, server = world(list(ACCEPTANCE), {}, {
        "mode": "mirror", "on_miss": "notfound", "refresh": "1s", "max_age": "1h"}, {})
    for name, (settings, rows, *_) in ACCEPTANCE.items():
        server.maps[name].update(settings)
        directories[name].rows(rows)
    results = {}

    def reaches(name, wanted):
        def is_so():
            return all(server.ask(name, k).startswith(r) for k, r in wanted.items())
        wait_for(is_so, 20)
        return {k: server.ask(name, k)[:max(len(r), 4)] for k, r in wanted.items()}

    def play(name):
        _, _, first, rows, last = ACCEPTANCE[name]
        d = directories[name]
        wait_for(lambda: len(d.activity("end", "scan ")) > 1, 20)
        got = reaches(name, first)
        d.rows(rows)
        n = len(d.activity("end", "scan "))
        wait_for(lambda: len(d.activity("end", "scan ")) > n + 1, 20)
        results[name] = got, reaches(name, last)
    with server:
        in_parallel(play, ACCEPTANCE)
    for name, (got, got_later) in results.items():
        _, _, first, _, last = ACCEPTANCE[name]
        ok(all(got[k].startswith(r) for k, r in first.items()), "scan rule %s: first" % name, got)
        ok(all(got_later[k].startswith(r) for k, r in last.items()), "scan rule %s: then" % name,
           got_later)


def in_turn(checks):
    for check in checks:
        check()


in_parallel(in_turn, [
    [check_scan_faults], [check_acceptance],
    [check_lookup_faults, check_start_faults, check_pool, check_scan_has_its_own_process,
     check_killed_idle, check_failing_keys]])
done()

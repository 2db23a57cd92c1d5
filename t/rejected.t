#!/usr/bin/env python3
# sanitizers: yes
"""Scans that look wrong, who accepts them, and how often anybody can have a table scanned."""
import signal
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from web import ask_json

ALL = {"k%d@here.test" % i: str(i) for i in range(100)}
HALF = dict(list(ALL.items())[:50])
LOST, KEPT = "k99@here.test", "k1@here.test"
MIRROR = {"search": "exact", "mode": "mirror", "on_miss": "notfound", "refresh": "1h"}


def start(maps, script=""):
    """A server whose maps have a directory of their own each, loaded with ALL."""
    server = Server({m: dict(MIRROR, source=m, **s) for m, s in maps.items()})
    directories = {m: Directory(server.dir, m) for m in maps}
    for d in directories.values():
        d.rows(ALL)
        d.script(script)
    server.sources = [d.source() for d in directories.values()]
    server.control, server.web = ("unix:%s/%s" % (server.dir, s) for s in ("control", "web"))
    server.listeners += [{"protocol": "control", "address": server.control},
                         {"protocol": "http", "address": server.web}]
    server.start()
    for m in maps:
        server.wait_for_event("refreshed", map=m)
    return server, directories


def scans(directory):
    return len(directory.activity("scan"))


def scan_until(server, is_done):
    """Have everything scanned again and again."""
    def again():
        server.signal(signal.SIGUSR2)
        return is_done()
    wait_for(again, 30)


def check_rejected():
    server, directories = start({"m": {}})
    directory = directories["m"]
    with server:
        same(server.ask("m", LOST), "OK 99", "loaded")
        directory.rows(HALF)
        server.signal(signal.SIGUSR2)
        server.wait_for_event("refresh_rejected")
        found = (server.events("refresh_rejected") or [{}])[0]
        same([found.get(k) for k in ("why", "old", "new", "rows", "bad", "times", "map", "source")],
             ["shrunken by more than max_shrink", "100", "50", "50", "0", "1", "m", "m"],
             "SIGUSR2 scans now, and half of the keys are missing")
        keys = found.get("missing", "").split()
        same((len(keys), [k for k in keys if k not in ALL or k in HALF]), (8, []),
             "eight of them are named")
        same(server.ask("m", LOST), "OK 99", "the old copy answers")

        again = server.wait_for_event("refresh_rejected", times=2) or {}
        ok(again, "it is tried again")
        server.stats()
        shown = server.wait_for_event("stats_rejected", map="m") or {}
        ok(int(shown.get("times", 0)) >= 2 and shown.get("missing") == found.get("missing") and
           shown.get("why") == found.get("why"), "the stats show the rejection", shown)
        same(server.stats()["m"]["state"], "FRESH", "and what state the old copy is in")

        directory.rows(dict(ALL, **{"new@here.test": "x"}))
        server.signal(signal.SIGUSR2)
        same(server.wait_for_reply("m", "new@here.test", "OK"), "OK x", "a good scan is published")
        before = len(server.events("stats_rejected"))
        server.stats()
        same(len(server.events("stats_rejected")), before, "and ends the rejection")


def check_confirmed():
    """Identical results are believed after shrink_confirm, but only about size."""
    server, directories = start({"m": {"shrink_confirm": "1500ms"}, "off": {},
                                 "expect": {"shrink_confirm": "1500ms", "expect": [LOST]}})
    with server:
        for d in directories.values():
            d.rows(HALF)
        server.signal(signal.SIGUSR2)
        scan_until(server, lambda: server.events("rejection_accepted"))
        found = (server.events("rejection_accepted") or [{}])[0]
        same([found.get(k) for k in ("map", "by", "why", "new")],
             ["m", "shrink_confirm", "shrunken by more than max_shrink", "50"],
             "identical scans are accepted in the end")
        same(server.wait_for_reply("m", LOST, "NOTFOUND"), "NOTFOUND ", "and in force")
        same(server.ask("m", KEPT), "OK 1", "with what they hold")
        scan_until(server, lambda: all(int(f["same_since"][:-2]) > 3000 for f in (
            server.events("refresh_rejected", map=m)[-1] for m in ("expect", "off"))))
        same(sorted({f["map"] for f in server.events("rejection_accepted")}), ["m"],
             "not without the setting, not when an expected key is missing")
        same(server.events("refresh_rejected", map="expect")[-1]["missing"].split()[0], LOST,
             "which is named first")
        x = [ask_json(door, "/v1/explain?map=expect&key=x")[1] for door in (server.control, server.web)]
        same([e["steps"][0]["tables"][0]["rejected"]["expected"] for e in x], [LOST, None],
             "explained to who may control the server, and to nobody else")
        same([server.ask(m, LOST) for m in ("off", "expect")], ["OK 99"] * 2,
             "their old copies answer")


def check_flood():
    """However many want it: one scan a second for each table."""
    server, directories = start({
        "m": {}, "checked": {"change_query": "x", "change_interval": "1h"},
        "restless": {"change_query": "x", "change_interval": "50ms"}})
    m, checked, restless = (directories[n] for n in ("m", "checked", "restless"))
    with server:
        begin = time.monotonic()
        before = {d: scans(d) for d in (m, checked, restless)}
        for i in range(400):
            server.signal(signal.SIGUSR2)
            restless.rows(dict(ALL, **{"n%d@here.test" % i: "x"}))
            time.sleep(0.005)
        newest = "n399@here.test"
        same(server.wait_for_reply("restless", newest, "OK"), "OK x",
             "what changed during the flood is there after it")
        seconds = time.monotonic() - begin
        for name, d in (("m", m), ("checked", checked), ("restless", restless)):
            n = scans(d) - before[d]
            ok(1 <= n <= seconds + 2, "%s: scans are bounded, requests coalesce" % name,
               "%d in %.1f s" % (n, seconds))
        before = scans(m)
        m.rows(dict(ALL, **{"last@here.test": "x"}))
        server.signal(signal.SIGUSR2)
        same(server.wait_for_reply("m", "last@here.test", "OK"), "OK x", "the last request counts")


def check_dead_directory():
    """A request that fails is no reason to give up, nor to go on without a pause."""
    server, directories = start({"m": {}})
    directory = directories["m"]
    with server:
        directory.script("scan * down gone")
        server.signal(signal.SIGUSR2)
        server.wait_for_event("refresh_failed")
        directory.script("scan * die")
        server.signal(signal.SIGUSR2)
        server.wait_for_event("refresh_failed", 2)
        same(server.ask("m", LOST), "OK 99", "the old copy answers")
        directory.script("")
        directory.rows(dict(ALL, **{"back@here.test": "x"}))
        server.signal(signal.SIGUSR2)
        same(server.wait_for_reply("m", "back@here.test", "OK"), "OK x", "and it recovers")


check_rejected()
check_confirmed()
check_flood()
check_dead_directory()
done()

#!/usr/bin/env python3
# sanitizers: yes
"""SIGHUP: all or nothing, what is unchanged stays warm, and nobody notices under load."""
import os
import signal
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *

ROWS = {"k%d" % i: "v%d" % i for i in range(500)}
MIRROR = {"source": "fake", "search": "exact", "mode": "mirror", "on_miss": "notfound"}
DEMAND = {"source": "fake", "search": "exact", "mode": "demand"}


def check(key, reply):
    wanted = "OK " + ROWS[key] if key in ROWS else "NOTFOUND "
    return None if reply == wanted else "wanted " + wanted


def start(**settings):
    server = Server({"m": dict(MIRROR), "d": dict(DEMAND)}, **settings)
    directory = Directory(server.dir)
    directory.rows(ROWS)
    server.sources = [directory.source()]
    server.start()
    server.wait_for_reply("m", "k1", "OK")
    return server, directory


def check_bad_configurations(server, directory):
    """Each is refused as a whole: its good parts do not take effect either."""
    good_maps, good_daemon = dict(server.maps), dict(server.daemon)
    good_listeners, good_sources = list(server.listeners), list(server.sources)
    faults = {
        "unknown option": lambda: server.daemon.update(thraeds=3),
        "value out of range": lambda: server.maps["m"].update(max_shrink=101),
        "a duration without a unit": lambda: server.maps["m"].update(refresh="5"),
        "unknown source": lambda: server.maps["m"].update(source="nowhere"),
        "syntax error": lambda: server.maps.update(bad="source = ;\n"),
        "bad map name": lambda: server.maps.update({"no good": dict(MIRROR)}),
        "no listeners": lambda: server.listeners.clear(),
        "a listener's map is missing": lambda: server.listeners.append(
            {"protocol": "tcp_table", "address": "inet:127.0.0.1:%d" % free_port(), "map": "nix"}),
        "a path that cannot be bound": lambda: server.listeners.append(
            server.listener(address="unix:%s/no/such/directory" % server.dir)),
        "two sources of one name": lambda: server.sources.append(dict(server.sources[0])),
    }
    for name, spoil in faults.items():
        added = "added_%s" % name.split()[0]
        spoil()
        server.maps[added] = dict(DEMAND)
        refused = server.reload("reload_refused")
        server.maps, server.daemon = dict(good_maps, m=dict(MIRROR)), dict(good_daemon)
        server.listeners[:], server.sources[:] = good_listeners, good_sources
        ok(refused, "%s: the reload is refused" % name, server.log()[-1000:])
        like(server.ask(added, "k1"), "^TEMP ", "%s: nothing of it takes effect" % name)
        same([server.ask("m", "k1"), server.ask("d", "k2"), server.ask("m", "x")],
             ["OK v1", "OK v2", "NOTFOUND "], "%s: the old one stays whole" % name)
    like(server.log(), r"bad\.conf:1: syntax error", "file and line are named")
    os.unlink(server.conf)
    ok(server.reload("reload_refused", write=False), "a missing file: the reload fails")
    same(server.ask("m", "k1"), "OK v1", "a missing file: the old one stays")
    ok(server.reload(), "and a good one is taken again", server.log()[-1000:])


def check_unchanged_stay_warm(server, directory):
    same(server.ask("d", "k3"), "OK v3", "a demand cache has learnt something")
    scans = len(directory.activity("scan"))
    pids = set(server.drivers())
    lookups = len(directory.activity("lookup"))
    directory.script("scan * down gone\nlookup k3 down gone\nlookup k1 down gone")
    server.maps["new"] = dict(DEMAND)
    server.maps["copy"] = dict(MIRROR)
    ok(server.reload(), "a map is added")
    same(server.ask("m", "k1"), "OK v1", "an unchanged mirror stays, the directory being gone")
    same(server.ask("d", "k3"), "OK v3", "an unchanged demand cache, too")
    same(len(directory.activity("lookup")), lookups, "nothing was asked for again")
    same(server.ask("new", "k4"), "OK v4", "the new map answers")
    ok({a.pid for a in directory.activity("lookup", "k4")} <= pids,
       "through the processes that were there", directory.activity("lookup"), pids)
    like(server.ask("copy", "k1"), "^TEMP ", "a new mirror is empty, not absent")
    directory.script("")
    same(server.wait_for_reply("copy", "k1", "OK", 20), "OK v1", "until it is loaded")
    same(len([a for a in directory.activity("scan")]) > scans, True, "by a scan of its own")

    del server.maps["new"]
    ok(server.reload(), "a map is removed")
    like(server.ask("new", "k4"), "^TEMP ", "a removed map is TEMP, not NOTFOUND")
    server.maps["d"] = dict(DEMAND, result_format="<%s>")
    ok(server.reload(), "a map is changed")
    same(server.ask("d", "k3"), "OK <v3>", "and forgets what it knew")
    same(server.ask("m", "k1"), "OK v1", "its neighbour does not")
    server.maps["d"] = dict(DEMAND)
    directory.rows(dict(ROWS, source="old"))
    other = Directory(server.dir, "other")
    other.rows({"k1": "other"})
    server.sources.append(other.source())
    server.maps["d"]["source"] = "other"
    ok(server.reload(), "a map moves to another source")
    same(server.ask("d", "k1"), "OK other", "and asks there")
    server.maps["d"] = dict(DEMAND)
    server.sources.pop()
    old = {a.pid for a in other.activity("lookup")}
    ok(server.reload(), "a source is removed")
    ok(wait_for(lambda: not any(map(is_running, old))), "its processes end")
    directory.rows(ROWS)
    pids = set(server.drivers())
    server.sources[0] = directory.source(timeout="4s")
    ok(server.reload(), "a source is changed")
    same(server.ask("d", "k5"), "OK v5", "and used")
    ok(wait_for(lambda: not any(map(is_running, pids))), "its old processes end")
    same(server.wait_for_reply("m", "k1", "OK"), "OK v1", "mirrors on it are there")


def check_listeners(server):
    port = free_port()
    tcp = {"protocol": "socketmap", "address": "inet:127.0.0.1:%d" % port}
    inode = os.stat(server.socket).st_ino
    with server.client() as before:
        server.listeners.append(tcp)
        ok(server.reload(), "a listener is added")
        same(before.ask("m", "k1"), "OK v1", "connections survive")
        with Client(tcp["address"]) as c:
            same(c.ask("m", "k1"), "OK v1", "the new listener answers")
            same(os.stat(server.socket).st_ino, inode, "the old one is the same socket")
            server.listeners.remove(tcp)
            ok(server.reload(), "a listener is removed")

            def is_refused():
                try:
                    Client(tcp["address"]).close()
                except OSError:
                    return True
            ok(wait_for(is_refused), "nobody is let in any more")
            reply = c.ask("m", "k1")
            ok(reply in ("OK v1", None), "its clients get answers, or the end", reply)
        same(before.ask("m", "k2"), "OK v2", "others are not concerned")
        server.listeners[0]["idle_timeout"] = "50s"
        ok(server.reload(), "a listener's settings change")
        with server.client() as after:
            same(after.ask("m", "k1"), "OK v1", "on the same path")
        reply = before.ask("m", "k1")
        ok(reply in ("OK v1", None), "older clients get answers, or the end", reply)


def check_requests_under_way(server, directory):
    directory.script("lookup late* delay 0.6; value x; done")
    with server.client() as kept, server.client() as gone, server.client() as changed:
        server.maps.update(removed=dict(DEMAND), altered=dict(DEMAND))
        server.reload()
        kept.send(Client.request("d", "late1"))
        gone.send(Client.request("removed", "late2"))
        changed.send(Client.request("altered", "late3"))
        wait_for(lambda: len({a.text for a in directory.activity("lookup")} &
                             {"late1", "late2", "late3"}) == 3)
        del server.maps["removed"]
        server.maps["altered"]["result_format"] = "<%s>"
        ok(server.reload(), "a reload while requests wait")
        same(kept.read(), "OK x", "an unchanged map answers as if nothing had been")
        like(gone.read(), "^OK x$|^TEMP ", "a removed map never says NOTFOUND")
        like(changed.read(), "^OK (x|<x>)$|^TEMP ", "nor does a changed one")
    directory.script("")


def check_under_load(server, directory):
    keys = list(ROWS) + ["x%d" % i for i in range(50)]
    reloads = 0
    failed = []
    with Load(server, "m", keys, check) as mirror, Load(server, "d", keys, check) as demand:
        end = time.monotonic() + 5
        while time.monotonic() < end:
            reloads += 1
            server.maps.pop("extra", None)
            if reloads % 2:
                server.maps["extra"] = dict(MIRROR, refresh="%dm" % reloads)
            if reloads % 5 == 4:
                server.maps["m2"] = dict(DEMAND, ttl="%ds" % reloads)
            server.write()
            server.signal(signal.SIGHUP)
            time.sleep(0.02)
        mirror_count, demand_count = mirror.total(), demand.total()
    note("%d reloads, %d and %d requests" % (reloads, mirror_count, demand_count))
    same(mirror.wrong[:3], [], "under load: no wrong answer from a mirror")
    same(demand.wrong[:3], [], "under load: no wrong answer from a demand cache")
    ok(mirror_count > 1000 and demand_count > 1000, "under load: thousands of requests")

    descriptors, threads = server.descriptors(), server.threads()
    with Load(server, "m", keys, check) as storm:
        for _ in range(1000):
            server.signal(signal.SIGHUP)
        time.sleep(0.5)
    same(storm.wrong[:3], [], "a storm of 1000 SIGHUPs: no wrong answer")
    ok(server.reload(), "and it reloads once more")
    ok(wait_for(lambda: server.descriptors() <= descriptors + 4), "no descriptor is leaked",
       descriptors, server.descriptors())
    same(server.threads(), threads, "nor a thread")


def check_removed_source():
    """Nobody waits for a source that is gone: not its clients, and not the end of the server."""
    server, directory = start()
    gone = Directory(server.dir, "gone")
    gone.script("lookup * silent")
    server.sources.append(gone.source(timeout="5m"))
    server.maps["g"] = dict(DEMAND, source="gone", deadline="60s")
    with server, server.client() as waiting:
        ok(server.reload(), "a source is added")
        waiting.send(Client.request("g", "k"))
        ok(wait_for(lambda: gone.activity("lookup")), "a client waits for a directory that stands still")
        server.sources.pop()
        del server.maps["g"]
        ok(server.reload(), "its source is removed")
        like(waiting.read(), "^TEMP ", "the client is told at once")
        ok(wait_for(lambda: not any(is_running(a.pid) for a in gone.activity("lookup"))),
           "the process ends, though it was asked something")
        server.maps["g"] = dict(DEMAND, source="gone", deadline="100ms")
        server.sources.append(gone.source(timeout="5m"))
        server.reload()
        like(waiting.ask("g", "l"), "^TEMP ", "another one, who does not wait for long")
        server.sources.pop()
        del server.maps["g"]
        ok(server.reload(), "it is removed once more, and the server stops at once")


def check_only_restart():
    server, _ = start()
    with server:
        server.daemon["threads"] = 4
        before = server.threads()
        server.reload()
        like(server.log(), r"threads.*restart", "a setting that needs a restart is told")
        same((server.threads(), server.ask("m", "k1")), (before, "OK v1"), "and left alone")
        server.daemon["log_level"] = "error"
        server.reload()


server, directory = start()
with server:
    check_bad_configurations(server, directory)
    check_unchanged_stay_warm(server, directory)
    check_listeners(server)
    check_requests_under_way(server, directory)
    check_under_load(server, directory)
check_removed_source()
check_only_restart()
done()

#!/usr/bin/env python3
"""A host out of memory: a scan or a reload that needs too much fails, and nothing else does."""
import os
import resource
import signal
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *

SPARE = 24 << 20
MIRROR = {"search": "exact", "mode": "mirror", "source": "fake", "refresh": "1h",
          "on_miss": "notfound"}
SMALL = {"k%d@x.test" % i: str(i) for i in range(10)}
BIG = dict(SMALL, **{"big%d@x.test" % i: "v" * 900000 for i in range(50)})


def size_of(server):
    return int(proc_file(server.pid, "statm").split()[0]) * resource.getpagesize()


def limit_memory(server, spare):
    """The server may have so much more address space than it has when at rest; None: any amount."""
    # Its threads reserve some at their first malloc().
    wait_for(lambda: (before := size_of(server), time.sleep(0.3)) and size_of(server) == before)
    limit = resource.RLIM_INFINITY if spare is None else size_of(server) + spare
    resource.prlimit(server.pid, resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def scan_now(server, event):
    n = len(server.events(event))
    server.signal(signal.SIGUSR2)
    return server.wait_for_event(event, n + 1, 60) or {}


def check_answers(server, when):
    same([server.ask("m", k) for k in ("k1@x.test", "none@x.test")], ["OK 1", "NOTFOUND "],
         "%s: the old copy answers" % when)


server = Server({"m": MIRROR})
directory = Directory(server.dir)
directory.rows(SMALL)
server.sources = [directory.source()]
with server:
    server.wait_for_event("refreshed")
    check_answers(server, "at first")
    wait_for(lambda: os.path.exists(server.state + "/m.0.snapshot"))
    limit_memory(server, SPARE)
    directory.rows(BIG)
    same(scan_now(server, "refresh_failed").get("why"), "out of memory", "a scan that is too big")
    check_answers(server, "then")
    limit_memory(server, None)
    same(scan_now(server, "refreshed").get("entries"), "60", "with memory it succeeds")
    directory.rows(SMALL)
    scan_now(server, "refresh_rejected")

    before = dict(server.maps)
    server.maps = dict(before, **{"m%d" % i: dict(MIRROR, cache_size="1M") for i in range(100)})
    limit_memory(server, SPARE)
    ok(server.reload("reload_refused"), "a reload that needs too much is refused")
    like(server.wait_for_event("reload_error").get("why"), "^out of memory", "for lack of memory")
    check_answers(server, "then")
    like(server.ask("m5", "k1@x.test"), "^TEMP ", "no part of it is in force")
    server.maps = dict(before, small=dict(MIRROR, cache_size="64K"))
    ok(server.reload(), "a small one is not")
    same(server.wait_for_reply("small", "k1@x.test", "OK"), "OK 1", "and is in force")
    limit_memory(server, None)
    server.maps.update({"m%d" % i: dict(MIRROR, cache_size="1M") for i in range(100)})
    ok(server.reload(), "with memory the big one is accepted, too")
    same(server.wait_for_reply("m5", "k1@x.test", "OK"), "OK 1", "and is in force")
done()

#!/usr/bin/env python3
# sanitizers: yes
"""
Random faults under load, for ten seconds. An oracle knows every key: what exists is never
reported missing, what does not is never found, and all is well when the faults are over.
"""
import os
import random
import signal
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *

SECONDS = 8
seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
note("SEED=%d" % seed)
pick = random.Random(seed)
ROWS = {"user%d@chaos.test" % i: "box%d" % i for i in range(2000)}
ABSENT = ["none%d@chaos.test" % i for i in range(2000)]
FAULTS = ["die", "value wrong; die", "silent", "raw garbage\\n", "temp not now", "down gone",
          "value wrong; done 0", "delay 0.05; rows; done", "rows"]


def check(key, reply):
    """TEMP is always allowed; it is counted."""
    if reply.startswith("TEMP "):
        return None
    wanted = "OK " + ROWS[key] if key in ROWS else "NOTFOUND "
    return None if reply == wanted else "wanted " + wanted


def kill_a_driver(server, directory):
    drivers = server.drivers()
    if drivers:
        signal_if_there(pick.choice(drivers), pick.choice((signal.SIGKILL, signal.SIGSEGV)))


def stop_a_driver(server, directory):
    """One that hangs for good."""
    drivers = server.drivers()
    if drivers:
        signal_if_there(pick.choice(drivers), signal.SIGSTOP)


def script_faults(server, directory):
    directory.script("".join("%s %s %s\n" % (verb, "*%d*" % pick.randrange(10) if
                                             verb == "lookup" else "*", pick.choice(FAULTS))
                             for verb in pick.sample(["lookup", "scan", "ping"], 2)))


def heal(server, directory):
    directory.script("")


def reload(server, directory):
    server.maps["extra"] = dict(server.maps["mirror"], refresh="%ds" % pick.randrange(2, 9))
    server.write()
    server.signal(signal.SIGHUP)


def churn(server, directory):
    for _ in range(20):
        with server.client() as c:
            c.send(pick.choice((b"", b"3:", b"garbage", Client.request("demand", "none1@x"))))


table = {"source": "fake", "search": "exact", "ttl": "500ms", "negative_ttl": "300ms",
         "refresh": "1s", "deadline": "400ms", "cache_size": "256K"}
server = Server({"mirror": dict(table, mode="mirror", on_miss="ask"),
                 "trust": dict(table, mode="mirror", on_miss="notfound"),
                 "demand": dict(table, mode="demand"), "cold": dict(table, mode="demand",
                                                                    stale_max="0", ttl="100ms")})
directory = Directory(server.dir)
directory.rows(ROWS)
server.sources = [directory.source(connections=3, timeout="600ms", start_timeout="5s",
                                   scan_idle="1s", queue=50)]
keys = list(ROWS) + ABSENT
with server:
    for m in server.maps:
        server.wait_for_reply(m, "user1@chaos.test", "OK")
    base = server.descriptors(), server.threads()
    loads = [Load(server, m, keys, check, 2) for m in ("mirror", "trust", "demand", "cold")]
    for load in loads:
        load.__enter__()
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        pick.choices((kill_a_driver, stop_a_driver, script_faults, heal, reload, churn),
                     (8, 1, 3, 3, 1, 1))[0](server, directory)
        time.sleep(pick.uniform(0, 0.2))
    directory.script("")
    for load in loads:
        load.__exit__()
        note("%s: %s" % (load.map, dict(load.verdicts)))
        same(load.wrong[:3], [], "%s: no wrong answer in %d" % (load.map, load.total()))
    ok(sum(load.verdicts["OK"] for load in loads) > 1000, "and many right ones")
    same(loads[1].verdicts["TEMP"], 0, "a mirror is not touched by any of it")
    for m in ("mirror", "trust", "demand", "cold"):
        got = [server.wait_for_reply(m, k, w, 30) for k, w in (
            ("user7@chaos.test", "OK"), ("user8@chaos.test", "OK"), ("none9@chaos.test", "NOT"))]
        same(got, ["OK box7", "OK box8", "NOTFOUND "], "%s: all is well afterwards" % m)
    # two pipes' worth of descriptors per driver process may come and go
    ok(wait_for(lambda: server.descriptors() <= base[0] + 8), "no descriptor is leaked", base,
       server.descriptors())
    same(server.threads(), base[1], "nor a thread")
    ok(wait_for(lambda: len(server.drivers()) <= 5), "nor a process", server.drivers())
done()

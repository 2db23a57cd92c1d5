#!/usr/bin/env python3
# sanitizers: yes
"""The real postmap asks: exit status and output, single keys and batches, all kinds of address."""
import os
import sys

sys.path.insert(0, "t/lib")
from harness import *

ROWS = {
    "a@x.test": "a@y.test", "two words": "v  w", "jörg@bücher.test": "jörg@büro.test",
    "100%": "50% off", "quote\"back\\slash": "odd", "long": "x" * 4000, "longest": "x" * 99997,
    "key:colon": "v:w", "tab\tkey": "v\tw", "nul": "\0",
}
MAIN_CF = """compatibility_level = 3.6
queue_directory = %(dir)s
data_directory = %(dir)s
inet_interfaces = loopback-only
maillog_file =
myhostname = postmap.test
"""


def postmap(key, table, input=None):
    return run("postmap", "-c", config, "-q", key, table, **({"input": input} if input else {}))


def told(p):
    """What it said, for a failure."""
    return p.returncode, p.stdout[:300], p.stderr[:600]


def check_found(kind, table, keys):
    for key in keys:
        p = postmap(key, table)
        same((p.returncode, p.stdout, p.stderr), (0, ROWS[key] + "\n", ""), "%s: %s" % (kind, key))


def check_not_found(kind, table):
    for key in ("none", "A@x.test.", "", "b c d", "ä"):
        p = postmap(key, table)
        same((p.returncode, p.stdout, p.stderr), (1, "", ""), "%s: not found: %r" % (kind, key))
    p = postmap("JÖRG@Bücher.TEST", table)
    same((p.returncode, p.stdout), (0, "jörg@büro.test\n"), "%s: case is folded" % kind)


def check_batch(kind, table):
    keys = []
    for i in range(2000):
        keys.append("user%d@batch.test" % i if i % 4 else "none%d@batch.test" % i)
    keys[100:102] = ["two words", "jörg@bücher.test"]
    p = postmap("-", table, "".join(k + "\n" for k in keys))
    wanted = "".join("%s\t%s\n" % (k, ROWS[k]) for k in keys if k in ROWS)
    ok(p.returncode == 0 and p.stdout == wanted and not p.stderr,
       "%s: a batch of 2000 keys" % kind, told(p))
    p = postmap("-", table, "none1\nnone2\n")
    same((p.returncode, p.stdout, p.stderr), (1, "", ""), "%s: a batch without a hit" % kind)


def check_errors(kind, table, down=None):
    p = postmap("late", table)
    ok(p.returncode == 1 and not p.stdout and "fatal" in p.stderr, "%s: TEMP is an error" % kind,
       told(p))
    return p


ROWS.update({"user%d@batch.test" % i: "box%d" % i for i in range(2000)})
ROWS.pop("nul"), ROWS.pop("tab\tkey")

config = scratch()
with open(config + "/main.cf", "w") as f:
    f.write(MAIN_CF % {"dir": config})
open(config + "/master.cf", "w").close()

server = Server()
directory = Directory(server.dir)
directory.rows(ROWS)
directory.script("lookup late* down the directory is away")
server.sources = [directory.source()]
server.maps = {"mirror": {"source": "fake", "search": "exact", "mode": "mirror",
                          "on_miss": "notfound"},
               "demand": {"source": "fake", "search": "exact", "mode": "demand"}}
ports = [free_port() for _ in range(3)]
server.listeners += [{"protocol": "socketmap", "address": "inet:127.0.0.1:%d" % ports[0]},
                     {"protocol": "tcp_table", "address": "inet:127.0.0.1:%d" % ports[1],
                      "map": "mirror"},
                     {"protocol": "tcp_table", "address": "inet:127.0.0.1:%d" % ports[2],
                      "map": "demand"}]
TABLES = {
    "unix, mirror": "socketmap:unix:%s:mirror" % server.socket,
    "unix, demand": "socketmap:unix:%s:demand" % server.socket,
    "inet, mirror": "socketmap:inet:127.0.0.1:%d:mirror" % ports[0],
    "tcp, mirror": "tcp:127.0.0.1:%d" % ports[1],
    "tcp, demand": "tcp:127.0.0.1:%d" % ports[2],
    "unionmap": "unionmap:{inline:{never.invalid=x}, socketmap:unix:%s:mirror}" % server.socket,
}
with server:
    server.wait_for_reply("mirror", "long", "OK")
    for kind, table in TABLES.items():
        check_found(kind, table, [k for k in ROWS if "batch" not in k and
                                  (k != "longest" or "tcp" not in kind)])
        check_not_found(kind, table)
        check_batch(kind, table)
    for kind in ("unix, demand", "tcp, demand"):
        p = check_errors(kind, TABLES[kind])
        if "unix" in kind:
            like(p.stderr, r"socketmap server temporary error: .*demand",
                 "the reason names the map, for the administrator's log")
            ok("late" not in p.stderr.partition("temporary error:")[2].partition("\n")[0],
               "and not the address", p.stderr)
    p = postmap("-", TABLES["unix, demand"], "user1@batch.test\nlate1\n")
    ok(p.returncode == 1 and "fatal" in p.stderr, "an error in a batch", told(p))
    p = postmap("a@x.test", "socketmap:unix:%s:nix" % server.socket)
    ok(p.returncode == 1 and not p.stdout and "temporary error" in p.stderr,
       "an unknown map is an error, not a miss", told(p))
done()

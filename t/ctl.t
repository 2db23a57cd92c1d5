#!/usr/bin/env python3
"""socketmapctl: every command and exit code, with a live server and with none."""
# sanitizers: asan
import json
import os
import re
import select
import signal
import socket
import sqlite3
import sys

sys.path.insert(0, "t/lib")
from ctl import *

DIR = scratch()


# --- no server ------------------------------------------------------------------------------------

def test_usage():
    for argv in [], ["--nope"], ["nope"], ["status", "x"], ["lookup", "m"], ["lookup", "m", "k", "x"], \
            ["refresh"], ["refresh", "m", "--all"], ["flush"], ["flush", "m", "--address", "a"], \
            ["diff", "m", "--full", "--sample", "3"], ["diff", "m", "--sample", "x"], ["dump"], \
            ["status", "--wait"], ["--timeout", "0", "status"], ["--timeout", "1x", "status"], \
            ["top", "--interval", "nan"], ["postfix", "--json"]:
        code, out, err = ctl("/nowhere", *argv)
        ok(code == 2 and not out and "socketmapctl" in err, "usage: " + " ".join(argv), code, out, err)
    for argv, words in (["--timeout", "5s"], '--timeout wants seconds above 0, and no unit; not "5s"'), \
            (["--interval", "x"], "--interval wants seconds"), (["--sample", "x"], "--sample wants a number of keys"):
        ok(words in ctl("/nowhere", *argv, "status")[2], "usage: what %s wants" % argv[0])
    code, out, _ = ctl("/nowhere", "help")
    same(code, 0, "help")
    for argv, _, _ in COMMANDS:
        ok("\n  " + argv[0] in out, "it tells of " + argv[0])
    same(ctl("/nowhere", "--help"), (0, out, ""), "--help is the same")
    like(ctl("/nowhere", "--version")[1], r"socketmapctl [\d.]+\nlibcurl \S+\njansson ", "--version")


def test_unreachable():
    path = DIR + "/away"
    code, out, err = ctl(path, "status")
    same((code, out), (3, ""), "no socket: 3")
    like(err, r"no control socket at %s: is the server running.*protocol = \"control\"" % path,
         "and what to do")
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(path)
    code, _, err = ctl(path, "maps")
    ok(code == 3 and "nobody listens" in err, "a socket that was left behind", code, err)
    replace(DIR + "/file", "")
    code, _, err = ctl(DIR + "/file", "maps")
    ok(code == 3 and "cannot connect" in err, "a file that is no socket", code, err)
    code, _, err = ctl("/" + "x" * 200, "maps")
    ok(code == 3 and "so long a path" in err, "too long a path", code, err)
    if os.geteuid() == 0:
        os.chmod(path, 0o660)
        os.chown(path, 0, 12)
        code, _, err = ctl(path, "maps", user=65534, group=65534, extra_groups=[])
        ok(code == 3 and re.search(r"Permission denied \(root and members of the group \S+ may\)", err),
           "a socket for others", code, err)
    os.unlink(path)
    done = run(CTL, "status")
    ok("/run/socketmapd/control" in done.stderr or done.returncode == 0, "the default socket")


# --- a real server ----------------------------------------------------------------------------------------------

ALIAS = {"source": "db", "query": "SELECT goto FROM alias WHERE address = '%s'",
         "scan_query": "SELECT address, goto FROM alias"}
ROWS = {"joe@a.test": "joe@b.test", "@all.test": "catch@b.test", "long": "v" * 5000}


def fill(server, rows):
    with sqlite3.connect(server.dir + "/db.sqlite") as db:
        db.execute("DELETE FROM alias")
        db.executemany("INSERT INTO alias VALUES (?, ?)", rows.items())
    db.close()


def live_server():
    server = Server(recipient_delimiter="+", log_level="info")
    database(server.dir + "/db.sqlite", "CREATE TABLE alias (address TEXT PRIMARY KEY, goto TEXT)")
    fill(server, dict(ROWS, **{"u%d" % i: "v" for i in range(100)}))
    away = Directory(server.dir, "away")
    away.script("hello * hello 1 fake_driver\nping * down no route\nscan * down no route\n"
                "lookup * down no route")
    server.sources = [{"name": "db", "driver": "sqlite", "dbpath": "db.sqlite"},
                      away.source(timeout="1s")]
    server.maps = {"virtual_alias_maps": dict(ALIAS, mode="mirror", on_miss="notfound", refresh="1h"),
                   "single": dict(ALIAS, search="exact"),
                   "gone": {"source": "away", "search": "exact", "deadline": "300ms"},
                   "empty": {"source": "away", "search": "exact", "mode": "mirror", "refresh": "1h"},
                   "hidden": dict(ALIAS, search="exact", mode="mirror", refresh="1h", secret=True)}
    server.maps["single"].pop("scan_query")
    server.daemon["start_wait"] = "100ms"
    server.control = server.dir + "/control"
    server.listeners.append({"protocol": "control", "address": "unix:" + server.control})
    return server


def test_live_questions(server):
    def live(*argv):
        return ctl(server.control, *argv)
    wait_for(lambda: json.loads(live("--json", "maps")[1] or "[]") and live(
        "lookup", "virtual_alias_maps", "joe@a.test")[0] == 0)
    ok(wait_for(lambda: live("refresh", "empty", "--wait")[0] == 4), "a scan that fails: 4")
    code, out, err = live("status")
    same(code, 1, "a map cannot answer: not ready")
    like(out, "map empty: EMPTY.*no route", "why")
    like(out, r"source away: down( for .*, last tried .* ago|, .* ago|, just now): no route", "and its source")
    same([m["name"] for m in json.loads(live("--json", "maps")[1])], sorted(server.maps), "maps --json")
    like(live("maps")[1], r"virtual_alias_maps +virtual +db +FRESH +103 ", "maps")
    like(live("sources")[1], r"away +\S+ +down", "sources")
    for argv, code, out, words in [
            (["virtual_alias_maps", "Joe+x@A.test"], 0, "Joe+x@b.test\n|joe+x@b.test\n", ""),
            (["virtual_alias_maps", "any@all.test"], 0, "catch@b.test\n", ""),
            (["virtual_alias_maps", "nobody@a.test"], 1, "", "NOTFOUND, from the mirror"),
            (["single", "joe@a.test"], 0, "joe@b.test\n", ""),
            (["single", "nobody@a.test"], 1, "", "NOTFOUND, from the directory"),
            (["gone", "k"], 4, "", "TEMP"), (["empty", "k"], 4, "", "TEMP"),
            (["virtual_alias_map", "k"], 2, "", "did you mean \"virtual_alias_maps\""),
            (["", "k"], 2, "", "no such map: its name is empty"),
            (["hidden", "joe@a.test"], 0, "joe@b.test\n", "")]:
        got = live("lookup", *argv)
        ok(got[0] == code and got[1] in out.replace("|", "") + out and (not out or got[1]) and
           re.search(words, got[2]), "lookup " + " ".join(argv), got)
    for argv, words in [(["virtual_alias_maps", "joe+x@a.test"], ['FOUND "joe\\+x@b.test"', "query +SELECT",
                                                                   r"Why\n  \S+"]),
                        (["gone", "k"], ["TEMP", "source +down: no route", r"Why\n  \S+"]),
                        (["virtual_alias_maps", "x@all.test"], ['2. "@all.test"\n', "catch@b.test"])]:
        code, out, err = live("explain", *argv)
        ok(code == 0 and all(re.search(w, out) for w in words), "explain " + " ".join(argv), out, err)
    ok("query" not in live("explain", "--no-live", "single", "j")[1], "explain --no-live asks nobody")
    same(live("explain", "nope", "k")[0], 2, "explain: no such map")
    code, out, err = live("postfix")
    ok(code == 0 and "virtual_alias_maps = socketmap:unix:%s:virtual_alias_maps" % server.socket in out,
       "postfix", out, err)
    t = Terminal([CTL, "-s", server.control, "top", "--interval", "0.2"], columns=120)
    ok(t.wait_for("virtual_alias_maps.*away"), "top", t.text)
    t.send("q")
    same(t.end(), 0, "top ends")


def test_live_orders(server):
    def live(*argv):
        return ctl(server.control, *argv)
    code, out, _ = live("dump", "virtual_alias_maps")
    same((code, len(out.splitlines())), (0, 103), "dump: all keys")
    ok("joe@a.test\tjoe@b.test\n" in out, "dump: key and value")
    same([live("dump", m)[0] for m in ("single", "hidden", "nope")], [4, 3, 2], "dump: 4, 3, 2")
    code, _, err = ctl(server.socket, "status")
    ok(code == 3 and "it is not a control socket" in err, "the socket of another listener", code, err)
    same(live("diff", "--full", "virtual_alias_maps")[::2], (0, "103 keys compared, 0 different\n"),
         "diff: none")
    fill(server, dict(ROWS, **{"joe@a.test": "new@b.test"}))
    code, out, _ = live("diff", "--full", "virtual_alias_maps")
    same(code, 1, "diff: some")
    ok('joe@a.test:  mirror "joe@b.test"  directory "new@b.test"\n' in out and
       'u7:  mirror "v"  directory nothing\n' in out, "diff: what", out[:300])
    code, out, err = live("refresh", "virtual_alias_maps", "--wait")
    ok(code == 4 and re.search("rejected: .*103 keys before, 3 now", out), "a rejected scan: 4", code, out, err)
    like(live("status")[1], "map virtual_alias_maps: the scan was rejected", "the status tells")
    like(live("explain", "virtual_alias_maps", "u7")[1], "rejected +the scan was rejected", "so does explain")
    code, out, err = live("accept", "virtual_alias_maps", "--wait")
    ok(code == 0 and "3 keys" in out, "accept --wait", code, out, err)
    same(live("lookup", "virtual_alias_maps", "joe@a.test")[1], "new@b.test\n", "it is in force")
    same([live("accept", m)[0] for m in ("virtual_alias_maps", "nope")], [4, 2], "accept: 4, 2")
    same([live("refresh", m)[0] for m in ("single", "nope")], [4, 2], "refresh: 4, 2")
    like(live("refresh", "--all")[1], "virtual_alias_maps: will be scanned", "refresh --all")

    same(live("lookup", "single", "joe@a.test")[1], "new@b.test\n|joe@b.test\n".split("|")[1],
         "a cached answer")
    like(live("flush", "single", "joe@a.test")[1], "1 answer forgotten; looked at: single", "flush MAP KEY")
    same(live("lookup", "single", "joe@a.test")[1], "new@b.test\n", "is asked anew")
    code, out, _ = live("flush", "--address", "joe@a.test")
    ok(code == 0 and "single" in out and "virtual_alias_maps" in out, "flush --address", out)
    same([live("flush", m)[0] for m in ("single", "nope")], [0, 2], "flush: 0, 2")

    like(live("reload")[1], "reloaded\n$", "reload")
    good = server.maps["single"]
    server.maps["single"] = dict(good, ttl="never")
    server.write()
    code, out, err = live("reload")
    ok(code == 4 and "single.conf" in err and "nothing has changed" in err, "reload refused: 4", out, err)
    server.maps["single"] = good
    server.write()


def test_live_trace(server):
    p = starts(["-s", server.control, "trace", "--map", "single"])
    seen = []

    def sees():
        with server.client() as c:
            c.ask("virtual_alias_maps", "other@a.test")
            c.ask("single", "traced@a.test")
        return select.select([p.stdout], [], [], 0.1)[0]
    ok(wait_for(sees), "trace: something comes")
    line = p.stdout.readline()
    like(line, r"^\d\d:\d\d:\d\d\.\d{3} single traced@a.test -> NOTFOUND +\[\w+, .*socketmap\]$",
         "trace: who asked what")
    p.send_signal(signal.SIGINT)
    out, err = p.communicate(timeout=20)
    same((p.returncode, err), (130, ""), "trace: ^C")
    ok("other@a.test" not in out, "trace: one map only")
    p = starts(["-s", server.control, "trace"])
    p.stdout.close()
    same(p.wait(20), -signal.SIGPIPE, "trace: nobody reads any more")
    p.stderr.close()
    same(ctl(server.control, "trace", "--map", "nope")[0], 2, "trace: no such map")


def test_others_are_refused(server):
    if os.geteuid():
        note("not root: nobody else can be tried")
        return
    os.chmod(server.dir, 0o755)
    os.chmod(server.control, 0o666)
    code, _, err = ctl(server.control, "status", user=65534, group=65534, extra_groups=[])
    ok(code == 3 and "refuse" in err, "whoever is not of the group is refused", code, err)


test_usage()
test_unreachable()
SERVER = live_server()
with SERVER:
    test_live_questions(SERVER)
    test_live_orders(SERVER)
    test_live_trace(SERVER)
    test_others_are_refused(SERVER)
done()

#!/usr/bin/env python3
"""socketmapctl and a server that is slow, refuses, ends too soon, or talks nonsense."""
# sanitizers: asan
import copy
import json
import os
import random
import re
import sys

sys.path.insert(0, "t/lib")
from ctl import *
from fake_control import FakeControl, Raw, compact

DIR = scratch()
EVIL = "\x1b[31mred\x07\r\n\x9b2J\u202eright\u200b\x00\\x\u0301"


def test_environment(fake):
    fake.answers = {"GET /v1/status": (200, status())}
    names = dict(SOCKETMAPD_CONTROL=fake.path, http_proxy="http://127.0.0.1:1", ALL_PROXY="http://127.0.0.1:1")
    os.environ.update(names)
    same(run(CTL, "status").returncode, 0, "SOCKETMAPD_CONTROL; proxies are not asked")
    for name in names:
        del os.environ[name]
    same(ctl("unix:" + fake.path, "status")[0], 0, "unix: as in the configuration")


# --- a server that talks nonsense ------------------------------------------------------------------

def check_sane(name, result, codes=range(5)):
    code, out, err = result
    ok(code in codes and not SANITIZER.search(err) and (code == 0 or out or err), name, result)
    # what only looks like text must not reach a terminal
    bad = [c for c in out + err if c != "\n" and c != "\t" and
           (ord(c) < 32 or 0x7f <= ord(c) < 0xa0 or c in "\u202e\u200b\u0301" or 0xdc80 <= ord(c) < 0xdd00)]
    ok(not bad, name + ": nothing that a terminal obeys", repr(bad))


def test_refusals(fake):
    for argv, request, _ in COMMANDS:
        name = " ".join(argv)
        for answer, codes, words in [
                ((200, b"garbage"), [3], "no JSON|complete"),
                ((200, b'{"maps":[{"na'), [3], "JSON|complete"),
                ((200, b""), [3], "no JSON|complete"),
                ((200, b"[]"), [3], "no JSON|complete"),
                ((500, b"<html>"), [3], "500"),
                ((503, {"error": "the control loop does not answer"}), [3], "control loop"),
                ((403, {"error": "this socket is not for you"}), [3], "refuses: this socket"),
                ((404, {"error": "nothing is here"}), [3], "protocol = \"control\""),
                ((405, {"error": "nothing can be changed here"}), [3], "protocol = \"control\""),
                ((404, {"error": "no such map: m; did you mean \"mm\"?"}), [2], "did you mean \"mm\""),
                ((409, {"error": "cannot be done"}), [4], "cannot be done"),
                (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}"), [3], "middle|complete"),
                (Raw(b"220 mail ESMTP\r\n"), [3], "does not speak HTTP"),
                ((404, {"error": "this is for the control socket"}), [3], "protocol = \"control\""),
                (Raw(b""), [3], "not a control socket")]:
            fake_for(fake, request, answer)
            code, out, err = ctl(fake.path, *argv)
            ok(code in codes and re.search(words, err), "%s: %s" % (name, words), code, out, err)


def test_json_is_unchanged(fake):
    for argv, request, answer in COMMANDS:
        fake_for(fake, request, good(answer))
        if argv[0] in ("maps", "sources"):
            same(json.loads(ctl(fake.path, "--json", *argv)[1]), answer[argv[0]], "--json " + argv[0])
        elif argv[0] != "postfix":
            sent = b"".join(map(compact, answer)) if isinstance(answer, list) else compact(answer)
            same(ctl(fake.path, "--json", *argv)[1], sent.decode(), "--json " + argv[0])
    error = {"error": "cannot be done"}
    fake.answers = {"POST /v1/accept": (409, error)}
    code, out, err = ctl(fake.path, "--json", "accept", "m")
    ok((code, out) == (4, compact(error).decode()) and "cannot be done" in err,
       "an error is JSON, too", code, out, err)


def test_slow(fake):
    fake.delay = 3
    fake.answers = {"GET /v1/status": (200, status()), "GET /v1/trace": (200, [])}
    for command in "status", "trace":
        code, _, err = ctl(fake.path, "--timeout", "0.3", command)
        ok(code == 3 and "has not answered for 0.3 s" in err, "too slow: " + command, code, err)
    fake.delay = 0
    fake.answers = {"GET /v1/dump": (200, [{"table": 0, "key": "k", "value": "v"}, 3, b""])}
    code, out, err = ctl(fake.path, "--timeout", "0.3", "dump", "m")
    ok((code, out) == (3, "k\tv\n") and "not answered" in err, "a stream that stops", code, out, err)


def test_streams_are_whole_or_fail(fake):
    entry = {"table": 0, "key": "k", "value": "v"}
    for name, parts in ("cut", [entry]), ("without its last line", [entry, b""]), \
            ("half a line", [entry, b'{"ta', b""]), ("nonsense", [entry, b"nonsense\n", b""]):
        for command in "dump", "diff":
            fake.answers = {"GET /v1/" + command: (200, parts)}
            code, out, err = ctl(fake.path, command, "m")
            ok(code == 3 and err, "%s: %s" % (command, name), code, out, err)
    fake.answers = {"GET /v1/dump": (200, [b'{"table":0,"ke', b'y":"k","value":"v"}\n{"end":tr',
                                           b'ue,"entries":1}', b"\n", b""])}
    same(ctl(fake.path, "dump", "m"), (0, "k\tv\n", ""), "lines in pieces")


def mutate(value, pick):
    """Some place in a JSON value gets something else."""
    odd = [None, True, -1, 1e300, 2 ** 60, "", EVIL, "x" * 3000, [], {}, [None, 7, "s", {}], {EVIL: EVIL}]
    value = copy.deepcopy(value)
    places = []

    def walk(v):
        for k in (v if isinstance(v, dict) else range(len(v)) if isinstance(v, list) else []):
            places.append((v, k))
            walk(v[k])
    walk(value)
    for _ in range(pick.choice((1, 1, 3))):
        holder, key = pick.choice(places)
        if pick.random() < 0.2 and isinstance(holder, dict):
            holder.pop(key, None)
        elif isinstance(holder, dict) or key < len(holder):
            holder[key] = pick.choice(odd)
    return value


def test_odd_values(fake):
    pick = random.Random(4)
    everything = status(a_map("m", table(rejected={
        "why": "w", "old": 5, "new": 1, "times": 3, "since": 9.0, "accepted": False}, state="STALE",
        last_refresh=refreshed(5.0, "failed", "lost"), scan={"rows": 5, "seconds": 1.0}),
        export={"path": "/e.cdb", "failed": True}), ready=False, phase="starting",
        sources=[a_source(state="down", last_error={"time": 5.0, "why": "gone"}, cert_not_after=5)],
        config={"path": "/c", "last_reload": {"time": 5.0, "ok": False, "why": "bad"}})
    shapes = [(a, r, everything if r == "GET /v1/status" else v) for a, r, v in COMMANDS]
    shapes.append((["trace"], "GET /v1/trace", [TRACED, {}, {"lost": 5}]))
    for argv, request, answer in shapes:
        for _ in range(12):
            fake_for(fake, request, good(mutate(answer, pick)))
            check_sane("odd values: " + argv[0], ctl(fake.path, *argv))
    for argv, request, answer in shapes:
        for value in {}, {"maps": "x"}, {"maps": [1, None, {"name": 5, "tables": {}}], "sources": 7}, \
                {"steps": 5}, {"error": EVIL}:
            for code in 200, 404, 409:
                fake_for(fake, request, (code, value))
                check_sane("odd shape: " + argv[0], ctl(fake.path, *argv), [0, 1, 2, 3, 4])


def test_escapes(fake):
    evil = json.loads(json.dumps(status(a_map(EVIL, table(source=EVIL)))))
    fake.answers = {"GET /v1/status": (200, evil),
                    "GET /v1/maps/m": (200, dict(ANSWER, value=EVIL, verdict="TEMP", reason=EVIL)),
                    "GET /v1/trace": (200, [dict(TRACED, key=EVIL, value=EVIL)]),
                    "GET /v1/dump": (200, [{"table": 0, "key": EVIL, "value": EVIL},
                                           {"end": True, "entries": 1}, b""])}
    for argv in ["status"], ["maps"], ["postfix"], ["lookup", "m", "k"], ["trace"], ["dump", "m"]:
        check_sane("escaped: " + argv[0], ctl(fake.path, *argv))
    like(ctl(fake.path, "maps")[1], re.escape("\\x1b[31mred\\x07\\x0d\\x0a\\xc2\\x9b2J\\xe2\\x80\\xaeright"),
         "escapes can be read")
    fake.answers = {"GET /v1/maps/m": (200, dict(ANSWER, value="a\x1b[31mb"))}
    same(ctl(fake.path, "lookup", "m", "k")[1], "a\x1b[31mb\n", "a program gets the value as it is")
    t = Terminal([CTL, "-s", fake.path, "lookup", "m", "k"])
    t.end()
    same(t.text, "a\\x1b[31mb\r\n", "a terminal does not")
    fake.answers = {"GET /v1/maps/m": (200, dict(ANSWER, value="jörg@bücher.test"))}
    t = Terminal([CTL, "-s", fake.path, "lookup", "m", "k"])
    t.end()
    same(t.text, "jörg@bücher.test\r\n", "letters are letters")


def test_requests(fake):
    """What is asked for is what was meant, whatever stands in names and keys."""
    for argv, request in [
            (["lookup", "..", "a&b=c#d?e/f+g h%"],
             "GET /v1/maps/..?key=a%26b%3Dc%23d%3Fe%2Ff%2Bg%20h%25"),
            (["lookup", "m/..", "\udcff\n"], "GET /v1/maps/m%2F..?key=%FF%0A"),
            (["lookup", "m", ""], "GET /v1/maps/m?key="),
            (["lookup", "m", "--", "-k"], "GET /v1/maps/m?key=-k"),
            (["explain", "--no-live", "m", "k"], "GET /v1/explain?map=m&key=k&live=0"),
            (["refresh", "--all"], "POST /v1/refresh?all=1"),
            (["refresh", "a&all=1"], "POST /v1/refresh?map=a%26all%3D1"),
            (["flush", "m", "k&x"], "POST /v1/flush?map=m&key=k%26x"),
            (["flush", "--address", "j+x@a"], "POST /v1/flush?address=j%2Bx%40a"),
            (["diff", "m"], "GET /v1/diff?map=m"),
            (["diff", "m", "--sample", "7"], "GET /v1/diff?map=m&sample=7"),
            (["diff", "--full", "m"], "GET /v1/diff?map=m&sample=0"),
            (["trace"], "GET /v1/trace"), (["trace", "--map", "m"], "GET /v1/trace?map=m")]:
        fake.asked.clear()
        ctl(fake.path, *argv)
        same(fake.asked, [request], "asks: " + request)


FAKE = FakeControl(DIR + "/fake")
test_environment(FAKE)
test_requests(FAKE)
test_refusals(FAKE)
test_json_is_unchanged(FAKE)
test_slow(FAKE)
test_streams_are_whole_or_fail(FAKE)
test_odd_values(FAKE)
test_escapes(FAKE)
FAKE.stop()
done()

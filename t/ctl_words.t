#!/usr/bin/env python3
"""socketmapctl: what people read, of all that a server can say; top, main.cf, bash completion."""
import json
import os
import re
import signal
import sys
import time

sys.path.insert(0, "t/lib")
from ctl import *
from fake_control import FakeControl

DIR = scratch()


def test_status_words(fake):
    def by(*maps, **more):
        return {"GET /v1/status": (200, status(*maps, **more))}
    says(fake, "all is well", ["status"], by(), 0, "is ready", "up 1d 1h", r"1 map with 12,345",
         absent=["  map", "  source"])
    says(fake, "not ready", ["status"], by(a_map("m", table(
        state="EMPTY", age=None, last_refresh=refreshed(5.0, "failed", "no route"))), ready=False), 1,
        "is not ready", "map m: EMPTY", "the last scan failed .* ago: no route")
    says(fake, "stale", ["status"], by(a_map("m", table(state="STALE", age=7500.0))), 0,
         "map m: STALE: the copy is 2h 05m old")
    says(fake, "expired", ["status"], by(a_map("m", table(state="EXPIRED")), ready=False), 1,
         "EXPIRED: .*stale_max.*TEMP")
    says(fake, "rejected", ["status"], by(a_map("m", table(), table(rejected={
        "why": "shrunken by more than max_shrink", "old": 1000, "new": 3, "times": 2, "since": 5.0,
        "accepted": False}))), 0,
         r"shrunken.*1,000 keys before, 3 now.*if the directory is right: `socketmapctl accept m` \(table 1\)")
    for why, advice in (("a key of `expect` is missing", "remove that key from `expect`"),
                        ("fewer keys than min_entries", "lower `min_entries`")):
        says(fake, "rejected: " + why, ["status"], by(a_map("m", table(rejected={
            "why": why, "old": 9, "new": 8, "times": 1, "since": 5.0, "accepted": False}))), 0,
            "once, .* ago.*if the directory is right: %s, and reload" % advice, absent=["accept"])
    says(fake, "a source", ["status"], by(sources=[a_source(
        name="dir", state="down", last_error={"time": 5.0, "why": "Can't contact LDAP server"})]), 0,
        "source dir: down, .* ago: Can't contact LDAP server")
    says(fake, "a source for long", ["status"], by(sources=[a_source(
        name="dir", state="down", failing_since=time.time() - 95,
        last_error={"time": time.time() - 23, "why": "gone"})]), 0,
        "source dir: down for 1m 3[5-9]s, last tried 2[3-9] s ago: gone")
    says(fake, "a source for long, and nothing more", ["status"], by(sources=[a_source(
        name="dir", state="down", failing_since=time.time() - 95)]), 0, "source dir: down for 1m 3[5-9]s\n")
    snapshots = {"written": 3, "failed": 0, "directory": "/var/lib/x", "why": None}
    says(fake, "snapshots", ["status"], by(snapshots=snapshots), 0, absent=["state_directory"])
    says(fake, "no directory", ["status"], by(snapshots=dict(snapshots, why="Permission denied")), 0,
         "  state_directory /var/lib/x: no snapshots can be written: Permission denied\n")
    says(fake, "a full one", ["status"], by(snapshots=dict(snapshots, why="No space", failed=12)), 0,
         "written: No space; since the start 12 attempts failed\n")
    says(fake, "for no reason that can be seen", ["status"], by(snapshots=dict(snapshots, failed=1)), 0,
         r"/var/lib/x: the log has the reasons \(event=snapshot_failed\); since the start 1 attempt failed\n")
    says(fake, "a certificate", ["status"],
         by(sources=[a_source(cert_not_after=int(time.time()) + 86400 * 3)]), 0,
         "its certificate ends in (2d 23h|3d 0h)")
    says(fake, "a reload", ["status"], by(config={"path": "/c", "last_reload": {
        "time": 5.0, "ok": False, "why": "maps.d/m.conf:3: no such option"}}), 0,
        "reload /c: refused .*: maps.d/m.conf:3")
    says(fake, "unknown maps", ["status"], by(unknown_map=1200), 0,
         "1,200 requests more for maps that are not configured, all told TEMP.*event=unknown_map")
    says(fake, "no unknown maps", ["status"], by(unknown_map=0), 0, absent=["not configured"])
    says(fake, "a thread", ["status"], by(loops=[{"name": "answers 1", "beat_age": 30.0}]), 0,
         "thread answers 1: stands still for 30 s")
    says(fake, "an export", ["status"],
         by(a_map("m", export={"path": "/e/m.cdb", "failed": True})), 0,
         r"cannot be written: /e/m.cdb; the log has the reason \(event=export_failed\)")
    out = says(fake, "maps", ["maps"], by(a_map("one"), a_map("a_longer_name", table(), table(
        source="other", mode="demand", state="DEMAND", entries=0, age=None))), 0)
    lines = out.splitlines()
    same(len(lines), 4, "maps: a line for each table, and the head")
    same(lines[0].split()[:4], ["MAP", "SEARCH", "SOURCE", "STATE"], "maps: the head")
    same(lines[1].index("FRESH"), lines[0].index("STATE"), "maps: aligned")
    same([l.index(n) + len(n) for l, n in ((lines[0], "KEYS"), (lines[1], "12,345"))][0],
         lines[1].index("12,345") + 6, "maps: numbers to the right")
    same([l for l in lines if l != l.rstrip()], [], "maps: no blanks at the end")
    says(fake, "sources", ["sources"], by(sources=[a_source(host="ldap://a", queued=5)]), 0, "ldap://a",
         r"5.0 ms")


def test_lookup_words(fake):
    def by(**more):
        return {"GET /v1/maps/m": (200, dict(ANSWER, **more))}
    fake.answers = by()
    same(ctl(fake.path, "lookup", "m", "k"), (0, "joe+x@b.test\n", ""), "found: the value alone")
    fake.answers = by(stale=True)
    code, out, err = ctl(fake.path, "lookup", "m", "k")
    ok((code, out) == (0, "joe+x@b.test\n") and "stale" in err, "stale is said on stderr", err)
    nothing = dict(value=None, age=None, matched_key=None)
    fake.answers = by(verdict="NOTFOUND", **nothing)
    code, out, err = ctl(fake.path, "lookup", "m", "k")
    ok((code, out) == (1, "") and "NOTFOUND, from the mirror" in err, "not found: 1", code, out, err)
    for verdict in "TEMP", "PERM":
        fake.answers = by(verdict=verdict, reason="deadline missed", **nothing)
        code, out, err = ctl(fake.path, "lookup", "m", "k")
        ok((code, out) == (4, "") and verdict in err and "deadline missed" in err, verdict + ": 4",
           code, out, err)
    fake.answers = by(verdict="PERHAPS")
    same(ctl(fake.path, "lookup", "m", "k")[0], 3, "a verdict that we do not know")


def test_explain_words(fake):
    def by(t, **more):
        return {"GET /v1/explain": (200, explanation(t, **more))}
    explain = ["explain", "m", "joe+x@a.test"]
    says(fake, "a hit", explain, by(explained()), 0,
         r'^m "joe\+x@a.test": FOUND "joe\+x@b.test" from the mirror, 3m 12s old, as "joe@a.test"',
         "search = virtual", r'1. "joe@a.test"', r"table 0, a mirror of source \"db\", FRESH, 3m 12s old",
         r'mirror +has "joe@b.test"', "query +SELECT goto", r'directory +FOUND "joe@b.test" in 1.2 ms',
         r'so +FOUND "joe@b.test" from the mirror', r'2. "@a.test"  not tried',
         r'socketmap: "OK joe\+x@b.test"', r'tcp_table: "200 joe\+x@b.test"',
         "Why\n  It is in the mirror.")
    cache = dict(noted="notfound", fresh=True, usable=False, in_flight=False, age=3.0, value=None)
    says(fake, "a negative answer", explain, by(explained(mirror="miss", cache=cache)), 0,
         "mirror +does not have the key", "cache +NOTFOUND, a negative answer, 3.0 s old, fresh")
    cache = dict(cache, noted="found", fresh=False, usable=True, value="old@b", in_flight=True)
    says(fake, "a value past its time", explain, by(explained(
        mode="demand", state="DEMAND", cache=cache, mirror=None)), 0, "single keys of source",
        r'cache +FOUND "old@b", 3.0 s old, past its ttl, may stand in; .*being asked', absent=["mirror   "])
    cache = dict(cache, noted="failed", fresh=True, in_flight=False, value=None)
    says(fake, "a failure", explain, by(explained(
        cache=cache, source_state="down", source_why="Connection refused", verdict="TEMP",
        directory=None, reason="the directory cannot be reached", asks=True)), 0,
        "cache +the directory failed.*left alone", "source +down: Connection refused",
        "so +TEMP.*cannot be reached.*is asked", absent=["directory  "])
    says(fake, "a rejected scan", explain, by(explained(state="STALE", scan_why="lost connection", rejected={
        "why": "fewer keys than min_entries", "times": 2, "since": 60})), 0,
        r"rejected +the scan was rejected: fewer keys.*\(2 times, first 1m 00s ago\); if the directory is "
        r"right: lower `min_entries`, and reload\n",
        "scan +the last one failed: lost connection", "STALE")
    says(fake, "an expected key is missing", explain, by(explained(rejected={
        "why": "a key of `expect` is missing", "expected": "root@a.test", "times": 1, "since": 0.705})), 0,
        r'is missing "root@a.test" \(once, 705 ms ago\); if the directory is right: remove that key from '
        "`expect`, and reload", absent=["socketmapctl accept"])
    says(fake, "a scan that failed as it was rejected", explain, by(explained(
        scan_why="fewer keys", rejected={"why": "fewer keys", "times": 1, "since": 60})), 0,
        "rejected +the scan was rejected: fewer keys", absent=["the last one failed"])
    says(fake, "no copy", explain, by(explained(state="EMPTY", mirror=None, age=None)), 0, "mirror +is EMPTY")
    says(fake, "a value that has ended", explain, by(explained(mirror="miss", ended=True)), 0,
         "mirror +had a value, whose time has passed", absent=["does not have the key"])
    says(fake, "a bad value", explain, by(explained(mirror="bad")), 0, "a value that cannot be used")
    says(fake, "suppressed", explain, by(explained(why_not="the domain list does not hold it"), note="A note."),
         0, "not asked +the domain list does not hold it", "Note: A note.")
    says(fake, "not reached", explain, by(explained(reached=False)), 0, "not reached")
    says(fake, "nothing to ask", explain, {"GET /v1/explain": (200, dict(explanation(), steps=[]))}, 0,
         "nothing that could be asked")


def test_stream_words(fake):
    end = {"end": True, "compared": 1000, "different": 0, "failed": 0}
    for n, failed, code in (0, 0, 0), (2, 0, 1), (2, 1, 1), (0, 1, 4):
        fake.answers = {"GET /v1/diff": (200, [{"progress": {"compared": 10, "total": 1000}}] +
                                         [DIFFERENT] * n + [dict(end, different=n, failed=failed), b""])}
        got, out, err = ctl(fake.path, "diff", "m")
        same((got, out), (code, 'k:  mirror "old"  directory nothing\n' * n),
             "diff: %d differences, %d failures" % (n, failed))
        like(err, r"^%s keys compared, %d different%s" % (
            "999" if failed else "1,000", n, "; 1 could not be looked up\n" if failed else "\n"),
             "diff: in words")
    fake.answers = {"GET /v1/diff": (200, [dict(DIFFERENT, mirror=None, bad=True), dict(end, different=1), b""])}
    same(ctl(fake.path, "diff", "m")[1], "k:  mirror cannot be used  directory nothing\n", "diff: a bad value")
    fake.answers = {"GET /v1/diff": (200, [{"progress": {"compared": 10, "total": 1000}}, 0.3,
                                           {"progress": {"compared": 20, "total": 1000}}, 0.3, end, b""])}
    t = Terminal([CTL, "-s", fake.path, "diff", "m"])
    ok(t.wait_for(r"compared 10 of 1,000 \(1%\)"), "diff: progress on a terminal", t.text)
    ok(t.wait_for(r"compared 20 of 1,000 \(2%\), \d+/s"), "diff: its rate", t.text)
    same(t.end(), 0, "diff: on a terminal")
    fake.answers = {"GET /v1/dump": (200, [{"table": 0, "key": "a", "value": "b"},
                                           {"table": 1, "key": "c", "bad": True},
                                           {"end": True, "entries": 2}, b""])}
    code, out, err = ctl(fake.path, "dump", "m")
    same((code, out), (0, "a\tb\n# table 1\n# cannot be used: c\n"), "dump: tables, and what cannot be used")
    like(err, "1 key with a value that cannot be used", "dump: how many")
    fake.answers = {"GET /v1/trace": (200, [TRACED, {}, {"lost": 7}])}
    code, out, err = ctl(fake.path, "trace")
    like(out, r"^\d\d:\d\d:\d\d\.250 m k -> FOUND v  \[mirror, stale, 12 us, socketmap\]\n"
         r"7 lookups came too fast to be shown\n$", "trace: a line")
    ok(code == 3 and err, "trace: the server leaves", code, err)
    same([json.loads(line) for line in ctl(fake.path, "--json", "trace")[1].splitlines()],
         [TRACED, {"lost": 7}], "trace: programs are spared the signs of life")


def test_changes(fake):
    says(fake, "refresh", ["refresh", "m"], {"POST /v1/refresh": (202, {"requested": ["m"], "time": 5.0})}, 0,
         "m: will be scanned")
    says(fake, "refresh --all", ["refresh", "--all"],
         {"POST /v1/refresh": (202, {"requested": [], "time": 5.0})}, 0, "no map has a mirror")
    says(fake, "accept", ["accept", "m"], {"POST /v1/accept": (202, {"accepted": [1], "time": 5.0})}, 0,
         "m: accepted; 1 table")
    says(fake, "flush", ["flush", "m"], {"POST /v1/flush": (200, {
        "flushed": 12, "maps": ["m", "n"], "refreshing": ["n"]})}, 0,
        "12 answers forgotten; looked at: m, n; will be scanned: n")
    says(fake, "reload", ["reload"], {"POST /v1/reload": (200, {"ok": True, "notes": ["a note"]})}, 0,
         "a note\nreloaded")
    fake.answers = {"POST /v1/reload": (409, {
        "ok": False, "error": "c:1: bad", "errors": ["c:1: bad", "c:2: worse"]})}
    same(ctl(fake.path, "reload"), (4, "", "socketmapctl: c:1: bad\nc:2: worse\n"
                                    "socketmapctl: nothing has changed\n"), "reload refused")


def test_wait(fake):
    """What counts is a scan that began after we asked, or one that failed."""
    now = [table(last_refresh=refreshed(90.0))]
    asked = (202, {"requested": ["m"], "time": 100.0})
    fake.answers = {"POST /v1/refresh": asked, "POST /v1/accept": (202, {"accepted": [0], "time": 100.0}),
                    "GET /v1/status": lambda path: (200, status(a_map("m", *now)))}

    def waits(name, argv, code, *words):
        got, out, err = ctl(fake.path, "--timeout", "0.6", *argv, "--wait")
        ok(got == code and all(re.search(w, out) for w in words), name, got, out, err)
    waits("nothing happens", ["refresh", "m"], 4, "m: has not been scanned after 600 ms")
    now[0] = table(last_refresh=refreshed(90.0), scan={"rows": 5, "seconds": 1.0})
    waits("it goes on", ["refresh", "m"], 4, "m: is still being scanned after 600 ms; that goes on without us")
    now[0] = table(last_refresh=refreshed(101.0, took=5.0))
    waits("a scan that began before", ["refresh", "m"], 4, "has not been scanned")
    now[0] = table(last_refresh=refreshed(101.0, took=0.5))
    waits("a scan that began after", ["refresh", "m"], 0, "^m: 12,345 keys of 12,400 rows, took 500 ms\n$")
    now[0] = table(last_refresh=refreshed(101.0, "failed", "no route", took=5.0))
    waits("failed", ["refresh", "m"], 4, "m: failed: no route")
    now[0] = table(last_refresh=refreshed(101.0, "rejected", "too few", took=0.1), rejected={
        "why": "too few", "old": 5, "new": 1, "times": 1, "since": 1.0, "accepted": False})
    waits("rejected", ["refresh", "m"], 4, r"m: rejected: too few \(5 keys before, 1 now.*accept m")
    now[:] = [table(last_refresh=refreshed(101.0, took=0.1)), table(last_refresh=refreshed(90.0)),
              table(mode="demand", last_refresh=None)]
    waits("only one of two", ["refresh", "m"], 4, "has not been")
    waits("accept waits for what was accepted", ["accept", "m"], 0, "m: ")
    now[:] = [table(last_refresh=refreshed(101.0, took=0.1))] * 2
    waits("both", ["refresh", "m"], 0, "24,690 keys")
    same(json.loads(ctl(fake.path, "--json", "refresh", "m", "--wait")[1]), status(a_map("m", *now)),
         "--json: the status at the end")
    fake.answers["POST /v1/refresh"] = (202, {"requested": ["gone"], "time": 100.0})
    waits("a map that went away", ["refresh", "--all"], 4, "gone: is not there any more")
    fake.answers["POST /v1/refresh"] = (202, {"requested": ["m"]})
    same(ctl(fake.path, "refresh", "m", "--wait")[0], 3, "without a time")
    fake.answers["POST /v1/refresh"] = asked
    now[:] = [table(last_refresh=refreshed(90.0), scan={"rows": 5000, "seconds": 2.0})]
    t = Terminal([CTL, "-s", fake.path, "refresh", "--all", "--wait"])
    ok(t.wait_for(r"0 of 1 map; m: 5,000 rows, 2,500/s"), "progress on a terminal", t.text)
    now[0] = table(last_refresh=refreshed(105.0))
    same(t.end(), 0, "and its end")
    like(t.text, r"m: 12,345 keys of 12,400 rows, took 1.5 s\r\n$", "and the result")
    now[0] = table(last_refresh=refreshed(90.0))
    p = starts(["-s", fake.path, "refresh", "m", "--wait"])
    fake.asked.clear()
    wait_for(lambda: len(fake.asked) > 2)
    p.send_signal(signal.SIGINT)
    same((p.wait(10), p.communicate()), (130, ("", "")), "^C ends the waiting")


# --- main.cf ----------------------------------------------------------------------------------------------

def test_postfix(fake):
    def print_for(listeners, *maps, **more):
        fake.answers = {"GET /v1/status": (200, status(*maps, listeners=[
            dict(zip(("protocol", "address", "map", "sockets"), l)) for l in listeners], **more))}
        code, out, err = ctl(fake.path, "postfix")
        return code, [l for l in out.splitlines() if l and not l.startswith("#")], out, err
    inside = ("socketmap", "unix:/var/spool/postfix/socketmapd/s")
    inet, outside = ("socketmap", "inet:127.0.0.1:8999"), ("socketmap", "unix:/run/socketmapd/s")
    alias = a_map("virtual_alias_maps")
    for listeners, want in ([outside, inet, inside], "unix:socketmapd/s"), ([outside, inet], inet[1]), \
            ([("socketmap", "inet:0.0.0.0:1")], "inet:127.0.0.1:1"), \
            ([("socketmap", "inet:[::]:1")], "inet:[::1]:1"), \
            ([("socketmap", "systemd:maps", None, ["unix:/var/spool/postfix/x/s"])], "unix:x/s"), \
            ([("http", "inet:127.0.0.1:9199"), outside], outside[1]):
        code, lines, out, _ = print_for(listeners, alias)
        same((code, lines), (0, ["virtual_alias_maps = socketmap:%s:virtual_alias_maps" % want]),
             "postfix: " + want)
        same("chrooted" in out, want == outside[1], "a hint about chroot where it is needed")
    code, lines, out, _ = print_for([("tcp_table", "inet:127.0.0.1:8998", "transport_maps")],
                                    a_map("transport_maps", search="transport"), alias)
    same((code, lines), (0, ["transport_maps = tcp:127.0.0.1:8998"]), "postfix: tcp")
    like(out, "no listener serves virtual_alias_maps", "and what nobody serves")
    for listeners in [], [("http", "inet:127.0.0.1:9199")], [("socketmap", "systemd:x")]:
        code, lines, out, err = print_for(listeners, alias)
        ok((code, lines) == (4, []) and "protocol = \"socketmap\"" in err, "postfix: no way", code, out, err)

    export = {"path": "/var/lib/socketmapd/export/NAME.cdb", "failed": False}

    def exported(name):
        return a_map(name, search="address", export=dict(export, path=export["path"].replace("NAME", name)))
    refused = ["virtual_mailbox_maps", "virtual_uid_maps", "virtual_gid_maps", "alias_maps",
               "mailbox_command_maps"]
    code, lines, out, _ = print_for([inside], *[a_map(n) for n in refused])
    same(lines, ["virtual_mailbox_maps = socketmap:unix:socketmapd/s:virtual_mailbox_maps"],
         "refused: smtpd's only")
    for name in refused[:3]:
        like(out, r"refuses socketmap: and tcp: in %s\.\n.*\n#   export = \"cdb:/\S+/%s.cdb\";" % (name, name),
             "refused: %s wants an export" % name)
    like(out, 'export = "cdb:/var/lib/socketmapd/export/virtual_uid_maps.cdb"', "where exports are by default")
    like(print_for([inside], a_map("virtual_uid_maps"), snapshots={"directory": "/srv/state"})[2],
         'export = "cdb:/srv/state/export/virtual_uid_maps.cdb"', "or where the server has its files")
    same(len(re.findall("export = ", out)), 3, "refused: no export for local(8), which would run commands in it")
    code, lines, out, _ = print_for([inside], *map(exported, refused))
    same(lines, ["virtual_mailbox_maps = socketmap:unix:socketmapd/s:virtual_mailbox_maps"], "refused, with exports")
    for name in refused[3:]:
        like(out, "refuses socketmap: and tcp: in %s, and should not get\n# an export.*: leave %s\n"
             "# to a file that belongs to root" % (name, name), "refused: what to do about " + name)
        ok("export/%s" % name not in out, "refused: %s is no export" % name)
    like(out, r"master.cf.*\n#   virtual unix.*\n" + "".join(
        "#     -o %s=cdb:/var/lib/socketmapd/export/%s\n" % (n, n) for n in refused[:3]) +
        "#     -o soft_bounce=yes", "virtual(8) gets them in master.cf")
    code, lines, out, _ = print_for(
        [inet], a_map("virtual_alias_maps", search="exact"), a_map("check_sender_access"), a_map("mine"),
        a_map("mydestination", search="domain"), a_map("smtp_tls_policy_maps", search="exact"))
    same(lines, ["virtual_alias_maps = unionmap:{inline:{never.invalid=x}, "
                 "socketmap:inet:127.0.0.1:8999:virtual_alias_maps}",
                 "mydestination = $myhostname, localhost.$mydomain, localhost, "
                 "socketmap:inet:127.0.0.1:8999:mydestination",
                 "smtp_tls_policy_maps = socketmap:inet:127.0.0.1:8999:smtp_tls_policy_maps"],
         "maps that Postfix must search, and lists")
    like(out, r"smtpd_recipient_restrictions.*\n#   check_sender_access socketmap:inet:127.0.0.1:8999:check_s",
         "restrictions")
    like(out, r"mine is no parameter.*\n#   socketmap:inet:127.0.0.1:8999:mine", "other maps")
    database(DIR + "/main", "")
    replace(DIR + "/main.cf", out)
    done = run("postconf", "-c", DIR, "-h", "virtual_alias_maps")
    same(done.stdout, lines[0].partition(" = ")[2] + "\n", "postconf(1) reads it")


# --- top ------------------------------------------------------------------------------------------------------

def test_top(fake):
    n = [0]

    def grows(path):
        n[0] += 1
        m = a_map("busy", found=1000 * n[0], asked=100 * n[0], temp=0, notfound=0)
        return 200, status(a_map("idle"), m, a_map("ill", table(state="EXPIRED"), state="EXPIRED"),
                           sources=[a_source(lookups=100 * n[0], took={"count": 100 * n[0], "sum": 0.3 * n[0]})])
    fake.answers = {"GET /v1/status": grows}
    p = starts(["-s", fake.path, "top", "--interval", "0.3"])
    lines = []
    while len([l for l in lines if l.startswith("socketmapd")]) < 3:
        lines.append(p.stdout.readline())
        if not lines[-1]:
            break
    p.send_signal(signal.SIGINT)
    rest = p.communicate()
    same((p.returncode, rest[1]), (130, ""), "top: ^C, no terminal")
    second = "".join(lines).split("socketmapd ")[2]
    rows = [l.split() for l in second.splitlines() if l]
    same([r[0] for r in rows if r[0] in ("busy", "idle", "ill")], ["ill", "busy", "idle"],
         "top: what is ill first, then what is busy")
    busy = next(r for r in rows if r[0] == "busy")
    same((busy[1], busy[2], busy[3:5], busy[6]), ("FRESH", "12,345", ["3m", "12s"], "90%"),
         "top: state, keys, age, hits without asking")
    ok(500 < float(busy[5].replace(",", "")) < 4000, "top: requests per second", busy)
    source = next(r for r in rows if r[0] == "db")
    ok(source[1] == "up" and source[3:5] == ["3.0", "ms"], "top: the mean of the last interval", source)
    p = starts(["-s", fake.path, "top", "--json", "--interval", "0.1"])
    two = [json.loads(p.stdout.readline()) for _ in range(2)]
    ok(all("maps" in d for d in two), "top --json: a status each time")
    p.stdout.close()
    same(p.wait(10), -signal.SIGPIPE, "top: nobody reads any more")
    p.stderr.close()

    t = Terminal([CTL, "-s", fake.path, "top", "--interval", "0.2"])
    ok(t.wait_for(r"\x1b\[\?1049h.*MAP.*busy.*SOURCE"), "top: on a screen of its own", t.text)
    ok(not t.is_echoing(), "top: keys are not echoed")
    ok("\x1b[31mEXPIRED\x1b[0m" in t.text or t.wait_for(r"\x1b\[31mEXPIRED\x1b\[0m"), "top: in colour")
    t.resize(40, 8)
    t.wait_for(r"\x1b\[J")
    ok(t.wait_for(r"\x1b\[H(?:(?!\x1b\[H).)*?\x1b\[J"), "top: a new size")
    fake.answers = {"GET /v1/status": (503, {"error": "the control loop does not answer"})}
    ok(t.wait_for("the control loop does not answer"), "top: goes on when the server does not answer")
    fake.answers = {"GET /v1/status": grows}
    ok(t.wait_for("socketmapd 0.1.0, ready"), "top: and when it does again")
    t.send("q")
    same(t.end(), 0, "top: q")
    ok(t.text.endswith("\x1b[?25h\x1b[?1049l"), "top: the terminal is as it was", repr(t.text[-30:]))
    for end, code in (lambda t: t.send("\x03"), 130), (lambda t: os.kill(t.pid, signal.SIGTERM), 143):
        t = Terminal(["/bin/sh", "-c", "trap : INT; %s -s %s top; echo code=$?; "
                      "stty -a | grep -c ' echo '" % (CTL, fake.path)])
        t.wait_for("MAP")
        if code == 143:
            end = lambda t: [os.kill(p, signal.SIGTERM) for p in children(t.pid)]
        end(t)
        ok(t.wait_for(r"\x1b\[\?1049l"), "top: leaves its screen")
        ok(t.wait_for("code=%d\r\n1\r\n" % code), "top: exit %d, the terminal echoes" % code, t.text)
        t.end()


def test_small_screens(fake):
    """No line longer, and no more lines, than there is room for."""
    fake.answers = {"GET /v1/status": (200, status(*[a_map("map_with_a_long_name_%d" % i) for i in range(60)]))}
    for columns, rows in (40, 8), (80, 24), (200, 50), (10, 3), (1, 1):
        t = Terminal([CTL, "-s", fake.path, "top", "--interval", "30"], columns, rows, NO_COLOR="1")
        t.wait_for(r"\x1b\[H")
        ok(wait_for(lambda: t.read() and "\x1b[J" in t.text), "a screen of %dx%d" % (columns, rows))
        lines = t.text.partition("\x1b[J")[0].replace("\x1b[K", "").replace("\r", "").split("\n")
        ok(len(lines) <= rows and max(map(len, lines)) <= columns, "fits in %dx%d" % (columns, rows), lines)
        if rows > 9:
            ok(any(re.match(r"\.\.\. and \d+ more$", l) for l in lines), "and says what is left out", lines)
        t.send("q")
        t.end()


# --- bash -----------------------------------------------------------------------------------------------------

def complete(*words):
    script = """. contrib/bash-completion/socketmapctl || exit 9
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _socketmapctl; printf '%s\\n' "${COMPREPLY[@]}" """
    done = run("bash", "-c", script, "bash", CTL, *words)
    ok(done.returncode == 0 and not done.stderr, "completion of " + " ".join(words), done)
    return done.stdout.split()


def test_completion(fake):
    fake.answers = {"GET /v1/status": (200, status(a_map("virtual_alias_maps"), a_map("virtual_uid_maps"),
                                                   a_map("$(touch %s/hacked)" % DIR)))}
    named = [a[0] for a, _, _ in COMMANDS] + ["trace", "top", "help"]
    same(sorted(complete("")), sorted(named), "all commands")
    same(complete("ex"), ["explain"], "a command")
    same(complete("-s", fake.path, "lookup", "virtual_u"), ["virtual_uid_maps"], "a map")
    same(complete("-s", fake.path, "trace", "--map", "virtual_a"), ["virtual_alias_maps"], "--map")
    same(complete("-s", fake.path, "lookup", ""), ["virtual_alias_maps", "virtual_uid_maps"],
         "what cannot be a name is not put into the command line")
    ok(not os.path.exists(DIR + "/hacked"), "nothing in a name is obeyed")
    same(complete("refresh", "--w"), ["--wait"], "options of a command")
    same(complete("-s", "/nowhere", "dump", ""), [], "nothing, silently, when there is no server")
    same(complete("-s", fake.path, "lookup", "virtual_alias_maps", "x"), [], "a key cannot be known")


FAKE = FakeControl(DIR + "/fake")
test_status_words(FAKE)
test_lookup_words(FAKE)
test_explain_words(FAKE)
test_stream_words(FAKE)
test_changes(FAKE)
test_wait(FAKE)
test_postfix(FAKE)
test_top(FAKE)
test_small_screens(FAKE)
test_completion(FAKE)
FAKE.stop()
done()

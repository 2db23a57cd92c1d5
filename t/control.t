#!/usr/bin/env python3
# sanitizers: yes
"""The control socket: who may give orders, what they do, and that it lives as its server does."""
import grp
import json
import os
import pwd
import re
import signal
import sqlite3
import sys

sys.path.insert(0, "t/lib")
from harness import *
from restart import Activated, listening
from restart import replace as replace_server
from web import Connection, Stream, ask, ask_json, post

SCHEMA = "CREATE TABLE alias (address TEXT, goto TEXT);"
ROWS = {"anna@a.test": "anna@box.test", "ben@a.test": "ben@box.test", "a.test": "yes"}
ALIAS = {"source": "db", "query": "SELECT goto FROM alias WHERE address = '%s'"}
MIRROR = dict(ALIAS, mode="mirror", refresh="1h", scan_query="SELECT address, goto FROM alias",
              on_miss="notfound")
CACHE = dict(ALIAS, ttl="1h", negative_ttl="1h")
MAPS = {"mirrored": dict(MIRROR, search="virtual"), "single": dict(CACHE, search="virtual"),
        "domains": dict(CACHE, search="domain"), "hidden": dict(MIRROR, search="exact", secret=True)}
POSTS = ["/v1/refresh?all=1", "/v1/accept?map=mirrored", "/v1/flush?map=single", "/v1/reload"]
STREAMS = ["/v1/dump?map=mirrored", "/v1/diff?map=mirrored", "/v1/trace"]


def fill(server, rows):
    db = sqlite3.connect(server.dir + "/db")
    with db:
        db.executescript("DROP TABLE IF EXISTS alias;" + SCHEMA)
        db.executemany("INSERT INTO alias VALUES (?, ?)", rows.items())
    db.close()


def control_server(maps=MAPS, **daemon):
    server = Server(dict(maps), recipient_delimiter="+", **daemon)
    fill(server, ROWS)
    server.sources = [{"name": "db", "driver": "sqlite", "dbpath": server.dir + "/db"}]
    server.control = "unix:%s/control" % server.dir
    server.web = "unix:%s/web" % server.dir
    server.listeners += [{"protocol": "control", "address": server.control},
                         {"protocol": "http", "address": server.web, "mode": "0666"}]
    return server


def is_refreshed(server, map, at):
    m = next(m for m in ask_json(server.control, "/v1/status")[1]["maps"] if m["name"] == map)
    return all((t["last_refresh"] or {"time": 0})["time"] > at for t in m["tables"])


def logged(server, event, **fields):
    return server.wait_for_event("control_" + event, who=os.getuid(), **fields)


# --- doors ------------------------------------------------------------------------------------

def test_doors(server):
    for path in POSTS:
        r = ask(server.web, path, "POST")
        same((r.status, r.headers["Allow"]), (405, "GET, HEAD"), "the public door: no POST " + path)
        same(ask(server.web, path).status, 404, "and nothing to see")
        r = ask(server.control, path)
        same((r.status, r.headers["Allow"], json.loads(r.body)),
             (405, "POST", {"error": "this wants POST"}), "the control door: no GET " + path)
    for path in STREAMS:
        same(ask(server.web, path).status, 404, "the public door has no " + path)
        same(post(server.control, path), (405, {"error": "this wants GET"}), "and is not posted to")
        same(ask(server.control, path, "HEAD").status, 200, "HEAD of it ends")
    for path in "/livez", "/readyz", "/metrics", "/v1/status":
        same(ask(server.control, path).status, 200, "the control door has " + path)
    same(ask(server.control, "/v1/nothing", "POST").status, 404, "but no POST of anything else")
    same(ask(server.control, "/v1/reload", "PUT").status, 405, "and no PUT")
    listener = next(l for l in ask_json(server.web, "/v1/status")[1]["listeners"]
                    if l["address"] == server.control)
    same((listener["protocol"], listener["requests"]), ("control", None), "the status has it")


def test_refusals(server):
    for path in "/v1/refresh", "/v1/refresh?map=", "/v1/refresh?map=mirrored&all=1", \
            "/v1/refresh?all=0", "/v1/accept", "/v1/flush", "/v1/flush?key=k", "/v1/flush?map=", \
            "/v1/flush?map=single&key=", "/v1/flush?address=", "/v1/flush?map=single&address=a":
        same(post(server.control, path)[0], 400, "not enough, or too much: " + path)
    for path in "/v1/dump", "/v1/diff", "/v1/diff?map=mirrored&sample=x", \
            "/v1/diff?map=mirrored&sample=-1":
        same(ask_json(server.control, path)[0], 400, "the same: " + path)
    for path in "refresh", "accept", "flush":
        status, body = post(server.control, "/v1/%s?map=mirored" % path)
        same(status, 404, path + " of an unknown map")
        like(body["error"], 'no such map: mirored; did you mean "mirrored"', "which may be another")
    for path in "dump", "diff", "trace":
        status, body = ask_json(server.control, "/v1/%s?map=mirored" % path)
        same((status, "mirrored" in body["error"]), (404, True), path + " of an unknown map")
    for path in "dump", "diff", "trace":
        status, body = ask_json(server.control, "/v1/%s?map=hidden" % path)
        same((status, "secret" in body["error"]), (403, True), path + " of a secret map")
    for path in "dump", "diff":
        status, body = ask_json(server.control, "/v1/%s?map=single" % path)
        same((status, "no mirror" in body["error"]), (409, True), path + " where there is no mirror")
    status, body = post(server.control, "/v1/refresh?map=single")
    same((status, "no mirror" in body["error"]), (409, True), "no refresh, either")
    same(post(server.control, "/v1/accept?map=mirrored"), (409, {"error": "nothing was rejected"}),
         "nothing to accept")
    same([e for e in server.events("control_refresh") + server.events("control_accept")], [],
         "what was not done is not logged")


# --- orders ------------------------------------------------------------------------------------

def test_refresh(server):
    fill(server, dict(ROWS, **{"anna@a.test": "new@box.test"}))
    same(server.ask("mirrored", "anna@a.test"), "OK anna@box.test", "the mirror has the old row")
    status, body = post(server.control, "/v1/refresh?map=mirrored")
    same((status, body["requested"]), (202, ["mirrored"]), "refresh")
    ok(wait_for(lambda: is_refreshed(server, "mirrored", body["time"])), "it ends")
    same(server.ask("mirrored", "anna@a.test"), "OK new@box.test", "and brings the new row")
    ok(logged(server, "refresh", map="mirrored"), "logged, with who it was")
    fill(server, ROWS)
    status, body = post(server.control, "/v1/refresh?all=1")
    same((status, body["requested"]), (202, ["hidden", "mirrored"]), "refresh of all that have a mirror")
    ok(wait_for(lambda: all(is_refreshed(server, m, body["time"]) for m in body["requested"])),
       "all end")
    same(server.ask("mirrored", "anna@a.test"), "OK anna@box.test", "the old row is back")
    ok(logged(server, "refresh", map="*"), "logged")


def test_refresh_in_a_round():
    """A scan may read from a snapshot of when its round began: what is ordered later wants another."""
    directory = Directory(scratch())
    directory.rows(ROWS)
    mirror = {"source": "fake", "search": "exact", "mode": "mirror", "refresh": "1h"}
    server = control_server({"a": mirror, "b": mirror})
    server.sources = [directory.source()]
    with server:
        wait_for(lambda: ask(server.control, "/readyz").status == 200)
        directory.script("scan * delay 0.5; rows; done")
        post(server.control, "/v1/refresh?all=1")
        ok(wait_for(lambda: len(directory.activity("scan")) == 3), "one table is scanned, one waits")
        post(server.control, "/v1/refresh?all=1")
        ok(wait_for(lambda: len(directory.activity("end", "scan ")) == 6), "both are scanned once more")


def test_accept(server):
    many = dict(ROWS, **{"k%d" % i: "v" for i in range(100)})
    fill(server, many)
    body = post(server.control, "/v1/refresh?map=mirrored")[1]
    wait_for(lambda: is_refreshed(server, "mirrored", body["time"]))
    same(server.ask("mirrored", "k1"), "OK v", "many rows")
    fill(server, ROWS)
    body = post(server.control, "/v1/refresh?map=mirrored")[1]
    ok(wait_for(lambda: server.events("refresh_rejected", map="mirrored")), "fewer: rejected")
    same(server.ask("mirrored", "k1"), "OK v", "the old ones stay")
    status, body = post(server.control, "/v1/accept?map=mirrored")
    same((status, body["accepted"]), (202, [0]), "accept")
    like(server.wait_for_reply("mirrored", "k1", "NOTFOUND"), "^NOTFOUND", "now they are gone")
    same(post(server.control, "/v1/accept?map=mirrored")[0], 409, "once")
    ok(logged(server, "accept", map="mirrored", tables=1), "logged")


def replies(server):
    return [server.ask(*a) for a in (("single", "anna+x@a.test"), ("single", "ben@a.test"),
                                     ("single", "new@a.test"), ("domains", "a.test"))]


def test_flush(server):
    old = ["OK anna+x@box.test", "OK ben@box.test", "NOTFOUND ", "OK yes"]
    after = {"anna@a.test": "anna@x.test", "ben@a.test": "ben@x.test", "new@a.test": "new@x.test",
             "a.test": "no"}
    new = ["OK anna+x@x.test", "OK ben@x.test", "OK new@x.test", "OK no"]
    same(replies(server), old, "single keys are looked up")
    fill(server, after)
    same(replies(server), old, "and remembered")
    same(post(server.control, "/v1/flush?map=single&key=ANNA%2bx@a.test"),
         (200, {"flushed": 3, "maps": ["single"], "refreshing": []}),
         "flush of a key: of all that it may lead to")
    same(replies(server), new[:1] + old[1:], "its changed row is answered, and no other")
    ok(logged(server, "flush", map="single", key="ANNA+x@a.test", flushed=3), "logged")
    status, body = post(server.control, "/v1/flush?address=new@a.test")
    same((status, body), (200, {"flushed": 3, "maps": ["domains", "hidden", "mirrored", "single"],
                                "refreshing": ["hidden", "mirrored"]}), "flush of an address")
    same(replies(server), [new[0], old[1], new[2], new[3]], "its keys in all maps are asked again")
    same(server.wait_for_reply("mirrored", "anna@a.test", "@x.test"), "OK anna@x.test",
         "mirrors are refreshed")
    status, body = post(server.control, "/v1/flush?map=single")
    same((status, body["flushed"] >= 2, body["maps"]), (200, True, ["single"]), "flush of a map")
    same(replies(server), new, "everything is asked again")
    same(post(server.control, "/v1/flush?address=%ff"),
         (200, {"flushed": 0, "maps": [], "refreshing": []}), "what no map asks for")


def test_flush_in_doubt():
    """Nobody is told that a key does not exist by what is older than the flush."""
    directory = Directory(scratch())
    directory.rows({"old": "v"})
    mirror = {"source": "fake", "search": "exact", "mode": "mirror", "refresh": "1h", "deadline": "5s"}
    server = control_server({"m": mirror, "d": {"source": "fake", "search": "exact", "deadline": "5s"}})
    server.sources = [directory.source()]
    with server:
        wait_for(lambda: ask(server.control, "/readyz").status == 200)
        directory.rows({"old": "v", "new": "w"})
        same(server.ask("m", "new"), "OK w", "a key that came after the copy was made")
        directory.script("lookup * temp busy\nscan * temp busy")
        same((server.ask("m", "new"), server.ask("m", "nobody")), ("OK w", "NOTFOUND "),
             "the directory fails: what is known stands")
        same(post(server.control, "/v1/flush?map=m&key=new")[1]["flushed"], 1, "it is flushed")
        like(server.ask("m", "new"), "^TEMP ", "the copy does not know of it, and does not say so")
        same(server.ask("m", "old"), "OK v", "what the copy has it says")
        directory.script("lookup * temp busy")
        post(server.control, "/v1/refresh?map=m")
        same(server.wait_for_reply("m", "new", "^OK"), "OK w", "the next copy has it")
        same(server.ask("m", "nobody2"), "NOTFOUND ", "and is believed about what it lacks")

        directory.script("lookup late delay 1; rows; done")
        with server.client() as before, server.client() as after:
            before.send(Client.request("d", "late"))
            wait_for(lambda: directory.activity("lookup", "late"))
            directory.rows({"late": "x"})
            post(server.control, "/v1/flush?map=d&key=late")
            like(after.ask("d", "late"), "^TEMP ", "who asks after a flush gets no answer of before")
            same(before.read(), "NOTFOUND ", "who asked before it does")
            same(after.ask("d", "late"), "OK x", "and then it is asked anew")


def test_forgotten_for_good():
    """Neither the snapshot of before nor a crash brings back what was flushed."""
    server = control_server({"single": MAPS["single"]}, snapshot_interval="1h")
    with server:
        same([server.ask("single", k) for k in ("anna@a.test", "ben@a.test")],
             ["OK anna@box.test", "OK ben@box.test"], "two keys are remembered")
    with server:
        same((server.wait_for_event("snapshot_restored") or {}).get("cached"), "2", "and restored")
        same(post(server.control, "/v1/flush?map=single&key=ben@a.test")[1]["flushed"], 1,
             "one is flushed")
        stamp = os.stat(server.state + "/single.0.snapshot").st_mtime_ns
        ok(wait_for(lambda: os.stat(server.state + "/single.0.snapshot").st_mtime_ns != stamp),
           "the snapshot is written at once")
        server.process.kill()
        server.process.wait()
        os.unlink(server.dir + "/db")
        server.start()
        server.wait_for_event("snapshot_restored", 2)
        same(server.ask("single", "anna@a.test"), "OK anna@box.test", "after a crash one is there,")
        like(server.ask("single", "ben@a.test"), "^TEMP ", "the other one is not")


def read_file(path):
    with open(path, "rb") as f:
        return f.read()


def test_orders_and_reloads():
    """A reload that only tunes neither loses what was ordered before nor brings back what was flushed."""
    directory = Directory(scratch())
    directory.rows({"old": "v"})
    demand = {"source": "fake", "search": "exact", "negative_ttl": "1h"}
    copy = dict(demand, mode="mirror", refresh="1h", on_miss="notfound")
    server = control_server({"d": demand, "m": copy}, snapshot_interval="100ms")
    server.sources = [directory.source()]
    with server:
        wait_for(lambda: ask(server.control, "/readyz").status == 200)
        same((server.ask("d", "new"), server.ask("m", "new")), ("NOTFOUND ", "NOTFOUND "), "not there yet")
        file = server.state + "/d.0.snapshot"
        wait_for(lambda: os.path.exists(file))
        before = read_file(file)
        directory.rows({"old": "v", "new": "w"})
        directory.script("scan * delay 1; rows; done")
        scans = len(directory.activity("scan"))
        for m in "dm":
            post(server.control, "/v1/flush?map=" + m)
        wait_for(lambda: len(directory.activity("scan")) > scans)
        replace(file, before)           # as if it had not been written yet
        server.maps = {"d": dict(demand, ttl="2h"), "m": dict(copy, refresh="2h")}
        ok(server.reload(), "a reload in the midst of a scan")
        ok(wait_for(lambda: read_file(file) != before), "the file of before is written anew")
        same(server.ask("d", "new"), "OK w", "what was flushed does not come back from a file")
        same(server.wait_for_reply("m", "new", "^OK"), "OK w", "and the scan that was ordered comes")


def test_reload(server):
    path = server.dir + "/maps.d/single.conf"
    server.maps["more"] = MAPS["single"]
    server.write()
    same(post(server.control, "/v1/reload"), (200, {"ok": True, "notes": []}), "reload")
    like(server.ask("more", "anna@a.test"), "^OK", "there is another map")
    server.daemon["threads"] = 3
    server.write()
    status, body = post(server.control, "/v1/reload")
    same((status, body["ok"], len(body["notes"])), (200, True, 1), "with a note")
    like(body["notes"][0], "threads.*restart", "of what cannot be changed")
    same(post(server.control, "/v1/reload"), (status, body), "and again, as it is still so")
    del server.maps["more"]
    server.maps["single"] = dict(MAPS["single"], tll="1h", search="nothing")
    server.write()
    status, body = post(server.control, "/v1/reload")
    same((status, body["ok"], len(body["errors"])), (409, False, 2), "a bad one is refused")
    like(body["errors"][1], r'^%s:\d+: unknown setting "tll"' % path, "with file and line")
    same(body["error"], body["errors"][0], "of the first error")
    like(server.ask("more", "anna@a.test"), "^OK", "nothing has changed")
    server.daemon["threads"] = 2
    server.maps["single"] = MAPS["single"]
    server.write()
    same(post(server.control, "/v1/reload"), (200, {"ok": True, "notes": []}),
         "put right, and what runs needs no restart")
    ok(logged(server, "reload"), "logged")


# --- peers ---------------------------------------------------------------------------------------

def status_as(uid, gid, groups, address):
    """What somebody else is told: the status of /v1/status, or why he cannot even ask."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            said = str(ask(address, "/v1/status").status)
        except OSError as e:
            said = type(e).__name__
        os.write(w, said.encode())
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        said = f.read()
    os.waitpid(pid, 0)
    return said


def test_peers():
    if os.getuid():
        note("not root: nobody else can be played")
        return
    user, group = pwd.getpwnam("daemon"), grp.getgrnam("daemon")
    strange, other = pwd.getpwnam("nobody").pw_uid, grp.getgrnam("nogroup").gr_gid
    server = control_server({"single": MAPS["single"]}, user="daemon", state_directory="")
    os.chown(server.dir, user.pw_uid, group.gr_gid)
    with server:
        path, c = server.dir + "/control", server.control
        st = os.stat(path)
        same((st.st_gid, st.st_mode & 0o777), (group.gr_gid, 0o660),
             "the file is for the group that the server has")
        same(status_as(strange, group.gr_gid, [], c), "200", "who has it is let in")
        same(status_as(strange, other, [], c), "PermissionError", "others cannot even knock")
        os.chmod(path, 0o666)
        same(status_as(0, 0, [], c), "200", "root is let in")
        same(status_as(user.pw_uid, other, [], c), "200", "and the server's own user,")
        same(status_as(strange, group.gr_gid, [], c), "200", "who has its group first")
        many = [g for g in range(70001, 70101)]
        same([status_as(strange, other, [5, 6, group.gr_gid], c),
              status_as(strange, other, many + [group.gr_gid], c)], ["200"] * 2,
             "or among others, few or many")
        same(server.events("control_refused"), [], "nobody has been refused")
        same([status_as(strange, other, [], c), status_as(strange, other, [5, 6], c),
              status_as(strange, other, many, c)], ["403"] * 3, "anybody else is")
        refused = server.wait_for_event("control_refused", 3, who=strange)
        ok(refused and int(refused["pid"]) > 1, "which is logged, with user and process", refused)
        os.chmod(server.dir + "/web", 0o666)
        same(status_as(strange, other, [], server.web), "200", "the public door does not ask")


def test_unchanged():
    """What a reload can no longer do, not being root, is told by it."""
    if os.getuid():
        return
    user = pwd.getpwnam("daemon")
    server = control_server({"single": MAPS["single"]}, user="daemon", state_directory="")
    os.chown(server.dir, user.pw_uid, user.pw_gid)
    with server:
        tables = server.listeners[0]

        def notes(**settings):
            tables.update(settings)
            server.write()
            return post(server.control, "/v1/reload")[1]["notes"]
        for n in range(2):
            said = notes(mode="0600")
            ok(len(said) == 1 and re.search(
                r"%s: set owner, group, mode: Operation not permitted; the socket stays" % server.socket,
                said[0]), "a mode that cannot be: told by reload %d" % n, said)
        ok(server.wait_for_event("listener_unchanged"), "and logged")
        said = notes(mode="0666", group="postfix")
        ok(len(said) == 1 and "Operation not permitted" in said[0], "a group, too", said)
        tables.pop("group")
        same(notes(mode="0666"), [], "what it is already needs nobody's permission")
        same(notes(idle_timeout="50s"), [], "nor does another setting")
        like(server.ask("single", "anna@a.test"), "^OK", "and it answers")


# --- its life ------------------------------------------------------------------------------------

def pid_of(address):
    return ask_json(address, "/v1/status")[1]["pid"]


def test_life():
    server = control_server()
    with server:
        old = pid_of(server.control)
        with Stream(server.control, "/v1/trace") as s:
            s.line()
            same(replace_server(server), None, "another process takes over, with a watcher")
            same(s.all()[-1:] in ([], [{}]), True, "whose stream ends")
        ok(old != pid_of(server.control) == server.pid, "the new one answers")
        with Stream(server.control, "/v1/trace") as s:
            s.line()
            server.listeners = [l for l in server.listeners if l["protocol"] != "control"]
            server.reload()
            ok(s.all() is not None, "a reload without it ends its streams")
        ok(wait_for(lambda: not os.path.exists(server.dir + "/control")), "and takes it away")
        server.listeners.append({"protocol": "http", "address": server.control})
        server.reload()
        same(ask(server.control, "/v1/reload", "POST").status, 405, "a public one in its place")
        server.listeners[-1]["protocol"] = "control"
        server.reload()
        ok(wait_for(lambda: ask(server.control, "/v1/reload", "POST").status == 200),
           "becomes a control socket")
        for mode in "0600", "0640", "0660":
            server.listeners[-1]["mode"] = mode
            server.write()
            same(post(server.control, "/v1/reload")[0], 200, "who changes his own door is told: " + mode)
            same("%04o" % (os.stat(server.dir + "/control").st_mode & 0o777), mode, "that it has changed")
        server.listeners.pop()
        server.write()
        with Stream(server.control, "/v1/trace") as s:
            s.line()
            same(post(server.control, "/v1/reload")[0], 200, "who takes it away, too")
            ok(s.all() is not None, "streams end before that")
        ok(wait_for(lambda: not os.path.exists(server.dir + "/control")),
           "a reload by the control socket can take it away")
        same(server.ask("single", "a@b.test"), "NOTFOUND ", "and the server lives on")


def test_inherited():
    path = scratch() + "/control"
    shared, address = listening(socket.AF_UNIX, path)
    server = Activated({"single": MAPS["single"]})
    fill(server, ROWS)
    server.sources = [{"name": "db", "driver": "sqlite", "dbpath": server.dir + "/db"}]
    server.listeners = [server.listener(), {"protocol": "control", "address": "systemd:control"}]
    server.inherited = [("control", shared)]
    for n in "first", "second":
        server.start()
        same(post(address, "/v1/reload")[0], 200, "an inherited socket: the %s server" % n)
        same(server.stop(), None, "it stops")
        connect(address).close()
    shared.close()


def test_stop():
    server = control_server()
    server.start()
    streams = [Stream(server.control, p) for p in ("/v1/trace", "/v1/trace?map=single")]
    same([s.line() for s in streams], [{}, {}], "two watch")
    same(server.stop(), None, "the server stops all the same")
    same([[l for l in s.all() if l] for s in streams], [[], []], "and their streams end")


def test_configuration():
    server = control_server()
    for settings, error in (
            ({"address": "inet:127.0.0.1:9999"}, r'control wants "unix:/path" or "systemd:NAME"'),
            ({"map": "single"}, "map is for socketmap and tcp_table"),
            ({"max_request": "1K"}, "max_request is for socketmap and tcp_table"),
            ({"idle_timeout": "1s"}, "idle_timeout is for socketmap and tcp_table"),
            ({"protocol": "contrl"}, 'unknown protocol "contrl"; did you mean "control"'),
            ({"protocol": "socket_map"}, 'did you mean "socketmap"'),
            ({"protocol": "gopher"}, r'unknown protocol "gopher": "socketmap", "tcp_table"')):
        server.listeners[1] = dict({"protocol": "control", "address": server.control}, **settings)
        server.write()
        p = run(PROGRAM, "-t", "-c", server.conf)
        same(p.returncode, 1, "refused: %s" % settings)
        like(p.stderr, r"socketmapd\.conf:\d+: .*" + error, "and why")


with control_server() as SERVER:
    wait_for(lambda: ask(SERVER.control, "/readyz").status == 200)
    for test in test_doors, test_refusals, test_refresh, test_accept:
        test(SERVER)
    fill(SERVER, ROWS)
    test_flush(SERVER)
    test_reload(SERVER)
test_refresh_in_a_round()
test_flush_in_doubt()
test_forgotten_for_good()
test_orders_and_reloads()
test_peers()
test_unchanged()
test_life()
test_inherited()
test_stop()
test_configuration()
done()

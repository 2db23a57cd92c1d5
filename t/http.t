#!/usr/bin/env python3
"""HTTP: what whoever watches the server is told, in every state of maps, sources and loops."""
# sanitizers: yes
import json
import os
import signal
import socket
import sys
import threading
import time

sys.path.insert(0, "t/lib")
import harness
from harness import *
from restart import Activated, listening
from restart import replace as replace_server
from stall import Stopped, thread_of
from web import Connection, Metrics, ask, ask_json, raw

LOST = "lost-%d@private.example"
KEY, VALUE, ABSENT = "somebody@private.example", "box@private.example", "nobody@private.example"
ROWS = dict({KEY: VALUE, "long": "x" * 5000}, **{LOST % i: "v" for i in range(100)})
MIRROR = {"mode": "mirror", "search": "exact", "refresh": "1s", "on_miss": "notfound"}


def web_server(directory_script="", **map_settings):
    """A server with a mirror `m`, `n` for single keys and `t`, also as tcp_table; (server, directory)."""
    server = harness.Server(snapshot_interval="100ms", start_wait="100ms")
    directory = Directory(server.dir)
    directory.rows(ROWS)
    directory.script(directory_script)
    server.sources = [directory.source(timeout="5s", connections=2)]
    server.maps = {"m": dict(MIRROR, source="fake", **map_settings),
                   "n": {"source": "fake", "search": "exact", "ttl": "1h", "deadline": "5s"},
                   "t": dict(MIRROR, source="fake", search="virtual")}
    server.web = "inet:127.0.0.1:%d" % free_port()
    server.listeners += [
        {"protocol": "tcp_table", "address": "unix:%s/t" % server.dir, "map": "t", "mode": "0666"},
        {"protocol": "http", "address": server.web},
        {"protocol": "http", "address": "unix:%s/web" % server.dir, "mode": "0600"}]
    return server, directory


def map_of(server, name="m"):
    status = ask_json(server.web, "/v1/status")[1]
    return next(m for m in status["maps"] if m["name"] == name)


def ready(server, name="m"):
    """(status code, ready, state, why) of a map."""
    code, body = ask_json(server.web, "/readyz")
    m = next(m for m in body["maps"] if m["name"] == name)
    return code, m["ready"], m["state"], m["why"]


def metric(server, name, **labels):
    return Metrics(server.web).sum("socketmapd_" + name, **labels)


# --- the protocol -----------------------------------------------------------------------------

def check_headers(r, type):
    same((r.status, r.headers["Content-Type"], r.headers["Cache-Control"],
          r.headers["X-Content-Type-Options"]), (200, type, "no-store", "nosniff"),
         "status and headers of " + type)
    like(r.headers["Content-Security-Policy"], "default-src 'none'", "its policy allows nothing")


def test_protocol(server):
    check_headers(ask(server.web, "/livez"), "text/plain; charset=utf-8")
    check_headers(ask(server.web, "/readyz"), "application/json")
    check_headers(ask(server.web, "/v1/status"), "application/json")
    check_headers(ask(server.web, "/metrics"), "text/plain; version=0.0.4; charset=utf-8")
    r = ask(server.web, "/livez", "HEAD")
    same((r.status, r.body, r.headers["Content-Length"]), (200, b"", "3"), "HEAD: no body")
    same(ask("unix:%s/web" % server.dir, "/livez").body, b"ok\n", "by a unix socket")
    for method in "POST", "PUT", "DELETE", "OPTIONS", "PATCH":
        r = ask(server.web, "/v1/status", method, body=b"x=1")
        same((r.status, r.headers["Allow"]), (405, "GET, HEAD"), method + " is refused")
    same(ask(server.web, "/v1/refresh?all=1", "POST").status, 405, "so is it for what control has")
    for path in "/nope", "/livez/", "/livezz", "/v1/reload", "/v1/dump?map=m":
        status, body = ask_json(server.web, path)
        same((status, body["error"]), (404, "this is for the control socket" if path.startswith("/v1") else
                                       "nothing is here"), "nothing is at " + path)
    for path in "/livez%", "/livez?a=%4", "/livez?a=%zz", "/livez?%00", "/livez?" + "a=b&" * 17:
        status, body = ask_json(server.web, path)
        same((status, body["error"]), (400, "the URL has a NUL in it" if "%00" in path else
                                       "not a well-formed address"), "not well formed: " + path[:20])
    with open("src/base/fault.c", encoding="utf-8") as f:
        faults = set(re.findall(r'"(.*)"', f.read()))
    settled = re.findall(r'^\t"(.*)": ', re.search(
        r"const SETTLED_BY = {\n(.*?)};", ask(server.web, "/").body.decode(), re.S).group(1), re.M)
    ok(len(settled) == 2 and set(settled) <= faults, "the page knows faults by their names", settled)
    same(ask(server.web, "/%6civez?a=b&c").status, 200, "what is well formed may look strange")
    with_body = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello" \
                b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    same(raw(server.web, with_body).count(b"ok\n"), 2, "a body is skipped, the connection kept")


def test_hosts(server):
    """A page from elsewhere whose name has come to mean 127.0.0.1 may not read what we say."""
    for host, status in (("localhost", 200), ("LOCALHOST:9199", 200), ("127.0.0.1", 200),
                         ("127.0.0.1:9199", 200), (socket.gethostname(), 200), ("[::1]:9199", 200), ("evil.example", 421),
                         ("evil.example:9199", 421), ("127.0.0.1.evil.example", 421),
                         ("localhost.evil.example", 421), ("255.255.255.255x", 421), ("", 421)):
        same(ask(server.web, "/livez", headers={"Host": host}).status, status, "Host: " + host)
    like(raw(server.web, b"GET /livez HTTP/1.0\r\n\r\n").decode(), "^HTTP/1.[01] 200", "none at all")


def test_both_families():
    """As systemd listens, with BindIPv6Only=default: IPv4 comes in by the socket of IPv6."""
    try:
        both = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
    except OSError as e:
        note("no such socket here: %s" % e)
        return
    server = Activated({"n": {"source": "fake", "search": "exact"}})
    server.sources = [Directory(server.dir).source()]
    server.listeners.append({"protocol": "http", "address": "systemd:both"})
    server.inherited = [("both", both)]
    with server:
        web = "inet:127.0.0.1:%d" % both.getsockname()[1]
        same([ask(web, "/livez", headers={"Host": h}).status for h in ("localhost", "evil.example")],
             [200, 421], "127.0.0.1 by way of ::ffff:127.0.0.1 has no other name, either")
    both.close()


def test_limits(server):
    huge = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Huge: %s\r\n\r\n" % (b"a" * 20000)
    like(raw(server.web, huge).decode("latin-1"), r"^(HTTP/1.1 431 |$)", "huge headers: 431")
    long = b"GET /livez?a=%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % (b"a" * 20000)
    like(raw(server.web, long).decode("latin-1"), r"^(HTTP/1.1 414 |HTTP/1.1 431 |$)",
         "a huge address: 414")
    flood = b"POST /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 300000
    ok(b"200 OK" not in raw(server.web, flood), "a huge body ends the connection")
    for junk in b"\x00" * 300 + b"\r\n\r\n", b"GET\r\n\r\n", b"GET  \r\n\r\n", b"\r\n" * 200, \
            b"GET /livez?a HTTP/9.9\r\n\r\n", b"GET /livez HTTP/1.1\r\n: x\r\n\r\n":
        raw(server.web, junk)
    same(ask(server.web, "/livez").status, 200, "junk leaves nothing behind")
    crowd = [connect(server.web) for _ in range(200)]
    try:
        with server.client() as c:
            same([c.ask("m", KEY) for _ in range(50)], ["OK " + VALUE] * 50,
                 "lookups do not notice 200 connections of one address")
        for s in crowd:
            s.settimeout(0.05)

        def is_closed(s):
            try:
                return s.recv(1) == b""
            except TimeoutError:
                return False
            except ConnectionError:
                return True
        ok(wait_for(lambda: sum(map(is_closed, crowd)) >= 184), "16 of them may stay")
        same(ask("unix:%s/web" % server.dir, "/livez").status, 200, "the other socket has room")
    finally:
        for s in crowd:
            s.close()
    ok(wait_for(lambda: b"200 OK" in raw(
        server.web, b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")),
       "when they are gone there is room again")


class Slow(threading.Thread):
    """A client that never finishes its request, beside everything else."""

    def __init__(self, address):
        super().__init__()
        self.address, self.is_closed = address, False

    def run(self):
        with connect(self.address, 40) as s:
            s.sendall(b"GET /livez HTTP/1.1\r\nHost:")
            self.is_closed = s.recv(1000)[:12] in (b"", b"HTTP/1.1 408")


# --- maps and sources -----------------------------------------------------------------------------

def test_states():
    server, directory = web_server("scan * silent", max_age="2s", stale_max="8s")
    with server:
        code, is_ready, state, why = ready(server)
        same((code, is_ready, state), (503, False, "EMPTY"), "EMPTY: not ready")
        ok(why, "and why")
        same(ask(server.web, "/livez").body, b"ok\n", "EMPTY: alive")
        like(server.ask("m", KEY), "^TEMP ", "EMPTY: TEMP")
        same(metric(server, "temp_replies_total", map="m", reason="empty"), 1, "for that reason")
        same(metric(server, "map_state", map="m", state="empty"), 1, "metric: empty")
        same(metric(server, "map_last_success_timestamp_seconds", map="m"), 0, "never refreshed")

        directory.script("")
        for pid in server.drivers():
            signal_if_there(pid, signal.SIGKILL)
        wait_for(lambda: ask(server.web, "/readyz").status == 200, 20)
        same(ready(server), (200, True, "FRESH", None), "FRESH: ready")
        table = map_of(server)["tables"][0]
        same((table["entries"], table["last_refresh"]["outcome"], table["last_refresh"]["why"]),
             (len(ROWS), "ok", None), "the last refresh was good")
        server.ask("n", KEY)
        source = ask_json(server.web, "/v1/status")[1]["sources"][0]
        same((source["name"], source["state"], source["up"] > 0), ("fake", "up", True),
             "the source is up")

        directory.script("hello * hello 1 fake_driver\nping * down no route\n"
                         "scan * down no route\nlookup * down no route")
        ok(wait_for(lambda: map_of(server)["state"] == "STALE", 20), "STALE after max_age")
        wait_for(lambda: map_of(server)["tables"][0]["last_refresh"]["outcome"] == "failed" and
                 ask_json(server.web, "/v1/status")[1]["sources"][0]["state"] == "down", 3)
        same(ready(server)[:3], (200, True, "STALE"), "STALE: still ready")
        same(server.ask("m", KEY), "OK " + VALUE, "STALE: the old value")
        like(server.ask("m", ABSENT), "^TEMP ", "STALE: TEMP for a key that it lacks")
        m = Metrics(server.web)
        same((m.sum("socketmapd_stale_replies_total", map="m", kind="hit"),
              m.sum("socketmapd_temp_replies_total", map="m", reason="stale")), (1, 1),
             "both are counted")
        source = ask_json(server.web, "/v1/status")[1]["sources"][0]
        same((source["state"], source["last_error"]["why"]), ("down", "no route"),
             "the source is down, and why")

        def source_fails():
            """It is lookups whose failures are counted, and there are none as long as nobody asks."""
            server.ask("n", ABSENT)
            source = ask_json(server.web, "/v1/status")[1]["sources"][0]
            return source if source["failing_since"] else None
        source = wait_for(source_fails)
        ok(source and 0 <= source["last_error"]["time"] - source["failing_since"] < 60 * SLOW,
           "and since when lookups fail: before it was tried last", source)
        same(m.sum("socketmapd_source_up", source="fake"), 0, "metric: down")
        same(map_of(server)["tables"][0]["last_refresh"]["outcome"], "failed", "the last refresh failed")
        ok(wait_for(lambda: ask(server.web, "/readyz").status == 503, 20), "EXPIRED: not ready")
        same(ready(server)[2], "EXPIRED", "and says so")
        like(server.ask("m", KEY), "^TEMP ", "EXPIRED: TEMP")
        same(metric(server, "temp_replies_total", map="m", reason="expired"), 1, "counted as such")

        directory.script("")
        ok(wait_for(lambda: ask(server.web, "/readyz").status == 200, 70), "all is well again")
        ok(wait_for(lambda: ask_json(server.web, "/v1/status")[1]["sources"][0]["state"] == "up"),
           "the source too")
        same(ask_json(server.web, "/v1/status")[1]["sources"][0]["failing_since"], None, "and does not fail")


def test_rejection(server, directory):
    directory.rows({KEY: VALUE})
    ok(wait_for(lambda: map_of(server)["tables"][0]["rejected"], 20), "a rejected scan shows")
    rejected = map_of(server)["tables"][0]["rejected"]
    same((rejected["old"], rejected["new"]), (len(ROWS), 1), "with both numbers")
    ok(rejected["missing"] and all(h.startswith("#") for h in rejected["missing"]),
       "and hashes of keys", rejected)
    ok(metric(server, "map_rejected_scans", map="m") >= 1, "the metric too")
    ok(metric(server, "refresh_total", map="m", outcome="rejected") >= 1, "and the outcome")
    events = ask_json(server.web, "/v1/status")[1]["events"]
    ok(any(e["event"] == "refresh_rejected" for e in events), "so does the event")
    directory.rows(ROWS)
    ok(wait_for(lambda: not map_of(server)["tables"][0]["rejected"], 20), "until a good one")


# --- numbers --------------------------------------------------------------------------------------

def test_counting(server):
    before = Metrics(server.web)
    with server.client() as c:
        for _ in range(7):
            c.ask("m", KEY)
        for _ in range(5):
            c.ask("m", ABSENT)
        for _ in range(3):
            c.ask("nowhere-" + KEY, KEY)
        c.ask("n", KEY)
        c.ask("n", KEY)
        c.send(netstring("nomap"))
        c.read()
        c.ask("t", "Somebody+x@private.example")    # no delimiter: found nowhere
    with TableClient("unix:%s/t" % server.dir) as c:
        for _ in range(4):
            c.ask(KEY)
        c.ask("long")
        c.send(b"put x y\n")
        c.read()
    for junk in b"hello", b"99999999999:x":
        with server.client() as c:
            c.send(junk)
            c.read_all()
    after = Metrics(server.web)

    def more(name, **labels):
        return after.sum("socketmapd_" + name, **labels) - before.sum("socketmapd_" + name, **labels)
    same([more("requests_total", map="m", proto="socketmap", result=r) for r in
          ("found", "notfound", "temp", "perm")], [7, 5, 0, 0], "replies of a map")
    same([more("requests_total", map="t", proto="tcp_table", result=r) for r in
          ("found", "temp")], [4, 1], "by the other protocol")
    same(more("temp_replies_total", map="t", reason="too_long"), 1, "a value too long, as TEMP")
    same(more("unknown_map_requests_total"), 3, "unknown maps")
    same([more("request_duration_seconds_count", map=m) for m in "mnt"], [12, 2, 6],
         "each reply has its duration")
    same(more("request_duration_seconds_bucket", map="m", le="+Inf"), 12, "in the last bucket, too")
    same(more("search_hits_total", map="m", step="1"), 7, "hits of the first step")
    same(more("directory_waits_total", map="n"), 1, "one of two had to wait")
    same((more("source_lookups_total", source="fake"),
          more("source_lookup_duration_seconds_count", source="fake")), (1, 1),
         "so the directory was asked once")
    same(more("listener_requests_total", proto="socketmap"), 7 + 5 + 3 + 2 + 1 + 1,
         "requests of a listener")
    same(more("listener_requests_total", proto="tcp_table"), 6, "and of the other")
    same([more("protocol_errors_total", reason=r) for r in
          ("request", "syntax", "too_long", "timeout")], [2, 1, 1, 0], "protocol errors by reason")
    temp = sum(more("temp_replies_total", map=m) for m in "mnt")
    same(temp, sum(more("requests_total", map=m, result="temp") for m in "mnt"),
         "reasons add up to all TEMPs")
    status = ask_json(server.web, "/v1/status")[1]
    m = next(m for m in status["maps"] if m["name"] == "m")
    same([m[r] for r in ("found", "notfound", "temp", "perm")],
         [after.sum("socketmapd_requests_total", map="m", result=r) for r in
          ("found", "notfound", "temp", "perm")], "the status has the same numbers")
    same(m["took"]["count"], after.sum("socketmapd_request_duration_seconds_count", map="m"),
         "how many were timed")
    ok(m["took"]["sum"] > 0, "and how long they took")
    source = status["sources"][0]["took"]
    same((source["count"], source["sum"] > 0),
         (after.sum("socketmapd_source_lookup_duration_seconds_count", source="fake"), True),
         "so are lookups of the source")
    t = next(m for m in status["maps"] if m["name"] == "t")
    same(t["temp_reasons"]["too_long"], 1, "reasons of TEMPs")
    same((status["unknown_map"], m["export"]), (3, None), "unknown maps; no export")
    ok(status["http"]["2xx"] > 0 and set(status["http"]) == {"2xx", "3xx", "4xx", "5xx"} and
       status["log"]["suppressed"] >= 0, "requests like this one, and lines not written")
    stats = server.stats()["m"]
    same([int(stats[r]) for r in ("found", "notfound", "temp", "perm")],
         [m[r] for r in ("found", "notfound", "temp", "perm")], "and so has SIGUSR1")
    ok("age" in stats and "age" not in server.stats()["n"], "which tells no age where there is no copy")
    same((status["snapshots"]["directory"], status["snapshots"]["why"]), (server.state, None),
         "snapshots can be written")
    away = server.state + ".away"
    os.rename(server.state, away)
    same(ask_json(server.web, "/v1/status")[1]["snapshots"]["why"], "No such file or directory",
         "or why not")
    os.rename(away, server.state)
    os.chmod(server.state, 0o777)
    like(ask_json(server.web, "/v1/status")[1]["snapshots"]["why"], "others may write", "by whom, too")
    os.chmod(server.state, 0o700)
    ask(server.web, "/v1/maps/n?key=by-http")
    same(metric(server, "directory_waits_total", map="n"), after.sum("socketmapd_directory_waits_total", map="n"),
         "who asks by HTTP makes no request, and waits as none")
    for path in "", "?key=a":
        same(ask(server.web, "/v1/maps/" + path).status, 404 if path else 400, "no map at all" + path)


def test_metrics(server):
    m = Metrics(server.web)
    done = run("promtool", "check", "metrics", input=m.text)
    ok(done.returncode == 0, "promtool finds nothing", done.stdout, done.stderr)
    names = [l.split()[2] for l in m.text.splitlines() if l.startswith("# TYPE")]
    same(len(set(names)), len(names), "each family is there once")
    same(m.sum("socketmapd_build_info", version=run(PROGRAM, "--version").stdout.split()[1]), 1,
         "build_info has the version")
    ok(abs(m.sum("process_start_time_seconds") - time.time()) < 600, "the start of the process")
    same(m.sum("process_max_fds") > m.sum("process_open_fds") > 10, True, "descriptors")
    ok(m.sum("process_resident_memory_bytes") > 1e6, "memory")


def test_privacy(server):
    """Whatever was asked and whatever the log says, which has whole keys here."""
    texts = [ask(server.web, p).body.decode() for p in ("/metrics", "/readyz", "/v1/status")]
    for text, path in zip(texts, ("/metrics", "/readyz", "/v1/status")):
        # "nowhere-..." was the name of a map that is not there: the status shows it, metrics do not
        clean = text.replace("nowhere-" + KEY, "")
        ok("private.example" not in clean, "no address in " + path,
           *[l for l in clean.splitlines() if "private.example" in l])
    ok("nowhere" not in texts[0], "no label comes from a client")
    ok(KEY in server.log(), "while the log has them")


# --- the life of the server ---------------------------------------------------------------------------

def test_reload(server):
    same(ask_json(server.web, "/v1/status")[1]["config"]["last_reload"], None, "no reload yet")
    good, server.maps["m"] = server.maps["m"], dict(server.maps["m"], refresh="never")
    server.reload("reload_refused")
    config = ask_json(server.web, "/v1/status")[1]["config"]
    same((config["last_reload"]["ok"], config["reloads_failed"] >= 1), (False, True),
         "a bad configuration shows")
    like(config["last_reload"]["why"], "refresh", "with its first error")
    same(metric(server, "config_last_reload_successful"), 0, "metric: not successful")
    server.maps["m"] = good
    other = "inet:127.0.0.1:%d" % free_port()
    server.listeners.append({"protocol": "http", "address": other})
    old = Connection(server.web)
    old.request("GET", "/livez")
    same(old.getresponse().read(), b"ok\n", "a connection is open")
    server.reload()
    same((ask(other, "/livez").status, ask(server.web, "/livez").status), (200, 200),
         "a reload adds a listener")
    old.request("GET", "/livez")
    same(old.getresponse().read(), b"ok\n", "the others keep their connections")
    same(metric(server, "config_last_reload_successful"), 1, "metric: successful")
    server.listeners.pop()
    server.reload()

    def is_gone():
        try:
            ask(other, "/livez")
        except OSError:
            return True
    ok(wait_for(is_gone), "and takes it away")


def test_stop(server, directory):
    """While a request waits, the server drains and says so."""
    directory.script("lookup * delay 2; rows; done")
    with server.client() as c:
        c.send(c.request("n", "late@private.example"))
        ok(wait_for(lambda: directory.activity("lookup", "late@private.example")), "somebody waits")
        server.signal(signal.SIGTERM)
        ok(wait_for(lambda: ask(server.web, "/readyz").status == 503), "stopping: not ready")
        same(ask_json(server.web, "/readyz")[1]["phase"], "stopping", "and says so")
        same(ask(server.web, "/livez").body, b"ok\n", "but alive")
        same(c.read(), "NOTFOUND ", "who waited gets his answer")
    same(server.finish(), None, "and it ends as ever")


class Watcher(threading.Thread):
    """Asks for /livez all the time; `wrong` is whatever was no "ok"."""

    def __init__(self, address):
        super().__init__()
        self.address, self.is_over, self.count, self.wrong = address, False, 0, []

    def run(self):
        while not self.is_over:
            try:
                r = ask(self.address, "/livez")
                self.count += 1
                if r.body != b"ok\n":
                    self.wrong.append(r)
            except OSError as e:
                self.wrong.append(e)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.join()


def test_replace():
    server, _ = web_server()
    server.daemon["start_wait"] = "10s"
    with server:
        wait_for(lambda: ask(server.web, "/readyz").status == 200)
        unix = "unix:%s/web" % server.dir
        with Watcher(unix) as watcher:
            old = ask_json(unix, "/v1/status")[1]["pid"]
            same(replace_server(server), None, "another process takes over")
        same([ask_json(a, "/v1/status")[1]["pid"] for a in (unix, server.web)], [server.pid] * 2,
             "it answers for both sockets")
        ok(old != server.pid and watcher.count, "which the old one did before")
        same(watcher.wrong, [], "at every moment somebody answers")


def test_inherited():
    """What a service manager keeps must outlast us: nobody may shut it down."""
    shared, address = listening()
    server = Activated({"n": {"source": "fake", "search": "exact"}})
    server.sources = [Directory(server.dir).source()]
    server.listeners = [server.listener(), {"protocol": "http", "address": "systemd:web"}]
    server.inherited = [("web", shared)]
    for n in "first", "second":
        server.start()
        same(ask(address, "/livez").body, b"ok\n", "an inherited socket: the %s server" % n)
        same(server.stop(), None, "it stops")
        with connect(address):
            ok(True, "one can still knock there")
    shared.close()


# --- loops that stall -----------------------------------------------------------------------------------

def test_stall(server):
    with Stopped(thread_of(server.pid, "answers")):
        ok(wait_for(lambda: ask(server.web, "/livez").status == 503, 30), "a stalled loop: not alive")
        like(ask(server.web, "/livez").body.decode(), "^answers", "which one")
        ok(metric(server, "loop_lag_seconds") > 5, "metrics still come, and show it")
    ok(wait_for(lambda: ask(server.web, "/livez").status == 200), "it goes on: alive")
    with Stopped(server.pid):
        r = ask_json(server.web, "/v1/status")
        same((r[0], "control" in r[1]["error"]), (503, True), "the control loop stalls: 503")
        ok(wait_for(lambda: ask(server.web, "/livez").status == 503, 30), "not alive, either")
        like(ask(server.web, "/livez").body.decode(), "^control", "which one")
    ok(wait_for(lambda: ask(server.web, "/livez").status == 200), "and alive again")


SERVER, DIRECTORY = web_server(max_age="1h")
with SERVER:
    wait_for(lambda: ask(SERVER.web, "/readyz").status == 200)
    SLOW_CLIENT = Slow(SERVER.web)
    SLOW_CLIENT.start()
    test_protocol(SERVER)
    test_counting(SERVER)
    test_hosts(SERVER)
    test_limits(SERVER)
    test_rejection(SERVER, DIRECTORY)
    test_metrics(SERVER)
    test_privacy(SERVER)
    test_reload(SERVER)
    test_stall(SERVER)
    SLOW_CLIENT.join()
    ok(SLOW_CLIENT.is_closed, "a client that does not finish its request is closed")
    test_stop(SERVER, DIRECTORY)
test_states()
test_replace()
test_inherited()
test_both_families()
done()

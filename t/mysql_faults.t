#!/usr/bin/env python3
# sanitizers: asan
"""
Everything that may happen to a MariaDB server and the way to it: what clients are told meanwhile,
and that all is well when it is over. Each fault has a source of its own, and all run at once;
those of a whole server have their own server, and come one after the other.
"""
import signal
import socket
import sys
import time

sys.path.insert(0, "t/lib")
from faultproxy import FaultProxy
from harness import *
from mariadb import MariaDB

ROWS = 600
PAD = "x" * 200     # a scan is about 140 kB, more than a driver keeps to itself
MIDST = 100000      # bytes; when a part of it has got through
DEADLINE = 1        # seconds; of the maps
KNOWN = {"user%d@d.example" % i: "OK box%d-%s" % (i, PAD) for i in range(1, ROWS + 1)}
HIT, MISSING = "user1@d.example", "nobody@d.example"
KINDS = "demand", "ask", "trust"
MID_SCAN = r"refresh_failed .*rows=[1-9]\d+ why="    # a part of it had been sent to the server


def maps(name):
    """One table three times: looked up, mirrored and asked for the rest, mirrored and trusted."""
    table = {"source": name, "search": "exact", "deadline": "%ds" % DEADLINE, "ttl": "1h",
             "negative_ttl": "0", "query": "SELECT goto FROM %s WHERE address='%%s'" % name}
    # What guards against scans that were cut short is off: none must ever get so far.
    mirror = dict(table, mode="mirror", refresh="2s", min_entries=0, max_shrink=100,
                  scan_query="SELECT address, goto FROM %s" % name)
    return {name + "_demand": table, name + "_ask": dict(mirror, max_age="4s"),
            name + "_trust": dict(mirror, on_miss="notfound", max_age="1h")}


def source(name, hosts, **settings):
    return dict({"name": name, "driver": "mysql", "hosts": hosts, "user": name,
                 "password": "secret", "dbname": "mail", "connections": 2, "timeout": "2s",
                 "connect_timeout": "1s", "retry_interval": "1s", "scan_idle": "2s",
                 "scan_timeout": "20s"}, **settings)


def view(name, what="address, goto", rest=""):
    """The table as maps see it; its rows stay whole, whatever becomes of the view."""
    return "CREATE OR REPLACE VIEW %s AS SELECT %s FROM t_%s %s;" % (name, what, name, rest)


def schema(name):
    return """
        CREATE TABLE t_%s (address VARCHAR(255) PRIMARY KEY, goto TEXT);
        INSERT INTO t_%s SELECT CONCAT('user', seq, '@d.example'), CONCAT('box', seq, '-%s')
            FROM seq_1_to_%d;
        %s
        CREATE USER %s IDENTIFIED BY 'secret';
        GRANT SELECT ON mail.%s TO %s""" % (name, name, PAD, ROWS, view(name), name, name, name)


class Fault:
    """
    `begin` and `end` it. `saw` is what the log says of it. `stops` is what does not work
    meanwhile: "all", "scans", or "nothing". Lookups may fail in each, but for a moment only.
    """

    def __init__(self, begin, end, saw, stops="all", provoke=lambda: None, **settings):
        self.begin, self.end, self.saw, self.stops = begin, end, saw, stops
        self.provoke, self.settings = provoke, settings


class Case:
    """One source with its maps; every reply is judged."""

    def __init__(self, server, db, name):
        self.server, self.db, self.name = server, db, name
        self.cold, self.late = HIT, 0   # a key that exists and that was not asked for yet
        self.wrong = []

    def note(self, *what):
        self.wrong.append(" ".join(map(str, what)))

    def ask(self, kind, key, *allowed):
        """Ask once. The truth is always right, and TEMP, unless `allowed` says otherwise."""
        truth = KNOWN.get(key, "NOTFOUND ")
        begin = time.monotonic()
        reply = self.server.ask(self.name + "_" + kind, key) or "EOF"
        took = time.monotonic() - begin
        if reply != truth and not reply.startswith("TEMP ") or \
                allowed and not reply.startswith(allowed):
            self.note(kind, key, "is told", reply)
        if took > DEADLINE + 3 * SLOW:
            self.note(kind, key, "waits for", took)
        return reply

    def becomes(self, kind, key, want, seconds=20):
        return wait_for(lambda: self.ask(kind, key).startswith(want) or time.sleep(0.03), seconds)

    def log(self, since):
        is_ours = re.compile(r"(source|map)=%s(_\w+)?( |$)" % self.name)
        return "\n".join(filter(is_ours.search, self.server.log()[since:].splitlines()))

    def is_seen(self, fault, since):
        log = self.log(since)
        failed = [re.search("refresh_failed map=%s_%s " % (self.name, m), log) for m in KINDS[1:]]
        return re.search(fault.saw, log) and (fault.stops == "nothing" or all(failed))

    def ask_until(self, ask, is_over, seconds=30):
        """
        Ask often at first, then seldom: too many replies of one kind crowd other events, whose
        turn in the log they may share, out of it.
        """
        begin, rounds = time.monotonic(), 0

        def step():
            nonlocal rounds
            if time.monotonic() - begin >= (0.05 * rounds if rounds < 4 else 2.5 * (rounds - 3)):
                ask()
                rounds += 1
            return is_over()
        return wait_for(step, seconds)

    def judge(self, why):
        ok(not self.wrong, "%s: %s" % (self.name, why), self.wrong[:8])
        self.wrong = []

    def check_empty(self, fault):
        """The fault was there first."""
        def ask():
            for kind in KINDS if fault.stops == "all" else KINDS[1:]:
                for key in HIT, MISSING:
                    self.ask(kind, key, "TEMP ")

        def is_over():
            fault.provoke()
            time.sleep(0.05)
            return self.is_seen(fault, 0)
        if fault.stops == "nothing":
            return self.check_works(" from the start")
        ok(self.ask_until(ask, is_over), self.name + ": the log says what is wrong", self.log(0))
        self.judge("while nothing is known, all is TEMP")

    def check_during(self, fault, since):
        stale = fault.stops != "all"    # is the copy? It will be, unless lookups help it out

        def ask():
            nonlocal stale
            for kind in KINDS:
                self.ask(kind, HIT, "OK ")
            self.ask("ask", self.cold, "OK ")
            self.ask("trust", MISSING, "NOTFOUND ")
            for key in self.cold, MISSING:
                self.ask("demand", key, *["TEMP "] if fault.stops == "all" else [])
            stale = stale or self.ask("ask", MISSING).startswith("TEMP ")

        def is_over():
            fault.provoke()
            time.sleep(0.05)
            return stale and self.is_seen(fault, since)
        ok(self.ask_until(ask, is_over), self.name + ": the log says it again", self.log(since))
        self.judge("known is known, absent by a fresh copy is absent, the rest is TEMP")
        if fault.stops != "all":
            ok(self.becomes("demand", self.cold, "OK ") and
               self.becomes("demand", MISSING, "NOTFOUND ") and
               self.becomes("ask", MISSING, "NOTFOUND "), self.name + ": lookups go on")
        if fault.stops == "nothing":
            self.check_works(" meanwhile")

    def check_works(self, when=""):
        """The whole table is there, by lookups and by a scan that begins now."""
        self.late += 1
        late = "late%d@d.example" % self.late
        self.db.sql("SET STATEMENT max_statement_time = 0 FOR INSERT INTO t_%s"
                    " VALUES ('%s', 'late')" % (self.name, late), "mail")
        same(self.server.wait_for_reply(self.name + "_trust", late, "^OK", 30), "OK late",
             "%s: scans work%s" % (self.name, when))
        for kind in KINDS:
            for key, want in (HIT, "OK "), (self.cold, "OK "), (MISSING, "NOTFOUND "):
                if not self.becomes(kind, key, want):
                    self.note(kind, key, "is", self.ask(kind, key))
        self.cold = "user%d@d.example" % (self.late + 100)
        for e in self.server.events("refreshed", source=self.name):
            if not ROWS <= int(e["entries"]) <= ROWS + self.late:
                self.note("a scan of", e["entries"], "rows was believed")
        self.judge("all is well" + when)

    def suffer(self, fault):
        since = len(self.server.log())
        fault.begin()
        try:
            self.check_during(fault, since)
        finally:
            fault.end()
        self.check_works(" afterwards")


# --- the network, one table, one user ------------------------------------------------------------

def certificate():
    """It is its own authority; its path, and that of its key."""
    path = scratch()
    p = run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost",
            "-days", "2", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", path + "/key",
            "-out", path + "/pem")
    ok(p.returncode == 0, "a certificate is made", p.stderr)
    os.chmod(path + "/key", 0o644)
    return path + "/pem", path + "/key"


def greeting_length(port):
    with socket.create_connection(("127.0.0.1", port)) as s:
        return 4 + int.from_bytes(s.recv(4)[:3], "little")


def network_faults(db):
    greeting = greeting_length(db.port)
    lost = "host_failed .*Lost connection|host_failed .*Can't connect"
    table = {
        "refused": ("refuse", 0, "host_failed .*Can't connect"),
        "stall": ("stall", 0, lost + "|deadline missed"),
        "trickle": ("trickle", 0, lost + "|deadline missed"),
    }
    for how in "stall", "rst", "close":
        table.update({
            how + "_greeting": (how + "_after", 20, lost),
            how + "_login": (how + "_after", greeting, lost),
            how + "_session": (how + "_after", greeting + 30, lost),
            how + "_tls": (how + "_after", greeting + 500, lost + "|host_failed .*TLS"),
            how + "_scan": (how + "_after", MIDST, MID_SCAN),
        })
    for name, (mode, n, saw) in table.items():
        proxy = FaultProxy(db.port)
        yield name, Fault(lambda p=proxy, m=mode, n=n: p.set(m, n), lambda p=proxy: p.set("pass"),
                          saw, "scans" if n == MIDST else "all",
                          hosts="inet:127.0.0.1:%d" % proxy.port,
                          **{"tls_CAfile": CERTIFICATE} if name.endswith("_tls") else {})


def two_host_faults(db):
    """One of two hosts is always bad, each in its turn, and no moment is without a good one."""
    for mode, n in ("refuse", 0), ("stall", 0), ("rst_after", 0), ("rst_after", MIDST):
        proxies = FaultProxy(db.port), FaultProxy(db.port)

        def swap(bad, good, mode=mode, n=n):
            good.set("pass")
            bad.set(mode, n)
        yield "two_%s_%d" % (mode, n), Fault(
            lambda p=proxies, swap=swap: swap(p[0], p[1]),
            lambda p=proxies, swap=swap: swap(p[1], p[0]), "host_failed|refresh_failed", "nothing",
            hosts=", ".join("inet:127.0.0.1:%d" % p.port for p in proxies), timeout="4s")


def kill(db, what, user):
    for row in db.sql("SELECT id FROM information_schema.processlist WHERE user = '%s' AND "
                      "time_ms > 4500 AND info LIKE 'SELECT address%%'" % user):
        db.run("KILL %s %s" % (what, row[0]))


def table_faults(db):
    slow_scan = {"rest": "WHERE SLEEP(0.01) = 0"}
    patient = {"scan_timeout": "30s", "scan_idle": "10s"}
    broken = {"what": "address, IF(address LIKE 'user9%', (SELECT 1 UNION SELECT 2), goto) AS goto"}
    table = {
        # name: what becomes of the view, what the log says, what stops, settings of the source
        "no_column": ({"what": "address, goto AS gone"}, "Unknown column", "all", {}),
        "slow_lookup": ({"rest": "UNION ALL SELECT SLEEP(5), ''"}, "max_statement_time", "all", {}),
        "slow_scan": (slow_scan, MID_SCAN + ".*max_statement_time", "scans",
                      {"scan_timeout": "4s", "scan_idle": "10s"}),
        "error_scan": (broken, MID_SCAN + ".*more than 1 row", "scans", {}),
        "killed_scan": (slow_scan, MID_SCAN + ".*(Lost|killed)", "scans", patient),
        "killed_query": (slow_scan, MID_SCAN + ".*interrupted", "scans", patient),
    }
    for name, (change, saw, stops, settings) in table.items():
        what = {"killed_scan": "CONNECTION", "killed_query": "QUERY"}.get(name)
        yield name, Fault(lambda n=name, c=change: db.sql(view(n, **c), "mail"),
                          lambda n=name: db.sql(view(n), "mail"), saw, stops,
                          (lambda n=name, w=what: kill(db, w, n)) if what else lambda: None,
                          **settings)
    yield "no_table", Fault(lambda: db.sql("DROP VIEW no_table", "mail"),
                            lambda: db.sql(view("no_table"), "mail"), "doesn't exist")
    on = "SELECT ON mail.no_privilege"
    yield "no_privilege", Fault(lambda: db.sql("REVOKE %s FROM no_privilege" % on),
                                lambda: db.sql("GRANT %s TO no_privilege" % on), "denied")


def check_faults(db):
    faults = dict([*network_faults(db), *two_host_faults(db), *table_faults(db)])
    server = Server(threads=1)
    for name, fault in faults.items():
        db.sql(schema(name), "mail")
        server.sources.append(source(name, **{"hosts": "unix:" + db.socket, **fault.settings}))
        server.maps.update(maps(name))
        fault.begin()

    def run(name):
        case, fault = Case(server, db, name), faults[name]
        case.check_empty(fault)
        fault.end()
        case.check_works()
        case.suffer(fault)
    with server:
        in_parallel(run, faults)


# --- a whole server -------------------------------------------------------------------------------

_guests = []


def crowd(db):
    """All connections are taken, by some who never log in."""
    db.sql("SET GLOBAL max_connections = 10")
    db.sql("KILL USER db")
    for _ in range(40):
        try:
            _guests.append(socket.create_connection(("127.0.0.1", db.port), 1))
        except OSError:
            break


def disperse(db):
    while _guests:
        _guests.pop().close()
    wait_for(lambda: db.run("SET GLOBAL max_connections = 100").returncode == 0)


def freeze(db):
    """Each thread stops when its turn comes."""
    db.signal(signal.SIGSTOP)
    threads = "/proc/%d/task" % db.process.pid
    wait_for(lambda: all(stat_fields(int(t))[:1] in ([], ["T"]) for t in os.listdir(threads)))


def restrict(db, read_only, limit, seconds):
    """What a server does to sessions that do not say what they want."""
    db.sql("SET GLOBAL read_only = %s, sql_select_limit = %s, max_statement_time = %s;"
           "KILL USER db" % (read_only, limit, seconds))


def check_server(db):
    db.sql(schema("db"), "mail")
    stop, go = (lambda: freeze(db)), (lambda: db.signal(signal.SIGCONT))
    faults = {
        "stopped": Fault(stop, go, "Lost connection|deadline missed"),
        "down": Fault(db.stop, db.start, "host_failed .*Can't connect"),
        "crowded": Fault(lambda: crowd(db), lambda: disperse(db), "Too many connections"),
        "restricted": Fault(lambda: restrict(db, 1, 2, 0.000001),
                            lambda: restrict(db, 0, "DEFAULT", 0), "refreshed", "nothing"),
    }
    server = Server(maps=maps("db"), sources=[source("db", "inet:127.0.0.1:%d" % db.port)])
    case = Case(server, db, "db")
    try:
        stop()
        with server:
            case.check_empty(faults["stopped"])
            go()
            case.check_works()
            for name, fault in faults.items():
                note(name)
                case.suffer(fault)
    finally:
        go()


started = time.monotonic()
CERTIFICATE, key = certificate()
db, other = MariaDB(options="ssl_cert=%s\nssl_key=%s\n" % (CERTIFICATE, key)), MariaDB()
in_parallel(lambda work: work[0](work[1]), [(check_faults, db), (check_server, other)])
for server in db, other:
    with open(server.dir + "/log", errors="replace") as f:
        ok(server.is_up(), "MariaDB itself survived", server.process.poll(), f.read()[-4000:])
note("%.0f s" % (time.monotonic() - started))
done()

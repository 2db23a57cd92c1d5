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
from faults import *
from harness import *
from mariadb import MariaDB

MIDST = 100000      # bytes; when a part of a scan has got through


def mysql_maps(name):
    return maps(name, {"query": "SELECT goto FROM %s WHERE address='%%s'" % name},
                {"refresh": "2s", "scan_query": "SELECT address, goto FROM %s" % name}, "4s")


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


def case(server, db, name, fault):
    return Case(server, name, fault, lambda key: db.sql(
        "SET STATEMENT max_statement_time = 0 FOR INSERT INTO t_%s VALUES ('%s', 'late')" %
        (name, key), "mail"))


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
        # Each row is progress, though it takes longer than scan_idle to have some to send.
        "steady_scan": (slow_scan, "", "nothing", {}),
        "error_scan": (broken, MID_SCAN + ".*more than 1 row", "scans", {}),
        "killed_scan": (slow_scan, MID_SCAN + ".*(Lost|killed)", "scans", patient),
        "killed_query": (slow_scan, MID_SCAN + ".*interrupted", "scans", patient),
    }
    for name, (change, saw, stops, settings) in table.items():
        what = {"killed_scan": "CONNECTION", "killed_query": "QUERY"}.get(name)
        yield name, Fault(lambda n=name, c=change: db.sql(view(n, **c), "mail"),
                          lambda n=name: db.sql(view(n), "mail"), saw, stops,
                          provoke=(lambda n=name, w=what: kill(db, w, n)) if what else lambda: 0,
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
        server.sources.append(source(name, **{"hosts": "unix:" + db.socket, **fault.source}))
        server.maps.update(mysql_maps(name))
        fault.begin()
    with server, Watch(server):
        in_parallel(lambda name: case(server, db, name, faults[name]).live(), faults)


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
    server = Server(maps=mysql_maps("db"), sources=[source("db", "inet:127.0.0.1:%d" % db.port)])
    try:
        stop()
        with server, Watch(server), case(server, db, "db", faults["stopped"]) as whole:
            whole.check_empty()
            go()
            whole.check_works()
            for name, whole.fault in faults.items():
                note(name)
                whole.suffer()
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

"""The server with its maps, its directories, the judge, and what is known of them all; for t/soak.t."""
import collections
import glob
import os
import re
import threading
import time

from faultproxy import FaultProxy
from harness import SLOW, Server, children, free_port, run, stat_fields
from slapd import SUFFIX
from soak import ending
from soak.changing import VALUES, Db, Ldap, Lite
from soak.judge import Judge, Kind

# Seconds. Short, so that a minute sees all states of a mirror; see socketmapd.maps(5).
MAX_AGE, STALE_MAX, STALE_MAX_DEMAND, EVER = 3, 6, 4, 3600
TTL, NEGATIVE_TTL, TIMEOUT = 2, 1, 1

# How old an answer may be. A mirror's "not found" is as old as its scan, MAX_AGE at most. What
# was looked up was true when the directory said so, at most TIMEOUT before it got into the cache.
LOOKED_UP = NEGATIVE_TTL + TIMEOUT
KINDS = {
    "trust": Kind(MAX_AGE, EVER, is_steady=True),
    "ask": Kind(max(MAX_AGE, LOOKED_UP), TTL * 1.1 + STALE_MAX + TIMEOUT, asks=True),
    "domain": Kind(max(MAX_AGE, LOOKED_UP), TTL * 1.1 + STALE_MAX + TIMEOUT, asks=True),
    "demand": Kind(LOOKED_UP, TTL * 1.1 + STALE_MAX_DEMAND + TIMEOUT, is_mirror=False),
}
EXTRA = Kind(MAX_AGE, EVER, comes_and_goes=True, shape=r"<(.*)> \d")
TABLE = {"search": "exact", "ttl": "%ds" % TTL, "negative_ttl": "%ds" % NEGATIVE_TTL,
         "deadline": "800ms", "cache_size": "128K"}
MIRROR = dict(TABLE, mode="mirror", refresh="1s", max_age="%ds" % MAX_AGE,
              stale_max="%ds" % STALE_MAX, min_entries=len(VALUES) // 3)
QUERY = {"query": "SELECT goto FROM mail WHERE address = '%s'"}
SQL = dict(QUERY, scan_query="SELECT address, goto FROM seen")
SOURCE = {"connections": 2, "timeout": "%ds" % TIMEOUT, "scan_idle": "1s",
          "scan_timeout": "4s"}        # less than changing.PAUSE
REMOTE = dict(SOURCE, retry_interval="1s", connect_timeout="1s")


def maps_of(name, copied, looked_up, change_check={}):
    """Four maps on one directory. `looked_up` sees what is hidden from `copied`."""
    if change_check:
        change_check = dict(change_check, change_interval="300ms", refresh="2s")
    ask_domain = {"on_miss": "domain", "stale_miss": "domain", "domains": "ours"}
    return {
        name + "_trust": dict(MIRROR, on_miss="notfound", stale_max="1h", **copied),
        name + "_ask": dict(MIRROR, on_miss="ask", **copied),
        name + "_domain": MIRROR | copied | ask_domain | change_check,
        name + "_demand": dict(TABLE, mode="demand", stale_max="%ds" % STALE_MAX_DEMAND,
                               **looked_up),
    }


def configure(lite, networks):
    server = Server(start_wait="5s", snapshot_interval="500ms", stop_timeout="2s")
    os.mkdir(server.dir + "/run")
    server.socket = server.dir + "/run/s"
    uri = "ldap://127.0.0.1:%d" % networks["ldap"].port
    server.sources = [
        dict(REMOTE, name="ldap", driver="ldap", server_host=uri, bind_dn="cn=reader," + SUFFIX,
             bind_pw="secret"),
        dict(REMOTE, name="ldap_scan", driver="ldap", server_host=uri, page_size=50,
             bind_dn="cn=scanner," + SUFFIX, bind_pw="secret"),
        dict(REMOTE, name="db", driver="mysql", hosts="inet:127.0.0.1:%d" % networks["db"].port,
             user="reader", password="secret", dbname="mail"),
        dict(SOURCE, name="lite", driver="sqlite", dbpath=lite.path, busy_timeout="300ms"),
    ]
    people = {"search_base": "ou=people," + SUFFIX, "query_filter": "(mail=%s)",
              "result_attribute": "description"}
    server.maps = maps_of("ldap", dict(people, source="ldap_scan"), dict(people, source="ldap"),
                          {"change_check": "contextCSN"})
    server.maps |= maps_of("db", dict(SQL, source="db"), dict(QUERY, source="db"),
                           {"change_query": "SELECT n FROM version"})
    server.maps |= maps_of("lite", dict(SQL, source="lite"), dict(QUERY, source="lite"))
    server.maps["ours"] = dict(MIRROR, source="lite", search="domain", on_miss="notfound",
                               stale_miss="notfound", stale_max="1h", min_entries=1,
                               query="SELECT name FROM domains WHERE name = '%s'",
                               scan_query="SELECT name, name FROM domains")
    timeouts = {"request_timeout": "2s", "write_timeout": "3s"}
    server.listeners = [server.listener(**timeouts)]
    for map in None, "ldap_trust", "db_ask", "lite_demand":
        server.listeners.append(dict(timeouts, address="inet:127.0.0.1:%d" % free_port(),
                                     protocol="tcp_table" if map else "socketmap",
                                     **{"map": map} if map else {}))
    return server


class World:
    """
    What faults see.

    active      the faults that are not over
    askers      the clients
    seen        how often each event was in the log
    recent      its last lines
    damaged     maps that may have a file that was moved aside
    is_replaced one of two servers is to end
    """

    def __init__(self, seed):
        self.directories = ldap, db, lite = Ldap(seed), Db(seed), Lite(seed)
        self.networks = {d.name: FaultProxy(d.server.port) for d in (ldap, db)}
        self.server = configure(lite, self.networks)
        self.judge = Judge({"%s_%s" % (d.name, name): (d, kind) for d in self.directories
                            for name, kind in KINDS.items()} | {"extra": (lite, EXTRA)})
        self.active, self.askers, self.damaged = [], [], set()
        self.is_replaced = False
        self.seen, self.refreshed = collections.Counter(), {}
        self.recent = collections.deque(maxlen=100)
        self.at, self.rest = 0, ""
        threading.excepthook = lambda a: self.judge.complain("a thread died of", repr(a.exc_value))
        os.mkdir(self.server.state, 0o700)
        self.mount("size=4m,mode=0700", "-t", "tmpfs", "none")

    def mount(self, options, *more):
        found = run("mount", *more, "-o", options, self.server.state)
        if found.returncode:
            self.judge.complain("mount fails:", found.stderr)

    def end(self):
        """Stop all there is, in whatever state; who asks and who changes first."""
        for one in *self.askers, *self.directories:
            one.end()
        ending.kill_all()
        run("umount", "-l", self.server.state)

    def snapshot(self, map):
        return "%s/%s.0.snapshot" % (self.server.state, map)

    def is_written_since(self, when):
        """Has any snapshot been?"""
        since = time.time() - (time.monotonic() - when)
        return any(os.stat(f).st_mtime > since
                   for f in glob.glob(self.server.state + "/*.snapshot"))

    def read_log(self):
        """What is new in it."""
        with open(self.server.logfile, errors="replace") as f:
            f.seek(self.at)
            lines = (self.rest + f.read()).split("\n")
            self.at, self.rest = f.tell(), lines[-1]
        for line in lines[:-1]:
            event, map = re.search(r"(?:event=(\w+)(?: map=(\w+))?|$)", line).groups()
            self.seen[event] += 1
            if event != "lookup_failed":
                self.recent.append(line)
            if event == "refreshed":
                self.refreshed[map] = time.monotonic()
            for f in self.active:
                f.has_sign = f.has_sign or bool(re.search(f.sign, line))

    def is_loaded(self, map, since):
        return map not in self.server.maps or self.refreshed.get(map, 0) > since

    def are_well(self, directories, since):
        """Lookups and scans of all these work, unless something else is wrong with them."""
        found, good = self.judge.found, self.judge.good
        bad = {d for f in self.active if f.is_raging for d in f.directories}
        return all((not kind.is_mirror or self.is_loaded(m, since)) and (kind.comes_and_goes or
                   found.get(m, 0) > since and good.get(m, 0) > since)
                   for m, (d, kind) in self.judge.kinds.items() if d in directories and d not in bad)

    def is_free(self, f):
        """Is nothing that it holds in use, and nothing that it needs held?"""
        return not any(set(a.holds) & {*f.holds, *f.needs} or set(a.needs) & set(f.holds)
                       for a in self.active)


# --- before and after -----------------------------------------------------------------------------

CONDITION = "descriptors", "threads", "drivers", "memory"


def condition(server):
    return server.descriptors(), server.threads(), len(server.drivers()), server.rss()


def grown(before, now):
    """What is more than before, and more than comes and goes: processes, pools, caches that fill."""
    leeway = 8, 4, 4, before[3] if SLOW == 1 else 1 << 40      # sanitizers keep what was freed
    return [what for what, b, n, more in zip(CONDITION, before, now, leeway) if n > b + more]


def zombies(server):
    return [p for p in children(server.pid) if stat_fields(p)[:1] == ["Z"]]

#!/usr/bin/env python3
"""
Everything at once, for a minute or for hours: three directories that change all the time, clients
that never stop asking, and whatever may go wrong, in an order that SEED repeats. SOAK_SECONDS says for how
long; without it, until each fault has happened. "make soak SECONDS=1800" is the same.

No address that exists is ever reported missing, none that never existed is found, and each fault
is over when it is over, without help.
"""
import atexit
import collections
import glob
import os
import random
import re
import signal
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from faultproxy import FaultProxy
from slapd import SUFFIX
from soak import (DOMAIN, MOVERS, VALUES, Asker, Db, Judge, Kind, Ldap, Lite, SlowReader,
                  is_hung_up, reset)

if os.geteuid():
    ok(False, "root may mount, and run a slapd and a MariaDB")
    done()

seconds = os.environ.get("SOAK_SECONDS")
is_brief, seconds = not seconds, float(seconds or 60)
seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
note("SEED=%d" % seed)
began = time.monotonic()

# --- the server ---------------------------------------------------------------------------------

# Seconds. Short, so that a minute sees all states of a mirror; see socketmapd.maps(5).
MAX_AGE, STALE_MAX, EVER, TTL, NEGATIVE_TTL, TIMEOUT = 3, 6, 3600, 2, 1, 1
STALE_MAX_DEMAND = 4
SCAN_TIMEOUT = 4        # less than soak.PAUSE
RECOVERY = 40 * SLOW    # faults are short, and so are the pauses between attempts
AT_ONCE = 4             # faults

# How old an answer may be. A mirror's "not found" is as old as its scan, MAX_AGE at most. What
# was looked up was true when the directory said so, at most TIMEOUT before it got into the cache.
LOOKED_UP = NEGATIVE_TTL + TIMEOUT
KINDS = {
    "trust": Kind(MAX_AGE, EVER, is_steady=True),
    "ask": Kind(max(MAX_AGE, LOOKED_UP), TTL * 1.1 + STALE_MAX + TIMEOUT, asks=True),
    "domain": Kind(max(MAX_AGE, LOOKED_UP), TTL * 1.1 + STALE_MAX + TIMEOUT, asks=True),
    "demand": Kind(LOOKED_UP, TTL * 1.1 + STALE_MAX_DEMAND + TIMEOUT, is_mirror=False),
}
TABLE = {"search": "exact", "ttl": "%ds" % TTL, "negative_ttl": "%ds" % NEGATIVE_TTL,
         "deadline": "800ms", "cache_size": "128K"}
MIRROR = dict(TABLE, mode="mirror", refresh="1s", max_age="%ds" % MAX_AGE,
              stale_max="%ds" % STALE_MAX, min_entries=len(VALUES) // 3)
SQL = {"query": "SELECT goto FROM seen WHERE address = '%s'",
       "scan_query": "SELECT address, goto FROM seen"}
SOURCE = {"connections": 2, "timeout": "%ds" % TIMEOUT, "scan_idle": "1s",
          "scan_timeout": "%ds" % SCAN_TIMEOUT}
REMOTE = dict(SOURCE, retry_interval="1s", connect_timeout="1s")
CHECKS = {"ldap": {"change_check": "contextCSN"}, "lite": {},
          "db": {"change_query": "SELECT n FROM version"}}


def maps_of(name, copied, looked_up):
    """Four maps on one directory. Mirrors see what scans see, single lookups always all."""
    changes = dict(CHECKS[name], change_interval="300ms", refresh="2s") if CHECKS[name] else {}
    return {
        name + "_trust": dict(MIRROR, on_miss="notfound", stale_max="1h", **copied),
        name + "_ask": dict(MIRROR, on_miss="ask", **copied),
        name + "_domain": dict(MIRROR, on_miss="domain", stale_miss="domain", domains="ours",
                               **{**copied, **changes}),
        name + "_demand": dict(TABLE, mode="demand", stale_max="%ds" % STALE_MAX_DEMAND,
                               **looked_up),
    }


def configure():
    server = Server(start_wait="3s", snapshot_interval="500ms", stop_timeout="2s")
    os.mkdir(server.dir + "/run")
    server.socket = server.dir + "/run/s"
    for network in NETWORKS.values():
        atexit.register(network.close)
    uri = "ldap://127.0.0.1:%d" % NETWORKS["ldap"].port
    server.sources = [
        dict(REMOTE, name="ldap", driver="ldap", server_host=uri, bind_dn="cn=reader," + SUFFIX,
             bind_pw="secret"),
        dict(REMOTE, name="ldap_scan", driver="ldap", server_host=uri, page_size=int(os.environ.get('PS', 100)),
             bind_dn="cn=scanner," + SUFFIX, bind_pw="secret"),
        dict(REMOTE, name="db", driver="mysql", hosts="inet:127.0.0.1:%d" % NETWORKS["db"].port,
             user="reader", password="secret", dbname="mail"),
        dict(SOURCE, name="lite", driver="sqlite", dbpath=lite.path, busy_timeout="300ms"),
    ]
    people = {"search_base": "ou=people," + SUFFIX, "query_filter": "(mail=%s)",
              "result_attribute": "description"}
    server.maps = maps_of("ldap", dict(people, source="ldap_scan"), dict(people, source="ldap"))
    for d in db, lite:
        server.maps.update(maps_of(d.name, dict(SQL, source=d.name), {
            "source": d.name, "query": SQL["query"].replace("seen", "mail")}))
    server.maps["ours"] = dict(MIRROR, source="lite", search="domain", on_miss="notfound",
                               stale_miss="notfound", stale_max="1h", min_entries=1,
                               query="SELECT name FROM domains WHERE name = '%s'",
                               scan_query="SELECT name, name FROM domains")
    timeouts = {"request_timeout": "1s", "write_timeout": "2s"}
    server.listeners = [server.listener(**timeouts)]
    server.listeners += [dict(timeouts, address="inet:127.0.0.1:%d" % free_port(),
                              protocol="tcp_table" if map else "socketmap",
                              **{"map": map} if map else {})
                         for map in (None, "ldap_trust", "db_ask", "lite_demand")]
    return server


# --- what happens -------------------------------------------------------------------------------

class Fault:
    """
    begin() it, tick() often while it lasts, heal() it, all on one thread; then is_well() is asked
    until it is true.

    holds, needs    what no other fault may hold or need meanwhile; what none may hold
    directories     which do not work meanwhile, but must afterwards, new scans included
    sign            what the log says of it: it lasts until then
    lasts           seconds, at least and at most, before it may be healed
    """

    holds = needs = directories = ()
    sign, lasts = None, (0.3, 1.5)

    def __init__(self, name, pick):
        self.name, self.pick = name, pick
        self.is_raging, self.has_sign, self.has_happened = True, not self.sign, True

    def start(self):
        self.began = time.monotonic()
        self.least = self.began + self.pick.uniform(*self.lasts)
        self.begin()

    def begin(self): pass

    def tick(self): pass

    def heal(self): pass

    def is_well(self):
        return are_well(self.directories, self.healed)


class OfDirectory(Fault):
    def __init__(self, name, pick, directory):
        self.directory, self.directories, self.holds = directory, (directory,), (directory.name,)
        self.sign = self.sign or r"event=(refresh|source)_failed .*source=%s" % directory.name
        if pick.random() < 0.15:
            self.lasts = MAX_AGE, STALE_MAX + 2     # so that mirrors become STALE, and EXPIRED
        super().__init__(name, pick)


class Stopped(OfDirectory):
    def begin(self):
        self.directory.server.signal(signal.SIGSTOP)

    def heal(self):
        self.directory.server.signal(signal.SIGCONT)


class Killed(OfDirectory):
    def begin(self):
        self.directory.server.stop()

    def heal(self):
        self.directory.server.start()


class Network(OfDirectory):
    def __init__(self, name, pick, directory, mode, sizes=(0,)):
        super().__init__(name, pick, directory)
        self.mode = mode, pick.choice(sizes)

    def begin(self):
        NETWORKS[self.directory.name].set(*self.mode)

    def heal(self):
        NETWORKS[self.directory.name].set("pass")


class Slow(Network):
    """Scans take seconds, and the directory changes meanwhile."""
    sign, lasts = "event=refreshed", (2, 3)


class Hidden(OfDirectory):
    """
    Scans end in success and have lost all, or much. A server that has no copy could not know, so
    it may not be killed now.
    """
    needs = ("server",)

    def __init__(self, name, pick, directory, what):
        self.sign = "event=refresh_rejected map=%s_" % directory.name
        super().__init__(name, pick, directory)
        self.what = what

    def begin(self):
        self.directory.hide(self.what)

    def heal(self):
        self.directory.hide(None)


class Locked(OfDirectory):
    """By somebody who writes for long."""

    def begin(self):
        self.writer = self.directory.connect()
        self.writer.execute("BEGIN EXCLUSIVE")

    def heal(self):
        self.writer.execute("ROLLBACK")
        self.writer.close()


class Drivers(Fault):
    """Half of the driver processes get a signal."""
    needs = ("server",)

    def __init__(self, name, pick, number, sign):
        self.sign, self.number, self.victims = sign, number, set()
        super().__init__(name, pick)
        self.directories = DIRECTORIES

    def begin(self):
        drivers = sorted(server.drivers())
        for pid in self.pick.sample(drivers, (len(drivers) + 1) // 2):
            self.victims.add(pid)
            self.signal(pid, self.number)

    def signal(self, pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass        # a scan that has ended

    def tick(self):
        if not self.has_sign and not self.victims & set(server.drivers()):
            self.begin()

    def is_well(self):
        """Who was not asked anything since is still stopped, and would not see the server's end."""
        is_well = super().is_well()
        for pid in self.victims & set(server.drivers()) if is_well else ():
            self.signal(pid, signal.SIGCONT)
        return is_well


class Reload(Fault):
    holds, needs = ("configuration",), ("server",)
    sign = "event=reloaded"

    def change(self):
        for name in sorted(server.maps):
            if name.endswith("_ask") and self.pick.random() < 0.3:
                server.maps[name]["refresh"] = "%dms" % self.pick.randrange(1000, 1500)
        if server.maps.pop("extra", None) is None:
            server.maps["extra"] = dict(server.maps["lite_trust"],
                                        result_format="<%%s> %d" % self.pick.randrange(9))
        server.daemon["log_level"] = self.pick.choice(("info", "debug"))

    def begin(self):
        self.change()
        server.write()

    def tick(self):
        for _ in range(self.pick.randrange(20)):
            server.signal(signal.SIGHUP)
        if self.pick.random() < 0.2:
            self.begin()


class BadReload(Reload):
    sign = "event=reload_refused"

    def mend(self):
        server.daemon.pop("thraeds", None)
        server.maps.pop("bad", None)

    def change(self):
        self.mend()
        if self.pick.random() < 0.5:
            server.daemon["thraeds"] = 3
        else:
            server.maps["bad"] = self.pick.choice(("garbage {", "source = \"none\";", ""))

    def heal(self):
        self.mend()
        server.write()
        self.n = len(server.events("reloaded"))

    def is_well(self):
        """The signal is repeated, as lines that come too often are not written."""
        server.signal(signal.SIGHUP)
        return len(server.events("reloaded")) > self.n and super().is_well()


class Death(Fault):
    """kill -9, and a start. What was on disk answers again, whatever has become of the directories."""
    holds, needs, lasts = ("server",), ("configuration",), (0, 0.5)

    def begin(self):
        judge.stopped()
        ghosts.update(server.drivers())
        server.signal(signal.SIGKILL)
        server.process.wait()
        self.on_disk = {m for m, (_, kind) in judge.kinds.items()
                        if kind.is_steady and os.path.exists(snapshot(m))}

    def heal(self):
        server.start()
        judge.is_started()

    def is_well(self):
        return all(judge.found.get(m, 0) > self.healed for m in self.on_disk) and \
            are_well(DIRECTORIES, self.healed)


class Damage(Death):
    """The files are not what they were."""
    sign = "event=snapshot_rejected"
    holds = ("server", "disk")

    def begin(self):
        super().begin()
        files = sorted(glob.glob(server.state + "/*.snapshot"))
        for path in self.pick.sample(files, (len(files) + 2) // 3):
            map = os.path.basename(path).split(".")[0]
            with open(path, "r+b") as f:
                data = bytearray(f.read())
                at = self.pick.randrange(len(data))
                if self.pick.random() < 0.5:
                    f.truncate(at)
                else:
                    f.seek(at)
                    f.write(bytes([data[at] ^ 1 << self.pick.randrange(8)]))
            self.on_disk.discard(map)
            damaged.add(map)
        super().heal()

    def heal(self): pass


class ReadOnly(Death):
    """It starts on a disk that cannot be written to, until it can."""
    sign = "event=snapshots_off"
    holds, lasts = ("server", "disk"), (1, 2)

    def begin(self):
        super().begin()
        mount("remount,ro")
        super().heal()

    def heal(self):
        mount("remount,rw")

    def is_well(self):
        return is_written_since(self.healed) and super().is_well()


class Replaced(Fault):
    """--replace. It may only fail when a directory cannot be reached."""
    holds, needs, lasts = ("server",), ("configuration",), (0, 0)
    sign = "event=took_over"

    def begin(self):
        judge.handover.begin()
        self.old, self.is_excused = server.process, False
        ghosts.update(server.drivers())
        self.new = server.spawn("--replace")

    def tick(self):
        self.is_excused |= any(isinstance(f, OfDirectory) for f in active)
        if self.new.poll() is not None:
            self.has_happened, self.has_sign = False, True
            server.process = self.old
            if not self.is_excused:
                judge.complain("no server could be replaced: status", self.new.poll())

    def is_well(self):
        if self.has_happened and self.old.poll() is None or \
                not are_well(DIRECTORIES, self.healed):
            return False
        if self.old.poll():
            judge.complain("a server that was replaced ends with status", self.old.poll())
        judge.handover.end()
        return True


class DiskFull(Fault):
    holds = ("disk",)
    sign = "event=snapshot_failed"

    def begin(self):
        with open(server.state + "/filler", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

    def heal(self):
        os.unlink(server.state + "/filler")

    def is_well(self):
        return is_written_since(self.healed)


class Idlers(Fault):
    """Who does not end a request that was begun is left, and so is who never reads."""
    needs = ("server",)
    sign = "event=client_closed .*not finished in time"

    def begin(self):
        self.clients = []
        for listener in server.listeners:
            is_tcp = listener["protocol"] == "tcp_table"
            for part in (b"g", b"get some", b"get %") if is_tcp else (b"3", b"12:abc", b"4:x y,20:"):
                self.clients.append(connect(listener["address"]))
                self.clients[-1].sendall(part)
        self.clients.append(connect(server.listeners[0]["address"]))
        self.clients[-1].settimeout(0.1)
        try:
            while True:
                self.clients[-1].sendall(Client.request("lite_trust", MOVERS[0]) * 500)
        except OSError:
            pass

    def is_well(self):
        for c in [c for c in self.clients if is_hung_up(c)]:
            c.close()
            self.clients.remove(c)
        return not self.clients


class Resets(Fault):
    """Connections that vanish, questions open, replies unread."""
    needs = ("server",)

    def tick(self):
        for _ in range(10):
            listener = self.pick.choice(server.listeners)
            key = self.pick.choice(("n%d@%s" % (self.pick.randrange(1 << 40), DOMAIN), MOVERS[0]))
            c = connect(listener["address"])
            c.sendall(20 * (b"get %s\n" % key.encode() if listener["protocol"] == "tcp_table" else
                            Client.request(self.pick.choice(sorted(judge.kinds)), key)))
            reset(c)


class SlowReaders(Fault):
    needs = ("server",)

    def begin(self):
        steady = sorted(m for m, (_, kind) in judge.kinds.items() if kind.is_steady)
        self.readers = ask_all(SlowReader, server.listeners[:3], steady, self.pick.random())

    def is_well(self):
        return not any(r.is_alive() for r in self.readers)


def faults():
    """All kinds: {name: (class, arguments)}"""
    all = {"lite_locked": (Locked, lite), "drivers_killed": (Drivers, signal.SIGKILL, "process (was killed|hung up)"),
           "drivers_stopped": (Drivers, signal.SIGSTOP, "deadline missed|scan stalled"),
           "sighup": (Reload,), "sighup_bad": (BadReload,), "killed": (Death,),
           "damaged": (Damage,), "read_only": (ReadOnly,), "replaced": (Replaced,),
           "disk_full": (DiskFull,), "idlers": (Idlers,), "resets": (Resets,),
           "slow_readers": (SlowReaders,)}
    for d in DIRECTORIES:
        all[d.name + "_empty"] = (Hidden, d, "all")
        all[d.name + "_shrunken"] = (Hidden, d, "half")
    for d in ldap, db:
        all[d.name + "_stopped"] = (Stopped, d)
        all[d.name + "_killed"] = (Killed, d)
        all[d.name + "_stalled"] = (Network, d, "stall")
        all[d.name + "_trickling"] = (Network, d, "trickle")
        all[d.name + "_reset"] = (Network, d, "rst_after", (0, 20, 200, 2000, 10000))
        all[d.name + "_slow"] = (Slow, d, "slow")
    return all


def schedule():
    """
    Without end: all kinds, in another order each time. In half of the rounds the server lives on,
    so that leaks have time to show.
    """
    pick = random.Random(seed)
    is_deadly = True
    while True:
        for name in pick.sample(sorted(faults()), len(faults())):
            cls, *arguments = faults()[name]
            its_own = random.Random(pick.random())
            if is_deadly or "server" not in cls.holds:
                yield cls(name, its_own, *arguments)
        is_deadly = pick.random() < 0.5


# --- what is seen -------------------------------------------------------------------------------

class Tail:
    """The log as it grows."""

    def __init__(self):
        self.at, self.rest, self.refreshed = 0, "", {}

    def read(self):
        with open(server.logfile, errors="replace") as f:
            f.seek(self.at)
            lines = (self.rest + f.read()).split("\n")
            self.at, self.rest = f.tell(), lines[-1]
        for line in lines[:-1]:
            found = re.search(r"event=refreshed map=(\w+) ", line)
            if found:
                self.refreshed[found[1]] = time.monotonic()
            for f in active:
                f.has_sign = f.has_sign or bool(re.search(f.sign, line))


def snapshot(map):
    return "%s/%s.0.snapshot" % (server.state, map)


def mount(options):
    found = run("mount", "-o", options, server.state)
    if found.returncode:
        judge.complain("mount fails:", found.stderr)


def is_written_since(when):
    """Has any snapshot been written?"""
    since = time.time() - (time.monotonic() - when)
    return any(os.stat(f).st_mtime > since for f in glob.glob(server.state + "/*.snapshot"))


def are_well(directories, since):
    """Lookups and scans of all these work, unless something else is wrong with them."""
    bad = {d for f in active if f.is_raging for d in f.directories}
    return all(judge.found.get(m, 0) > since and judge.good.get(m, 0) > since and
               (not kind.is_mirror or tail.refreshed.get(m, 0) > since)
               for m, (d, kind) in judge.kinds.items() if d in directories and d not in bad)


def ask_all(cls, listeners, maps, seed):
    """A client for each."""
    return [cls(judge, l["address"], [l["map"]] if "map" in l else maps, "%s %d" % (seed, i),
                "map" in l) for i, l in enumerate(listeners)]


CONDITION = "descriptors", "threads", "drivers", "memory"


def condition():
    return server.descriptors(), server.threads(), len(server.drivers()), server.rss()


# --- the loop -------------------------------------------------------------------------------------

def step(f, now):
    """False: it is over."""
    is_late = now > (f.began if f.is_raging else f.healed) + RECOVERY
    if f.is_raging:
        f.tick()
        if is_late:
            judge.complain(f.name, "is not noticed")
        if is_late or now > f.least and f.has_sign:
            f.heal()
            f.healed, f.is_raging = time.monotonic(), False
        return True
    if not is_late and not f.is_well():
        return True
    if is_late:
        judge.complain(f.name, "is over, but not all is well:", vars(f))
    note("%6.1f %s%s for %.1f s, well after %.1f s" % (
        f.began - began, f.name, "" if f.has_happened else " in vain", f.healed - f.began,
        now - f.healed))
    return False


def is_free(f):
    """Is nothing that it holds in use, and nothing that it needs held?"""
    return not any(set(a.holds) & {*f.holds, *f.needs} or set(a.needs) & set(f.holds)
                   for a in active)


def rage():
    """Provoke and heal until time is over; {name: how often}."""
    happened = collections.Counter()
    coming = schedule()
    f, end = next(coming), time.monotonic() + seconds
    while True:
        now = time.monotonic()
        is_enough = is_brief and set(happened) == set(faults())
        is_over = now > end or is_enough or len(judge.wrong) > 20
        if not active and is_over:
            return happened
        if not is_over and len(active) < AT_ONCE and is_free(f):
            active.append(f)
            f.start()
            f = next(coming)
        tail.read()
        for a in list(active):
            if not step(a, time.monotonic()):
                active.remove(a)
                happened.update([a.name] * a.has_happened)
        if server.process.poll() is not None and not judge.is_stopped:
            judge.complain("the server died: status", server.process.poll())
            return happened
        time.sleep(0.03)


def sweep():
    """Every key on every map: what is not the truth, now that nothing changes."""
    wrong = []
    with server.client() as c:
        for map, (directory, _) in sorted(judge.kinds.items()):
            truth = list((VALUES | directory.entry | {"n1@" + DOMAIN: None}).items())
            for at in range(0, len(truth), 50):
                some = truth[at:at + 50]
                c.send(b"".join(Client.request(map, key) for key, _ in some))
                for key, value in some:
                    reply = c.read()
                    if reply != ("OK " + value if value else "NOTFOUND "):
                        wrong.append((map, key, reply, value))
    return wrong


ldap, db, lite = DIRECTORIES = Ldap(seed), Db(seed), Lite(seed)
NETWORKS = {d.name: FaultProxy(d.server.port) for d in (ldap, db)}
server = configure()
judge = Judge({"%s_%s" % (d.name, k): (d, kind) for d in DIRECTORIES for k, kind in KINDS.items()})
active, ghosts, damaged, tail = [], set(), set(), Tail()
os.mkdir(server.state, 0o700)
ok(run("mount", "-t", "tmpfs", "-o", "size=4m,mode=0700", "none", server.state).returncode == 0,
   "root may mount a tmpfs")
atexit.register(run, "umount", "-l", server.state)

with server:
    askers = ask_all(Asker, server.listeners[:1] * 2 + server.listeners, sorted(judge.kinds), seed)
    for d in DIRECTORIES:
        d.thread.start()

    def is_calm():
        tail.read()
        return are_well(DIRECTORIES, calm_since)
    calm_since = began
    ok(wait_for(is_calm, 30), "all is well before", judge.found, judge.good, tail.refreshed)
    before = condition()
    note("%.1f s until the first fault" % (time.monotonic() - began))
    happened = rage()
    if not same(judge.wrong[:10], [], "nothing wrong was said"):
        note("SEED=%d" % seed)
        done()

    for d in DIRECTORIES:
        d.stop()
    calm_since = time.monotonic()
    ok(wait_for(is_calm, 30), "all is well afterwards")
    wrong = []

    def is_true():
        wrong[:] = sweep()
        return not wrong
    ok(wait_for(is_true, 20), "all maps tell the truth", len(wrong), wrong[:5])

    def grown():
        """What is more than at the beginning, and more than comes and goes."""
        return [w for w, was, now, more in zip(CONDITION, before, condition(), (8, 0, 4, before[3]))
                if now > was + more and not (w == "memory" and SLOW > 1)]
    ok(wait_for(lambda: not grown(), 20), "nothing has grown: " + ", ".join(CONDITION), before,
       condition())
    note("%s, %s" % (before, condition()))
    for a in askers:
        a.stop()
    same([p for p in server.drivers() if stat_fields(p)[0] == "Z"], [], "no zombie")
    files = {"%s.0.snapshot" % m for m in server.maps} | {"%s.0.snapshot.bad" % m for m in damaged}
    same(sorted(set(os.listdir(server.state)) - files), ["lock"], "no file is left over")
    same(os.listdir(server.dir + "/run"), ["s"], "nor a socket")

ok(wait_for(lambda: not any(map(is_running, ghosts))), "nor a driver process of any server")
same(judge.wrong[:10], [], "nothing wrong in %d requests" % sum(a.n for a in askers))
same(sorted(set(faults()) - set(happened)), [], "each fault has happened")
least = {"FOUND": 100, "NOTFOUND": 20}
same([m for m, n in judge.verdicts.items() if any(n[v] < least[v] for v in least)], [],
     "each map has found, and has not")
for map, n in judge.verdicts.items():
    note("%s: %s" % (map, dict(n)))
note("%d faults: %s" % (sum(happened.values()), dict(happened)))
note("%d changes; SEED=%d; %.0f s" % (sum(d.n_changes for d in DIRECTORIES), seed,
                                      time.monotonic() - began))
done()

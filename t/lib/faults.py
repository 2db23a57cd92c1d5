"""
What must hold whatever happens to a directory: a Fault is something that happens to it, a Case has
a source that suffers it, a Watch is kept on the driver processes meanwhile.
"""
import threading
import time

from harness import *

ROWS = 600
PAD = "x" * 200     # a scan is about 140 kB, more than a driver keeps to itself
DEADLINE = 1        # seconds; of the maps
KNOWN = {"user%d@d.example" % i: "OK box%d-%s" % (i, PAD) for i in range(1, ROWS + 1)}
HIT, MISSING = "user1@d.example", "nobody@d.example"
KINDS = "demand", "ask", "trust"
MID_SCAN = r"refresh_failed .*rows=[1-9]\d+ why="    # a part of it had been sent to the server


def maps(name, table, mirror, max_age):
    """
    One table three times: looked up, mirrored and asked for the rest, mirrored and trusted.
    `table` has the settings of all, `mirror` more of the mirrors; `max_age` is the one of those
    that become STALE.
    """
    table = dict({"source": name, "search": "exact", "deadline": "%ds" % DEADLINE, "ttl": "1h",
                  "negative_ttl": "0"}, **table)
    # What guards against scans that were cut short is off: none must ever get so far.
    mirror = dict(table, mode="mirror", **{"min_entries": 0, "max_shrink": 100, **mirror})
    return {name + "_demand": table, name + "_ask": dict(mirror, max_age=max_age),
            name + "_trust": dict(mirror, on_miss="notfound", max_age="1h")}


class Fault:
    """
    `begin` and `end` it. `saw` is what the log says of it. `stops` is what does not work
    meanwhile: "all", "scans", or "nothing"; or "truth": lookups are told by the directory that
    nothing is there. Lookups may fail in each, but for a moment only. `provoke` is called all
    the time meanwhile. `table` and `source` are settings of the case's own.
    """

    def __init__(self, begin, end, saw, stops="all", table={}, provoke=lambda: None, **source):
        self.begin, self.end, self.saw, self.stops = begin, end, saw, stops
        self.table, self.provoke, self.source = table, provoke, source


class Case:
    """
    One source with its maps NAME_demand, NAME_ask and NAME_trust; every reply is judged, also those
    to a prober that asks all the time. `add(key)` adds a row with the value "late" to the
    directory.
    """

    def __init__(self, server, name, fault, add):
        self.server, self.name, self.fault, self.add_row = server, name, fault, add
        self.cold, self.late = HIT, 0   # a key that exists and that was not asked for yet
        self.known = dict(KNOWN)
        self.has_copies = self.is_over = False
        self.wrong = []
        self.prober = threading.Thread(target=self.probe)

    def __enter__(self):
        self.prober.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.prober.join()
        self.judge("nothing wrong was ever said")

    def note(self, *what):
        self.wrong.append(" ".join(map(str, what)))

    def ask(self, kind, key, *allowed):
        """Ask once. The truth is always right, and TEMP, unless `allowed` says otherwise."""
        truth = self.known.get(key, "NOTFOUND ")
        has_copy = self.has_copies and kind != "demand" and key in KNOWN
        begin = time.monotonic()
        reply = self.server.ask(self.name + "_" + kind, key) or "EOF"
        took = time.monotonic() - begin
        if reply != truth and (has_copy or not reply.startswith("TEMP ")) or \
                allowed and not reply.startswith(allowed):
            self.note(kind, key, "is told", reply)
        if took > DEADLINE + 3 * SLOW:
            self.note(kind, key, "waits for", took)
        return reply

    def probe(self):
        """All the time, whatever goes on."""
        while not self.is_over:
            for kind in KINDS[self.fault.stops == "truth":]:
                for key in HIT, MISSING:
                    self.ask(kind, key)
            time.sleep(0.5)

    def becomes(self, kind, key, want, seconds=30):
        return wait_for(lambda: self.ask(kind, key).startswith(want) or time.sleep(0.03), seconds)

    def log(self, since):
        is_ours = re.compile("(source=%s|map=%s_(%s))( |$)" % (self.name, self.name,
                                                               "|".join(KINDS)))
        return "\n".join(filter(is_ours.search, self.server.log()[since:].splitlines()))

    def is_seen(self, since):
        log = self.log(since)
        failed = [re.search(r"refresh_(failed|rejected) map=%s_%s " % (self.name, m), log)
                  for m in KINDS[1:]]
        return re.search(self.fault.saw, log) and (self.fault.stops == "nothing" or all(failed))

    def ask_until(self, ask, is_over, seconds=30):
        """Ask often at first, then seldom; see how it is going, and provoke, all the time."""
        begin, rounds = time.monotonic(), 0

        def step():
            nonlocal rounds
            if time.monotonic() - begin >= (0.05 * rounds if rounds < 4 else 2.5 * (rounds - 3)):
                ask()
                rounds += 1
            self.fault.provoke()
            time.sleep(0.1)
            return is_over()
        return wait_for(step, seconds)

    def judge(self, why):
        wrong, self.wrong = self.wrong, []
        ok(not wrong, "%s: %s" % (self.name, why), wrong[:8], self.log(0)[-1500:])

    def check_empty(self):
        """The fault was there first."""
        def ask():
            for kind in KINDS if self.fault.stops == "all" else KINDS[1:]:
                for key in HIT, MISSING:
                    self.ask(kind, key, "TEMP ")

        if self.fault.stops == "nothing":
            return self.check_works(" from the start")
        ok(self.ask_until(ask, lambda: self.is_seen(0)), self.name + ": the log says what is wrong",
           self.log(0))
        self.judge("while nothing is known, all is TEMP")

    def check_during(self, since):
        stops = self.fault.stops
        stale = stops != "all"      # is the copy? It will be, unless lookups help it out

        def ask():
            nonlocal stale
            for kind in KINDS:
                self.ask(kind, HIT, "OK ")
            for kind in KINDS[1:]:
                self.ask(kind, self.cold, "OK ")
            self.ask("trust", MISSING, "NOTFOUND ")
            for key in (self.cold, MISSING) if stops != "truth" else ():
                self.ask("demand", key, *["TEMP "] if stops == "all" else [])
            stale = stale or self.ask("ask", MISSING).startswith("TEMP ")

        ok(self.ask_until(ask, lambda: stale and self.is_seen(since)),
           self.name + ": the log says it again", self.log(since))
        self.judge("known is known, absent by a fresh copy is absent, the rest is TEMP")
        if stops in ("scans", "nothing"):
            new = self.add()
            ok(self.becomes("demand", self.cold, "OK ") and
               self.becomes("demand", MISSING, "NOTFOUND ") and
               self.becomes("ask", MISSING, "NOTFOUND ") and
               self.becomes("ask", new, "OK "), self.name + ": lookups go on")
        if stops == "nothing":
            self.check_works(" meanwhile")

    def add(self):
        """A new key, in the directory from now on."""
        self.late += 1
        late = "late%d-%s@d.example" % (self.late, self.name)
        self.add_row(late)
        self.known[late] = "OK late"
        return late

    def check_works(self, when=""):
        """The whole table is there, by lookups and by a scan that begins now."""
        reply = self.server.wait_for_reply(self.name + "_trust", self.add(), "^OK", 30)
        ok(reply == "OK late", "%s: scans work%s" % (self.name, when), reply, self.log(0)[-1500:])
        for kind in KINDS:
            for key, want in (HIT, "OK "), (self.cold, "OK "), (MISSING, "NOTFOUND "):
                if not self.becomes(kind, key, want):
                    self.note(kind, key, "is", self.ask(kind, key))
        self.has_copies = True
        self.cold = "user%d@d.example" % (self.late + 100)
        for e in self.server.events("refreshed", source=self.name):
            if not ROWS <= int(e["entries"]) <= ROWS + 1000:
                self.note("a scan of", e["entries"], "rows was believed")
        self.judge("all is well" + when)

    def suffer(self):
        since = len(self.server.log())
        self.fault.begin()
        try:
            self.check_during(since)
        finally:
            self.fault.end()
        self.check_works(" afterwards")

    def live(self):
        """All of it: the fault was there first, goes, comes again, and goes."""
        with self:
            self.check_empty()
            self.fault.end()
            self.check_works()
            self.suffer()


class Watch:
    """
    Over the shoulders of the driver processes: none takes more than a part of a CPU for any time,
    none that has ended is left.
    """
    WINDOW, LIMIT = 2.5, 0.6 * (1 if SLOW == 1 else 3)      # seconds, also of CPU

    def __init__(self, server):
        self.server, self.is_over = server, False
        self.busy, self.dead, self.left, self.past = {}, {}, set(), {}
        self.thread = threading.Thread(target=self.run)

    def look(self, now):
        tick = os.sysconf("SC_CLK_TCK")
        for pid in self.server.drivers():
            fields = stat_fields(pid)
            if fields[:1] == ["Z"]:
                if now - self.dead.setdefault(pid, now) > 5 * SLOW:
                    self.left.add(pid)
            elif fields:
                cpu = (int(fields[11]) + int(fields[12])) / tick
                past = self.past.setdefault(pid, [(now - 0.3, 0)])
                past.append((now, cpu))
                while past[1][0] < now - self.WINDOW:
                    del past[0]
                self.busy[pid] = max(self.busy.get(pid, 0), cpu - past[0][1])

    def run(self):
        while not self.is_over:
            self.look(time.monotonic())
            time.sleep(0.3)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()
        self.thread = None
        spun = {p: t for p, t in self.busy.items() if t > self.LIMIT}
        ok(self.busy and not spun, "no driver process spins", spun)
        ok(not self.left, "none that has ended is left", self.left)
        most = sum(s.get("connections", 4) + 1 for s in self.server.sources)
        ok(wait_for(lambda: len(self.server.drivers()) <= most),
           "there are no more than there may be", most)    # some are just about to end
        note("%d driver processes, the busiest took %.2f s of CPU in %.1f s" % (
            len(self.busy), max(self.busy.values()), self.WINDOW))

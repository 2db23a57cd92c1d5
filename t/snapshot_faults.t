#!/usr/bin/env python3
"""
Disks that are full, broken or gone, servers that are killed at any moment, and clocks that jump: the
next start answers from the old snapshot or the new one, never from a mix, and loses no address.
"""
import atexit
import glob
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, "t/lib")
from harness import *

DEAD = "hello * exit 1"
KEYS = ["user%d@here.test" % i for i in range(2000)]
seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1 << 32)))
note("SEED=%d" % seed)
pick = random.Random(seed)


class Generations:
    """A directory whose values all say of which generation they are."""

    def __init__(self, server):
        self.directory = Directory(server.dir)
        self.last = 0
        self.next()

    def next(self):
        self.last += 1
        rows = {k: "g%d" % self.last for k in KEYS}
        rows["only%d@here.test" % self.last] = "g%d" % self.last
        self.directory.rows(rows)


def make(maps=("m",), **daemon):
    server = Server(**dict({"log_level": "debug", "snapshot_interval": "100ms"}, **daemon))
    generations = Generations(server)
    server.sources = [generations.directory.source()]
    server.maps = {m: {"source": "fake", "search": "exact", "mode": "mirror", "refresh": "1s",
                       "max_age": "1h", "on_miss": "notfound"} for m in maps}
    return server, generations


def file(server, map):
    return "%s/%s.0.snapshot" % (server.state, map)


def generation(server, map):
    """The only one whose values all keys have, and whose own key is there; else what is wrong."""
    with server.client() as c:
        c.send(b"".join(Client.request(map, k) for k in KEYS))
        replies = {c.read() for _ in KEYS}
        if len(replies) != 1:
            return "a mix: %s" % sorted(map_ or "EOF" for map_ in replies)[:5]
        found = re.fullmatch(r"OK g(\d+)", replies.pop() or "")
        if not found:
            return "lost"
        n = int(found[1])
        wrong = [i for i in range(max(1, n - 20), n + 3) if
                 (c.ask(map, "only%d@here.test" % i) == "OK g%d" % i) != (i == n)]
        return "has keys of others than %d: %s" % (n, wrong) if wrong else n


def kill(server):
    server.signal(signal.SIGKILL)
    server.process.wait()
    server.is_stopped = True


def start_dead(server, generations, maps):
    """Start without the directory; the generation of each map. Kills it again."""
    generations.directory.script(DEAD)
    n = len(server.events("snapshot_restored"))
    server.start()
    ok(wait_for(lambda: len(server.events("snapshot_restored")) >= n + len(maps)),
       "all is restored", server.log()[-1000:])
    found = {m: generation(server, m) for m in maps}
    kill(server)
    generations.directory.script("")
    return found


# --- the disk ---------------------------------------------------------------------------------------

def mount(path, options):
    """A small file system for this test."""
    os.mkdir(path, 0o700)
    if run("mount", "-t", "tmpfs", "-o", options, "none", path).returncode:
        ok(False, "root may mount a tmpfs", options)
        done()
    atexit.register(run, "umount", "-l", path)


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while True:
                f.write(b"x" * 4096)
        except OSError:
            pass


def check_full_disk():
    server, generations = make()
    mount(server.state, "size=1m,mode=0700")
    with server:
        ok(server.wait_for_event("snapshot_written"), "written while there is room")
        before = os.stat(file(server, "m")).st_mtime_ns
        fill(server.state + "/filler")
        generations.next()
        found = server.wait_for_event("snapshot_failed")
        like(found and found["why"], "No space left", "a full disk: told")
        tries = set()       # each makes a file and removes it again
        ok(wait_for(lambda: tries.add(os.stat(server.state).st_mtime_ns) or len(tries) > 3),
           "and tried again")
        same(len(server.events("snapshot_failed")), 1, "once, however often it is tried")
        same(server.wait_for_reply("m", KEYS[0], "OK g2"), "OK g2", "the new copy answers")
        same(os.stat(file(server, "m")).st_mtime_ns, before, "the old file is left alone")
        same(sorted(os.listdir(server.state)), ["filler", "lock", "m.0.snapshot"],
             "and nothing is left beside it")
        kill(server)
        same(start_dead(server, generations, ["m"]), {"m": 1}, "a restart has the old one, whole")
        server.start()
        ok(server.wait_for_event("snapshot_failed", 2), "it goes on failing")
        os.unlink(server.state + "/filler")
        before = len(server.events("snapshot_written"))
        ok(server.wait_for_event("snapshot_written", before + 1), "until there is room again")
    same(start_dead(server, generations, ["m"]), {"m": 2}, "a restart has the new one")
    run("mount", "-o", "remount,ro", server.state)
    with server:
        found = server.wait_for_event("snapshots_off")
        like(found and found["why"], "Read-only", "a read-only disk: told")
        same(server.wait_for_reply("m", KEYS[0], "OK"), "OK g2", "it is restored from")


# --- system calls ------------------------------------------------------------------------------------

# What strace does to which call of the writer; which generation a restart may find: the old
# one (0) or the new one (1).
INJECTIONS = [
    ("write:error=EIO", {0}), ("fsync:error=EIO:when=1+2", {0}),
    ("fsync:error=EIO:when=2+2", {1}), ("renameat:error=EIO", {0}),
    ("write:signal=KILL", {0}), ("fsync:signal=KILL:when=1", {0}), ("renameat:signal=KILL", {0, 1}),
    ("fsync:signal=KILL:when=2", {1}),
]


def attach(server, injection):
    """strace on all threads of the server, which write more than snapshots."""
    p = subprocess.Popen(["strace", "-f", "-p", str(server.pid), "-o", server.dir + "/strace",
                          "-P", server.state, "-P", file(server, "m") + ".new", "-e", "trace=write,fsync,renameat", "-e", "inject=" + injection],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                         preexec_fn=die_with_parent)
    def is_attached():
        for t in os.listdir("/proc/%d/task" % server.pid):
            with open("/proc/%d/task/%s/status" % (server.pid, t)) as f:
                if not re.search(r"^TracerPid:\s+%d$" % p.pid, f.read(), re.M):
                    return False
        return True
    ok(wait_for(is_attached), "strace is attached for " + injection)
    return p


def check_system_calls():
    server, generations = make()
    server.start()
    ok(server.wait_for_event("snapshot_written"), "the first file")
    for injection, allowed in INJECTIONS:
        strace = attach(server, injection)
        old = generations.last
        failed = len(server.events("snapshot_failed"))
        generations.next()
        if "KILL" in injection:
            ok(wait_for(lambda: server.process.poll() is not None), injection + ": dies of it")
        else:
            ok(server.wait_for_event("snapshot_failed", failed + 1), injection + ": told")
            same(server.wait_for_reply("m", KEYS[0], "OK"), "OK g%d" % generations.last,
                 injection + ": answers go on")
        kill(server)
        strace.wait()
        found = start_dead(server, generations, ["m"])["m"]
        ok(found in {old + a for a in allowed}, "%s: a restart has the old or the new one, whole" %
           injection, found, old)
        written = len(server.events("snapshot_written"))
        server.start()
        ok(wait_for(lambda: server.ask("m", KEYS[0]) == "OK g%d" % generations.last),
           injection + ": the next server refreshes")
        ok(server.wait_for_event("snapshot_written", written + 1), injection + ": and writes")
    same(server.stop(), None, "the server stops cleanly")
    same(server.events("snapshot_rejected"), [], "no file was ever damaged")
    same(sorted(os.listdir(server.state)), ["lock", "m.0.snapshot"], "nothing is left behind")


# --- death --------------------------------------------------------------------------------------------

def check_kills():
    maps = ["m", "n", "o"]
    server, generations = make(maps)
    is_over = threading.Event()

    def change():
        while not is_over.wait(0.05):
            generations.next()
    server.start()
    ok(wait_for(lambda: all(os.path.exists(file(server, m)) for m in maps)), "all files are there")
    changer = threading.Thread(target=change)
    changer.start()
    least = dict.fromkeys(maps, 1)
    wrong = []
    for i in range(10):
        before = {m: os.stat(file(server, m)).st_mtime_ns for m in maps}
        time.sleep(pick.uniform(0, 1.3))
        if i == 9:
            ok(wait_for(lambda: all(os.stat(file(server, m)).st_mtime_ns > before[m] for m in maps),
                        30), "at last all files are new ones")
        kill(server)
        found = start_dead(server, generations, maps)
        wrong += ["%d: %s: %s after %s" % (i, m, g, least[m]) for m, g in found.items()
                  if not isinstance(g, int) or g < least[m]]
        least.update({m: g for m, g in found.items() if isinstance(g, int)})
        server.start()
    is_over.set()
    changer.join()
    same(wrong, [], "killed at any moment: each map is whole, and never older than before")
    ok(min(least.values()) > 1, "and new files were written", least)
    same(server.stop(), None, "the server stops cleanly")
    same(server.events("snapshot_rejected"), [], "no file was ever damaged")
    same(sorted(os.listdir(server.state)), ["lock"] + ["%s.0.snapshot" % m for m in maps],
         "nothing is left behind")


# --- the wall clock -----------------------------------------------------------------------------------

def check_clock():
    library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    if not ok(library, "libfaketime is installed"):
        return
    server, generations = make(start_wait="1s")
    directory = generations.directory
    server.maps["young"] = dict(server.maps["m"], refresh="1h")
    server.maps["asked"] = {"source": "fake", "search": "exact", "mode": "demand", "ttl": "1h",
                            "negative_ttl": "1h"}
    server.env = {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": server.dir + "/offset",
                  "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    none = "none@here.test"
    questions = [(m, k) for m in server.maps for k in (KEYS[0], none)]

    def answers():
        return {q: server.ask(*q) for q in questions}
    replace(server.dir + "/offset", "+0\n")
    with server:
        server.wait_for_event("ready")
        for m in server.maps:
            server.wait_for_reply(m, KEYS[0], "OK")
            server.ask(m, none)
        before = answers()
        same(set(before.values()), {"OK g1", "NOTFOUND "}, "before the clock jumps")
    with server:
        same(server.wait_for_event("ready", 2) and answers(), before, "after a restart, too")
        for offset in ("+365d", "-365d", "+1h", "-1h"):
            replace(server.dir + "/offset", offset + "\n")
            same(answers(), before, "%s: no answer changes" % offset)
            scans = len(directory.activity("scan"))
            ok(wait_for(lambda: len(directory.activity("scan")) > scans),
               "%s: refreshes go on" % offset)
        replace(server.dir + "/offset", "+0\n")
        n = len(server.events("snapshot_written", map="m"))
        ok(server.wait_for_event("snapshot_written", n + 1, map="m"), "written by the right time")
    directory.script(DEAD)
    for offset, wanted, missing in (
            ("-365d", {("young", KEYS[0]): "OK", ("young", none): "TEMP",
                       ("asked", KEYS[0]): "OK", ("asked", none): "TEMP"}, None),
            ("+365d", dict.fromkeys(questions, "TEMP"), "m young")):
        replace(server.dir + "/offset", offset + "\n")
        n, n_ready = len(server.events("snapshot_restored")), len(server.events("ready"))
        server.start()
        ok(server.wait_for_event("snapshot_restored", n + len(server.maps)), "%s: restored" % offset)
        got = {q: (server.ask(*q) or "EOF").partition(" ")[0] for q in wanted}
        same(got, wanted, "a start at %s: doubt is TEMP, never NOTFOUND" % offset)
        ready = server.wait_for_event("ready", n_ready + 1) or {"missing": "ready"}
        same(ready.get("missing"), missing, "and a copy that has expired is none")
        kill(server)


check_full_disk()
check_system_calls()
check_kills()
check_clock()
done()

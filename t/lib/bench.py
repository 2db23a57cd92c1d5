"""What benchmarks share: the table they print, the load they make, a directory of 1 M rows."""
import os
import sqlite3
import statistics
import subprocess
import sys

from harness import BUILD

ENTRIES = 1000000
DATABASE = os.path.abspath(BUILD + "/bench/bench.sqlite")
TABLE = {"search": "virtual", "source": "db", "mode": "mirror", "on_miss": "notfound",
         "query": "SELECT goto FROM alias WHERE address = '%s'",
         "scan_query": "SELECT address, goto FROM alias", "refresh": "1h"}
CPUS = sorted(os.sched_getaffinity(0))
SERVER_CPU, LOAD_CPU = {CPUS[0]}, {CPUS[-1]}


def note(text):
    print("# " + text, flush=True)


def row(what, value, wanted=""):
    print("%-66s %-24s %s" % (what, value, wanted), flush=True)


def make_database():
    if os.path.exists(DATABASE):
        return
    note("making %s" % DATABASE)
    os.makedirs(os.path.dirname(DATABASE), exist_ok=True)
    with sqlite3.connect(DATABASE + ".new") as db:
        db.executescript("""
            CREATE TABLE alias (address TEXT PRIMARY KEY, goto TEXT) WITHOUT ROWID;
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < %d - 1)
            INSERT INTO alias SELECT printf('user%%07d@bench.example', i),
                                     printf('box%%07d@store.example', i) FROM n;
            """ % ENTRIES)
    db.close()
    os.rename(DATABASE + ".new", DATABASE)


def pinned(cpus, function, *args, **kw):
    """Call it with this process, and thus what it starts, on these CPUs."""
    os.sched_setaffinity(0, cpus)
    try:
        return function(*args, **kw)
    finally:
        os.sched_setaffinity(0, CPUS)


def load(address, *options):
    """Run the load generator; its numbers."""
    out = pinned(LOAD_CPU, subprocess.run, [BUILD + "/bench/load", *map(str, options), address],
                 stdout=subprocess.PIPE, text=True, check=True).stdout
    return {k: float(v) for k, v in (f.split("=") for f in out.split())}


def median(runs, what):
    return statistics.median(r[what] for r in runs)


def wait_until_loaded(server, n=1, seconds=120):
    refreshed = server.wait_for_event("refreshed", n, seconds, map="bench")
    if not refreshed:
        sys.exit("the map was not loaded:\n" + server.log()[-2000:])
    return refreshed


def peak(pid):
    """The greatest memory a process ever had, in MB; 0 when it is gone."""
    try:
        with open("/proc/%d/status" % pid) as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("VmHWM:")) / 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0


def refresh(server, n, entries):
    """Seconds that the n-th scan took, by the log."""
    e = server.wait_for_event("refreshed", n, 60)
    if not e or int(e["entries"]) != entries:
        sys.exit("a scan failed:\n" + server.log()[-2000:])
    return int(e["took"].removesuffix("ms")) / 1000


def against(what, server, entries, theirs, pairs, wanted):
    """The first refresh is done; set those that follow beside the seconds of theirs()."""
    seconds = [(refresh(server, i + 2, entries), theirs()) for i in range(pairs)]
    ours, other = (statistics.median(s) for s in zip(*seconds))
    row(what, "%.2f  (%.2f / %.2f s)" % (ours / other, ours, other), wanted)

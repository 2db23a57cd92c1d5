#!/usr/bin/env python3
# sanitizers: yes
"""
What a server has learnt answers after its restart, although no directory can be reached then: by
age and policy, and never from a file that is damaged or about something else.
"""
import glob
import os
import shutil
import signal
import stat
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *

ROWS = {"a@here.test": "1", "b@here.test": "2"}
HIT, LOCAL, FOREIGN = "a@here.test", "none@here.test", "none@far.test"
DEAD = "hello * exit 1"


def mirror(**settings):
    return dict(dict(source="fake", search="exact", mode="mirror", on_miss="notfound",
                     refresh="1h"), **settings)


def demand(**settings):
    return dict(dict(source="fake", search="exact", mode="demand"), **settings)


def make(maps, rows=ROWS, **daemon):
    server = Server(maps, **dict({"log_level": "debug", "snapshot_interval": "100ms",
                                  "start_wait": "500ms"}, **daemon))
    directory = Directory(server.dir)
    directory.rows(rows)
    server.sources = [directory.source()]
    return server, directory


def file(server, map, table=0):
    return "%s/%s.%d.snapshot" % (server.state, map, table)


def wait_for_files(server, *maps):
    missing = wait_for(lambda: all(os.path.exists(file(server, m)) for m in maps))
    ok(missing, "written: " + " ".join(maps), os.listdir(server.state))


def wait_until_ready(server, n):
    """For the nth time; a server that is stopped before that never says so."""
    found = server.wait_for_event("ready", n)
    ok(found, "ready (%d)" % n)
    return found


def verdict(server, map, key):
    return (server.ask(map, key) or "EOF").partition(" ")[0]


def msec(text):
    number, unit = re.fullmatch(r"([\d.]+)(ms|s|m|h|d)", text).groups()
    return float(number) * {"ms": 1, "s": 1e3, "m": 6e4, "h": 36e5, "d": 864e5}[unit]


# --- what is answered ---------------------------------------------------------------------------

STALE = {"refresh": "1s", "max_age": "1s", "stale_max": "1h"}
LIVES = {
    # map: settings, {key: verdict after more than a second without the directory}
    "trust": (mirror(), {HIT: "OK", LOCAL: "NOTFOUND"}),
    "ask": (mirror(on_miss="ask"), {HIT: "OK", LOCAL: "NOTFOUND"}),
    "temp": (mirror(**STALE), {HIT: "OK", LOCAL: "TEMP", FOREIGN: "TEMP"}),
    "notfound": (mirror(stale_miss="notfound", **STALE),
                 {HIT: "OK", LOCAL: "NOTFOUND", FOREIGN: "NOTFOUND"}),
    "domain": (mirror(stale_miss="domain", domains="ours", **STALE),
               {HIT: "OK", LOCAL: "TEMP", FOREIGN: "NOTFOUND"}),
    "expired": (mirror(refresh="1s", max_age="1s", stale_max="1s"),
                {HIT: "TEMP", LOCAL: "TEMP"}),
    "demand": (demand(ttl="1h", negative_ttl="1h"),
               {HIT: "OK", LOCAL: "NOTFOUND", FOREIGN: "TEMP"}),
    "brief": (demand(ttl="1s", negative_ttl="1s", stale_max="1h"),
              {HIT: "OK", LOCAL: "TEMP"}),
    "cold": (demand(ttl="100ms", negative_ttl="100ms", stale_max="0"),
             {HIT: "TEMP", LOCAL: "TEMP"}),
}


def check_lives():
    """As before, only older."""
    maps = {m: s for m, (s, _) in LIVES.items()}
    maps["ours"] = mirror(source="domains", search="domain", stale_miss="notfound")
    server, directory = make(maps)
    domains = Directory(server.dir, "domains")
    domains.rows({"here.test": "x"})
    server.sources.append(domains.source())
    with server:
        wait_until_ready(server, 1)
        for m in LIVES:
            server.wait_for_reply(m, HIT, "OK")
            for key in (HIT, LOCAL):
                server.ask(m, key)
        server.wait_for_reply("ours", "here.test", "OK")
        before = msec(server.stats()["trust"]["age"])
    for d in (directory, domains):
        d.script(DEAD)
    stopped = time.monotonic()
    wait_for(lambda: time.monotonic() > stopped + 1.3)
    with server:
        wait_until_ready(server, 2)
        for m, (_, wanted) in LIVES.items():
            same({k: verdict(server, m, k) for k in wanted}, wanted, "after a restart: " + m)
        age = msec(server.stats()["trust"]["age"])
        ok(before + 1300 <= age < before + 60000, "the age went on", before, age)
        found = server.events("snapshot_restored", map="temp")
        same([f["state"] for f in found], ["STALE"], "what is restored is told, with its state")
        same(len(server.events("snapshot_restored")), len(maps), "each table once")
        same(server.events("snapshot_rejected"), [], "and nothing was wrong")
    # nobody has changed anything, so nothing is written and the age goes on once more
    with server:
        wait_until_ready(server, 3)
        ok(msec(server.stats()["trust"]["age"]) > age, "and goes on over a second restart")
        directory.script("")
        domains.script("")
        server.wait_for_reply("temp", LOCAL, "NOTFOUND", 20)
        like(server.wait_for_reply("expired", HIT, "OK", 20), "^OK ",
             "all is well when the directory is back")


def check_several_tables():
    server, users = make({"v": {"search": "virtual", "tables": [
        demand(ttl="1h", negative_ttl="1h"), mirror(source="more")]}})
    for t in server.maps["v"]["tables"]:
        del t["search"]
    more = Directory(server.dir, "more")
    more.rows({"@here.test": "all@x.test"})
    server.sources.append(more.source())
    with server:
        wait_until_ready(server, 1)
        for key, reply in (("a@here.test", "OK 1"), ("x@here.test", "OK all@x.test")):
            server.wait_for_reply("v", key, "OK")
            same(server.ask("v", key), reply, "two tables: " + key)
    for d in (users, more):
        d.script(DEAD)
    with server:
        wait_until_ready(server, 2)
        same([server.ask("v", k) for k in ("a@here.test", "x@here.test")],
             ["OK 1", "OK all@x.test"], "each has a file of its own")
        like(server.ask("v", "y@here.test"), "^TEMP ", "and what the first does not know is TEMP")


def check_first_scan():
    """A restored table is scanned when it would have been; an old one at once."""
    server = Server(snapshot_interval="100ms")
    ds = {n: Directory(server.dir, n) for n in ("young", "due", "stale")}
    settings = {"young": {}, "due": {"refresh": "2s"},
                "stale": {"refresh": "1s", "max_age": "1s"}}
    for n, d in ds.items():
        d.rows(ROWS)
        server.sources.append(d.source())
        server.maps[n] = mirror(source=n, **settings[n])
    with server:
        wait_until_ready(server, 1)
        for n in ds:
            server.wait_for_reply(n, HIT, "OK")
    n_scans = {n: len(d.activity("scan")) for n, d in ds.items()}
    stopped = time.monotonic()
    wait_for(lambda: time.monotonic() > stopped + 1.1)
    with server:
        wait_until_ready(server, 2)
        for n in ds:
            same(server.ask(n, HIT), "OK 1", "%s: restored" % n)
        ok(wait_for(lambda: len(ds["stale"].activity("scan")) > n_scans["stale"]),
           "STALE: scanned at once")
        same(len(ds["young"].activity("scan")), n_scans["young"], "FRESH: not")
        ok(wait_for(lambda: len(ds["due"].activity("scan")) > n_scans["due"]),
           "but when it is due")
        same(len(ds["young"].activity("scan")), n_scans["young"], "and each for itself")


def check_impatient_stop():
    """What was learnt is written even when a request has to be cut off."""
    server, directory = make({"d": demand(ttl="1h", negative_ttl="1h", deadline="10s")},
                             snapshot_interval="1h", stop_timeout="200ms")
    directory.script("lookup stuck* silent")
    with server, server.client() as c:
        same(server.ask("d", HIT), "OK 1", "something is learnt")
        c.send(Client.request("d", "stuck@here.test"))
        ok(wait_for(lambda: directory.activity("lookup", "stuck@here.test")), "somebody waits")
        same(server.stop(), None, "stopped all the same")
    directory.script(DEAD)
    with server:
        same(server.wait_for_reply("d", HIT, "OK"), "OK 1", "and nothing is lost")


# --- files ----------------------------------------------------------------------------------------

def patch(path, at, data):
    with open(path, "r+b") as f:
        f.seek(at)
        f.write(data)


def swap(path, make_other):
    os.unlink(path)
    make_other()


def flip(path):
    with open(path, "rb") as f:
        data = f.read()
    at = len(data) // 2
    patch(path, at, bytes([data[at] ^ 1]))


# name: what happens to its file, what the log says of it; None: nothing
BAD = {
    "truncated": (lambda p: os.truncate(p, os.path.getsize(p) - 1), "truncated"),
    "half": (lambda p: os.truncate(p, os.path.getsize(p) // 2), "truncated"),
    "empty": (lambda p: os.truncate(p, 0), "truncated"),
    "flipped": (flip, "checksum"),
    "longer": (lambda p: open(p, "ab").write(b"x"), "corrupt"),
    "newer": (lambda p: patch(p, 20, b"\x63"), "version"),
    "turned": (lambda p: patch(p, 16, b"\1\2\3\4"), "byte order"),
    "garbage": (lambda p: replace(p, b"?" * 500), "not a snapshot"),
    "symlink": (lambda p: (os.rename(p, p + ".real"), os.symlink(p + ".real", p)), "link"),
    "hardlink": (lambda p: os.link(p, p + ".too"), "another name"),
    "folder": (lambda p: swap(p, lambda: os.mkdir(p)), "regular"),
    "fifo": (lambda p: swap(p, lambda: os.mkfifo(p)), "regular"),
    "writable": (lambda p: os.chmod(p, 0o620), "others"),
}


def check_bad_files():
    names = list(BAD) + ["good", "missing"]
    server, directory = make({n: mirror() for n in names})
    with server:
        wait_until_ready(server, 1)
        wait_for_files(server, *names)
    for n, (spoil, _) in BAD.items():
        spoil(file(server, n))
    os.unlink(file(server, "missing"))
    directory.script(DEAD)
    with server:
        wait_until_ready(server, 2)
        same(server.ask("good", HIT), "OK 1", "a good file is used")
        for n, (_, why) in BAD.items():
            found = server.events("snapshot_rejected", map=n)
            ok(len(found) == 1 and why in found[0]["why"] and
               found[0]["action"] == "moved to .bad", "%s: told, once" % n, found)
            ok(os.path.lexists(file(server, n) + ".bad") and not os.path.lexists(file(server, n)),
               "%s: moved aside" % n)
            like(server.ask(n, HIT), "^TEMP ", "%s: TEMP" % n)
            like(server.ask(n, LOCAL), "^TEMP ", "%s: never NOTFOUND" % n)
        like(server.ask("missing", HIT), "^TEMP ", "a missing file: TEMP")
        same(server.events("snapshot_rejected", map="missing"), [], "and no complaint")
        ok(glob.glob(server.state + "/symlink*.real"), "what a link leads to is left alone")
        directory.script("")
        for n in names:
            server.wait_for_reply(n, HIT, "OK", 20)
        wait_for_files(server, *names)
        wrong = [n for n in names if not stat.S_ISREG(os.lstat(file(server, n)).st_mode) or
                 os.stat(file(server, n)).st_mode & 0o777 != 0o600]
        same(wrong, [], "new ones are plain files of mode 0600")


def check_settings():
    """Whether a file is about the same question."""
    maps = {n: mirror() for n in "query format tuned now_secret gone demanded".split()}
    server, directory = make(maps)
    secrets = Directory(server.dir, "secrets")
    secrets.rows({HIT: "swordfish"})
    server.sources.append(secrets.source())
    maps["password"] = mirror(source="secrets", secret=True)
    maps["deposit"] = mirror(source="secrets")
    with server:
        wait_until_ready(server, 1)
        wait_for_files(server, *(set(maps) - {"password"}))
        same(server.wait_for_reply("password", HIT, "OK"), "OK swordfish", "a secret map answers")
        replace(server.state + "/gone.0.snapshot.bad", "old")
        replace(server.state + "/note.txt", "somebody's")
        del maps["deposit"]
        ok(server.reload(), "a map goes")
        ok(wait_for(lambda: not os.path.exists(file(server, "deposit"))), "its file goes, too")
    def holds_secret():
        return [f for f in glob.glob(server.state + "/*") if b"swordfish" in open(f, "rb").read()]
    same(holds_secret(), [], "no secret is on disk")

    for d in (directory, secrets):
        d.script(DEAD)
    # tables of driver programs take any option
    maps["query"]["another"] = "query"
    maps["format"]["result_format"] = "%s/"
    maps["tuned"].update(refresh="2h", max_age="3h", on_miss="ask", deadline="1s", min_entries=99)
    maps["demanded"].update(mode="demand")
    maps["now_secret"]["secret"] = True
    del maps["gone"]
    with server:
        wait_until_ready(server, 2)
        for n in ("query", "format"):
            found = server.events("snapshot_rejected", map=n)
            ok(len(found) == 1 and found[0]["action"] == "ignored",
               "another %s: the file is ignored, with a line" % n, found)
            like(server.ask(n, HIT), "^TEMP ", "and does not answer")
        same(server.ask("tuned", HIT), "OK 1", "other settings of time: it is used")
        like(server.ask("demanded", HIT), "^TEMP ", "a demand table has no use for a mirror")
        like(server.ask("now_secret", HIT), "^TEMP ", "what is secret now is not restored")
        ok(wait_for(lambda: not os.path.exists(file(server, "now_secret"))), "its file goes")
        ok(wait_for(lambda: not glob.glob(server.state + "/gone.*")), "and those of a map that went")
        ok(os.path.exists(server.state + "/note.txt"), "but no file of somebody else")
        check_reloads(server, directory)


def check_reloads(server, directory):
    """Still without the directory."""
    maps = server.maps
    replace(file(server, "none"), "")
    maps["tuned"]["refresh"] = "90m"
    ok(server.reload(), "a reload changes the refresh of a table")
    same(server.ask("tuned", HIT), "OK 1", "which answers at once")
    ok(wait_for(lambda: not os.path.exists(file(server, "none"))), "and sweeps")
    shutil.copy(file(server, "tuned"), file(server, "back"))
    maps["back"] = dict(maps["tuned"])
    ok(server.reload(), "a reload adds a table that has a file")
    same(server.wait_for_reply("back", HIT, "OK"), "OK 1", "which is restored")
    maps["tuned"]["another"] = "query"
    ok(server.reload(), "a reload changes the query")
    like(server.ask("tuned", HIT), "^TEMP ", "the old data does not answer it")
    maps["tuned"].pop("another")
    ok(server.reload(), "a reload takes that back")
    same(server.wait_for_reply("tuned", HIT, "OK"), "OK 1", "and the file is still there")
    maps["back"]["secret"] = True
    ok(server.reload(), "a reload makes it secret")
    same(server.ask("back", HIT), "OK 1", "it goes on answering")
    ok(wait_for(lambda: not os.path.exists(file(server, "back"))), "but not from disk")
    directory.script("")
    same(server.wait_for_reply("query", HIT, "OK", 20), "OK 1", "and the directory is back")


# --- the directory ----------------------------------------------------------------------------------

def make_file(path):
    replace(path, "")


def make_link(path):
    os.mkdir(path + ".real", 0o700)
    os.symlink(path + ".real", path)


def make_open(path):
    os.mkdir(path)
    os.chmod(path, 0o770)


def make_foreign(path):
    os.mkdir(path, 0o700)
    os.chown(path, 65534, 65534)


def make_lock_link(path):
    os.mkdir(path, 0o700)
    os.symlink("/etc/hostname", path + "/lock")


UNUSABLE = {
    "a file": (make_file, "Not a directory"), "a link": (make_link, "Not a directory|symbolic"),
    "writable for others": (make_open, "others may write"),
    "somebody else's": (make_foreign, "belongs to uid 65534"),
    "with a planted lock": (make_lock_link, "lock: Too many levels"),
    "nowhere": (lambda path: None, "No such file"),
}


def check_unusable_directories():
    for what, (prepare, why) in UNUSABLE.items():
        if os.geteuid() and prepare is make_foreign:
            continue
        server, _ = make({"m": mirror()})
        server.state += "/below" if what == "nowhere" else ""
        server.daemon["state_directory"] = server.state
        prepare(server.state)
        with server:
            found = server.wait_for_event("snapshots_off")
            like(found and found["why"], why, "a directory that is %s: told" % what)
            same(server.wait_for_reply("m", HIT, "OK"), "OK 1", "and no harm is done")
            same(len(server.events("snapshots_off")), 1, "told once")
        same(glob.glob(server.state + "/*.snapshot*"), [], "nothing is written there")


def check_usable_directories():
    server, directory = make({"m": mirror()})
    server.env["STATE_DIRECTORY"] = server.dir + "/given:" + server.dir + "/other"
    with server:
        wait_for_files(server, "m")
        same(os.stat(server.state).st_mode & 0o7777, 0o700, "a missing directory is made, for us alone")
        ok(not os.path.exists(server.dir + "/given"), "the option wins over $STATE_DIRECTORY")
    del server.daemon["state_directory"]
    server.state = server.dir + "/given"
    with server:
        wait_for_files(server, "m")
        same(os.listdir(server.dir).count("other"), 0, "which wins over the default")
    server.daemon["state_directory"] = ""
    shutil.rmtree(server.state)
    with server:
        same(server.wait_for_reply("m", HIT, "OK"), "OK 1", 'with "" all is as ever')
    same((os.path.exists(server.state), server.events("snapshots_off")), (False, []),
         "and nothing is written")


def check_directory_that_comes_late():
    """Whatever recovers, recovers without a restart."""
    server, directory = make({"m": mirror(), "n": mirror()})
    with server:
        wait_for_files(server, "m", "n")
    os.rename(server.state, server.state + ".away")
    make_file(server.state)
    directory.script(DEAD)
    with server:
        ok(server.wait_for_event("snapshots_off"), "the directory is not there")
        like(server.ask("m", HIT), "^TEMP ", "nor is anything else")
        os.unlink(server.state)
        os.rename(server.state + ".away", server.state)
        same(server.wait_for_reply("m", HIT, "OK"), "OK 1", "it comes, and is restored from")
        directory.script("")
        os.unlink(file(server, "m"))
        server.maps["m"]["result_format"] = "<%s>"
        server.reload()
        same(server.wait_for_reply("m", HIT, "OK"), "OK <1>", "a new copy")
        wait_for_files(server, "m")


def check_two_servers():
    first, directory = make({"m": mirror(refresh="1s", max_age="1h")})
    with first:
        wait_for_files(first, "m")
        second, _ = make({"m": mirror(max_age="1h", refresh="1s")})
        second.daemon["state_directory"] = second.state = first.state
        second.sources = first.sources
        second.start()
        found = second.wait_for_event("snapshots_off")
        like(found and found["why"], r"process %d has it" % first.pid, "the second says who has it")
        same(second.wait_for_reply("m", HIT, "OK"), "OK 1", "and answers")
        ok(second.wait_for_event("snapshot_restored"), "with what the first has written")
        ok(second.wait_for_event("refreshed", 2), "and refreshes")
        same(second.events("snapshot_written"), [], "but writes nothing")
        written = len(first.events("snapshot_written"))
        ok(first.wait_for_event("snapshot_written", written + 1), "while the first does")
        first.signal(signal.SIGKILL)
        first.process.wait()
        ok(second.wait_for_event("snapshots_on"), "when the first is gone, it is the second's")
        ok(second.wait_for_event("snapshot_written"), "which writes from then on")
        same(second.stop(), None, "and stops cleanly")
        first.start()


def check_ready():
    server, directory = make({"m": mirror(), "d": demand()}, start_wait="3s")
    with server:
        found = wait_until_ready(server, 1)
        ok(found and "missing" not in found, "ready when every mirror is there", found)
    directory.script(DEAD)
    server.maps["n"] = mirror(result_format="<%s>")
    with server:
        found = wait_until_ready(server, 2)
        same(found and found.get("missing"), "n", "else after start_wait, with what is missing")


def check_descriptors():
    server, directory = make({"m": mirror(refresh="1s"), "d": demand()})
    with server:
        server.wait_for_reply("m", HIT, "OK")
        server.ask("d", HIT)
        wait_for_files(server, "m", "d")
        before = server.descriptors()
        for i in range(50):
            server.maps = dict(m=mirror(refresh="%ds" % (i % 7 + 1)), d=demand())
            server.maps["r%d" % i] = mirror(refresh="1s")
            server.write()
            server.signal(signal.SIGHUP)
            server.wait_for_reply("r%d" % i, HIT, "OK")
        ok(wait_for(lambda: server.descriptors() <= before + 2), "50 reloads leak no descriptor",
           before, server.descriptors())
        ok(wait_for(lambda: len(glob.glob(server.state + "/*.snapshot*")) == 3),
           "and leave no file", os.listdir(server.state))


check_lives()
check_several_tables()
check_first_scan()
check_impatient_stop()
check_bad_files()
check_settings()
check_unusable_directories()
check_usable_directories()
check_directory_that_comes_late()
check_two_servers()
check_ready()
check_descriptors()
done()

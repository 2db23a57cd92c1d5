#!/usr/bin/env python3
# sanitizers: asan
"""
Maps as cdb files: a file says what its map says, to the key, it follows every refresh, and when it
cannot be written the old one stays whole and answers go on.
"""
import atexit
import fcntl
import os
import re
import shutil
import stat
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from web import Metrics, ask_json

if not shutil.which("postmap"):
    ok(False, "a postmap to read the files with")
    done()

USERS = {"user%d@here.test" % i: "dir%d/" % i for i in range(300)}
ODD = {
    "@catch.test": "all", "UPPER@Here.Test": "Upper", "straße@here.test": "folded",
    "用户@here.test": "用户/", "here.test": "domain", ".here.test": "parent", "bare": "user",
    '"a b"@here.test': "quoted", "a+b@here.test": "plus", "with blank": "x y  z", "*": "star",
    "list@here.test": ["one@far.test", "two@far.test", "one@far.test"], "1": "one",
    "long@here.test": "x" * 3000, "k" * 2000: "long key",
}
BAD = {"bad@here.test": "\udcff", "half@here.test": ["good", "\udcff"]}
FIRST = {**USERS, **ODD, **BAD}
SECOND = {**{"more%d@here.test" % i: "m%d" % i for i in range(200)},
          "user1@here.test": "hidden", "bad@here.test": "hidden, too", "@catch.test": "hidden",
          "late@here.test": "\udcff"}
DATES = """
CREATE TABLE alias (address TEXT, goto TEXT, ends TEXT);
INSERT INTO alias VALUES ('always@here.test', 'a', NULL), ('later@here.test', 'b', '4070908800'),
    ('past@here.test', 'c', '1000000000'), ('both@here.test', 'd', '1000000000'),
    ('both@here.test', 'e', '4070908800'), ('both@here.test', 'f', NULL);
"""
COPY = {"mode": "mirror", "refresh": "1s", "on_miss": "notfound", "max_age": "1h"}
STRANGERS = ["nobody@here.test", "", "@", "user1", "user1@", "@here.test", "user1@here.test.",
             "user1@here.tes", "ser1@here.test", "bad@here", "USER7@HERE.TEST", "STRASSE@here.test",
             "user1@here.test\t", "üser@here.test", "%", "two@far.test", "x" * 5000]


def export_of(server, map):
    return "%s/export/%s.cdb" % (server.state, map)


def make(maps, **daemon):
    server = Server(**dict({"log_level": "debug"}, **daemon))
    one, two = Directory(server.dir, "one"), Directory(server.dir, "two")
    one.rows(FIRST)
    two.rows(SECOND)
    database(server.dir + "/dates", DATES)
    server.sources = [one.source(), two.source(),
                      {"name": "dates", "driver": "sqlite", "dbpath": server.dir + "/dates"}]
    server.maps = {m: dict(s, search="exact", export="cdb:" + export_of(server, m))
                   for m, s in maps.items()}
    return server, one, two


def written(server, map, n=1):
    """The nth time that the map's file was written."""
    return server.wait_for_event("export_written", n, map=map)


def bytes_of(path):
    with open(path, "rb") as f:
        return f.read()


# --- what stands in it -------------------------------------------------------------------------

def postmap(path, keys):
    """{key: reply as of a socketmap}: what Postfix reads in the file."""
    table = "cdb:" + path[:-len(".cdb")]
    p = run("postmap", "-c", conf, "-q", "-", table, input="".join(k + "\n" for k in keys))
    found = dict(line.split("\t", 1) for line in p.stdout.splitlines())
    errors = re.findall("key (.*): empty string result is not allowed", p.stderr)
    if sorted(errors) != sorted(k for k in found if not found[k]):
        raise RuntimeError("postmap: " + p.stderr)
    return {k: "TEMP" if k in errors else "OK " + found[k] if k in found else "NOTFOUND "
            for k in keys}


def check_contents():
    server, _, _ = make({
        "m": dict(COPY, source="one"),
        "some": dict(COPY, source="one", domain="catch.test, far.test, here.test"),
        "format": dict(COPY, source="one", result_format="<%s>", domain="!here.test, catch.test"),
        "dates": dict(COPY, source="dates", query="SELECT goto FROM alias WHERE address = '%s'",
                      scan_query="SELECT address, goto, ends FROM alias", expiry_column="ends"),
        "both": {"tables": [dict(COPY, source="one"), dict(COPY, source="two")]},
        "turned": {"tables": [dict(COPY, source="two"), dict(COPY, source="one")]},
    })
    keys = sorted({*FIRST, *SECOND, "always@here.test", "later@here.test", "past@here.test",
                   "both@here.test"} - {"with blank"}) + STRANGERS
    keys = [k for k in dict.fromkeys(keys) if k and k == k.strip()]
    with server:
        for map in server.maps:
            event = written(server, map)
            path = export_of(server, map)
            with server.client() as c:
                ours = {k: c.ask(map, k) for k in keys}
            ours = {k: "TEMP" if r.startswith("TEMP") else r for k, r in ours.items()}
            theirs = postmap(path, keys)
            wrong = ["%s: %s, but in the file %s" % (k, ours[k], theirs[k]) for k in keys
                     if ours[k] != theirs[k]]
            ok(not wrong, "%s: Postfix reads the map's answers in its file, for %d keys" %
               (map, len(keys)), *wrong)
            n_bad = sum(r == "TEMP" for r in ours.values())
            same(event and int(event["bad"]), n_bad, "%s: the log counts %d errors" % (map, n_bad))
            ok(n_bad or map in ("dates", "format"), map + ": there are errors, and they stay errors")
            st = os.stat(path)
            same(stat.S_IMODE(st.st_mode), 0o644, map + ": everybody may read it")
        ok(wait_for(lambda: set(os.listdir(server.state + "/export")) ==
                    {m + ".cdb" for m in server.maps}), "and nothing else is there")
        blank = run("postmap", "-c", conf, "-q", "with blank", "cdb:" + export_of(server, "m")[:-4])
        same(blank.stdout, "x y  z\n", "a key with a blank")


# --- when it is written ---------------------------------------------------------------------------

def check_following():
    server, one, _ = make({"m": dict(COPY, source="one")})
    path = export_of(server, "m")
    with server:
        ok(written(server, "m"), "written after the first refresh")
        before = os.stat(path)
        ok(server.wait_for_event("export_unchanged", 2, map="m"), "refreshes that bring nothing new")
        same((os.stat(path).st_ino, os.stat(path).st_mtime_ns), (before.st_ino, before.st_mtime_ns),
             "leave the file alone")
        one.rows({**FIRST, "new@here.test": "new/"})
        ok(written(server, "m", 2), "a new key is written")
        same(postmap(path, ["new@here.test"]), {"new@here.test": "OK new/"}, "and there")
        ok(os.stat(path).st_ino != before.st_ino, "in a new file")
        one.script("scan * die")
        ok(server.wait_for_event("refresh_failed"), "a scan that fails")
        one.script("")
        one.rows({"a": "b"})
        ok(server.wait_for_event("refresh_rejected"), "and one that is rejected")
        same(postmap(path, ["new@here.test", "a"]), {"new@here.test": "OK new/", "a": "NOTFOUND "},
             "leave the file alone")
        one.rows(FIRST)

        server.maps["other"] = dict(server.maps["m"], export="cdb:%s/export/deep/er/o.cdb" % server.state)
        ok(server.reload(), "a reload brings another one")
        ok(written(server, "other"), "which is written")
        same(postmap(server.state + "/export/deep/er/o.cdb", ["bare"]), {"bare": "OK user"},
             "in a directory that was not there")
        del server.maps["other"]
        ok(server.reload() and os.path.exists(server.state + "/export/deep/er/o.cdb"),
           "a reload without it leaves the file: main.cf may still name it")
        server.maps["m"]["export"] = "cdb:%s/export/again.cdb" % server.state
        count = len(server.events("refreshed"))
        ok(server.reload() and wait_for(lambda: os.path.exists(server.state + "/export/again.cdb")),
           "a map that gets another file has it", count)


def check_same_file():
    server, _, _ = make({"m": dict(COPY, source="one"), "n": dict(COPY, source="two")})
    server.maps["n"]["export"] = server.maps["m"]["export"]
    server.write()
    p = run(PROGRAM, "-t", "-c", server.conf)
    same((p.returncode, 'n.conf:' in p.stderr and 'the map "m" is written to that file' in p.stderr),
         (1, True), "two maps have two files")


def check_restart():
    server, one, _ = make({"m": dict(COPY, source="one", refresh="1h", max_age="1h")})
    path = export_of(server, "m")
    with server:
        ok(written(server, "m"), "written")
    one.script("hello * exit 1")

    def restart(outcome):
        n = len(server.events(outcome))
        with server:
            ok(server.wait_for_event(outcome, n + 1), "a start without the directory: " + outcome)
    first = os.stat(path)
    restart("export_current")
    same(os.stat(path).st_ino, first.st_ino, "the file is left alone")
    content = bytes_of(path)
    os.unlink(path)
    restart("export_written")
    same(bytes_of(path), content, "one that is missing is written from the snapshot")
    replace(path, b"old")
    os.utime(path, (first.st_mtime - 3600, first.st_mtime - 3600))
    restart("export_written")
    same(bytes_of(path), content, "so is one that is older")
    replace(path, b"newer")
    restart("export_current")
    same(bytes_of(path), b"newer", "one that is younger than the snapshot stays")


def stats(server):
    """The server's own line of SIGUSR1."""
    server.stats()
    return [line for line in server.log().splitlines() if "exports_written=" in line][-1]


# --- when it cannot be ------------------------------------------------------------------------------

def shown(server, map="m"):
    """(what /v1/status says of the map's file, {metric: value})"""
    status = ask_json("unix:%s/web" % server.dir, "/v1/status")[1]
    m = Metrics("unix:%s/web" % server.dir)
    names = "failed", "last_success_timestamp_seconds", "entries", "bad_entries"
    return next(x for x in status["maps"] if x["name"] == map)["export"], \
        {n: m.sum("socketmapd_export_" + n, map=map) for n in names}


def check_shown():
    server, one, _ = make({"m": dict(COPY, source="one", refresh="1h"),
                           "n": dict(COPY, source="two", refresh="1h")})
    del server.maps["n"]["export"]
    server.listeners.append({"protocol": "http", "address": "unix:%s/web" % server.dir,
                             "mode": "0600"})
    path, blocked = export_of(server, "m"), server.dir + "/nothing/m.cdb"
    with server:
        at = time.time()
        ok(written(server, "m"), "written")
        export, metrics = shown(server)
        same((export["path"], export["failed"], export["entries"], export["bad"]),
             (path, False, len(FIRST), len(BAD)), "the status shows the file")
        ok(at - 60 < export["current"] < at + 60, "and since when it is current", export)
        same((metrics["failed"], metrics["entries"], metrics["bad_entries"]),
             (0, len(FIRST), len(BAD)), "so do metrics")
        ok(abs(metrics["last_success_timestamp_seconds"] - export["current"]) < 0.01, "both times")
        same(shown(server, "n"), (None, dict.fromkeys(metrics)), "a map without a file has none")
        server.maps["m"]["export"] = "cdb:" + blocked
        server.reload()
        ok(server.wait_for_event("export_failed"), "a file that cannot be written")
        export, metrics = shown(server)
        same(export, {"path": blocked, "failed": True, "current": None, "entries": None,
                      "bad": None}, "shows as failed")
        same(metrics, {"failed": 1, "last_success_timestamp_seconds": 0, "entries": None,
                       "bad_entries": None}, "in metrics, too")
        server.maps["m"]["export"] = "cdb:" + path
        server.reload()
        ok(wait_for(lambda: shown(server)[0]["current"]), "the old place is current at once")
        server.stop()
        server.start()
        ok(wait_for(lambda: shown(server)[0]["current"]), "a new server finds it current")
        export = shown(server)[0]
        same((export["failed"], export["entries"], export["bad"]), (False, None, None),
             "which has counted nothing in it")


def mount(path, options):
    """A small file system for this test."""
    os.mkdir(path, 0o755)
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


class Fault:
    """A map whose file fails: the answers go on, the old file stays, and recovery comes alone."""

    def __init__(self, server, one, path):
        self.server, self.one, self.path = server, one, path
        self.n = 0

    def change(self):
        self.n += 1
        self.one.rows({**FIRST, "user0@here.test": "generation%d/" % self.n})

    def check(self, name, why, begin, end, leaves=None):
        failed = len(self.server.events("export_failed"))
        before = bytes_of(self.path)
        begin()
        self.change()
        want = "OK generation%d/" % self.n
        found = self.server.wait_for_event("export_failed", failed + 1)
        like(found and found["why"], why, name + ": told")
        same(self.server.wait_for_reply("m", "user0@here.test", want), want,
             name + ": the map answers as ever")
        if leaves is None:
            same(bytes_of(self.path), before, name + ": the old file is there, whole")
            same([f for f in os.listdir(os.path.dirname(self.path)) if f.endswith(".new")], [],
                 name + ": and nothing beside it")
        else:
            leaves()
        end()
        ok(wait_for(lambda: postmap(self.path, ["user0@here.test"])["user0@here.test"] == want, 20),
           name + ": when it is over, the file is written")
        same(len(self.server.events("export_failed")), failed + 1, name + ": told once")


def check_faults():
    server, one, _ = make({"m": dict(COPY, source="one")})
    disk = server.dir + "/disk"
    mount(disk, "size=200k,mode=755")
    path = disk + "/m.cdb"
    server.maps["m"]["export"] = "cdb:" + path
    filler, temp, victim = disk + "/filler", path + ".new", server.dir + "/victim"
    replace(victim, "precious")

    def is_untouched():
        same(bytes_of(victim), b"precious", "the victim of a link is not touched")
    with server:
        ok(written(server, "m"), "a file outside of the state directory")
        fault = Fault(server, one, path)
        fault.check("a full disk", "No space left", lambda: fill(filler), lambda: os.unlink(filler))
        fault.check("a read-only disk", "Read-only",
                    lambda: run("mount", "-o", "remount,ro", disk),
                    lambda: run("mount", "-o", "remount,rw", disk))
        fault.check("a directory of everybody", "others may write", lambda: os.chmod(disk, 0o777),
                    lambda: os.chmod(disk, 0o755))
        fault.check("a directory of somebody", "belongs to another", lambda: os.chown(disk, 1234, -1),
                    lambda: os.chown(disk, 0, -1))
        fault.check("a link beside it", "open: Too many levels", lambda: os.symlink(victim, temp),
                    lambda: os.unlink(temp), is_untouched)
        fault.check("another name beside it", "not a file of ours alone",
                    lambda: (replace(disk + "/own", "x"), os.link(disk + "/own", temp)),
                    lambda: os.unlink(temp), lambda: same(bytes_of(disk + "/own"), b"x", "untouched"))
        with open(temp, "w") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            fault.check("another writer", "lock: Resource temporarily", lambda: None,
                        lambda: other.close(), lambda: same(bytes_of(temp), b"", "undisturbed"))
        replace(temp, "half a file of a writer that was killed")
        fault.change()
        ok(wait_for(lambda: not os.path.exists(temp)), "what a killed writer left is used up")
        os.unlink(path)
        os.symlink(victim, path)
        ok(wait_for(lambda: not os.path.islink(path)), "a link in its place is replaced")
        is_untouched()
        line = stats(server)
        ok(int(re.search(r"exports_failed=(\d+)", line)[1]) >= 6, "status counts the failures", line)


conf = scratch()
replace(conf + "/main.cf", "compatibility_level = 3.6\nmyhostname = host.test\n")
check_contents()
check_following()
check_same_file()
check_restart()
check_shown()
check_faults()
done()

"""What the tests of socketmapctl share: running it, a terminal, and what a server may say to it."""
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios

from harness import *

CTL = os.path.abspath(BUILD + "/socketmapctl")


def ctl(path, *argv, **kw):
    """(exit code, stdout, stderr)"""
    done = run(CTL, "-s", path, *argv, **kw)
    return done.returncode, done.stdout, done.stderr


def starts(argv, **kw):
    """A socketmapctl that goes on."""
    return subprocess.Popen([CTL, *argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True,
                            env=dict(os.environ, **SANITIZER_ENV), **kw)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, argv, columns=100, rows=30, **env):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            os.execve(argv[0], argv, dict(os.environ, TERM="xterm", LC_ALL="C.UTF-8",
                                          **SANITIZER_ENV, **env))
        self.text = ""

    def resize(self, columns, rows):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self):
        if select.select([self.fd], [], [], 0.05)[0]:
            try:
                data = os.read(self.fd, 1 << 16)
            except OSError:
                return False
            self.text += data.decode("utf-8", "replace")
            return bool(data)
        return True

    def wait_for(self, pattern, seconds=15):
        """Read until the text looks so; forgets what came before the match."""
        def looks_right():
            self.read()
            return re.search(pattern, self.text, re.S)
        found = wait_for(looks_right, seconds)
        if found:
            self.text = self.text[found.end():]
        return bool(found)

    def send(self, keys):
        os.write(self.fd, keys.encode())

    def is_echoing(self):
        return bool(termios.tcgetattr(self.fd)[3] & termios.ECHO)

    def end(self, seconds=10):
        """Read up to the end; the exit status."""
        wait_for(lambda: not self.read(), seconds)
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return status


# --- what a server may say ------------------------------------------------------------------------

def table(**more):
    return dict({"index": 0, "source": "db", "mode": "mirror", "state": "FRESH", "entries": 12345,
                 "bytes": 1 << 20, "age": 192.0, "cached": 5, "cache_bytes": 100, "differing": 0,
                 "refresh": 300.0, "last_refresh": refreshed(1000.0), "rejected": None,
                 "scan": None}, **more)


def refreshed(time, outcome="ok", why=None, took=1.5):
    return {"time": time, "took": took, "rows": 12400, "outcome": outcome, "why": why}


def a_map(name, *tables, **more):
    return dict({"name": name, "search": "virtual", "secret": False, "state": "FRESH", "found": 1000,
                 "notfound": 20, "temp": 3, "perm": 0, "stale_hits": 0, "stale_misses": 0,
                 "asked": 10, "too_long": 0, "export": None,
                 "tables": list(tables) or [table()]}, **more)


def a_source(**more):
    return dict({"name": "db", "driver": "sqlite", "state": "up", "host": None, "up": 2, "busy": 0,
                 "queued": 0, "lookups": 100, "failures": 0, "restarts": 0, "cert_not_after": None,
                 "took": {"count": 100, "sum": 0.5}, "last_error": None}, **more)


def status(*maps, **more):
    return dict({"version": "0.1.0", "pid": 1, "started": 1.0, "uptime": 90061.0, "ready": True,
                 "phase": "serving", "config": {"path": "/c", "last_reload": None},
                 "clients": {"now": 1, "max": 4096}, "loops": [{"name": "control", "beat_age": 0.1}],
                 "listeners": [{"protocol": "socketmap", "address": "unix:/run/s"}],
                 "maps": list(maps) or [a_map("virtual_alias_maps")], "sources": [a_source()]},
                **more)


ANSWER = {"map": "m", "key": "joe+x@a.test", "verdict": "FOUND", "value": "joe+x@b.test",
          "matched_key": "joe@a.test", "step": 2, "from": "mirror", "stale": False, "age": 192.0,
          "reason": None, "reason_class": None, "took": 0.00001}


def explained(**more):
    return dict({"index": 0, "source": "db", "mode": "mirror", "reached": True, "why_not": None,
                 "state": "FRESH", "age": 192.0, "mirror": "hit", "mirror_value": "joe@b.test",
                 "rejected": None, "scan_why": None,
                 "cache": {"noted": "nothing", "fresh": False, "usable": False, "in_flight": False,
                           "age": None, "value": None}, "source_state": "up", "source_why": None,
                 "directory": {"verdict": "FOUND", "value": "joe@b.test", "why": None, "took": 0.0012,
                               "queries": ["SELECT goto FROM a WHERE b = 'joe@a.test'"]},
                 "verdict": "FOUND", "from": "mirror", "stale": False, "asks": False,
                 "value": "joe@b.test", "reason": None}, **more)


def explanation(*tables, **more):
    return dict({"map": "m", "key": "joe+x@a.test", "search": "virtual", "note": None,
                 "steps": [{"key": "joe@a.test", "reached": True, "tables": list(tables)},
                           {"key": "@a.test", "reached": False, "tables": []}],
                 "answer": ANSWER, "replies": {"socketmap": "OK joe+x@b.test",
                                               "tcp_table": "200 joe+x@b.test"},
                 "why": "It is in the mirror."}, **more)


TRACED = {"time": 1700000000.25, "protocol": "socketmap", "map": "m", "key": "k", "verdict": "FOUND",
          "value": "v", "from": "mirror", "stale": True, "took": 0.000012}
DIFFERENT = {"table": 0, "key": "k", "mirror": "old", "bad": False, "directory": None, "verdict": "NOTFOUND"}

# Each command, the request that it makes, and a good answer to that.
COMMANDS = [
    (["status"], "GET /v1/status", status()),
    (["maps"], "GET /v1/status", status()),
    (["sources"], "GET /v1/status", status()),
    (["lookup", "m", "k"], "GET /v1/maps/m", ANSWER),
    (["explain", "m", "k"], "GET /v1/explain", explanation(explained(), explained())),
    (["refresh", "m"], "POST /v1/refresh", {"requested": ["m"], "time": 5.0}),
    (["accept", "m"], "POST /v1/accept", {"accepted": [0], "time": 5.0}),
    (["flush", "m"], "POST /v1/flush", {"flushed": 3, "maps": ["m"], "refreshing": ["m"]}),
    (["reload"], "POST /v1/reload", {"ok": True, "notes": ["a note"]}),
    (["postfix"], "GET /v1/status", status()),
    (["dump", "m"], "GET /v1/dump", [{"table": 0, "key": "k", "value": "v"},
                                     {"end": True, "entries": 1}]),
    (["diff", "m"], "GET /v1/diff", [DIFFERENT, {"end": True, "compared": 1, "different": 1,
                                                 "failed": 0}]),
]


def good(answer):
    return (200, answer + [b""]) if isinstance(answer, list) else (200, answer)


def fake_for(fake, request, answer):
    fake.answers = {request: answer}


def says(fake, name, argv, answers, code, *words, absent=()):
    fake.answers = answers
    got, out, err = ctl(fake.path, *argv)
    ok(got == code, "%s: exit %d" % (name, code), got, out, err)
    for w in words:
        like(out + err, w, "%s: %s" % (name, w.replace("\n", " ")))
    for w in absent:
        ok(w not in out + err, "%s: no %s" % (name, w), out, err)
    return out

"""What the end-to-end tests share: TAP, a private server, raw clients, a scripted directory.

Standard library only. Tests run with the checkout as their current directory. Everything a test
writes is below one private directory in /tmp, which goes away with the server.
"""
import atexit
import collections
import ctypes
import os
import random
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback

BUILD = os.environ.get("SOCKETMAPD_BUILD", "build")
PROGRAM = os.path.abspath(BUILD + "/socketmapd")
FAKE_DRIVER = os.path.abspath("t/lib/fake_driver")
SLOW = 4 if re.search("asan|tsan", BUILD) else 1    # sanitizers stretch what takes CPU
SANITIZER = re.compile(r"ERROR: \w+Sanitizer|WARNING: ThreadSanitizer|runtime error:")
SANITIZER_ENV = {
    "ASAN_OPTIONS": "exitcode=99:detect_leaks=1:detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1:exitcode=99",
    "TSAN_OPTIONS": "exitcode=99:halt_on_error=1:second_deadlock_stack=1:suppressions=" + os.path.join(os.path.dirname(os.path.abspath(__file__)), "tsan.supp"),
}


# --- TAP ------------------------------------------------------------------------------------

_tests = _failed = 0
_lock = threading.RLock()       # guards the counts and the output


def ok(passed, name, *diagnostics):
    global _tests, _failed
    with _lock:
        _tests += 1
        _failed += not passed
        print("%s %d - %s" % ("ok" if passed else "not ok", _tests, name), flush=True)
        if not passed:
            for d in diagnostics:
                note("%.2000s" % (d,))
    return bool(passed)


def same(got, want, name):
    return ok(got == want, name, "got:  %.500r" % (got,), "want: %.500r" % (want,))


def like(got, pattern, name):
    return ok(isinstance(got, str) and re.search(pattern, got), name,
              "got:  %.500r" % (got,), "like: %s" % pattern)


def note(text):
    with _lock:
        for line in str(text).splitlines():
            print("# " + line, flush=True)


def done():
    """The last line of every test: a script that died earlier has no plan and fails."""
    print("1..%d" % _tests, flush=True)
    raise SystemExit(1 if _failed else 0)


def _died(kind, error, trace):
    """An exception that nobody caught is told where a failed test would be."""
    ok(False, "the test comes to its end", *traceback.format_exception(kind, error, trace)[-3:])


sys.excepthook = _died


def skip_all(why):
    print("1..0 # SKIP " + why, flush=True)
    raise SystemExit(0)


# --- waiting --------------------------------------------------------------------------------

def in_parallel(function, arguments):
    """Call it with each argument in a thread of its own; an exception is a failed test."""
    def call(argument):
        try:
            function(argument)
        except Exception:
            ok(False, "%s(%.80r)" % (function.__name__, argument), traceback.format_exc())
    threads = [threading.Thread(target=call, args=(a,)) for a in arguments]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def wait_for(condition, seconds=10):
    """
    Ask `condition` until it is true or time is over; its last answer. `seconds` are those of a quiet
    machine; one that has other things to do gets more.
    """
    end = time.monotonic() + 3 * seconds * SLOW
    while True:
        answer = condition()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(0.01)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# --- processes ------------------------------------------------------------------------------

_libc = ctypes.CDLL(None)


def die_with_parent():
    _libc.prctl(1, signal.SIGKILL)      # PR_SET_PDEATHSIG; the parent is a thread here


def proc_file(id, name):
    """/proc/ID/NAME of a process or thread; "" when it has ended, as drivers may at any moment."""
    try:
        with open("/proc/%d/%s" % (id, name), encoding="latin-1") as f:
            return f.read()
    except OSError:
        return ""


def signal_if_there(pid, number):
    """Of a process that may have ended, too."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def stat_fields(pid):
    """/proc/PID/stat behind the program's name: state, ppid, ...; [] when it is gone."""
    return proc_file(pid, "stat").rpartition(")")[2].split()


def threads(pid):
    """{id: name}"""
    try:
        ids = [int(t) for t in os.listdir("/proc/%d/task" % pid)]
    except OSError:
        ids = []
    return {t: proc_file(t, "comm").strip() for t in ids}


def children(pid):
    pids = [int(p) for p in os.listdir("/proc") if p.isdigit()]
    return [p for p in pids if stat_fields(p)[1:2] == [str(pid)]]


def is_running(pid):
    return stat_fields(pid)[:1] not in ([], ["Z"])


def run(*argv, **kw):
    """Run a command to its end; the CompletedProcess, with texts."""
    env = dict(os.environ, **SANITIZER_ENV)
    return subprocess.run(argv, text=True, errors="surrogateescape", env=env, timeout=60 * SLOW,
                          stdin=kw.pop("stdin", subprocess.DEVNULL) if "input" not in kw else None,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kw)


# --- files ----------------------------------------------------------------------------------

def render(value):
    """A Python value in libconfig's syntax."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    if isinstance(value, dict):
        return "{ %s}" % "".join("%s = %s; " % (k, render(v)) for k, v in value.items())
    inner = ", ".join(render(v) for v in value)
    return "( %s )" % inner if value and isinstance(value[0], dict) else "[ %s ]" % inner


def replace(path, text):
    """Write a file so that nobody ever sees half of it."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.rename(path + ".new", path)


def scratch():
    """A private directory for this test, removed at its end."""
    path = tempfile.mkdtemp(prefix="sm", dir="/tmp")
    os.chmod(path, 0o755)
    atexit.register(shutil.rmtree, path, True)
    return path


def database(path, script):
    """A fresh SQLite database made by an SQL script."""
    import sqlite3
    with sqlite3.connect(path) as db:
        db.executescript(script)
    db.close()


# --- the server -----------------------------------------------------------------------------

def parse_line(line):
    """The fields of a log line."""
    fields = {}
    for name, value in re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S*)', line):
        fields[name] = value[1:-1] if value.startswith('"') else value
    return fields


class Server:
    """
    One socketmapd with its configuration in a private directory. `daemon`, `listeners`,
    `sources` and `maps` may be changed and take effect with reload().
    """

    def __init__(self, maps=None, sources=None, listeners=None, limit_files=None, **daemon):
        self.dir = scratch()
        self.socket = self.dir + "/s"
        self.conf = self.dir + "/socketmapd.conf"
        self.logfile = self.dir + "/log"
        self.listeners = listeners or [self.listener()]
        self.sources, self.maps = sources or [], maps or {}
        self.state = self.dir + "/state"
        self.daemon = dict({"threads": 2, "log_keys": "full", "state_directory": self.state},
                           **daemon)
        self.limit_files = limit_files
        self.env = {}
        self.process = None
        self.is_stopped = False

    def listener(self, **settings):
        return dict({"protocol": "socketmap", "address": "unix:" + self.socket,
                     "mode": "0666"}, **settings)

    def write(self):
        text = "".join("%s = %s;\n" % (k, render(v)) for k, v in self.daemon.items())
        text += "listeners = (\n  %s\n);\n" % ",\n  ".join(map(render, self.listeners))
        text += "sources = (\n  %s\n);\n" % ",\n  ".join(map(render, self.sources))
        replace(self.conf, text)
        maps = self.dir + "/maps.d"
        os.makedirs(maps, exist_ok=True)
        for name in set(os.listdir(maps)) - {n + ".conf" for n in self.maps}:
            os.unlink(maps + "/" + name)
        for name, settings in self.maps.items():
            if isinstance(settings, dict):
                settings = "".join("%s = %s;\n" % i for i in
                                   ((k, render(v)) for k, v in settings.items()))
            replace("%s/%s.conf" % (maps, name), settings)

    def spawn(self, *args):
        """Start without waiting for anything."""
        def prepare():
            die_with_parent()
            if self.limit_files:
                resource.setrlimit(resource.RLIMIT_NOFILE, (self.limit_files, self.limit_files))
        with open(self.logfile, "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "-c", self.conf, *args], stdin=subprocess.DEVNULL, stderr=log,
                stdout=log, preexec_fn=prepare,
                env=dict(os.environ, **SANITIZER_ENV, **self.env))
        self.is_stopped = False
        return self.process

    def start(self):
        self.write()
        self.spawn()
        if not wait_for(lambda: self.process.poll() is not None or self.answers()) or \
                self.process.poll() is not None:
            note(self.log())
            raise RuntimeError("the server does not start")
        return self

    def answers(self):
        """Can one connect to all that it listens on?"""
        try:
            for l in self.listeners:
                connect(l["address"]).close()
            return True
        except OSError:
            return False

    @property
    def pid(self):
        return self.process.pid

    def signal(self, number):
        self.process.send_signal(number)

    def log(self):
        with open(self.logfile, encoding="utf-8", errors="surrogateescape") as f:
            return f.read()

    def events(self, event, **fields):
        """The log lines of one event, parsed, with these fields."""
        lines = (parse_line(line) for line in self.log().splitlines())
        return [f for f in lines if f.get("event") == event and
                all(f.get(k) == str(v) for k, v in fields.items())]

    def wait_for_event(self, event, n=1, seconds=10, **fields):
        """Wait until `n` such lines exist; the last one, or None."""
        wait_for(lambda: len(self.events(event, **fields)) >= n, seconds)
        found = self.events(event, **fields)
        return found[-1] if len(found) >= n else None

    def reload(self, event="reloaded", write=True):
        """
        Write the configuration, SIGHUP, wait for the event that tells the outcome, and return
        it, or None. The signal is repeated, as lines that come too often are not written.
        """
        if write:
            self.write()
        n = len(self.events(event))
        for _ in range(6):
            self.signal(signal.SIGHUP)
            found = self.wait_for_event(event, n + 1, 1.5 / SLOW)
            if found:
                return found
        return None

    def stats(self):
        """What SIGUSR1 says of each map: {map: fields}."""
        n = len(self.events("stats"))
        self.signal(signal.SIGUSR1)
        wait_for(lambda: any("clients" in f for f in self.events("stats")[n:]))
        return {f["map"]: f for f in self.events("stats")[n:] if "map" in f}

    def client(self, listener=0):
        return Client(self.listeners[listener]["address"])

    def ask(self, map, key):
        """One question on a connection of its own."""
        with self.client() as c:
            return c.ask(map, key)

    def wait_for_reply(self, map, key, pattern, seconds=10):
        """Ask until the reply looks right; the last reply."""
        reply = [None]

        def is_right():
            reply[0] = self.ask(map, key)
            return re.search(pattern, reply[0] or "")
        wait_for(is_right, seconds)
        return reply[0]

    def drivers(self):
        return children(self.pid)

    def threads(self):
        return len(os.listdir("/proc/%d/task" % self.pid))

    def descriptors(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    def rss(self):
        with open("/proc/%d/statm" % self.pid) as f:
            return int(f.read().split()[1]) * resource.getpagesize()

    def stop(self):
        """SIGTERM, and what is wrong with how it ends; None when all is well."""
        if self.process.poll() is None and not self.is_stopped:
            self.signal(signal.SIGTERM)
        return self.finish()

    def finish(self, seconds=15):
        """Wait for the end of a server that has been told to stop; what is wrong, or None."""
        if self.is_stopped:
            return None
        self.is_stopped = True
        drivers = self.drivers()
        try:
            status = self.process.wait(seconds * SLOW)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return "does not stop"
        found = SANITIZER.search(self.log())
        if found:
            return self.log()[found.start():][:6000]
        if status:
            return "exit status %d" % status
        if not wait_for(lambda: not any(map(is_running, drivers))):
            return "drivers left behind: %s" % drivers
        return None

    def __enter__(self):
        return self if self.process and not self.is_stopped else self.start()

    def __exit__(self, kind, value, trace):
        wrong = self.stop()
        if kind or wrong:
            note("log of the server:\n" + self.log()[-6000:])
        if not kind:
            ok(not wrong, "the server stops cleanly", wrong)


# --- clients --------------------------------------------------------------------------------

def netstring(data):
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    return b"%d:%s," % (len(data), data)


def connect(address, timeout=20):
    """A socket to "unix:/path", "inet:127.0.0.1:1", "inet:[::1]:1"."""
    kind, _, rest = address.partition(":")
    s = None
    try:
        if kind == "unix":
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(timeout * SLOW)
            s.connect(rest)
        else:
            host, _, port = rest.rpartition(":")
            s = socket.create_connection((host.strip("[]"), int(port)), timeout * SLOW)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        if s:
            s.close()
        raise
    return s


class Client:
    """A socketmap client; None instead of a reply means that the server has closed."""

    def __init__(self, address):
        self.socket = connect(address)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _more(self):
        """Receive once; False at the end of the stream."""
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        self.buffer += data
        return bool(data)

    def read_until(self, complete):
        """Take complete(buffer) bytes as soon as that is not None; None at the end."""
        while complete(self.buffer) is None:
            if not self._more():
                return None
        n = complete(self.buffer)
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_all(self):
        """Everything up to the end of the stream."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    @staticmethod
    def _netstring_length(data):
        digits, colon, _ = data.partition(b":")
        n = len(digits) + 1 + int(digits) + 1 if colon else None
        return n if n and len(data) >= n else None

    def read_raw(self):
        """One whole reply as it is on the wire."""
        return self.read_until(self._netstring_length)

    def read(self):
        data = self.read_raw()
        return data and data[data.index(b":") + 1:-1].decode("utf-8", "surrogateescape")

    @staticmethod
    def request(map, key):
        return netstring(map + " " + key)

    def ask(self, map, key):
        try:
            self.send(self.request(map, key))
        except ConnectionError:
            return None
        return self.read()

    def is_silent(self, seconds=0.4):
        """Nothing comes for that long, not even the end of the stream."""
        if self.buffer:
            return False
        timeout = self.socket.gettimeout()
        self.socket.settimeout(seconds)
        try:
            self.buffer = self.socket.recv(1)
            return False
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(timeout)

    def is_closed(self, within=5):
        """The server closes, having said nothing more."""
        self.socket.settimeout(within * SLOW)
        try:
            return self.buffer == b"" and self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True


class TableClient(Client):
    """A tcp_table client; replies without their newline, still encoded."""

    def read_raw(self):
        return self.read_until(lambda b: b.index(b"\n") + 1 if b"\n" in b else None)

    def read(self):
        line = self.read_raw()
        return line and line[:-1].decode("ascii", "surrogateescape")

    def ask(self, key):
        data = key.encode("utf-8", "surrogateescape")
        self.send(b"get " + b"".join(b"%c" % b if 33 <= b < 127 and b != 37 else b"%%%02X" % b
                                     for b in data) + b"\n")
        return self.read()


class Load:
    """
    Clients that ask without a pause, each in a thread with one connection. `check(key, reply)`
    says what is wrong with a reply, or None; a closed connection is wrong too.
    """

    def __init__(self, server, ask, keys, check, clients=4):
        self.server, self.map, self.keys, self.check = server, ask, list(keys), check
        self.count, self.wrong = [0] * clients, []
        self.verdicts = collections.Counter()
        self.is_over = False
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(clients)]

    def _run(self, i):
        pick = random.Random(i)
        try:
            with self.server.client() as c:
                while not self.is_over:
                    key = pick.choice(self.keys)
                    reply = c.ask(self.map, key)
                    wrong = self.check(key, reply) if reply is not None else "closed"
                    self.count[i] += 1
                    self.verdicts[(reply or "EOF").partition(" ")[0]] += 1
                    if wrong:
                        self.wrong.append("%s: %r: %s" % (key, reply, wrong))
                    if reply is None:
                        return
        except Exception as e:
            self.wrong.append(repr(e))

    def total(self):
        return sum(self.count)

    def __enter__(self):
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        for t in self.threads:
            t.join()


# --- a directory that does what it is told -----------------------------------------------------

Activity = collections.namedtuple("Activity", "time pid what text")


class Directory:
    """
    What t/lib/fake_driver plays: rows by table, a script of faults (see there), and a log of
    everything it was asked.
    """

    def __init__(self, dir, name="fake"):
        self.name = name
        self.dir = "%s/%s" % (dir, name)
        os.makedirs(self.dir)
        self.script("")

    def source(self, **settings):
        return dict({"name": self.name, "driver": FAKE_DRIVER, "script": self.dir + "/script",
                     "activity": self.dir + "/activity", "data": self.dir + "/rows"}, **settings)

    def rows(self, rows):
        """{key: value or [values]}"""
        lines = []
        for key, values in rows.items():
            for v in [values] if isinstance(values, str) else values:
                lines.append("%s\t%s\n" % (key, v))
        replace(self.dir + "/rows", "".join(lines))

    def script(self, text):
        replace(self.dir + "/script", text)

    def activity(self, what=None, text=None):
        """All that was done, of one kind if named."""
        try:
            with open(self.dir + "/activity", encoding="utf-8", errors="surrogateescape") as f:
                lines = [line.rstrip("\n").split(" ", 3) for line in f]
        except FileNotFoundError:
            return []
        all = [Activity(float(t), int(p), w, rest) for t, p, w, rest in lines]
        return [a for a in all if what in (None, a.what) and text in (None, a.text)]

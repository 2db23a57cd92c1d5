"""
What the tests of restarts share: a server with inherited sockets, the hand-over by --replace, and
clients that notice every gap.
"""
import os
import random
import socket
import subprocess
import sys
import threading

import harness
from harness import Client, Server, TableClient, connect, wait_for

# Becomes the server, with sockets from 3 on and the variables of sd_listen_fds(3).
SHIM = """
import os, sys
pid, names, n = sys.argv[1:4]
fds = [int(a) for a in sys.argv[4:4 + int(n)]]
high = [os.dup2(fd, 100 + i, False) for i, fd in enumerate(fds)]
for fd in set(fds):
    os.close(fd)
for i, fd in enumerate(high):
    os.dup2(fd, 3 + i)
os.environ.update(LISTEN_PID=pid or str(os.getpid()), LISTEN_FDS=n, LISTEN_FDNAMES=names)
if names == "-":
    del os.environ["LISTEN_FDNAMES"]
os.execv(sys.argv[4 + int(n)], sys.argv[4 + int(n):])
"""


class Activated(Server):
    """Started with `inherited`, a list of (name, socket), as systemd would."""

    inherited = ()
    names = listen_pid = ""     # instead of what would be right
    environment = {}

    def spawn(self, *args):
        fds = [s.fileno() for _, s in self.inherited]
        names = self.names or ":".join(n for n, _ in self.inherited)
        with open(self.logfile, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SHIM, self.listen_pid, names, str(len(fds)),
                 *map(str, fds), harness.PROGRAM, "-c", self.conf, *args], pass_fds=fds,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                preexec_fn=harness.die_with_parent,
                env=dict(os.environ, **harness.SANITIZER_ENV, **self.environment))
        self.is_stopped = False
        return self.process

    def start(self):
        """A connection says nothing here: the sockets listen all the time."""
        self.write()
        self.spawn()
        n = len(self.events("started"))
        if not wait_for(lambda: self.process.poll() is not None or
                        len(self.events("started")) > self.starts) or \
                self.process.poll() is not None:
            harness.note(self.log())
            raise RuntimeError("the server does not start")
        self.starts = len(self.events("started"))
        return self

    starts = 0


def listening(family=socket.AF_INET, address=None):
    """A listening socket, and its address for clients."""
    s = socket.socket(family)
    s.bind(address or (("127.0.0.1", 0) if family == socket.AF_INET else ("::1", 0)))
    s.listen(1024)
    if family == socket.AF_UNIX:
        os.chmod(address, 0o666)
        return s, "unix:" + address
    host, port = s.getsockname()[:2]
    return s, "inet:%s:%d" % (host if family == socket.AF_INET else "[%s]" % host, port)


def replace(server, *args):
    """
    Start another process and wait until it has taken the place of the one that runs. What is
    wrong, or None.
    """
    old, drivers = server.process, server.drivers()
    n = len(server.events("replaced"))
    new = server.spawn("--replace", *args)
    wait_for(lambda: new.poll() is not None or len(server.events("replaced")) > n, 30)
    if new.poll() is not None:
        server.process = old
        return "exit status %d" % new.poll()
    if not server.events("replaced", process=old.pid):
        return "not replaced"
    status = old.wait(10)
    if status:
        return "the old one: exit status %d" % status
    if not wait_for(lambda: not any(map(harness.is_running, drivers))):
        return "drivers of the old one are left"
    return None


def refused(server, *args, seconds=15):
    """Start another process that is to fail: (exit status, what it wrote). `server` stays as it is."""
    old, before = server.process, len(server.log())
    new = server.spawn("--replace", *args)
    server.process = old
    try:
        status = new.wait(seconds * harness.SLOW)
    except subprocess.TimeoutExpired:
        new.kill()
        status = new.wait()
    return status, server.log()[before:]


class Callers:
    """
    Each calls again and again: connects to one of `addresses`, asks, and hangs up. Everything but
    the right answer is wrong: a refusal, a reset, a hang-up, a TEMP. `check` is as of Load.
    """

    def __init__(self, addresses, ask, keys, check, callers=4, table=()):
        self.addresses, self.map, self.keys, self.check = addresses, ask, list(keys), check
        self.table = table      # addresses that speak tcp_table
        self.count, self.wrong, self.is_over = [0] * callers, [], False
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(callers)]

    def _run(self, i):
        pick = random.Random(i)
        while not self.is_over:
            address, key = pick.choice(self.addresses), pick.choice(self.keys)
            try:
                if address in self.table:
                    with TableClient(address) as c:
                        reply = c.ask(key)
                        reply = reply and reply.replace("200 ", "OK ").replace("500 ", "NOTFOUND ")
                else:
                    with Client(address) as c:
                        reply = c.ask(self.map, key)
                wrong = "closed" if reply is None else self.check(key, reply)
            except OSError as e:
                wrong = repr(e)
            self.count[i] += 1
            if wrong:
                self.wrong.append("%s %s: %s" % (address, key, wrong))

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


class Stayers(Callers):
    """
    Each keeps its connection and does what Postfix does when it is lost: connect and ask once
    more (postfix-client.md 2.4).
    """

    def _run(self, i):
        pick = random.Random(i)
        address, c = self.addresses[i % len(self.addresses)], None
        while not self.is_over:
            key, wrong = pick.choice(self.keys), None
            for attempt in range(2):
                try:
                    c = c or Client(address)
                    reply = c.ask(self.map, key)
                    wrong = "closed twice" if reply is None else self.check(key, reply)
                except OSError as e:
                    wrong, reply = repr(e), None
                if reply is not None:
                    break
                if c:
                    c.close()
                c = None
            self.count[i] += 1
            if wrong:
                self.wrong.append("%s %s: %s" % (address, key, wrong))
        if c:
            c.close()


class Manager:
    """A service manager's end of sd_notify(3)."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(10 * harness.SLOW)

    def heard(self):
        """The next message: {variable: value}."""
        try:
            data = self.socket.recv(4096).decode()
        except TimeoutError:
            return None
        return dict(line.split("=", 1) for line in data.split("\n"))

    def is_silent(self):
        self.socket.settimeout(0)
        try:
            return not self.socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(10 * harness.SLOW)

#!/usr/bin/env python3
# sanitizers: yes
"""The program as a process: command line, sockets, signals, limits, privileges."""
import grp
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import threading
import time

sys.path.insert(0, "t/lib")
from harness import *

MAPS = {"m": {"source": "fake", "search": "exact", "mode": "demand", "deadline": "20s"}}


def fresh(**settings):
    """A server with a scripted directory, not started."""
    server = Server(dict(MAPS), **settings)
    directory = Directory(server.dir)
    directory.rows({"a": "1"})
    server.sources = [directory.source(timeout="60s")]
    return server, directory


def check_command_line():
    server, _ = fresh()
    server.write()
    good = run(PROGRAM, "-c", server.conf, "-t")
    same(good.returncode, 0, "-t accepts a good configuration")
    same(run(PROGRAM, "--check", "-c", server.conf).returncode, 0, "--check is the same")
    ok(not os.path.exists(server.socket), "-t opens no socket")

    replace(server.conf, "listeners = ();\nthraeds = 2;\n")
    bad = run(PROGRAM, "-c", server.conf, "-t")
    same(bad.returncode, 1, "-t refuses a bad one with exit status 1")
    like(bad.stderr, r"socketmapd\.conf:2\b.*threads", "and names file, line and the nearest name")
    ok(run(PROGRAM, "-c", server.conf).returncode not in (0, 99), "nor does it start with it")

    for argv, status in (((), 1), (("-t",), 1)):
        missing = run(PROGRAM, "-c", server.dir + "/none.conf", *argv)
        same(missing.returncode, status, "a missing file: exit status 1 %s" % (argv,))
        like(missing.stderr, r"none\.conf", "and it is named")

    version = run(PROGRAM, "--version")
    same(version.returncode, 0, "--version")
    for library in ("socketmapd", "libuv", "libconfig", "utf8proc", "xxhash"):
        like(version.stdout, r"(?i)%s[ /]v?\d+\.\d+" % library, "--version names " + library)
    help = run(PROGRAM, "--help")
    ok(help.returncode == 0 and "--version" in help.stdout and not help.stderr, "--help",
       help.stdout, help.stderr)
    for argv in (["--nonsense"], ["-c"], ["-c", server.conf, "surplus"],
                 ["-c", server.conf, "-t", "--replace"]):
        bad = run(PROGRAM, *argv)
        ok(bad.returncode == 2 and bad.stderr and not bad.stdout,
           "wrong usage ends with exit status 2: " + " ".join(argv[-1:]), bad)
    driver = run(os.path.abspath(BUILD + "/socketmapd-sqlite"), "--version")
    like(driver.stdout, r"(?i)sqlite[ /]\d+\.\d+", "the driver names its library")


def check_journal():
    """Lines that go to systemd's journal tell it their priority, and others are as they are."""
    for is_journal in True, False:
        server, _ = fresh()
        open(server.logfile, "w").close()
        st = os.stat(server.logfile)
        server.env = {"JOURNAL_STREAM": "%d:%d" % (st.st_dev, st.st_ino + (not is_journal))}
        with server:
            server.ask("unknown", "a")
            wait_for(lambda: "unknown_map" in server.log())
        replace(server.conf, "thraeds = 1;\n")
        server.spawn().wait(20)
        lines = server.log().splitlines()
        for priority, start in (6, "socketmapd: info: event=started "), \
                (4, "socketmapd: warn: event=unknown_map "), (3, "socketmapd: %s:1: unknown" % server.conf):
            want = ("<%d>" % priority if is_journal else "") + start
            ok(any(line.startswith(want) for line in lines), "a line begins with %s" % want, lines)
        same([line for line in lines if line.startswith("<") != is_journal], [], "and so do all others")


def check_sockets():
    server, _ = fresh()
    postfix = grp.getgrnam("postfix")
    server.listeners = [server.listener(mode="0660", owner="nobody", group="postfix")]
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(server.socket)
    with server:
        s = os.stat(server.socket)
        same(server.ask("m", "a"), "OK 1", "a stale socket file is taken over")
        same(oct(stat.S_IMODE(s.st_mode)), oct(0o660), "mode of the socket")
        same((s.st_uid, s.st_gid), (pwd.getpwnam("nobody").pw_uid, postfix.gr_gid),
             "owner and group of the socket")
        second = run(PROGRAM, "-c", server.conf)
        ok(second.returncode not in (0, 99), "a second server on the socket refuses to start")
        like(second.stderr, re.escape(server.socket), "and names the socket")
        same(server.ask("m", "a"), "OK 1", "the first one still answers")
    with server:
        same(server.ask("m", "a"), "OK 1", "and starts again on the same path")

    server, _ = fresh()
    server.write()
    replace(server.socket, "not a socket")
    refused = run(PROGRAM, "-c", server.conf)
    ok(refused.returncode not in (0, 99), "a file that is no socket: refuses to start")
    with open(server.socket) as f:
        same(f.read(), "not a socket", "and leaves the file alone")

    server, _ = fresh()
    port = free_port()
    server.listeners.append({"protocol": "socketmap", "address": "inet:127.0.0.1:%d" % port})
    if socket.has_ipv6 and os.path.exists("/proc/net/if_inet6"):
        server.listeners.append({"protocol": "socketmap", "address": "inet:[::1]:%d" % port})
    with server:
        for l in server.listeners:
            with Client(l["address"]) as c:
                same(c.ask("m", "a"), "OK 1", "answers on " + l["address"].replace(server.dir, ""))
        second, _ = fresh()
        second.listeners = [second.listener(), server.listeners[1]]
        second.write()
        refused = run(PROGRAM, "-c", second.conf)
        ok(refused.returncode not in (0, 99), "a port in use: refuses to start")
        like(refused.stderr, ":%d" % port, "and names it")


def check_sigterm():
    server, directory = fresh(stop_timeout="20s")
    directory.script("lookup late delay 0.7; value x; done")
    server.start()
    with server.client() as idle, server.client() as waiting:
        same(idle.ask("m", "a"), "OK 1", "before SIGTERM")
        waiting.send(Client.request("m", "late"))
        wait_for(lambda: directory.activity("lookup", "late"))
        server.signal(signal.SIGTERM)
        ok(idle.is_closed(), "SIGTERM: an idle client is closed")
        ok(wait_for(lambda: not server.answers()), "SIGTERM: no new clients")
        same(waiting.read(), "OK x", "SIGTERM: a request under way is answered")
        ok(waiting.is_closed(), "and then closed")
    same(server.finish(), None, "SIGTERM ends it with exit status 0, and its drivers")

    server, directory = fresh(stop_timeout="60s")
    directory.script("lookup never silent")
    server.start()
    with server.client() as waiting:
        waiting.send(Client.request("m", "never"))
        wait_for(lambda: directory.activity("lookup", "never"))
        server.signal(signal.SIGTERM)
        wait_for(lambda: not server.answers())
        ok(server.process.poll() is None, "the first SIGTERM waits for a request")
        server.signal(signal.SIGTERM)
        ok(wait_for(lambda: server.process.poll() is not None, 3), "a second one ends it at once")
    ok(not SANITIZER.search(server.log()), "cleanly", server.log()[-3000:])
    drivers = {a.pid for a in directory.activity("start") + directory.activity("hello")}
    ok(wait_for(lambda: not any(map(is_running, drivers))), "and no driver is left", drivers)
    server.is_stopped = True

    server, directory = fresh(stop_timeout="500ms")
    directory.script("lookup never silent")
    server.start()
    with server.client() as waiting:
        waiting.send(Client.request("m", "never"))
        wait_for(lambda: directory.activity("lookup", "never"))
        server.signal(signal.SIGTERM)
        reply = waiting.read()
        ok(reply is None or reply.startswith("TEMP "), "stop_timeout bounds the wait", reply)
    same(server.finish(3), None, "and it ends")


def check_sigterm_under_load():
    """Clients see whole replies, or the end of the stream between two."""
    server, directory = fresh()
    server.start()
    bad, count = [], [0]

    def ask_until_closed():
        with server.client() as c:
            try:
                while True:
                    c.send(b"3:m a," * 5)
                    for _ in range(5):
                        reply = c.read()
                        if reply != "OK 1":
                            if reply is not None or c.buffer:
                                bad.append((reply, c.buffer))
                            return
                        count[0] += 1
            except OSError:
                pass
    threads = [threading.Thread(target=ask_until_closed) for _ in range(4)]
    for t in threads:
        t.start()
    wait_for(lambda: count[0] > 1000)
    same(server.stop(), None, "SIGTERM under load ends it")
    for t in threads:
        t.join()
    same(bad, [], "and nobody saw half a reply")


def check_limits():
    server, _ = fresh(limit_files=128)
    server.write()
    process = server.spawn()
    ok(wait_for(lambda: process.poll() is not None) and process.returncode not in (0, 99),
       "RLIMIT_NOFILE below max_clients: refuses to start")
    like(server.log(), r"(?i)max_clients|nofile|descriptor", "and says why")
    server.is_stopped = True
    server.daemon["max_clients"] = 20
    server.limit_files = 256
    with server:
        same(server.ask("m", "a"), "OK 1", "with fewer clients it starts")


def status_of(pid):
    return dict(line.split(":\t", 1) for line in proc_file(pid, "status").splitlines() if ":\t" in line)


def check_privileges():
    if os.geteuid():
        note("not root: dropping privileges is not tested")
        return
    nobody = pwd.getpwnam("nobody")
    server, _ = fresh(user="nobody", group="nogroup")
    server.listeners = [server.listener(mode="0660", group="postfix")]
    before = os.getgroups()
    os.setgroups([0, 4, 27])        # what a careless start script may leave us
    try:
        server.start()
    finally:
        os.setgroups(before)
    with server.client() as c:
        s = status_of(server.pid)
        same(s["Uid"].split(), [str(nobody.pw_uid)] * 4, "user: all four ids")
        same(s["Gid"].split(), [str(nobody.pw_gid)] * 4, "group: all four ids")
        same(set(s["Groups"].split()) - {str(nobody.pw_gid)}, set(), "no supplementary group")
        same(int(s["CapEff"], 16) | int(s["CapPrm"], 16), 0, "no capability")
        for task in os.listdir("/proc/%d/task" % server.pid):
            s = status_of(int(task))
            if s["Uid"].split() != [str(nobody.pw_uid)] * 4:
                ok(False, "a thread keeps its privileges")
        same(os.stat(server.socket).st_gid, grp.getgrnam("postfix").gr_gid,
             "the socket was made before")
        like(c.ask("nix", "a"), "^TEMP ", "and it answers")
    same(server.stop(), None, "and stops")
    server, _ = fresh(user="no-such-user")
    server.write()
    ok(run(PROGRAM, "-t", "-c", server.conf).returncode == 1, "an unknown user is an error")


def check_threads_and_descriptors():
    counts = {}
    for n in (1, 5):
        server, _ = fresh(threads=n)
        with server:
            server.ask("m", "a")
            counts[n] = server.threads()
            for _ in range(10):     # each loop opens a spare descriptor with its first client
                server.ask("m", "a")
            before = server.descriptors()
            for i in range(2000):
                with server.client() as c:
                    if i % 3:
                        c.send(b"3:m a," if i % 2 else b"3:")
                    if i % 10 == 0:
                        c.ask("m", "a")
            ok(wait_for(lambda: server.descriptors() <= before),
               "2000 connections leak no descriptor, threads = %d" % n, before,
               server.descriptors())
            same(server.threads(), counts[n], "nor a thread")
    same(counts[5] - counts[1], 4, "threads = N are N answer loops")


def check_signals():
    server, _ = fresh()
    with server:
        server.ask("m", "a")
        for number in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGWINCH, signal.SIGCHLD):
            server.signal(number)
        same(server.ask("m", "a"), "OK 1", "odd signals do no harm")
        stats = server.stats()
        ok("m" in stats, "SIGUSR1 logs a line about each map", server.log())
        note(stats.get("m"))


check_command_line()
check_journal()
check_sockets()
check_sigterm()
check_sigterm_under_load()
check_limits()
check_privileges()
check_threads_and_descriptors()
check_signals()
done()

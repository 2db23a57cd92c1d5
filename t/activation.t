#!/usr/bin/env python3
# sanitizers: yes
"""
What a service manager gives and wants to know, without one: inherited sockets (sd_listen_fds(3)),
over which a restart is not noticed, and notifications (sd_notify(3)).
"""
import os
import re
import signal
import socket
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from restart import Activated, Callers, Manager, Stayers, listening, replace

ROWS = {"k%d" % i: "v%d" % i for i in range(500)}
KEYS = list(ROWS) + ["x%d" % i for i in range(20)]
MIRROR = {"source": "fake", "search": "exact", "mode": "mirror", "on_miss": "notfound"}


def check(key, reply):
    wanted = "OK " + ROWS[key] if key in ROWS else "NOTFOUND"
    return None if reply.strip() == wanted else "got %.60r" % reply


def by_name(name, **settings):
    return dict({"protocol": "socketmap", "address": "systemd:" + name}, **settings)


def table(name):
    return by_name(name, protocol="tcp_table", map="m")


def fresh(listeners, inherited, **daemon):
    server = Activated({"m": dict(MIRROR)}, **daemon)
    directory = Directory(server.dir)
    directory.rows(ROWS)
    server.sources = [directory.source()]
    server.listeners = listeners
    server.inherited = inherited
    return server, directory


def ask(address, key="k1"):
    with Client(address) as c:
        return c.ask("m", key)


def wait_until_loaded(server):
    server.wait_for_event("ready", len(server.events("started")))


def sockets_of(pid):
    """Numbers that identify them."""
    links = []
    for fd in os.listdir("/proc/%d/fd" % pid):
        try:
            links.append(os.readlink("/proc/%d/fd/%s" % (pid, fd)))
        except OSError:
            pass
    return {int(m[1]) for m in (re.fullmatch(r"socket:\[(\d+)\]", l) for l in links) if m}


def number(s):
    return os.fstat(s.fileno()).st_ino


def check_names(dir):
    """Each listener gets all sockets of its name, of any kind, and no others."""
    four, four_address = listening()
    six, six_address = listening(socket.AF_INET6)
    path, path_address = listening(socket.AF_UNIX, dir + "/p")
    tcp, tcp_address = listening()
    other, _ = listening()
    server, _ = fresh([by_name("maps"), table("transport")],
                      [("maps", four), ("other", other), ("transport", tcp), ("maps", path),
                       ("maps", six)])
    with server:
        wait_until_loaded(server)
        same([ask(a) for a in (four_address, six_address, path_address)], ["OK v1"] * 3,
             "three sockets of one name answer")
        with TableClient(tcp_address) as c:
            same(c.ask("k2"), "200 v2", "and the one of another name, in its protocol")
        ok(server.events("socket_unwanted", name="other"), "one that nobody wants is told")
        all = {number(s) for s in (four, six, path, tcp, other)}
        same(sockets_of(server.pid) & all, all - {number(other)}, "and closed")
        same([sockets_of(p) & all for p in server.drivers()], [set()] * len(server.drivers()),
             "driver processes have none of them")
        same([v for p in server.drivers() + [server.pid] for v in proc_file(p, "environ").split("\0")
              if p != server.pid and v.startswith(("LISTEN_", "NOTIFY_"))], [],
             "nor the variables")

        descriptors = server.descriptors()
        server.listeners = [by_name("maps", idle_timeout="50s")]
        ok(server.reload(), "a reload changes one and drops the other")
        same([ask(a) for a in (four_address, path_address)], ["OK v1"] * 2, "the first answers")
        server.listeners = [by_name("transport"), by_name("maps")]
        ok(server.reload(), "the dropped one comes back")
        same([ask(a) for a in (tcp_address, six_address)], ["OK v1"] * 2, "on the same socket")
        ok(wait_for(lambda: server.descriptors() <= descriptors + 2), "descriptors as before")
        server.listeners.append(by_name("other"))
        ok(server.reload("reload_refused"), "one that was closed at the start is gone")
    ok(os.path.exists(dir + "/p"), "at the end the path of a unix socket is not ours to remove")
    for s in (four, six, path, tcp, other):
        s.close()


def status_of(server, **settings):
    """The exit status of a start that fails, and what it says."""
    server.write()
    for name, value in settings.items():
        setattr(server, name, value)
    process = server.spawn()
    try:
        return process.wait(15 * SLOW), server.log()
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait(), server.log()


def check_mistakes(dir):
    s, address = listening()
    file = socket.socket()
    datagram = socket.socket(type=socket.SOCK_DGRAM)
    datagram.bind(("127.0.0.1", 0))
    faults = [
        ("no such name", [("other", s)], {}, "FileDescriptorName=maps"),
        ("for another process", [("maps", s)], {"listen_pid": "1"}, "FileDescriptorName=maps"),
        ("fewer names than sockets", [("maps", s), ("maps", s)], {"names": "maps"},
         "1 names for 2 descriptors"),
        ("no names: unknown", [("", s)], {"names": "-"}, "FileDescriptorName=maps"),
        ("a datagram socket", [("maps", datagram)], {}, "no listening stream socket"),
        ("a socket that does not listen", [("maps", file)], {}, "no listening stream socket"),
    ]
    for name, inherited, settings, pattern in faults:
        server, _ = fresh([by_name("maps")], inherited)
        status, log = status_of(server, **settings)
        same(status, 1, "%s: exit status 1" % name)
        like(log, pattern, "%s: and what is wrong" % name)
    for wrong, pattern in ((by_name(""), "FileDescriptorName"), (by_name("a:b"), "wants a name"),
                           (by_name("a", mode="0600"), "mode is for unix: addresses")):
        server, _ = fresh([wrong], [])
        status, log = status_of(server)
        same(status, 1, "%s: refused" % wrong)
        like(log, pattern, "with the reason")
    server, _ = fresh([by_name("unknown")], [("", s)])
    server.names = "-"
    with server:
        wait_until_loaded(server)
        same(ask(address), "OK v1", "without LISTEN_FDNAMES a socket is called \"unknown\"")
    s.close()


def ask_a_server_that_stops(server, all):
    """Those who are in while it is told to stop; their replies, and whether they were in time."""
    begin = time.monotonic()
    new = [Client(a) for a in all]
    for a in all:
        ask(a)              # as they are let in one after the other
    n = len(server.events("stopping"))
    server.signal(signal.SIGTERM)
    server.wait_for_event("stopping", n + 1)
    replies = [c.ask("m", "k3") for c in new]
    in_time = time.monotonic() < begin + 1
    for c in new:
        c.close()
    return replies, in_time


def check_silent(server, all):
    """Who has come but not asked yet has a second to do so."""
    for _ in range(5):
        replies, in_time = ask_a_server_that_stops(server, all)
        same(server.finish(), None, "it stops")
        server.start()
        if in_time:
            break
    same((replies, in_time), (["OK v3"] * len(all), True), "who was in might ask yet")
    for _ in range(5):      # the loops may let all in before the signal is heard
        server.signal(signal.SIGSTOP)
        waiting = [Client(all[0]) for _ in range(200)]
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        same(server.finish(), None, "another one that stops")
        server.start()
        answered = [c.ask("m", "k3") for c in waiting].count("OK v3")
        if answered > 100:
            break
    ok(answered > 100, "leaves who is not in yet to the next one", answered)
    for c in waiting:
        c.close()


def check_restart(dir):
    """The parent keeps the sockets: who comes between two servers waits, and is answered."""
    four, address = listening()
    path, path_address = listening(socket.AF_UNIX, dir + "/r")
    server, _ = fresh([by_name("maps")], [("maps", four), ("maps", path)])
    all = [address, path_address]
    with server:
        wait_until_loaded(server)
        with Callers(all, "m", KEYS, check) as callers, Stayers(all, "m", KEYS, check) as stayers:
            for i in range(3 if SLOW == 1 else 2):
                before = callers.total() + stayers.total()
                wait_for(lambda: callers.total() + stayers.total() > before + 1000)
                same(server.stop(), None, "under load: stopped (%d)" % (i + 1))
                between = [Client(a) for a in all for _ in range(100)]
                for c in between:
                    c.send(Client.request("m", "k3"))
                server.start()
                same({c.read() for c in between}, {"OK v3"}, "who came between is answered")
                for c in between:
                    c.close()
        check_silent(server, all)
        same(callers.wrong[:3], [], "each connection is made and answered")
        same(stayers.wrong[:3], [], "no wrong answer on those that are kept")
        note("%d connections, %d requests" % (callers.total(), stayers.total()))
    four.close()
    path.close()


def ready(pid):
    return {"READY": "1", "MAINPID": str(pid)}


def check_notifications(dir, address, told, **daemon):
    manager = Manager(address)
    server, directory = fresh([{"protocol": "socketmap", "address": "unix:%s/n" % dir,
                                "mode": "0666"}], [], start_wait="30s", **daemon)
    server.environment = {"NOTIFY_SOCKET": told}
    directory.script("scan * delay 0.5; rows; done")
    with server:
        ok(manager.is_silent(), "not ready before the maps are there")
        same(manager.heard(), ready(server.pid), "ready, when they are")
        same([v for p in server.drivers() for v in proc_file(p, "environ").split("\0") if v.startswith("NOTIFY_")], [],
             "driver processes cannot say so")
        server.signal(signal.SIGHUP)
        said = manager.heard()
        same((sorted(said), said["RELOADING"], said["MONOTONIC_USEC"].isdigit()),
             (["MONOTONIC_USEC", "RELOADING"], "1", True), "a reload begins")
        same(manager.heard(), ready(server.pid), "and ends")
        server.daemon["thraeds"] = 1
        server.write()
        server.signal(signal.SIGHUP)
        same([sorted(manager.heard()), manager.heard()],
             [["MONOTONIC_USEC", "RELOADING"], ready(server.pid)], "one that is refused, too")
        del server.daemon["thraeds"]
        server.write()
        old = server.pid
        same(replace(server), None, "replaced")
        same(manager.heard(), ready(server.pid), "there is another main process, and it is ready")
        ok(server.pid != old and manager.is_silent(), "the old one has not said that all is over")
    same(manager.heard(), {"STOPPING": "1"}, "a stop is told")
    ok(manager.is_silent(), "and that was all")
    manager.socket.close()


dir = scratch()
check_names(dir)
check_mistakes(dir)
check_restart(dir)
check_notifications(dir, dir + "/notify", dir + "/notify")
name = "socketmapd-test-%d" % os.getpid()
check_notifications(dir, "\0" + name, "@" + name, state_directory="")
done()

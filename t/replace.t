#!/usr/bin/env python3
# sanitizers: yes
"""
--replace: nobody notices that another process answers; and when it cannot be, the old one has
noticed nothing.
"""
import glob
import os
import pwd
import shutil
import signal
import socket
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from harness import replace as replace_file
from restart import Callers, Stayers, listening, refused, replace

ROWS = {"k%d" % i: "v%d" % i for i in range(500)}
KEYS = list(ROWS) + ["x%d" % i for i in range(20)]
MIRROR = {"source": "fake", "search": "exact", "mode": "mirror", "on_miss": "notfound"}
DEMAND = {"source": "fake", "search": "exact", "mode": "demand"}


def check(key, reply):
    wanted = "OK " + ROWS[key] if key in ROWS else "NOTFOUND"
    return None if reply.strip() == wanted else "got %.60r" % reply


def inet(**settings):
    return dict({"protocol": "socketmap", "address": "inet:127.0.0.1:%d" % free_port()}, **settings)


def fresh(listeners=None, **daemon):
    server = Server({"m": dict(MIRROR), "d": dict(DEMAND)}, **daemon)
    directory = Directory(server.dir)
    directory.rows(ROWS)
    server.sources = [directory.source()]
    for name in ("a", "b"):
        os.mkdir(server.dir + "/" + name)
    server.socket = server.dir + "/a/s"
    server.listeners = [server.listener()] + (listeners or [])
    return server, directory


def start(*args, **daemon):
    server, directory = fresh(*args, **daemon)
    server.start()
    server.wait_for_reply("m", "k1", "OK")
    return server, directory


def files(server):
    """What is in the directories of the sockets."""
    return sorted(os.listdir(server.dir + "/a") + os.listdir(server.dir + "/b"))


def addresses(server):
    return [l["address"] for l in server.listeners]


def check_under_load():
    """All kinds of listeners, again and again."""
    server, _ = fresh([inet(), inet(address="inet:[::1]:%d" % free_port()),
                       inet(protocol="tcp_table", map="m")])
    server.listeners.append(server.listener(address="unix:%s/b/t" % server.dir))
    server.start()
    server.wait_for_reply("m", "k1", "OK")
    all = addresses(server)
    with server:
        with Callers(all, "m", KEYS, check, table=all[3:4]) as callers, \
                Stayers(all[:2], "m", KEYS, check, 2) as mirror, \
                Stayers(all[:2], "d", KEYS, check, 2) as demand:
            descriptors = []
            for i in range(3 if SLOW == 1 else 2):
                same(replace(server), None, "under load: replaced (%d)" % (i + 1))
                descriptors.append(server.descriptors())
            before = [c.total() for c in (callers, mirror, demand)]
            wait_for(lambda: callers.total() > before[0] + 100)
        note("%d connections; %d and %d requests" % (callers.total(), mirror.total(),
                                                     demand.total()))
        same(callers.wrong[:3], [], "under load: each connection is made and answered")
        same(mirror.wrong[:3], [], "under load: no wrong answer from a mirror")
        same(demand.wrong[:3], [], "under load: no wrong answer from a demand cache")
        ok(callers.total() > 300 and mirror.total() > 300, "under load: with many requests")
        ok(max(descriptors) - min(descriptors) <= 14, "no descriptor is handed down", descriptors)
        same(files(server), ["s", "t"], "and no file left over")
        same(len(server.events("stopped")), len(descriptors), "all old ones drained and stopped")
        same(server.reload() is None, False, "the last one reloads like any other")


def stopped_in_queue(server, address, n, key):
    """Clients who connect to a server that is stopped, and have asked."""
    clients = [Client(address) for _ in range(n)]
    for c in clients:
        c.send(Client.request("m", key))
    return clients


def check_queues():
    """A stop of the old process makes long what is otherwise short."""
    server, _ = start([inet()])
    with server:
        old = server.process
        old.send_signal(signal.SIGSTOP)
        # more than are let in at a time
        clients = [c for a in addresses(server) for c in stopped_in_queue(server, a, 150, "k2")]
        new = server.spawn("--replace")
        ok(server.wait_for_event("took_over", process=old.pid), "another process takes over")
        with Callers(addresses(server), "m", KEYS, check, 2) as callers:
            wait_for(lambda: callers.total() > 50)
        same(callers.wrong[:3], [], "at once all new connections are its own")
        time.sleep(1.2)         # the SIGTERM is there before the connections are seen
        old.send_signal(signal.SIGCONT)
        same({c.read() for c in clients}, {"OK v2"}, "who was in the queues is answered")
        same({c.read() for c in clients}, {None}, "then closed")
        for c in clients:
            c.close()
        same((old.wait(20), new.poll()), (0, None), "and the old process ends")


def check_open_connections():
    """What was asked is answered, in order, up to the end."""
    server, directory = start([inet()])
    with server:
        clients = [server.client(), server.client(1), server.client(), server.client(1)]
        directory.script("lookup slow* delay 0.3; value x; done")
        for i, c in enumerate(clients):
            c.send(Client.request("d", "slow%d" % i) +
                   b"".join(Client.request("m", "k%d" % k) for k in range(100)))
        wait_for(lambda: len(directory.activity("lookup")) >= 4)
        same(replace(server), None, "replaced while requests wait")
        wanted = ["OK x"] + ["OK v%d" % k for k in range(100)]
        same([[c.read() for _ in range(101)] for c in clients], [wanted] * 4,
             "each of them is answered, in order")
        for c in clients:
            c.close()
        directory.script("lookup k7 delay 3; value x; done")
        server.daemon["stop_timeout"] = "200ms"
        server.reload()
        with server.client() as c:
            c.send(Client.request("d", "k7"))
            wait_for(lambda: directory.activity("lookup", "k7"))
            same(replace(server), None, "stop_timeout limits how long the old one waits")


def check_during_refresh():
    server, directory = start()
    with server:
        directory.script("scan * delay 1; rows; done")
        server.maps["m"]["refresh"] = "1s"
        server.reload()
        n = len(directory.activity("scan"))
        wait_for(lambda: len(directory.activity("scan")) > n)
        with Callers(addresses(server), "m", KEYS, check, 2) as callers:
            same(replace(server), None, "replaced in the middle of a scan")
            wait_for(lambda: callers.total() > 50)
        same(callers.wrong[:3], [], "nobody notices")
        directory.script("")


def check_newest():
    """What the old one has learnt since the last snapshot, the new one knows from the beginning."""
    server, directory = fresh(snapshot_interval="1h")
    server.maps["m"]["refresh"] = "1s"
    server.start()
    with server:
        ok(wait_for(lambda: glob.glob(server.state + "/m.*")), "there is a snapshot")
        directory.rows(dict(ROWS, late="x"))
        same(server.wait_for_reply("m", "late", "OK"), "OK x", "and a key that is not in it")
        with Callers(addresses(server), "m", ["late"],
                     lambda key, reply: None if reply == "OK x" else reply) as callers:
            same(replace(server), None, "replaced")
            wait_for(lambda: callers.total() > 50)
        same(callers.wrong[:3], [], "the key is never missing")
        ok(server.wait_for_event("snapshots_on", seconds=30), "and the state directory is its own")


def is_untouched(server, old, inode, name):
    same((old.poll(), server.ask("m", "k1"), os.stat(server.socket).st_ino), (None, "OK v1", inode),
         "%s: the old one goes on, on the same socket" % name)
    same(files(server), ["s"], "%s: no file is left" % name)


def check_refusals():
    """What can be known before anything is done."""
    server, directory = start([inet()])
    foreign, foreign_address = listening()
    listener, unix_address = listening(socket.AF_UNIX, server.dir + "/foreign")
    old, inode = server.process, os.stat(server.socket).st_ino
    good = list(server.listeners)
    faults = {
        "bad configuration": (lambda: server.daemon.update(thraeds=3), "unknown setting"),
        "no such directory": (lambda: server.listeners.append(
            server.listener(address="unix:%s/none/s" % server.dir)), "none/s: .*No such file"),
        "a port that is another's": (lambda: server.listeners.append(inet(address=foreign_address)),
                                     "bind: Address already in use"),
        "a socket that is another's": (lambda: server.listeners.append(
            server.listener(address=unix_address)), "but the server to be replaced"),
        "a file in the way": (lambda: server.listeners.append(
            server.listener(address="unix:" + server.conf)), "exists and is no socket"),
        "a socket by systemd": (lambda: server.listeners.append(inet(address="systemd:s")),
                                "FileDescriptorName=s"),
    }
    with server, Callers(addresses(server), "m", KEYS, check, 2) as callers:
        for name, (spoil, pattern) in faults.items():
            spoil()
            server.write()
            status, log = refused(server)
            same(status, 1, "%s: exit status 1" % name)
            like(log, pattern, "%s: and the reason" % name)
            is_untouched(server, old, inode, name)
            server.listeners, _ = list(good), server.daemon.pop("thraeds", None)
        server.write()
        new = server.spawn()
        same(new.wait(20), 1, "a start without --replace is refused")
        server.process = old
        is_untouched(server, old, inode, "a start without --replace")
        same(callers.wrong[:3], [], "nobody else has noticed")
    foreign.close()
    listener.close()


def check_inet_alone():
    """Neither a second server nor a replacement shares a port by accident."""
    server, _ = fresh()
    server.listeners = [inet()]
    server.start()
    with server:
        old = server.process
        new = server.spawn()
        same(new.wait(20), 1, "a port has one server")
        like(server.log(), "bind: Address already in use", "says the second one")
        server.process = old
        same(replace(server), None, "unless it replaces the first one, which state_directory names")
        server.daemon["state_directory"] = server.dir + "/other"
        server.write()
        status, log = refused(server)
        same(status, 1, "and with another state_directory")
        like(log, "neither state_directory nor a unix socket tells by whom", "nobody can tell")


def waiting(server, directory, script="scan * delay 2; rows; done"):
    """A replacement that is still reading the directory, and its unnamed sockets."""
    directory.script(script)
    old, n = server.process, len(directory.activity("scan"))
    new = server.spawn("--replace")
    server.process = old
    wait_for(lambda: len(directory.activity("scan")) > n)
    return new, glob.glob(server.dir + "/[ab]/.*")


def check_failures_late():
    """What fails when all looked well."""
    server, directory = start([inet()])
    with server, Callers(addresses(server), "m", KEYS, check, 2) as callers:
        old, inode = server.process, os.stat(server.socket).st_ino
        new, _ = waiting(server, directory)
        status, log = refused(server)
        same(status, 1, "only one replacement at a time")
        like(log, "another --replace is under way", "says the second one")
        new.send_signal(signal.SIGHUP)
        ok(server.wait_for_event("reload_refused"), "SIGHUP means the server that answers")
        new.send_signal(signal.SIGTERM)
        same(new.wait(20), 0, "SIGTERM ends one that waits")
        is_untouched(server, old, inode, "SIGTERM")

        server.listeners.append(server.listener(address="unix:%s/b/t" % server.dir))
        server.write()
        new, unnamed = waiting(server, directory)
        same(len(unnamed), 2, "new sockets wait beside the old ones")
        os.unlink(next(f for f in unnamed if "/b/" in f))
        same(new.wait(20), 1, "the second of two sockets gets no name: exit status 1")
        ok(server.events("replace_failed"), "and the reason")
        is_untouched(server, old, inode, "the second of two")

        shutil.rmtree(server.state)
        server.daemon.update(start_wait="1s", state_directory=server.dir + "/new")
        server.write()
        new, _ = waiting(server, directory, "scan * down gone")
        same(new.wait(20), 1, "neither the directory nor a snapshot: exit status 1")
        like(server.log(), "after start_wait there is nothing to answer from for: m", "and why")
        is_untouched(server, old, inode, "no directory")
        directory.script("")
        same(callers.wrong[:3], [], "nobody has noticed any of it")
        same(replace(server), None, "and then it can be replaced")
        same(files(server), ["s", "t"], "with all its sockets")


def check_outage():
    """The directory is gone, but there is a snapshot."""
    server, directory = start(start_wait="1s")
    with server:
        ok(wait_for(lambda: glob.glob(server.state + "/m.*")), "there is a snapshot")
        directory.script("scan * down gone\nlookup * down gone")
        with Callers(addresses(server), "m", KEYS, check, 2) as callers:
            same(replace(server), None, "replaced, the directory being gone")
        same(callers.wrong[:3], [], "the snapshot answers as before")
        directory.script("")


def check_without_another():
    server, directory = fresh([inet()])
    listening(socket.AF_UNIX, server.socket)[0].close()
    server.write()
    new = server.spawn("--replace")
    with server:
        wait_for(server.answers)
        same(server.wait_for_reply("m", "k1", "OK"), "OK v1", "nobody to replace: it starts")
        same((new.poll(), server.events("took_over"), files(server)), (None, [], ["s"]),
             "like any other, in place of a stale socket")
        new, _ = waiting(server, directory)
        server.process.kill()
        server.process.wait()
        server.process = new
        ok(server.wait_for_event("replaced"), "the old one dies before its time")
        same(server.wait_for_reply("m", "k1", "OK"), "OK v1", "and its place is taken")
        same(files(server), ["s"], "with no file left")


def check_without_state():
    server, _ = start([inet()], state_directory="")
    with server:
        with Callers(addresses(server), "m", KEYS, check, 2) as callers:
            same(replace(server), None, "without state_directory the unix socket tells whom")
        same(callers.wrong[:3], [], "nobody notices")
        server.listeners[0]["address"] = "unix:%s/b/s" % server.dir
        server.write()
        status, log = refused(server)
        same(status, 1, "with another unix socket nobody can tell")
    server, _ = fresh(state_directory="")
    foreign, _ = listening(socket.AF_UNIX, server.socket)
    server.write()
    replace_file(server.logfile, "")
    status, log = refused(server)
    same(status, 1, "a program that is no socketmapd")
    like(log, "is no socketmapd", "is left alone")
    foreign.close()


def check_privileges():
    """What was bound by root, and what by the user after a reload, can be replaced."""
    if os.geteuid():
        note("not root: this is not tested")
        return
    nobody = pwd.getpwnam("nobody")
    server, directory = fresh([inet()], user="nobody", group="nogroup")
    os.makedirs(server.state, 0o700)
    for path in (server.dir, server.dir + "/a", directory.dir, server.state):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    server.start()
    server.wait_for_reply("m", "k1", "OK")
    with server:
        server.listeners.append(inet())
        ok(server.reload(), "a listener is added by a reload")
        with Callers(addresses(server), "m", KEYS, check, 2) as callers:
            same(replace(server), None, "a server that has dropped its privileges is replaced")
            same(replace(server), None, "twice")
        same(callers.wrong[:3], [], "nobody notices")
        same(files(server), ["s"], "and no file is left")
        os.chown(server.dir + "/a", 0, 0)
        old = server.process
        status, log = refused(server)
        same(status, 1, "where the user may not write")
        like(log, "a/s: rename: Permission denied", "it is told so")
        same((old.poll(), server.ask("m", "k1")), (None, "OK v1"), "and the old one goes on")
        os.chown(server.dir + "/a", nobody.pw_uid, 0)


check_under_load()
check_queues()
check_open_connections()
check_during_refresh()
check_newest()
check_refusals()
check_inet_alone()
check_failures_late()
check_outage()
check_without_another()
check_without_state()
check_privileges()
done()

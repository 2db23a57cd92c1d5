#!/usr/bin/env python3
"""
A real Postfix receives mail while the server behind its tables is restarted again and again, in
both ways that leave no gap: not one 4xx, not one 5xx. (t/replace.t, t/activation.t: the details.)
"""
import os
import random
import re
import socket
import sys
import threading

sys.path.insert(0, "t/lib")
from harness import *
from postfix import Postfix, Smtp, installed
from restart import Activated, listening, replace

if os.geteuid() or not installed():
    ok(False, "a Postfix to run, and root to run it")
    done()

USERS = 3000
DATA = {
    "virtual_mailbox_domains": {"box.test": "x"},
    "virtual_mailbox_maps": {"user%d@box.test" % i: "box/" for i in range(USERS)},
    "virtual_alias_domains": {"alias.test": "x"},
    "virtual_alias_maps": {"a%d@alias.test" % i: "user%d@box.test" % i for i in range(USERS)},
    "transport_maps": {"box.test": "lmtp:[127.0.0.1]:24"},
}
TCP = ("virtual_mailbox_maps", "transport_maps")    # by tcp_table, the others by socketmap
RESTARTS = 3


def make_postfix(ports):
    tables = {m: "tcp:127.0.0.1:%d" % ports[m] if m in TCP else
              "socketmap:unix:socketmapd/socketmap:" + m for m in DATA}
    return Postfix([("smtp", "smtpd", {"smtpd_relay_restrictions": "reject_unauth_destination"}),
                    ("cleanup", "cleanup", {}), ("rewrite", "trivial-rewrite", {})],
                   recipient_delimiter="+", mydestination="host.test", **tables)


def configure(server, listeners):
    """Mirrors that trust themselves: what they lack is bounced."""
    server.listeners = listeners
    server.daemon.update(recipient_delimiter="+", local_domains=["host.test"])
    for map, rows in DATA.items():
        directory = Directory(server.dir, map)
        directory.rows(rows)
        server.sources.append(directory.source())
        server.maps[map] = {"source": map, "mode": "mirror", "on_miss": "notfound"}
    return server


class Mail:
    """Clients that send mail all the time; each reply that is no 250 is wrong."""

    def __init__(self, postfix, clients=4):
        self.postfix, self.count, self.wrong, self.is_over = postfix, [0] * clients, [], False
        self.threads = [threading.Thread(target=self._run, args=(i,)) for i in range(clients)]

    def _run(self, i):
        pick = random.Random(i)
        try:
            while not self.is_over:
                self._session(i, pick)
        except Exception as e:
            self.wrong.append(repr(e))

    def _session(self, i, pick):
        with Smtp(self.postfix, "smtp") as smtp:
            for _ in range(pick.randrange(1, 20)):
                n = pick.randrange(USERS)
                rcpts = ["RCPT TO:<%s>" % r for r in ("user%d@box.test" % n, "a%d@alias.test" % n,
                                                      "user%d+x@box.test" % n)]
                replies = smtp.say_all(["MAIL FROM:<s%d@far.test>" % n] + rcpts + ["RSET"])
                self.count[i] += len(rcpts)
                self.wrong += ["%s: %s" % (n, r) for r in replies if not r.startswith("250")]
            reply = smtp.send("s@far.test", ["a%d@alias.test" % n])
            if not reply.startswith("250"):
                self.wrong.append("%s: %s" % (n, reply))

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


def check_mail(postfix, how, restart):
    """Mail before, during and after each restart."""
    with Mail(postfix) as mail:
        for i in range(RESTARTS):
            before = mail.total()
            wait_for(lambda: mail.total() > before + 100 or mail.wrong)
            same(restart(), None, "%s: restarted (%d)" % (how, i + 1))
        before = mail.total()
        wait_for(lambda: mail.total() > before + 100 or mail.wrong)
    note("%s: %d recipients" % (how, mail.total()))
    same(mail.wrong[:5], [], "%s: no 4xx and no 5xx" % how)
    ok(mail.total() > 100 * RESTARTS, "%s: among many recipients" % how, mail.total())
    wrong = re.findall(r".*(?:socketmap|tcp):.*(?:error|refused|unavailable).*", postfix.log())
    same(wrong[:3], [], "%s: nor does Postfix complain of its tables" % how)


def check_replace():
    ports = {m: free_port() for m in TCP}
    postfix = make_postfix(ports)
    os.makedirs(postfix.dir + "/queue/socketmapd")
    server = Server()
    server.socket = postfix.dir + "/queue/socketmapd/socketmap"
    configure(server, [server.listener(group="postfix", mode="0660")] +
              [{"protocol": "tcp_table", "address": "inet:127.0.0.1:%d" % ports[m], "map": m}
               for m in TCP])
    server.start()
    server.wait_for_event("ready")
    with server, postfix:
        check_mail(postfix, "--replace", lambda: replace(server))
        same(os.listdir(os.path.dirname(server.socket)), ["socketmap"], "--replace: no file left")
        same(len(server.events("stopped")), RESTARTS, "--replace: no process left")


def check_activation():
    tcp = {m: listening() for m in TCP}
    postfix = make_postfix({m: s.getsockname()[1] for m, (s, _) in tcp.items()})
    os.makedirs(postfix.dir + "/queue/socketmapd")
    unix, _ = listening(socket.AF_UNIX, postfix.dir + "/queue/socketmapd/socketmap")
    server = Activated()
    configure(server, [{"protocol": "socketmap", "address": "systemd:maps"}] +
              [{"protocol": "tcp_table", "address": "systemd:" + m, "map": m} for m in TCP])
    server.inherited = [("maps", unix)] + [(m, s) for m, (s, _) in tcp.items()]

    def restart():
        wrong = server.stop()
        server.start()
        return wrong
    server.start()
    server.wait_for_event("ready")
    with server, postfix:
        check_mail(postfix, "socket activation", restart)


check_replace()
check_activation()
done()

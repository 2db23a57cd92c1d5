"""All that may go wrong, and in which order; for t/soak.t."""
import random
import signal

from harness import Client, connect
from soak.changing import DOMAIN, MOVERS
from soak.fault import Fault
from soak.judge import SlowReader, is_hung_up, reset
from soak.outages import Cut, Drivers, Hidden, Killed, Locked, Network, Slow, Stopped
from soak.restarts import (Aged, BadReload, Bare, Damage, Death, DiskFull, ReadOnly, Reload,
                           Replaced)


class Idlers(Fault):
    """Who does not end a request that was begun is left, and so is who never reads."""
    needs = ("server",)
    sign = "event=client_closed .*not finished in time"

    def begin(self):
        self.clients = []
        for listener in self.server.listeners:
            is_tcp = listener["protocol"] == "tcp_table"
            for part in (b"g", b"get some", b"get %") if is_tcp else (b"3", b"12:abc", b"3:x y,20:"):
                self.clients.append(connect(listener["address"]))
                self.clients[-1].sendall(part)
        self.clients.append(connect(self.server.listeners[0]["address"]))
        self.clients[-1].settimeout(0.1)
        try:
            while True:
                self.clients[-1].sendall(Client.request("lite_trust", MOVERS[0]) * 500)
        except OSError:
            pass

    def is_well(self):
        for c in [c for c in self.clients if is_hung_up(c)]:
            c.close()
            self.clients.remove(c)
        return not self.clients


class Resets(Fault):
    """Connections that vanish, questions open, replies unread."""
    needs = ("server",)

    def tick(self):
        for _ in range(10):
            listener = self.pick.choice(self.server.listeners)
            key = self.pick.choice(("n%d@%s" % (self.pick.randrange(1 << 40), DOMAIN), MOVERS[0]))
            c = connect(listener["address"])
            c.sendall(20 * (b"get %s\n" % key.encode() if listener["protocol"] == "tcp_table" else
                            Client.request(self.pick.choice(sorted(self.judge.kinds)), key)))
            reset(c)


class SlowReaders(Fault):
    needs = ("server",)

    def begin(self):
        steady = [m for m, (_, kind) in sorted(self.judge.kinds.items()) if kind.is_steady]
        self.readers = [SlowReader(self.judge, l["address"], steady, self.pick.random())
                        for l in self.server.listeners[:2]]

    def is_well(self):
        return not any(r.is_alive() for r in self.readers)


def kinds(ldap, db, lite):
    """All there are: {name: (class, arguments)}"""
    all = {
        "lite_locked": (Locked, lite),
        "drivers_killed": (Drivers, signal.SIGKILL, "driver process (was killed|hung up)"),
        "drivers_stopped": (Drivers, signal.SIGSTOP, "deadline missed|scan stalled"),
        "sighup": (Reload,), "sighup_bad": (BadReload,),
        "killed": (Death,), "damaged": (Damage,), "read_only": (ReadOnly,), "bare": (Bare,),
        "aged": (Aged,),
        "replaced": (Replaced, True), "replaced_in_bad_times": (Replaced, False),
        "disk_full": (DiskFull,),
        "idlers": (Idlers,), "resets": (Resets,), "slow_readers": (SlowReaders,),
    }
    for d in ldap, db, lite:
        all[d.name + "_empty"] = (Hidden, d, "all")
        all[d.name + "_shrunken"] = (Hidden, d, "half")
    for d in ldap, db:
        all[d.name + "_stopped"] = (Stopped, d)
        all[d.name + "_killed"] = (Killed, d)
        all[d.name + "_stalled"] = (Network, d, "stall")
        all[d.name + "_trickling"] = (Network, d, "trickle")
        all[d.name + "_cut"] = (Cut, d)
        all[d.name + "_slow"] = (Slow, d, "slow")
    return all


def schedule(world, seed):
    """
    Without end: all kinds, in another order each time. In half of the rounds the server lives on,
    so that leaks have time to show.
    """
    pick = random.Random(seed)
    all = kinds(*world.directories)
    is_deadly = True
    while True:
        for name in pick.sample(sorted(all), len(all)):
            cls, *arguments = all[name]
            its_own = random.Random(pick.random())
            if is_deadly or "server" not in cls.holds:
                yield cls(world, name, its_own, *arguments)
        is_deadly = pick.random() < 0.5

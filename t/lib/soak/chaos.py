"""What may go wrong, how it is brought about, and when it is over; for t/soak.t."""
import glob
import os
import random
import signal
import time

from harness import Client, connect
from soak.changing import DOMAIN, MOVERS
from soak.judge import SlowReader, is_hung_up, reset

# Seconds. The short ones leave mirrors FRESH, the long ones make them STALE, and some EXPIRED.
SHORT, LONG = (0.3, 1.5), (3, 11)


class Fault:
    """
    start() it, tick() often while it lasts, heal() it, all on one thread; then is_well() is asked
    until it is true.

    holds, needs    what no other fault may hold or need meanwhile; what no other may hold
    directories     which do not work meanwhile, but must afterwards, new scans included
    sign            what the log says of it: it lasts until then
    lasts           seconds, at least and at most, before it may be healed
    """

    holds = needs = directories = ()
    sign, lasts = None, SHORT

    def __init__(self, world, name, pick):
        self.world, self.name, self.pick = world, name, pick
        self.server, self.judge = world.server, world.judge
        self.is_raging, self.has_sign = True, not self.sign

    def start(self):
        self.began = time.monotonic()
        self.least = self.began + self.pick.uniform(*self.lasts)
        self.begin()

    def begin(self): pass

    def tick(self): pass

    def heal(self): pass

    def is_well(self):
        return self.world.are_well(self.directories, self.healed)


class OfDirectory(Fault):
    """Of one of them, or on the way to it."""

    def __init__(self, world, name, pick, directory):
        self.directory, self.directories, self.holds = directory, (directory,), (directory.name,)
        self.sign = self.sign or r"event=(refresh|source)_failed .*source=%s" % directory.name
        if pick.random() < 0.15:
            self.lasts = LONG
        super().__init__(world, name, pick)


class Stopped(OfDirectory):
    def begin(self):
        self.directory.server.signal(signal.SIGSTOP)

    def heal(self):
        self.directory.server.signal(signal.SIGCONT)


class Killed(OfDirectory):
    def begin(self):
        self.directory.server.stop()

    def heal(self):
        self.directory.start_again()


class Network(OfDirectory):
    def __init__(self, world, name, pick, directory, mode, sizes=(0,)):
        super().__init__(world, name, pick, directory)
        self.mode = mode, pick.choice(sizes)

    def begin(self):
        self.world.networks[self.directory.name].set(*self.mode)

    def heal(self):
        self.world.networks[self.directory.name].set("pass")


class Slow(Network):
    """Scans take seconds, and the directory changes meanwhile."""
    sign, lasts = "event=refreshed", (2, 3)


class Hidden(OfDirectory):
    """
    Scans end in success and have lost all, or much. Without a copy nobody could know: the server may
    not be killed now, nor learn of a new map.
    """
    needs = ("server", "configuration")

    def __init__(self, world, name, pick, directory, what):
        self.sign = "event=refresh_rejected map=%s_" % directory.name
        super().__init__(world, name, pick, directory)
        self.what = what

    def begin(self):
        self.directory.hide(self.what)

    def heal(self):
        self.directory.hide(None)


class Locked(OfDirectory):
    """By somebody who writes for long."""

    def begin(self):
        self.writer = self.directory.connect()
        self.writer.execute("BEGIN EXCLUSIVE")

    def heal(self):
        self.writer.execute("ROLLBACK")
        self.writer.close()


class Drivers(Fault):
    """Half of the driver processes get a signal."""
    needs = ("server",)

    def __init__(self, world, name, pick, number, sign):
        self.sign, self.number, self.victims = sign, number, set()
        super().__init__(world, name, pick)
        self.directories = self.world.directories

    def begin(self):
        drivers = sorted(self.server.drivers())
        for pid in self.pick.sample(drivers, (len(drivers) + 1) // 2):
            self.victims.add(pid)
            self.signal(pid, self.number)

    def signal(self, pid, number):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass        # a scan that has ended

    def tick(self):
        if not self.has_sign and not self.victims & set(self.server.drivers()):
            self.begin()

    def is_well(self):
        """Who was not asked anything since is still stopped, and would not see the server's end."""
        is_well = super().is_well()
        for pid in self.victims & set(self.server.drivers()) if is_well else ():
            self.signal(pid, signal.SIGCONT)
        return is_well


class Reload(Fault):
    holds, needs = ("configuration",), ("server",)
    sign = "event=reloaded"

    def change(self):
        for name in sorted(self.server.maps):
            if name.endswith("_ask") and self.pick.random() < 0.3:
                self.server.maps[name]["refresh"] = "%dms" % self.pick.randrange(1000, 1500)
        if self.server.maps.pop("extra", None) is None:
            extra = {"result_format": "<%%s> %d" % self.pick.randrange(10)}
            self.server.maps["extra"] = dict(self.server.maps["lite_trust"], **extra)
        self.server.daemon["log_level"] = self.pick.choice(("info", "debug"))

    def begin(self):
        self.change()
        self.server.write()

    def tick(self):
        for _ in range(self.pick.randrange(20)):
            self.server.signal(signal.SIGHUP)
        if self.pick.random() < 0.2:
            self.begin()

    def heal(self):
        self.n = self.world.seen["reloaded"]

    def is_well(self):
        """The signal is repeated, as lines that come too often are not written."""
        self.server.signal(signal.SIGHUP)
        return self.world.seen["reloaded"] > self.n and self.world.is_loaded("extra", self.healed)


class BadReload(Reload):
    sign = "event=reload_refused"

    def mend(self):
        self.server.daemon.pop("thraeds", None)
        self.server.maps.pop("bad", None)

    def change(self):
        self.mend()
        if self.pick.random() < 0.5:
            self.server.daemon["thraeds"] = 3
        else:
            self.server.maps["bad"] = self.pick.choice(("garbage {", "source = \"none\";", ""))

    def heal(self):
        self.mend()
        self.server.write()
        super().heal()


class Death(Fault):
    """kill -9, and a start. What was on disk answers again, whatever has become of the directories."""
    holds, needs, lasts = ("server",), ("configuration",), (0, 0.5)

    def begin(self):
        self.judge.stopped()
        self.server.signal(signal.SIGKILL)
        self.server.process.wait()
        self.on_disk = {m for m, (_, kind) in self.judge.kinds.items()
                        if kind.is_steady and os.path.exists(self.world.snapshot(m))}

    def heal(self):
        self.server.start()
        self.judge.is_started()

    def is_well(self):
        return all(self.judge.found.get(m, 0) > self.healed for m in self.on_disk) and \
            self.world.are_well(self.world.directories, self.healed)


class Damage(Death):
    """The files are not what they were."""
    sign = "event=snapshot_rejected"
    holds = ("server", "disk")

    def begin(self):
        super().begin()
        files = sorted(glob.glob(self.server.state + "/*.snapshot"))
        for path in self.pick.sample(files, (len(files) + 2) // 3):
            map = os.path.basename(path).split(".")[0]
            with open(path, "r+b") as f:
                data = bytearray(f.read())
                at = self.pick.randrange(len(data))
                if self.pick.random() < 0.5:
                    f.truncate(at)
                else:
                    f.seek(at)
                    f.write(bytes([data[at] ^ 1 << self.pick.randrange(8)]))
            self.on_disk.discard(map)
            self.world.damaged.add(map)
        super().heal()

    def heal(self): pass


class ReadOnly(Death):
    """It starts on a disk that cannot be written to, until it can."""
    sign = "event=snapshots_off"
    holds, lasts = ("server", "disk"), (1, 2)

    def begin(self):
        super().begin()
        self.world.mount("remount,ro")
        super().heal()

    def heal(self):
        self.world.mount("remount,rw")

    def is_well(self):
        return self.world.is_written_since(self.healed) and super().is_well()


class Replaced(Fault):
    """--replace. In bad times it may fail, having no copy; then the old server goes on."""
    holds, needs, lasts = ("server",), ("configuration",), (0, 0)
    sign = "event=took_over"

    def __init__(self, world, name, pick, is_in_good_times):
        super().__init__(world, name, pick)
        self.must_succeed = is_in_good_times
        if is_in_good_times:
            self.needs += tuple(d.name for d in world.directories)

    def begin(self):
        self.judge.handover.begin()
        self.old = self.server.process
        self.new = self.server.spawn("--replace")

    def tick(self):
        if self.new.poll() is not None:
            self.server.process, self.has_sign = self.old, True

    def is_well(self):
        has_failed = self.new.poll() is not None
        if not has_failed and self.old.poll() is None or \
                not self.world.are_well(self.world.directories, self.healed):
            return False
        if has_failed and self.must_succeed:
            self.judge.complain("no server could be replaced: status", self.new.poll())
        if not has_failed and self.old.poll():
            self.judge.complain("a server that was replaced ends with status", self.old.poll())
        self.judge.handover.end()
        return True


class DiskFull(Fault):
    holds = ("disk",)
    sign = "event=snapshot_failed"

    def begin(self):
        with open(self.server.state + "/filler", "wb", buffering=0) as f:
            try:
                while True:
                    f.write(b"x" * 4096)
            except OSError:
                pass

    def heal(self):
        os.unlink(self.server.state + "/filler")

    def is_well(self):
        return self.world.is_written_since(self.healed)


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
        "killed": (Death,), "damaged": (Damage,), "read_only": (ReadOnly,),
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
        all[d.name + "_reset"] = (Network, d, "rst_after", (0, 20, 200, 2000, 10000))
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

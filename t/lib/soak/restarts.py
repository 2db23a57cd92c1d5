"""What happens to the server itself, its configuration and its disk."""
import glob
import os
import signal
import time

from harness import wait_for
from soak import ending
from soak.fault import Fault


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
        # A child that is no driver process yet has its sockets for a moment, and seems to answer.
        wait_for(lambda: not ending.adopted())
        self.on_disk = {m for m, (_, kind) in self.judge.kinds.items()
                        if kind.is_steady and os.path.exists(self.world.snapshot(m))}

    def heal(self):
        self.server.start()
        self.judge.is_started()

    def is_well(self):
        return all(self.judge.found.get(m, 0) > self.healed for m in self.on_disk) and \
            self.world.are_well(self.world.directories, self.healed)


class Damage(Death):
    """The files are not what they were, and each is seen through."""
    sign = "event=snapshot_rejected"
    holds = ("server", "disk")

    def begin(self):
        super().begin()
        maps = sorted(m for m in self.server.maps if os.path.exists(self.world.snapshot(m)))
        self.damaged = self.pick.sample(maps, (len(maps) + 2) // 3)
        for map in self.damaged:
            self.damage(self.world.snapshot(map))
            if os.path.exists(self.bad(map)):
                os.unlink(self.bad(map))
        self.on_disk.difference_update(self.damaged)
        self.world.damaged.update(self.damaged)
        super().heal()

    def damage(self, path):
        with open(path, "r+b") as f:
            data = f.read()
            at = self.pick.randrange(len(data))
            if self.pick.random() < 0.5:
                f.truncate(at)
            else:
                f.seek(at)
                f.write(bytes([data[at] ^ 1 << self.pick.randrange(8)]))

    def bad(self, map):
        """Where it is moved."""
        return self.world.snapshot(map) + ".bad"

    def heal(self): pass

    def is_well(self):
        return all(os.path.exists(self.bad(m)) for m in self.damaged) and super().is_well()


class Bare(Death):
    """It starts without files, and directories that it has no copy of end their scans with nothing."""
    sign = "event=refresh_rejected"
    holds = ("server", "disk", "db", "lite")

    def begin(self):
        self.directories = self.world.directories[1:]
        super().begin()
        for path in glob.glob(self.server.state + "/*.snapshot"):
            os.unlink(path)
        self.on_disk = set()
        for d in self.directories:
            d.hide("all")
        super().heal()

    def heal(self):
        for d in self.directories:
            d.hide(None)


class Aged(Death):
    """Files become old while no server runs; the next one finds no directory that answers."""
    sign = "(?!)"       # tick() sees it
    holds, lasts = ("server", "ldap", "db"), (8, 9)
    DEAD = 6            # seconds

    def begin(self):
        self.directories = self.world.directories[:2]
        super().begin()
        for network in self.world.networks.values():
            network.set("stall")

    def tick(self):
        if self.judge.is_stopped and time.monotonic() > self.began + self.DEAD:
            super().heal()
        self.has_sign = not self.judge.is_stopped and \
            all(self.judge.found.get(m, 0) > self.judge.started for m in self.on_disk)

    def heal(self):
        for network in self.world.networks.values():
            network.set("pass")


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
        self.world.is_replaced = True
        self.old = self.server.process
        self.new = self.server.spawn("--replace")

    def tick(self):
        self.has_sign |= self.new.poll() is not None

    def is_well(self):
        has_failed = self.new.poll() is not None
        self.server.process = self.old if has_failed else self.new
        if not has_failed and self.old.poll() is None or \
                not self.world.are_well(self.world.directories, self.healed):
            return False
        if has_failed and self.must_succeed:
            self.judge.complain("no server could be replaced: status", self.new.poll())
        if not has_failed and self.old.poll():
            self.judge.complain("a server that was replaced ends with status", self.old.poll())
        self.world.is_replaced = False
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

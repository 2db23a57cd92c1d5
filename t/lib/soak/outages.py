"""Directories, the ways to them, and driver processes that fail."""
import os
import signal

from harness import signal_if_there
from soak.fault import Fault

LONG = 3, 14        # seconds; mirrors become STALE, and some EXPIRED


class OfDirectory(Fault):
    """Of one of them, or on the way to it."""

    def __init__(self, world, name, pick, directory):
        self.directory, self.directories, self.holds = directory, (directory,), (directory.name,)
        self.sign = self.sign or r"event=(refresh|source)_failed .*source=%s" % directory.name
        if pick.random() < 0.1:
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
    def __init__(self, world, name, pick, directory, mode):
        super().__init__(world, name, pick, directory)
        self.mode, self.n = mode, 0

    def begin(self):
        self.world.networks[self.directory.name].set(self.mode, self.n)

    def heal(self):
        self.world.networks[self.directory.name].set("pass")


class Cut(Network):
    """Connections end after some bytes, as often as not when few rows of a scan are left."""

    def __init__(self, world, name, pick, directory):
        super().__init__(world, name, pick, directory, pick.choice(("rst_after", "close_after")))
        self.n = pick.choice((0, 20, 200, 2000) + (directory.scan_bytes,) * 4)
        if self.n == directory.scan_bytes:
            self.n = int(self.n * pick.uniform(0.75, 0.9))


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
        self.hide(self.what)

    def heal(self):
        self.hide(None)

    def hide(self, what):
        """
        Not in the midst of a scan in pages: it would lack a part of what is hidden, perhaps less than
        max_shrink, as if that had been deleted.
        """
        network = self.world.networks.get(self.directory.name)
        if network:
            network.set("refuse")
        self.directory.hide(what)
        if network:
            network.set("pass")


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
            signal_if_there(pid, self.number)

    def tick(self):
        if not self.has_sign and not self.victims & set(self.server.drivers()):
            self.begin()

    def is_well(self):
        """Who was not asked anything since is still stopped, and would not see the server's end."""
        is_well = super().is_well()
        for pid in self.victims & set(self.server.drivers()) if is_well else ():
            signal_if_there(pid, signal.SIGCONT)
        return is_well

"""What all faults have in common."""
import time


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
    sign, lasts = None, (0.3, 1.5)

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

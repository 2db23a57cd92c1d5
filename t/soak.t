#!/usr/bin/env python3
"""
Everything at once, for a minute or for hours: three directories that change all the time, clients
who never stop asking, and whatever may go wrong, in an order that SEED repeats. SOAK_SECONDS is
for how long; without it, until each fault has happened. "make soak SECONDS=1800" is the same.

No address that exists is ever reported missing, none that never existed is found, and each fault
is over when it is over, without help.
"""
import collections
import os
import random
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *
from soak import ending
from soak.changing import DOMAIN, VALUES
from soak.chaos import kinds, schedule
from soak.judge import Asker
from soak.world import CONDITION, World, condition, grown, zombies

seconds = os.environ.get("SOAK_SECONDS")
is_brief, seconds = not seconds, float(seconds or 60)
seed = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 32))
LONG = 300              # seconds in which each fault happens; a minute of a busy machine is less
RECOVERY = 60 * SLOW    # seconds; faults are short, and so are the pauses between attempts
AT_ONCE = 4             # faults
WRONG_MAX = 20          # of what is wrong, there is no need for more


# --- the loop -------------------------------------------------------------------------------------

def step(f, world):
    """False: it is over."""
    now, judge = time.monotonic(), world.judge
    is_late = now > (f.began if f.is_raging else f.healed) + RECOVERY
    if f.is_raging:
        f.tick()
        if is_late:
            judge.complain(f.name, "is not noticed")
        if is_late or now > f.least and f.has_sign:
            f.heal()
            f.healed, f.is_raging = time.monotonic(), False
        return True
    if not is_late and not f.is_well():
        return True
    if is_late:
        judge.complain(f.name, "is over, but not all is well")
        world.is_replaced = False
    note("%6.1f %s for %.1f s, well after %.1f s" % (f.began - began, f.name, f.healed - f.began,
                                                     now - f.healed))
    return False


def has_ended(world):
    """Its end is not one of our faults."""
    status = world.server.process.poll()
    if status is None or world.judge.is_stopped or world.is_replaced:
        return False
    world.judge.complain("the server died: status", status)
    return True


def rage(world):
    """Provoke and heal until time is over; {name: how often}."""
    happened, coming = collections.Counter(), schedule(world, seed)
    f, end, wrong = next(coming), time.monotonic() + seconds, world.judge.wrong
    is_told = False
    while not has_ended(world):
        is_enough = is_brief and set(happened) == all_faults
        is_over = time.monotonic() > end or is_enough or len(wrong) > WRONG_MAX
        if is_over and not world.active:
            break
        if not is_over and len(world.active) < AT_ONCE and world.is_free(f):
            world.active.append(f)
            f.start()
            f = next(coming)
        world.read_log()
        if wrong and not is_told:
            tell(world)
            is_told = True
        for a in list(world.active):
            if not step(a, world):
                world.active.remove(a)
                happened[a.name] += 1
                ending.adopted()
        time.sleep(0.03)
    return happened


def tell(world):
    """What else was the case when the first thing went wrong."""
    note("%.1f %s" % (time.monotonic() - began, world.judge.wrong[0]))
    note("active: %s" % [f.name for f in world.active])
    note("\n".join(world.recent))


# --- before and after -----------------------------------------------------------------------------

def untruths(world):
    """Every key on every map: what is not so, now that nothing changes."""
    wrong = []
    with world.server.client() as c:
        for map, (directory, kind) in sorted(world.judge.kinds.items()):
            truth = list((VALUES | directory.entry | {"n1@" + DOMAIN: None}).items())
            for at in range(0, 0 if kind.comes_and_goes else len(truth), 50):
                some = truth[at:at + 50]
                c.send(b"".join(Client.request(map, key) for key, _ in some))
                for key, value in some:
                    reply = c.read()
                    if reply != ("OK " + value if value else "NOTFOUND "):
                        wrong.append((map, key, reply, value))
    return wrong


def is_calm(world, since):
    world.read_log()
    return world.are_well(world.directories, since)


def check_afterwards(world, before):
    server, now = world.server, time.monotonic()
    ok(wait_for(lambda: is_calm(world, now), 60), "all is well afterwards")
    ok(all([d.stop(70 * SLOW) for d in world.directories]), "each change comes to its end")
    ok(wait_for(lambda: not untruths(world), 40), "all maps tell the truth", untruths(world)[:5])
    ok(wait_for(lambda: not grown(before, condition(server)), 20),
       "nothing has grown: " + ", ".join(CONDITION), before, condition(server))
    note("%s before: %s, now: %s" % (", ".join(CONDITION), before, condition(server)))
    same(zombies(server), [], "no zombie")
    known = {"%s.0.snapshot%s" % (m, s) for m in server.maps for s in ("", ".bad")
             if not s or m in world.damaged}
    same(sorted(set(os.listdir(server.state)) - known), ["lock"], "no file is left over")
    same(os.listdir(server.dir + "/run"), ["s"], "nor a socket")


def check_raging(world):
    """What happened."""
    server, judge = world.server, world.judge
    for i, l in enumerate(server.listeners[:1] * 2 + server.listeners):
        maps = [l["map"]] if "map" in l else sorted(judge.kinds)
        world.askers.append(Asker(judge, l["address"], maps, "%s %d" % (seed, i), "map" in l))
    ok(wait_for(lambda: is_calm(world, began), 60), "all is well before")
    before = condition(server)
    note("%.1f s until the first fault" % (time.monotonic() - began))
    happened = rage(world)
    if ok(not judge.wrong, "nothing wrong is said while it rages", *judge.wrong[:WRONG_MAX]):
        check_afterwards(world, before)
    for a in world.askers:
        a.stop()
    return happened


def check_all(world):
    judge = world.judge
    for d in world.directories:
        d.thread.start()
    with world.server:
        happened = check_raging(world)
    ok(wait_for(lambda: not ending.adopted()), "no process is left of any server")
    n = sum(a.n for a in world.askers)
    ok(not judge.wrong, "nothing wrong in %d replies" % n, *judge.wrong[:WRONG_MAX])
    missing = sorted(all_faults - set(happened))
    ok(happened and not (missing and seconds >= LONG), "faults have happened", missing)
    same([m for m, n in judge.verdicts.items() if m != "extra" and
          (n["FOUND"] < 20 or n["NOTFOUND"] < 20)], [], "each map has found, and has not")
    for m, n in sorted(judge.verdicts.items()):
        note("%s: %s" % (m, dict(n)))
    note("%d faults: %s; not: %s" % (sum(happened.values()), dict(happened), missing))
    note("%d changes; %.0f s; SEED=%d" % (sum(d.n_changes for d in world.directories),
                                          time.monotonic() - began, seed))


if os.geteuid():
    ok(False, "root may mount, and run a slapd and a MariaDB")
    done()
note("SEED=%d" % seed)
ending.prepare(seconds + 600 * SLOW)
began = time.monotonic()
world = World(seed)
all_faults = set(kinds(*world.directories))
try:
    check_all(world)
finally:
    ending.begin()
    world.end()
done()

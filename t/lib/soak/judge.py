"""Clients that never stop asking, and the judge of every reply; see changing.py for the truth."""
import collections
import random
import re
import select
import socket
import struct
import threading
import time

from soak.changing import ALWAYS, CHANGERS, DOMAIN, MOVERS, PAUSE, VALUES, Times
from harness import SLOW, Client, TableClient

FOREIGN = "far.test"

# --- the judge ----------------------------------------------------------------------------------------

class Kind:
    """
    absent, other   seconds that "not found", or a value, may be behind the directory
    is_steady       what is there is never TEMP, once it was loaded
    asks            "not found" may be the word of the directory about a key the mirror lacks
    is_mirror       it is scanned
    comes_and_goes  with reloads
    shape           what values look like
    """

    def __init__(self, absent, other, is_steady=False, asks=False, is_mirror=True,
                 comes_and_goes=False, shape="(.*)"):
        self.absent, self.other, self.shape = absent, other, shape
        self.is_steady, self.asks, self.is_mirror = is_steady, asks, is_mirror
        self.comes_and_goes = comes_and_goes


class Judge:
    """
    Knows what may be said. `kinds` is {map: (directory, kind)}.

    outage      no server, by the will of the test
    handover    the server is replaced: connections may end between two replies
    started     since when the server runs; infinity during an outage
    warm        {map: since when it has answered}, and so must go on to, if it is steady
    good, found {map: when somebody last asked for what never was, or always, and was answered}
    """

    # Seconds. Between a look at a directory and its word in a cache a process may wait for its turn.
    # Keys that always exist have no use of it, and the others change more rarely.
    SLACK = 1 * SLOW

    def __init__(self, kinds):
        self.kinds = kinds
        self.outage, self.handover = Times(), Times()
        self.warm, self.good, self.found = {}, {}, {}
        self.started, self.is_stopped = 0, False
        self.verdicts = {m: collections.Counter() for m in kinds}
        self.wrong = []

    def stopped(self):
        self.outage.begin()
        self.started, self.is_stopped = float("inf"), True
        self.warm = {}

    def is_started(self):
        self.outage.end()
        self.started, self.is_stopped = time.monotonic(), False

    def complain(self, *what):
        self.wrong.append("%.3f: " % time.monotonic() + " ".join(map(str, what)))

    def judge(self, map, key, verdict, value, sent, got):
        """One reply to what was asked at `sent`, in hand at `got`."""
        directory, kind = self.kinds[map]
        self.verdicts[map][verdict] += 1
        if verdict == "TEMP":
            if kind.is_steady and key in ALWAYS and sent > self.warm.get(map, float("inf")):
                self.complain(map, key, "TEMP, although it was known:", value)
            return      # always right, it is only late
        age = kind.absent if verdict == "NOTFOUND" else kind.other
        said = None
        if verdict == "FOUND":
            found = re.fullmatch(kind.shape, value)
            said = found[1] if found else value
        may = directory.truth.between(key, sent - age - self.SLACK, got)
        if said not in may and not (said is None and self._was_hidden(map, key, sent, got)):
            self.complain(map, key, verdict, value, "but in the last %.2f s it was" % (
                got - sent + age), may, directory.truth.past.get(key, [])[-4:])
        if verdict == "FOUND" and key in VALUES:
            self.found[map] = max(sent, self.found.get(map, 0))
            if sent > self.started:
                self.warm.setdefault(map, got)
        elif verdict == "NOTFOUND" and key.startswith("n"):
            self.good[map] = max(sent, self.good.get(map, 0))

    def _was_hidden(self, map, key, sent, got):
        """
        The directory itself has denied the key, and its word counts because the mirror lacks the
        key: so it was absent once since the oldest mirror that may still be in use.
        """
        directory, kind = self.kinds[map]
        return kind.asks and directory.hides_from_lookups and \
            directory.hidden.touch(sent - kind.absent - self.SLACK, got) and \
            None in directory.truth.between(key, sent - kind.other - PAUSE, got)


# --- clients ------------------------------------------------------------------------------------------

SOCKETMAP = {"FOUND": r"OK (.+)", "NOTFOUND": r"NOTFOUND ()", "TEMP": r"TEMP (.+)"}
TCP_TABLE = {"FOUND": r"200 (.+)", "NOTFOUND": r"500 (.*)", "TEMP": r"400 (.+)"}


class Asker(threading.Thread):
    """
    A client with one connection, now and then another one, that asks for a few keys at once. What
    it asks follows from the seed.
    """

    RATE = 250          # requests a second, at most
    N_MAX = 12          # at once
    PATIENCE = 20       # seconds for one reply; longer than any deadline

    def __init__(self, judge, address, maps, seed, is_tcp=False):
        super().__init__(daemon=True)
        self.judge, self.address, self.maps = judge, address, maps
        self.pick, self.is_tcp = random.Random(seed), is_tcp
        self.client, self.is_over, self.n = None, False, 0
        self.used = 0       # when the connection was, last
        self.start()

    def key(self):
        what = self.pick.random()
        if what < 0.5:
            return self.pick.choice(list(VALUES))
        if what < 0.7:
            return self.pick.choice(MOVERS)
        if what < 0.85:
            return self.pick.choice(CHANGERS)
        return "n%d@%s" % (self.pick.randrange(1 << 40), self.pick.choice((DOMAIN, FOREIGN)))

    def run(self):
        try:
            while not self.is_over:
                questions = [(self.pick.choice(self.maps), self.key())
                             for _ in range(self.pick.randrange(1, self.N_MAX))]
                began = time.monotonic()
                if self.pick.random() < 0.02:
                    self.hang_up()
                left = self.ask(questions)
                if left:            # as Postfix does: once more, on a new connection
                    left = self.ask(left)
                    if left:
                        self.judge.complain("a connection was closed twice, asking", left[0])
                time.sleep(max(0, len(questions) / self.RATE - (time.monotonic() - began)))
        except Exception as e:
            self.judge.complain("a client died of", repr(e))
        self.hang_up()

    def hang_up(self):
        if self.client:
            self.client.close()
        self.client = None

    def ask(self, questions):
        """The questions that are to be asked once more: the server has left us, and may."""
        began = time.monotonic()
        if self.client:
            began = self.used
        n = 0
        try:
            if not self.client:
                self.client = (TableClient if self.is_tcp else Client)(self.address)
                self.client.socket.settimeout(self.PATIENCE * SLOW)
                self.used = time.monotonic()
            sent = time.monotonic()
            self.client.send(b"".join(self.request(*q) for q in questions))
            for map, key in questions:
                raw = self.client.read_raw()
                if raw is None:
                    raise ConnectionError("closed after %d of %d replies" % (n, len(questions)))
                n += 1
                self.take(map, key, raw, sent)
            if self.client.buffer:
                self.judge.complain(self.address, "says more than it was asked for",
                                    self.client.buffer)
            return None
        except OSError as e:
            now = time.monotonic()
            self.hang_up()
            if self.judge.outage.touch(began, now):
                time.sleep(0.02)
                return None
            if self.judge.handover.touch(began, now):
                return questions[n:]
            self.judge.complain(self.address, "after %.1f s:" % (now - began), repr(e))
            return None

    def request(self, map, key):
        return b"get %s\n" % key.encode() if self.is_tcp else Client.request(map, key)

    def take(self, map, key, raw, sent):
        got = self.used = time.monotonic()
        self.n += 1
        if self.is_tcp:
            text, is_good = raw[:-1].decode("ascii"), True
            text = re.sub("%([0-9A-Fa-f]{2})", lambda m: chr(int(m[1], 16)), text)
        else:
            digits, _, rest = raw.partition(b":")
            text, is_good = rest[:-1].decode(), rest.endswith(b",") and b"%d" % int(digits) == digits
        for verdict, pattern in (TCP_TABLE if self.is_tcp else SOCKETMAP).items():
            found = re.fullmatch(pattern, text)
            if found and is_good:
                return self.judge.judge(map, key, verdict, found[1], sent, got)
        self.judge.complain(map, key, "is answered by", raw)

    def end(self):
        self.is_over = True

    def stop(self):
        """No more questions; what was asked is still answered."""
        self.end()
        self.join(2 * self.PATIENCE * SLOW)
        if self.is_alive():
            self.judge.complain("a client does not end:", self.address)


class SlowReader(Asker):
    """
    Asks for much at once and reads the replies drop by drop, once. What it asks for is known at
    once, or one reply after the other would wait for a directory that fails.
    """

    class Drops:
        def __init__(self, s):
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self.socket = s

        def recv(self, n):
            time.sleep(0.002)
            return self.socket.recv(1000)

        def __getattr__(self, name):
            return getattr(self.socket, name)

    def run(self):
        questions = [(self.pick.choice(self.maps), self.key()) for _ in range(2000)]
        try:
            self.client = (TableClient if self.is_tcp else Client)(self.address)
            self.client.socket.settimeout(self.PATIENCE * SLOW)
            self.client.socket = self.Drops(self.client.socket)
            self.ask(questions)
        except OSError as e:
            self.judge.complain("a slow reader:", repr(e))
        self.hang_up()

    def key(self):
        return self.pick.choice(list(VALUES))


def reset(s):
    """Close it with a reset."""
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


def is_hung_up(s):
    """Has the other side closed it? Nothing is read."""
    poll = select.poll()
    poll.register(s, select.POLLRDHUP)
    return bool(poll.poll(0))

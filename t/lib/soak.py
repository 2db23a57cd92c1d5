"""
What t/soak.t runs on: directories that change all the time, an oracle that knows what may be said of
each key, and clients who have every reply judged.
"""
import collections
import random
import re
import select
import socket
import sqlite3
import struct
import subprocess
import threading
import time

from harness import SLOW, Client, TableClient, connect, database, ok, scratch
from mariadb import MariaDB
from slapd import ACL, SUFFIX, Slapd

PERMANENT, MOVING, CHANGING = 600, 40, 60   # keys of each directory
ENTRIES = ["e%02d" % i for i in range(40)]  # where those that move and change are
PAUSE = 5           # seconds without a change of the same key; longer than any scan
DOMAIN, FOREIGN = "here.test", "far.test"
VALUES = {"p%d@%s" % (i, DOMAIN): "box%d" % i for i in range(PERMANENT)}
MOVERS = ["m%d@%s" % (i, DOMAIN) for i in range(MOVING)]
CHANGERS = ["c%d@%s" % (i, DOMAIN) for i in range(CHANGING)]


class Truth:
    """
    What a directory holds and held: of each key a list of (time, the values that it may have
    had from then on), absence being None. While a change is under way there are several. One thread
    writes, others read.
    """

    def __init__(self):
        self.past = {}

    def know(self, key, when, values):
        self.past[key] = self.past.get(key, []) + [(when, frozenset(values))]

    def between(self, key, since, until):
        """All values it may have had at some time."""
        may = set()
        for when, values in reversed(self.past.get(key, [(0, frozenset([None]))])):
            if when <= until:
                may |= values
            if when <= since:
                break
        return may


class Times:
    """When something was so. One thread writes, others read."""

    def __init__(self):
        self.list = []

    def begin(self):
        self.list.append([time.monotonic(), float("inf")])

    def end(self):
        self.list[-1][1] = time.monotonic()

    def touch(self, since, until):
        return any(begin <= until and since <= end for begin, end in self.list[-50:])


# --- directories ------------------------------------------------------------------------------------

class Changing:
    """
    A directory with its truth. `change` says how long one of `moving` is in both entries: in some
    directories a move is one step.
    """

    is_move_one_step = True

    def __init__(self, seed):
        self.pick = random.Random("%s %s" % (seed, self.name))
        self.truth, self.hidden = Truth(), Times()
        self.entry = {k: self.pick.choice(ENTRIES) for k in MOVERS + CHANGERS}
        self.changed = dict.fromkeys(self.entry, 0)
        self.is_over, self.n_changes = False, 0
        for key, value in (VALUES | self.entry).items():
            self.truth.know(key, 0, [value])
        self.thread = threading.Thread(target=self._run)

    def _choose(self):
        """{key: its next entry, or None}"""
        ripe = [k for k in self.pick.sample(list(self.entry), 12)
                if time.monotonic() > self.changed[k] + PAUSE][:4]
        return {k: self.pick.choice([e for e in ENTRIES + [None] * 20 * (k in CHANGERS)
                                     if e != self.entry[k]]) for k in ripe}

    def _begin(self, changes):
        """From now on both may be seen."""
        now = time.monotonic()
        for key, new in changes.items():
            may = {self.entry[key], new}
            if not self.is_move_one_step and None not in may:
                may.add(",".join(sorted(may)))
            self.truth.know(key, now, may)

    def _end(self, changes):
        now = time.monotonic()
        for key, new in changes.items():
            self.truth.know(key, now, [new])
            self.entry[key], self.changed[key] = new, now
        self.n_changes += len(changes)

    def _run(self):
        while not self.is_over:
            changes = self._choose()
            self._begin(changes)
            while changes:
                try:
                    self.apply(changes)     # again and again has the same effect as once
                    self._end(changes)
                    break
                except (RuntimeError, subprocess.TimeoutExpired, sqlite3.Error):
                    time.sleep(0.2)
            time.sleep(self.pick.uniform(0.1, 0.4))

    def hide(self, what):
        """From those who scan: "all", "half"; None: nothing any more."""
        if what:
            self.hidden.begin()
        self.hide_from_scans(what)
        if not what:
            self.hidden.end()

    def stop(self):
        self.is_over = True
        self.thread.join()


class Ldap(Changing):
    """
    Keys are values of `mail` of entries; those that move and change are in forty entries, of which
    half were made before all others and half after, so that scans meet them in this order.
    """

    name = "ldap"
    is_move_one_step = False

    def __init__(self, seed):
        super().__init__(seed)
        ldif = "".join("dn: cn=%s,%s\nobjectClass: adGroup\ncn: %s\n\n" % (g, SUFFIX, g)
                       for g in ("blind", "half"))
        ldif += "dn: cn=scanner,%s\nobjectClass: organizationalRole\nobjectClass: " \
            "simpleSecurityObject\ncn: scanner\nuserPassword: secret\n\n" % SUFFIX
        for ou in "people,", "a,ou=people,", "b,ou=people,":
            ldif += "dn: ou=%s%s\nobjectClass: organizationalUnit\nou: %s\n\n" % (
                ou, SUFFIX, ou.partition(",")[0])
        ldif += "".join(self._entry(e, "a") for e in ENTRIES[:20])
        ldif += "".join(self._permanent(i) for i in range(PERMANENT))
        ldif += "".join(self._entry(e, "b") for e in ENTRIES[20:])
        member = " by group/adGroup/member=\"cn=%s," + SUFFIX + "\" none by * break\n"
        acl = 'access to dn.children="ou=people,%s"' % SUFFIX + member % "blind"
        acl += 'access to dn.children="ou=b,ou=people,%s"' % SUFFIX + member % "half"
        self.server = Slapd(ldif, acl=acl + ACL,
                            database="overlay syncprov\nlimits * size=unlimited\n")

    @staticmethod
    def _permanent(i):
        return "dn: cn=p%d,ou=%s,ou=people,%s\nobjectClass: adGroup\ncn: p%d\nmail: p%d@%s\n" \
            "description: box%d\n\n" % (i, "ab"[i > PERMANENT * 0.4], SUFFIX, i, i, DOMAIN, i)

    def _entry(self, e, ou):
        mail = "".join("mail: %s\n" % k for k, at in self.entry.items() if at == e)
        return "dn: cn=%s,ou=%s,ou=people,%s\nobjectClass: adGroup\ncn: %s\n%sdescription: %s" \
            "\n\n" % (e, ou, SUFFIX, e, mail, e)

    def apply(self, changes):
        """First into the new entries, then out of the old ones."""
        old, new = self.entry, self.entry | changes
        touched = sorted({e[k] for e in (old, new) for k in changes} - {None})
        ldif = ""
        for keeps in ((old, new), (new,)):
            for e in touched:
                keys = sorted({k for k in old if any(at[k] == e for at in keeps)})
                ldif += "dn: cn=%s,ou=%s,ou=people,%s\nchangetype: modify\nreplace: mail\n%s\n" % (
                    e, "ab"[e >= ENTRIES[20]], SUFFIX, "".join("mail: %s\n" % k for k in keys))
        self.server.modify(ldif)

    def hide_from_scans(self, what):
        for group in "blind", "half":
            member = "member: cn=scanner,%s\n" % SUFFIX
            is_in = group == {"all": "blind", "half": "half"}.get(what)
            self.server.modify("dn: cn=%s,%s\nchangetype: modify\nreplace: member\n%s\n" % (
                group, SUFFIX, member if is_in else ""))


SQL = "CREATE TABLE mail (id INTEGER PRIMARY KEY %s, address VARCHAR(100), goto TEXT);" \
    "CREATE INDEX by_address ON mail (address); CREATE TABLE version (n INTEGER);" \
    "INSERT INTO version VALUES (0); CREATE VIEW seen AS SELECT * FROM mail;"
HIDDEN = {None: "", "all": "WHERE 1 = 0", "half": "WHERE id % 2 = 0"}


class Sql(Changing):
    """One row for each key; the scans, and lookups for what they lack, look at the view `seen`."""

    def make(self, auto_increment):
        rows = ", ".join("('%s', '%s')" % row for row in (VALUES | self.entry).items())
        return SQL % auto_increment + "INSERT INTO mail (address, goto) VALUES %s;" % rows

    def apply(self, changes):
        statements = ["DELETE FROM mail WHERE address = '%s'" % k for k in changes]
        statements += ["INSERT INTO mail (address, goto) VALUES ('%s', '%s')" % change
                       for change in changes.items() if change[1]]
        self.do("BEGIN; %s; UPDATE version SET n = n + 1; COMMIT;" % "; ".join(statements))

    def hide_from_scans(self, what):
        self.do(self.view % ("SELECT * FROM mail " + HIDDEN[what]))


class Db(Sql):
    name = "db"
    view = "CREATE OR REPLACE VIEW seen AS %s;"

    def __init__(self, seed):
        super().__init__(seed)
        # A commit must outlive the process, or what was true would become untrue.
        self.server = MariaDB(self.make("AUTO_INCREMENT"), "innodb_flush_log_at_trx_commit=2\n")

    def do(self, script):
        self.server.sql(script, "mail")


class Lite(Sql):
    name = "lite"
    view = "BEGIN; DROP VIEW seen; CREATE VIEW seen AS %s; COMMIT;"

    def __init__(self, seed):
        super().__init__(seed)
        self.path = scratch() + "/sqlite"
        database(self.path, self.make("") + "CREATE TABLE domains (name TEXT);"
                 "INSERT INTO domains VALUES ('%s');" % DOMAIN)

    def connect(self):
        return sqlite3.connect(self.path, timeout=10, isolation_level=None)

    def do(self, script):
        db = self.connect()
        try:
            db.executescript(script)
        finally:
            db.close()      # and rolls back


# --- the judge ----------------------------------------------------------------------------------------

class Kind:
    """
    absent, other   seconds that "not found", or a value, may be behind the directory
    is_steady       what is there is never TEMP, once it was loaded
    asks            "not found" may be the word of the directory about a key the mirror lacks
    is_mirror       it is scanned
    """

    def __init__(self, absent, other, is_steady=False, asks=False, is_mirror=True):
        self.absent, self.other = absent, other
        self.is_steady, self.asks, self.is_mirror = is_steady, asks, is_mirror


class Judge:
    """
    Knows what may be said. `kinds` is {map: (directory, kind)}.

    outage      no server, by the will of the test
    handover    the server is replaced: connections may end between two replies
    started     since when the server runs; infinity during an outage
    warm        {map: since when it has answered}, and so must go on to, if it is steady
    good, found {map: when somebody last asked for what never was, or always, and was answered}
    """

    SLACK = 0.25 * SLOW     # between clocks that are read one after the other

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
            if kind.is_steady and key in VALUES and sent > self.warm.get(map, float("inf")):
                self.complain(map, key, "TEMP, although it was known:", value)
            return
        age = kind.absent if verdict == "NOTFOUND" else kind.other
        said = None if verdict == "NOTFOUND" else value
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
        return kind.asks and directory.hidden.touch(sent - kind.absent - self.SLACK, got) and \
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
        super().__init__()
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

    def stop(self):
        self.is_over = True
        self.join()


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

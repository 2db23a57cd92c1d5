"""Directories that change all the time, and the truth about what is in them, now and before."""
import os
import random
import sqlite3
import subprocess
import threading
import time

from harness import database, scratch
from mariadb import MariaDB
from slapd import ACL, SUFFIX, Slapd

PERMANENT, MOVING, CHANGING = 600, 40, 60   # keys of each directory
HALF = 20
ENTRIES = ["e%02d" % i for i in range(2 * HALF)]    # where those that move and change are
PAUSE = 5           # seconds without a change of the same key; longer than any scan
DOMAIN = "here.test"
VALUES = {"p%d@%s" % (i, DOMAIN): "box%d" % i for i in range(PERMANENT)}
MOVERS = ["m%d@%s" % (i, DOMAIN) for i in range(MOVING)]
ALWAYS = {*VALUES, *MOVERS}
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
    """A directory with its truth, and a thread that changes both."""

    is_move_one_step = True     # or first there, then no longer here
    hides_from_lookups = False  # what is hidden from scans

    def __init__(self, seed):
        self.pick = random.Random("%s %s" % (seed, self.name))
        self.truth, self.hidden = Truth(), Times()
        self.entry = {k: self.pick.choice(ENTRIES) for k in MOVERS + CHANGERS}
        self.changed = dict.fromkeys(self.entry, 0)
        self.is_over, self.is_given_up, self.n_changes = False, False, 0
        for key, value in (VALUES | self.entry).items():
            self.truth.know(key, 0, [value])
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _choose(self):
        """{key: its next entry, or None}"""
        ripe = [k for k in self.pick.sample(list(self.entry), 12)
                if time.monotonic() > self.changed[k] + PAUSE][:4]
        return {k: self.pick.choice(self._places(k)) for k in ripe}

    def _places(self, key):
        """Where it may go: from the first entries to the last ones, or back, or nowhere."""
        at = self.entry[key]
        half = ENTRIES[:HALF] if at is None or at >= ENTRIES[HALF] else ENTRIES[HALF:]
        return half + [None] * HALF if at and key in CHANGERS else half

    def _begin(self, changes):
        """From now on both may be seen."""
        now = time.monotonic()
        for key, new in changes.items():
            may = {self.entry[key], new}
            if not self.is_move_one_step and None not in may:
                # In both entries for a moment; a scan may come by them in any order.
                may |= {",".join(sorted(may)), ",".join(sorted(may, reverse=True))}
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
                    if self.is_given_up:
                        return
                    time.sleep(0.2)
            time.sleep(self.pick.uniform(0.1, 0.4))

    def hide(self, what):
        """From those who scan: "all", "half"; None: nothing any more."""
        if what:
            self.hidden.begin()
        self.hide_from_scans(what)
        if not what:
            self.hidden.end()

    def start_again(self):
        self.server.start()

    def stop(self, seconds):
        """No more changes. False: it takes too long."""
        self.is_over = True
        if self.thread.is_alive():
            self.thread.join(seconds)
        return not self.thread.is_alive()

    def end(self):
        """Whatever becomes of a change that is under way."""
        self.is_over = self.is_given_up = True


class Ldap(Changing):
    """
    Keys are values of `mail` of entries; those that move and change are in forty entries, of which
    half were made before all others and half after, so that scans meet them in this order.
    """

    name = "ldap"
    is_move_one_step = False
    hides_from_lookups = True   # of the same user
    scan_bytes = 117000         # so much comes when all is read; a little less without CHANGERS

    def __init__(self, seed):
        super().__init__(seed)
        ldif = "".join("dn: cn=%s,%s\nobjectClass: adGroup\ncn: %s\n\n" % (g, SUFFIX, g)
                       for g in ("blind", "half"))
        ldif += "dn: cn=scanner,%s\nobjectClass: organizationalRole\nobjectClass: " \
            "simpleSecurityObject\ncn: scanner\nuserPassword: secret\n\n" % SUFFIX
        for ou in "people,", "a,ou=people,", "b,ou=people,":
            ldif += "dn: ou=%s%s\nobjectClass: organizationalUnit\nou: %s\n\n" % (
                ou, SUFFIX, ou.partition(",")[0])
        ldif += "".join(self._entry(e, "a") for e in ENTRIES[:HALF])
        ldif += "".join(self._permanent(i) for i in range(PERMANENT))
        ldif += "".join(self._entry(e, "b") for e in ENTRIES[HALF:])
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

    def start_again(self):
        """It logs every operation: only those since the last start are kept."""
        os.truncate(self.server.dir + "/log", 0)
        self.server.start()

    def apply(self, changes):
        """First into the new entries, then out of the old ones."""
        old, new = self.entry, self.entry | changes
        touched = sorted({e[k] for e in (old, new) for k in changes} - {None})
        ldif = ""
        for keeps in ((old, new), (new,)):
            for e in touched:
                keys = sorted({k for k in old if any(at[k] == e for at in keeps)})
                ldif += "dn: cn=%s,ou=%s,ou=people,%s\nchangetype: modify\nreplace: mail\n%s\n" % (
                    e, "ab"[e >= ENTRIES[HALF]], SUFFIX, "".join("mail: %s\n" % k for k in keys))
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
    """One row for each key; scans look at the view `seen`."""

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
    scan_bytes = 19000          # see there
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

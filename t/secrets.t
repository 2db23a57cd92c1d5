#!/usr/bin/env python3
# sanitizers: asan
"""
Secrets, addresses and clients appear nowhere they must not: a server with every kind of password, a
secret map, and everything going wrong that can; then all that an operator or a stranger can see of
it is read.
"""
import contextlib
import glob
import os
import pwd
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys

sys.path.insert(0, "t/lib")
from certificates import Authority
from harness import *
from mariadb import MariaDB
from slapd import SUFFIX, Slapd
from web import ask, ask_json

# Passwords, by where they stand. Those that are wrong are secrets, too: they are the right ones of yesterday.
LDAP, LDAP_FILE, LDAP_WRONG = "sw0rdfish-inline", "sw0rdfish-file", "sw0rdfish-wrong"
DB, DB_FILE, DB_CF, DB_WRONG = "m4ckerel-inline", "m4ckerel-file", "m4ckerel-cf", "m4ckerel-wrong"
TYPO = "h3rring-typo"
HIDDEN = "0ctopus-value"        # what the secret map holds
SECRETS = [LDAP, LDAP_FILE, LDAP_WRONG, DB, DB_FILE, DB_CF, DB_WRONG, TYPO, HIDDEN]
BIND_DNS = ["cn=reader," + SUFFIX, "cn=other," + SUFFIX]

KEY, ABSENT, GONE = "whistle@private.example", "nightingale@private.example", "sparrow@private.example"
VALUE = "blower@veiled.example"
ADDRESSES = ["whistle", "nightingale", "sparrow", "private.example", "blower", "veiled.example"]
KEYS = ADDRESSES[:4]
CLIENT = "127.0.0.77"

LDIF = """dn: cn=other,SUFFIX
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: other
userPassword: %s

dn: cn=joe,SUFFIX
objectClass: organizationalRole
objectClass: postfixUser
cn: joe
mailacceptinggeneralid: %s
maildrop: %s

""".replace("SUFFIX", SUFFIX) % (LDAP_FILE, KEY, VALUE)
SQL = "CREATE TABLE alias (address VARCHAR(200) PRIMARY KEY, goto VARCHAR(5000));" + "".join(
    "INSERT INTO alias VALUES ('%s', '%s');" % (k, VALUE) for k in [KEY, GONE] +
    ["bird%d@private.example" % i for i in range(60)])
ONE = {"source": "lite", "search": "exact", "query": "SELECT goto FROM alias WHERE address = '%s'"}
COPY = dict(ONE, mode="mirror", refresh="1s", on_miss="notfound",
            scan_query="SELECT address, goto FROM alias")


def write_private(path, text):
    replace(path, text)
    os.chmod(path, 0o600)
    return path


# --- a server with all of it ------------------------------------------------------------------------

class World:
    def __init__(self):
        ca = Authority()
        self.slapd = Slapd(LDIF, certificate=ca.certificate("ldap", "IP:127.0.0.1"))
        self.slapd.modify("dn: %s\nchangetype: modify\nreplace: userPassword\nuserPassword: %s\n"
                          % (BIND_DNS[0], LDAP))
        self.stranger = Authority("another").pem
        self.db = MariaDB(SQL)
        self.db.sql("SET PASSWORD FOR reader@'%%' = PASSWORD('%s');" % DB + "".join(
            "CREATE USER %s@'%%' IDENTIFIED BY '%s'; GRANT SELECT ON mail.* TO %s@'%%';" %
            (user, password, user) for user, password in (("filed", DB_FILE), ("tabled", DB_CF))))

    def ldap(self, name, **settings):
        source = self.slapd.source(name, connections=1, timeout="3s", **settings)
        if "bind_pw_file" in source:
            del source["bind_pw"]
        return source

    def mysql(self, name, **settings):
        source = self.db.source(name, connections=1, timeout="3s", **settings)
        if "password_file" in source:
            del source["password"]
        return source

    def server(self, **daemon):
        s = Server(threads=1, snapshot_interval="200ms", **daemon)
        lite = s.dir + "/lite"
        database(lite, SQL + "CREATE TABLE vault (address TEXT, goto TEXT);"
                 "INSERT INTO vault VALUES ('%s', '%s');" % (KEY, HIDDEN) +
                 "INSERT INTO alias VALUES ('long@private.example', '%s');" % ("x" * 5000))
        s.sources = [
            self.ldap("dir", bind_pw=LDAP), self.ldap("dirwrong", bind_pw=LDAP_WRONG),
            self.ldap("dirfile", bind_dn=BIND_DNS[1],
                      bind_pw_file=write_private(s.dir + "/bind_pw", LDAP_FILE + "\n")),
            self.ldap("dirtls", bind_pw=LDAP, start_tls=True, tls_ca_cert_file=self.stranger),
            self.mysql("db", password=DB), self.mysql("dbwrong", password=DB_WRONG),
            self.mysql("dbfile", user="filed",
                       password_file=write_private(s.dir + "/db_pw", DB_FILE + "\n")),
            {"name": "lite", "driver": "sqlite", "dbpath": lite}]
        cf = write_private(s.dir + "/tabled.cf", "hosts = unix:%s\nuser = tabled\npassword = %s\n"
                           "dbname = mail\nquery = SELECT goto FROM alias WHERE address = '%%s'\n"
                           % (self.db.socket, DB_CF))
        entry = {"search": "exact", "search_base": SUFFIX, "result_attribute": "maildrop",
                 "query_filter": "(mailacceptinggeneralid=%s)", "deadline": "3s"}
        row = dict(ONE, deadline="3s")
        s.maps = {
            "dir": dict(entry, source="dir"), "dirfile": dict(entry, source="dirfile"),
            "dirwrong": dict(entry, source="dirwrong"), "dirtls": dict(entry, source="dirtls"),
            "dirbase": dict(entry, source="dir", search_base="cn=%u,ou=people," + SUFFIX),
            "db": dict(row, source="db"), "dbfile": dict(row, source="dbfile"),
            "dbwrong": dict(row, source="dbwrong"),
            "dbodd": dict(row, source="db", query="SELECT goto FROM alias WHERE %u = address"),
            "dbcf": {"postfix_table": "mysql:" + cf, "search": "exact"},
            "lite": ONE, "copy": dict(COPY, export="cdb:%s/export/copy.cdb" % s.state),
            "odd": dict(ONE, query="SELECT goto FROM alias WHERE %u = address"),
            "vault": dict(COPY, secret=True, query="SELECT goto FROM vault WHERE address = '%s'",
                          scan_query="SELECT address, goto FROM vault"),
            "vault1": dict(ONE, secret=True, query="SELECT goto FROM vault WHERE address = '%s'"),
        }
        s.tcp = "inet:127.0.0.1:%d" % free_port()
        s.web = "unix:%s/web" % s.dir
        s.control = "unix:%s/control" % s.dir
        s.listeners += [
            {"protocol": "socketmap", "address": s.tcp},
            {"protocol": "tcp_table", "address": "unix:%s/t" % s.dir, "map": "lite", "mode": "0666"},
            {"protocol": "http", "address": s.web, "mode": "0600"},
            {"protocol": "control", "address": s.control, "mode": "0600"}]
        return s


ANSWERS = {"dir": VALUE, "dirfile": VALUE, "db": VALUE, "dbfile": VALUE, "dbcf": VALUE, "lite": VALUE,
           "copy": VALUE, "vault": HIDDEN, "vault1": HIDDEN}
FAILURES = ("dirwrong", "dirtls", "dirbase", "dbwrong", "dbodd", "odd")


def map_of(server, name):
    return next(m for m in ask_json(server.web, "/v1/status")[1]["maps"] if m["name"] == name)


def work(server):
    """What ought to be answered is; all replies but those."""
    got = {m: server.wait_for_reply(m, KEY, "^OK") for m in ANSWERS}
    same(got, {m: "OK " + v for m, v in ANSWERS.items()}, "all kinds of passwords work")
    replies = []
    with server.client() as c:
        for m in FAILURES:
            replies.append(c.ask(m, KEY))
            like(replies[-1], "^TEMP ", m + ": TEMP")
        replies += [c.ask(m, ABSENT) for m in ANSWERS]
        replies.append(c.ask("nosuchmap", KEY))
    with TableClient("unix:%s/t" % server.dir) as c:
        replies.append(c.ask("long@private.example"))
        like(replies[-1], "^400 ", "a value that does not fit: TEMP")
    return replies


def misbehave(server):
    """What strangers send, from an address of their own."""
    port = int(server.tcp.rpartition(":")[2])
    for junk in (KEY + "\n", "99999999999:" + KEY, netstring("lite")[:-1].decode() + KEY,
                 netstring(KEY).decode(), netstring("lite " + KEY + "\0").decode(),
                 netstring("lite " + "'\"\\;\r\n\x1b[2J%s" + KEY).decode(),
                 netstring("lite " + "x" * 3000 + KEY).decode(), "1" * 5000 + KEY):
        with socket.create_connection(("127.0.0.1", port), 10, (CLIENT, 0)) as s:
            s.sendall(junk.encode())
            s.shutdown(socket.SHUT_WR)
            while s.recv(4096):
                pass
    with TableClient("unix:%s/t" % server.dir) as c:
        c.send(b"put %s x\nget %%zz%s\n" % (KEY.encode(), KEY.encode()))
        c.read()
        c.read()
        c.send(b"get " + b"y" * 50000 + KEY.encode())
        c.socket.shutdown(socket.SHUT_WR)
        c.read_all()


def fail(world, server):
    """Things that go wrong later: a directory, a scan, a configuration."""
    database(server.dir + "/lite", "DELETE FROM alias WHERE address != '%s'" % KEY)
    ok(wait_for(lambda: map_of(server, "copy")["tables"][0]["rejected"]), "a scan is rejected")
    world.slapd.stop()
    like(server.wait_for_reply("dir", ABSENT + ".test", "^TEMP"), "^TEMP", "the directory is killed")
    good, said = server.sources, ""
    for bad in ({"bind_pw": [TYPO]}, {"bind_pwd": TYPO}, {"bind_pw": TYPO, "timeout": "ten"},
                {"bind_pw": TYPO, "bind_pw_file": server.dir + "/nothing"},
                {"bind_pw": TYPO, "bind_dm": TYPO}):
        server.sources = [dict(good[0], **bad)] + good[1:]
        server.write()
        with open(server.conf) as f:
            ok(TYPO in f.read(), "a mistake beside a password")
        p = run(PROGRAM, "-t", "-c", server.conf)
        same(p.returncode, 1, "is found")
        said += p.stdout + p.stderr
        ok(server.reload("reload_refused", write=False), "and refused")
    server.sources = good
    write_private(server.dir + "/typo.cf", "hosts = localhost\npassword %s\n" % TYPO)
    write_private(server.dir + "/typo2.cf", "hosts = localhost\npasword = %s\n" % TYPO)
    for n in "", "2":
        server.maps["typo"] = {"postfix_table": "mysql:%s/typo%s.cf" % (server.dir, n)}
        server.write()
        p = run(PROGRAM, "-t", "-c", server.conf)
        said += p.stdout + p.stderr
        same(p.returncode, 1, "so is one in a table file")
        ok(server.reload("reload_refused", write=False), "and refused")
    del server.maps["typo"]
    ok(server.reload(), "a good one is taken again")
    return said


# --- what can be seen ----------------------------------------------------------------------------------

def shows(text, words):
    """The words that stand in it, in whatever case."""
    text = text.lower()
    return [w for w in words if w.lower() in text]


def hidden_from(where, text, words):
    around = [text[max(0, at - 120):at + 80] for at in
              (text.lower().find(w.lower()) for w in words) if at >= 0]
    ok(not around, where, *around)


def bytes_of(path):
    with open(path, "rb") as f:
        return f.read().decode("latin-1")


def check_http(server):
    for door, name in (server.web, ""), (server.control, ", by the control socket"):
        for path in "/metrics", "/readyz", "/v1/status":
            r = ask(door, path)
            hidden_from("%s: no secret, key, value, bind DN or client%s" % (path, name),
                        r.body.decode(), SECRETS + ADDRESSES + BIND_DNS + [CLIENT])


def check_questions(server):
    """Whoever may ask is told of his own question; nobody is told of a secret map or of a password."""
    for path in ("/v1/maps/vault?key=" + KEY, "/v1/maps/vault1?key=" + KEY,
                 "/v1/maps/%76ault?key=" + KEY, "/v1/explain?map=vault&key=" + KEY,
                 "/v1/explain?map=vault1&live=0&key=" + KEY):
        r = ask(server.web, path)
        same(r.status, 403, "a secret map is not for everybody: " + path)
        hidden_from("and nothing of it is told", r.body.decode(), SECRETS)
    for path in "/v1/dump?map=vault", "/v1/diff?map=vault", "/v1/trace?map=vault":
        same((ask(server.web, path).status, ask(server.control, path).status), (404, 403),
             "nor is it for an operator, whole: " + path)
    for path in "/v1/flush?map=lite&key=" + KEY, "/v1/flush?address=" + ABSENT:
        same(ask(server.control, path, "POST").status, 200, "an operator forgets a key")
    told = {}
    for m in server.maps:
        for door in server.web, server.control:
            r = ask(door, "/v1/explain?map=%s&key=%s" % (m, KEY))
            told[m, door] = r.body.decode()
            hidden_from("the explanation of %s: no password, no bind DN" % m, told[m, door],
                        [s for s in SECRETS if s != HIDDEN] + BIND_DNS)
    for m, query in ("dir", "(mailacceptinggeneralid=%s)" % KEY), ("db", "SELECT goto FROM alias"):
        ok(query in told[m, server.control] and VALUE in told[m, server.web],
           "while %s shows what is asked, and the answer" % m, told[m, server.control])
    ok(HIDDEN in told["vault", server.control], "an operator sees the one value he asks for")


def check_processes(server):
    for pid in [server.pid] + server.drivers():
        for file in "cmdline", "environ":
            hidden_from("%s of process %d" % (file, pid), proc_file(pid, file),
                        SECRETS + ADDRESSES + BIND_DNS)


def check_log(server, keys):
    log = server.log()
    hidden_from("no secret in the log, no value, no client", log,
                SECRETS + ["blower", "veiled.example", CLIENT])
    if keys == "full":
        same(sorted(shows(log, ["whistle", "nightingale"])), ["nightingale", "whistle"],
             "keys are there, as the setting says")
    else:
        hidden_from("no key in the log, log_keys = " + keys, log, KEYS)
    for event in ("lookup_failed", "lookup_refused", "host_failed", "refresh_rejected", "unknown_map",
                  "protocol_error", "source_failed", "value_too_long", "reload_refused"):
        ok("event=%s " % event in log or "event=%s\n" % event in log, "it tells of " + event)
    refused = [e["why"] for e in server.events("lookup_refused", map="dbodd")]
    ok(refused and all("'[key]'" in w for w in refused), "what a database repeats is concealed", refused)


def check_files(server):
    found = {os.path.relpath(os.path.join(top, name), server.state): os.path.join(top, name)
             for top, _, names in os.walk(server.state) for name in names}
    exports = {n for n in found if n.startswith("export/")}
    same(exports, {"export/copy.cdb"}, "the export is there")
    same({oct(stat.S_IMODE(os.stat(p).st_mode)) for n, p in found.items() if n not in exports},
         {"0o600"}, "snapshots are for their owner")
    ok([n for n in found if n.startswith("copy")], "they are there", found)
    same([n for n in found if n.startswith("vault")], [], "none of a secret map")
    for name, path in found.items():
        hidden_from("no secret in " + name, bytes_of(path), SECRETS + BIND_DNS)
    same({oct(stat.S_IMODE(os.stat(d).st_mode)) for d, _, _ in os.walk(server.state)} -
         {"0o700", "0o711", "0o755"}, set(), "nobody else writes to the directories")


def check_sockets(server):
    for name in "web", "control":
        same(oct(stat.S_IMODE(os.stat("%s/%s" % (server.dir, name)).st_mode)), "0o600",
             "the mode of the socket " + name)


def check_everything(world, level, keys):
    with world.server(log_level=level, log_keys=keys) as server:
        note("log_level = %s, log_keys = %s" % (level, keys))
        replies = work(server)
        misbehave(server)
        check_questions(server)
        check_processes(server)
        ok(wait_for(lambda: glob.glob(server.state + "/copy*") and
                    glob.glob(server.state + "/export/*.cdb")), "snapshots and export are written")
        replies.append(fail(world, server))
        server.stats()
        check_http(server)
        check_processes(server)
        check_log(server, keys)
        check_files(server)
        check_sockets(server)
        hidden_from("no secret in replies and errors", "\n".join(map(str, replies)),
                    SECRETS + BIND_DNS)
    check_log(server, keys)     # with what it said at its end
    check_files(server)
    world.slapd.start()


# --- cores -----------------------------------------------------------------------------------------------

@contextlib.contextmanager
def cores_welcome(folder):
    """What is started here may dump as much as it likes, into this directory."""
    before, limits = os.getcwd(), resource.getrlimit(resource.RLIMIT_CORE)
    os.chdir(folder)
    resource.setrlimit(resource.RLIMIT_CORE, (limits[1], limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)
        os.chdir(before)


def cores(folder):
    return [p for p in glob.glob(folder + "/*") if "core" in os.path.basename(p)]


def core_limit(pid):
    with open("/proc/%d/limits" % pid) as f:
        return next(l for l in f if l.startswith("Max core")).split()[4:6]


def without_limits(folder):
    """A library that takes setrlimit() away: cores in a pipe, core(5), know no limit, either."""
    replace(folder + "/limits.c", "int setrlimit(int w, const void *l) { return 0; }\n"
            "int setrlimit64(int w, const void *l) { return 0; }\n")
    p = run("cc", "-w", "-shared", "-fPIC", "-o", folder + "/limits.so", folder + "/limits.c")
    ok(p.returncode == 0, "a library is built", p.stderr)
    return folder + "/limits.so"


def check_cores(world):
    folder = scratch()
    with cores_welcome(folder):
        subprocess.run(["sh", "-c", "kill -SEGV $$"])
    if not cores(folder):
        note("no program leaves a core here: not tested")
        return
    ok(cores(folder), "a shell that crashes leaves a core")
    for path in cores(folder):
        os.unlink(path)
    with world.server() as server:
        work(server)
        same({str(core_limit(pid)) for pid in [server.pid] + server.drivers()}, {str(["0", "0"])},
             "no cores, say the limits of server and drivers")

    server = world.server()
    server.env["LD_PRELOAD"] = without_limits(scratch())
    with cores_welcome(folder):
        server.start()
    work(server)
    for pid in [server.pid] + server.drivers():
        ok(core_limit(pid)[0] != "0" and os.readlink("/proc/%d/cwd" % pid) == folder,
           "a core of process %d would be here but for another reason" % pid, core_limit(pid))
    drivers = server.drivers()
    ok(len(drivers) > 7, "each source has its drivers", drivers)
    for i, pid in enumerate(drivers):
        signal_if_there(pid, (signal.SIGABRT, signal.SIGSEGV)[i % 2])
    ok(wait_for(lambda: not any(map(is_running, drivers))), "drivers crash")
    same(cores(folder), [], "and leave none")
    os.kill(server.pid, signal.SIGSEGV)
    same(server.process.wait(), -signal.SIGSEGV, "so does the server")
    server.is_stopped = True
    same(cores(folder), [], "and leaves none")


def is_closed(pid):
    """To its own user; or it has ended."""
    try:
        return os.stat("/proc/%d/environ" % pid).st_uid == 0
    except OSError:
        return True


def check_user(world):
    """A change of user must not make it readable for that user again."""
    server = world.server(user="nobody", group="nogroup")
    os.mkdir(server.state, 0o700)
    shutil.chown(server.state, "nobody", "nogroup")
    for name in "bind_pw", "db_pw", "tabled.cf", "lite":
        shutil.chown(server.dir + "/" + name, "nobody", "nogroup")
    with server:
        same({m: server.wait_for_reply(m, KEY, "^OK") for m in ("dirfile", "dbfile", "dbcf")},
             dict.fromkeys(("dirfile", "dbfile", "dbcf"), "OK " + VALUE), "as nobody")
        like(proc_file(server.pid, "status"), r"\nUid:\t%d\t" % pwd.getpwnam("nobody").pw_uid, "it is")
        for pid in [server.pid] + server.drivers():
            # A driver is told what is secret after it has closed itself.
            ok(wait_for(lambda: is_closed(pid)), "process %d is closed to its own user" % pid)


world = World()
for level, keys in (("info", "hash"), ("info", "full"), ("debug", "none")):
    check_everything(world, level, keys)
if SLOW == 1:       # sanitizers have signal handlers of their own
    check_cores(world)
if os.geteuid() == 0:
    check_user(world)
done()

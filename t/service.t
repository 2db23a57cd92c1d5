#!/usr/bin/env python3
"""
The service: what `make install` lays out, what systemd says of the units, what the service manager is
told while loops stall, and the installed server under a systemd of its own, in its sandbox, with
real directories.
"""
import glob
import os
import re
import select
import shutil
import signal
import stat
import sys

sys.path.insert(0, "t/lib")
import systemd
from harness import *
from mariadb import MariaDB
from stall import Stopped, thread_of
from restart import Callers, Manager
from slapd import SUFFIX, Slapd

if os.geteuid():
    ok(False, "root, to install and to run a systemd")
    done()

LIBEXEC, DOC = "usr/local/libexec/socketmapd", "usr/local/share/doc/socketmapd"
UNITS = "usr/local/lib/systemd/system"
CONF = "etc/socketmapd/socketmapd.conf"
CHROOT = "/var/spool/postfix/socketmapd"


# --- make install -----------------------------------------------------------------------------

def files_below(top):
    """{path: mode}, directories with a slash at the end."""
    found = {}
    for folder, dirs, names in os.walk(top):
        for name in names + dirs:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            found[os.path.relpath(path, top) + "/" * stat.S_ISDIR(mode)] = stat.S_IMODE(mode)
    return found


def install(top):
    made = run("make", "-s", "install", "DESTDIR=" + top)
    ok(made.returncode == 0, "make install", made.stdout, made.stderr)
    found = files_below(top)
    programs = {p for p, mode in found.items() if mode == 0o755 and not p.endswith("/")}
    ok({"usr/local/sbin/socketmapd"} | {LIBEXEC + "/socketmapd-" + d
                                        for d in ("sqlite", "mysql", "ldap")} <= programs,
       "the server and its drivers", programs)
    same([p for p in programs if not re.match(r"usr/local/(s?bin|libexec/socketmapd)/", p)], [],
         "nothing else is executable")
    same({oct(mode) for p, mode in found.items() if p not in programs and not p.endswith("/")},
         {"0o644"}, "all other files: 0644")
    same({oct(mode) for p, mode in found.items() if p.endswith("/")}, {"0o755"},
         "directories: 0755")
    for wanted in (
            [UNITS + "/" + os.path.basename(p) for p in glob.glob("contrib/systemd/*.s*[et]")] +
            ["usr/local/lib/%s.d/socketmapd.conf" % d for d in ("sysusers", "tmpfiles")],
            ["usr/local/share/man/man%s/%s" % (p[-1], os.path.basename(p))
             for p in glob.glob("man/*.[1-8]")],
            ["usr/local/share/socketmapd/" + p for p in
             ("prometheus/rules.yml", "prometheus/rules_test.yml", "grafana/dashboard.json")],
            [DOC + "/README"] + [DOC + "/" + p for p in
                                 glob.glob("contrib/*.conf") + glob.glob("maps.d/**/*.conf")],
            ["etc/socketmapd/maps.d/"]):
        same([p for p in wanted if p not in found], [], "%s and %d more" % (wanted[0], len(wanted) - 1))
    same([p for p in found if p.startswith("etc/") and not p.endswith("/")], [],
         "no configuration is put into force")
    return found


def check_sample(top):
    """The installed server takes the installed sample, once that is pointed there."""
    shutil.copy(top + "/" + DOC + "/contrib/socketmapd.conf", top + "/" + CONF)
    for path in glob.glob(top + "/" + DOC + "/maps.d/*.conf"):
        shutil.copy(path, top + "/etc/socketmapd/maps.d")
    done = run(top + "/usr/local/sbin/socketmapd", "-t", "-c", top + "/" + CONF)
    same(done.returncode, 0, "socketmapd -t on the sample")
    like(done.stdout, ": good: [1-9]", "which is good")
    with open(top + "/" + CONF, "a") as f:
        f.write("thraeds = 2;\n")
    same(run(top + "/usr/local/sbin/socketmapd", "-t", "-c", top + "/" + CONF).returncode, 1,
         "and not with a mistake in it")
    for path in [top + "/" + CONF] + glob.glob(top + "/etc/socketmapd/maps.d/*"):
        os.unlink(path)


def check_prefix():
    """Other places: the units know them."""
    top = scratch()
    made = run("make", "-s", "install", "DESTDIR=" + top, "PREFIX=/opt/mail",
               "UNITDIR=/lib/systemd/system")
    same(made.returncode, 0, "make install PREFIX=/opt/mail")
    with open(top + "/lib/systemd/system/socketmapd.service") as f:
        text = f.read()
    same(sorted(set(re.findall(r"\S+/sbin/socketmapd", text))), ["ExecReload=/opt/mail/sbin/socketmapd",
         "ExecStart=/opt/mail/sbin/socketmapd"], "the unit starts what was installed")
    same([p for p in files_below(top) if p.startswith("usr/")], [], "nothing elsewhere")


# --- what systemd says ------------------------------------------------------------------------

def check_units(top):
    targets = top + "/usr/lib/systemd/system"
    os.makedirs(targets)
    for t in systemd.TARGETS:
        shutil.copy("/lib/systemd/system/%s.target" % t, targets)
    units = [os.path.basename(p) for p in sorted(glob.glob("contrib/systemd/*.s*[et]"))]
    said = run("systemd-analyze", "verify", "--man=no", "--root=" + top, *units)
    same((said.returncode, said.stdout + said.stderr), (0, ""), "systemd-analyze verify " +
         " ".join(units))
    said = run("systemd-analyze", "security", "--offline=true", "--threshold=15",
               "--root=" + top, "socketmapd.service")
    ok(said.returncode == 0, "systemd-analyze security: at most 1.5", said.stdout[-4000:])
    note(said.stdout.splitlines()[-1])
    shutil.rmtree(top + "/usr/lib")


# --- what the service manager is told ---------------------------------------------------------

def make_server(dir, **env):
    server = Server({"m": {"source": "fake", "search": "exact"}})
    directory = Directory(server.dir)
    directory.rows({"k": "v"})
    server.sources = [directory.source()]
    server.env = dict(env, NOTIFY_SOCKET=dir + "/notify")
    return server


def heard_within(manager, seconds):
    """Whether anything is said; that the server is alive would be, several times in a second."""
    return bool(select.select([manager.socket], [], [], seconds)[0])


def hear_all(manager):
    while not manager.is_silent():
        pass


def check_watchdog():
    dir = scratch()
    manager = Manager(dir + "/notify")
    alive = {"WATCHDOG": "1"}
    with make_server(dir, WATCHDOG_USEC="800000") as server:
        said = [manager.heard() for _ in range(6)]
        ok({"READY": "1", "MAINPID": str(server.pid)} in said, "ready is told", said)
        same(said.count(alive), 5, "and that the server is alive, again and again")
        same(server.ask("m", "k"), "OK v", "it answers")
        names = [v.split("=")[0] for p in server.drivers() for v in
                 proc_file(p, "environ").split("\0")]
        ok(names and not [n for n in names if n.startswith(("WATCHDOG", "NOTIFY"))],
           "driver processes cannot say so", names)
        with Stopped(thread_of(server.pid, "answers")):
            stalled = server.wait_for_event("loop_stalled", seconds=30)
            like(stalled and stalled["loop"], "answers[01]", "a loop that stands still is logged")
            hear_all(manager)
            ok(not heard_within(manager, 1), "and from then on the server is not called alive")
        ok(server.wait_for_event("loop_resumed"), "it goes on")
        same(manager.heard(), alive, "the server is alive again")
        with Stopped(server.pid):     # the main thread: the control loop
            hear_all(manager)
            ok(not heard_within(manager, 1), "nobody says so while the control loop stands still")
        same(manager.heard(), alive, "but then")
        server.signal(signal.SIGHUP)
        said = []
        while not said or (said[-1] and "READY" not in said[-1]):
            said.append(manager.heard())
        same([sorted(s)[-1] for s in said if s and s != alive], ["RELOADING", "READY"],
             "a reload is told in between")
    said = []
    while not said or said[-1] == alive:
        said.append(manager.heard())
    same(said[-1], {"STOPPING": "1"}, "the end is told")
    with make_server(dir, WATCHDOG_USEC="800000", WATCHDOG_PID="1"):
        wait_for(lambda: heard_within(manager, 1))
        same(manager.heard().get("READY"), "1", "a watchdog for another process: ready is told")
        ok(not heard_within(manager, 1), "and nothing else")



# --- under systemd ----------------------------------------------------------------------------

SOCKET = CHROOT + "/socketmap"
USERS = ["joe", "ann"]
LDIF = "".join("""dn: uid={0},{1}
objectClass: inetOrgPerson
uid: {0}
cn: {0}
sn: {0}
mail: {0}@ldap.test

""".format(u, SUFFIX) for u in USERS)
SQL = "CREATE TABLE alias (address VARCHAR(100), goto VARCHAR(100));" + "".join(
    "INSERT INTO alias VALUES ('%s@sql.test', '%s@there.test');" % (u, u) for u in USERS)
LISTENERS = """listeners = (
  { protocol = "socketmap"; address = "unix:/var/spool/postfix/socketmapd/socketmap";
    group = "postfix"; mode = "0660"; },
  { protocol = "control"; address = "unix:/run/socketmapd/control"; } );
"""
INHERITED = """listeners = (
  { protocol = "socketmap"; address = "systemd:maps"; },
  { protocol = "tcp_table"; address = "systemd:tcp"; map = "lite"; } );
"""
SOURCES = """threads = 2;
start_wait = "5s";
sources = (
  { name = "lite"; driver = "sqlite"; dbpath = "/var/lib/mail/mail.sqlite"; },
  { name = "maria"; driver = "mysql"; hosts = "unix:/run/db/sock"; user = "reader";
    password_credential = "maria"; dbname = "mail"; },
  { name = "dir"; driver = "ldap"; server_host = "ldapi://%%2Frun%%2Fldap%%2Fldapi";
    bind_dn = "cn=reader,%s"; bind_pw_credential = "ldap"; },
  { name = "far"; driver = "ldap"; server_host = "ldap://localhost:PORT"; } );
""" % SUFFIX
QUERY = """query = "SELECT goto FROM alias WHERE address = '%%s'";
scan_query = "SELECT address, goto FROM alias"; source = "%s"; mode = "mirror"; search = "exact";
"""
LDAP = """source = "%s"; search = "exact";
search_base = "%s"; query_filter = "(mail=%%s)"; result_attribute = "uid";
"""
MAPS = {"lite": QUERY % "lite", "maria": QUERY % "maria", "dir": LDAP % ("dir", SUFFIX),
        "far": LDAP % ("far", SUFFIX)}
ANSWERS = {("lite", "joe@sql.test"): "OK joe@there.test", ("maria", "ann@sql.test"):
           "OK ann@there.test", ("dir", "ann@ldap.test"): "OK ann", ("far", "joe@ldap.test"): "OK joe",
           ("dir", "nobody@ldap.test"): "NOTFOUND ", ("lite", "nobody@sql.test"): "NOTFOUND "}
DROPIN = """[Service]
LoadCredential=maria:/etc/socketmapd/secret
LoadCredential=ldap:/etc/socketmapd/secret
StandardError=append:/var/log/socketmapd.log
RestartSec=100ms
"""


def log(m):
    with open(m.root("/var/log/socketmapd.log")) as f:
        return f.read()


def works(m, action, name, status=0):
    got, said = m.systemctl(*action)
    return ok(got == status, name, "status %d" % got, said, m.console()[-1500:],
              log(m)[-3000:] if os.path.exists(m.root("/var/log/socketmapd.log")) else "")


def answers(m, name):
    got = {question: wait_for(lambda: (r := m.ask(SOCKET, *question)) == wanted and r, 5) or
           m.ask(SOCKET, *question) for question, wanted in ANSWERS.items()}
    if not same(got, ANSWERS, name):
        note(log(m)[-3000:])


def make_machine(top):
    db, slapd = MariaDB(SQL), Slapd(LDIF)
    os.chmod(slapd.dir, 0o755)
    os.chmod(slapd.socket, 0o777)
    m = systemd.Machine(["/usr/local/lib/systemd/system"], {"/run/db": db.dir,
                                                            "/run/ldap": slapd.dir})
    run("cp", "-a", top + "/.", m.root("/"))
    for tool in ("sysusers", "tmpfiles"):
        p = m.run("systemd-" + tool, *["--create"] * (tool == "tmpfiles"),
                  "/usr/local/lib/%s.d/socketmapd.conf" % tool)
        ok(p.returncode == 0, "systemd-" + tool, p.stdout, p.stderr)
    database(top + "/mail.sqlite", SQL)
    m.write("/var/lib/mail/mail.sqlite", open(top + "/mail.sqlite", "rb").read())
    m.write("/run/units/socketmapd.service.d/test.conf", DROPIN)
    m.write("/etc/socketmapd/secret", "secret\n", 0o600)
    for name, text in MAPS.items():
        m.write("/etc/socketmapd/maps.d/%s.conf" % name, text)
    m.systemctl("daemon-reload")
    return m, SOURCES.replace("PORT", str(slapd.port))


def check_sandbox(m):
    pid = m.services("socketmapd")[0]
    with open("/proc/%d/status" % pid) as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f)
    user = str(m.id("socketmapd"))
    same({k: status[k].split("\t")[0] for k in ("Uid", "NoNewPrivs", "Seccomp", "CapBnd", "CapAmb")},
         {"Uid": user, "NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0" * 16, "CapAmb": "0" * 16},
         "it runs as nobody of importance, in a filter")
    with open("/proc/%d/limits" % pid) as f:
        limits = {l[:26].strip(): l[26:].split()[:2] for l in f}
    same(limits["Max core file size"], ["0", "0"], "without cores")
    ok(int(limits["Max open files"][0]) > 4096 + 64, "with descriptors for max_clients", limits)
    nice = {(name, "".join(stat_fields(t)[16:17])) for t, name in threads(pid).items()}
    ok({("refresh", "10"), ("answers", "0")} <= nice, "its scans may lower their priority", nice)
    ok(children(pid), "and it starts drivers")
    for wrong in (("touch", "/etc/socketmapd/x"), ("touch", CHROOT + "/../x"), ("ls", "/root")):
        p = run_beside(m, pid, *wrong)
        ok(p.returncode != 0, "it could not %s %s" % wrong, p.stdout, p.stderr)
    same(run_beside(m, pid, "touch", "/var/lib/socketmapd/x").returncode, 0, "but write its state")
    os.unlink(m.root("/var/lib/socketmapd/x"))


def run_beside(m, pid, *argv):
    """A command where the server is: its mounts, its user."""
    user, group = (str(m.id("socketmapd", kind)) for kind in ("passwd", "group"))
    return run("nsenter", "-t", str(pid), "-m", "-r", "--", "setpriv", "--reuid", user, "--regid",
               group, "--clear-groups", "--", *argv)


def postmap_as(m, user):
    p = m.run("setpriv", "--reuid", user, "--regid", user, "--clear-groups", "postmap", "-q",
              "joe@sql.test", "socketmap:unix:%s:lite" % SOCKET)
    return p.stdout.strip() or re.sub(".*: ", "", p.stderr.strip().splitlines()[-1])


def check_control(m):
    def ctl(user, group, *groups):
        p = m.run("setpriv", "--reuid", user, "--regid", group, *groups,
                  "/usr/local/bin/socketmapctl", "maps")
        return p.returncode
    service = m.id("socketmapd"), m.id("socketmapd", "group")
    same(m.owner("/run/socketmapd/control"), ("0o660", *service), "the control socket is the service's")
    same((ctl("root", "root", "--clear-groups"), ctl("socketmapd", "socketmapd", "--clear-groups"),
          ctl("daemon", "daemon", "--groups", "socketmapd"), ctl("daemon", "daemon", "--clear-groups")),
         (0, 0, 0, 3), "root, itself and members of its group may use it, and nobody else")


def check_started(m, sources):
    works(m, ("start", "socketmapd.service"), "without a configuration a start does nothing")
    same(m.property("socketmapd", "ConditionResult"), "no", "on purpose")
    user, postfix = m.id("socketmapd"), m.id("postfix", "group")
    same(m.owner(CHROOT), ("0o2710", user, postfix), "the directory in Postfix's chroot")
    m.write("/" + CONF, LISTENERS + sources)
    works(m, ("start", "socketmapd.service"), "the service starts")
    same(m.property("socketmapd", "ActiveState"), "active", "and is ready")
    answers(m, "all drivers answer, over any kind of socket, with secrets that only root can read")
    same(m.owner(SOCKET), ("0o660", user, postfix), "the socket is for group postfix")
    same((postmap_as(m, "postfix"), postmap_as(m, "daemon")),
         ("joe@there.test", "Permission denied"), "which can use it, as others cannot")
    check_control(m)
    check_sandbox(m)


def check_reload(m, sources):
    m.write("/" + CONF, LISTENERS + sources + "thraeds = 1;\n")
    works(m, ("reload", "socketmapd.service"), "systemctl reload tells of a mistake", 1)
    answers(m, "which changes nothing")
    m.write("/" + CONF, LISTENERS + sources + 'stop_timeout = "4s";\n')
    works(m, ("reload", "socketmapd.service"), "systemctl reload")
    ok(wait_for(lambda: "event=reloaded" in log(m)), "reloads")
    same(m.property("socketmapd", "ActiveState"), "active", "and is active again")


def check_sockets(m, sources):
    works(m, ("stop", "socketmapd.service"), "the service stops")
    user, postfix = m.id("socketmapd"), m.id("postfix", "group")
    state = "/var/lib/socketmapd"
    same(m.owner(state), ("0o711", user, m.id("socketmapd", "group")), "who knows a name may pass")
    modes = {name: m.owner(state + "/" + name)[0] for name in os.listdir(m.root(state))}
    ok([n for n in modes if n.startswith("lite")], "snapshots are written", modes)
    same(set(modes.values()), {"0o600"}, "and are its own")
    m.write("/" + CONF, INHERITED + sources)
    port = free_port()
    m.write("/run/units/socketmapd-tcp.socket.d/test.conf",
          "[Socket]\nListenStream=\nListenStream=127.0.0.1:%d\n" % port)
    m.systemctl("daemon-reload")
    works(m, ("start", "socketmapd.socket", "socketmapd-tcp.socket"), "systemd opens the sockets")
    same(m.owner(SOCKET), ("0o660", user, postfix), "for the same group")
    same(m.property("socketmapd", "ActiveState"), "inactive", "nobody is there yet")
    answers(m, "who comes gets the server started, and an answer")
    with TableClient("inet:127.0.0.1:%d" % port) as c:
        same(c.ask("joe@sql.test"), "200 joe@there.test", "tcp_table, too")
    with Callers(["unix:" + m.root(SOCKET)], "lite", [u + "@sql.test" for u in USERS],
                 lambda key, reply: None if reply.startswith("OK ") else reply) as callers:
        for _ in range(2):
            before, pid = callers.total(), m.services("socketmapd")[0]
            wait_for(lambda: callers.total() > before + 50)
            works(m, ("restart", "socketmapd.service"), "restarted, with clients")
            ok(m.services("socketmapd")[0] != pid, "it is another one")
    same(callers.wrong[:3], [], "nobody was refused")


def check_killed(m):
    m.write("/run/units/socketmapd.service.d/watchdog.conf", "[Service]\nWatchdogSec=2\n")
    m.systemctl("daemon-reload")
    works(m, ("restart", "socketmapd.service"), "a short watchdog")
    os.kill(m.services("socketmapd")[0], signal.SIGSTOP)
    ok(wait_for(lambda: m.property("socketmapd", "NRestarts") == "1", 30),
       "a server that stands still is replaced", m.console()[-1500:])
    answers(m, "by one that answers")
    os.kill(m.services("socketmapd")[0], signal.SIGKILL)
    ok(wait_for(lambda: m.property("socketmapd", "NRestarts") == "2", 30), "so is one that dies")
    answers(m, "likewise")
    works(m, ("stop", "socketmapd.socket", "socketmapd-tcp.socket", "socketmapd.service"), "all stop")
    ok(wait_for(lambda: not m.services("socketmapd")), "no process is left")


top = scratch()
install(top)
check_sample(top)
check_prefix()
check_units(top)
check_watchdog()
if systemd.is_possible():
    machine, sources = make_machine(top)
    check_started(machine, sources)
    check_reload(machine, sources)
    check_sockets(machine, sources)
    check_killed(machine)
    machine.stop()
else:
    note("no systemd of our own: no overlay file system, name spaces or control groups here")
done()

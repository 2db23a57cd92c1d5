#!/usr/bin/env python3
"""
The Debian packages: built from a copy of this tree, read by lintian, and installed, used, upgraded
under load, removed and purged on a private copy of this machine, whose dpkg knows nothing of it.
"""
import glob
import os
import re
import shutil
import subprocess
import sys

sys.path.insert(0, "t/lib")
import systemd
from harness import *
from restart import Callers
from slapd import SUFFIX, Slapd

if os.geteuid():
    ok(False, "root, to install packages")
    done()

PACKAGES = ("socketmapd", "socketmapd-ldap", "socketmapd-mysql")
SOCKET = "/var/spool/postfix/socketmapd/socketmap"
CONF = """listeners = ( { protocol = "socketmap"; address = "systemd:maps"; } );
sources = (
  { name = "lite"; driver = "sqlite"; dbpath = "/var/lib/mail/mail.sqlite"; },
  { name = "dir"; driver = "ldap"; server_host = "ldap://127.0.0.1:PORT"; } );
"""
MAPS = {"lite": """source = "lite"; search = "exact"; mode = "mirror";
query = "SELECT goto FROM alias WHERE address = '%s'"; scan_query = "SELECT * FROM alias";
""", "dir": """source = "dir"; search = "exact"; search_base = "SUFFIX";
query_filter = "(cn=%s)"; result_attribute = "cn";
""".replace("SUFFIX", SUFFIX)}


def build():
    """{package: path}"""
    made = subprocess.run(["make", "deb"], text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          env=dict(os.environ, DEB_BUILD_OPTIONS="parallel=2 noautodbgsym"))
    if not ok(made.returncode == 0, "make deb", made.stdout[-3000:]):
        done()
    debs = {os.path.basename(p).split("_")[0]: p for p in glob.glob("build/deb/*.deb")}
    same(sorted(debs), sorted(PACKAGES), "three packages")
    version = re.search(r"^VERSION := (\S+)", open("Makefile").read(), re.M)[1]
    same({field(p, "Version") for p in debs.values()}, {version}, "of this version")
    return debs


def field(deb, name):
    return run("dpkg-deb", "-f", deb, name).stdout.strip()


def check_contents(debs):
    files = {name: {line.split()[5][1:] for line in
                    run("dpkg-deb", "-c", path).stdout.splitlines() if not line.startswith("d")}
             for name, path in debs.items()}
    server = files["socketmapd"]
    for driver in ("ldap", "mysql"):
        path = "/usr/libexec/socketmapd/socketmapd-" + driver
        same({p for p in files["socketmapd-" + driver] if "/doc/" not in p}, {path},
             "socketmapd-%s: the driver" % driver)
        ok(path not in server, "which is nowhere else")
    wanted = {"/usr/sbin/socketmapd", "/usr/bin/socketmapctl",
              "/usr/share/bash-completion/completions/socketmapctl",
              "/usr/share/man/man8/socketmapctl.8.gz",
              "/usr/libexec/socketmapd/socketmapd-sqlite",
              "/lib/systemd/system/socketmapd.service", "/lib/systemd/system/socketmapd.socket",
              "/usr/lib/sysusers.d/socketmapd.conf", "/usr/lib/tmpfiles.d/socketmapd.conf",
              "/usr/share/man/man8/socketmapd.8.gz", "/usr/share/man/man5/socketmapd.conf.5.gz",
              "/usr/share/doc/socketmapd/contrib/socketmapd.conf",
              "/usr/share/doc/socketmapd/maps.d/iredmail-mysql/virtual_alias_maps.conf",
              "/usr/share/socketmapd/prometheus/rules.yml",
              "/usr/share/socketmapd/grafana/dashboard.json"}
    same(wanted - server, set(), "socketmapd: the server, SQLite, units, pages, samples")
    same([p for p in server if p.startswith("/etc/")], [], "and no configuration in force")
    same([d for d in re.findall(r"[\w.+-]+", field(debs["socketmapd"], "Depends"))
          if re.search("ldap|mariadb|mysql", d)], [], "it needs no library of a directory")
    for name in ("socketmapd-ldap", "socketmapd-mysql"):
        like(field(debs[name], "Depends"), r"socketmapd \(= ", "%s fits this server alone" % name)


def check_hardening(debs):
    for path in debs.values():
        top = scratch()
        run("dpkg-deb", "-x", path, top)
        for program in glob.glob(top + "/usr/*bin/*") + glob.glob(top + "/usr/libexec/*/*"):
            name = os.path.basename(program)
            said = run("readelf", "-W", "-d", "-l", program).stdout
            ok(re.search(r"NOW\b.*\bPIE", said) and "GNU_RELRO" in said,
               name + ": position independent, bound at once, read-only after that")
            ok("__stack_chk_fail" in run("readelf", "-W", "--dyn-syms", program).stdout,
               name + ": with stack protector")


def check_lintian():
    changes = glob.glob("build/deb/*.changes")
    said = run("lintian", "--allow-root", "--fail-on", "error,warning", *changes)
    same((said.returncode, said.stdout), (0, ""), "lintian has nothing to say")


# --- on a machine -------------------------------------------------------------------------------

def make_machine(debs):
    m = systemd.Machine()
    for unit in ("socketmapd.service", "socketmapd.socket", "socketmapd-tcp.socket"):
        os.symlink("/lib/systemd/system/" + unit, m.root("/run/units/" + unit))
    if os.path.exists(m.root("/usr/sbin/policy-rc.d")):
        os.unlink(m.root("/usr/sbin/policy-rc.d"))      # of containers: start nothing
    for name, path in debs.items():
        shutil.copy(path, m.root("/tmp/%s.deb" % name))
    return m


def dpkg(m, name, *argv):
    p = m.run("dpkg", *argv)
    ok(p.returncode == 0, name, p.stdout, p.stderr, m.console()[-1500:])


def leftovers(m):
    return sorted(p for pattern in ("/usr/*/socketmapd*", "/usr/*/*/socketmapd*",
                                    "/usr/*/*/*/socketmapd*", "/lib/systemd/*/socketmapd*",
                                    "/etc/systemd/system/*/socketmapd*", "/var/lib/socketmapd*",
                                    "/var/lib/systemd/*/socketmapd*", "/var/spool/postfix/sock*",
                                    "/var/lib/dpkg/info/socketmapd*", "/etc/socketmapd*")
                  for p in m.run("sh", "-c", "ls -d %s 2>/dev/null" % pattern).stdout.split())


def check_install(m):
    dpkg(m, "dpkg --install", "-i", *("/tmp/%s.deb" % p for p in PACKAGES))
    user, group = m.id("socketmapd"), m.id("socketmapd", "group")
    ok(user and group, "a user and a group")
    same(m.owner("/var/spool/postfix/socketmapd"), ("0o2710", user, m.id("postfix", "group")),
         "the directory in Postfix's chroot")
    same((m.property("socketmapd", "ActiveState"), m.property("socketmapd", "ConditionResult")),
         ("inactive", "no"), "nothing runs without a configuration")
    ok("/etc/systemd/system/multi-user.target.wants/socketmapd.service" in leftovers(m),
       "but the service will", leftovers(m))
    ok(not [p for p in leftovers(m) if "sockets.target.wants" in p],
       "sockets are for the administrator to enable")


def check_use(m):
    slapd = Slapd()
    top = scratch()
    database(top + "/mail.sqlite", "CREATE TABLE alias (address TEXT PRIMARY KEY, goto TEXT);"
             "INSERT INTO alias VALUES ('joe@a.test', 'joe@b.test');")
    m.write("/var/lib/mail/mail.sqlite", open(top + "/mail.sqlite", "rb").read())
    for name, text in MAPS.items():
        m.write("/etc/socketmapd/maps.d/%s.conf" % name, text)
    m.write("/etc/socketmapd/socketmapd.conf", CONF.replace("PORT", str(slapd.port)))
    checked = m.run("socketmapd", "-t")
    same((checked.returncode, checked.stderr), (0, ""), "a configuration is good")
    status, said = m.systemctl("start", "socketmapd.socket", "socketmapd.service")
    same(status, 0, "the service starts")
    if not same(m.ask(SOCKET, "lite", "joe@a.test"), "OK joe@b.test", "and answers from SQLite"):
        note(said + m.console()[-3000:])
    same(m.ask(SOCKET, "dir", "reader"), "OK reader", "and from LDAP")


def check_upgrade(m):
    before = m.property("socketmapd", "MainPID")
    with Callers(["unix:" + m.root(SOCKET)], "lite", ["joe@a.test"],
                 lambda key, reply: None if reply == "OK joe@b.test" else reply) as callers:
        wait_for(lambda: callers.total() > 100)
        dpkg(m, "upgraded, with clients", "-i", *("/tmp/%s.deb" % p for p in PACKAGES))
        n = callers.total()
        wait_for(lambda: callers.total() > n + 100)
    same(callers.wrong[:3], [], "nobody was refused")
    ok(m.property("socketmapd", "MainPID") not in ("0", before), "the new server runs")


def check_removal(m):
    dpkg(m, "dpkg --remove", "-r", *reversed(PACKAGES))
    same(m.services("socketmapd"), [], "nothing runs any more")
    like(m.ask(SOCKET, "lite", "joe@a.test"), "Error", "and nothing listens")
    ok({"/etc/socketmapd", "/var/lib/socketmapd"} <= set(leftovers(m)),
       "configuration and snapshots stay", leftovers(m))
    dpkg(m, "dpkg --purge", "-P", *reversed(PACKAGES))
    same(leftovers(m), ["/etc/socketmapd"], "what the administrator has written is left alone")
    same(sorted(m.run("find", "/etc/socketmapd", "-type", "f").stdout.split()),
         ["/etc/socketmapd/maps.d/dir.conf", "/etc/socketmapd/maps.d/lite.conf",
          "/etc/socketmapd/socketmapd.conf"], "and nothing else")


debs = build()
check_contents(debs)
check_hardening(debs)
check_lintian()
known = run("dpkg-query", "-W", "socketmapd*").stdout
if systemd.is_possible():
    machine = make_machine(debs)
    check_install(machine)
    check_use(machine)
    check_upgrade(machine)
    check_removal(machine)
    machine.stop()
    same(run("dpkg-query", "-W", "socketmapd*").stdout, known, "the system knows nothing of it")
else:
    note("no systemd of our own: no overlay file system, name spaces or control groups here")
done()

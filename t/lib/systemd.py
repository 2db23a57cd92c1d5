"""
A private copy of this machine for tests that install things: the root directory under a layer that
takes all writes, and, where wanted, a systemd of its own that runs in there as process 1. Nothing of
it is seen outside, and all of it is gone at the end.
"""
import atexit
import os
import pty
import stat
import subprocess
import threading

import harness

# From those of the system; every other unit is one that the test brings along.
TARGETS = ("basic", "sysinit", "sockets", "shutdown", "multi-user", "network-online", "nss-lookup",
           "umount", "final", "exit")

# A control group of its own, so that the inner systemd sees no process of the outer one's.
OUTER = r"""
groups=$(awk '$3 == "cgroup2" { print $2; exit }' /proc/mounts)
mkdir "$groups/$1" && echo $$ >"$groups/$1/cgroup.procs"
shift
script=$1
shift
exec unshare --mount --pid --fork --uts --ipc --cgroup --kill-child sh -ec "$script" sh "$@"
"""

INNER = r"""
mount -t tmpfs none "$1"
cd "$1"
mkdir up work root
mount -t overlay none -o lowerdir=/,upperdir=up,workdir=work root
cd root
mount -t proc proc proc
mount -o bind,ro proc/sys proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
for d in run tmp dev; do mount -t tmpfs -o mode=755 tmpfs $d; done
chmod 1777 tmp
mkdir dev/pts dev/shm run/units run/lock
for d in null zero full random urandom tty; do touch dev/$d; mount --bind /dev/$d dev/$d; done
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
touch dev/console
mount --bind "$2" dev/console
shift 2
while [ $# -gt 0 ]; do mkdir -p "./$2"; mount --bind "$1" "./$2"; shift 2; done
for t in TARGETS; do cp lib/systemd/system/$t.target run/units/; done
cp lib/systemd/system/systemd-exit.service run/units/
mkdir run/outside
pivot_root . run/outside
cd /
mount --make-rshared /
exec env -i container=socketmapd SYSTEMD_UNIT_PATH=UNITS PATH=/usr/sbin:/usr/bin:/sbin:/bin \
	sh -c 'mount --make-rprivate /run/outside && umount -l /run/outside && rmdir /run/outside && exec /lib/systemd/systemd \
	--unit=basic.target --log-target=console --show-status=0' </dev/null >/dev/console 2>&1
""".replace("TARGETS", " ".join(TARGETS))


def is_possible():
    """Root, and a kernel that lets root do all this."""
    if os.geteuid() != 0 or not os.path.exists("/lib/systemd/systemd"):
        return False
    probe = "mount -t tmpfs none /mnt && cd /mnt && mkdir up work root && " \
            "mount -t overlay none -o lowerdir=/,upperdir=up,workdir=work root && " \
            "groups=$(awk '$3 == \"cgroup2\" { print $2; exit }' /proc/mounts) && test -w \"$groups\""
    return harness.run("unshare", "--mount", "--pid", "--fork", "--cgroup", "sh", "-c",
                       probe).returncode == 0


class Machine:
    """
    The machine with `units`, directories of unit files that it knows besides the few TARGETS, and
    `shared`, directories of ours under other names: {"/run/inside": "/tmp/outside"}.
    """

    def __init__(self, units=(), shared={}):
        self.top = harness.scratch()
        self.group = "socketmapd-test-%d-%s" % (os.getpid(), os.path.basename(self.top))
        self._master, slave = pty.openpty()
        self._console = b""
        inner = INNER.replace("UNITS", ":".join(["/run/units", *units]))
        self.process = subprocess.Popen(
            ["sh", "-ec", OUTER, "sh", self.group, inner, self.top, os.ttyname(slave),
             *(p for inside, outside in shared.items() for p in (outside, inside))],
            stdin=subprocess.DEVNULL, preexec_fn=harness.die_with_parent)
        threading.Thread(target=self._read, daemon=True).start()
        atexit.register(self.stop)
        self.init = None
        if not harness.wait_for(self._find_init, 20):
            raise RuntimeError("no machine:\n" + self.console())
        os.close(slave)

    def _read(self):
        while True:
            try:
                data = os.read(self._master, 4096)
            except OSError:
                return
            if not data:
                return
            self._console += data

    def _find_init(self):
        if self.process.poll() is not None:
            raise RuntimeError("no machine:\n" + self.console())
        for pid in harness.children(self.process.pid):
            if b"Startup finished" in self._console:
                self.init = pid
        return self.init

    def console(self):
        return self._console.decode(errors="replace").replace("\r\n", "\n")

    def root(self, path=""):
        """A path inside, as seen from outside."""
        return "/proc/%d/root%s" % (self.init, path)

    def run(self, *argv, **kw):
        """A command inside, to its end; the CompletedProcess."""
        return harness.run("nsenter", "-t", str(self.init), "-m", "-p", "-i", "-u", "-C", "-r", "-w",
                           "--", "env", "PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin",
                           *argv, **kw)

    def write(self, path, data, mode=0o644):
        os.makedirs(os.path.dirname(self.root(path)), exist_ok=True)
        harness.replace(self.root(path), data)
        os.chmod(self.root(path), mode)

    def ask(self, socket, map, key):
        """What a socketmap server inside answers, or the error."""
        try:
            with harness.Client("unix:" + self.root(socket)) as c:
                return c.ask(map, key)
        except OSError as e:
            return repr(e)

    def id(self, name, kind="passwd"):
        """The number of a user, or of a "group"; None."""
        with open(self.root("/etc/" + kind)) as f:
            fields = [line.split(":") for line in f]
        return next((int(f[2]) for f in fields if f[0] == name), None)

    def owner(self, path):
        """(mode in octal, user, group)"""
        s = os.stat(self.root(path))
        return oct(stat.S_IMODE(s.st_mode)), s.st_uid, s.st_gid

    def services(self, name):
        """The processes that systemd has started and whose command line has this, as seen from outside."""
        return [p for p in harness.children(self.init) if name in harness.proc_file(p, "cmdline")]

    def systemctl(self, *argv):
        """(exit status, all output)"""
        done = self.run("systemctl", "--no-pager", *argv)
        return done.returncode, done.stdout + done.stderr

    def property(self, unit, name):
        return self.systemctl("show", "--value", "-p", name, unit)[1].strip()

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()         # and with it, as its parent is gone, everything inside
        self.process.wait()
        with open("/proc/mounts") as f:
            groups = next((l.split()[1] for l in f if l.split()[2] == "cgroup2"), None)
        harness.wait_for(lambda: self._remove_groups(groups + "/" + self.group))

    @staticmethod
    def _remove_groups(top):
        try:
            for folder, _, _ in os.walk(top, topdown=False):
                os.rmdir(folder)
            return True
        except OSError:
            return False

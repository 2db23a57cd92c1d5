"""
A private Postfix: its own master, configuration, queue and data below a directory in /tmp, unix
sockets instead of ports, no queue manager. Nothing of the system's instance is read or written.
What mail would become is read off smtpd's replies, cleanup's queue files and trivial-rewrite's
answers. Needs root, as Postfix does.
"""
import base64
import os
import pwd
import signal
import socket
import subprocess
import sys
import threading

import harness

QUEUES = ("active bounce corrupt defer deferred flush hold incoming maildrop pid private public "
          "saved trace").split()

LIFETIME = "900"    # seconds after which a master ends whose test was killed

MAIN = """
compatibility_level = 3.6
queue_directory = {dir}/queue
data_directory = {dir}/data
maillog_file = {dir}/maillog
maillog_file_prefixes = {dir}
multi_instance_enable = no
inet_interfaces = loopback-only
inet_protocols = ipv4
myhostname = host.test
mydomain = test
alias_maps =
alias_database =
local_recipient_maps =
mynetworks =
append_dot_mydomain = no
smtputf8_enable = yes
smtpd_peername_lookup = no
smtpd_relay_restrictions = check_client_access static:OK, reject
smtpd_authorized_xclient_hosts = static:all
smtpd_recipient_limit = 100000
smtpd_soft_error_limit = 100000
smtpd_hard_error_limit = 100000
smtpd_junk_command_limit = 100000
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
notify_classes =
in_flow_delay = 0
"""


def installed():
    """Where the daemons are, or None without a Postfix."""
    try:
        found = harness.run("postconf", "-dh", "daemon_directory")
    except FileNotFoundError:
        return None
    return found.stdout.strip() or None


class Postfix:
    """
    `main` holds further lines of main.cf, `services` a list of (name, daemon, options): services
    on private or public unix sockets with their -o options.
    """

    def __init__(self, services, **main):
        self.dir = harness.scratch()
        self.process = None
        for name in ["conf", "data", "queue"] + ["queue/" + q for q in QUEUES]:
            os.mkdir(self.dir + "/" + name)
        self._own()
        with open(self.dir + "/conf/main.cf", "w", encoding="utf-8") as f:
            f.write(MAIN.format(dir=self.dir))
            f.writelines("%s = %s\n" % i for i in main.items())
        with open(self.dir + "/conf/master.cf", "w", encoding="utf-8") as f:
            f.write("postlog unix-dgram n - n - 1 postlogd\n")
            for name, daemon, options in services:
                private = "n" if daemon in ("smtpd", "cleanup") else "-"
                f.write("%s unix %s - n - 0 %s\n" % (name, private, daemon))
                f.writelines("  -o {%s = %s}\n" % i for i in options.items())
        self.services = {name: daemon for name, daemon, _ in services}

    def _own(self):
        """What `postfix set-permissions` would do for the queue."""
        user = pwd.getpwnam("postfix")
        os.chown(self.dir + "/data", user.pw_uid, -1)
        for q in QUEUES:
            if q != "pid":
                os.chown("%s/queue/%s" % (self.dir, q), user.pw_uid, -1)

    def path(self, service):
        kind = "public" if self.services[service] in ("smtpd", "cleanup") else "private"
        return "%s/queue/%s/%s" % (self.dir, kind, service)

    def start(self):
        # master changes its user ids, so that it would not get a "parent died" signal
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        self.process = subprocess.Popen(
            [installed() + "/master", "-c", self.dir + "/conf", "-d", "-e", LIFETIME],
            start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        if not harness.wait_for(lambda: self.process.poll() is not None or
                                all(os.path.exists(self.path(s)) for s in self.services)) or \
                self.process.poll() is not None:
            harness.note(self.log())
            raise RuntimeError("Postfix does not start")
        return self

    def stop(self):
        """SIGTERM to the master, which passes it on; then wait for the whole session to end."""
        if not self.process:
            return
        group = self.process.pid
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(20)
        if not harness.wait_for(lambda: not _group_exists(group), 10):
            os.killpg(group, signal.SIGKILL)
        self.process = None

    def log(self):
        try:
            with open(self.dir + "/maillog", encoding="utf-8", errors="surrogateescape") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def queued(self, queue_id):
        """What cleanup made of a message: (sender, [(original recipient, recipient)])."""
        sender, original, recipients = None, None, []
        with open("%s/queue/incoming/%s" % (self.dir, queue_id), "rb") as f:
            for kind, data in _records(f.read()):
                if kind == "S":
                    sender = data
                elif kind == "O":
                    original = data
                elif kind == "R":
                    recipients.append((original, data))
        return sender, recipients

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        self.stop()
        if kind:
            harness.note("maillog:\n" + self.log()[-6000:])


def _group_exists(group):
    try:
        os.killpg(group, 0)
        return True
    except OSError:
        return False


def _records(data):
    """The records of a queue file: type, length in groups of seven bits, contents."""
    i = 0
    while i < len(data):
        kind, n, shift = chr(data[i]), 0, 0
        while True:
            i += 1
            n |= (data[i] & 0x7f) << shift
            shift += 7
            if data[i] < 0x80:
                break
        yield kind, data[i + 1:i + 1 + n].decode("utf-8", "surrogateescape")
        i += 1 + n


class Smtp:
    """An SMTP dialogue with an smtpd. Replies are texts; several lines are joined with |."""

    def __init__(self, postfix, service, hello="EHLO probe"):
        self.socket = harness.connect("unix:" + postfix.path(service), 30)
        self.file = self.socket.makefile("rwb")
        self.greeting = self.reply()
        if hello:
            self.say(hello)

    def reply(self):
        lines = []
        while True:
            line = self.file.readline().decode("utf-8", "surrogateescape").rstrip("\r\n")
            lines.append(line)
            if line[3:4] != "-":
                return "|".join(lines)

    def say(self, *commands):
        """Send the commands together; the last reply."""
        return self.say_all(commands)[-1]

    def say_all(self, commands):
        """Send the commands together; their replies."""
        replies = []
        for i in range(0, len(commands), 50):      # neither side's socket buffer may fill up
            some = commands[i:i + 50]
            text = "".join(c + "\r\n" for c in some)
            self.file.write(text.encode("utf-8", "surrogateescape"))
            self.file.flush()
            replies += [self.reply() for _ in some]
        return replies

    def send(self, sender, recipients):
        """One message; the reply to its end, or the first refusal when there is no end."""
        replies = self.say_all(["MAIL FROM:<%s> SMTPUTF8" % sender] +
                               ["RCPT TO:<%s>" % r for r in recipients] + ["DATA"])
        if replies[-1].startswith("354"):
            return self.say("Subject: probe\r\n\r\n.")
        self.say("RSET")
        return next(r for r in replies if not r.startswith("250"))

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class AuthServer:
    """
    Looks like Dovecot's login service to smtpd, which asks it for its mechanisms before it cares
    for smtpd_sender_login_maps. `passwords` of those who can log in: nobody.
    """

    HELLO = b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nDONE\n"

    def __init__(self, path, passwords=None):
        self.passwords = passwords or {}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o666)
        self.listener.listen(64)
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        client.sendall(self.HELLO)
        with client, client.makefile("r", encoding="utf-8") as lines:
            for words in (line.rstrip("\n").split("\t") for line in lines):
                if words[0] == "AUTH":
                    client.sendall(self._login(words).encode("utf-8"))

    def _login(self, words):
        """AUTH id PLAIN ... resp=base64 of: whom to be, login, password."""
        plain = base64.b64decode(words[-1].partition("=")[2]).decode("utf-8").split("\0")
        is_right = len(plain) == 3 and self.passwords.get(plain[1]) == plain[2]
        return ("OK\t%s\tuser=%s\n" if is_right else "FAIL\t%s\tuser=%s\n") % (
            words[1], plain[1])


class Resolver:
    """Asks a trivial-rewrite where mail would go: (transport, nexthop, recipient, flags)."""

    def __init__(self, postfix, service):
        self.socket = harness.connect("unix:" + postfix.path(service))
        self.file = self.socket.makefile("rwb")
        self._read()

    def _read(self):
        """Attributes: name NUL value NUL ... and an empty name."""
        values, word = [], b""
        while True:
            byte = self.file.read(1)
            if not byte:
                raise EOFError("trivial-rewrite has closed")
            if byte != b"\0":
                word += byte
                continue
            if not word and len(values) % 2 == 0:
                return [v.decode("utf-8", "surrogateescape") for v in values[1::2]]
            values.append(word)
            word = b""

    def resolve(self, sender, address):
        words = ["request", "resolve", "sender", sender, "address", address]
        self.file.write("".join(w + "\0" for w in words).encode("utf-8", "surrogateescape") + b"\0")
        self.file.flush()
        _, transport, nexthop, recipient, flags = self._read()
        return transport, nexthop, recipient, flags

    def close(self):
        self.file.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

"""A private MariaDB server for a test, a proxy that does what networks do, and an impostor."""
import atexit
import os
import shutil
import signal
import socket
import subprocess
import threading

from harness import die_with_parent, free_port, ok, done, run, scratch, wait_for

PROGRAMS = {p: shutil.which(p, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin")
            for p in ("mariadbd", "mariadb-install-db", "mariadb")}
OPTIONS = """[mariadbd]
datadir={dir}/data
socket={dir}/sock
port={port}
bind-address=127.0.0.1
pid-file={dir}/pid
tmpdir={dir}
skip-name-resolve
skip-log-bin
performance_schema=OFF
innodb_buffer_pool_size=32M
innodb_log_file_size=8M
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
key_buffer_size=1M
character_set_server=utf8mb4
collation_server=utf8mb4_general_ci
"""
_template = []      # the directory of an installed, empty database


def _as_mysql():
    return ["--user=mysql"] if os.getuid() == 0 else []


def _install():
    """
    Install once, copy for each server. A server that starts removes temporary tables from its tmpdir,
    whosever they are, so each has its own.
    """
    if not _template:
        dir = scratch()
        if os.getuid() == 0:
            shutil.chown(dir, "mysql", "mysql")
        p = run(PROGRAMS["mariadb-install-db"], "--no-defaults", "--datadir=" + dir + "/data",
                "--tmpdir=" + dir, "--auth-root-authentication-method=normal", "--skip-test-db",
                "--skip-name-resolve", *_as_mysql())
        if not ok(p.returncode == 0, "a database is installed", p.stdout[-2000:], p.stderr):
            done()
        _template.append(dir + "/data")
    return _template[0]


class MariaDB:
    """
    One server with its data, stopped when the test ends. `socket` and `port` are where it
    listens; clients are "reader"@"%", password "secret", who may read database "mail".
    """

    def __init__(self, sql="", options=""):
        self.dir = scratch()
        self.socket, self.port = self.dir + "/sock", free_port()
        self.options = options
        self.process = None
        subprocess.run(["cp", "-a", _install(), self.dir + "/data"], check=True)
        if os.getuid() == 0:
            shutil.chown(self.dir, "mysql", "mysql")
        atexit.register(self.stop)
        self.start()
        self.sql("CREATE DATABASE mail; CREATE USER reader@'%' IDENTIFIED BY 'secret';"
                 "GRANT SELECT, EXECUTE ON mail.* TO reader@'%';")
        self.sql(sql, "mail")

    def start(self):
        with open(self.dir + "/my.cnf", "w") as f:
            f.write(OPTIONS.format(dir=self.dir, port=self.port) + self.options)
        with open(self.dir + "/log", "ab") as log:
            self.process = subprocess.Popen(
                [PROGRAMS["mariadbd"], "--defaults-file=" + self.dir + "/my.cnf", *_as_mysql()],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=die_with_parent)
        if not wait_for(lambda: self.process.poll() is not None or self.is_up(), 60) or \
                self.process.poll() is not None:
            with open(self.dir + "/log", errors="replace") as f:
                ok(False, "MariaDB starts", f.read()[-2000:])
            done()

    def is_up(self):
        return self.run("SELECT 1").returncode == 0

    def stop(self):
        """As a crash would: nothing waits for clients."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()

    def signal(self, number):
        self.process.send_signal(number)

    def run(self, sql, db=""):
        return run(PROGRAMS["mariadb"], "--no-defaults", "-uroot", "-N", "-B", "-S", self.socket,
                   "--default-character-set=utf8mb4", *([db] if db else []), input=sql)

    def sql(self, sql, db=""):
        """Run statements as root; the rows as lists of strings."""
        p = self.run(sql, db)
        if p.returncode:
            raise RuntimeError("%.500s: %s" % (sql, p.stderr))
        return [line.split("\t") for line in p.stdout.splitlines()]

    def status(self, name):
        return int(self.sql("SHOW GLOBAL STATUS LIKE '%s'" % name)[0][1])

    def connections(self):
        """The ids of the connections of "reader"."""
        return [int(r[0]) for r in self.sql(
            "SELECT id FROM information_schema.processlist WHERE user='reader'")]

    def source(self, name="db", **settings):
        return dict({"name": name, "driver": "mysql", "hosts": "unix:" + self.socket,
                     "user": "reader", "password": "secret", "dbname": "mail"}, **settings)


class Proxy:
    """
    Listens on a port and passes connections on to another. `limit`: after so many bytes from
    the server (counted anew for each connection) it does `then`: "close", "reset" or "stall".
    """

    def __init__(self, port, limit=None, then="close"):
        self.to, self.limit, self.then = port, limit, then
        self.accepted = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            self.accepted += 1
            try:
                server = socket.create_connection(("127.0.0.1", self.to))
            except OSError:
                client.close()
                continue
            self.open += [client, server]
            threading.Thread(target=self._pass, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, self.limit),
                             daemon=True).start()

    def _pass(self, source, target, limit):
        left = limit
        try:
            while left is None or left > 0:
                data = source.recv(65536 if left is None else min(left, 65536))
                if not data:
                    break
                left = left if left is None else left - len(data)
                target.sendall(data)
            if left == 0 and self.then == "stall":
                return
            if left == 0 and self.then == "reset":
                target.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        except OSError:
            pass
        for s in source, target:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        target.close()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        for s in [self.listener] + self.open:
            s.close()


class Impostor:
    """
    Speaks just enough of the protocol to ask clients for what they must not give: `then` is the
    packet that answers the login, and after an OK `query` the one that answers each command.
    What clients send is in `heard`.
    """

    OK = b"\0\0\0\2\0\0\0"
    GREETING = (b"\x0a5.5.5-10.11.0-MariaDB\0" b"\1\0\0\0" b"12345678\0" b"\x89\x82" b"\x2d"
                b"\2\0" b"\x0a\0" b"\x15" + bytes(10) + b"123456789012\0"
                b"mysql_native_password\0")

    def __init__(self, then=OK, query=OK):
        self.then, self.query, self.heard = then, query, b""
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                with self.listener.accept()[0] as client:
                    client.settimeout(3)
                    answers = [self.then]
                    client.sendall(self._packet(0, self.GREETING))
                    while data := client.recv(65536):
                        self.heard += data
                        client.sendall(self._packet(data[3] + 1, (answers or [self.query]).pop()))
            except TimeoutError:
                pass
            except OSError:
                if self.listener.fileno() < 0:
                    return

    @staticmethod
    def _packet(number, payload):
        return len(payload).to_bytes(3, "little") + bytes([number & 255]) + payload

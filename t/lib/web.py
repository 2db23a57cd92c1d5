"""An HTTP client for the tests: over TCP or a unix socket, and byte by byte where that matters."""
import collections
import http.client
import json
import re

from harness import SLOW, connect

Reply = collections.namedtuple("Reply", "status headers body")


class Connection(http.client.HTTPConnection):
    """http.client on an address as in the configuration."""

    def __init__(self, address):
        super().__init__("localhost", timeout=20 * SLOW)
        self.address = address

    def connect(self):
        self.sock = connect(self.address)


def ask(address, path, method="GET", body=None, headers={}):
    """One request on a connection of its own."""
    c = Connection(address)
    try:
        c.request(method, path, body=body, headers=headers)
        r = c.getresponse()
        return Reply(r.status, r.headers, r.read())
    finally:
        c.close()


def ask_json(address, path, **kw):
    """(status, the JSON of the body)"""
    r = ask(address, path, **kw)
    return r.status, json.loads(r.body)


def post(address, path):
    """(status, the JSON of the body) of a POST."""
    return ask_json(address, path, method="POST")


class Stream:
    """A reply of JSON lines, as they come; `status`, and `error` where there is one."""

    def __init__(self, address, path):
        self.connection = Connection(address)
        self.connection.request("GET", path)
        self.reply = self.connection.getresponse()
        self.status = self.reply.status
        self.error = json.loads(self.reply.read())["error"] if self.status != 200 else None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.connection.close()
        self.reply.close()

    def line(self):
        """The next one; None at the end, be it good or not."""
        try:
            line = self.reply.readline()
        except (http.client.HTTPException, OSError):
            return None
        return json.loads(line) if line.endswith(b"\n") else None

    def all(self):
        """What is left of it."""
        lines = []
        while True:
            lines.append(self.line())
            if lines[-1] is None:
                return lines[:-1]


def raw(address, data):
    """Send these bytes; all that comes back until the server closes, or keeps still."""
    with connect(address, 3) as s:
        got = b""
        try:
            s.sendall(data)
            while True:
                more = s.recv(1 << 16)
                if not more:
                    return got
                got += more
        except (TimeoutError, ConnectionError):
            return got


def parse_metrics(text):
    """{(name, ((label, value), ...)): number}, labels sorted."""
    found = {}
    for line in text.splitlines():
        m = re.fullmatch(r'(\w+)(?:\{(.*)\})? (\S+)', line)
        if m:
            labels = re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', m[2] or "")
            found[m[1], tuple(sorted(labels))] = float(m[3])
    return found


class Metrics:
    """One scrape."""

    def __init__(self, address):
        self.reply = ask(address, "/metrics")
        self.text = self.reply.body.decode()
        self.all = parse_metrics(self.text)

    def sum(self, name, **labels):
        """Of all series of that name with these labels; None when there is none."""
        values = [v for (n, l), v in self.all.items()
                  if n == name and set(labels.items()) <= set(l)]
        return sum(values) if values else None

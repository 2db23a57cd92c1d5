"""A driver program by itself: the test plays the server."""
import collections
import os
import socket
import subprocess

from harness import BUILD, SANITIZER, SANITIZER_ENV, SLOW, die_with_parent, netstring, ok

# For drivers whose libraries, not they, lose memory.
LEAKY = {"ASAN_OPTIONS": SANITIZER_ENV["ASAN_OPTIONS"].replace("detect_leaks=1", "detect_leaks=0")}
Reply = collections.namedtuple("Reply", "rows end text")


class Driver:
    """
    build/socketmapd-NAME with the settings of its source; `tables` is {id: settings}. After the
    start `hello` is the Reply to it; one that is refused learns of no tables.
    """

    def __init__(self, name, source, tables, **environment):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(30 * SLOW)
        self.buffer = b""
        self.log = b""
        self.info, self.until = {}, {}      # of the directory; the last one of each key
        self.queries = []                   # of the last reply
        self.process = subprocess.Popen(
            [os.path.abspath("%s/socketmapd-%s" % (BUILD, name))], stdin=theirs, stdout=theirs,
            stderr=subprocess.PIPE, preexec_fn=die_with_parent,
            env=os.environ | SANITIZER_ENV | environment)
        theirs.close()
        self.say("hello 1 test")
        for option, value in source.items():
            self.say("source %s %s" % (option, self.text(value)))
        self.say("start")
        self.hello = self.hear()
        for id, settings in tables.items() if self.hello.end == "hello" else ():
            for option, value in settings.items():
                self.say("table %s %s %s" % (id, option, self.text(value)))

    @staticmethod
    def text(value):
        return {True: "true", False: "false"}.get(value, value)

    def say(self, message):
        self.socket.sendall(netstring(message))

    def message(self):
        while True:
            digits, colon, rest = self.buffer.partition(b":")
            if colon and len(rest) > int(digits):
                n = int(digits)
                self.buffer = rest[n + 1:]
                return rest[:n].decode("utf-8", "surrogateescape")
            data = self.socket.recv(1 << 20)
            if not data:
                return "eof"
            self.buffer += data

    def hear(self):
        """Rows (key, value) up to the end of a reply."""
        rows, key = [], None
        self.queries = []
        while True:
            word, _, rest = self.message().partition(" ")
            if word == "key":
                key = rest
            elif word == "value":
                rows.append((key, rest))
            elif word == "fail":
                rows.append((key, "\0"))
            elif word == "info":
                self.info.update([rest.split(" ", 1)])
            elif word == "query":
                self.queries.append(rest)
            elif word == "until":
                self.until[key] = int(rest)
            else:
                return Reply(rows, word, rest)

    def ask(self, verb, *arguments):
        self.say(" ".join((verb,) + arguments))
        return self.hear()

    def lookup(self, id, key):
        """The values, or the end in their place."""
        reply = self.ask("lookup", id, key)
        return [v for _, v in reply.rows] if reply.end == "done" else reply.end

    def explain(self, id, key):
        """The same as lookup(), and the queries."""
        reply = self.ask("explain", id, key)
        return ([v for _, v in reply.rows] if reply.end == "done" else reply.end), self.queries

    def peak_kb(self):
        with open("/proc/%d/status" % self.process.pid) as f:
            return int(dict(line.split(":", 1) for line in f)["VmHWM"].split()[0])

    def close(self):
        """Hang up; its exit status. What it wrote to the log is in `log` then."""
        self.socket.close()
        self.log = self.process.communicate(timeout=20 * SLOW)[1].decode("utf-8", "replace")
        if SANITIZER.search(self.log):
            ok(False, "the driver ends cleanly", self.log)
        return self.process.returncode

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

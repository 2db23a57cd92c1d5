#!/usr/bin/env python3
# sanitizers: yes
"""What comes over the wire, byte by byte, and what a client may do to us: both protocols."""
import collections
import os
import signal
import socket
import sys
import time

sys.path.insert(0, "t/lib")
from harness import *

BIG = "x" * 99997       # the longest value that socketmap can carry
ROWS = {
    "a": "1", "b": "2 3", "two words": "v", "jörg@x.test": "jörg@y.test", "100%": "50%",
    "big": BIG, "bigger": BIG + "x", "q'\"\\;--": "odd", "t4091": "y" * 4091, "t4092": "y" * 4092,
}
CLOSE = object()

# name, bytes sent, bytes expected (a regular expression where it begins with ^), CLOSE where the
# server must close afterwards
SOCKETMAP = [
    ("found", b"3:m a,", b"4:OK 1,"),
    ("the value's blanks stay", b"3:m b,", b"6:OK 2 3,"),
    ("not found keeps its blank", b"6:m none,", b"9:NOTFOUND ,"),
    ("the key may hold blanks", b"11:m two words,", b"4:OK v,"),
    ("only the first blank splits", b"12:m  two words,", b"9:NOTFOUND ,"),
    ("UTF-8", "14:m jörg@x.test,".encode(), "15:OK jörg@y.test,".encode()),
    ("UTF-8 is folded", "14:m JÖRG@X.test,".encode(), "15:OK jörg@y.test,".encode()),
    ("quotes and backslashes", b"9:m q'\"\\;--,", b"6:OK odd,"),
    ("not UTF-8", b"5:m \xff\xfe\xfd,", b"9:NOTFOUND ,"),
    ("NUL in the key", b"5:m a\0b,", b"9:NOTFOUND ,"),
    ("control characters", b"5:m a\nb,", b"9:NOTFOUND ,"),
    ("empty key", b"2:m ,", rb"^\d+:(NOTFOUND |PERM [ -~]+),$"),
    ("three in one packet, in order", b"3:m a,6:m none,3:m b,", b"4:OK 1,9:NOTFOUND ,6:OK 2 3,"),
    ("unknown map", b"5:nix a,", rb"^\d+:TEMP [ -~]+,$"),
    ("unknown map with odd bytes", b"7:n\xff\n\0x a,", rb"^\d+:TEMP [ -~]+,$"),
    ("empty request", b"0:,", rb"^\d+:PERM [ -~]+,$"),
    ("no blank", b"3:abc,", rb"^\d+:PERM [ -~]+,$"),
    ("no map", b"2: a,", rb"^\d+:PERM [ -~]+,$"),
    ("in step after nonsense", b"0:,3:abc,3:m a,", rb"^\d+:PERM [^,]+,\d+:PERM [^,]+,4:OK 1,$"),
    ("10 000 bytes of key", netstring("m " + "k" * 10000), b"9:NOTFOUND ,"),
    ("the longest value", b"5:m big,", b"100000:OK %s," % BIG.encode()),
    ("a value too long is TEMP", b"8:m bigger,", rb"^\d+:TEMP [ -~]+,$"),
    ("leading zero", b"03:m a,", b"", CLOSE),
    ("zero and more", b"00:,", b"", CLOSE),
    ("sign", b"+3:m a,", b"", CLOSE),
    ("negative", b"-1:", b"", CLOSE),
    ("blank before the length", b" 3:m a,", b"", CLOSE),
    ("letters", b"hello\n", b"", CLOSE),
    ("no length", b":m a,", b"", CLOSE),
    ("missing comma", b"3:m a;", b"", CLOSE),
    ("length too short", b"2:m a,", b"", CLOSE),
    ("absurd length, at its 7th digit", b"9999999", b"", CLOSE),
    ("longer than max_request, at its colon", b"16385:", b"", CLOSE),
    ("answers come before the end", b"3:m a,3:m b;", b"4:OK 1,", CLOSE),
]
TCP_TABLE = [
    ("found", b"get a\n", b"200 1\n"),
    ("not found keeps its blank", b"get none\n", b"500 \n"),
    ("decoded and encoded", b"get b\n", b"200 2%203\n"),
    ("a blank in the key", b"get two%20words\n", b"200 v\n"),
    ("percent", b"get 100%25\n", b"200 50%25\n"),
    ("UTF-8", b"get j%C3%B6rg@x.test\n", b"200 j%C3%B6rg@y.test\n"),
    ("lower-case hex", b"get j%c3%b6rg@x.test\n", b"200 j%C3%B6rg@y.test\n"),
    ("raw UTF-8", "get jörg@x.test\n".encode(), b"200 j%C3%B6rg@y.test\n"),
    ("CR LF", b"get a\r\n", b"200 1\n"),
    ("NUL in the key", b"get a%00b\n", b"500 \n"),
    ("bad hex", b"get %zz\n", rb"^400 [!-~]+\n$"),
    ("cut hex", b"get a%2\n", rb"^400 [!-~]+\n$"),
    ("put", b"put a b\n", rb"^400 [!-~]+\n$"),
    ("unknown verb", b"hello\n", rb"^400 [!-~]+\n$"),
    ("verb alone", b"get\n", rb"^400 [!-~]+\n$"),
    ("empty line", b"\n", rb"^400 [!-~]+\n$"),
    ("three in one packet, in order", b"get a\nput\nget none\n", rb"^200 1\n400 [!-~]+\n500 \n$"),
    ("4091 bytes of value", b"get t4091\n", b"200 %s\n" % (b"y" * 4091)),
    ("4092 bytes are too many", b"get t4092\n", rb"^400 [!-~]+\n$"),
    ("a line without end", b"get " + b"k" * 8192, b"", CLOSE),
]
TIMEOUTS = {"request_timeout": "700ms", "idle_timeout": "0s"}


def matches(got, want):
    if want.startswith(b"^"):
        return re.search(want, got, re.DOTALL)
    return got == want


def exchange(c, data, want, splits=(), turn=None):
    """Send, cut at `splits`, and take as many bytes as are expected."""
    start = 0
    for at in [*splits, len(data)]:
        c.send(data[start:at])
        start = at
        if turn and at < len(data):
            turn()
    return c.read_until(lambda b: len(b) if b and matches(b, want) else
                        len(b) if len(b) > len(want) + 300 else None)


def check_cases(protocol, cases, client):
    for name, data, want, *after in cases:
        with client() as c:
            if after:
                c.send(data)
                got = c.read_all()
                ok(matches(got, want), "%s: %s: closed" % (protocol, name), got[:200])
            else:
                c.socket.settimeout(5 * SLOW)
                try:
                    got = exchange(c, data, want)
                except TimeoutError:
                    got = c.buffer
                ok(got is not None and matches(got, want), "%s: %s" % (protocol, name),
                   "got: %.200r" % got)


def check_still_there(protocol, client, probe):
    """After all that nonsense, and on one connection with an answer after each good case."""
    data, want = probe
    with client() as c:
        same(exchange(c, data, want), want, "%s: others are still answered" % protocol)
        ok(c.is_silent(), "%s: silence after the reply" % protocol)


def check_splits(protocol, client, data):
    """Cut at each position; a round trip of another client shows that the loop has seen the part."""
    wrong = []
    with client() as c, client() as other:
        c.send(data)
        want = b"".join(c.read_raw() for _ in range(3))
        for cuts in [[at] for at in range(1, len(data))] + [range(1, len(data))]:
            got = exchange(c, data, want, cuts, lambda: exchange(other, *PROBE[protocol]))
            if got != want:
                wrong.append((cuts, got))
        same(wrong, [], "%s: cut at each position, and into single bytes" % protocol)
        ok(c.is_silent(0.2), "%s: silence afterwards" % protocol)


PROBE = {"socketmap": (b"3:m a,", b"4:OK 1,"), "tcp_table": (b"get a\n", b"200 1\n")}


def check_pipelining(client):
    """More requests than one turn takes, in order; and 20 000 with a slow reader."""
    want = b"".join(netstring("OK 1") if i % 3 else b"9:NOTFOUND ," for i in range(1000))
    with client() as c:
        c.send(b"".join(b"3:m a," if i % 3 else b"6:m none," for i in range(1000)))
        got = c.read_until(lambda b: len(b) if len(b) >= len(want) else None)
        ok(got == want, "1000 requests in one go are answered in order")
        ok(c.is_silent(), "and then there is silence")


def check_half_close(server, slow):
    with server.client() as c:
        c.send(b"3:m a,3:m b,2:m")
        c.socket.shutdown(socket.SHUT_WR)
        same(c.read_all(), b"4:OK 1,6:OK 2 3,", "half-close: what was asked is answered")
    slow.script("lookup late delay 0.3; value x; done")
    with server.client() as c:
        c.send(b"3:m a,6:d late,3:m b,")
        c.socket.shutdown(socket.SHUT_WR)
        same(c.read_all(), b"4:OK 1,4:OK x,6:OK 2 3,",
             "half-close: answers that must wait come too, in order")


def check_abort(server, slow):
    """A client that vanishes, at once or while its answer is awaited, harms nobody."""
    # the source may have four driver processes in the end, with a descriptor each
    slow.script("lookup gone* delay 0.1; value x; done")
    before = server.descriptors()
    for i in range(20):
        with server.client() as c:
            c.send(netstring("d gone%d" % i) if i % 2 else b"6:m no")
            if i % 4 == 0:
                c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    same(server.wait_for_reply("d", "gone1", "OK"), "OK x",
         "an answer nobody waits for any more is remembered")
    ok(wait_for(lambda: server.descriptors() <= before + 4), "no descriptor is leaked",
       before, server.descriptors())


def check_timeouts(server, slowloris, idle, table):
    with slowloris() as c:
        begin = time.monotonic()
        try:
            while time.monotonic() < begin + 10 * SLOW:
                c.send(b"1")
                if c.is_silent(0.1):
                    continue
                break
        except ConnectionError:
            pass
        took = time.monotonic() - begin
        ok(took < 4 * SLOW, "a request dripping in is cut off", took)
    with slowloris() as c:
        exchange(c, b"3:m a,", b"4:OK 1,")
        ok(c.is_silent(1.8), "a client without a begun request may wait longer")
        same(exchange(c, b"3:m a,", b"4:OK 1,"), b"4:OK 1,", "and goes on")
    with slowloris() as c:
        c.send(b"3:m a,3:m")
        same(c.read(), "OK 1", "a begun request behind an answered one")
        ok(c.is_closed(4), "is cut off too")
    with idle() as c, table() as t:
        exchange(c, b"3:m a,", b"4:OK 1,")
        ok(c.is_closed(4), "an idle socketmap client is closed after idle_timeout")
        ok(t.is_silent(0.1), "a tcp_table client is not")
        same(t.ask("a"), "200 1", "and is still answered")


class Flood:
    """One request without end, sent as fast as the socket takes it, cut nowhere but there."""

    def __init__(self, client, request):
        self.socket, self.requests, self.unsent = client.socket, request * 8000, b""
        self.socket.setblocking(False)
        self.sent = 0

    def send(self):
        self.unsent = self.unsent or self.requests
        n = self.socket.send(self.unsent)
        self.unsent = self.unsent[n:]
        self.sent += n


def check_unread(server, client):
    """A client that never reads holds little memory, delays nobody, and is closed in the end."""
    before = server.rss()
    with client() as c:
        flood = Flood(c, b"5:m big,")

        def is_closed():
            try:
                while flood.sent < 100 << 20:
                    flood.send()
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
        wait_for(is_closed, 0.5 / SLOW)
        ok(flood.sent < 4 << 20, "a client that never reads is not read from for ever", flood.sent)
        same(server.ask("m", "a"), "OK 1", "meanwhile others are answered")
        ok(server.rss() - before < 16 << 20, "its replies do not pile up", server.rss() - before)
        ok(wait_for(is_closed, 5), "after write_timeout it is closed")


def check_fairness(server):
    """One client that asks without end does not keep others waiting."""
    with server.client() as greedy, server.client() as c:
        flood, longest = Flood(greedy, b"3:m a,"), 0
        for _ in range(100):
            try:
                flood.send()
            except BlockingIOError:
                pass
            begin = time.monotonic()
            c.ask("m", "b")
            longest = max(longest, time.monotonic() - begin)
            try:
                greedy.socket.recv(1 << 20)
            except BlockingIOError:
                pass
        ok(longest < 0.5 * SLOW, "a greedy client does not delay another", longest)


def check_turns(client):
    """Clients that wait for their turn and for their readers at once are all answered."""
    asked, size = 300, len(netstring("OK " + ROWS["t4092"]))
    got = collections.Counter()

    def ask(i):
        with client() as c:
            c.send(b"7:m t4092," * asked)
            while got[i] < asked * size and (n := len(c.socket.recv(1 << 18))):
                got[i] += n
    in_parallel(ask, range(20))
    same(list(got.values()), [asked * size] * 20, "many that ask without end get all their answers")


def check_burst(server):
    """A full backlog would be an instant 451; the server may be busy for a moment."""
    for name, pause in (("running", False), ("stopped for a moment", True)):
        if pause:
            server.signal(signal.SIGSTOP)
        sockets, failed = [], 0
        for _ in range(300):
            s = socket.socket(socket.AF_UNIX)
            s.setblocking(False)
            try:
                s.connect(server.socket)
            except OSError:
                failed += 1
            sockets.append(s)
        if pause:
            server.signal(signal.SIGCONT)
        same(failed, 0, "300 connects in a burst, server %s" % name)
        answered = 0
        for s in sockets:
            s.settimeout(10 * SLOW)
            s.sendall(b"3:m a,")
        for s in sockets:
            answered += s.recv(100) == b"4:OK 1,"
            s.close()
        same(answered, 300, "and all are answered, server %s" % name)


def check_idle_crowd(server):
    crowd = [server.client() for _ in range(500)]
    with server.client() as c:
        begin = time.monotonic()
        wrong = sum(c.ask("m", "a") != "OK 1" for _ in range(1000))
        same(wrong, 0, "1000 answers beside 500 idle clients")
        ok(time.monotonic() - begin < 5 * SLOW, "and no slower for them")
    same({c.ask("m", "a") for c in crowd}, {"OK 1"}, "the idle ones are all still served")
    for c in crowd:
        c.close()


def check_values(server, slow):
    """What a live answer may hold, too: nothing that Postfix would misread."""
    for name, value, want in (("empty", "raw 6:value ,; done 1", r"^NOTFOUND $"),
                              ("NUL", "raw 9:value a\\x00b,; done 1", r"^TEMP "),
                              ("latin-1", "raw 7:value \\xe4,; done 1", r"^TEMP ")):
        slow.script("lookup * %s" % value)
        like(server.ask("d", "v" + name), want, "a value that is %s" % name)
    slow.script("")


with_dir = scratch()
directory, slow = Directory(with_dir), Directory(with_dir, "slow")
directory.rows(ROWS)
ports = [free_port() for _ in range(2)]
server = Server(
    threads=1,
    sources=[directory.source(), slow.source(timeout="5s")],
    maps={"m": {"source": "fake", "search": "exact", "mode": "mirror", "on_miss": "notfound"},
          "d": {"source": "slow", "search": "exact", "mode": "demand", "deadline": "5s"}})
server.listeners += [
    {"protocol": "tcp_table", "address": "inet:127.0.0.1:%d" % ports[0], "map": "m"},
    server.listener(address="unix:%s/slowloris" % server.dir, request_timeout="700ms"),
    server.listener(address="unix:%s/idle" % server.dir, idle_timeout="700ms"),
    server.listener(address="unix:%s/unread" % server.dir, write_timeout="700ms"),
    server.listener(address="inet:127.0.0.1:%d" % ports[1]),
    server.listener(address="unix:%s/turns" % server.dir, max_pipelined=50, max_unread="16M"),
]
server.listeners[5].pop("mode")

def client(i, kind=Client):
    return lambda: kind(server.listeners[i]["address"])


with server:
    server.wait_for_reply("m", "a", "OK")
    check_cases("unix", SOCKETMAP, client(0))
    check_cases("inet", SOCKETMAP[:6] + SOCKETMAP[-3:], client(5))
    check_cases("tcp_table", TCP_TABLE, client(1, TableClient))
    check_still_there("socketmap", client(0), PROBE["socketmap"])
    check_still_there("tcp_table", client(1, TableClient), PROBE["tcp_table"])
    check_splits("socketmap", client(0), b"11:m two words,3:m a,6:m none,")
    check_splits("tcp_table", client(1, TableClient), b"get b\nput\nget none\n")
    check_pipelining(client(0))
    check_half_close(server, slow)
    check_abort(server, slow)
    check_values(server, slow)
    check_timeouts(server, client(2), client(3), client(1, TableClient))
    check_unread(server, client(4))
    check_fairness(server)
    check_turns(client(6))
    check_burst(server)
    check_idle_crowd(server)


# --- limits on clients ------------------------------------------------------------------------

port = free_port()
limited = Server(
    threads=2, max_clients=20, max_clients_per_address=5, sources=[directory.source()],
    maps={"m": {"source": "fake", "search": "exact", "mode": "mirror", "on_miss": "notfound"}})
limited.listeners += [
    {"protocol": "socketmap", "address": "inet:127.0.0.1:%d" % port},
    {"protocol": "tcp_table", "address": "inet:127.0.0.1:%d" % ports[0], "map": "m"},
]
with limited:
    limited.wait_for_reply("m", "a", "OK")
    crowd = []
    for i in range(20):
        crowd.append(limited.client())
        crowd[-1].ask("m", "a")
    crowd[0].ask("m", "a")
    ok(crowd[0].is_silent(0.05), "the first has just been answered: the second is idle longest")
    with limited.client() as c:
        same(c.ask("m", "a"), "OK 1", "one client more than max_clients is answered")
        ok(crowd[1].is_closed(), "the longest idle one is closed for it")
        same([x.ask("m", "a") for x in crowd[:1] + crowd[2:]], ["OK 1"] * 19,
             "all others are still served")
    for c in crowd:
        c.close()
    wait_for(lambda: limited.descriptors() < 40)
    inet = [Client("inet:127.0.0.1:%d" % port) for _ in range(8)]
    replies = [c.ask("m", "a") for c in inet]
    ok(replies.count("OK 1") <= 8 and sum(not c.is_closed(0.2) for c in inet) <= 5,
       "no more than max_clients_per_address stay", replies)
    same(limited.ask("m", "a"), "OK 1", "unix clients are not concerned")
    for c in inet:
        c.close()

table = Server(
    threads=1, max_clients=5, sources=[directory.source()],
    maps={"m": {"source": "fake", "search": "exact", "mode": "mirror", "on_miss": "notfound"}})
table.listeners += [{"protocol": "tcp_table", "address": "inet:127.0.0.1:%d" % ports[0],
                     "map": "m"}]
with table:
    table.wait_for_reply("m", "a", "OK")
    crowd = []
    while len(crowd) < 5:
        crowd.append(TableClient(table.listeners[1]["address"]))
        crowd[-1].ask("a")
    more = TableClient(table.listeners[1]["address"])
    ok(more.is_closed(), "with tcp_table clients alone, the newcomer is turned away in silence")
    same([c.ask("a") for c in crowd], ["200 1"] * 5, "and they stay")
    for c in [*crowd, more]:
        c.close()
done()

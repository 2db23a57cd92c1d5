"""A TCP proxy on loopback that turns bad and good again while it runs. Standard library only."""
import socket
import struct
import threading
import time

MODES = ("pass", "refuse", "drop", "stall", "trickle", "slow", "stall_after", "rst_after",
         "close_after")


class FaultProxy:
    """
    Passes connections to its own `port` on to another one of 127.0.0.1. set() takes effect at once:

    pass            do no harm
    refuse          nobody listens
    drop            nobody answers, as if the packets got lost
    stall           accept, and pass nothing on
    trickle         pass one byte of the server's in 100 ms
    slow            pass what comes at once, 100 ms later
    stall_after, rst_after, close_after
                    the same after so many bytes from the server, counted for each connection

    Open connections stall, trickle and slow down too, and go on when that is over; the other faults cut
    them, so that new ones meet the fault from their first byte.

    tap             a bytearray gets whatever clients get
    """

    def __init__(self, target, mode="pass", n=0):
        self.target, self.mode, self.n = target, mode, n
        self.tap = None
        self.open = set()
        self.lock = threading.Lock()
        self.changed = threading.Condition()    # is told of set()
        self.acceptor, self.crowd = None, []
        self._bind()
        self.set(mode, n)

    def set(self, mode, n=0):
        assert mode in MODES
        with self.lock:
            self.mode, self.n = mode, n
            cut = list(self.open) if mode not in ("pass", "stall", "trickle", "slow") else []
        if self.crowd or mode in ("refuse", "drop"):
            self._deafen()
        if mode == "drop":
            self._crowd()
        elif mode != "refuse" and not self.acceptor:
            self._listen()
        for c in cut:
            c.cut(is_reset=mode in ("refuse", "rst_after"))
        with self.changed:
            self.changed.notify_all()

    def divert(self, target):
        """Cut all connections; from now on they go to another port."""
        self.target = target
        self.set("close_after", 1 << 40)

    def is_stalled(self):
        """Has some connection come to the byte of stall_after?"""
        with self.lock:
            return any(c.fault == "stall" for c in self.open)

    def close(self):
        self.set("refuse")
        self.listener.close()

    def _bind(self):
        """By number, it keeps its port while it does not listen: nobody else gets it."""
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        while True:
            with socket.create_server(("127.0.0.1", 0)) as s:
                self.port = s.getsockname()[1]
            try:
                return self.listener.bind(("127.0.0.1", self.port))
            except OSError:
                pass        # somebody was faster

    def _deafen(self):
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass        # it does not listen
        if self.acceptor:
            self.acceptor.join()
        self.acceptor = None
        while self.crowd:
            self.crowd.pop().close()

    def _listen(self):
        self.listener.listen(64)
        self.acceptor = threading.Thread(target=self._accept, daemon=True)
        self.acceptor.start()

    def _crowd(self):
        """Listen with a backlog that is full: the kernel leaves others without an answer."""
        self.listener.listen(0)
        for _ in range(4):
            s = socket.socket()
            s.setblocking(False)
            s.connect_ex(("127.0.0.1", self.port))
            self.crowd.append(s)

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            try:
                c = _Connection(self, client, socket.create_connection(("127.0.0.1", self.target)))
            except OSError:
                client.close()
                continue
            for s in c.client, c.server:
                s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.open.add(c)
            for run in c.to_server, c.to_client:
                threading.Thread(target=run, daemon=True).start()


class _Connection:
    def __init__(self, proxy, client, server):
        self.proxy, self.client, self.server = proxy, client, server
        self.fault, self.left = (proxy.mode if "_" in proxy.mode else None), proxy.n
        self.is_over = False

    def cut(self, is_reset=False):
        if self.is_over:
            return
        self.is_over = True
        if is_reset:
            self.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for s, how in ((self.server, socket.SHUT_RDWR),     # a reset is not to be told by a FIN
                       (self.client, socket.SHUT_RD if is_reset else socket.SHUT_RDWR)):
            try:
                s.shutdown(how)         # wakes to_server(), which closes both
            except OSError:
                pass

    def to_server(self):
        try:
            while data := self.client.recv(65536):
                self.server.sendall(data)
        except OSError:
            pass
        self.cut()
        with self.proxy.lock:
            self.proxy.open.discard(self)
        self.client.close()
        self.server.close()

    def to_client(self):
        try:
            while data := self.server.recv(65536):
                while data and not self.is_over:
                    data = self._deliver(self.fault or self.proxy.mode, data)
        except OSError:
            pass
        self.cut()

    def _deliver(self, fault, data):
        """Do with some of the data what the fault wants; the rest of it."""
        if fault == "stall":
            with self.proxy.changed:
                self.proxy.changed.wait(0.5)
            return data
        if fault == "slow":
            time.sleep(0.1)
        n = {"pass": len(data), "slow": len(data), "trickle": 1}.get(fault, self.left)
        self.client.sendall(data[:n])
        if self.proxy.tap is not None:
            self.proxy.tap += data[:n]
        if fault == "trickle":
            time.sleep(0.1)
        elif "_" in fault:
            self.left -= min(n, len(data))
            if self.left == 0 and fault == "stall_after":
                self.fault = "stall"
            elif self.left == 0:
                self.cut(is_reset=fault == "rst_after")
        return data[n:]

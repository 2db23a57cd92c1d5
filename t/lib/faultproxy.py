"""A TCP proxy on loopback that turns bad and good again while it runs. Standard library only."""
import socket
import struct
import threading
import time

MODES = ("pass", "refuse", "stall", "trickle", "stall_after", "rst_after", "close_after")


class FaultProxy:
    """
    Passes connections to its own `port` on to another one of 127.0.0.1. set() takes effect at once:

    pass            do no harm
    refuse          nobody listens
    stall           accept, and pass nothing on
    trickle         pass one byte of the server's in 100 ms
    stall_after, rst_after, close_after
                    the same after so many bytes from the server, counted for each connection

    Open connections stall and trickle too, and go on when that is over; the other faults cut
    them, so that new ones meet the fault from their first byte.
    """

    def __init__(self, target, mode="pass", n=0):
        self.target, self.mode, self.n = target, mode, n
        self.open = set()
        self.lock = threading.Lock()
        with socket.create_server(("127.0.0.1", 0)) as s:
            self.port = s.getsockname()[1]
        # Bound by number, it keeps its port while it does not listen: nobody else gets it.
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.set(mode, n)

    def set(self, mode, n=0):
        assert mode in MODES
        with self.lock:
            self.mode, self.n = mode, n
            cut = list(self.open) if mode not in ("pass", "stall", "trickle") else []
        if mode == "refuse":
            try:
                self.listener.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass        # does not listen yet
        elif not self.listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            self.listener.listen(64)
            threading.Thread(target=self._accept, daemon=True).start()
        for c in cut:
            c.cut(is_reset=mode in ("refuse", "rst_after"))

    def close(self):
        self.set("refuse")
        self.listener.close()

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
            time.sleep(0.02)
            return data
        n = {"pass": len(data), "trickle": 1}.get(fault, self.left)
        self.client.sendall(data[:n])
        if fault == "trickle":
            time.sleep(0.1)
        elif fault != "pass":
            self.left -= min(n, len(data))
            if self.left == 0 and fault == "stall_after":
                self.fault = "stall"
            elif self.left == 0:
                self.cut(is_reset=fault == "rst_after")
        return data[n:]

"""A directory server that says what the test wants: codes and bytes that slapd never would."""
import socket
import threading

SEARCH, BIND, UNBIND, EXTENDED = 0x63, 0x60, 0x42, 0x77
SEARCH_DONE, BIND_DONE, EXTENDED_DONE, ENTRY, REFERENCE = 0x65, 0x61, 0x78, 0x64, 0x73


def ber(tag, *contents):
    """One element; texts and numbers become bytes."""
    body = b"".join(c if isinstance(c, bytes) else c.encode() for c in contents)
    n = len(body)
    length = bytes([n]) if n < 128 else b"\x84" + n.to_bytes(4, "big")
    return bytes([tag]) + length + body


def result(tag, code=0, text=""):
    """A response with a result code; `text` is the diagnostic message."""
    return ber(tag, ber(0x0a, bytes([code])), ber(4), ber(4, text))


def entry(dn, attributes):
    """A SearchResultEntry; `attributes` is {name: [values]}."""
    return ber(ENTRY, ber(4, dn), ber(0x30, *[
        ber(0x30, ber(4, name), ber(0x31, *[ber(4, v) for v in values]))
        for name, values in attributes.items()]))


class Raw(bytes):
    """In the place of a response: bytes that are no message."""


def message(id, *contents):
    return ber(0x30, ber(2, id.to_bytes(2, "big")), *contents)


class Stub:
    """
    Listens on `port`. `bind` and `search` are the code with which it ends such a request, or a
    function of the request's bytes that returns a list of responses: result(), entry(), ...
    It counts in `binds` and `searches`. StartTLS and the like are refused.
    """

    def __init__(self, bind=0, search=0):
        self.bind, self.search = bind, search
        self.binds = self.searches = 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.uri = "ldap://127.0.0.1:%d" % self.port
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with client, client.makefile("rb") as stream:
            try:
                while request := self._read(stream):
                    id, tag = int.from_bytes(request[2:2 + request[1]], "big"), \
                        request[2 + request[1]]
                    for response in self._answer(tag, request):
                        is_raw = isinstance(response, Raw)
                        client.sendall(response if is_raw else message(id, response))
            except OSError:
                pass

    @staticmethod
    def _read(stream):
        """The contents of the next message; nothing at the end."""
        head = stream.read(2)
        if len(head) < 2:
            return b""
        n = head[1] if head[1] < 128 else int.from_bytes(stream.read(head[1] - 128), "big")
        return stream.read(n)

    def _answer(self, tag, request):
        if tag == BIND:
            self.binds += 1
            return self._make(self.bind, BIND_DONE, request)
        if tag == SEARCH:
            self.searches += 1
            return self._make(self.search, SEARCH_DONE, request)
        return [result(EXTENDED_DONE, 2)] if tag == EXTENDED else []

    @staticmethod
    def _make(answer, tag, request):
        return answer(request) if callable(answer) else [result(tag, answer)]

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

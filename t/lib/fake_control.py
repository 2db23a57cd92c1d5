"""A control socket that says what a test wants, true or not: HTTP on a unix socket."""
import http.server
import json
import os
import socketserver
import threading
import time


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(
        "utf-8", "surrogateescape") + b"\n"


class Raw:
    """Bytes in the place of a whole HTTP reply; then the connection is closed."""

    def __init__(self, data):
        self.data = data


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        fake = self.server.fake
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fake.asked.append("%s %s" % (self.command, self.path))
        answer = fake.find(self.command, self.path)
        time.sleep(fake.delay)
        if isinstance(answer, Raw):
            self.wfile.write(answer.data)
            self.close_connection = True
            return
        status, body = answer
        self.send_response(status)
        if isinstance(body, list):          # a stream: chunks, a number is a pause
            self.stream(body)
            return
        data = body if isinstance(body, bytes) else compact(body)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_GET

    def stream(self, parts):
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for part in parts:
            if isinstance(part, (int, float)):
                time.sleep(part)
                continue
            data = part if isinstance(part, bytes) else compact(part)
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            self.wfile.flush()
        if parts and parts[-1] == b"":      # was the last chunk already
            return
        self.close_connection = True        # cut short


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def get_request(self):
        request, _ = super().get_request()
        return request, ("", 0)

    def handle_error(self, *_):
        pass                                # clients who leave


class FakeControl:
    """
    `answers` is {"GET /v1/status": answer}, by the path without its query; an answer is (status, JSON, or
    bytes, or a list of parts of a stream that ends in b""), a Raw, or a function that makes one
    of those of the path. What is missing is a 404 as the real server has it.
    """

    def __init__(self, path):
        self.path, self.answers, self.asked, self.delay = path, {}, [], 0
        self.server = _Server(path, _Handler)
        self.server.fake = self
        threading.Thread(target=self.server.serve_forever, daemon=True,
                         kwargs={"poll_interval": 0.05}).start()

    def find(self, method, path):
        answer = self.answers.get("%s %s" % (method, path.partition("?")[0]),
                                  (404, {"error": "nothing is here"}))
        return answer(path) if callable(answer) else answer

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        os.unlink(self.path)

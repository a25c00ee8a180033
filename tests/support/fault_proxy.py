"""A proxy before a real S3 endpoint that does harm to the n-th request."""

import contextlib
import http.client
import io
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ANSWERS = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "409": (409, "ConditionalRequestConflict"),
    "403": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
}
HANG_S = 60.0
"""A connection that a fault holds open is let go after this long, whatever the client does."""


@dataclass
class Proxy:
    """What to do to which request, and what was asked.

    Attributes:
        kind: 500, 503, 409, 403 or expired (answered without asking the server), reset (connection cut before), drop
            (done, then cut before the answer), delay (done, answered too late), truncated (half of the body),
            timed_out (never answered), drip (done, answered a byte at a time), trickle (done, the head is answered
            and then its body a byte at a time), stall_upload (the body is not read); stripped (conditions taken off
            every request), hidden (every "not there" becomes "no right").
        at: number of the request it happens to, from 0; every later one is left alone.
        seen: method, path and query of every request.
        bucket: the one that is there.
        patience_s: how long the client waits; `delay` waits longer.
        answers: status and code of the kinds that are answered without asking the server.
    """

    upstream: tuple[str, int]
    kind: str = ""
    at: int = -1
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    bucket: str = "bucket"
    patience_s: float = 1.0
    answers: dict[str, tuple[int, str]] = field(default_factory=lambda: dict(ANSWERS))

    def plan(self, kind: str, at: int) -> None:
        """Forget what was seen and do this next."""
        self.kind, self.at, self.seen = kind, at, []

    def next_fault(self, method: str, path: str) -> str:
        """Note a request and say what to do to it."""
        with self.lock:
            self.seen.append((method, path))
            return self.kind if len(self.seen) - 1 == self.at else ""

    @property
    def listings(self) -> list[str]:
        """Requests that list a bucket."""
        listing = {"list-type", "prefix", "uploads", "delimiter"}
        return [path for method, path in self.seen if method == "GET" and listing & set(parse_qs(urlsplit(path).query))]


class Drip(io.BufferedIOBase):
    """Writes to a connection a byte at a time, until the client goes away."""

    def __init__(self, connection: socket.socket, *, pause_s: float) -> None:
        self.connection, self.pause_s = connection, pause_s

    def write(self, data) -> int:
        with contextlib.suppress(OSError):
            for byte in bytes(data):
                self.connection.sendall(bytes([byte]))
                time.sleep(self.pause_s)
        return len(data)


def make_handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    """The proxy's request handler."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, format: str, *args: object) -> None: ...

        def handle_any(self) -> None:
            fault = proxy.next_fault(self.command, self.path)
            if fault == "stall_upload":
                return self.hang()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            if fault in proxy.answers:
                return self.answer_error(*proxy.answers[fault])
            if fault == "reset":
                return self.cut()
            if fault == "timed_out":
                return self.hang()
            try:
                status, headers, data = self.forward(body)
            except ConnectionError:  # the server was stopped meanwhile
                return self.cut()
            if proxy.kind == "hidden" and status == 404:
                return self.answer_error(*proxy.answers["403"])
            if fault == "drop":
                return self.cut()
            if fault == "delay":
                time.sleep(2 * proxy.patience_s)
            with contextlib.suppress(ConnectionError):  # a client that has stopped waiting
                self.answer(status, headers, data, fault)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = handle_any

        def forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            dropped = {"if-none-match", "if-match"} if proxy.kind == "stripped" else set()
            headers = {name: value for name, value in self.headers.items() if name.lower() not in dropped}
            connection = http.client.HTTPConnection(*proxy.upstream, timeout=30)
            try:
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.getheaders(), answer.read()
            finally:
                connection.close()

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, fault: str = "") -> None:
            if fault == "drip":
                self.wfile = Drip(self.connection, pause_s=proxy.patience_s / 5)
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if fault == "truncated":
                self.wfile.write(data[: len(data) // 2])
                return self.cut()
            if fault == "trickle":
                self.wfile = Drip(self.connection, pause_s=proxy.patience_s / 5)
            self.wfile.write(data)

        def answer_error(self, status: int, code: str) -> None:
            body = (
                b""
                if self.command == "HEAD"
                else f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            )
            self.answer(status, [("Content-Length", str(len(body)))], body)

        def hang(self) -> None:
            """Say and read nothing until the client goes away."""
            self.close_connection = True
            watched = select.poll()
            watched.register(self.connection, select.POLLRDHUP)
            watched.poll(1000 * HANG_S)

        def cut(self) -> None:
            """Reset the connection."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            with contextlib.suppress(OSError):  # it is cut already
                self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


@contextmanager
def harmful(proxy: Proxy) -> Iterator[str]:
    """Run the proxy; yields its address."""
    front = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(proxy))
    front.daemon_threads = True
    threading.Thread(target=front.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{front.server_address[1]}"
    finally:
        front.shutdown()

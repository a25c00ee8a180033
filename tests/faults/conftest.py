"""A real S3 endpoint behind a proxy that does harm to the n-th request."""

import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from faults_page import enter, finish, note
from killed_nights import Nights, night_runner
from moto_process import moto_server, pointed_at

ROOT = Path(__file__).resolve().parents[2]
CODES = {
    "500": (500, "InternalError"),
    "503": (503, "SlowDown"),
    "409": (409, "ConditionalRequestConflict"),
    "403": (403, "AccessDenied"),
}


@dataclass
class Proxy:
    """What to do to which request, and what was asked.

    Attributes:
        kind: 500, 503, 409 or 403 (answered without asking the server), reset (connection cut before), drop (done,
            then cut before the answer), delay (done, answered too late), truncated (half of the body), stripped
            (conditions taken off every request).
        at: number of the request it happens to, from 0; every later one is left alone.
        seen: method, path and query of every request.
        bucket: the one that is there.
        patience_s: how long the client waits; `delay` waits longer.
    """

    upstream: tuple[str, int]
    kind: str = ""
    at: int = -1
    seen: list[tuple[str, str]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    bucket: str = "bucket"
    patience_s: float = 0.5

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


def make_handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    """The proxy's request handler."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *_: object) -> None: ...

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fault = proxy.next_fault(self.command, self.path)
            if fault in CODES:
                return self.answer_error(*CODES[fault])
            if fault == "reset":
                return self.cut()
            status, headers, data = self.forward(body)
            if fault == "drop":
                return self.cut()
            if fault == "delay":
                time.sleep(2 * proxy.patience_s)
            self.answer(status, headers, data, cut_body=fault == "truncated")

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

        def answer(self, status: int, headers: list[tuple[str, str]], data: bytes, *, cut_body: bool) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.end_headers()
            if self.command == "HEAD":
                return
            if cut_body:
                self.wfile.write(data[: len(data) // 2])
                return self.cut()
            self.wfile.write(data)

        def answer_error(self, status: int, code: str) -> None:
            body = (
                b""
                if self.command == "HEAD"
                else f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            )
            self.answer(status, [("Content-Length", str(len(body)))], body, cut_body=False)

        def cut(self) -> None:
            """Reset the connection."""
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RDWR)

    return Handler


@pytest.fixture
def figure(request):
    """Enter a line in a table of the page: `figure("Table", column=value, …)`."""
    return lambda table, **line: enter(request.path.stem, table, line)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note which files of sweeps failed."""
    if report.failed:
        note(Path(report.fspath).stem)


def pytest_sessionfinish() -> None:
    """Write the page, if one was asked for."""
    finish(ROOT)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """The endpoint every store of this module talks to."""
    with moto_server() as upstream:
        proxy = Proxy(upstream=upstream)
        front = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(proxy))
        front.daemon_threads = True
        threading.Thread(target=front.serve_forever, daemon=True).start()
        with pointed_at(f"http://127.0.0.1:{front.server_address[1]}"):
            boto3.client("s3").create_bucket(Bucket=proxy.bucket)
            yield proxy
        front.shutdown()


@pytest.fixture(scope="module")
def nights(root, tmp_path_factory) -> Iterator[Nights]:
    """Runs nights, each in a process of its own."""
    with night_runner(root, tmp_path_factory.mktemp("nights")) as runner:
        yield runner


@pytest.fixture(scope="module")
def undisturbed(nights):
    """Outcomes of nights that nobody killed, without and with training."""
    for name, train in (("curated", False), ("trained", True)):
        assert nights.run(name, train=train) == 0, (nights.folder / name / "log.txt").read_text()[-2000:]
    return {False: nights.outcome("curated"), True: nights.outcome("trained")}

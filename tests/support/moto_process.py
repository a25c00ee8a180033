"""moto's S3 server as a process of its own: vLLM cannot start in a process that has loaded Flask."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

START_TIMEOUT_S = 120
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "when_required",
    "AWS_RESPONSE_CHECKSUM_VALIDATION": "when_required",
}


@contextmanager
def moto_server() -> Iterator[tuple[str, int]]:
    """A fresh server on loopback; yields its host and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host, port = free.getsockname()
    command = [sys.executable, "-m", "moto.server", "-H", host, "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(host, port, process)
            yield host, port
        finally:
            process.terminate()


def wait_for(host: str, port: int, process: subprocess.Popen) -> None:
    """Wait until it answers."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        with socket.socket() as trial:
            if trial.connect_ex((host, port)) == 0:
                return
        assert process.poll() is None, f"moto's server ended with {process.returncode}"
        assert time.monotonic() < deadline, f"moto's server does not answer within {START_TIMEOUT_S} s"
        time.sleep(0.1)


@contextmanager
def pointed_at(address: str, **settings: str) -> Iterator[None]:
    """AWS clients of this process talk to the server at `address` meanwhile."""
    before = dict(os.environ)
    os.environ.update({**SETTINGS, **settings, "AWS_ENDPOINT_URL": address})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)

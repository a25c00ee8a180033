"""A private Ray head on loopback, as a child process that cannot outlive us.

`ray.init()` would start one too, but always with the same agent port: a second cluster on the machine
(a run beside `sweetspot serve`, say) then works until its first job, which no agent takes.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from sweetspot.errors import EngineError

HOST = "127.0.0.1"
START_TIMEOUT_S = 120
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without this Ray takes 127.0.0.1 for the machine's outer address and listens on all of them, and so do its drivers.

Despite its name it works on Linux. A process that joins a cluster of several machines has to set it to 1.
"""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Head:
    """Where a head listens, as host:port."""

    address: str
    dashboard: str


@contextmanager
def ray_head(*, cpus: int, environment: Mapping[str, str] | None = None) -> Iterator[Head]:
    """Start a head with free ports; it and all it started are stopped at the end, or when we die.

    Args:
        cpus: CPUs it offers.
        environment: variables of the head; None passes on our own.

    Raises:
        EngineError: it did not come up; the end of its log is in the message.
    """
    gcs, dashboard, agent, client = free_ports(4)
    command = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
        "--node-ip-address", HOST, "--dashboard-host", HOST, "--num-cpus", str(cpus),
        "--port", str(gcs), "--dashboard-port", str(dashboard),
        "--dashboard-agent-listen-port", str(agent), "--ray-client-server-port", str(client),
    ]  # fmt: skip
    with ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile("w+b"))
        process = subprocess.Popen(
            command,
            env={**LOOPBACK, **(os.environ if environment is None else environment)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        stack.callback(_end, process)
        _wait_until_listening(process, (gcs, dashboard), log)
        yield Head(f"{HOST}:{gcs}", f"{HOST}:{dashboard}")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_until_listening(process: subprocess.Popen[bytes], ports: tuple[int, ...], log: object) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not all(is_listening(port) for port in ports):
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)  # pyright: ignore[reportAttributeAccessIssue]
            text = log.read().decode(errors="replace")  # pyright: ignore[reportAttributeAccessIssue]
            raise EngineError(f"the Ray head did not come up within {START_TIMEOUT_S} s:\n{text[-1500:]}")
        time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the head's process group.

    By force: on SIGTERM the head waits for workers that a finished run no longer has. Its own children
    are tied to its life by the kernel, theirs notice within seconds.
    """
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def is_listening(port: int) -> bool:
    """Whether somebody listens on a local port."""
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports free at this moment, all different."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]

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
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from sweetspot.errors import EngineError
from tasks._processes import has_ended

HOST = "127.0.0.1"
START_TIMEOUT_S = 120
START_ATTEMPTS = 3
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without this Ray takes 127.0.0.1 for the machine's outer address and listens on all of them, and so do its drivers.

Despite its name it works on Linux. A process that joins a cluster of several machines has to set it to 1.
"""
_PR_SET_PDEATHSIG = 1


class RayHead:
    """A head and the ports it keeps: started again after an end, it is found where it was.

    Args:
        cpus: CPUs it offers.
        environment: variables of the head; None passes on our own.
        folder: where it runs, and so the workers, which read relative paths of models; None for here.

    Attributes:
        address: of the cluster, as host:port.
        dashboard: of its dashboard, as host:port.
    """

    def __init__(self, *, cpus: int, environment: Mapping[str, str] | None = None, folder: Path | None = None) -> None:
        gcs, dashboard, agent, client = self._ports = free_ports(4)
        self.address, self.dashboard = f"{HOST}:{gcs}", f"{HOST}:{dashboard}"
        self._environment = {**LOOPBACK, **(os.environ if environment is None else environment)}
        self._command = [
            sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--disable-usage-stats",
            "--node-ip-address", HOST, "--dashboard-host", HOST, "--num-cpus", str(cpus),
            "--port", str(gcs), "--dashboard-port", str(dashboard),
            "--dashboard-agent-listen-port", str(agent), "--ray-client-server-port", str(client),
        ]  # fmt: skip
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and again if it ends before it is up: on a busy machine its parts give up on each other.

        Raises:
            EngineError: it did not come up; the end of its log is in the message.
        """
        for attempt in range(1, START_ATTEMPTS + 1):
            with tempfile.TemporaryFile("w+b") as log:
                self._spawn(log)
                if self._comes_up():
                    return
                self.stop()
                if attempt == START_ATTEMPTS:
                    log.seek(0)
                    text = log.read().decode(errors="replace")
                    raise EngineError(f"the Ray head did not come up in {attempt} attempts:\n{text[-1500:]}")

    def _spawn(self, log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self._environment,
            cwd=self._folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    def _comes_up(self) -> bool:
        """Wait for GCS, dashboard and agent; the raylet ends itself, and with it the head, if its agent is late."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(is_listening(port) for port in self._ports[:3]):
            if self.has_ended() or time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def has_ended(self) -> bool:
        """Whether it runs no more; it ends with the first of its parts."""
        return self._process is None or has_ended(self._process)

    def stop(self) -> None:
        """Kill the head's process group.

        By force: on SIGTERM the head waits for workers that a finished run no longer has. Its own children
        are tied to its life by the kernel, theirs notice within seconds.
        """
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


@contextmanager
def ray_head(
    *, cpus: int, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[RayHead]:
    """Start a head with free ports; it and all it started are stopped at the end, or when we die.

    Raises:
        EngineError: it did not come up.
    """
    head = RayHead(cpus=cpus, environment=environment, folder=folder)
    try:
        head.start()
        yield head
    finally:
        head.stop()


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


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

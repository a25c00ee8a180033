"""A process that `serve` starts, and may start again."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

from tasks._processes import has_ended

HOME = Path(__file__).resolve().parent.parent
LOGS = Path("out/logs")
STOP_TIMEOUT_S = 20


class Child:
    """A child process with its output in a log file, stopped with all its own children at the end.

    Args:
        name: what people call it; its log is named after it.
        command: what it runs.
        environment: its variables.
        umask: of the files it makes; -1 passes on our own.
    """

    def __init__(self, name: str, command: list[str], environment: Mapping[str, str], *, umask: int = -1) -> None:
        self.name, self._command, self._environment, self._umask = name, command, environment, umask
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Child":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, or start it again after it has ended."""
        LOGS.mkdir(parents=True, exist_ok=True)
        with (LOGS / f"{self.name.lower().replace(' ', '-')}.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                cwd=HOME,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=self._umask,
            )

    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process is None or has_ended(self._process)

    def stop(self) -> None:
        """End the process group we started: politely first, then by force whoever is left of it."""
        if self._process is None or self._process.returncode is not None:
            return
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            deadline = time.monotonic() + STOP_TIMEOUT_S
            while not self.has_ended() and time.monotonic() < deadline:
                time.sleep(0.1)
        finally:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

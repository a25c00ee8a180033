"""A process beside a worker: it ends the worker that takes too long, and what a worker that is gone has left running.

It is a process, for a stopped worker runs no thread of its own, and one that holds the interpreter's lock no other.
It is this file, run as a script; so it imports nothing but the standard library.
"""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO

LOOK_S = 1.0
"""How often it looks whether the worker and the worker's parent are there."""


class Watchdog:
    """Watches this process; it is started when first needed, and again if somebody ended it.

    Args:
        worker: This is a worker of a cluster: it is ended too when its parent is gone, and all that it started with it.
    """

    def __init__(self, *, worker: bool) -> None:
        self._worker = worker
        self._process: subprocess.Popen[bytes] | None = None
        if worker and os.getpgrp() != os.getpid():
            os.setpgid(0, 0)  # what this worker starts is in its group, and can be found when the worker is gone

    @contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End this process by force if the block takes longer."""
        self._tell(seconds)
        try:
            yield
        finally:
            self._tell(0)

    def _tell(self, seconds: float) -> None:
        order = f"{seconds}\n".encode()
        try:
            self._ear().write(order)
        except BrokenPipeError:
            self._process = None
            self._ear().write(order)

    def _ear(self) -> IO[bytes]:
        if self._process is None:
            parent = os.getppid() if self._worker else 0
            command = [sys.executable, "-I", "-S", __file__, str(os.getpid()), str(parent)]
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, bufsize=0, start_new_session=True
            )
        assert self._process.stdin is not None
        return self._process.stdin


_ours: list[Watchdog] = []


def watch_worker() -> None:
    """Have this process, a worker of a cluster, watched from now on."""
    if not _ours:
        _ours.append(Watchdog(worker=True))


def within(seconds: float) -> AbstractContextManager[None]:
    """End this process by force if the block takes longer."""
    if not _ours:
        _ours.append(Watchdog(worker=False))
    return _ours[0].within(seconds)


def _watch(pid: int, parent: int) -> None:
    """Wait until the process is late or gone, and end it, or what it left; `parent` is a worker's, else 0."""
    late = _is_late(pid, parent)
    with suppress(ProcessLookupError):
        if parent:
            os.killpg(pid, signal.SIGKILL)
        elif late:
            os.kill(pid, signal.SIGKILL)


def _is_late(pid: int, parent: int) -> bool:
    """Wait for the end of the time it was given (True), or its own end, or, for a worker, its parent's."""
    deadline = None
    while os.getppid() == pid and parent in (0, _parent(pid)):
        wait = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
        if wait <= 0:
            return True
        if select.select([0], [], [], wait)[0]:
            orders = os.read(0, 4096).split()
            if not orders:
                return False
            seconds = float(orders[-1])
            deadline = time.monotonic() + seconds if seconds else None
    return False


def _parent(pid: int) -> int:
    """Who started a process; 0 if it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


if __name__ == "__main__":
    _watch(int(sys.argv[1]), int(sys.argv[2]))

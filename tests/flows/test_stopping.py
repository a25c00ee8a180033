"""A run that is cancelled or terminated is gone within 30 s, publishes nothing and keeps its finished chunks."""

import os
import signal
import sys
import time

import pytest
from orchestrated import Server
from slow_night import family, is_quiet, receipts, settings

from tasks._ray_head import free_ports

QUIET_S = 30
ENDS = {"cancel": "Cancelled", "SIGTERM": "Crashed"}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path, free_ports(1)[0])
    server.start()
    yield server
    server.kill()


def test_a_run_from_the_terminal_stops_soon_and_rightly(server, tmp_path):
    """Both at once, each with a Ray of its own, for most of it is waiting."""
    folders = {how: tmp_path / how for how in ENDS}
    started = {}
    for how, folder in folders.items():
        folder.mkdir()
        command = [sys.executable, "tests/support/slow_night.py", str(settings(folder, dataset=how.lower()))]
        started[how] = server.spawn(command, how)
    for folder in folders.values():
        server.wait(lambda folder=folder: len(receipts(folder)) >= 2, 240)
    runs = {run["name"]: run["id"] for run in server.runs()}
    descendants = {how: family(process.pid) for how, process in started.items()}
    asked = time.monotonic()
    server.set_state(runs["cancel"], "CANCELLING")
    os.kill(started["SIGTERM"].pid, signal.SIGTERM)
    for process in started.values():
        assert process.wait(2 * QUIET_S) != 0
    assert time.monotonic() - asked <= QUIET_S
    for how, state in ENDS.items():
        assert is_quiet(folders[how], descendants[how])
        found = next(run["state"] for run in server.runs() if run["name"] == how.lower())
        assert found["name"] == state, found
        assert "copy was stopped b" in found["message"]
        assert "load_prompts is committed, copy keeps its finished chunks, nothing was published" in found["message"]

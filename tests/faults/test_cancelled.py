"""A run of a worker or from the terminal is cancelled from the UI, terminated or killed."""

import os
import signal
import sys
import time

import psutil
import pytest
from slow_night import family, is_quiet, receipts, settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
QUIET_S = 30
TABLE = "A run of a worker is cancelled in the UI, or killed (kill -9)"


@pytest.fixture
def worker(server, tmp_path):
    """A worker whose run has committed two chunks."""
    prefect = [sys.executable, "-m", "prefect"]
    assert server.spawn([*prefect, "work-pool", "create", "local", "--type", "process"], "pool").wait(120) == 0
    deploy = [sys.executable, "tests/support/slow_night.py", "deploy", str(settings(tmp_path, dataset="tiny"))]
    assert server.spawn(deploy, "deploy").wait(120) == 0
    worker = server.spawn([*prefect, "worker", "start", "--pool", "local"], "worker")
    try:
        assert server.spawn([*prefect, "deployment", "run", "slow/slow"], "trigger").wait(120) == 0
        server.wait(lambda: len(receipts(tmp_path)) >= 2, 240)
        yield worker
    finally:
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()


def test_a_cancelled_run_is_gone_within_30_s_and_publishes_nothing(server, worker, tmp_path, figure):
    descendants = family(worker.pid)
    server.set_state(server.runs()[0]["id"], "CANCELLING")
    seconds = server.wait(lambda: server.runs()[0]["state_type"] != "CANCELLING", 2 * QUIET_S)
    (run,) = server.runs()
    assert run["state"]["name"] == "Cancelled"
    assert seconds <= QUIET_S
    assert is_quiet(tmp_path, descendants)
    assert [found["key"] for found in server.artifacts(run["id"]) if found["key"] == "failure"] == ["failure"]
    figure(TABLE, harm="cancelled", **{"seconds to its end": round(seconds), "state": "Cancelled", "writes after": 0})


def test_a_killed_run_is_crashed_at_once_and_says_what_is_safe(server, worker, tmp_path, figure):
    descendants = family(worker.pid)
    os.kill(engine_of(descendants), signal.SIGKILL)
    seconds = server.wait(lambda: "; next: " in (server.runs()[0]["state"]["message"] or ""), 2 * QUIET_S)
    (run,) = server.runs()
    assert run["state"]["name"] == "Crashed"
    assert "; safe: committed chunks are safe and nothing is published half; next: " in run["state"]["message"]
    assert is_quiet(tmp_path, descendants)
    figure(TABLE, harm="killed", **{"seconds to its end": round(seconds), "state": "Crashed", "writes after": 0})


@pytest.mark.parametrize(("how", "state"), [("cancel", "Cancelled"), ("sigterm", "Crashed")])
def test_a_run_from_the_terminal_stops_soon_and_rightly(server, tmp_path, how, state):
    command = [sys.executable, "tests/support/slow_night.py", str(settings(tmp_path, dataset=how))]
    process = server.spawn(command, how)
    server.wait(lambda: len(receipts(tmp_path)) >= 2, 240)
    (run,) = server.runs()
    descendants = family(process.pid)
    asked = time.monotonic()
    if how == "cancel":
        server.set_state(run["id"], "CANCELLING")
    else:
        os.kill(process.pid, signal.SIGTERM)
    assert process.wait(2 * QUIET_S) != 0
    assert time.monotonic() - asked <= QUIET_S
    assert is_quiet(tmp_path, descendants)
    found = server.runs()[0]["state"]
    assert found["name"] == state, found
    assert "copy was stopped b" in found["message"]
    assert "load_prompts is committed, copy keeps its finished chunks, nothing was published" in found["message"]


def engine_of(processes: list[psutil.Process]) -> int:
    """The process that runs the flow; Ray and its workers are below it."""
    return next(found.pid for found in processes if {"prefect.engine", "prefect.flow_engine"} & set(found.cmdline()))

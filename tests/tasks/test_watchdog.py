"""A process that takes too long is ended, stopped or not; what a dead worker started goes with it."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

LATE = """
import re, signal, os, time
from tasks._watchdog import within
with within({seconds}):
    {does}
print("went on")
"""
WORKER = """
import os, subprocess, sys, time
from tasks import _watchdog
_watchdog.watch_worker()
with _watchdog.within(600):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(os.getpid(), child.pid, flush=True)
    time.sleep(600)
"""
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[1]])
time.sleep(600)
"""


def start(root, *command):
    return subprocess.Popen([sys.executable, *command], cwd=root, stdout=subprocess.PIPE, text=True)


def gone(*pids, patience_s=20):
    """Whether none of them runs any more; a zombie does not run."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        left = [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie"]
        if not left:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    "does",
    ["time.sleep(60)", "os.kill(os.getpid(), signal.SIGSTOP)", "re.match('(a+)+$', 'a' * 64 + 'b')"],
    ids=["sleeps", "stopped", "holds the lock"],
)
def test_a_block_that_takes_too_long_ends_its_process(root, does):
    process = start(root, "-c", LATE.format(seconds=0.5, does=does))
    assert process.wait(20) == -signal.SIGKILL
    assert process.communicate()[0] == ""


def test_a_block_in_time_goes_on_and_the_next_has_its_own_time(root):
    does = "pass\nfor _ in range(4):\n  with within(1.0): time.sleep(0.4)"
    process = start(root, "-c", LATE.format(seconds=30, does=does))
    assert process.communicate(timeout=20)[0] == "went on\n"
    assert process.returncode == 0


def test_a_watchdog_that_was_killed_is_started_again(root):
    kill = "import subprocess; subprocess.run(['sh', '-c', 'kill -9 $0', str(watchdog())])"
    does = f"{kill}; time.sleep(0.3)\nwith within(0.5): time.sleep(60)"
    named = "from tasks import _watchdog\nwatchdog = lambda: _watchdog._ours[0]._process.pid\n"
    process = start(root, "-c", named + LATE.format(seconds=30, does=does))
    assert process.wait(20) == -signal.SIGKILL


def test_what_a_killed_worker_started_ends(root):
    process = start(root, "-c", WORKER)
    assert process.stdout is not None
    worker, child = map(int, process.stdout.readline().split())
    os.kill(worker, signal.SIGKILL)
    process.wait()
    assert gone(child)


def test_a_stopped_worker_without_its_parent_ends_with_what_it_started(root):
    parent = start(root, "-c", PARENT, WORKER)
    assert parent.stdout is not None
    worker, child = map(int, parent.stdout.readline().split())
    os.kill(worker, signal.SIGSTOP)
    parent.kill()
    parent.wait()
    assert gone(worker, child)

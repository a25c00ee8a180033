"""A cluster that ends is named by the run it leaves behind; a run that ends leaves none of its processes behind."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

pytestmark = pytest.mark.slow
PATIENCE_S = 30

RUN = """
import os, subprocess, sys, time
from sweetspot.config import Cluster
from tasks import _ray, _watchdog

def opened():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])  # as an engine's own process
    def work(index):
        with _watchdog.within(600):
            time.sleep(0.2)
        return {"pids": [os.getpid(), child.pid]}
    return work

try:
    with _ray.cluster(Cluster()):
        for receipt in _ray.map_chunks(opened, range(1000), stage="copy", settings=Cluster(), models=True):
            print(*receipt["pids"], flush=True)
except Exception as error:
    print(type(error).__name__, error, flush=True)
    os._exit(7)
"""


@pytest.fixture
def run(root):
    """A run with a cluster of its own, at its second chunk; yields it, its GCS, and its worker and engine."""
    process = subprocess.Popen(
        [sys.executable, "-c", RUN], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    try:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        family = {one.pid: one.name() for one in psutil.Process(process.pid).children(recursive=True)}
        assert len(pids) == 2
        assert set(pids) <= set(family)
        yield process, next(pid for pid, name in family.items() if name == "gcs_server"), pids
    finally:
        process.kill()
        process.wait()


def running(pids):
    return {pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE}


def assert_all_end(pids):
    deadline = time.monotonic() + PATIENCE_S
    while left := running(pids):
        assert time.monotonic() < deadline, {pid: psutil.Process(pid).cmdline()[:3] for pid in left}
        time.sleep(0.1)


def test_a_cluster_that_ends_is_named_and_leaves_no_worker_and_no_engine(run):
    process, head, pids = run
    os.kill(head, signal.SIGKILL)
    rest = process.communicate(timeout=PATIENCE_S)[0]
    assert process.returncode == 7, rest[-500:]
    assert "ClusterError the Ray head at 127.0.0.1:" in rest
    assert "has ended" in rest
    assert_all_end(pids)


def test_a_run_that_is_killed_leaves_no_worker_and_no_engine(run):
    process, _, pids = run
    process.kill()
    assert_all_end(pids)

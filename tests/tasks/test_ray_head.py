"""A head that ends, late or early, is noticed and started again; most of it with a small process in its place."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager

import psutil
import pytest

from sweetspot.errors import EngineError
from tasks import _ray_head
from tasks._ray_head import RayHead, is_listening

STAND_IN = """
import pathlib, socket, sys, time
starts, fails, *ports = sys.argv[1:]
with open(starts, "a") as file:
    file.write("x")
if pathlib.Path(starts).stat().st_size <= int(fails):
    sys.exit("the raylet gave up on its agent")
held = [socket.create_server(("127.0.0.1", int(port))) for port in ports]
time.sleep(600)
"""

JOINED = """
import sys
from tasks import _ray
import ray
_ray._connect(sys.argv[1])
print(int(ray.cluster_resources()["CPU"]))
"""

LOST = """
from tasks import _ray
from tasks._ray_head import RayHead
import ray
head = RayHead(cpus=1)
head.start()
head.stop()
_ray._connect(head.address, head)
print(int(ray.cluster_resources()["CPU"]))
head.stop()
"""


@contextmanager
def standing_in(tmp_path, fails):
    """A head whose process is a stand-in that ends at once the first so many times."""
    head = RayHead(cpus=1)
    ports = map(str, head._ports[:3])
    head._command = [sys.executable, "-c", STAND_IN, str(tmp_path / "starts"), str(fails), *ports]
    try:
        yield head
    finally:
        head.stop()


def starts(tmp_path):
    return (tmp_path / "starts").stat().st_size


@pytest.mark.parametrize("fails", [0, 1, 2])
def test_a_head_that_ends_while_it_starts_is_started_again(tmp_path, fails):
    with standing_in(tmp_path, fails) as head:
        head.start()
        assert starts(tmp_path) == fails + 1
        assert not head.has_ended()
        assert is_listening(int(head.address.split(":")[1]))
    assert head.has_ended()


def test_after_three_attempts_the_end_of_its_log_is_the_error(tmp_path):
    with standing_in(tmp_path, 99) as head:
        with pytest.raises(EngineError, match=r"did not come up in 3 attempts:\n.*gave up on its agent"):
            head.start()
        assert starts(tmp_path) == 3
        assert head.has_ended()


def test_a_head_that_hangs_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(_ray_head, "START_TIMEOUT_S", 0.3)
    with standing_in(tmp_path, 0) as head:
        head._command = [sys.executable, "-c", "import time; time.sleep(60)"]
        with pytest.raises(EngineError, match="did not come up"):
            head.start()


def test_a_real_head_ends_with_its_raylet_and_comes_back_where_it_was():
    head = RayHead(cpus=1)
    try:
        head.start()
        address = head.address
        assert head._process is not None
        family = psutil.Process(head._process.pid).children(recursive=True)
        os.kill(next(one.pid for one in family if one.name() == "raylet"), signal.SIGKILL)
        head._process.wait(30)
        assert head.has_ended()
        head.stop()
        head.start()
        assert head.address == address
        assert not head.has_ended()
        done = subprocess.run([sys.executable, "-c", JOINED, address], capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "1", done.stderr[-2000:]
    finally:
        head.stop()


def test_a_head_that_ended_before_it_was_joined_is_started_again(root):
    """Ray itself would try to reach it for a quarter of an hour."""
    done = subprocess.run(
        [sys.executable, "-c", LOST],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "1", done.stderr[-2000:]

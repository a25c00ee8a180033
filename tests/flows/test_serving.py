"""What `serve` started is watched: a part that ends is either started again or ends everything, and is named."""

import subprocess
import sys

import pytest

from flows.serving import Served
from sweetspot.errors import EngineError


class Head:
    """Counts how often it was started."""

    dashboard = "127.0.0.1:1"

    def __init__(self, *, ended):
        self.ended, self.calls = ended, []

    def has_ended(self):
        return self.ended

    def stop(self):
        self.calls.append("stop")

    def start(self):
        self.calls.append("start")
        self.ended = False


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def test_nothing_is_done_while_all_parts_run(child):
    head = Head(ended=False)
    Served("http://127.0.0.1:2", head, {"worker": child}).watch()
    assert head.calls == []


def test_a_ray_head_that_ended_is_started_again_asked_again_and_said(child, capsys, monkeypatch):
    head = Head(ended=True)
    monkeypatch.setattr("flows.serving.refuse_unguarded_dashboard", lambda address: head.calls.append(address))
    monkeypatch.setattr("flows.serving.refuse_open_ports", lambda what, pid: head.calls.append("ports"))
    served = Served("http://127.0.0.1:2", head, {"worker": child})
    served.watch()
    served.watch()
    assert head.calls == ["stop", "start", "http://127.0.0.1:1", "ports"]
    assert "Ray head; starting it again" in capsys.readouterr().out


def test_a_worker_that_ended_ends_all_and_is_named(child):
    served = Served("http://127.0.0.1:2", Head(ended=False), {"Prefect server": child, "worker": child})
    child.kill()
    child.wait()
    with pytest.raises(EngineError, match="the Prefect server has ended, so all was stopped; its log lies in out/logs"):
        served.watch()

"""What `serve` started is watched: a part that ends is either started again or ends everything, and is named."""

import os
import signal
import sys
import time
from typing import Any

import pytest

from flows._child import Child
from flows.serving import RESTARTS, Served
from sweetspot.errors import EngineError
from tasks._ray_head import free_ports


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


LOGIN = "admin:secret"
ANSWERS = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header("content-length", "0"); self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def parts(tmp_path, monkeypatch):
    """Makes a served server that answers, and a worker that waits."""
    monkeypatch.setattr("flows._child.LOGS", tmp_path)
    monkeypatch.setattr("flows.serving.refuse_open_ports", lambda what, pid: None)
    port, started = free_ports(1)[0], []

    def make(head: Any, *, server=(sys.executable, "-c", ANSWERS, str(port))):
        children = [
            Child("Prefect server", list(server), os.environ),
            Child("worker", [sys.executable, "-c", "import time; time.sleep(600)"], os.environ),
        ]
        started.extend(children)
        for child in children:
            child.start()
        return Served(f"http://127.0.0.1:{port}", LOGIN, head, children[0], children[1])

    yield make
    for child in started:
        child.stop()


def kill(child):
    os.killpg(child._process.pid, signal.SIGKILL)
    while not child.has_ended():
        time.sleep(0.01)


def test_nothing_is_done_while_all_parts_run(parts):
    head = Head(ended=False)
    served = parts(head)
    served.watch()
    assert (head.calls, served.restarts) == ([], [])


def test_a_ray_head_that_ended_is_started_again_asked_again_and_said(parts, capsys, monkeypatch):
    head = Head(ended=True)
    served = parts(head)
    monkeypatch.setattr("flows.serving.refuse_unguarded_dashboard", lambda address: head.calls.append(address))
    monkeypatch.setattr("flows.serving.refuse_open_ports", lambda what, pid: head.calls.append("ports"))
    served.watch()
    served.watch()
    assert head.calls == ["stop", "start", "http://127.0.0.1:1", "ports"]
    assert "Ray head; starting it again" in capsys.readouterr().out


def test_a_worker_that_ended_ends_all_and_is_named(parts):
    served = parts(Head(ended=False))
    kill(served.worker)
    with pytest.raises(EngineError, match="the worker has ended, so all was stopped; its log lies in"):
        served.watch()


def test_a_prefect_server_that_ended_is_started_again_asked_again_and_said(parts, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr("flows.serving.refuse_unguarded_server", lambda address, login: asked.append((address, login)))
    served = parts(Head(ended=False))
    kill(served.server)
    served.watch()
    assert not served.server.has_ended()
    assert asked == [(served.address, LOGIN)]
    assert "Prefect server; starting it again. Runs go on meanwhile" in capsys.readouterr().out


def test_a_prefect_server_that_ends_over_and_over_ends_all_and_is_named(parts, monkeypatch):
    monkeypatch.setattr("flows.serving.refuse_unguarded_server", lambda address, login: None)
    served = parts(Head(ended=False))
    for _ in range(RESTARTS):
        kill(served.server)
        served.watch()
    kill(served.server)
    with pytest.raises(EngineError, match=f"the Prefect server has ended {RESTARTS + 1} times within 60 minutes"):
        served.watch()


def test_a_server_that_does_not_come_back_is_noticed_at_once(parts):
    served = parts(Head(ended=False), server=(sys.executable, "-c", "1"))
    while not served.server.has_ended():
        time.sleep(0.01)
    with pytest.raises(EngineError, match="the Prefect server did not come up"):
        served.watch()

"""Real jobs on a real Ray head: launched twice, with replies lost, cancelled, too slow, and with the head killed."""

import http.client
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from sweetspot.errors import CheckError, EngineError
from tasks import _ray_jobs
from tasks._ray_head import RayHead

LAUNCHER = "import sys; from tasks._ray_jobs import run_job; run_job('waiting_job', [sys.argv[1]], name=sys.argv[2], "
LAUNCHER += "dashboard=sys.argv[3], deadline_s=60)"


class Cancelled(BaseException):
    """As Prefect's: no Exception, raised by a signal."""


@pytest.fixture(scope="module")
def head(root):
    folders = (root, root / "tests" / "support", os.environ.get("PYTHONPATH", ""))
    head = RayHead(cpus=2, environment={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, folders))})
    head.start()
    yield head
    head.stop()


@pytest.fixture
def launch(head, tmp_path):
    """launch(deadline_s=…, dashboard=…): run the waiting job of this test's folder, under this test's name."""

    def run(*, deadline_s: float = 60, dashboard: str = head.dashboard) -> str:
        where = {"dashboard": dashboard, "deadline_s": deadline_s}
        return _ray_jobs.run_job("waiting_job", [str(tmp_path)], name=f"job-{tmp_path.name}", **where)

    yield run
    (tmp_path / "fail").touch()


def starts(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "starts").read_text().split()]


def wait_for_start(folder: Path, count: int = 1) -> int:
    deadline = time.monotonic() + 60
    while not ((folder / "starts").exists() and len(starts(folder)) >= count):
        assert time.monotonic() < deadline, "the job did not start"
        time.sleep(0.05)
    return starts(folder)[-1]


def test_of_two_launches_at_once_one_starts_and_both_see_it_end(launch, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        logs = [pool.submit(launch) for _ in range(2)]
        wait_for_start(tmp_path)
        time.sleep(1)
        (tmp_path / "go").touch()
        assert all("went well" in log.result() for log in logs)
    assert len(starts(tmp_path)) == 1


def test_a_launch_joins_the_job_of_a_launcher_that_was_killed(launch, head, tmp_path, root):
    command = [sys.executable, "-c", LAUNCHER, str(tmp_path), f"job-{tmp_path.name}", head.dashboard]
    launcher = subprocess.Popen(command, cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    pid = wait_for_start(tmp_path)
    launcher.kill()
    launcher.wait()
    with ThreadPoolExecutor(1) as pool:
        log = pool.submit(launch)
        time.sleep(1)
        assert psutil.pid_exists(pid)
        (tmp_path / "go").touch()
        assert "went well" in log.result()
    assert starts(tmp_path) == [pid]


class LossyProxy(ThreadingHTTPServer):
    """Hands every request on to the head; the reply to the first submission is lost or late, in the way of `kind`."""

    daemon_threads = True

    def __init__(self, upstream: str, kind: str) -> None:
        super().__init__(("127.0.0.1", 0), LossyHandler)
        self.upstream, self.kind, self.lost = upstream, kind, False


class LossyHandler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...

    def hand_on(self) -> None:
        proxy = self.server
        assert isinstance(proxy, LossyProxy)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        first = self.command == "POST" and self.path == "/api/jobs/" and not proxy.lost
        proxy.lost |= first
        if first and proxy.kind == "reset":
            return self.connection.close()
        upstream = http.client.HTTPConnection(proxy.upstream, timeout=30)
        upstream.request(self.command, self.path, body, dict(self.headers.items()))
        reply = upstream.getresponse()
        data, status = reply.read(), reply.status
        if first and proxy.kind == "drop":
            return self.connection.close()
        if first and proxy.kind == "late":
            time.sleep(15)
        self.send_response_only(500 if first and proxy.kind == "error" else status)
        self.send_header("Content-Type", reply.getheader("Content-Type", "text/plain"))
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = hand_on


@pytest.mark.parametrize("kind", ["reset", "drop", "error"])
def test_a_launch_whose_reply_is_lost_starts_one_job(launch, head, tmp_path, kind):
    proxy = LossyProxy(head.dashboard, kind)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    (tmp_path / "go").touch()
    assert "went well" in launch(dashboard=f"127.0.0.1:{proxy.server_address[1]}")
    assert proxy.lost
    assert len(starts(tmp_path)) == 1
    proxy.shutdown()
    proxy.server_close()


@pytest.mark.parametrize("while_launching", [False, True])
def test_a_cancel_stops_the_job(launch, head, tmp_path, while_launching):
    proxy = LossyProxy(head.dashboard, "late" if while_launching else "")
    threading.Thread(target=proxy.serve_forever, daemon=True).start()

    def cancel(*_: object) -> None:
        raise Cancelled

    before = signal.signal(signal.SIGUSR1, cancel)
    threading.Thread(target=lambda: (wait_for_start(tmp_path), os.kill(os.getpid(), signal.SIGUSR1))).start()
    with pytest.raises(Cancelled):
        launch(dashboard=f"127.0.0.1:{proxy.server_address[1]}")
    signal.signal(signal.SIGUSR1, before)
    proxy.shutdown()
    proxy.server_close()
    assert not psutil.pid_exists(starts(tmp_path)[0])


def test_a_job_that_takes_too_long_is_stopped_and_the_setting_named(launch, tmp_path):
    with ThreadPoolExecutor(1) as pool:
        patient = pool.submit(launch)
        pid = wait_for_start(tmp_path)
        with pytest.raises(CheckError, match=r"took more than 1 s \(cluster.job_timeout_s\) and was stopped"):
            launch(deadline_s=1)
        assert not psutil.pid_exists(pid)
        with pytest.raises(EngineError, match="ended as STOPPED"):
            patient.result()


def test_a_failed_job_raises_its_own_error_and_is_followed_by_another_attempt(launch, tmp_path):
    (tmp_path / "fail").touch()
    with pytest.raises(CheckError, match="this job was told to fail"):
        launch()
    (tmp_path / "fail").unlink()
    (tmp_path / "go").touch()
    assert "went well" in launch()
    assert len(starts(tmp_path)) == 2


def test_a_hung_dashboard_is_given_up(head, tmp_path, monkeypatch):
    monkeypatch.setattr(_ray_jobs, "REQUEST_TIMEOUT_S", 0.3)
    monkeypatch.setattr(_ray_jobs, "SILENCE_S", 1)
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as silent:  # accepts, never answers
        started = time.monotonic()
        where = f"127.0.0.1:{silent.server_address[1]}"
        with pytest.raises(EngineError, match=f"no Ray dashboard answers at {where} within 1 s"):
            _ray_jobs.run_job("waiting_job", [str(tmp_path)], name="none", dashboard=where, deadline_s=60)
    assert time.monotonic() - started < 10


def test_a_head_that_dies_is_noticed_long_before_the_deadline(launch, head, tmp_path, monkeypatch):
    monkeypatch.setattr(_ray_jobs, "SILENCE_S", 2)
    threading.Thread(target=lambda: (wait_for_start(tmp_path), head.stop())).start()
    with pytest.raises(EngineError, match=r"its Ray head has not answered for \d+ s .* joins the job"):
        launch(deadline_s=600)

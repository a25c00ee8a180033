"""A real Prefect server as a process that can be killed, and small flows to run against it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
START_TIMEOUT_S = 180


@dataclass
class Server:
    """A Prefect server with a database of its own.

    Attributes:
        home: its folder.
        port: where it listens.
    """

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """For its clients: no settings of the user's."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RAY_"))}
        return {
            **kept,
            "PREFECT_HOME": str(self.home),
            "PREFECT_API_URL": f"http://127.0.0.1:{self.port}/api",
            "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'tests' / 'support'}",
            "COLUMNS": "140",
        }

    def start(self) -> None:
        """Start it, or start it again, and wait until it answers."""
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = self.spawn(command, "server")
        self.wait(self._answers, START_TIMEOUT_S)

    def kill(self) -> None:
        """End it as by `kill -9`, with every process it started."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

    def spawn(self, command: list[str], name: str) -> subprocess.Popen[bytes]:
        """A client in a process group of its own, its output in `home/name.log`."""
        with (self.home / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self, condition: Callable[[], bool], timeout_s: float) -> float:
        """Seconds until the condition held."""
        started = time.monotonic()
        while not condition():
            assert time.monotonic() - started < timeout_s, f"nothing after {timeout_s} s; logs lie in {self.home}"
            time.sleep(0.5)
        return time.monotonic() - started

    def runs(self) -> list[dict]:
        """Every flow run it knows."""
        return self._post("flow_runs/filter", {})

    def set_state(self, run: str, kind: str) -> None:
        """Set a run's state, as the button in the UI does."""
        self._post(f"flow_runs/{run}/set_state", {"state": {"type": kind}})

    def create_run(self, flow: str, kind: str) -> str:
        """Make a run that nobody works on; returns its id."""
        return self._post("flow_runs/", {"flow_id": flow, "state": {"type": kind}})["id"]

    def artifacts(self, run: str) -> list[dict]:
        """What a run shows on its page."""
        return self._post("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})

    def _post(self, path: str, body: dict) -> Any:
        url, headers = f"http://127.0.0.1:{self.port}/api/{path}", {"Content-Type": "application/json"}
        with urllib.request.urlopen(
            urllib.request.Request(url, json.dumps(body).encode(), headers), timeout=20
        ) as answer:
            return json.load(answer)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/health", timeout=2):
                return True
        except (urllib.error.URLError, OSError):
            return False

"""`serve`: a Prefect server, a worker and a Ray head on this machine, with the deployments registered."""

import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from flows._child import HOME, LOGS, Child
from flows._floors import refuse_old_versions
from flows._guard import login, login_file, refuse_unguarded_dashboard, refuse_unguarded_server
from sweetspot.configfile import load_config
from sweetspot.errors import ConfigError, EngineError
from tasks._listening import refuse_open_ports
from tasks._ray_head import HOST, RayHead, is_listening, ray_head

console = Console(highlight=False)
POOL = "local"
PRIVATE = 0o077
"""umask of the Prefect server: its database holds parameters and logs of every run."""
START_TIMEOUT_S = 180
WATCH_S = 1
RESTARTS, RESTARTS_WITHIN_S = 3, 3600
"""How often the Prefect server is started again before all is stopped."""


def serve_until_stopped(configs: Sequence[Path], *, port: int) -> None:
    """Start everything, print where the UI is, and stop everything again on Ctrl-C, SIGTERM or a closed terminal."""
    under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    for sign in (signal.SIGINT, signal.SIGTERM, *([] if under_nohup else [signal.SIGHUP])):
        signal.signal(sign, signal.default_int_handler)
    with suppress(KeyboardInterrupt), serving(configs, port=port) as served:
        console.print(f"UI         {served.address}", soft_wrap=True)
        console.print(f"log in     with the text in {login_file()}" if _own_login() else "log in     as you set it")
        console.print("stop       Ctrl-C")
        try:
            while True:
                time.sleep(WATCH_S)
                served.watch()
        finally:
            console.print("stopping")


@dataclass(frozen=True)
class Served:
    """What runs while we serve.

    Attributes:
        address: of the UI.
        login: of the Prefect server.
        head: of Ray.
        server: of Prefect.
        worker: that starts runs.
        restarts: when the server was started again, by the monotonic clock.
    """

    address: str
    login: str
    head: RayHead
    server: Child
    worker: Child
    restarts: list[float] = field(default_factory=list[float])

    def watch(self) -> None:
        """Start the Prefect server or the Ray head again, where runs know it, if it has ended.

        Raises:
            EngineError: the worker has ended, without which no run could start; the server ends over and over; or a
                part does not come back as it was.
        """
        if self.worker.has_ended():
            raise EngineError(f"the worker has ended, so all was stopped; its log lies in {LOGS}/")
        if self.server.has_ended():
            self._start_server_again()
        if self.head.has_ended():
            console.print(
                "ended      Ray head; starting it again. A run that was using it goes on when it is started again"
            )
            self.head.stop()
            self.head.start()
            refuse_unguarded_dashboard(f"http://{self.head.dashboard}")
            refuse_open_ports("serve", os.getpid())
            console.print(f"started    Ray head, dashboard http://{self.head.dashboard}")

    def _start_server_again(self) -> None:
        """Runs that are under way go on meanwhile: they need it for their page only."""
        now = time.monotonic()
        if sum(now - when < RESTARTS_WITHIN_S for when in self.restarts) >= RESTARTS:
            raise EngineError(
                f"the Prefect server has ended {RESTARTS + 1} times within {RESTARTS_WITHIN_S // 60} minutes, so all "
                f"was stopped; its log lies in {LOGS}/. Committed chunks are safe"
            )
        self.restarts.append(now)
        console.print("ended      Prefect server; starting it again. Runs go on meanwhile")
        self.server.stop()
        self.server.start()
        _wait_for(f"{self.address}/api/health", self.server)
        refuse_unguarded_server(self.address, self.login)
        refuse_open_ports("serve", os.getpid())
        console.print("started    Prefect server; it asks for a login")


@contextmanager
def serving(configs: Sequence[Path], *, port: int) -> Iterator[Served]:
    """Server, Ray head and worker as child processes; yields once runs can start.

    Raises:
        ConfigError: the port is taken, or an installed version has a known hole.
        EngineError: a part did not come up, or answers whom it should not.
    """
    refuse_old_versions()
    if is_listening(port):
        raise ConfigError(f"port {port} on {HOST} is in use; stop what listens there, or choose another with --port")
    environment = _environment(port)
    prefect = [sys.executable, "-m", "prefect"]
    address, user = f"http://{HOST}:{port}", environment["PREFECT_API_AUTH_STRING"]
    with ExitStack() as parts:
        start = [*prefect, "server", "start", "--host", HOST, "--port", str(port)]
        server = parts.enter_context(Child("Prefect server", start, environment, umask=PRIVATE))
        _wait_for(f"{address}/api/health", server)
        refuse_unguarded_server(address, user)
        console.print("started    Prefect server; it asks for a login")
        head = parts.enter_context(ray_head(cpus=os.cpu_count() or 1, environment=environment, folder=HOME))
        environment["SWEETSPOT_RAY_ADDRESS"] = head.address
        refuse_unguarded_dashboard(f"http://{head.dashboard}")
        console.print(f"started    Ray head, dashboard http://{head.dashboard}")
        _register(configs, environment)
        start = [*prefect, "worker", "start", "--pool", POOL, "--type", "process"]
        worker = parts.enter_context(Child("worker", start, environment))
        console.print("started    worker")
        refuse_open_ports("serve", os.getpid())
        yield Served(address, user, head, server, worker)


def _environment(port: int) -> dict[str, str]:
    api, user = f"http://{HOST}:{port}/api", login()
    return {
        **os.environ,
        "PREFECT_API_URL": api,
        "PREFECT_SERVER_UI_API_URL": api,
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_SERVER_API_AUTH_STRING": user,
        "PREFECT_API_AUTH_STRING": user,
        # A page of another site in the same browser may neither read this server nor start runs on it.
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": f"http://{HOST}:{port}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": os.environ.get("RAY_AUTH_TOKEN", secrets.token_hex(32)),
        "SWEETSPOT_HOME": str(HOME),
    }


def _own_login() -> bool:
    return "PREFECT_SERVER_API_AUTH_STRING" not in os.environ


def _register(configs: Sequence[Path], environment: dict[str, str]) -> None:
    """Create the work pool and deploy `deployments/prefect.yaml`, plus one deployment per configuration."""
    _prefect(["work-pool", "create", POOL, "--type", "process", "--overwrite"], environment)
    declared: dict[str, Any] = yaml.safe_load((HOME / "deployments" / "prefect.yaml").read_text())
    declared.pop("definitions", None)
    declared["deployments"] += [_deployment(path) for path in configs]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(declared, file)
        file.flush()
        _prefect(["deploy", "--all", "--prefect-file", file.name], environment)
    _python(["-m", "flows.automations"], environment)
    for deployment in declared["deployments"]:
        console.print(f"deployed   {deployment['entrypoint'].rsplit('.', 1)[-1]}/{deployment['name']}")


def _deployment(path: Path) -> dict[str, Any]:
    flow, settings = load_config(path)
    return {
        "name": path.stem.replace("_", "-"),
        "entrypoint": f"flows.{flow}.{flow}",
        "parameters": {"config": settings.model_dump(mode="json")},
        "work_pool": {"name": POOL},
    }


def _prefect(arguments: list[str], environment: dict[str, str]) -> None:
    _python(["-m", "prefect", "--no-prompt", *arguments], environment)


def _python(arguments: list[str], environment: dict[str, str]) -> None:
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=environment, cwd=HOME, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EngineError(f"{' '.join(arguments[1:4])} failed:\n{(done.stdout + done.stderr)[-2000:]}")


def _wait_for(url: str, part: Child) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and not part.has_ended():
        try:
            with urllib.request.urlopen(url, timeout=5):  # nosec B310: our own server on loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise EngineError(f"the {part.name} did not come up within {START_TIMEOUT_S} s; its log lies in {LOGS}/")

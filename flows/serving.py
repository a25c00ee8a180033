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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from flows._floors import refuse_old_versions
from flows._guard import login, login_file, refuse_unguarded_dashboard, refuse_unguarded_server
from sweetspot.configfile import load_config
from sweetspot.errors import ConfigError, EngineError
from tasks._listening import refuse_open_ports
from tasks._processes import has_ended
from tasks._ray_head import HOST, RayHead, is_listening, ray_head

console = Console(highlight=False)
HOME = Path(__file__).resolve().parent.parent
POOL = "local"
PRIVATE = 0o077
"""umask of the Prefect server: its database holds parameters and logs of every run."""
START_TIMEOUT_S = 180
STOP_TIMEOUT_S = 20
WATCH_S = 1
LOGS = Path("out/logs")


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
        head: of Ray.
        children: name to process of the others.
    """

    address: str
    head: RayHead
    children: Mapping[str, subprocess.Popen[bytes]]

    def watch(self) -> None:
        """Start the Ray head again, where runs know it, if it has ended.

        Raises:
            EngineError: another part has ended, without which no run could start or be seen; or the head does not come
                back as it was.
        """
        for name, process in self.children.items():
            if has_ended(process):
                raise EngineError(f"the {name} has ended, so all was stopped; its log lies in {LOGS}/")
        if self.head.has_ended():
            console.print(
                "ended      Ray head; starting it again. A run that was using it goes on when it is started again"
            )
            self.head.stop()
            self.head.start()
            refuse_unguarded_dashboard(f"http://{self.head.dashboard}")
            refuse_open_ports("serve", os.getpid())
            console.print(f"started    Ray head, dashboard http://{self.head.dashboard}")


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
    with ExitStack() as parts:
        server = [*prefect, "server", "start", "--host", HOST, "--port", str(port)]
        children = {"Prefect server": parts.enter_context(_child("Prefect server", server, environment, umask=PRIVATE))}
        _wait_for(f"http://{HOST}:{port}/api/health", "Prefect server")
        refuse_unguarded_server(f"http://{HOST}:{port}", environment["PREFECT_API_AUTH_STRING"])
        console.print("started    Prefect server; it asks for a login")
        head = parts.enter_context(ray_head(cpus=os.cpu_count() or 1, environment=environment, folder=HOME))
        environment["SWEETSPOT_RAY_ADDRESS"] = head.address
        refuse_unguarded_dashboard(f"http://{head.dashboard}")
        console.print(f"started    Ray head, dashboard http://{head.dashboard}")
        _register(configs, environment)
        worker = [*prefect, "worker", "start", "--pool", POOL, "--type", "process"]
        children["worker"] = parts.enter_context(_child("worker", worker, environment))
        console.print("started    worker")
        refuse_open_ports("serve", os.getpid())
        yield Served(f"http://{HOST}:{port}", head, children)


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
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "json",
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


@contextmanager
def _child(
    name: str, command: list[str], environment: dict[str, str], *, umask: int = -1
) -> Iterator[subprocess.Popen[bytes]]:
    """A child process with its output in a log file, stopped with all its own children at the end."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name.lower().replace(' ', '-')}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=HOME,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            umask=umask,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process group we started: politely first, then by force whoever is left of it."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while not has_ended(process) and time.monotonic() < deadline:
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str, what: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):  # nosec B310: our own server on loopback
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise EngineError(f"{what} did not come up within {START_TIMEOUT_S} s; its log lies in {LOGS}/")

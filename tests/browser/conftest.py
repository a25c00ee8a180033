"""The real `sweetspot serve` in a process of its own, and a real browser in front of it."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

START_TIMEOUT_S = 400
STOP_TIMEOUT_S = 120
PAGE_TIMEOUT_MS = 90_000
WINDOW = {"width": 1280, "height": 1000}
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Process:
    """One line of the process table."""

    parent: int
    started: int
    command: str
    marked: bool


def process_table(mark: str) -> dict[int, Process]:
    """All processes we may look at; `marked` are those with this line in their environment."""
    table = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            marked = mark.encode() in (entry / "environ").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile, or belongs to somebody else
            continue
        if fields[0] != "Z":
            table[int(entry.name)] = Process(int(fields[1]), int(fields[19]), command, marked)
    return table


@dataclass
class Served:
    """A running `sweetspot serve`; what it starts inherits its Prefect home, by which we know it."""

    root: Path
    folder: Path
    port: int
    process: subprocess.Popen = field(init=False)
    seen: dict[int, int] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Where the UI should be."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def mark(self) -> str:
        """A line in the environment of every process of ours and of no other."""
        return f"PREFECT_HOME={self.folder / 'prefect'}"

    @property
    def login(self) -> str:
        """What a person types into the login field."""
        return (self.folder / "prefect" / "sweetspot-login").read_text()

    @property
    def said(self) -> str:
        """What the command has printed so far."""
        return (self.folder / "serve.log").read_text()

    def start(self) -> "Served":
        """Start the command; nothing of the user's Prefect or Ray reaches it."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RAY_"))}
        name, home = self.mark.split("=", 1)
        with (self.folder / "serve.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "serve", "--port", str(self.port)],
                cwd=self.folder,
                env={**kept, name: home, "COLUMNS": "140", "PYTHONPATH": str(self.root), "PYTHONUNBUFFERED": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # not ignored, as under nohup
            )
        return self

    def wait_for(self, text: str) -> None:
        """Wait until the command has printed something."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while text not in self.said:
            assert self.process.poll() is None, f"serve ended with {self.process.returncode}:\n{self.said}"
            assert time.monotonic() < deadline, f"no {text!r} within {START_TIMEOUT_S} s:\n{self.said}"
            time.sleep(0.2)

    def stop(self, sign: int) -> int:
        """Stop it as a user would; returns its exit code."""
        self.process.send_signal(sign)
        return self.process.wait(STOP_TIMEOUT_S)

    def alive(self) -> dict[int, str]:
        """Command lines of all living processes of ours, by process id.

        Those that carry our mark, their descendants (some overwrite their environment with a title), and
        whoever was one of them at an earlier call.
        """
        table = process_table(self.mark)
        ours = {pid for pid, one in table.items() if one.marked or self.seen.get(pid) == one.started}
        while more := {pid for pid, one in table.items() if one.parent in ours} - ours:
            ours |= more
        self.seen |= {pid: table[pid].started for pid in ours}
        return {pid: table[pid].command for pid in ours}

    def end(self) -> None:
        """Leave nothing behind, whatever a test did."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def make_served(root, tmp_path_factory) -> Iterator:
    """Makes commands, each with a free port and a folder of its own, and ends them."""
    made: list[Served] = []

    def make(name: str) -> Served:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            made.append(Served(root, tmp_path_factory.mktemp(name), probe.getsockname()[1]))
        return made[-1].start()

    yield make
    for served in made:
        served.end()


@pytest.fixture(scope="module")
def served(make_served) -> Served:
    """The command, up and ready to run flows."""
    served = make_served("served")
    served.wait_for("stop       Ctrl-C")
    return served


@pytest.fixture(scope="module")
def requests_made() -> list[str]:
    """Every address the browser has asked for."""
    return []


@pytest.fixture(scope="module")
def page(requests_made, served) -> Iterator:
    """A page in headless Chromium, logged in as a person would."""
    chromium = shutil.which("chromium")
    if not chromium:
        pytest.skip("no chromium on this machine; `apt-get install chromium` (or `make system`) brings it")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = browser.new_context(viewport=WINDOW)
        context.on("request", lambda request: requests_made.append(request.url))
        page = context.new_page()
        page.on("websocket", lambda opened: requests_made.append(opened.url))
        page.set_default_timeout(PAGE_TIMEOUT_MS)
        page.goto(f"{served.address}/deployments")
        page.locator("input[type=password]").fill(served.login)
        page.keyboard.press("Enter")
        page.wait_for_url(f"{served.address}/deployments")
        yield page
        browser.close()

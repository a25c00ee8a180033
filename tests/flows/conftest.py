"""Runs of the real command, in a process of its own, with a Prefect home of its own."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

TIMEOUT_S = 540


@dataclass
class Command:
    """The installed command, run from the checkout with its own Prefect database."""

    root: Path
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """No server of the user's, no settings of the user's."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RAY_"))}
        return {**kept, "PREFECT_HOME": str(self.folder / "prefect"), "COLUMNS": "140"}

    def line(self, *arguments: str) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "flows.cli", *arguments]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end, with these variables besides."""
        return subprocess.run(
            self.line(*arguments),
            cwd=self.root,
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )

    def write(self, name: str, settings: dict) -> str:
        """Write a configuration."""
        path = self.folder / name
        path.write_text(yaml.safe_dump(settings))
        return str(path)


@pytest.fixture(scope="module")
def command(root, tmp_path_factory) -> Command:
    """A command with a fresh Prefect home."""
    return Command(root, tmp_path_factory.mktemp("command"))

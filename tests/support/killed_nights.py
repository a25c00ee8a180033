"""Nights in processes of their own, to be killed, started again and compared."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweetspot.delivery.manifest import parse_manifest
from tasks._policies import find_policy
from tasks._store import Store
from tasks._versions import differences, open_version

KILLED = -9


@dataclass
class Nights:
    """Runs nights one after another, each in a process of its own."""

    process: subprocess.Popen[str]
    folder: Path

    def run(self, name: str, *, crash: str | None = None, train: bool = False, **more) -> int:
        """Run the night of a folder; returns its exit status. `more`: kill_after_s, way."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        wanted = {"folder": str(folder), "crash": crash, "train": train, **more}
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def outcome(self, name: str) -> dict:
        """What a reader finds: the manifest but for its nonce and the hashes of documents (they name the folder and
        seconds), and the promoted policy.
        """
        store = Store(f"file://{self.folder / name}/store")
        version = open_version(store.uri, "tiny")
        assert not list(differences(version))
        manifest = parse_manifest(store.read(f"{version.root}/manifest.json"))
        for book in manifest.books:
            book.balance()
        pointer = store.read_if_there("tiny/policies/promoted.json")
        policy = None
        if pointer is not None:
            promoted = json.loads(pointer)["policy"]
            policy = promoted["revision"]
            assert find_policy(store.uri, promoted["path"]).revision == policy
        files = {entry.path: entry.sha256 if entry.path.endswith(".parquet") else "there" for entry in manifest.files}
        return {**manifest.to_json(), "nonce": None, "files": files, "policy": policy}

    def worked(self, name: str) -> Counter[str]:
        """How often each chunk was worked."""
        return Counter((self.folder / name / "worked.txt").read_text().splitlines())


@contextmanager
def night_runner(root: Path, folder: Path) -> Iterator[Nights]:
    """Everything imported once; each night is a fork of it."""
    support = root / "tests" / "support"
    environment = {**os.environ, "PYTHONPATH": f"{support}:{root}", "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        [sys.executable, str(support / "deterministic_night.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env=environment,
    ) as process:
        yield Nights(process, folder)
        process.stdin.close()

"""A night is killed at every seam, first, middle and last pass, and started again: nothing is lost or doubled."""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweetspot.delivery.manifest import parse_manifest
from tasks._policies import find_policy
from tasks._seams import SEAMS
from tasks._store import Store
from tasks._versions import differences, open_version

OF_TRAINING = {"request_committed", "trained", "policy_file_committed", "policy_committed", "promoted"}
KILLED = -9


@dataclass
class Nights:
    """Runs nights one after another, each in a process of its own."""

    process: subprocess.Popen[str]
    folder: Path

    def run(self, name: str, *, crash: str | None = None, train: bool = False) -> int:
        """Run the night of a folder; returns its exit status."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        self.process.stdin.write(json.dumps({"folder": str(folder), "crash": crash, "train": train}) + "\n")
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


@pytest.fixture(scope="module")
def nights(root, tmp_path_factory):
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
        yield Nights(process, tmp_path_factory.mktemp("nights"))
        process.stdin.close()


@pytest.fixture(scope="module")
def undisturbed(nights):
    """Outcomes of nights that nobody killed, without and with training."""
    for name, train in (("curated", False), ("trained", True)):
        assert nights.run(name, train=train) == 0, (nights.folder / name / "log.txt").read_text()[-2000:]
    return {False: nights.outcome("curated"), True: nights.outcome("trained")}


def passes_of(nights, seam: str, *, train: bool) -> int:
    """How often a night passes a seam: found by killing it ever later."""
    count = 1
    while nights.run(f"count-{seam}-{count}", crash=f"{seam}:{count}", train=train) == KILLED:
        count *= 2
    low, high = count // 2, count
    while high - low > 1:
        middle = (low + high) // 2
        killed = nights.run(f"count-{seam}-{middle}", crash=f"{seam}:{middle}", train=train) == KILLED
        low, high = (middle, high) if killed else (low, middle)
    return low


def kill_and_start_again(nights, undisturbed, seam: str, at: int) -> int:
    """Kill a night at a pass over a seam and start it again; returns how many chunks were worked twice."""
    name, train = f"{seam}-{at}", seam in OF_TRAINING
    assert nights.run(name, crash=f"{seam}:{at}", train=train) == KILLED, f"the night never passed {seam}:{at}"
    assert nights.run(name, train=train) == 0, (nights.folder / name / "log.txt").read_text()[-2000:]
    assert nights.outcome(name) == undisturbed[train]
    redone = sum(times - 1 for times in nights.worked(name).values())
    assert redone <= 1, f"{redone} chunks were worked again; one was in flight"
    return redone


@pytest.mark.parametrize("seam", ["file_written", "receipt_committed", "date_claimed", "manifest_committed"])
def test_a_night_killed_at_its_first_pass_goes_on(nights, undisturbed, seam):
    kill_and_start_again(nights, undisturbed, seam, 1)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seam", sorted(SEAMS))
def test_a_night_killed_at_its_first_middle_and_last_pass_goes_on(nights, undisturbed, seam, figure):
    last = passes_of(nights, seam, train=seam in OF_TRAINING)
    assert last >= 1, f"no night ever passes {seam}"
    places = sorted({1, (last + 1) // 2, last})
    redone = [kill_and_start_again(nights, undisturbed, seam, at) for at in places]
    figure(
        "A night is killed (SIGKILL) at a seam and started again: 25 chunks, one in flight",
        seam=f"`{seam}`",
        passes=last,
        **{
            "killed at": ", ".join(map(str, places)),
            "same version and policy afterwards": f"{len(places)} of {len(places)}",
            "chunks worked again": max(redone),
        },
    )

"""A training is killed (SIGKILL) at a step and in the middle of every file it saves, and started again."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

KILLED = -9
STEPS, EVERY = 6, 2


@dataclass
class Trainings:
    """Trainings of 6 steps, each in a process of its own, forked from one that has imported everything."""

    process: subprocess.Popen[str]
    folder: Path

    def run(self, name: str, *, step: int | None = None, file: int | None = None, every: int = EVERY) -> int:
        wanted = {"name": name, "step": step, "file": file, "every": every}
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(wanted) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def steps(self, name: str) -> list[tuple[int, float]]:
        """Every step done, by all processes, with its loss."""
        lines = (self.folder / name / "steps.txt").read_text().splitlines()
        return [(int(step), float(loss)) for step, loss in map(str.split, lines)]

    def weights(self, name: str):
        return AutoModelForCausalLM.from_pretrained(self.folder / name / "policy").state_dict()


@pytest.fixture(scope="module")
def trainings(root, policy_dir, make_rows, tmp_path_factory) -> Iterator[Trainings]:
    folder = tmp_path_factory.mktemp("killed")
    shutil.copytree(policy_dir, folder / "policy")
    (folder / "rows.json").write_text(json.dumps(make_rows(20)))
    with subprocess.Popen(
        [sys.executable, str(root / "tests" / "support" / "killed_training.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
    ) as process:
        yield Trainings(process, folder)
        process.communicate()


@pytest.fixture(scope="module")
def whole(trainings):
    """The loss of every step, the weights and the files saved by the training that nobody killed."""
    assert trainings.run("whole") == 0, (trainings.folder / "log.txt").read_text()[-2000:]
    files = json.loads((trainings.folder / "whole" / "files.json").read_text())
    assert [step for step, _ in trainings.steps("whole")] == list(range(1, STEPS + 1))
    return dict(trainings.steps("whole")), trainings.weights("whole"), files


def goes_on_as_if_nothing_had_happened(trainings, whole, name: str, *, every: int = EVERY) -> None:
    """Start a killed training again: the same loss at every step, the same weights, at most `every` steps redone."""
    losses, weights, _ = whole
    assert trainings.run(name, every=every) == 0, (trainings.folder / "log.txt").read_text()[-2000:]
    done = trainings.steps(name)
    assert max(abs(loss - losses[step]) for step, loss in done) == 0.0
    assert {step for step, _ in done} == set(losses)
    assert len(done) - STEPS <= every
    for part, weight in trainings.weights(name).items():
        assert torch.equal(weight, weights[part])


@pytest.mark.parametrize(
    ("step", "every", "redone"), [(1, 2, 1), (4, 2, 2), (5, 2, 1), (5, 1, 1), (6, 2, 2), (5, 0, 5)]
)
def test_a_training_killed_at_a_step_goes_on(trainings, whole, step, every, redone):
    name = f"step-{step}-{every}"
    assert trainings.run(name, step=step, every=every) == KILLED
    goes_on_as_if_nothing_had_happened(trainings, whole, name, every=every or STEPS)
    assert len(trainings.steps(name)) == STEPS + redone


def test_a_training_killed_in_the_middle_of_any_file_of_a_checkpoint_goes_on(trainings, whole):
    files = whole[2]
    second = [number for number, path in enumerate(files, 1) if path.startswith("checkpoint-4/")]
    saved = {Path(files[number - 1]).name for number in second}
    on_disk = {path.name for path in (trainings.folder / "whole" / "checkpoints" / "checkpoint-4").iterdir()}
    assert saved == on_disk - {"sweetspot.json"} | {"sweetspot.json.partial"}
    for number in second:
        name = f"file-{number}"
        assert trainings.run(name, file=number) == KILLED, files[number - 1]
        goes_on_as_if_nothing_had_happened(trainings, whole, name)
        assert [step for step, _ in trainings.steps(name)] == [1, 2, 3, 4, 3, 4, 5, 6], files[number - 1]


def test_a_training_killed_again_and_again_still_ends(trainings, whole):
    for step in (2, 3, 4, 5):
        assert trainings.run("again", step=step, every=1) == KILLED
    assert trainings.run("again", every=1) == 0
    assert [step for step, _ in trainings.steps("again")] == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6]
    assert max(abs(loss - whole[0][step]) for step, loss in trainings.steps("again")) == 0.0

"""Checkpoints that can be trusted: only a sealed one is continued from, and only by the run that wrote it.

`transformers.Trainer` writes a checkpoint file by file into its final folder, so a folder proves nothing. The seal is
written after everything else and names the run: pairs, settings and start policy.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sweetspot import ids
from sweetspot.config import Training
from sweetspot.errors import ContractError
from sweetspot.training.data import TokenPair

SEAL = "sweetspot.json"
# The Trainer deletes the older one before the newer one is sealed; with two kept, a sealed one is always there.
KEPT_CHECKPOINTS = 2


def run_fingerprint(pairs: Sequence[TokenPair], training: Training, policy_revision: str) -> str:
    """Identity of a training run: its pairs in order, its settings and its start policy."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(repr(pair).encode())
    return ids.fingerprint([digest.hexdigest(), training.model_dump(mode="json"), policy_revision])


class CheckpointSeal(TrainerCallback):
    """Seals each checkpoint once the Trainer has written all of it."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self._directory = directory
        self._seal = ids.canonical_json({"run": fingerprint})

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Called by the Trainer after a checkpoint's last file."""
        (self._directory / f"checkpoint-{state.global_step}" / SEAL).write_bytes(self._seal)


def starting_checkpoint(directory: Path, fingerprint: str, *, resume: bool) -> Path | None:
    """The newest sealed checkpoint to continue from, or None to start anew.

    Unsealed checkpoints, which a crash left behind, are removed; without `resume`, all are.

    Raises:
        ContractError: The checkpoints belong to a run on other pairs, settings or start policy.
    """
    if not resume:
        shutil.rmtree(directory, ignore_errors=True)
    sealed = []
    for folder in sorted(directory.glob("checkpoint-*"), key=checkpoint_step):
        if (folder / SEAL).is_file():
            sealed.append(folder)
        else:
            shutil.rmtree(folder)
    if not sealed:
        return None
    found = json.loads((sealed[-1] / SEAL).read_bytes())["run"]
    if found != fingerprint:
        raise ContractError(
            f"resume: {sealed[-1]} belongs to run {found}, this one is {fingerprint}: pairs, settings or start policy "
            "differ. Use another output_dir, or resume=False, which starts anew."
        )
    return sealed[-1]


def checkpoint_step(checkpoint: Path) -> int:
    """Optimiser steps done at a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoint_losses(checkpoint: Path) -> tuple[float, ...]:
    """The loss of every step up to a checkpoint."""
    return logged_losses(TrainerState.load_from_json(str(checkpoint / "trainer_state.json")))


def logged_losses(state: TrainerState) -> tuple[float, ...]:
    """The loss of every step in a Trainer's history."""
    return tuple(float(entry["loss"]) for entry in state.log_history if "loss" in entry)

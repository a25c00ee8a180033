"""Checkpoints that can be trusted: only a sealed one is continued from, and only by the run that wrote it.

`transformers.Trainer` writes a checkpoint file by file into its final folder, so a folder proves nothing. The seal is
written after everything else is on disk. It names every file with its hash, the run (pairs, settings and start
policy), and how many processes shared its batches.
"""

import hashlib
import json
import os
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
    """Identity of a training run: its pairs in order, its settings (but how often to save) and its start policy."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(repr(pair).encode())
    settings = training.model_dump(mode="json", exclude={"checkpoint_steps"})
    return ids.fingerprint([digest.hexdigest(), settings, policy_revision])


class CheckpointSeal(TrainerCallback):
    """Seals each checkpoint once the Trainer has written all of it."""

    def __init__(self, directory: Path, fingerprint: str) -> None:
        self._directory = directory
        self._fingerprint = fingerprint

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Called by the Trainer after a checkpoint's last file."""
        folder = self._directory / f"checkpoint-{state.global_step}"
        files = {path.name: _synced_sha256(path) for path in sorted(folder.iterdir()) if path.name != SEAL}
        seal = {"run": self._fingerprint, "processes": args.world_size, "files": files}
        partial = folder / f"{SEAL}.partial"
        partial.write_bytes(ids.canonical_json(seal))
        _synced_sha256(partial)
        partial.rename(folder / SEAL)


def _synced_sha256(path: Path) -> str:
    """Hash of a file that is on disk afterwards, even if the machine loses power."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def starting_checkpoint(directory: Path, fingerprint: str, *, resume: bool) -> Path | None:
    """The newest complete checkpoint to continue from, or None to start anew.

    Incomplete checkpoints, which a crash left behind, are removed; without `resume`, all are.

    Raises:
        ContractError: The checkpoints belong to a run on other pairs, settings or start policy, or one of another
            number of processes, which saw the pairs in another order.
    """
    if not resume:
        shutil.rmtree(directory, ignore_errors=True)
    complete = []
    for folder in sorted(directory.glob("checkpoint-*"), key=checkpoint_step):
        if (seal := _seal_of(folder)) is not None:
            complete.append((folder, seal))
        else:
            shutil.rmtree(folder)
    if not complete:
        return None
    newest, seal = complete[-1]
    if seal["run"] != fingerprint:
        raise ContractError(
            f"resume: {newest} belongs to run {seal['run']}, this one is {fingerprint}: pairs, settings or start "
            "policy differ. Use another output_dir, or resume=False, which starts anew."
        )
    _refuse_other_processes(newest, seal["processes"])
    return newest


def _seal_of(folder: Path) -> dict[str, Any] | None:
    """What the seal says if every file is as it was sealed, else None."""
    try:
        seal = json.loads((folder / SEAL).read_bytes())
        whole = all(_synced_sha256(folder / name) == sha256 for name, sha256 in seal["files"].items())
    except (OSError, ValueError, KeyError):
        return None
    return seal if whole else None


def _refuse_other_processes(checkpoint: Path, processes: int) -> None:
    ours = int(os.environ.get("WORLD_SIZE", "1"))
    if ours != processes:
        raise ContractError(
            f"resume: {checkpoint} is of a training by {processes} process{'es' * (processes != 1)}, this one has "
            f"{ours} (WORLD_SIZE); the rest of the pairs would come in another order. Continue with {processes}, or "
            "use resume=False, which starts anew."
        )


def checkpoint_step(checkpoint: Path) -> int:
    """Optimiser steps done at a checkpoint."""
    return int(checkpoint.name.rpartition("-")[2])


def checkpoint_losses(checkpoint: Path) -> tuple[float, ...]:
    """The loss of every step up to a checkpoint."""
    return logged_losses(TrainerState.load_from_json(str(checkpoint / "trainer_state.json")))


def logged_losses(state: TrainerState) -> tuple[float, ...]:
    """The loss of every step in a Trainer's history."""
    return tuple(float(entry["loss"]) for entry in state.log_history if "loss" in entry)

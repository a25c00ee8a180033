"""Preference training as a `transformers.Trainer`, through its public extension points only.

Departures from a stock Trainer: `compute_loss` is ours, batches come from `PairCollator`, every step's loss is kept,
training stops at the first loss that is not finite, and nothing is printed or reported.
"""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from sweetspot.config import Training
from sweetspot.errors import EngineError
from sweetspot.training.checkpoints import KEPT_CHECKPOINTS
from sweetspot.training.logprobs import response_logps
from sweetspot.training.objective import assemble, mean_loss

STEPS_PER_WARMUP_STEP = 10
SEED_LIMIT = 2**32  # numpy's
MAX_GRADIENT_NORM = 1.0
OnStep = Callable[[int, int, float], None]
"""(step from 1, total steps, loss) -> None."""


def total_steps(pairs: int, training: Training) -> int:
    """Optimiser steps of a run: epochs times the batches of one epoch (the last may be short), rounded up."""
    batches = -(-pairs // training.batch_size)
    # Epochs are often steps divided by batches; float error must not turn 24.000000000000004 into 25 steps.
    return max(1, math.ceil(training.epochs * batches - 1e-6))


def warmup_steps(steps: int) -> int:
    """A tenth of the steps, rounded up; none for a single step, which would otherwise have a learning rate of 0."""
    return -(-steps // STEPS_PER_WARMUP_STEP) if steps > 1 else 0


def training_arguments(training: Training, directory: Path, *, steps: int, use_cache: bool) -> TrainingArguments:
    """AdamW without weight decay, linear warm-up over the first tenth, then half a cosine down to 0.

    The first step's learning rate is 0 and the peak is reached after the warm-up, as transformers' schedules have it.

    Args:
        training: Batch size, learning rate, seed, steps between checkpoints.
        directory: Gets the checkpoints.
        steps: Of the whole run; fixes the schedule.
        use_cache: What the policy's configuration says. The Trainer writes this into the policy; its own default
            would leave whoever samples from the trained policy without a key-value cache.

    Raises:
        EngineError: Several GPUs are visible, which the Trainer would spread one batch over.
    """
    arguments = TrainingArguments(
        output_dir=str(directory),
        per_device_train_batch_size=training.batch_size,
        max_steps=steps,
        learning_rate=training.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=warmup_steps(steps),
        optim="adamw_torch",
        weight_decay=0.0,
        max_grad_norm=MAX_GRADIENT_NORM,
        seed=training.seed % SEED_LIMIT,
        use_cpu=training_device().type == "cpu",
        bf16=uses_bfloat16(),
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=training.checkpoint_steps or steps,
        save_total_limit=KEPT_CHECKPOINTS,
        remove_unused_columns=False,
        dataloader_pin_memory=torch.cuda.is_available(),
        use_cache=use_cache,
        disable_tqdm=True,
        report_to=[],
    )
    if arguments.n_gpu > 1:
        raise EngineError(
            f"training: {arguments.n_gpu} GPUs are visible, expected one. Set CUDA_VISIBLE_DEVICES, or give the "
            "training job one GPU of the cluster."
        )
    return arguments


def training_device() -> torch.device:
    """The GPU where there is one, else the CPU: the Trainer's own choice."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def uses_bfloat16() -> bool:
    """Whether forward passes run under bfloat16 autocast: on GPUs that have it; weights stay float32."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported()


class PreferenceTrainer(Trainer):
    """A Trainer whose loss is `objective.mean_loss` on batches of `PairCollator`."""

    def __init__(
        self, policy: Any, training: Training, *, rated_fraction: float, on_step: OnStep | None, **options: Any
    ) -> None:
        super().__init__(model=policy, **options)
        self._training = training
        self._rated_fraction = rated_fraction
        # A Trainer told to show no progress bar prints its logs instead.
        self.remove_callback(PrinterCallback)
        self.add_callback(_StepWatch(on_step))

    def compute_loss(
        self,
        model: Any,
        inputs: Mapping[str, Tensor],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Mean loss of a batch of pairs. See `Trainer.compute_loss`."""
        batch = assemble(response_logps(model, inputs), inputs)
        loss = mean_loss(batch, self._training, rated_fraction=self._rated_fraction)
        return (loss, {}) if return_outputs else loss


class _StepWatch(TrainerCallback):
    """Reports every step; a loss that is not finite ends training before it is checkpointed."""

    def __init__(self, on_step: OnStep | None) -> None:
        self._on_step = on_step

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Called by the Trainer after every step, before it saves."""
        if logs is None or "loss" not in logs:
            return
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            control.should_training_stop = True
            control.should_save = False
        if self._on_step is not None:
            self._on_step(state.global_step, state.max_steps, loss)

"""The gate between a trained policy and promotion: a decision with its reasons, from numbers alone."""

import math
from dataclasses import dataclass

from sweetspot.config import Evaluation
from sweetspot.errors import ContractError
from sweetspot.training.result import TrainingResult


@dataclass(frozen=True)
class GateDecision:
    """Whether to promote, and one sentence per reason against it; no reason exactly when promoted."""

    promote: bool
    reasons: tuple[str, ...]


def decide(gain: float, training: TrainingResult, settings: Evaluation) -> GateDecision:
    """Promote a policy that did better on held-out prompts and did not fall apart in training.

    Args:
        gain: Mean result of the new policy minus that of the start policy, on the same held-out prompts.
        training: What training reported.
        settings: The bounds. A gain equal to `min_gain` is refused; a drop equal to `max_chosen_drop` is not.

    Returns:
        The decision; every reason that applies is listed, numbers included.

    Raises:
        ContractError: `gain` is not finite, so there was no evaluation to decide on.
    """
    if not math.isfinite(gain):
        raise ContractError(
            f"gain: got {gain}, expected a finite difference of two means. Evaluate both policies first."
        )
    reasons = (*divergence(training), *_displacement(training, settings), *_no_gain(gain, settings))
    return GateDecision(promote=not reasons, reasons=reasons)


def divergence(training: TrainingResult) -> tuple[str, ...]:
    """The one sentence that says where a training diverged; empty if it did not."""
    if not training.diverged:
        return ()
    bad = [step for step, loss in enumerate(training.losses, start=1) if not math.isfinite(loss)]
    where = (
        f"the loss of step {bad[0]} is {training.losses[bad[0] - 1]}" if bad else "its last log-probs are not finite"
    )
    return (
        f"Training diverged: {where}, {training.steps} steps were done; lower training.learning_rate or raise "
        "training.beta.",
    )


def _displacement(training: TrainingResult, settings: Evaluation) -> tuple[str, ...]:
    if training.diverged or training.chosen_drop <= settings.max_chosen_drop:
        return ()
    return (
        f"The mean log-probability of chosen responses fell by {training.chosen_drop:.4g} nats (from "
        f"{training.mean_chosen_logp_before:.4g} to {training.mean_chosen_logp_after:.4g}), more than "
        f"evaluation.max_chosen_drop = {settings.max_chosen_drop:g}; {training.displacement:.0%} of the chosen "
        "responses became less likely.",
    )


def _no_gain(gain: float, settings: Evaluation) -> tuple[str, ...]:
    if gain > settings.min_gain:
        return ()
    return (
        f"The mean result on held-out prompts changed by {gain:+.4g}, not by more than evaluation.min_gain = "
        f"{settings.min_gain:g}.",
    )

"""What a training run reports: plain numbers, so that it can be read, stored and judged without torch."""

import math
from dataclasses import dataclass

import numpy as np

from sweetspot._checks import FloatArray


@dataclass(frozen=True)
class TrainingResult:
    """One finished (or diverged) training run.

    Log-probabilities are sums over response tokens in nats, averaged over the probe: up to 64 pairs spread evenly
    over the rows, the same before and after.

    Attributes:
        steps: Optimiser steps done.
        losses: Mean loss of each step's batch, taken before that step's update; NaN where it diverged.
        pairs: Pairs trained on.
        sft_pairs: Those of them routed to SFT.
        probe_pairs: Pairs in the probe.
        mean_chosen_logp_before: Of the start policy.
        mean_chosen_logp_after: Of the trained policy.
        mean_rejected_logp_before: Of the start policy.
        mean_rejected_logp_after: Of the trained policy.
        mean_margin: Mean over the probe of the implicit reward margin in nats (without beta): the rise of the chosen
            log-probability minus the rise of the rejected one.
        reference_accuracy: Share of the probe whose chosen response the start policy finds more likely, strictly.
        displacement: Share of the probe whose chosen response became less likely.
    """

    steps: int
    losses: tuple[float, ...]
    pairs: int
    sft_pairs: int
    probe_pairs: int
    mean_chosen_logp_before: float
    mean_chosen_logp_after: float
    mean_rejected_logp_before: float
    mean_rejected_logp_after: float
    mean_margin: float
    reference_accuracy: float
    displacement: float

    @property
    def first_loss(self) -> float:
        """Loss of the first step, the start policy's own."""
        return self.losses[0]

    @property
    def last_loss(self) -> float:
        """Loss of the last step."""
        return self.losses[-1]

    @property
    def chosen_drop(self) -> float:
        """Fall of the mean chosen log-probability, nats; negative where it rose, NaN after divergence."""
        return self.mean_chosen_logp_before - self.mean_chosen_logp_after

    @property
    def diverged(self) -> bool:
        """Whether a loss or a log-probability of the trained policy is not finite."""
        after = (self.mean_chosen_logp_after, self.mean_rejected_logp_after)
        return not all(math.isfinite(value) for value in (*self.losses, *after))


def summarise(
    losses: tuple[float, ...], *, pairs: int, sft_pairs: int, before: FloatArray, after: FloatArray
) -> TrainingResult:
    """Put a run's numbers together.

    Args:
        losses: One per step.
        pairs: Pairs trained on.
        sft_pairs: Those of them routed to SFT.
        before: (P, 2) chosen and rejected log-probabilities of the probe under the start policy, nats.
        after: (P, 2) the same pairs under the trained policy; NaN after divergence.
    """
    with np.errstate(invalid="ignore"):  # after divergence
        rise = after - before
        margin = (rise[:, 0] - rise[:, 1]).mean()
    return TrainingResult(
        steps=len(losses),
        losses=losses,
        pairs=pairs,
        sft_pairs=sft_pairs,
        probe_pairs=len(before),
        mean_chosen_logp_before=float(before[:, 0].mean()),
        mean_chosen_logp_after=float(after[:, 0].mean()),
        mean_rejected_logp_before=float(before[:, 1].mean()),
        mean_rejected_logp_after=float(after[:, 1].mean()),
        mean_margin=float(margin),
        reference_accuracy=float((before[:, 0] > before[:, 1]).mean()),
        displacement=float((rise[:, 0] < 0).mean()),
    )

"""What training minimises: the configured pairwise loss, and SFT on the chosen response of routed pairs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from sweetspot import losses
from sweetspot.config import Training


@dataclass(frozen=True)
class PairBatch:
    """Everything the losses read about B pairs, each (B,): log-probs in nats, lengths in response tokens."""

    policy_chosen_logps: Tensor
    policy_rejected_logps: Tensor
    reference_chosen_logps: Tensor
    reference_rejected_logps: Tensor
    rating_gap: Tensor
    chosen_lengths: Tensor
    rejected_lengths: Tensor
    is_sft: Tensor

    @property
    def logps(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The four log-probs in the order every loss takes them."""
        return (
            self.policy_chosen_logps,
            self.policy_rejected_logps,
            self.reference_chosen_logps,
            self.reference_rejected_logps,
        )

    def rows(self, mask: Tensor) -> "PairBatch":
        """The pairs where `mask` (B,) is True."""
        return PairBatch(**{field.name: getattr(self, field.name)[mask] for field in fields(self)})


def assemble(policy_logps: tuple[Tensor, Tensor], inputs: Mapping[str, Tensor]) -> PairBatch:
    """Join (chosen, rejected) log-probs of the policy with what the collator says about the pairs."""
    policy = {"policy_chosen_logps": policy_logps[0], "policy_rejected_logps": policy_logps[1]}
    given = {field.name: inputs[field.name] for field in fields(PairBatch) if field.name not in policy}
    return PairBatch(**policy, **given)


PairwiseLoss = Callable[[PairBatch, Training, float], Tensor]
"""(batch, settings, share of pairs with a rating) -> loss per pair (B,)."""

LOSSES: dict[str, PairwiseLoss] = {
    "dpo": lambda batch, s, _: losses.dpo(*batch.logps, beta=s.beta),
    "cdpo": lambda batch, s, _: losses.cdpo(*batch.logps, beta=s.beta, label_smoothing=s.label_smoothing),
    "ipo": lambda batch, s, _: losses.ipo(
        *batch.logps, beta=s.beta, chosen_lengths=batch.chosen_lengths, rejected_lengths=batch.rejected_lengths
    ),
    "rating_dpo": lambda batch, s, _: losses.rating_dpo(
        *batch.logps, beta=s.beta, beta1=s.beta1, rating_gap=batch.rating_gap
    ),
    "rating_ipo": lambda batch, s, _: losses.rating_ipo(
        *batch.logps, beta=s.beta, beta1=s.beta1, rating_gap=batch.rating_gap
    ),
    "ml_rating_dpo": lambda batch, s, rated_fraction: losses.ml_rating_dpo(
        *batch.logps, beta=s.beta, variance=s.variance, rating_gap=batch.rating_gap, rated_fraction=rated_fraction
    ),
    "mixdpo": lambda batch, s, _: losses.mixdpo(
        *batch.logps,
        beta=s.beta,
        tau=s.tau,
        sft_weight=s.sft_weight,
        label_smoothing=s.label_smoothing,
        rating_gap=batch.rating_gap,
        chosen_lengths=batch.chosen_lengths,
    ),
}


def row_losses(batch: PairBatch, settings: Training, *, rated_fraction: float = 1.0) -> Tensor:
    """The loss of each pair: the configured pairwise loss, or SFT for a pair that is routed there.

        SFT:  sft_weight * (-log pi(chosen) / T_chosen),  the mean negative log-likelihood per response token.

    A routed pair's rejected response, rating and reference have no influence, not even on gradients.

    Args:
        batch: B pairs.
        settings: Loss and its coefficients.
        rated_fraction: Share of the preference pairs of the whole data set that have a rating, in (0, 1]; only
            ml_rating_dpo reads it.

    Returns:
        (B,) losses, not averaged.
    """
    sft = settings.sft_weight * -batch.policy_chosen_logps / batch.chosen_lengths
    pairwise = LOSSES[settings.loss](batch.rows(~batch.is_sft), settings, rated_fraction)
    return sft.to(pairwise.dtype).masked_scatter(~batch.is_sft, pairwise)


def mean_loss(batch: PairBatch, settings: Training, *, rated_fraction: float = 1.0) -> Tensor:
    """Mean of `row_losses`; NaN where the policy's log-probs have left the finite numbers.

    The losses refuse non-finite log-probs as bad input. Inside training they are not input but divergence, which
    the caller must be able to see in the loss and stop on.
    """
    policy = torch.stack((batch.policy_chosen_logps, batch.policy_rejected_logps))
    if not policy.isfinite().all():
        return policy.sum() * float("nan")
    return row_losses(batch, settings, rated_fraction=rated_fraction).mean()

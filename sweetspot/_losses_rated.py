"""Losses that combine label and rating: RDPO, RIPO, ML-RDPO and MixDPO."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sweetspot._arguments import non_negative, number, positive
from sweetspot._loss_inputs import (
    LogRatios,
    above_zero,
    lengths_like,
    log_ratios,
    rating_gap_like,
    smoothing,
    weight_in,
)


@dataclass(frozen=True)
class RatingBetas:
    """The two coefficients of `rating_dpo` and `rating_ipo`: `beta`, and `beta1` (inf: ratings are ignored)."""

    beta: float
    beta1: float


def rating_betas(kl: float, ranking_weight: float) -> RatingBetas:
    """Coefficients with a chosen effective KL coefficient: beta = kl / w, beta1 = kl / (1 - w).

    Then beta·beta1 / (beta + beta1) = kl, and the reward that is maximised is w·ranking + (1 - w)·rating.

    Args:
        kl: Effective KL coefficient, > 0.
        ranking_weight: w in (0, 1], the trust in the labels against the ratings; 1 is `dpo` with beta = kl.

    Returns:
        RatingBetas(beta, beta1); beta1 is inf at w = 1.

    Raises:
        ContractError: kl or ranking_weight out of range, or so small that beta overflows.

    Notes:
        This parametrisation is ours; it follows from the closed form in the reference of `rating_dpo`.
    """
    target = positive("kl", kl)
    weight = number("ranking_weight", ranking_weight, lambda w: 0 < w <= 1, "a number in (0, 1]")
    beta = weight_in(torch.float64, "kl / ranking_weight", target / weight)
    return RatingBetas(beta, target / (1.0 - weight) if weight < 1 else float("inf"))


def rating_dpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    rating_gap: Tensor,
    beta: float,
    beta1: float,
) -> Tensor:
    """RDPO: sp(-(z - (beta / beta1)·D)); a larger gap asks for a larger margin.

    The same as `dpo` with log π_ref + rating / beta1 as the reference of each response.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        rating_gap: (B,) D = rating(chosen) - rating(rejected), signed, in the raters' unit; D < 0 lowers the margin.
        beta: > 0.
        beta1: Trust in the ratings, > 0, rating units per nat; smaller trusts more, inf is `dpo` bit for bit.
            Scaling the ratings and beta1 together changes nothing.

    Returns:
        (B,) loss per pair.

    Raises:
        MissingRatingError: rating_gap is None or holds NaN.
        ContractError: See the module docstring of `sweetspot.losses`.

    References:
        Viano et al. (2026), arXiv:2602.00603: RDPO.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return -logsigmoid(_shifted_margin(logps, rating_gap, beta, beta1))


def rating_ipo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    rating_gap: Tensor,
    beta: float,
    beta1: float,
) -> Tensor:
    """RIPO: (z - (beta / beta1)·D - 1/2)² = beta²·(d - D / beta1 - 1 / (2·beta))².

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        rating_gap: (B,) D, signed, as in `rating_dpo`.
        beta: > 0.
        beta1: > 0; inf gives beta²·`ipo`.

    Returns:
        (B,) loss per pair.

    Raises:
        MissingRatingError: rating_gap is None or holds NaN.

    References:
        Viano et al. (2026), arXiv:2602.00603: RIPO.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return (_shifted_margin(logps, rating_gap, beta, beta1) - 0.5).square()


def _shifted_margin(logps: LogRatios, rating_gap: Tensor, beta: float, beta1: float) -> Tensor:
    """Z - (beta / beta1)·D (B,)."""
    d = logps.difference
    gap = rating_gap_like(rating_gap, logps.policy_chosen)
    scale = positive("beta", beta)
    weight = weight_in(d.dtype, "beta / beta1", scale / above_zero("beta1", beta1))
    return scale * d - weight * gap


def ml_rating_dpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    rating_gap: Tensor,
    beta: float,
    variance: float,
    rated_fraction: float = 1.0,
) -> Tensor:
    """ML-RDPO: sp(-z) + [D present]·(D - z)² / (2·variance·rated_fraction).

    Maximum likelihood of a label (Bernoulli) and a gap (Gaussian), independent given the reward.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        rating_gap: (B,) D, signed, in Bradley-Terry logits: nothing else rescales it. NaN: the pair is not rated and
            has the first term only.
        beta: > 0.
        variance: V > 0 of the rating gap, logit²; larger trusts the ratings less, inf is `dpo` bit for bit.
        rated_fraction: Share of pairs of the **data set** that are rated, in (0, 1]. With it, the mean over rows is the
            mean label term over all pairs plus the mean gap term over rated pairs; 1.0 divides both by all rows.

    Returns:
        (B,) loss per pair.

    Raises:
        MissingRatingError: rating_gap is None.

    References:
        Viano et al. (2026), arXiv:2602.00603: ML-RDPO.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    gap = rating_gap_like(rating_gap, logps.policy_chosen, missing_allowed=True)
    z = positive("beta", beta) * logps.difference
    share = number("rated_fraction", rated_fraction, lambda x: 0 < x <= 1, "a number in (0, 1]")
    spread = 2.0 * above_zero("variance", variance) * share
    weight = weight_in(z.dtype, "1 / (2 variance rated_fraction)", 1.0 / spread if spread > 0 else float("inf"))
    present = ~gap.isnan()
    residual = torch.where(present, gap, 0.0) - z
    # The root goes inside the square: at infinite variance 0 · (D - z)² would be NaN where the square overflows.
    return -logsigmoid(z) + torch.where(present, (math.sqrt(weight) * residual).square(), 0.0)


def mixdpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    rating_gap: Tensor,
    chosen_lengths: Tensor,
    beta: float,
    tau: float = 0.5,
    sft_weight: float = 1.0,
    label_smoothing: float = 0.0,
) -> Tensor:
    """MixDPO: sft_weight·(-log π_w / T_w) where D < tau (strictly), else sp(-z) + ε·z.

    Pairs with a small gap train on the chosen response only. The order of the data (easy to hard) and the mean over the
    batch belong to the trainer.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        rating_gap: (B,) D, signed; D < 0 goes to SFT on the labelled chosen response.
        chosen_lengths: (B,) T_w > 0, completion tokens.
        beta: > 0; it also sets the balance of the branches, the gradient of DPO per nat being beta / 2 at z = 0.
        tau: Threshold on D, not NaN; -inf sends every pair to DPO, inf to SFT. With ratings in steps of 0.5 the default
            selects exact ties.
        sft_weight: >= 0.
        label_smoothing: ε in [0, 0.5) of the DPO branch.

    Returns:
        (B,) loss per pair.

    Raises:
        MissingRatingError: rating_gap is None or holds NaN.

    References:
        Pang et al. (2026), MixDPO, arXiv:2602.00954.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    gap = rating_gap_like(rating_gap, logps.policy_chosen)
    tokens = lengths_like("chosen_lengths", chosen_lengths, logps.policy_chosen)
    threshold = number("tau", tau, lambda x: True, "a number, ±inf allowed")
    z = positive("beta", beta) * logps.difference
    preference = -logsigmoid(z) + smoothing(label_smoothing) * z
    imitation = non_negative("sft_weight", sft_weight) * (-logps.policy_chosen / tokens)
    return torch.where(gap < threshold, imitation, preference)

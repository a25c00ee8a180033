"""Losses that aim at a rating gap directly: DPO with an offset and reward-aware preference optimization."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sweetspot._arguments import choice, non_negative, positive
from sweetspot._loss_inputs import log_ratios, rating_gap_like, require_positive_gap


def odpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    rating_gap: Tensor,
    beta: float,
    alpha: float = 1.0,
    transform: str = "log",
) -> Tensor:
    """DPO with an offset: sp(-(z - alpha·f(D))).

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        rating_gap: (B,) D, signed; > 0 for `log`.
        beta: > 0.
        alpha: >= 0; 0 is `dpo`.
        transform: f: `log` (natural) or `identity`. With `identity` the loss is `rating_dpo` at alpha = beta / beta1.

    Returns:
        (B,) loss per pair.

    Raises:
        MissingRatingError: rating_gap is None or holds NaN.
        ContractError: A gap <= 0 under `log`.

    References:
        Amini, Vieira, Cotterell (2024), Direct Preference Optimization with an Offset, arXiv:2402.10571.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    gap = rating_gap_like(rating_gap, logps.policy_chosen)
    if choice("transform", transform, ("log", "identity")) == "log":
        require_positive_gap(gap)
        gap = gap.log()
    return -logsigmoid(positive("beta", beta) * logps.difference - non_negative("alpha", alpha) * gap)


def rpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    rating_gap: Tensor,
    beta: float,
    eta: float,
    distance: str = "sq",
) -> Tensor:
    """Reward-aware preference optimization: distance between z and eta·D.

    `sq`: (z - eta·D)². With q = sg(eta·D) and p = sg(z) as Bernoulli laws, `bwd_kl`: KL(q || p); `fwd_kl`: KL(p || q).

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        rating_gap: (B,) D, signed.
        beta: > 0.
        eta: Logits per rating unit, >= 0.
        distance: `sq`, `bwd_kl` or `fwd_kl`.

    Returns:
        (B,) loss per pair, 0 where z = eta·D.

    Raises:
        MissingRatingError: rating_gap is None or holds NaN.

    References:
        Sun et al. (2025), Reward-aware Preference Optimization, arXiv:2502.00203.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    z = positive("beta", beta) * logps.difference
    target = non_negative("eta", eta) * rating_gap_like(rating_gap, logps.policy_chosen)
    kind = choice("distance", distance, ("sq", "bwd_kl", "fwd_kl"))
    if kind == "sq":
        return (z - target).square()
    return _bernoulli_kl(target, z) if kind == "bwd_kl" else _bernoulli_kl(z, target)


def _bernoulli_kl(a: Tensor, b: Tensor) -> Tensor:
    """KL(Bernoulli(sg(a)) || Bernoulli(sg(b))) (B,) of two logits, accurate also where they nearly agree.

    The definition subtracts terms of first order in b - a from a result of second order. With q = sg(a), t = b - a and
    φ(x) = e^x - 1 - x it equals log1p(q·φ((1 - q)·t) + (1 - q)·φ(-q·t)), a sum of positive terms, used for |t| <= 1.
    """
    q, rest = a.sigmoid(), (-a).sigmoid()
    far = q * (logsigmoid(a) - logsigmoid(b)) + rest * (logsigmoid(-a) - logsigmoid(-b))
    step = (b - a).clamp(-1.0, 1.0)
    near = torch.log1p(q * _exp_remainder(rest * step) + rest * _exp_remainder(-q * step))
    return torch.where((b - a).abs() <= 1.0, near, far)


def _exp_remainder(x: Tensor) -> Tensor:
    """e^x - 1 - x for |x| <= 1: x²·Σ_k x^k / (k + 2)!, to 1e-17."""
    series = torch.ones_like(x)
    for k in range(18, 2, -1):
        series = 1.0 + series * x / k
    return 0.5 * x.square() * series

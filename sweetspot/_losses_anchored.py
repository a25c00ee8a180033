"""Losses that change the margin or the reference of DPO: SimPO, DPO-Positive, HyPO and constrained PO."""

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sweetspot._arguments import finite, non_negative, positive
from sweetspot._loss_inputs import lengths_like, log_ratios, policy_logps


def simpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor | None,
    reference_rejected_logps: Tensor | None,
    *,
    beta: float,
    gamma: float,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
) -> Tensor:
    """SimPO: sp(-(beta·(log π_w / T_w - log π_l / T_l) - gamma)), without a reference.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: Ignored; may be None.
        reference_rejected_logps: Ignored; may be None.
        beta: > 0, per nat per token: 2 to 10 is usual, far above the beta of `dpo`.
        gamma: Target margin in units of the logit, any finite number; the paper's ratio gamma / beta is 0.1 to 0.8.
        chosen_lengths: (B,) T_w > 0, completion tokens.
        rejected_lengths: (B,) T_l > 0, completion tokens.

    Returns:
        (B,) loss per pair.

    References:
        Meng, Xia, Chen (2024), SimPO: Simple Preference Optimization with a Reference-Free Reward, arXiv:2405.14734.
    """
    chosen, rejected = policy_logps(policy_chosen_logps, policy_rejected_logps)
    chosen_mean = chosen / lengths_like("chosen_lengths", chosen_lengths, chosen)
    rejected_mean = rejected / lengths_like("rejected_lengths", rejected_lengths, chosen)
    return -logsigmoid(positive("beta", beta) * (chosen_mean - rejected_mean) - finite("gamma", gamma))


def dpop(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    penalty: float = 50.0,
) -> Tensor:
    """DPO-Positive: sp(-beta·(d - penalty·max(0, -g_w))).

    The penalty acts where the chosen response is less likely than under the reference.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        beta: > 0.
        penalty: λ >= 0; 0 is `dpo`.

    Returns:
        (B,) loss per pair.

    References:
        Pal et al. (2024), Smaug: Fixing Failure Modes of Preference Optimisation with DPO-Positive, arXiv:2402.13228.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    fallen = torch.relu(-logps.chosen)
    return -logsigmoid(positive("beta", beta) * (logps.difference - non_negative("penalty", penalty) * fallen))


def hypo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
) -> Tensor:
    """HyPO: sp(-beta·(δ_π - max(0, δ_ref))), δ = log-prob of chosen - rejected.

    DPO with the reference margin cut at 0, so a reference that prefers the rejected response sets no lower target.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        beta: > 0.

    Returns:
        (B,) loss per pair; equal to `dpo` where δ_ref >= 0.

    References:
        HyPO (2026), arXiv:2602.11902.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    reference_margin = torch.relu(logps.reference_chosen - logps.reference_rejected)
    return -logsigmoid(positive("beta", beta) * (logps.policy_chosen - logps.policy_rejected - reference_margin))


def cpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    gamma: float,
    chosen_lengths: Tensor,
    rejected_lengths: Tensor,
    max_offset: float = 5.0,
) -> Tensor:
    """Constrained preference optimization: sp(-(beta·d̄ - Ω)), d̄ = g_w / T_w - g_l / T_l.

    Ω = min(gamma·(e^(-log π_ref,w / T_w) + e^(-log π_ref,l / T_l)), max_offset): the two reference perplexities per
    token. No gradient flows through Ω.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        beta: > 0, per nat per token.
        gamma: >= 0; 0 is DPO on per-token means.
        chosen_lengths: (B,) T_w > 0, completion tokens; ones give the form on sequences.
        rejected_lengths: (B,) T_l > 0, completion tokens.
        max_offset: Largest Ω, >= 0.

    Returns:
        (B,) loss per pair.

    References:
        Yang et al. (2026), Conditional Equivalence of DPO and RLHF, arXiv:2605.20834, eq. (17).

    Notes:
        Length normalisation and `max_offset` are ours: with sequence probabilities Ω is e to the power of hundreds.
        Ω is large for surprising responses, whatever the sign of the reference margin.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    chosen_tokens = lengths_like("chosen_lengths", chosen_lengths, logps.policy_chosen)
    rejected_tokens = lengths_like("rejected_lengths", rejected_lengths, logps.policy_chosen)
    margin = logps.chosen / chosen_tokens - logps.rejected / rejected_tokens
    weight, limit = non_negative("gamma", gamma), non_negative("max_offset", max_offset)
    offset = torch.zeros_like(logps.reference_chosen)
    if weight > 0:
        shift = math.log(weight)  # inside the exponent: a weight that the dtype rounds to 0, times inf, would be NaN
        chosen_offset = (shift - logps.reference_chosen / chosen_tokens).exp()
        offset = (chosen_offset + (shift - logps.reference_rejected / rejected_tokens).exp()).clamp(max=limit)
    return -logsigmoid(positive("beta", beta) * margin - offset)

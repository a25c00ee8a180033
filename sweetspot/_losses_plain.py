"""DPO and its nearest forms: smoothed and debiased labels, squared and hinge distance."""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from sweetspot._arguments import positive, require_together
from sweetspot._loss_inputs import lengths_like, log_ratios, smoothing


def dpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
) -> Tensor:
    """DPO: sp(-beta·d).

    Args:
        policy_chosen_logps: (B,) log π(y_w | x), sum over completion tokens, nats; carries gradient.
        policy_rejected_logps: (B,) log π(y_l | x), likewise.
        reference_chosen_logps: (B,) log π_ref(y_w | x), nats; detached.
        reference_rejected_logps: (B,) log π_ref(y_l | x), nats; detached.
        beta: Inverse temperature, > 0, often 0.01 to 0.5; larger holds the policy closer to the reference.

    Returns:
        (B,) loss per pair; log 2 where policy and reference agree.

    Raises:
        ContractError: See the module docstring of `sweetspot.losses`.

    References:
        Rafailov et al. (2023), Direct Preference Optimization, arXiv:2305.18290.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return -logsigmoid(positive("beta", beta) * logps.difference)


def cdpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    label_smoothing: float,
) -> Tensor:
    """Conservative DPO: (1 - ε)·sp(-z) + ε·sp(z) = sp(-z) + ε·z.

    Log-probs and beta as in `dpo`.

    Args:
        policy_chosen_logps: (B,) nats.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        beta: > 0.
        label_smoothing: ε in [0, 0.5), the assumed share of flipped labels; 0 is `dpo`. The loss of a pair is
            smallest at z = log((1 - ε) / ε).

    Returns:
        (B,) loss per pair.

    References:
        Mitchell (2023), A note on DPO with noisy preferences and relationship to IPO.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    z = positive("beta", beta) * logps.difference
    return -logsigmoid(z) + smoothing(label_smoothing) * z


def robust_dpo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    label_smoothing: float,
) -> Tensor:
    """Robust DPO: [(1 - ε)·sp(-z) - ε·sp(z)] / (1 - 2ε) = sp(-z) - ε·z / (1 - 2ε).

    Unbiased for the clean DPO loss if labels flip independently with probability ε. Unbounded below: the value of a
    pair may be negative.

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        beta: > 0.
        label_smoothing: ε in [0, 0.5), the flip rate.

    Returns:
        (B,) loss per pair.

    References:
        Chowdhury, Kini, Natarajan (2024), Provably Robust DPO, arXiv:2403.00409.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    z = positive("beta", beta) * logps.difference
    flips = smoothing(label_smoothing)
    return -logsigmoid(z) - (flips / (1.0 - 2.0 * flips)) * z


def ipo(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
    chosen_lengths: Tensor | None = None,
    rejected_lengths: Tensor | None = None,
) -> Tensor:
    """IPO: (d - 1 / (2·beta))².

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        beta: > 0; the target of d is 1 / (2·beta) nats.
        chosen_lengths: (B,) T_w > 0, completion tokens. With both lengths d is g_w / T_w - g_l / T_l, nats per token,
            the convention of TRL; without, d is of sums as in the paper.
        rejected_lengths: (B,) T_l, given if and only if `chosen_lengths` is.

    Returns:
        (B,) loss per pair, nats².

    References:
        Azar et al. (2023), A General Theoretical Paradigm to Understand Learning from Human Preferences,
        arXiv:2310.12036.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    target = 1.0 / (2.0 * positive("beta", beta))
    d = logps.difference
    if require_together("chosen_lengths", chosen_lengths, "rejected_lengths", rejected_lengths):
        chosen = logps.chosen / lengths_like("chosen_lengths", chosen_lengths, logps.policy_chosen)
        d = chosen - logps.rejected / lengths_like("rejected_lengths", rejected_lengths, logps.policy_chosen)
    return (d - target).square()


def hinge(
    policy_chosen_logps: Tensor,
    policy_rejected_logps: Tensor,
    reference_chosen_logps: Tensor,
    reference_rejected_logps: Tensor,
    *,
    beta: float,
) -> Tensor:
    """Hinge loss on the DPO margin: max(0, 1 - z).

    Args:
        policy_chosen_logps: (B,) nats, as in `dpo`.
        policy_rejected_logps: (B,) nats.
        reference_chosen_logps: (B,) nats.
        reference_rejected_logps: (B,) nats.
        beta: > 0; pairs with d > 1 / beta have neither loss nor gradient.

    Returns:
        (B,) loss per pair.

    References:
        Zhao et al. (2023), SLiC-HF, arXiv:2305.10425, for the hinge; its use on z is that of TRL.
    """
    logps = log_ratios(policy_chosen_logps, policy_rejected_logps, reference_chosen_logps, reference_rejected_logps)
    return torch.relu(1.0 - positive("beta", beta) * logps.difference)

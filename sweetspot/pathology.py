"""Detectors of DPO's failure on misaligned references: from log-probs or hidden states alone, no training."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from sweetspot._arguments import finite_array, positive, require, require_equal_shapes, require_together
from sweetspot.errors import ContractError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


@dataclass(frozen=True)
class PathologyReport:
    """Where the reference stands on Q pairs, and where the policy went. δ is log-prob of chosen - rejected.

    Attributes:
        reference_margin: (Q,) δ_ref, nats; grows with length.
        reference_margin_per_token: (Q,) chosen / T_w - rejected / T_l, nats per token, or None without lengths.
        reference_accuracy: Mean of δ_ref > 0.
        violated: (Q,) δ_ref <= -margin / beta: the KL-regularised optimum still ranks the pair wrongly. None without
            margin.
        violation_rate: Mean of `violated`, or None.
        flip_threshold: (Q,) sp(beta·δ_ref), nats: the pair is ranked right iff its DPO loss is at most this.
        crossing_gradient: (Q,) beta·sg(beta·δ_ref), size of the DPO gradient in δ where the ranking flips.
        stuck_time: (Q,) time of the gradient flow of DPO on δ from δ_ref to 0, (U + e^U - 1) / beta² with
            U = beta·|δ_ref|; 0 where δ_ref >= 0, inf on overflow.
        occupancy: Mean of δ_ref < δ_π < 0: the loss fell, the ranking is still wrong. None without a policy.
        displacement: Mean of log π(chosen) < log π_ref(chosen), or None.
        mean_chosen_shift: Mean of log π(chosen) - log π_ref(chosen), nats, or None.
    """

    reference_margin: FloatArray
    reference_margin_per_token: FloatArray | None
    reference_accuracy: float
    violated: BoolArray | None
    violation_rate: float | None
    flip_threshold: FloatArray
    crossing_gradient: FloatArray
    stuck_time: FloatArray
    occupancy: float | None
    displacement: float | None
    mean_chosen_shift: float | None


@dataclass(frozen=True)
class Ches:
    """Centred hidden embedding similarity of one pair; high means risk of likelihood displacement.

    Attributes:
        score: ⟨S⁺, S⁻⟩ - ‖S⁺‖², S the sum of hidden states over tokens.
        length_normalised: ⟨S⁺, S⁻⟩ / (T_w·T_l) - ‖S⁺‖² / T_w².
    """

    score: float
    length_normalised: float


@dataclass(frozen=True)
class ChesScores:
    """`Ches` of many pairs: `score (Q,)` and `length_normalised (Q,)`."""

    score: FloatArray
    length_normalised: FloatArray


def report(
    reference_chosen_logps: Any,
    reference_rejected_logps: Any,
    margin: Any,
    *,
    beta: float,
    chosen_lengths: Any = None,
    rejected_lengths: Any = None,
    policy_chosen_logps: Any = None,
    policy_rejected_logps: Any = None,
) -> PathologyReport:
    """Measure how far the reference is from the preferences and, with a policy, whether training passed it.

    Args:
        reference_chosen_logps: (Q,) log π_ref(y_w | x), sums over response tokens, nats, Q >= 1.
        reference_rejected_logps: (Q,) log π_ref(y_l | x), likewise.
        margin: (Q,) reward difference chosen - rejected in Bradley-Terry units (logits), or None when unknown.
        beta: KL coefficient of the planned training, > 0.
        chosen_lengths: (Q,) T_w > 0, response tokens; both lengths or none.
        rejected_lengths: (Q,) T_l > 0.
        policy_chosen_logps: (Q,) log π(y_w | x) during or after training; both policy inputs or none.
        policy_rejected_logps: (Q,) log π(y_l | x).

    Returns:
        PathologyReport.

    Raises:
        ContractError: No pairs, shapes that disagree, values or options out of range, or one of two inputs alone.

    References:
        Yang et al. (2026), Conditional Equivalence of DPO and RLHF, arXiv:2605.20834: violated assumption 3.1 and the
        undesirable space. Chen et al. (2024), Preference Learning Algorithms Do Not Learn Preference Rankings,
        arXiv:2405.19534: ranking accuracy and the flip threshold. Razin et al. (2025), arXiv:2410.08847: displacement.

    Notes:
        A pair in the undesirable space exists wherever δ_ref < 0, also where the assumption holds. The gradient at the
        flip is small but never 0. Crossing gradient and stuck time are derived from the loss.
    """
    scale = positive("beta", beta)
    chosen = finite_array("reference_chosen_logps", reference_chosen_logps, ndim=1, minimum_size=1)
    rejected = finite_array("reference_rejected_logps", reference_rejected_logps, ndim=1)
    lengths = _optional(chosen, chosen_lengths=chosen_lengths, rejected_lengths=rejected_lengths)
    policy = _optional(chosen, policy_chosen_logps=policy_chosen_logps, policy_rejected_logps=policy_rejected_logps)
    delta = _difference(reference_chosen_logps=chosen, reference_rejected_logps=rejected)
    violated = None if margin is None else _violated(delta, finite_array("margin", margin, ndim=1), scale)
    logit = _scaled(delta, scale)
    occupancy, displacement, shift = (None, None, None) if policy is None else _movement(chosen, delta, *policy)
    return PathologyReport(
        reference_margin=delta,
        reference_margin_per_token=None if lengths is None else _per_token(chosen, rejected, *lengths),
        reference_accuracy=float((delta > 0).mean()),
        violated=violated,
        violation_rate=None if violated is None else float(violated.mean()),
        flip_threshold=np.logaddexp(0.0, logit),
        crossing_gradient=scale * expit(logit),
        stuck_time=_stuck_time(logit, scale),
        occupancy=occupancy,
        displacement=displacement,
        mean_chosen_shift=shift,
    )


def ches(chosen_hidden: Any, rejected_hidden: Any) -> Ches:
    """Centred hidden embedding similarity: ⟨S⁺, S⁻⟩ - ‖S⁺‖² with S⁺ and S⁻ the sums of hidden states.

    Args:
        chosen_hidden: (T_w, H) last-layer hidden states of one response at the positions that predict its tokens: last
            prompt token to second-last token. No padding: T_w normalises the score.
        rejected_hidden: (T_l, H) of the other response.

    Returns:
        Ches(score, length_normalised).

    Raises:
        ContractError: No token, different H, or a value that is not finite.

    References:
        Razin et al. (2025), Unintentional Unalignment: Likelihood Displacement in Direct Preference Optimization,
        arXiv:2410.08847.

    Notes:
        The lengths are the true ones; the authors' batched code takes them from the padded tensor.
    """
    chosen = finite_array("chosen_hidden", chosen_hidden, ndim=2, minimum_size=1)
    rejected = finite_array("rejected_hidden", rejected_hidden, ndim=2, minimum_size=1)
    if chosen.shape[1] != rejected.shape[1]:
        raise ContractError(
            f"rejected_hidden: got H = {rejected.shape[1]}, expected {chosen.shape[1]}, that of chosen_hidden. "
            "Take both from one layer of one model."
        )
    with np.errstate(over="ignore", invalid="ignore"):
        sums = chosen.sum(axis=0)[None], rejected.sum(axis=0)[None]
    found = ches_of_sums(*sums, chosen_lengths=[len(chosen)], rejected_lengths=[len(rejected)])
    return Ches(float(found.score[0]), float(found.length_normalised[0]))


def ches_of_sums(chosen_sums: Any, rejected_sums: Any, *, chosen_lengths: Any, rejected_lengths: Any) -> ChesScores:
    """`ches` of Q pairs whose hidden states have been summed over tokens already, which is all it needs of them.

    Args:
        chosen_sums: (Q, H) S⁺ of each pair, Q >= 1.
        rejected_sums: (Q, H) S⁻.
        chosen_lengths: (Q,) T_w >= 1, states in each sum.
        rejected_lengths: (Q,) T_l >= 1.

    Returns:
        ChesScores.

    Raises:
        ContractError: No pair, shapes that disagree, a length below 1, or a value that is not finite.

    References:
        Razin et al. (2025), arXiv:2410.08847.
    """
    plus = finite_array("chosen_sums", chosen_sums, ndim=2, minimum_size=1)
    minus = finite_array("rejected_sums", rejected_sums, ndim=2)
    require_equal_shapes(chosen_sums=plus, rejected_sums=minus)
    n_plus = finite_array("chosen_lengths", chosen_lengths, ndim=1)
    n_minus = finite_array("rejected_lengths", rejected_lengths, ndim=1)
    require_equal_shapes(**{"rows of chosen_sums": plus[:, 0], "chosen_lengths": n_plus, "rejected_lengths": n_minus})
    require("chosen_lengths", n_plus, n_plus >= 1, "lengths >= 1")
    require("rejected_lengths", n_minus, n_minus >= 1, "lengths >= 1")
    with np.errstate(over="ignore", invalid="ignore"):
        inner, norm = np.einsum("qh,qh->q", plus, minus), np.einsum("qh,qh->q", plus, plus)
        score, per_token = inner - norm, inner / (n_plus * n_minus) - norm / n_plus**2
    for scores in (score, per_token):
        require("inner products of the summed hidden states", scores, np.isfinite(scores), "values float64 can hold")
    return ChesScores(score, per_token)


def _optional(like: FloatArray, **two: Any) -> tuple[FloatArray, FloatArray] | None:
    """Two inputs that come together, checked, or None."""
    (first_name, first), (second_name, second) = two.items()
    if not require_together(first_name, first, second_name, second):
        return None
    one, other = finite_array(first_name, first, ndim=1), finite_array(second_name, second, ndim=1)
    require_equal_shapes(**{"reference_chosen_logps": like, first_name: one, second_name: other})
    return one, other


def _difference(**two: FloatArray) -> FloatArray:
    """First minus second (Q,), both named by their argument."""
    require_equal_shapes(**two)
    first, second = two.values()
    with np.errstate(over="ignore"):
        delta = first - second
    require(" - ".join(two), delta, np.isfinite(delta), "a difference that float64 can hold")
    return delta


def _scaled(delta: FloatArray, beta: float) -> FloatArray:
    with np.errstate(over="ignore"):
        logit = beta * delta
    require("beta * reference margin", logit, np.isfinite(logit), "a product that float64 can hold")
    return logit


def _violated(delta: FloatArray, margin: FloatArray, beta: float) -> BoolArray:
    """δ_ref <= -margin / beta."""
    require_equal_shapes(reference_chosen_logps=delta, margin=margin)
    with np.errstate(over="ignore"):
        return delta <= -margin / beta


def _per_token(
    chosen: FloatArray, rejected: FloatArray, chosen_lengths: FloatArray, rejected_lengths: FloatArray
) -> FloatArray:
    require("chosen_lengths", chosen_lengths, chosen_lengths > 0, "lengths > 0")
    require("rejected_lengths", rejected_lengths, rejected_lengths > 0, "lengths > 0")
    with np.errstate(over="ignore"):
        means = chosen / chosen_lengths, rejected / rejected_lengths
    for name, mean in zip(("chosen_lengths", "rejected_lengths"), means, strict=True):
        require(f"reference log-prob / {name}", mean, np.isfinite(mean), "a quotient that float64 can hold")
    return _difference(**{"chosen per token": means[0], "rejected per token": means[1]})


def _stuck_time(logit: FloatArray, beta: float) -> FloatArray:
    """(U + e^U - 1) / beta² where δ_ref < 0, U = beta·|δ_ref|, else 0."""
    effort = np.maximum(-logit, 0.0)
    with np.errstate(over="ignore"):
        return (effort + np.expm1(effort)) / beta / beta


def _movement(
    reference_chosen: FloatArray, reference_margin: FloatArray, chosen: FloatArray, rejected: FloatArray
) -> tuple[float, float, float]:
    """Occupancy, displacement and mean shift of the chosen log-prob."""
    margin = _difference(policy_chosen_logps=chosen, policy_rejected_logps=rejected)
    shift = _difference(policy_chosen_logps=chosen, reference_chosen_logps=reference_chosen)
    inside = (reference_margin < margin) & (margin < 0)
    return float(inside.mean()), float((shift < 0).mean()), float(shift.mean())

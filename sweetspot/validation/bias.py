"""Two shortcuts a judge may take instead of quality: response length, and position in the prompt."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.validation._arguments import float_array, normal_quantile, refuse, same_length

LENGTH_RIDGE = 1e-3
_LARGEST_GAP = 1e140
_MAX_NEWTON_STEPS = 200
_MAX_HALVINGS = 60


@dataclass(frozen=True)
class LengthBias:
    """How much the longer response wins; see `length_bias`."""

    pairs: int
    ties: int
    longer_chosen_rate: float
    interval: tuple[float, float]
    length_auc: float
    coefficient: float
    quality_coefficient: float | None
    odds_ratio: float
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PositionBias:
    """How much the position decides; see `position_bias`."""

    pairs: int
    judgements: int
    first_rate: float
    null_band: tuple[float, float]
    biased: bool
    consistent: NDArray[np.bool_]
    consistency: float
    warnings: tuple[str, ...]


def wilson_interval(successes: int, trials: int, z: float) -> tuple[float, float]:
    """Return the Wilson score interval of a share, (0, 1) without trials.

    ((p + z^2/2n) -+ z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n) with p = successes / trials, n = trials.

    References:
        Wilson (1927), Probable inference, the law of succession, and statistical inference, JASA 22(158).
    """
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    denominator = 1.0 + z * z / trials
    centre = (p + z * z / (2 * trials)) / denominator
    half = z * math.sqrt(p * (1.0 - p) / trials + (z / (2 * trials)) ** 2) / denominator
    return max(0.0, centre - half), min(1.0, centre + half)


def length_bias(
    chosen_lengths: ArrayLike,
    rejected_lengths: ArrayLike,
    *,
    quality_gap: ArrayLike | None = None,
    confidence: float = 0.95,
) -> LengthBias:
    """Measure how far length alone explains which response was chosen.

    The coefficients minimise  -sum log sigma(b1 x + b2 g) + (1e-3 / 2) (b1^2 + b2^2)  over the pairs, with
    x = (len_chosen - len_rejected) / (len_chosen + len_rejected), 0 if both are empty, and g the quality gap;
    no intercept, since every row is written from the chosen side.

    Args:
        chosen_lengths: Length of each chosen response, shape (Q,), >= 0, any one unit (tokens, characters).
        rejected_lengths: Length of each rejected response, shape (Q,), same unit.
        quality_gap: Quality of chosen minus rejected, shape (Q,), any unit; with it `coefficient` is the effect
            of length at equal quality. None leaves the term out.
        confidence: Coverage of `interval`, in (0, 1).

    Returns:
        LengthBias: `pairs` Q; `ties` pairs of equal length; `longer_chosen_rate` among the others with its
        Wilson `interval` (0.5 and (0, 1) if all tie); `length_auc` = (longer chosen + ties / 2) / pairs;
        `coefficient` b1; `quality_coefficient` b2 or None; `odds_ratio` exp(b1), the odds against an empty
        response, inf beyond the float range. Warning code `all_ties`.

    Raises:
        ContractError: Q = 0, lengths differ, a length is negative or not finite, or a gap is too large to square.
        ConvergenceError: The fit did not reach max |gradient| <= 1e-6 Q; rescale `quality_gap` to order one.
    """
    z = normal_quantile(confidence)
    chosen = _lengths(chosen_lengths, "chosen_lengths")
    rejected = _lengths(rejected_lengths, "rejected_lengths")
    same_length(chosen_lengths=chosen.size, rejected_lengths=rejected.size)
    if chosen.size == 0:
        raise ContractError("chosen_lengths: got no pairs, expected at least one.")
    columns = [_relative_difference(chosen, rejected)]
    if quality_gap is not None:
        gap = float_array(quality_gap, "quality_gap", ndim=1)
        same_length(chosen_lengths=chosen.size, quality_gap=gap.size)
        rule = f"expected at most {_LARGEST_GAP:g} in size, so that squares stay finite; rescale to order one"
        refuse(np.abs(gap) > _LARGEST_GAP, "quality_gap", gap, rule)
        columns.append(gap)
    coefficients = _win_logit(np.column_stack(columns))
    longer, ties = int(np.sum(chosen > rejected)), int(np.sum(chosen == rejected))
    decided = chosen.size - ties
    with np.errstate(over="ignore", under="ignore"):
        odds_ratio = float(np.exp(coefficients[0]))
    return LengthBias(
        pairs=chosen.size,
        ties=ties,
        longer_chosen_rate=longer / decided if decided else 0.5,
        interval=wilson_interval(longer, decided, z),
        length_auc=(longer + ties / 2) / chosen.size,
        coefficient=float(coefficients[0]),
        quality_coefficient=None if quality_gap is None else float(coefficients[1]),
        odds_ratio=odds_ratio,
        warnings=() if decided else (f"all_ties: all {ties} pairs have equal lengths, length cannot matter",),
    )


def _lengths(values: ArrayLike, name: str) -> NDArray[np.float64]:
    lengths = float_array(values, name, ndim=1)
    refuse(lengths < 0, name, lengths, "expected lengths >= 0")
    return lengths


def _relative_difference(chosen: NDArray[np.float64], rejected: NDArray[np.float64]) -> NDArray[np.float64]:
    """(chosen - rejected) / (chosen + rejected) in [-1, 1]; 0 where both are 0."""
    largest = np.maximum(chosen, rejected)
    largest[largest == 0] = 1.0
    a, b = chosen / largest, rejected / largest  # first to order one: the sum of two lengths may overflow
    return (a - b) / np.where(a + b == 0, 1.0, a + b)


def _win_logit(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Minimise -sum log sigma(features @ b) + (ridge / 2) |b|^2 by damped Newton steps; b has shape (columns,)."""
    tolerance = 1e-6 * features.shape[0]
    b = np.zeros(features.shape[1])
    for _ in range(_MAX_NEWTON_STEPS):
        gradient, hessian = _win_derivatives(features, b)
        # A hundred times tighter than promised, so that the coefficients are good to more digits than shown.
        if np.abs(gradient).max() <= 1e-2 * tolerance:
            return b
        step = _newton_step(hessian, gradient)
        previous, b = b, _descend(features, b, step, float(gradient @ step))
        if np.allclose(b, previous, rtol=1e-15, atol=0.0):
            break
    reached = float(np.abs(_win_derivatives(features, b)[0]).max())
    if reached <= tolerance:
        return b
    raise ConvergenceError(
        f"length_bias: max |gradient| is {reached:.3g} where the Newton steps end, expected <= {tolerance:.3g}; "
        "rescale quality_gap to order one."
    )


def _win_derivatives(
    features: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gradient (columns,) and Hessian (columns, columns) of the objective of `_win_logit`."""
    miss = 1.0 / (1.0 + np.exp(np.minimum(features @ b, 700.0)))  # sigma(-eta); exp(700) is still finite
    gradient = LENGTH_RIDGE * b - features.T @ miss
    hessian = features.T @ (features * (miss * (1.0 - miss))[:, None]) + LENGTH_RIDGE * np.eye(b.size)
    return gradient, hessian


def _newton_step(hessian: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """-hessian^-1 gradient, solved with unit diagonal so that the unit of a column does not matter."""
    scale = 1.0 / np.sqrt(np.diag(hessian))
    scaled = np.linalg.lstsq(hessian * np.outer(scale, scale), gradient * scale, rcond=None)[0]
    return -scaled * scale


def _descend(
    features: NDArray[np.float64], b: NDArray[np.float64], step: NDArray[np.float64], slope: float
) -> NDArray[np.float64]:
    """Halve `step` until the objective falls by a tenth of a percent of the linear prediction; b if it never does."""
    # Near the minimum the fall drowns in the rounding of the sum; a step inside that noise is still a good step.
    start = _win_objective(features, b) * (1.0 + 1e-13)
    for halving in range(_MAX_HALVINGS):
        candidate = b + step * 0.5**halving
        if _win_objective(features, candidate) <= start + 1e-3 * slope * 0.5**halving:
            return candidate
    return b


def _win_objective(features: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """-sum log sigma(features @ b) + (ridge / 2) |b|^2."""
    return float(np.sum(np.logaddexp(0.0, -(features @ b)))) + 0.5 * LENGTH_RIDGE * float(b @ b)


def position_bias(first_won_ab: ArrayLike, first_won_ba: ArrayLike, *, confidence: float = 0.95) -> PositionBias:
    """Measure how far a judge prefers a position, from pairs judged in both orders.

    Without position bias the response shown first wins half of all judgements, give or take
    z sqrt(0.25 / N); a judge that sees only the responses names the same winner in both orders.

    Args:
        first_won_ab: Outcome with response A shown first, shape (Q,): 1 the response shown first won, 0 the
            second, 0.5 a tie, NaN not judged.
        first_won_ba: Outcome with response B shown first, same coding (again: of the one *shown* first).
        confidence: Coverage of `null_band`, in (0, 1).

    Returns:
        PositionBias: `pairs` judged in both orders; `judgements` N of either order; `first_rate` mean over all of
        them; `null_band` around 1/2; `biased` first_rate outside the band; `consistent (Q,)` same winner in both
        orders, False if not judged twice; `consistency` its share among `pairs` (0.0 with code `no_swaps`).

    Raises:
        ContractError: Lengths differ, a value is not 0, 0.5, 1 or NaN, or there is no judgement at all.
    """
    z = normal_quantile(confidence)
    ab, ba = _outcomes(first_won_ab, "first_won_ab"), _outcomes(first_won_ba, "first_won_ba")
    same_length(first_won_ab=ab.size, first_won_ba=ba.size)
    judged = np.concatenate([ab[~np.isnan(ab)], ba[~np.isnan(ba)]])
    if judged.size == 0:
        raise ContractError("first_won_ab, first_won_ba: no judgement at all, expected at least one value not NaN.")
    pairs = int(np.sum(~np.isnan(ab) & ~np.isnan(ba)))
    consistent = ab == 1.0 - ba  # False wherever either is NaN
    first_rate = float(judged.mean())
    low, high = 0.5 - z * math.sqrt(0.25 / judged.size), 0.5 + z * math.sqrt(0.25 / judged.size)
    return PositionBias(
        pairs=pairs,
        judgements=judged.size,
        first_rate=first_rate,
        null_band=(low, high),
        biased=not low <= first_rate <= high,
        consistent=consistent,
        consistency=float(consistent.sum()) / pairs if pairs else 0.0,
        warnings=() if pairs else ("no_swaps: no pair was judged in both orders, consistency is unknown",),
    )


def _outcomes(values: ArrayLike, name: str) -> NDArray[np.float64]:
    outcomes = float_array(values, name, ndim=1, missing=True)
    refuse(~(np.isnan(outcomes) | np.isin(outcomes, (0.0, 0.5, 1.0))), name, outcomes, "expected 0, 0.5, 1 or NaN")
    return outcomes

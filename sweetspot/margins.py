"""Selection of pairs by several margins at once: Bayesian aggregation of preference margins (BeeS)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from sweetspot._arguments import array_of, finite, finite_array, flag, integer, positive, real_array, require
from sweetspot.errors import ContractError

FloatArray = NDArray[np.float64]

EXTERNAL_DIVISOR, IMPLICIT_DIVISOR = 1.5, 2.0


@dataclass(frozen=True)
class Bees:
    """Fused margins of Q pairs and the pairs kept.

    Attributes:
        probability: (Q,) fused preference score in [0, 1]. A rank, not a calibrated probability: a margin of 0
            maps to 2 / (U + 2) when L = -2.
        upper: (K,) the U of each source, unit of its margins.
        selected: (S,) pair indices, best first, S <= keep.
        warnings: `unscaled`, `saturated`, `short`, `few_pairs`, each followed by a colon and a sentence.
    """

    probability: FloatArray
    upper: FloatArray
    selected: NDArray[np.int64]
    warnings: tuple[str, ...]


def linear_probability(margins: Any, lower: Any, upper: Any) -> FloatArray:
    """Map margins to [0, 1] linearly: (clip(m, L, U) - L) / (U - L).

    Args:
        margins: Any shape, finite.
        lower: L, scalar or broadcastable to the margins; maps to exactly 0. Unit of the margins.
        upper: U > L, likewise; maps to exactly 1.

    Returns:
        float64 array of the broadcast shape.

    Raises:
        ContractError: A value that is not finite, L >= U somewhere, or shapes that do not broadcast.

    References:
        Deng et al. (2025), Less is More: Improving LLM Alignment via Preference Data Selection, arXiv:2502.14560.

    Notes:
        Not a sigmoid: with p = sigmoid(m) the fused score would rank pairs by the plain sum of margins.
    """
    low, high = finite_array("lower", lower), finite_array("upper", upper)
    values = finite_array("margins", margins)
    try:
        low, high = np.broadcast_arrays(low, high)
        np.broadcast_shapes(values.shape, low.shape)
    except ValueError as error:
        raise ContractError(
            f"margins, lower, upper: shapes do not broadcast ({error}). Use (K, 1) for rows."
        ) from error
    require("upper", high, low < high, "upper > lower")
    with np.errstate(over="ignore"):
        scale = np.where(np.isfinite(high - low), 1.0, 0.5)  # halves keep U - L inside float64
    low, high = low * scale, high * scale
    result = np.array(np.clip(values * scale if np.any(scale != 1.0) else values, low, high))
    result -= low
    result /= high - low
    return result


def dynamic_upper(margins: Any, *, lower: float = -2.0, min_count: int = 30, start_divisor: float | None) -> float:
    """Find the upper end U of `linear_probability` from the tail of one source's margins.

    With top = max(m) and n(U) = #{m >= U}, U rises in steps of 1 until n(U) < min_count or n(U) < top - U. The result
    is max(min(U, top), lower + 1).

    Args:
        margins: (Q,) finite, Q >= 1, in units of a few reward points or nats: the second condition compares a count
            with a margin, so U is not invariant to scale or offset.
        lower: L; the search never starts below ceil(lower + 1).
        min_count: A tail of fewer pairs ends the search, >= 1.
        start_divisor: The search starts at int(top / start_divisor), > 0: 1.5 for an external, 2.0 for an implicit
            margin. None starts at ceil(lower + 1), which an outlier at the top can end at once.

    Returns:
        U in the unit of the margins, at least lower + 1.

    Raises:
        ContractError: No margins, a value that is not finite, or an option out of range.

    References:
        Deng et al. (2025), arXiv:2502.14560, for the two conditions. The start at a fraction of the top is that of a
        port of the authors' code.
    """
    values = finite_array("margins", margins, ndim=1, minimum_size=1)
    floor_start = float(math.ceil(finite("lower", lower) + 1))
    least = integer("min_count", min_count, minimum=1)
    top = float(values.max())
    start = floor_start
    if start_divisor is not None:
        start = max(float(np.trunc(top / positive("start_divisor", start_divisor))), floor_start)
    return max(min(_first_stop(values, start, top, least), top), lower + 1.0)


def _first_stop(values: FloatArray, start: float, top: float, least: int) -> float:
    """First U in start, start + 1, … with n(U) < least or n(U) < top - U.

    If the first step does not stop then top - start <= n(start) <= Q, so the tail fits into at most Q + 1 unit
    bins: one count per bin replaces the walk, however large the margins are.
    """
    tail = values[values >= start]
    if len(tail) < least or len(tail) < top - start:
        return start
    per_unit = np.bincount((np.floor(tail) - start).astype(np.int64))
    at_or_above = np.cumsum(per_unit[::-1])[::-1]
    steps = np.arange(len(at_or_above))
    stops = (at_or_above < least) | (at_or_above < top - (start + steps))
    return start + (int(np.argmax(stops)) if stops.any() else len(stops))


def fuse(probabilities: Any) -> FloatArray:
    """Combine independent sources under a uniform prior: Π p / (Π p + Π (1 - p)) = sigmoid(Σ logit p).

    Ends are the limit of a symmetric clamp: with s = #{p = 1} - #{p = 0} in a column, s > 0 gives exactly 1, s < 0
    exactly 0, and at s = 0 ones and zeros cancel and the other sources decide (0.5 if there is none).

    Args:
        probabilities: (K, Q), K >= 1, values in [0, 1].

    Returns:
        (Q,) in [0, 1].

    Raises:
        ContractError: Not (K, Q), K = 0, or a value outside [0, 1].

    References:
        Deng et al. (2025), arXiv:2502.14560: product of sources; sums of log-odds do not underflow.
    """
    values = real_array("probabilities", probabilities, ndim=2)
    if len(values) == 0:
        raise ContractError("probabilities: got K = 0 sources, expected at least 1. Pass one row per source.")
    require("probabilities", values, (values >= 0) & (values <= 1), "values in [0, 1]")
    return expit(_log_odds(values))


def _log_odds(probabilities: FloatArray) -> FloatArray:
    """Σ logit p over K; +inf (-inf) where ones outnumber zeros (zeros outnumber ones)."""
    total = np.zeros(probabilities.shape[1])
    surplus = np.zeros(probabilities.shape[1], dtype=np.int64)
    # Sums of three and more depend on their order in the last bit; sorted sources make the result symmetric.
    sources = np.sort(probabilities, axis=0) if len(probabilities) > 2 else probabilities
    for p in sources:
        ones, zeros = p == 1.0, p == 0.0
        surplus += ones
        surplus -= zeros
        total += logit(np.where(ones | zeros, 0.5, p))
    total[surplus > 0] = np.inf
    total[surplus < 0] = -np.inf
    return total


def bees(
    margins: Any,
    *,
    keep: int,
    both_positive: bool = True,
    lower: float = -2.0,
    upper: Any = None,
    min_count: int = 30,
    start_divisor: Any = None,
) -> Bees:
    """Select the pairs whose margins agree most: p_k linear in [L, U_k], P = fuse(p), the top `keep` by log-odds.

    Args:
        margins: (K, Q) finite, signed chosen - rejected, K >= 1, Q >= 1. Row 0 is the external source (reward model),
            further rows are implicit margins (sums of log-ratios, nats). Units of several points: L is fixed.
        keep: Largest number of pairs to select, >= 1.
        both_positive: Only pairs with every margin > 0 are eligible.
        lower: L of all sources.
        upper: (K,) the U of each source, > lower; None finds them by `dynamic_upper` over all Q pairs.
        min_count: Passed to `dynamic_upper`.
        start_divisor: Passed to `dynamic_upper`: a scalar for every row or (K,) values; None means 1.5 for row 0 and
            2.0 for the rest.

    Returns:
        Bees, with a probability for every pair, eligible or not. Equal log-odds go to the larger sum of clipped
        margins, then to the lower index.

    Raises:
        ContractError: Margins not (K, Q), Q = 0, a value that is not finite, upper or start_divisor of another length
            or out of range, keep < 1.

    References:
        Deng et al. (2025), arXiv:2502.14560 (DM-MUL in its first version, BeeS from the third on).

    Notes:
        Log-odds rank pairs that round to the same probability. The filter on positive margins is that of a port of the
        authors' code; tie breaking is ours, and no clamp keeps p from 0 and 1.
    """
    values = finite_array("margins", margins, ndim=2, minimum_size=1)
    size = integer("keep", keep, minimum=1)
    filtered = flag("both_positive", both_positive)
    least = integer("min_count", min_count, minimum=1)
    low = finite("lower", lower)
    divisors = _divisors(start_divisor, len(values))
    if upper is None:
        uppers = np.array(
            [
                dynamic_upper(m, lower=low, min_count=least, start_divisor=d)
                for m, d in zip(values, divisors, strict=True)
            ]
        )
    else:
        uppers = _given_upper(upper, low, len(values))
    log_odds = _log_odds(linear_probability(values, low, uppers[:, None]))
    probability = expit(log_odds)
    eligible = np.flatnonzero((values > 0).all(axis=0)) if filtered else np.arange(values.shape[1])
    selected = _best(eligible, size, log_odds, values, low, uppers)
    few = least if upper is None else 0
    return Bees(probability, uppers, selected, _warnings(values, probability[eligible], size, few))


def _given_upper(upper: Any, lower: float, n_sources: int) -> FloatArray:
    uppers = finite_array("upper", upper, ndim=1).copy()
    if len(uppers) != n_sources:
        raise ContractError(
            f"upper: got {len(uppers)} values, expected {n_sources}, one per row of margins. Pass (K,)."
        )
    require("upper", uppers, uppers > lower, f"values > lower = {lower:g}")
    return uppers


def _divisors(start_divisor: Any, n_sources: int) -> Sequence[float | None]:
    if start_divisor is None:
        return [EXTERNAL_DIVISOR, *[IMPLICIT_DIVISOR] * (n_sources - 1)]
    given = array_of("start_divisor", start_divisor)
    if given.ndim == 0:
        return [positive("start_divisor", given.item())] * n_sources
    if given.shape != (n_sources,):
        raise ContractError(
            f"start_divisor: got shape {given.shape}, expected a scalar or ({n_sources},), one per row of margins."
        )
    return [None if d is None else positive("start_divisor", d) for d in given.tolist()]


def _best(
    eligible: NDArray[np.int64],
    keep: int,
    log_odds: FloatArray,
    margins: FloatArray,
    lower: float,
    upper: FloatArray,
) -> NDArray[np.int64]:
    """First `keep` of the eligible pairs by (log-odds, sum of clipped margins) descending, then index."""
    certain, open_ties = _split(eligible, log_odds[eligible], keep)
    tied_sum = _clipped_sum(margins[:, open_ties], lower, upper)
    above, last = _split(open_ties, tied_sum, keep - len(certain))
    pairs = np.sort(np.concatenate([certain, above, last[: keep - len(certain) - len(above)]]))
    clipped_sum = _clipped_sum(margins[:, pairs], lower, upper)
    return pairs[np.lexsort((-clipped_sum, -log_odds[pairs]))]


def _clipped_sum(margins: FloatArray, lower: float, upper: FloatArray) -> FloatArray:
    """Σ_k clip(m_k, L, U_k) of each pair; only the order counts, so a sum that would overflow is scaled down."""
    clipped = np.clip(margins, lower, upper[:, None])
    if max(abs(lower), float(upper.max())) > np.finfo(np.float64).max / len(upper):
        clipped *= 0.5 ** len(upper).bit_length()
    return clipped.sum(axis=0)


def _split(candidates: NDArray[np.int64], key: FloatArray, keep: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Candidates surely among the `keep` with the largest key, and those tied at the border (in index order)."""
    if len(candidates) <= keep:
        return candidates, candidates[:0]
    border = np.partition(key, len(key) - keep)[len(key) - keep]
    return candidates[key > border], candidates[key == border]


def _warnings(margins: FloatArray, probability: FloatArray, keep: int, min_count: int) -> tuple[str, ...]:
    """Warnings of `bees`; `probability` is that of the eligible pairs, `min_count` 0 where U was given."""
    found = []
    small = np.flatnonzero(np.maximum(margins.max(axis=1), -margins.min(axis=1)) <= 1)
    if len(small):
        found.append(
            f"unscaled: source(s) {', '.join(map(str, small))} have max |margin| <= 1; lower = -2 suits margins of "
            "several units, so rescale them first."
        )
    certain = int((probability == 1.0).sum())
    if certain > keep:
        found.append(
            f"saturated: {certain} eligible pairs have probability 1 for keep = {keep}; ties decide, raise upper."
        )
    if len(probability) < keep:
        found.append(f"short: {len(probability)} pairs are eligible, fewer than keep = {keep}.")
    if margins.shape[1] < min_count:
        found.append(
            f"few_pairs: {margins.shape[1]} pairs are fewer than min_count = {min_count}, so U is not data-driven; "
            "pass upper."
        )
    return tuple(found)

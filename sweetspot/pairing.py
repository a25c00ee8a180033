"""Pairs by reward position: which two samples of one prompt become chosen and rejected."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetspot._arguments import array_of, choice, finite, integer, real_kind
from sweetspot.errors import ContractError

IntArray = NDArray[np.int64]
KeyArray = NDArray[np.uint64]

POSITIONS: dict[str, float] = {
    "min": -math.inf,
    "mu-2sigma": -2.0,
    "mu-sigma": -1.0,
    "mu": 0.0,
    "mu+sigma": 1.0,
    "mu+2sigma": 2.0,
    "max": math.inf,
}
REASONS = np.array(["ok", "too_few", "sigma_zero", "no_gap", "same_text"])
_OK, _TOO_FEW, _SIGMA_ZERO, _NO_GAP, _SAME_TEXT = range(5)

_BLOCK_VALUES = 1 << 16  # 512 KiB of float64 per temporary: a block and its temporaries stay in the L2 cache
_CHOSEN_STREAM, _REJECTED_STREAM = 0, 1


@dataclass(frozen=True)
class PairPositions:
    """Column of the chosen and of the rejected sample of each prompt.

    Attributes:
        chosen: (P,) column of the chosen sample, -1 where `reason` is not `ok`.
        rejected: (P,) column of the rejected sample, -1 where `reason` is not `ok`.
        reason: (P,) one of `ok`, `too_few`, `sigma_zero`, `no_gap`, `same_text`.
    """

    chosen: IntArray
    rejected: IntArray
    reason: NDArray[np.str_]


@dataclass(frozen=True)
class _Rule:
    """A position in units of sigma (min and max are ∓inf), or None with the name of a random rule."""

    name: str
    position: float | None


@dataclass(frozen=True)
class _Plan:
    chosen: _Rule
    rejected: _Rule
    ddof: int
    subset: int
    seed: int


def pair_positions(
    rewards: Any,
    *,
    chosen: str | float = "max",
    rejected: str | float = "mu-2sigma",
    ddof: int = 0,
    subset: int = 5,
    seed: int = 0,
    text_ids: Any = None,
) -> PairPositions:
    """Pick the chosen and the rejected sample of every prompt by the position of their rewards.

    A position k is the sample nearest to mu + k·sigma of the prompt's own finite rewards; `min` and `max` are its
    limits. The rejected sample is looked for among the samples strictly below the chosen one, so a sample tied
    with the chosen is never rejected. Equal rewards and equal distances go to the lowest column.

    Args:
        rewards: (P, N) real. A value that is not finite is a missing sample, as if it had not been drawn.
        chosen: `min`, `mu-2sigma`, `mu-sigma`, `mu`, `mu+sigma`, `mu+2sigma`, `max`, `random` (uniform), or a finite
            number k for mu + k·sigma.
        rejected: The same, and `min_of_5`: the lowest of a random subset.
        ddof: 0 or 1; sigma² is the sum of squares over n - ddof.
        subset: Size of the subset of `min_of_5`, >= 1; `min(subset, n)` samples are drawn without replacement.
        seed: Seed of `random` and `min_of_5`, >= 0. The draw of a row depends on the seed, the row number and the
            order of its finite samples only.
        text_ids: (P, N) integers, equal in a row where the texts are equal; None skips the test.

    Returns:
        PairPositions. Reasons in order of precedence: `too_few` (n < 2), `sigma_zero` (all rewards equal), `no_gap`
        (nothing strictly below the chosen), `same_text`, `ok`.

    Raises:
        ContractError: Unknown rule, a chosen position not above the rejected one, an option out of range, rewards not
            (P, N), or text_ids of another shape or not integer.

    References:
        Xiao et al. (2025), Finding the Sweet Spot: Preference Data Construction for Scaling Preference
        Optimization, arXiv:2502.16825: the position grid, and max against the minimum of five random samples.

    Notes:
        Masking all ties with the chosen, `sigma_zero`, `no_gap` and `same_text` are ours. For n <= 2 + 2k² (k != 0) the
        nearest sample to mu ± k·sigma always has the extreme value, so it is taken directly: at n <= 10 `mu-2sigma`
        is `min`.
    """
    plan = _plan(chosen, rejected, ddof, subset, seed)
    samples = real_kind("rewards", array_of("rewards", rewards, ndim=2))
    texts = _texts(text_ids, samples.shape)
    n_prompts = len(samples)
    picks = np.full((2, n_prompts), -1, dtype=np.int64)
    codes = np.full(n_prompts, _TOO_FEW, dtype=np.int8)
    for rows, columns, block in _complete_blocks(samples):
        picks[:, rows], codes[rows] = _pick(block, columns, rows, plan)
    if texts is not None:
        paired = np.flatnonzero(codes == _OK)
        same = texts[paired, picks[0, paired]] == texts[paired, picks[1, paired]]
        codes[paired[same]] = _SAME_TEXT
    picks[:, codes != _OK] = -1
    return PairPositions(picks[0].copy(), picks[1].copy(), REASONS[codes])


def _plan(chosen: Any, rejected: Any, ddof: Any, subset: Any, seed: Any) -> _Plan:
    """Check the options and name the two rules."""
    high = _rule("chosen", chosen, ("random",))
    low = _rule("rejected", rejected, ("random", "min_of_5"))
    if high.position is not None and low.position is not None and high.position <= low.position:
        raise ContractError(
            f"chosen, rejected: got chosen {high.name} and rejected {low.name}, expected a chosen position above the "
            "rejected one (min < k < max). Swap them or choose others."
        )
    if integer("ddof", ddof, minimum=0) > 1:
        raise ContractError(f"ddof: got {ddof!r}, expected 0 or 1. Change the option.")
    return _Plan(high, low, int(ddof), integer("subset", subset, minimum=1), integer("seed", seed, minimum=0))


def _rule(argument: str, value: Any, random_names: tuple[str, ...]) -> _Rule:
    if isinstance(value, str):
        name = choice(argument, value, (*POSITIONS, *random_names))
        return _Rule(name, POSITIONS.get(name))
    position = finite(argument, value)
    return _Rule(f"mu{position:+g}sigma", position)


def _texts(text_ids: Any, shape: tuple[int, ...]) -> NDArray[Any] | None:
    if text_ids is None:
        return None
    texts = array_of("text_ids", text_ids)
    if texts.shape != shape:
        raise ContractError(
            f"text_ids: got shape {texts.shape}, expected {shape}, the shape of rewards. Pass one id per sample."
        )
    if texts.dtype.kind not in "iu":
        raise ContractError(f"text_ids: got dtype {texts.dtype}, expected integers. Number the texts first.")
    return texts


def _complete_blocks(samples: NDArray[Any]) -> Iterator[tuple[IntArray, IntArray | None, NDArray[np.float64]]]:
    """Cut (P, N) into blocks without holes: rows with equal n >= 2, their columns and values, both (R, n).

    Columns are None where no sample is missing. Rows with equal n are squeezed together, so that a missing sample
    changes nothing at all, not even the order of a sum.
    """
    n_prompts, n_samples = samples.shape
    step = max(1, _BLOCK_VALUES // max(n_samples, 1))
    for start in range(0, n_prompts, step):
        block = samples[start : start + step].astype(np.float64, order="C", copy=False)
        rows = np.arange(start, start + len(block))
        present = np.isfinite(block)
        counts = present.sum(axis=1)
        for n in np.unique(counts[counts >= 2]):
            if n == n_samples and counts.min() == n:
                yield rows, None, block
                continue
            alike = counts == n
            columns = np.nonzero(present[alike])[1].reshape(-1, n)
            yield rows[alike], columns, np.take_along_axis(block[alike], columns, axis=1)


def _pick(
    block: NDArray[np.float64], columns: IntArray | None, rows: IntArray, plan: _Plan
) -> tuple[IntArray, NDArray[np.int8]]:
    """Columns of chosen and rejected (2, R) and the reason codes (R,) of one block of finite rewards (R, n)."""
    block = _in_safe_range(block)
    here = np.arange(len(block))
    low, high = block.min(axis=1), block.max(axis=1)
    high_pick = _choose(block, low, high, None, plan.chosen, plan, rows)
    ceiling = block[here, high_pick]
    low_pick = _choose(block, low, high, ceiling, plan.rejected, plan, rows)
    codes = np.where(block[here, low_pick] < ceiling, _OK, _NO_GAP).astype(np.int8)
    codes[low == high] = _SIGMA_ZERO
    picks = np.stack([high_pick, low_pick])
    return (picks if columns is None else columns[here, picks]), codes


def _choose(
    block: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    ceiling: NDArray[np.float64] | None,
    rule: _Rule,
    plan: _Plan,
    rows: IntArray,
) -> IntArray:
    """Index (R,) that `rule` picks among all samples, or among those strictly below `ceiling` (R,).

    Where nothing lies below the ceiling any index may come back; the caller sees that it has no gap.
    """
    if rule.position is None:
        return _draw(block, ceiling, rule, plan, rows)
    position, n = rule.position, block.shape[1]
    if position != 0 and n <= 2 + 2 * position * position:
        position = math.copysign(math.inf, position)
    if position == -math.inf:
        return block.argmin(axis=1)  # a sample below the ceiling exists only if the lowest is below it
    if position == math.inf:
        distance = -block
    else:
        distance = block - _target(block, low, high, position, plan.ddof)[:, None]
        np.abs(distance, out=distance)
    if ceiling is not None:
        np.copyto(distance, np.inf, where=block >= ceiling[:, None])
    return distance.argmin(axis=1)


def _target(
    block: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    position: float,
    ddof: int,
) -> NDArray[np.float64]:
    """Mu + position·sigma (R,), moved to the nearest end of the row's range where it lies outside.

    Outside the range the nearest sample is the end itself; without the move a large position would make all
    distances equal by rounding.
    """
    mu = block.mean(axis=1)
    centred = block - mu[:, None]
    sigma = np.sqrt(np.einsum("ij,ij->i", centred, centred) / (block.shape[1] - ddof))
    with np.errstate(over="ignore"):
        return np.clip(mu + position * sigma, low, high)


def _in_safe_range(block: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows scaled by a power of two where their squares would overflow or vanish; no pick depends on the scale."""
    exponent = np.frexp(np.maximum(block.max(axis=1), -block.min(axis=1)))[1]
    extreme = np.abs(exponent) > 400
    if not extreme.any():
        return block
    return np.ldexp(block, np.where(extreme, -exponent, 0)[:, None])


def _draw(
    block: NDArray[np.float64], ceiling: NDArray[np.float64] | None, rule: _Rule, plan: _Plan, rows: IntArray
) -> IntArray:
    """Index (R,) of a uniform draw, or of the lowest reward in a uniform subset."""
    n = block.shape[1]
    keys = _keys(plan.seed, _CHOSEN_STREAM if ceiling is None else _REJECTED_STREAM, rows, n)
    if rule.name == "random":
        if ceiling is not None:
            np.copyto(keys, np.iinfo(np.uint64).max, where=block >= ceiling[:, None])
        return keys.argmin(axis=1)
    size = min(plan.subset, n)
    drawn = keys <= np.partition(keys, size - 1, axis=1)[:, size - 1 : size]
    return np.where(drawn, block, np.inf).argmin(axis=1)


def _keys(seed: int, stream: int, rows: IntArray, n: int) -> KeyArray:
    """Pseudo-random keys (R, n), distinct within a row, each a function of seed, stream, row and sample only.

    SplitMix64 (Steele, Lea, Flood 2014) on a counter: its last step is a bijection, so n counters give n keys. A
    generator with a state would make a row's draw depend on the rows before it and on missing samples.
    """
    odd = np.uint64(0x9E3779B97F4A7C15)
    start = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)[0]
    row_keys = _mix(start + odd * (rows.astype(np.uint64) + np.uint64(1)))
    return _mix(row_keys[:, None] + odd * np.arange(1, n + 1, dtype=np.uint64))


def _mix(state: KeyArray) -> KeyArray:
    """SplitMix64's output function, in place on its own copy."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state ^= state >> np.uint64(shift)
        state *= np.uint64(factor)
    state ^= state >> np.uint64(31)
    return state

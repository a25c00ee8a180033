"""Pairs by reward position: which two samples of one prompt become chosen and rejected."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetspot._arguments import FloatArray, array_of, choice, finite, integer, real_kind
from sweetspot._draws import LARGEST_KEY, draw_keys
from sweetspot._row_order import count_down
from sweetspot.errors import ContractError

IntArray = NDArray[np.int64]

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

_BLOCK_VALUES = 1 << 18  # 2 MiB of float64 per temporary: a block and its temporaries stay in cache
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


@dataclass(frozen=True)
class _Block:
    """Rows (R,) of the table and what their rules need.

    A missing sample has the value of the row's mean, which moves neither mean nor spread, and is False in `present`
    (None: nothing is missing). `n` counts the samples of a row. `scratch` (R, N) may be overwritten.
    """

    rows: IntArray
    values: FloatArray
    present: NDArray[np.bool_] | None
    n: int | IntArray
    mu: FloatArray
    scratch: FloatArray

    @property
    def place(self) -> slice | IntArray:
        """The rows as a slice where they follow one another: indexing by it is several times faster."""
        first, last = int(self.rows[0]), int(self.rows[-1])
        return slice(first, last + 1) if last - first + 1 == len(self.rows) else self.rows

    @cached_property
    def lowest(self) -> IntArray:
        """First column (R,) of the least reward. Few rules ask for it, and it takes a pass over the values."""
        return _pick_again(self, self.values.argmin(axis=1), lambda again: self.values[again])

    @cached_property
    def highest(self) -> IntArray:
        """First column (R,) of the greatest reward."""
        return _pick_again(self, self.values.argmax(axis=1), lambda again: -self.values[again])

    def at(self, columns: IntArray) -> FloatArray:
        """The reward (R,) of one column of each row."""
        return self.values[np.arange(len(self.rows)), columns]

    @cached_property
    def high(self) -> FloatArray:
        return self.at(self.highest)

    @property
    def is_extreme(self) -> NDArray[np.bool_]:
        """Rows (R,) whose squares might overflow or vanish.

        No reward is farther from 0 than n·(|mean| + |highest|), and none need be smaller than the larger of the two.
        """
        return np.abs(np.frexp(np.maximum(np.abs(self.high), np.abs(self.mu)))[1]) > 400


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
    high_picks, low_picks = np.empty(len(samples), np.int64), np.empty(len(samples), np.int64)
    codes = np.full(len(samples), _TOO_FEW, dtype=np.int8)
    for block in _blocks(samples):
        place = block.place
        high_picks[place], low_picks[place], codes[place] = _pick(block, plan)
    if texts is not None:
        paired = np.flatnonzero(codes == _OK)
        same = texts[paired, high_picks[paired]] == texts[paired, low_picks[paired]]
        codes[paired[same]] = _SAME_TEXT
    unpaired = np.flatnonzero(codes != _OK)
    high_picks[unpaired] = low_picks[unpaired] = -1
    return PairPositions(high_picks, low_picks, REASONS[codes])


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


def _blocks(samples: NDArray[Any]) -> Iterator[_Block]:
    """Cut (P, N) into blocks of rows with n >= 2."""
    n_prompts, n_samples = samples.shape
    step = max(1, _BLOCK_VALUES // max(n_samples, 1))
    scratch = np.empty((step, n_samples))
    for start in range(0, n_prompts if n_samples >= 2 else 0, step):
        values = samples[start : start + step].astype(np.float64, order="C", copy=False)
        rows = np.arange(start, start + len(values))
        with np.errstate(over="ignore", invalid="ignore"):
            mu = np.einsum("ij->i", values) / n_samples
        block = _Block(rows, values, None, n_samples, mu, scratch[: len(values)])
        # A finite sum says that nothing is missing, which spares a pass over the values.
        if not np.isfinite(mu).all() or block.is_extreme.any():
            block = _with_care(rows, values, scratch)
        if len(block.rows):
            yield block


def _with_care(rows: IntArray, values: FloatArray, scratch: FloatArray) -> _Block:
    """A block with missing or extreme values, without its rows of fewer than two samples."""
    present = np.isfinite(values)
    n = count_down(present.T)
    if n.min() < 2:
        enough = n >= 2
        rows, values, present, n = rows[enough], values[enough], present[enough], n[enough]
    known = np.where(present, values, 0.0)
    size = np.abs(known).max(axis=1, initial=0.0)
    if (exponent := np.frexp(size)[1] * (np.abs(np.frexp(size)[1]) > 400)).any():
        known = np.ldexp(known, -exponent[:, None])  # by a power of two, so that no pick depends on it
    mu = np.einsum("ij->i", known) / n
    np.copyto(known, mu[:, None], where=~present)
    return _Block(rows, known, present, n, mu, scratch[: len(rows)])


def _pick_again(
    block: _Block, picked: IntArray, distance: Callable[[IntArray], FloatArray], ceiling: FloatArray | None = None
) -> IntArray:
    """`picked` (R,), the columns of least distance, looked for again where they are missing or not below the ceiling.

    Ties aside that is seldom, so the mask is made only for those rows; `distance` gives theirs.
    """
    wrong = np.zeros(len(picked), dtype=np.bool_) if ceiling is None else block.at(picked) >= ceiling
    if block.present is not None:
        wrong |= ~block.present[np.arange(len(picked)), picked]
    again = np.flatnonzero(wrong)
    if len(again) == 0:
        return picked
    allowed = np.ones((len(again), block.values.shape[1]), np.bool_)
    if ceiling is not None:
        allowed &= block.values[again] < ceiling[again, None]
    if block.present is not None:
        allowed &= block.present[again]
    picked = picked.copy()
    picked[again] = np.where(allowed, distance(again), np.inf).argmin(axis=1)
    return picked


def _pick(block: _Block, plan: _Plan) -> tuple[IntArray, IntArray, NDArray[np.int8]]:
    """Columns of chosen and rejected (R,) and the reason codes (R,)."""
    high_pick = _choose(block, plan, plan.chosen, None)
    ceiling = block.at(high_pick)
    low_pick = _choose(block, plan, plan.rejected, ceiling)
    codes = np.where(block.at(low_pick) < ceiling, _OK, _NO_GAP).astype(np.int8)
    if (flat := codes == _NO_GAP).any():
        codes[flat & (block.at(block.lowest) == block.high)] = _SIGMA_ZERO
    return high_pick, low_pick, codes


def _choose(block: _Block, plan: _Plan, rule: _Rule, ceiling: FloatArray | None) -> IntArray:
    """Column (R,) that `rule` picks among all samples, or among those strictly below `ceiling` (R,).

    Where nothing lies below the ceiling any column may come back; the caller sees that it has no gap.
    """
    if rule.position is None:
        return _draw(block, plan, rule, ceiling)
    if rule.position < 0 and np.all(block.n <= _reach(rule.position)):
        return block.lowest  # a sample below the ceiling exists only if the lowest is below it
    if rule.position == math.inf and ceiling is None:
        return block.highest
    if rule.position == math.inf:
        distance = np.negative(block.values, out=block.scratch)
    else:
        distance = np.subtract(block.values, _target(block, rule.position, plan.ddof)[:, None], out=block.scratch)
        np.abs(distance, out=distance)
    return _pick_again(block, distance.argmin(axis=1), lambda again: distance[again], ceiling)


def _target(block: _Block, position: float, ddof: int) -> FloatArray:
    """The target mu + position·sigma (R,), or the end of the row's range where that is sure to be nearest.

    Without this exception a large position would make all distances equal by rounding.
    """
    if position == 0:
        return _mean_in_order(block)
    centred = np.subtract(block.values, block.mu[:, None], out=block.scratch)
    sigma = np.sqrt(np.einsum("ij,ij->i", centred, centred) / (block.n - ddof))
    target = block.high - _rounded(np.maximum(block.high - block.mu - position * sigma, 0.0))
    beyond = block.n <= _reach(position)
    if not np.any(beyond):
        return target
    return np.where(beyond, block.at(block.lowest) if position < 0 else block.high, target)


def _reach(position: float) -> float:
    """Up to this many samples, the one nearest to mu ± |position|·sigma is always the end of the range."""
    return 2 + 2 * position * position


def _mean_in_order(block: _Block) -> FloatArray:
    """Mean (R,) of what is there, added from left to right, so that a missing sample leaves no trace in it.

    Two samples are equally far from their mean; only its last bit could tell them apart.
    """
    values = block.values if block.present is None else np.where(block.present, block.values, 0.0)
    return np.add.accumulate(values, axis=1, out=block.scratch)[:, -1] / block.n


def _rounded(size: FloatArray) -> FloatArray:
    """To 40 bits (Veltkamp's splitting): the last bits of a sum show how it was grouped.

    Numpy groups by column, and a missing sample takes a column; without rounding it could turn a tie.
    """
    high_part = size * (2.0**13 + 1)
    return high_part - (high_part - size)


def _draw(block: _Block, plan: _Plan, rule: _Rule, ceiling: FloatArray | None) -> IntArray:
    """Column (R,) of a uniform draw, or of the lowest reward in a uniform subset."""
    n_samples = block.values.shape[1]
    present = np.ones((1, 1), np.bool_) if block.present is None else block.present
    numbers = np.arange(n_samples) if block.present is None else np.cumsum(present, axis=1) - 1
    keys = draw_keys(plan.seed, _CHOSEN_STREAM if ceiling is None else _REJECTED_STREAM, block.rows, numbers)
    if rule.name == "random":
        candidates = present if ceiling is None else present & (block.values < ceiling[:, None])
        return np.where(candidates, keys, LARGEST_KEY).argmin(axis=1)
    keys = np.where(present, keys, LARGEST_KEY)
    last = min(plan.subset, n_samples) - 1
    drawn = present & (keys <= np.partition(keys, last, axis=1)[:, last : last + 1])
    return np.where(drawn, block.values, np.inf).argmin(axis=1)

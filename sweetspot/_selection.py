"""Exact medians of columns too long to copy, read block by block.

A partition-based median copies its input and walks it several times in random order. Here a random
sample brackets the median, one sequential pass counts what lies below the bracket and keeps the few
values inside it, and the exact order statistic is read from those. The result does not depend on
the sample: a bracket that misses is widened.

References:
    Floyd, Rivest (1975), Expected time bounds for selection.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from sweetspot._checks import FloatArray, IntArray

ColumnBlocks = Callable[[], Iterable[list[FloatArray]]]

_COPY_LIMIT = 1 << 17
_SAMPLE_SIZE = 1 << 15
_BRACKET_SD = 6.0


@dataclass
class _Bracket:
    """Counts around one interval [low, high] and the values strictly inside it."""

    low: float
    high: float
    total: int = 0
    below: int = 0
    at_low: int = 0
    at_high: int = 0
    inside: list[FloatArray] = field(default_factory=list)

    def add(self, values: FloatArray) -> None:
        from_low = values >= self.low
        self.total += values.size
        self.below += values.size - int(np.count_nonzero(from_low))
        kept = values[from_low & (values <= self.high)]
        at_low, at_high = kept == self.low, kept == self.high
        self.at_low += int(np.count_nonzero(at_low))
        self.at_high += int(np.count_nonzero(at_high)) if self.high > self.low else 0
        self.inside.append(kept[~(at_low | at_high)])

    def median(self) -> float | None:
        """Median of everything added, NaN of nothing, None when it lies outside the interval."""
        if self.total == 0:
            return float("nan")
        inside = np.concatenate(self.inside)
        low = self._value_at((self.total - 1) // 2, inside)
        high = self._value_at(self.total // 2, inside)
        return None if low is None or high is None else _midpoint(low, high)

    def _value_at(self, rank: int, inside: FloatArray) -> float | None:
        """The value with `rank` others before it in sorted order, or None when it lies outside."""
        offset = rank - self.below
        if 0 <= offset < self.at_low:
            return self.low
        offset -= self.at_low
        if 0 <= offset < inside.size:
            return float(np.partition(inside, offset)[offset])
        offset -= inside.size
        return self.high if 0 <= offset < self.at_high else None


def sample_rows(n_rows: int) -> IntArray | slice:
    """Rows to sample for `column_medians`: all of a short table, 32768 random ones of a long one."""
    if n_rows <= _COPY_LIMIT:
        return slice(None)
    # Random positions, not a stride: rows often come sorted within a prompt, and a stride would alias.
    return np.sort(np.random.default_rng(0).integers(0, n_rows, _SAMPLE_SIZE))


def column_medians(blocks: ColumnBlocks, samples: list[FloatArray], *, n_rows: int) -> FloatArray:
    """Return the exact median of each column, NaN for an empty one.

    Args:
        blocks: Called for each pass; yields lists with one float64 array without NaN per column, the
            next stretch of it. Every pass must yield the same values.
        samples: Values of each column at the rows of `sample_rows(n_rows)`, without NaN.
        n_rows: Number of rows that `sample_rows` was asked about.

    Returns:
        Medians (columns,), the mean of the two middle values for an even count.
    """
    if n_rows <= _COPY_LIMIT:
        return np.array([median(values) for values in samples])
    brackets = [_bracket_of(np.sort(values)) for values in samples]
    while True:
        for block in blocks():
            for bracket, values in zip(brackets, block, strict=True):
                bracket.add(values)
        medians = [bracket.median() for bracket in brackets]
        if None not in medians:
            return np.array(medians, dtype=np.float64)
        brackets = [_Bracket(-np.inf, np.inf) for _ in brackets]


def median(values: FloatArray) -> float:
    """Median of a 1-D array without NaN; NaN for an empty array."""
    if values.size == 0:
        return float("nan")
    low, high = (values.size - 1) // 2, values.size // 2
    parted = np.partition(values, (low, high))
    return _midpoint(float(parted[low]), float(parted[high]))


def _midpoint(low: float, high: float) -> float:
    """Mean of two numbers, without overflow of their sum."""
    return low if low == high else 0.5 * low + 0.5 * high


def _bracket_of(ordered: FloatArray) -> _Bracket:
    if ordered.size == 0:
        return _Bracket(-np.inf, np.inf)
    reach = int(np.ceil(_BRACKET_SD * 0.5 * np.sqrt(ordered.size)))
    low = max(ordered.size // 2 - reach, 0)
    high = min(ordered.size // 2 + reach, ordered.size - 1)
    return _Bracket(float(ordered[low]), float(ordered[high]))

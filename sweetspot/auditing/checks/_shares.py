"""Shares with intervals, levels and words that several checks use."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.findings import Bars, Finding, Histogram, Level
from sweetspot.validation.bias import wilson_interval

Z95 = 1.959963984540054
BINS = 40


def interval(count: int, of: int) -> tuple[float, float]:
    """95 % Wilson interval of a share; (0, 1) without any."""
    return wilson_interval(count, of, Z95)


def share(count: int, of: int) -> float:
    """A share; 0 of nothing."""
    return count / of if of else 0.0


def level_of(value: float, look: float, bad: float) -> Level:
    """`ok` below `look`, `bad` from `bad` on."""
    return "bad" if value >= bad else "look" if value >= look else "ok"


def not_checked(check: str, title: str, why: str) -> Finding:
    """A check that this data has nothing for."""
    return Finding(check, title, "not_checked", why)


def bars(rows: Sequence[tuple[str, int, int]], axis: str, *, reference: float | None = None) -> Bars:
    """Shares with intervals, one per (label, count, of)."""
    return Bars(
        tuple(name for name, _, _ in rows),
        tuple(share(count, of) for _, count, of in rows),
        axis,
        tuple(interval(count, of) for _, count, of in rows),
        reference,
    )


def histogram(series: dict[str, NDArray[np.float64]], axis: str, *, whole: bool = False) -> Histogram | None:
    """Counts in equal bins from the 0.5 to the 99.5 percentile, the rest in the outer bins; None without values."""
    there = {name: values[np.isfinite(values)] for name, values in series.items()}
    together = np.concatenate(list(there.values()))
    if not together.size:
        return None
    low, high = (float(value) for value in np.percentile(together, [0.5, 99.5]))
    if low == high:
        low, high = low - 0.5, high + 0.5
    bins = max(1, min(BINS, math.ceil(high - low))) if whole else BINS
    edges = np.linspace(low, high, bins + 1)
    counts = {n: np.histogram(np.clip(v, low, high), edges)[0] for n, v in there.items()}
    return Histogram(tuple(edges.tolist()), {n: tuple(c.tolist()) for n, c in counts.items()}, axis)


def only(*charts: Bars | Histogram | None) -> tuple[Bars | Histogram, ...]:
    """The charts that are there."""
    return tuple(chart for chart in charts if chart is not None)

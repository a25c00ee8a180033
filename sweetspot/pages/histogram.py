"""Histograms: what a chart needs of a column, small enough to pass around."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sweetspot._checks import FloatArray, as_floats
from sweetspot.errors import ContractError

MAX_BINS = 1000


@dataclass(frozen=True)
class Histogram:
    """Counts of a number over adjoining bins; bin i is [edges[i], edges[i+1]), the last one closed.

    Attributes:
        edges: (bins + 1,) increasing, in the unit of the values.
        counts: (bins,) values in each bin.
        outside: values below the first or above the last edge.
        missing: values that were NaN.
        mean: of all values that were there, None without any.
        median: likewise.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    outside: int = 0
    missing: int = 0
    mean: float | None = None
    median: float | None = None

    def __post_init__(self) -> None:
        edges = as_floats("histogram: edges", self.edges)
        if len(edges) != len(self.counts) + 1 or len(self.counts) == 0 or not np.all(np.diff(edges) > 0):
            raise ContractError(
                f"histogram: got {len(edges)} edges for {len(self.counts)} counts, expected one more edge than "
                "counts, at least one bin, and increasing edges. Build it with `histogram`."
            )

    @property
    def total(self) -> int:
        """Values that were there, inside the edges or outside."""
        return sum(self.counts) + self.outside


def histogram(values: ArrayLike, bins: int | Sequence[float] = 40) -> Histogram:
    """Count values; NaN is counted as missing.

    Args:
        values: (n,) any unit; may be empty.
        bins: number of equal bins from the smallest to the largest value, 1 to 1000, or the edges.

    Raises:
        ContractError: values or edges are not finite numbers, or the number of bins is out of range.
    """
    array = as_floats("values", values, allow_nan=True)
    there = array[~np.isnan(array)]
    edges = _even_edges(there, bins) if isinstance(bins, int) else _given_edges(bins)
    counts = np.histogram(there, edges)[0]
    return Histogram(
        edges=tuple(edges.tolist()),
        counts=tuple(counts.tolist()),
        outside=int(len(there) - counts.sum()),
        missing=int(len(array) - len(there)),
        mean=float(there.mean()) if len(there) else None,
        median=float(np.median(there)) if len(there) else None,
    )


def histograms(series: Mapping[str, ArrayLike], bins: int = 40) -> dict[str, Histogram]:
    """Histograms of several columns over the same edges, so that they may be drawn over each other."""
    arrays = {name: as_floats(name, values, allow_nan=True) for name, values in series.items()}
    joined = np.concatenate(list(arrays.values())) if arrays else np.zeros(0)
    edges = _even_edges(joined[~np.isnan(joined)], bins)
    return {name: histogram(array, edges.tolist()) for name, array in arrays.items()}


def _given_edges(bins: Sequence[float]) -> FloatArray:
    edges = as_floats("bins", bins)
    if len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ContractError(f"bins: got {len(edges)} edges, expected at least two, increasing. Sort them.")
    return edges


def _even_edges(values: FloatArray, bins: int) -> FloatArray:
    if isinstance(bins, bool) or not 1 <= bins <= MAX_BINS:
        raise ContractError(f"bins: got {bins}, expected a whole number from 1 to {MAX_BINS}. Change bins.")
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
    # Equal values, or values closer than floats can split into bins, still get one visible column.
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        half = max(0.5, 1e-6 * abs(low))
        low, high = low - half, high + half
    return np.linspace(low, high, bins + 1)

"""Medians over a few raters for very many rows, by sorting networks.

A row holds 2 to 32 numbers, so a general sort per row costs far more in calls than in comparisons.
A network compares whole columns instead: each comparator is two vectorised operations on one block.
"""

from functools import cache

import numpy as np

from sweetspot._checks import BoolArray, FloatArray, IntArray

_NETWORK_LIMIT = 32


@cache
def comparators(n: int) -> tuple[tuple[int, int], ...]:
    """Comparator positions (low, high) that sort `n` values, for any n >= 0.

    References:
        Batcher (1968), Sorting networks and their applications; merge exchange for arbitrary n in
        Knuth, The Art of Computer Programming 3, algorithm 5.2.2M.
    """
    found: list[tuple[int, int]] = []
    top = 1 << max(n - 1, 0).bit_length() >> 1
    p = top
    while p > 0:
        q, r, d = top, 0, p
        while True:
            found += [(i, i + d) for i in range(n - d) if i & p == r]
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
    return tuple(found)


def sort_rows(columns: FloatArray) -> FloatArray:
    """Sort each column of a (K, b) array downwards; a row of the score table is a column here."""
    if columns.shape[0] > _NETWORK_LIMIT:
        return np.sort(columns, axis=0)
    ordered = list(columns)
    for low, high in comparators(len(ordered)):
        smaller = np.minimum(ordered[low], ordered[high])
        ordered[high] = np.maximum(ordered[low], ordered[high])
        ordered[low] = smaller
    return np.array(ordered).reshape(columns.shape)


def count_down(flags: BoolArray) -> IntArray:
    """Number of True values in each column of a (K, b) array, int64."""
    if flags.shape[0] >= 256:
        return np.count_nonzero(flags, axis=0).astype(np.int64)
    # Adding bytes is several times faster than counting along the first axis.
    return np.add.reduce(flags.view(np.uint8), axis=0, dtype=np.uint8).astype(np.int64)


def row_medians(columns: FloatArray, counts: IntArray | None = None) -> FloatArray:
    """Median of each row over what is there.

    Args:
        columns: (K, b) values, K >= 1, one column of the array per row of the table; NaN = missing.
        counts: (b,) number of values present in each row; None promises that none is missing.

    Returns:
        Medians (b,), the mean of the two middle values for an even count, NaN for an empty row.
    """
    if counts is None:
        ordered = sort_rows(columns)
        n = columns.shape[0]
        return 0.5 * ordered[(n - 1) // 2] + 0.5 * ordered[n // 2]
    ordered = sort_rows(np.where(np.isnan(columns), np.inf, columns))
    medians = np.full(columns.shape[1], np.nan)
    for n in range(1, columns.shape[0] + 1):
        rows = counts == n
        if rows.any():
            medians[rows] = 0.5 * ordered[(n - 1) // 2, rows] + 0.5 * ordered[n // 2, rows]
    return medians


def row_means(columns: FloatArray, counts: IntArray | None = None) -> FloatArray:
    """Mean of each row over what is there; arguments and result as `row_medians`."""
    if counts is None:
        return columns.mean(axis=0)
    total = np.where(np.isnan(columns), 0.0, columns).sum(axis=0)
    return np.where(counts > 0, total / np.maximum(counts, 1), np.nan)

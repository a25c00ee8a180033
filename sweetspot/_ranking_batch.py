"""Ranking of many small matrices by least absolute deviations."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot._batched_lad import DenseProblems, difference, fit_batched
from sweetspot._checks import (
    LARGEST_MAGNITUDE,
    BoolArray,
    FloatArray,
    IntArray,
    as_flags,
    as_numbers,
    as_scalar,
    reject_where,
    require_shape,
)
from sweetspot._dense_graph import DenseGraphs, dense_graphs
from sweetspot._pair_ranking import DOUBTFUL_SHARE, SD_PER_MAD
from sweetspot._preference_matrix import skew_margins
from sweetspot.errors import ContractError

# Cells per block: a handful of (b, n, n) arrays then fit in the second-level cache.
_BLOCK_CELLS = 1 << 16


@dataclass(frozen=True)
class BatchedLadResult:
    """Rankings of B matrices of n items by least absolute deviations.

    Attributes:
        scores: (B, n), unit logit, mean 0 in each component; 0.0 without comparisons.
        component: Component of each item (B, n), numbered by smallest item index.
        residual: margin - (s_i - s_j) (B, n, n), skew, 0 where nothing was observed.
        corrupted: Pairs taken to be wrong (B, n, n), symmetric.
        threshold: |residual| beyond which a pair stands against the fit (B,).
        corrupted_share: Share of each item's pairs beyond the threshold (B, n); 0 without pairs.
        flip_rate: Share of observed pairs that are `corrupted` (B,); 0.0 without pairs.
        unverifiable: Items compared with at most two others (B, n).
        iterations: Largest number of steps of any matrix.
        warnings: Codes as in `lad`, each once, with the number of matrices concerned.
    """

    scores: FloatArray
    component: IntArray
    residual: FloatArray
    corrupted: BoolArray
    threshold: FloatArray
    corrupted_share: FloatArray
    flip_rate: FloatArray
    unverifiable: BoolArray
    iterations: int
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Batch:
    """Checked arguments, still in the caller's types; blocks of it are converted one at a time."""

    margins: NDArray[Any]
    observed: BoolArray | None
    weight: NDArray[Any] | None
    threshold: float | None

    def block(self, start: int, stop: int) -> tuple[FloatArray, BoolArray, FloatArray]:
        """Margins, mask and weights (b, n, n) of some matrices: skew, symmetric, symmetric."""
        raw = self.margins[start:stop].astype(np.float64)
        label = f"margins (matrices from {start})"
        too_large = np.abs(raw) > LARGEST_MAGNITUDE
        reject_where(label, too_large, raw, rule="finite or NaN, at most 1e150", remedy="Replace them.")
        seen = ~np.isnan(raw) if self.observed is None else self.observed[start:stop]
        off_diagonal = ~np.eye(raw.shape[-1], dtype=np.bool_)
        missing = seen & np.isnan(raw) & off_diagonal
        reject_where(label, missing, raw, rule="not NaN where observed", remedy="Set observed to False there.")
        margins, pairs = skew_margins("margins", raw, seen, first=start)
        return margins, pairs, self._weights(start, stop, seen & off_diagonal, pairs)

    def _weights(self, start: int, stop: int, seen: BoolArray, pairs: BoolArray) -> FloatArray:
        if self.weight is None:
            return pairs.astype(np.float64)
        label = f"weight (matrices from {start})"
        given = np.where(seen, self.weight[start:stop], 0.0)
        bad = ~((given >= 0) & (given <= LARGEST_MAGNITUDE))
        reject_where(label, bad, given, rule="finite and >= 0 where observed", remedy="Use 0 to leave a pair out.")
        back = np.swapaxes(given, -1, -2)
        uneven = seen & np.swapaxes(seen, -1, -2) & (given != back)
        reject_where(label, uneven, given, rule="symmetric", remedy="Give both directions of a pair one weight.")
        return np.maximum(given, back)


def batched_lad(
    margins: ArrayLike,
    observed: ArrayLike | None = None,
    *,
    weight: ArrayLike | None = None,
    threshold: float | None = None,
) -> BatchedLadResult:
    """Rank the items of many small matrices, as `lad` does for one pair list.

    Minimises  sum over pairs of weight * |margin_ij - (s_i - s_j)|  for each matrix on its own. Each
    unordered pair is one term, whether one or both of its cells are given.

    Args:
        margins: margins[b, i, j] = how much i is better than j in problem b (B, n, n), unit logit. A cell
            seen in one direction is mirrored; both directions must be skew. The diagonal is ignored.
        observed: True where a cell was seen (B, n, n). None means where it is not NaN. Pad smaller
            problems with unobserved items.
        weight: Weight of each cell (B, n, n), >= 0, symmetric where both cells are seen; 0 takes a pair
            out of the fit, not out of the result. None means 1.
        threshold: As in `lad`, for all matrices. None means the default of `lad`, per matrix.

    Returns:
        BatchedLadResult; its rules are those of `lad` for each matrix. Warning codes: `disconnected`,
        `unverifiable`, `few_items`, `majority_doubtful`.

    Raises:
        ContractError: wrong shapes or values, or the two cells of a pair are not skew to
            1e-8 * max(1, max |margin|).
        ConvergenceError: as in `lad`.

    References:
        As `lad`.
    """
    batch = _checked(margins, observed, weight, threshold)
    n_matrices, n, _ = batch.margins.shape
    step = max(_BLOCK_CELLS // (n * n), 1)
    result = _empty_result(n_matrices, n)
    graph_counts = np.zeros(3, dtype=np.int64)
    iterations = 0
    for start in range(0, n_matrices, step):
        stop = min(start + step, n_matrices)
        graph, steps = _rank_block(batch, result, start, stop)
        graph_counts += _graph_counts(graph)
        iterations = max(iterations, steps)
    return BatchedLadResult(
        **result, iterations=iterations, warnings=_warnings(graph_counts, result["corrupted_share"])
    )


def _checked(
    margins: ArrayLike, observed: ArrayLike | None, weight: ArrayLike | None, threshold: float | None
) -> _Batch:
    array = as_numbers("margins", margins, ndim=3)
    if array.shape[1] != array.shape[2] or array.shape[1] == 0:
        raise ContractError(f"margins: got shape {array.shape}, expected (B, n, n) with n >= 1. Pass square matrices.")
    mask = None if observed is None else as_flags("observed", observed, shape=array.shape)
    weights = None if weight is None else as_numbers("weight", weight, ndim=3)
    if weights is not None:
        require_shape("weight", weights, array.shape)
    limit = None if threshold is None else as_scalar("threshold", threshold, low=0.0, open_low=True)
    return _Batch(array, mask, weights, limit)


def _empty_result(n_matrices: int, n: int) -> dict[str, Any]:
    return {
        "scores": np.zeros((n_matrices, n)),
        "component": np.zeros((n_matrices, n), dtype=np.int64),
        "residual": np.zeros((n_matrices, n, n)),
        "corrupted": np.zeros((n_matrices, n, n), dtype=np.bool_),
        "threshold": np.zeros(n_matrices),
        "corrupted_share": np.zeros((n_matrices, n)),
        "flip_rate": np.zeros(n_matrices),
        "unverifiable": np.zeros((n_matrices, n), dtype=np.bool_),
    }


def _rank_block(batch: _Batch, result: dict[str, Any], start: int, stop: int) -> tuple[DenseGraphs, int]:
    """Fit matrices start..stop and write their rows of the result; returns their graphs and the steps taken."""
    margins, pairs, weights = batch.block(start, stop)
    used = weights > 0
    graph = dense_graphs(used)
    scores, steps = _fit(margins, weights, used, graph, start)
    residual = np.where(pairs, margins - difference(scores), 0.0)
    if batch.threshold is None:
        limit = np.maximum(1e-3, 3.0 * SD_PER_MAD * _masked_medians(np.abs(residual), used))
    else:
        limit = np.full(stop - start, batch.threshold)
    beyond = np.abs(residual) > limit[:, None, None]
    corrupted = beyond & graph.may_be_flagged
    n_pairs, pairs_per_item = np.count_nonzero(pairs, axis=(1, 2)), np.count_nonzero(pairs, axis=2)
    rows = slice(start, stop)
    result["scores"][rows], result["component"][rows] = scores, graph.component
    result["residual"][rows], result["corrupted"][rows] = residual, corrupted
    result["threshold"][rows], result["unverifiable"][rows] = limit, graph.unverifiable
    result["flip_rate"][rows] = np.count_nonzero(corrupted, axis=(1, 2)) / np.maximum(n_pairs, 1)
    result["corrupted_share"][rows] = np.count_nonzero(beyond, axis=2) / np.maximum(pairs_per_item, 1)
    return graph, steps


def _fit(
    margins: FloatArray, weights: FloatArray, used: BoolArray, graph: DenseGraphs, start: int
) -> tuple[FloatArray, int]:
    """Scores (b, n), mean 0 per component, and the largest number of steps."""
    size = np.where(used, np.abs(margins), 0.0)
    middle = _masked_medians(size, used)
    largest = np.frexp(size.max(axis=(1, 2)))[1]
    typical = np.where(middle > 0, np.maximum(np.frexp(middle)[1], largest - 200), largest)
    heaviest = np.frexp(weights.max(axis=(1, 2)))[1]
    problems = DenseProblems(
        margin=np.ldexp(np.where(used, margins, 0.0), -typical[:, None, None]),
        weight=np.ldexp(weights, -heaviest[:, None, None]),
        free=(~(graph.pinned[:, :, None] | graph.pinned[:, None, :])).astype(np.float64),
        pinned=graph.pinned,
    )
    scores, steps = fit_batched(problems, start)
    return np.ldexp(graph.centred(scores), typical[:, None]), int(steps.max(initial=0))


def _masked_medians(values: FloatArray, mask: BoolArray) -> FloatArray:
    """Median over the upper triangle of each matrix (b, n, n) where `mask` is True (b,); 0.0 of nothing."""
    row, column = np.triu_indices(values.shape[1], 1)
    count = np.count_nonzero(mask[:, row, column], axis=1)
    ordered = np.sort(np.where(mask[:, row, column], values[:, row, column], np.inf), axis=1)
    ordered = np.where(np.isinf(ordered), 0.0, ordered)
    if ordered.shape[1] == 0:
        return np.zeros(values.shape[0])
    low = np.take_along_axis(ordered, np.maximum(count - 1, 0)[:, None] // 2, axis=1)
    high = np.take_along_axis(ordered, (count // 2)[:, None] * (count > 0)[:, None], axis=1)
    return np.where(count > 0, 0.5 * low[:, 0] + 0.5 * high[:, 0], 0.0)


def _graph_counts(graph: DenseGraphs) -> IntArray:
    """Matrices of a block that are disconnected, have unverifiable items, have components of 2 to 7 items."""
    few = (graph.size >= 2) & (graph.size < 8)
    concerned = [graph.component.max(axis=1) > 0, graph.unverifiable.any(axis=1), few.any(axis=1)]
    return np.array([np.count_nonzero(matrices) for matrices in concerned])


def _warnings(graph_counts: IntArray, corrupted_share: FloatArray) -> tuple[str, ...]:
    doubtful = np.count_nonzero((corrupted_share > DOUBTFUL_SHARE).any(axis=1))
    told = [
        (graph_counts[0], "disconnected", "have several components, scores are comparable only within one"),
        (graph_counts[1], "unverifiable", "have items compared with at most two others, which cannot be corrected"),
        (graph_counts[2], "few_items", "have components of 2 to 7 items, in which no comparison is flagged"),
        (doubtful, "majority_doubtful", "have an item with more than 0.35 of its comparisons against the fit"),
    ]
    total = corrupted_share.shape[0]
    return tuple(f"{code}: {count} of {total} matrices {text}" for count, code, text in told if count)

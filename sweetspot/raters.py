"""One quality per response from several raters, and which scores stand against the others.

Raters differ in offset and scale, and some scores are grossly wrong. Each rater is standardised
robustly, each row is summarised by its median, and a score far from its row is flagged, but only as
far as the row has the raters to decide who is wrong: with k usable scores at most floor((k - 1) / 2)
gross errors can be corrected, so two raters can disagree but neither can be shown to be wrong.

Rows are read in blocks; nothing but the results grows with the number of rows.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from sweetspot._checks import (
    LARGEST_MAGNITUDE,
    BoolArray,
    FloatArray,
    IntArray,
    as_numbers,
    as_scalar,
    reject_where,
    require_choice,
)
from sweetspot._rank1 import RaterFit, fit_rank1
from sweetspot._row_order import count_down, row_means, row_medians
from sweetspot._selection import column_medians, sample_rows
from sweetspot.errors import ContractError

METHODS = ("auto", "median", "rank1", "mean")

# Standard deviation over median absolute deviation, and over mean absolute deviation, of a normal.
_SD_PER_MAD = 1.4826
_SD_PER_MEAN_DEVIATION = 1.2533

_ZERO_RESIDUAL = 1e-9
# A rater whose scores differ by less than this share of their size differs only by rounding; a MAD this
# small beside the mean deviation is a MAD of zero with rounding in it.
_ROUNDING = 1e-14
_NARROW_MAD = 1e-9
_BLOCK_CELLS = 1 << 15
_RANK1_MIN_RATERS = 5
_CORRELATION_ROWS = 1 << 17


@dataclass(frozen=True)
class ConsensusResult:
    """Consensus of K raters over R rows. Fields as listed in `consensus`."""

    quality: FloatArray
    rater_offset: FloatArray
    rater_scale: FloatArray
    residual: FloatArray
    correctable_per_row: IntArray
    outlier: BoolArray
    disagreement: BoolArray
    threshold: float
    method: str
    warnings: tuple[str, ...]


def consensus(scores: ArrayLike, *, method: str = "auto", threshold: float | None = None) -> ConsensusResult:
    """Combine the scores of K raters into one quality per row and flag scores that stand alone.

    median, mean:  z = (score - a_k) / b_k,  a_k = median, b_k = 1.4826 * MAD of rater k's scores;
                   quality = row median (mean) of z.
    rank1:         min over a, b, s of  sum |score - a_k - b_k * s| / spread_k,  quality = s.

    Args:
        scores: Scores, shape (R, K), each rater in its own unit, higher is better; NaN = not rated.
        method: `median`, `rank1`, `mean` (for comparison only: one bad score moves it), or `auto`,
            which is `median` for K <= 4 and `rank1` for K >= 5.
        threshold: A residual larger than this, in rater sd, is flagged; > 0. Larger flags less.
            None means max(1e-3, 4 * 1.4826 * median |residual|) over residuals above 1e-9.

    Returns:
        ConsensusResult with
        `quality` (R,), unit rater sd, NaN only for a row without a usable score;
        `rater_offset`, `rater_scale` (K,), unit of the rater; scale 0.0 marks a rater left out;
        `residual` (R, K) = (score - offset) / scale - quality, NaN where not rated or left out;
        `correctable_per_row` (R,) = max(0, floor((k - 1) / 2)) for k usable scores;
        `outlier` (R, K), in rows with no more flagged cells than can be corrected;
        `disagreement` (R,), rows with more; none of their cells is an outlier;
        `threshold`, `method` (the one used), `warnings` (codes `constant_rater`, `unrated_rows`,
        `few_raters`, `single_rater`, `reversed_rater`).

    Raises:
        ContractError: `scores` is not a (R, K) array of finite numbers and NaN, every score is
            missing, `method` is unknown, or `threshold` is not a positive number.

    References:
        Huber (1981), Robust Statistics, for median and MAD as the most robust location and scale.

    Notes:
        If more than half of a rater's scores are equal (up to rounding), MAD is 0 and
        b_k = 1.2533 * mean |x - a_k|. A rater whose scores never vary, or that never scored, has
        scale 0.0 and is left out. When every rater is constant the quality is 0 for each rated row.
        `reversed_rater` looks at 131072 random rows when there are more.
    """
    require_choice("method", method, METHODS)
    limit = None if threshold is None else as_scalar("threshold", threshold, low=0.0, open_low=True)
    table = _checked_scores(scores)
    used = ("median" if table.shape[1] < _RANK1_MIN_RATERS else "rank1") if method == "auto" else method
    fit = _fit(table, used)
    limit = _default_threshold(fit.residual) if limit is None else limit
    correctable, outlier, disagreement = _flag_cells(fit.residual, limit)
    return ConsensusResult(
        quality=fit.quality,
        rater_offset=fit.offset,
        rater_scale=fit.scale,
        residual=fit.residual,
        correctable_per_row=correctable,
        outlier=outlier,
        disagreement=disagreement,
        threshold=limit,
        method=used,
        warnings=_warnings(table, fit.quality, fit.scale),
    )


def _fit(table: NDArray[np.generic], method: str) -> RaterFit:
    """Lines of the raters, quality and residuals by `method`; all raters constant leaves nothing for `rank1`."""
    offset, scale = _standardisation(table)
    if method == "rank1" and scale.any():
        return fit_rank1(table, offset, scale)
    quality, residual = _standardised_rows(table, offset, scale, use_mean=method == "mean")
    return RaterFit(offset, scale, quality, residual)


def _checked_scores(scores: ArrayLike) -> NDArray[np.generic]:
    table = as_numbers("scores", scores, ndim=2)
    if 0 in table.shape:
        raise ContractError(
            f"scores: got shape {table.shape}, expected at least one row and one rater. Nothing can be rated."
        )
    limit = LARGEST_MAGNITUDE if table.dtype.itemsize >= 8 else np.inf
    rated = False
    for rows in row_blocks(table):
        block = table[rows]
        # NaN compares as False, so a block without missing or unusable scores costs one comparison.
        if np.count_nonzero(np.abs(block) < limit) == block.size:
            rated = True
            continue
        reject_where(
            f"scores (rows from {rows.start})",
            np.abs(block) >= limit,
            block,
            rule="finite or NaN, below 1e150 in size",
            remedy="Write NaN for a score that is missing and drop infinite ones.",
        )
        rated = rated or not bool(np.isnan(block).all())
    if not rated:
        raise ContractError(
            f"scores: all {table.size} scores are missing (first at index (0, 0)), expected at least one "
            "number. Check that the raters ran and that their columns were joined."
        )
    return table


def row_blocks(table: NDArray[np.generic]) -> Iterator[slice]:
    """Cut the rows of (R, K) into blocks that stay near the core."""
    step = max(_BLOCK_CELLS // table.shape[1], 1)
    for start in range(0, table.shape[0], step):
        yield slice(start, start + step)


def columns_of(table: NDArray[np.generic], rows: slice | IntArray) -> FloatArray:
    """Those rows as a contiguous (K, b) array, one row per rater."""
    return np.array(table[rows].T, dtype=np.float64, order="C")


def _present(columns: FloatArray) -> list[FloatArray]:
    """The scores of each column that are not missing."""
    return [column[~np.isnan(column)] for column in columns] if np.isnan(columns.min()) else list(columns)


def _standardisation(table: NDArray[np.generic]) -> tuple[FloatArray, FloatArray]:
    """Offset and scale (K,) of each rater; scale 0.0 for one that is constant or never scored."""

    def values() -> Iterator[list[FloatArray]]:
        for rows in row_blocks(table):
            yield _present(columns_of(table, rows))

    def deviations() -> Iterator[list[FloatArray]]:
        return map(distances, values())

    def distances(block: list[FloatArray]) -> list[FloatArray]:
        return [np.abs(column - middle) for column, middle in zip(block, offset, strict=True)]

    n_rows, n_raters = table.shape
    sample = _present(columns_of(table, sample_rows(n_rows)))
    offset = np.nan_to_num(column_medians(values, sample, n_rows=n_rows))
    mad = np.nan_to_num(column_medians(deviations, distances(sample), n_rows=n_rows))
    total, count = np.zeros(n_raters), np.zeros(n_raters)
    for block in deviations():
        total += [column.sum() for column in block]
        count += [column.size for column in block]
    mean_deviation = total / np.maximum(count, 1)
    mean_deviation[mean_deviation <= _ROUNDING * np.abs(offset)] = 0.0
    narrow = mad <= _NARROW_MAD * mean_deviation
    scale = np.where(narrow, _SD_PER_MEAN_DEVIATION * mean_deviation, _SD_PER_MAD * mad)
    return offset, np.where(mean_deviation > 0, scale, 0.0)


def _standardised_rows(
    table: NDArray[np.generic], offset: FloatArray, scale: FloatArray, *, use_mean: bool
) -> tuple[FloatArray, FloatArray]:
    """Row summary (R,) of the standardised scores, and what each score differs from it (R, K)."""
    quality = np.empty(table.shape[0])
    residual = np.empty(table.shape)
    for rows in row_blocks(table):
        columns = columns_of(table, rows)
        quality[rows], _ = standardise_block(columns, offset, scale, use_mean=use_mean)
        residual[rows] = columns.T
    return quality, residual


def standardise_block(
    columns: FloatArray, offset: FloatArray, scale: FloatArray, *, use_mean: bool
) -> tuple[FloatArray, IntArray | None]:
    """Turn (K, b) scores, in place, into what each differs from its row's summary, in rater standard deviations.

    Returns:
        The summaries (b,), and how many scores count in each row; None where all do.
    """
    in_use = scale > 0
    if not in_use.any():
        quality = np.where(np.isnan(columns).all(axis=0), np.nan, 0.0)
        columns.fill(np.nan)
        return quality, np.zeros(columns.shape[1], dtype=np.int64)
    columns -= offset[:, None]
    columns /= np.where(in_use, scale, np.nan)[:, None]
    counts = count_down(~np.isnan(columns)) if np.isnan(columns.min()) else None
    quality = (row_means if use_mean else row_medians)(columns, counts)
    columns -= quality
    return quality, counts


def _default_threshold(residual: FloatArray) -> float:
    """4 robust standard deviations of the residuals that are not zero, at least 1e-3."""

    def sizes() -> Iterator[list[FloatArray]]:
        for rows in row_blocks(residual):
            yield [nonzero_sizes(residual[rows])]

    def nonzero_sizes(block: FloatArray) -> FloatArray:
        size = np.abs(block).ravel()
        return size[size > _ZERO_RESIDUAL]

    n_rows = residual.shape[0]
    sample = nonzero_sizes(residual[sample_rows(n_rows)])
    typical = np.nan_to_num(column_medians(sizes, [sample], n_rows=n_rows))[0]
    return max(1e-3, 4.0 * _SD_PER_MAD * float(typical))


def _flag_cells(residual: FloatArray, threshold: float) -> tuple[IntArray, BoolArray, BoolArray]:
    """Correctable errors per row (R,), outlying cells (R, K), rows nobody can decide (R,)."""
    correctable = np.empty(residual.shape[0], dtype=np.int64)
    outlier = np.empty(residual.shape, dtype=np.bool_)
    disagreement = np.empty(residual.shape[0], dtype=np.bool_)
    for rows in row_blocks(residual):
        columns = columns_of(residual, rows)
        usable = count_down(~np.isnan(columns))
        correctable[rows] = np.maximum(usable - 1, 0) // 2
        far, _, disagreement[rows] = flag_block(columns, usable, threshold)
        outlier[rows] = (far & ~disagreement[rows]).T
    return correctable, outlier, disagreement


def flag_block(columns: FloatArray, usable: IntArray, threshold: float) -> tuple[BoolArray, IntArray, BoolArray]:
    """Cells of (K, b) residuals beyond the threshold, how many a row has (b,), and where they are too many to correct.

    Overwrites the residuals with their sizes.
    """
    far = np.abs(columns, out=columns) > threshold
    count = count_down(far)
    return far, count, count > np.maximum(usable - 1, 0) // 2


def _warnings(table: NDArray[np.generic], quality: FloatArray, scale: FloatArray) -> tuple[str, ...]:
    n_raters, n_usable = scale.size, int(np.count_nonzero(scale))
    found = []
    if n_usable < n_raters:
        found.append(
            f"constant_rater: {n_raters - n_usable} of {n_raters} raters left out because their scores never "
            f"vary or are all missing (first: rater {int(np.argmin(scale > 0))})"
        )
    unrated = np.isnan(quality)
    if unrated.any():
        found.append(
            f"unrated_rows: {int(np.count_nonzero(unrated))} of {unrated.size} rows have no usable score "
            f"(first: row {int(np.argmax(unrated))}); their quality is NaN"
        )
    if n_usable <= 2:
        found.append(
            f"few_raters: {n_usable} usable raters, so disagreement can be seen but no score can be shown wrong"
        )
    if n_raters == 1:
        found.append("single_rater: one rater, so its scores are taken as they are")
    against = _reversed_raters(table, quality, scale) if n_usable >= 3 else []
    if against:
        found.append(
            f"reversed_rater: {len(against)} of {n_raters} raters rank against the consensus (first: rater "
            f"{against[0]}); check that higher is better for it"
        )
    return tuple(found)


def _reversed_raters(table: NDArray[np.generic], quality: FloatArray, scale: FloatArray) -> list[int]:
    """Raters in use whose Spearman correlation with the consensus is negative."""
    rows = np.arange(quality.size)
    if rows.size > _CORRELATION_ROWS:
        rows = np.sort(np.random.default_rng(0).integers(0, rows.size, _CORRELATION_ROWS))
    rows = rows[~np.isnan(quality[rows])]
    sampled, summary = table[rows].astype(np.float64), quality[rows]
    return [int(k) for k in np.flatnonzero(scale) if _rank_covariance(sampled[:, k], summary) < 0]


def _rank_covariance(scores: FloatArray, summary: FloatArray) -> float:
    """Covariance of average ranks over the rows where `scores` is not NaN; it has Spearman's sign."""
    there = ~np.isnan(scores)
    # Doubled ranks about their mean are whole numbers, so the sum is exact and its sign certain.
    centred = [2.0 * rankdata(values[there]) - (np.count_nonzero(there) + 1) for values in (scores, summary)]
    return float(np.dot(*centred))

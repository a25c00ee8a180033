"""Rank-one robust fit of raters: score = a_k + b_k * s, by iteratively reweighted least squares.

Works in standardised units z = (score - median_k) / spread_k, where the model is z = alpha_k + beta_k * s.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetspot._checks import FloatArray, IntArray
from sweetspot._row_order import row_medians

# Higher is better for every rater, so a slope is positive; a smaller one would divide noise by almost nothing.
MIN_SLOPE = 0.05

_FIT_ROWS = 1 << 17
_BLOCK_ROWS = 1 << 14
_TIE = 1e-9
_EPSILON_START, _EPSILON_DECAY, _EPSILON_FLOOR = 1.0, 0.93, 1e-8


@dataclass(frozen=True)
class RaterFit:
    """Row-wise summary and rater lines: score = offset + scale * quality + residual."""

    offset: FloatArray
    scale: FloatArray
    quality: FloatArray
    residual: FloatArray


def fit_rank1(table: NDArray[Any], offset: FloatArray, scale: FloatArray) -> RaterFit:
    """Fit min sum |z - alpha_k - beta_k * s| over s (R,), alpha, beta (K,), or keep the row median.

    Args:
        table: Scores (R, K), NaN = missing.
        offset: Median of each rater (K,), unit of the rater.
        scale: Robust spread of each rater (K,); 0.0 leaves the rater out; at least one is > 0.

    Returns:
        RaterFit: the fit, or the row median of z (alpha = 0, beta = 1) where that has the smaller sum
        of |z residual|; either way with quality of mean 0 and sd 1 over rated rows. Scale stays 0.0
        for raters left out.

    Notes:
        Given the lines, s is the exact weighted median of the row, not the last IRLS iterate. Lines
        are estimated from rows with at least two usable scores (one score fits any line), and from
        131072 rows spread evenly over the row medians when there are more.
    """
    use = np.flatnonzero(scale)
    z = ((table[:, use] - offset[use]) / scale[use]).T.astype(np.float64, order="C")
    counts = np.count_nonzero(~np.isnan(z), axis=0)
    median = row_medians(z, counts)
    alpha, beta = _fit_lines(z, median, counts)
    s = _row_weighted_medians(z, alpha, beta)
    slack = _TIE * np.count_nonzero(~np.isnan(z))
    if _cost(z, alpha, beta, s) > (1 + _TIE) * _cost(z, *_start(use.size), median) + slack:
        alpha, beta, s = *_start(use.size), median
    rated = s[counts > 0]
    middle, spread = float(rated.mean()), float(rated.std())
    if spread > 0:
        alpha, beta, s = alpha + beta * middle, beta * spread, (s - middle) / spread
    residual = np.full(table.shape, np.nan)
    residual[:, use] = ((z - alpha[:, None]) / beta[:, None] - s).T
    line_offset, line_scale = offset.copy(), scale.copy()
    line_offset[use] += scale[use] * alpha
    line_scale[use] *= beta
    return RaterFit(line_offset, line_scale, s, residual)


def _start(n_raters: int) -> tuple[FloatArray, FloatArray]:
    """Lines (alpha, beta) of the row median: z = s."""
    return np.zeros(n_raters), np.ones(n_raters)


def _cost(z: FloatArray, alpha: FloatArray, beta: FloatArray, s: FloatArray) -> float:
    """Sum of |z - alpha_k - beta_k * s| over what is there."""
    return float(np.nansum(np.abs(z - alpha[:, None] - beta[:, None] * s)))


def _fit_rows(median: FloatArray, counts: IntArray) -> IntArray:
    """Rows the lines are estimated from: at least two scores, at most `_FIT_ROWS` of them."""
    rows = np.flatnonzero(counts >= 2)
    if rows.size <= _FIT_ROWS:
        return rows
    # Spread over the quantiles, so that the choice does not depend on the order of the rows.
    by_median = rows[np.argsort(median[rows], kind="stable")]
    return by_median[np.linspace(0, rows.size - 1, _FIT_ROWS).astype(np.int64)]


def _fit_lines(z: FloatArray, median: FloatArray, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Offsets alpha and slopes beta >= MIN_SLOPE (K,) by alternating IRLS, epsilon 1 -> 1e-8."""
    rows = _fit_rows(median, counts)
    alpha, beta = _start(z.shape[0])
    if rows.size == 0:
        return alpha, beta
    observed = ~np.isnan(z[:, rows])
    y = np.where(observed, z[:, rows], 0.0)
    s = median[rows]
    epsilon = _EPSILON_START
    while epsilon > _EPSILON_FLOOR:
        weight = _weights(y, observed, alpha, beta, s, epsilon)
        s = _row_step(y, weight, alpha, beta)
        middle, spread = float(s.mean()), float(s.std())
        if spread == 0:
            break
        alpha, beta, s = alpha + beta * middle, beta * spread, (s - middle) / spread
        alpha, beta = _line_step(y, _weights(y, observed, alpha, beta, s, epsilon), s)
        epsilon *= _EPSILON_DECAY
    return alpha, beta


def _weights(
    y: FloatArray, observed: NDArray[np.bool_], alpha: FloatArray, beta: FloatArray, s: FloatArray, epsilon: float
) -> FloatArray:
    """IRLS weights 1 / sqrt(residual^2 + epsilon^2), 0 where nothing was observed."""
    residual = y - alpha[:, None] - beta[:, None] * s
    return observed / np.sqrt(residual * residual + epsilon * epsilon)


def _row_step(y: FloatArray, weight: FloatArray, alpha: FloatArray, beta: FloatArray) -> FloatArray:
    """Weighted least-squares s (R,) for fixed lines."""
    pull = weight * beta[:, None]
    return np.sum(pull * (y - alpha[:, None]), axis=0) / np.sum(pull * beta[:, None], axis=0)


def _line_step(y: FloatArray, weight: FloatArray, s: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Weighted least-squares line of each rater on s, slope at least MIN_SLOPE; an empty rater keeps (0, 1)."""
    total = weight.sum(axis=1)
    there = total > 0
    total = np.where(there, total, 1.0)
    s_mean, y_mean = (weight @ s) / total, np.sum(weight * y, axis=1) / total
    centred = s - s_mean[:, None]
    variance = np.sum(weight * centred * centred, axis=1)
    covariance = np.sum(weight * centred * (y - y_mean[:, None]), axis=1)
    varies = there & (variance > 0)
    slope = np.where(varies, np.maximum(covariance / np.where(varies, variance, 1.0), MIN_SLOPE), 1.0)
    return np.where(there, y_mean - slope * s_mean, 0.0), slope


def _row_weighted_medians(z: FloatArray, alpha: FloatArray, beta: FloatArray) -> FloatArray:
    """Exact minimiser (R,) of sum_k |z - alpha_k - beta_k * s|; NaN for rows without scores.

    It is the median of (z - alpha) / beta with weights beta; the middle of the interval when every
    point of an interval is a minimiser.
    """
    s = np.empty(z.shape[1])
    for start in range(0, s.size, _BLOCK_ROWS):
        stretch = slice(start, start + _BLOCK_ROWS)
        points = (z[:, stretch] - alpha[:, None]) / beta[:, None]
        order = np.argsort(points, axis=0)
        ordered = np.take_along_axis(points, order, axis=0)
        mass = np.cumsum(np.where(np.isnan(ordered), 0.0, beta[order]), axis=0)
        half, slack = 0.5 * mass[-1], 1e-12 * mass[-1]
        lower = np.argmax(mass >= half - slack, axis=0)
        upper = np.argmax(mass > half + slack, axis=0)
        ends = np.take_along_axis(ordered, np.stack([lower, upper]), axis=0)
        s[stretch] = 0.5 * ends[0] + 0.5 * ends[1]
    return s

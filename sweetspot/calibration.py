"""Rater parameters found once over a night, then applied to any part of it.

`raters.consensus` needs all scores at once for the raters' offsets and scales. A night is worked in
chunks, so the parameters are found on all scores (or on a fixed random part of very many) and every
chunk is cleaned with the same ones.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot._checks import FloatArray
from sweetspot.errors import ContractError
from sweetspot.raters import columns_of, consensus, flag_block, row_blocks, standardise_block

SKEWED_ABOVE_SD = 50.0


@dataclass(frozen=True)
class Calibration:
    """What cleaning needs to know of the whole night.

    Attributes:
        offset: (K,) typical score of each rater, in its unit.
        scale: (K,) spread of each rater, in its unit; 0 leaves the rater out.
        threshold: residual in rater standard deviations above which a cell stands alone.
        method: method of the consensus that was used.
        warnings: what `consensus` had to say.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]
    threshold: float
    method: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class CleanedRows:
    """Consensus of some rows under a calibration.

    Attributes:
        quality: (R,) unit rater standard deviations; NaN for a row without a usable score.
        usable: (R,) scores that counted.
        outliers: (R,) scores flagged as one rater's error.
        disagreement: (R,) more flagged scores than can be corrected.
    """

    quality: NDArray[np.float64]
    usable: NDArray[np.int64]
    outliers: NDArray[np.int64]
    disagreement: NDArray[np.bool_]


def calibrate(scores: ArrayLike, *, method: str = "auto", threshold: float | None = None) -> Calibration:
    """Find offsets, scales and threshold of K raters from (R, K) scores; see `raters.consensus`."""
    fit = consensus(scores, method=method, threshold=threshold)
    skewed = _skewed(np.asarray(scores, dtype=np.float64), fit.rater_offset, fit.rater_scale)
    return Calibration(
        offset=tuple(fit.rater_offset.tolist()),
        scale=tuple(fit.rater_scale.tolist()),
        threshold=fit.threshold,
        method=fit.method,
        warnings=(*fit.warnings, *skewed),
    )


def _skewed(scores: FloatArray, offset: FloatArray, scale: FloatArray) -> tuple[str, ...]:
    """Warn of raters whose typical spread says nothing of their range, such as probabilities crowded near 0."""
    used = np.flatnonzero(scale > 0)
    with np.errstate(all="ignore"):
        widest = np.nanmax(np.abs(scores[:, used] - offset[used]), axis=0, initial=0.0) / scale[used]
    found = [f"{int(k)} ({z:.0f} sd)" for k, z in zip(used, widest, strict=True) if z > SKEWED_ABOVE_SD]
    if not found:
        return ()
    return (
        f"skewed_rater: scores of rater {', '.join(found)} lie far outside its scale; give probabilities as log-odds",
    )


def apply_calibration(scores: ArrayLike, calibration: Calibration) -> CleanedRows:
    """Clean (R, K) scores with known rater parameters.

    z = (score - offset) / scale; quality is the row's median of z (its mean for the method `mean`).

    Raises:
        ContractError: the scores have another number of raters than the calibration.

    Notes:
        For `median` and `mean` the result on all rows equals that of `raters.consensus`. For `rank1` the
        fitted offsets and scales are kept, and a row's quality is the median of its z.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(calibration.scale):
        raise ContractError(
            f"scores: shape {table.shape}, expected (rows, {len(calibration.scale)}) as in the calibration"
        )
    cleaned = CleanedRows(
        quality=np.empty(len(table)),
        usable=np.empty(len(table), dtype=np.int64),
        outliers=np.empty(len(table), dtype=np.int64),
        disagreement=np.empty(len(table), dtype=np.bool_),
    )
    offset, scale, use_mean = (
        np.asarray(calibration.offset),
        np.asarray(calibration.scale),
        calibration.method == "mean",
    )
    # One pass while a block is near the core: a night has many more rows than any cache holds.
    for rows in row_blocks(table):
        columns = columns_of(table, rows)
        cleaned.quality[rows], counts = standardise_block(columns, offset, scale, use_mean=use_mean)
        cleaned.usable[rows] = len(columns) if counts is None else counts
        _, far, disagreement = flag_block(columns, cleaned.usable[rows], calibration.threshold)
        cleaned.outliers[rows], cleaned.disagreement[rows] = np.where(disagreement, 0, far), disagreement
    return cleaned

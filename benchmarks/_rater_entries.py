"""Benchmarks of the consensus of several raters."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from _measure import OURS, Answer, Contestant, Entry, Floor, Inputs, Machine, Measured, Size, Target
from numpy.typing import NDArray

from sweetspot.calibration import Calibration, CleanedRows, apply_calibration, calibrate
from sweetspot.raters import ConsensusResult, consensus

FloatArray = NDArray[np.float64]
RowSummary = Callable[[FloatArray], FloatArray]

_CORRUPT, _GROSS, _NOISE = 0.05, 5.0, 0.3
_SD_PER_MAD = 1.4826
_TOLERANCE = 1e-12


def _scores(rng: np.random.Generator, rows: int, raters: int) -> FloatArray:
    """Scores of raters with an offset and a scale each; one in twenty is grossly wrong."""
    truth = rng.standard_normal((rows, 1))
    scale, offset = np.linspace(0.5, 2.0, raters), np.linspace(-1.0, 3.0, raters)
    scores = offset + scale * (truth + _NOISE * rng.standard_normal((rows, raters)))
    wrong = rng.random(scores.shape) < _CORRUPT
    return scores + wrong * scale * _GROSS * rng.choice([-1.0, 1.0], scores.shape)


def _stream(*, rows: int, raters: int, chunk: int, ring: int, sampled: int) -> Inputs:
    """A ring of different chunks, visited in turn until `rows` have passed; larger than the caches."""
    rng = np.random.default_rng(0)
    chunks = np.stack([_scores(rng, chunk, raters) for _ in range(ring)])
    return {"chunks": chunks, "n_chunks": rows // chunk, "sampled": sampled, "calibration": calibrate(chunks[0])}


def _visit(inputs: Inputs, n_chunks: int, clean: Callable[[FloatArray, Calibration], Any]) -> Any:
    """Clean so many chunks, the last of the ring last, and keep what came of that one only."""
    chunks, found = inputs["chunks"], None
    for number in range(n_chunks):
        found = clean(chunks[(number - n_chunks) % len(chunks)], inputs["calibration"])
    return found


def _ours_stream(inputs: Inputs) -> CleanedRows:
    return _visit(inputs, inputs["n_chunks"], apply_calibration)


def _ours_short_stream(inputs: Inputs) -> CleanedRows:
    return _visit(inputs, max(1, inputs["n_chunks"] // 8), apply_calibration)


def _cleaned_answer(result: CleanedRows, inputs: Inputs) -> Answer:
    return {
        "quality": result.quality,
        "usable": result.usable,
        "outliers": result.outliers,
        "disagreement": result.disagreement,
    }


def _plain(row_median: RowSummary) -> Callable[[FloatArray, Calibration], CleanedRows]:
    """The same cleaning in whole arrays, with a general median per row."""

    def clean(scores: FloatArray, calibration: Calibration) -> CleanedRows:
        z = (scores - np.array(calibration.offset)) / np.array(calibration.scale)
        quality = row_median(z)
        usable, outlier, disagreement = _flagged(z - quality[:, None], calibration.threshold)
        return CleanedRows(quality, usable, outlier.sum(axis=1), disagreement)

    return clean


def _flagged(residual: FloatArray, threshold: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    usable = (~np.isnan(residual)).sum(axis=1)
    far = np.abs(residual) > threshold
    disagreement = far.sum(axis=1) > np.maximum(usable - 1, 0) // 2
    return usable, far & ~disagreement[:, None], disagreement


def _numpy_medians(z: FloatArray) -> FloatArray:
    return np.nanmedian(z, axis=1)


def _pandas_medians(z: FloatArray) -> FloatArray:
    return pd.DataFrame(z).median(axis=1).to_numpy()


def _sampled_stream(row_median: RowSummary) -> Callable[[Inputs], CleanedRows]:
    clean = _plain(row_median)
    return lambda inputs: _visit(inputs, inputs["sampled"], clean)


def _same_rows(ours: Answer, theirs: Answer) -> str:
    """Floats to 1e-12, flags and counts exactly."""
    for name, values in theirs.items():
        if values.dtype.kind == "f":
            apart = float(np.abs(ours[name] - values).max())
            assert apart <= _TOLERANCE, f"{name} differs by {apart:g}"
        else:
            assert np.array_equal(ours[name], values), f"{name} differs"
    return f"flags and counts of {len(theirs['quality']):,} rows exactly, floats to {_TOLERANCE:g}"


def _sample_share(size: Size) -> float:
    return size["sampled"] * size["chunk"] / size["rows"]


def _stream_bytes(rows: float) -> float:
    """Four scores in; a quality, two counts and a flag per row out."""
    return rows * (4 * 8.0 + 3 * 8 + 1)


def _share_of_bandwidth(measured: Measured, machine: Machine) -> float:
    ours = measured[OURS]
    return ours.moved_bytes / ours.median / machine.copy_rate


def _growth(measured: Measured, machine: Machine) -> float:
    return measured[OURS].extra_bytes / max(measured[_SHORT].extra_bytes, 1)


_SHORT = "sweetspot, an eighth of the chunks"

CONSENSUS_STREAM = Entry(
    name="consensus-stream",
    title="Rater consensus, 64 M responses × 4 raters, streamed in chunks",
    about="As a night does it: every chunk is cleaned with one calibration, found before and timed for nobody. The "
    "chunks come from a ring in memory that is larger than the caches; reading files is not timed. The rivals do the "
    "same in whole arrays per chunk, on a sample of the chunks, scaled.",
    sizes={
        "full": {"rows": 1 << 26, "raters": 4, "chunk": 1 << 18, "ring": 16, "sampled": 8},
        "quick": {"rows": 1 << 22, "raters": 4, "chunk": 1 << 18, "ring": 4, "sampled": 2},
        "tiny": {"rows": 1 << 15, "raters": 4, "chunk": 1 << 12, "ring": 2, "sampled": 2},
    },
    make=_stream,
    contestants=(
        Contestant(OURS, _ours_stream, _cleaned_answer),
        Contestant(_SHORT, _ours_short_stream, _cleaned_answer, share=lambda size: 1 / 8, note="scaled"),
        Contestant(
            "numpy.nanmedian", _sampled_stream(_numpy_medians), _cleaned_answer, share=_sample_share, note="scaled"
        ),
        Contestant(
            "pandas.DataFrame.median",
            _sampled_stream(_pandas_medians),
            _cleaned_answer,
            share=_sample_share,
            note="scaled",
        ),
    ),
    agree=_same_rows,
    floor=lambda size: Floor(
        "scores read once; a quality, two counts and a flag per row written once; per row 8 operations to standardise, "
        "10 to sort four, 2 for the median, 12 to compare with the threshold, 2 to count",
        _stream_bytes(size["rows"]),
        elements=34.0 * size["rows"],
    ),
    targets=(
        Target("bytes in and out ≥ 50 % of the copy bandwidth", _share_of_bandwidth, 0.5, at_most=False, form="{:.1%}"),
        Target("peak memory ≤ 1.1× that of an eighth of the chunks", _growth, 1.1, at_most=True, form="{:.2f}×"),
    ),
)


def _table(*, rows: int, raters: int) -> Inputs:
    return {"scores": _scores(np.random.default_rng(0), rows, raters)}


def _consensus_answer(result: ConsensusResult, inputs: Inputs) -> Answer:
    return {
        "quality": result.quality,
        "residual": result.residual,
        "outlier": result.outlier,
        "disagreement": result.disagreement,
        "threshold": np.array([result.threshold]),
    }


def _plain_consensus(row_median: RowSummary) -> Callable[[Inputs], Answer]:
    def fit(inputs: Inputs) -> Answer:
        scores = inputs["scores"]
        offset = np.nanmedian(scores, axis=0)
        z = (scores - offset) / (_SD_PER_MAD * np.nanmedian(np.abs(scores - offset), axis=0))
        quality = row_median(z)
        residual = z - quality[:, None]
        size = np.abs(residual)
        threshold = max(1e-3, 4 * _SD_PER_MAD * float(np.median(size[size > 1e-9])))
        _, outlier, disagreement = _flagged(residual, threshold)
        found = {"quality": quality, "residual": residual, "outlier": outlier, "disagreement": disagreement}
        return {**found, "threshold": np.array([threshold])}

    return fit


CONSENSUS = Entry(
    name="consensus",
    title="Rater consensus, 4 M responses × 4 raters in memory, parameters included",
    about="`consensus` finds offsets, scales and the threshold itself, which takes medians over all rows.",
    sizes={
        "full": {"rows": 4_000_000, "raters": 4},
        "quick": {"rows": 200_000, "raters": 4},
        "tiny": {"rows": 3000, "raters": 4},
    },
    make=_table,
    contestants=(
        Contestant(OURS, lambda inputs: consensus(inputs["scores"]), _consensus_answer),
        Contestant("numpy.nanmedian", _plain_consensus(_numpy_medians), lambda found, _: found),
        Contestant("pandas.DataFrame.median", _plain_consensus(_pandas_medians), lambda found, _: found),
    ),
    agree=_same_rows,
    floor=lambda size: Floor(
        "scores read once; a quality, four residuals, a count and five flags per row written once",
        size["rows"] * (8.0 * size["raters"] + 8 + 8 * size["raters"] + 8 + size["raters"] + 1),
    ),
)

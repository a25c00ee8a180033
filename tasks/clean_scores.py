"""clean_scores: the raters' scores become one robust quality per response."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial

import numpy as np
import pyarrow as pa

from sweetspot import ids, schemas
from sweetspot.calibration import Calibration, apply_calibration, calibrate
from sweetspot.config import Cleaning
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("clean_scores", 2, schemas.QUALITY, unit="response")
UNUSABLE = ("empty", "repetitive", "compressible")
"""A run of one character alone is no reason: rulers of Markdown tables are, and run-on text is compressible too."""
QUALITY_DECIMALS = 6
CALIBRATION_ROWS = 2_000_000


def clean_scores(scores: TableRef, checks: TableRef, settings: Cleaning, run: Run) -> TableRef:
    """Standardise every rater robustly over the night, then take the consensus of each response."""
    raters = raters_of(scores)
    calibration = calibration_of(scores, settings)
    return run_stage(
        STAGE,
        {"scores": scores, "checks": checks},
        partial(_CleanChunk, raters, calibration, settings),
        run,
        identity=[settings.model_dump(mode="json"), asdict(calibration)],
        notes=lambda ref: _warnings(calibration, raters),
    )


def _warnings(calibration: Calibration, raters: tuple[str, ...]) -> tuple[str, ...]:
    """What the calibration had to say, with the constant raters by name."""
    constant = [name for name, scale in zip(raters, calibration.scale, strict=True) if scale == 0]
    if not constant:
        return calibration.warnings
    said = (
        f"constant_rater: {', '.join(constant)} of {len(raters)} raters count for nothing: their scores never vary or "
        "are all missing"
    )
    return (said, *(note for note in calibration.warnings if not note.startswith("constant_rater: ")))


def raters_of(scores: TableRef) -> tuple[str, ...]:
    """Names of the raters, in the order of every (R, K) matrix here."""
    names = {name for chunk in scores.each_chunk(["rater"]) for name in chunk["rater"].unique().to_pylist()}
    return tuple(sorted(names))


def calibration_of(scores: TableRef, settings: Cleaning) -> Calibration:
    """Rater parameters from all scores, or from a share of responses fixed by hash when there are very many."""
    raters = raters_of(scores)
    share = min(1.0, CALIBRATION_ROWS * len(raters) / max(scores.rows, 1))
    parts = []
    for chunk in scores.each_chunk(["response_id", "rater", "score"]):
        keys, matrix = _matrix(chunk, raters)
        if share < 1:
            matrix = matrix[[ids.uniform(key, "calibration") < share for key in keys]]
        parts.append(matrix)
    return calibrate(np.concatenate(parts), method=settings.method, threshold=settings.outlier_threshold or None)


def _matrix(scores: pa.Table, raters: tuple[str, ...]) -> tuple[list[str], np.ndarray]:
    """Response ids and their (R, K) scores, NaN where a rater gave none."""
    wide = (
        scores.select(["response_id", "rater", "score"])
        .to_pandas()
        .pivot(index="response_id", columns="rater", values="score")
        .reindex(columns=list(raters))
    )
    return [str(key) for key in wide.index], wide.to_numpy(dtype=np.float64)


class _CleanChunk:
    def __init__(self, raters: tuple[str, ...], calibration: Calibration, settings: Cleaning) -> None:
        self.raters, self.calibration, self.settings = raters, calibration, settings

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        prompt_of = dict(_pairs(inputs["scores"], "response_id", "prompt_id"))
        flaw_of = dict(_pairs(inputs["checks"], "response_id", "flaw"))
        keys, matrix = _matrix(inputs["scores"], self.raters)
        cleaned = apply_calibration(matrix, self.calibration)
        rows, left = [], []
        for index, key in enumerate(keys):
            reason = self._reason_to_leave(cleaned.quality[index], flaw_of[key])
            if reason:
                left.append((key, prompt_of[key], *reason))
                continue
            rows.append(
                {
                    "response_id": key,
                    "prompt_id": prompt_of[key],
                    # Noise of the fit must not tell equal scores apart: a tie is a tie, not a pair.
                    "quality": round(float(cleaned.quality[index]), QUALITY_DECIMALS),
                    "raters": int(cleaned.usable[index]),
                    "outliers": int(cleaned.outliers[index]),
                    "disagreement": bool(cleaned.disagreement[index]),
                }
            )
        return ChunkResult(
            table=STAGE.output.table(rows),
            dropped=dropped_table(STAGE.name, STAGE.unit, left),
            ids_in=keys,
            ids_out=[row["response_id"] for row in rows],
        )

    def _reason_to_leave(self, quality: float, flaw: str | None) -> tuple[str, str] | None:
        if self.settings.drop_degenerate and flaw in UNUSABLE:
            return str(flaw), "degenerate text (cleaning.drop_degenerate)"
        if np.isnan(quality):
            return "unrated", "every rater that scored it is constant or left out"
        return None


def _pairs(table: pa.Table, key: str, value: str) -> zip:
    return zip(table[key].to_pylist(), table[value].to_pylist(), strict=True)

"""validate: what is wrong with the responses and how far the raters can be believed, before anything is built."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sweetspot import ids, schemas
from sweetspot.config import Validation
from sweetspot.errors import CheckError
from sweetspot.validation.degenerate import flags
from tasks._stage import Run, Stage, run_stage
from tasks._store import Store
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("validate", 1, schemas.CHECKS, unit="response")
FLAWS = ("empty", "char_run", "repetitive", "compressible", "truncated", "refusal")
HISTOGRAM_BINS = 40


def validate(responses: TableRef, scores: TableRef, settings: Validation, run: Run) -> TableRef:
    """Flag degenerate responses and measure the raters; stops the night where the settings say so.

    The figures are kept beside the table and read back with `figures`.

    Raises:
        CheckError: too many degenerate responses, or raters that do not agree.
    """
    checks = run_stage(STAGE, {"responses": responses}, partial(_CheckChunk), run, identity=[])
    found = _measure(checks, scores)
    Store(run.store).create(_figures_key(checks, scores), ids.canonical_json(found))
    _stop_if_unusable(found, settings)
    return checks


def figures(checks: TableRef, scores: TableRef) -> dict[str, Any]:
    """Score histograms, agreement, length correlation and flaws, as measured by `validate`."""
    return json.loads(Store(checks.store).read(_figures_key(checks, scores)))


def _figures_key(checks: TableRef, scores: TableRef) -> str:
    return f"{checks.location}/figures-{scores.fingerprint}.json"


class _CheckChunk:
    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        columns = ["response_id", "prompt_id", "response", "finish_reason"]
        rows = inputs["responses"].select(columns).to_pylist()
        found = flags(
            [row["response"] for row in rows], finish_reasons=[row["finish_reason"] or "stop" for row in rows]
        )
        first_flaw = [next((name for name in FLAWS if getattr(found, name)[i]), None) for i in range(len(rows))]
        keys = [row["response_id"] for row in rows]
        return ChunkResult(
            table=STAGE.output.table(
                {
                    "response_id": row["response_id"],
                    "prompt_id": row["prompt_id"],
                    "chars": len(row["response"]),
                    "flaw": flaw,
                }
                for row, flaw in zip(rows, first_flaw, strict=True)
            ),
            dropped=dropped_table(STAGE.name, STAGE.unit, []),
            ids_in=keys,
            ids_out=keys,
        )


def _measure(checks: TableRef, scores: TableRef) -> dict[str, Any]:
    frame = checks.read(["response_id", "prompt_id", "chars", "flaw"]).to_pandas()
    wide = (
        scores.read(["response_id", "rater", "score"])
        .to_pandas()
        .pivot(index="response_id", columns="rater", values="score")
    )
    joined = frame.merge(wide, left_on="response_id", right_index=True, how="left")
    raters = list(wide.columns)
    return {
        "responses": len(frame),
        "flaws": {str(k): int(v) for k, v in frame["flaw"].value_counts().items()},
        "raters": {name: _rater_figures(joined, name) for name in raters},
        "agreement": _agreement(joined, raters),
    }


def _rater_figures(frame: pd.DataFrame, name: str) -> dict[str, Any]:
    scores = frame[name].dropna()
    counts, edges = np.histogram(scores, bins=HISTOGRAM_BINS) if len(scores) else (np.array([]), np.array([]))
    within = frame[["prompt_id", "chars", name]].dropna()
    return {
        "scored": len(scores),
        "mean": float(scores.mean()) if len(scores) else None,
        "sd": float(scores.std(ddof=0)) if len(scores) else None,
        "histogram": {"counts": counts.tolist(), "edges": edges.tolist()},
        "length_correlation": _within_prompt_correlation(within, "chars", name),
    }


def _agreement(frame: pd.DataFrame, raters: list[str]) -> dict[str, float | None]:
    """Mean within-prompt rank correlation of every two raters."""
    return {
        f"{first} / {second}": _within_prompt_correlation(frame[["prompt_id", first, second]].dropna(), first, second)
        for index, first in enumerate(raters)
        for second in raters[index + 1 :]
    }


def _within_prompt_correlation(frame: pd.DataFrame, first: str, second: str) -> float | None:
    """Spearman correlation within each prompt, averaged over prompts where both vary."""
    if frame.empty:
        return None
    ranks = frame.groupby("prompt_id")[[first, second]].rank()
    key = frame["prompt_id"]
    centred = ranks - ranks.groupby(key).transform("mean")
    products = pd.DataFrame(
        {"xy": centred[first] * centred[second], "xx": centred[first] ** 2, "yy": centred[second] ** 2}
    )
    sums = products.groupby(key).sum()
    usable = sums[(sums["xx"] > 0) & (sums["yy"] > 0)]
    if usable.empty:
        return None
    return float((usable["xy"] / np.sqrt(usable["xx"] * usable["yy"])).mean())


def _stop_if_unusable(found: dict[str, Any], settings: Validation) -> None:
    degenerate = sum(count for flaw, count in found["flaws"].items() if flaw != "refusal")
    if degenerate > settings.max_degenerate_share * found["responses"]:
        raise CheckError(
            f"validate: {degenerate} of {found['responses']} responses are degenerate ({found['flaws']}), more than "
            f"the allowed share {settings.max_degenerate_share}; look at the sampler's template and max_tokens"
        )
    values = [value for value in found["agreement"].values() if value is not None]
    if values and float(np.mean(values)) < settings.min_rater_agreement:
        raise CheckError(
            f"validate: mean rank correlation between raters is {np.mean(values):.3f}, below "
            f"{settings.min_rater_agreement} (validation.min_rater_agreement): {found['agreement']}"
        )

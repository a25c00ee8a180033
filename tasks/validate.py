"""validate: what is wrong with the responses and how far the raters can be believed, before anything is built."""

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from sweetspot import ids, schemas
from sweetspot.config import Validation
from sweetspot.errors import CheckError
from sweetspot.validation.correlation import within_group_spearman
from sweetspot.validation.degenerate import flags
from tasks._stage import Run, Stage, run_stage
from tasks._store import Store
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("validate", 2, schemas.CHECKS, unit="response")
FLAWS = ("empty", "char_run", "repetitive", "compressible", "truncated", "refusal")


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
    """Agreement of raters, their correlation with length, and flaws, as measured by `validate`."""
    return Store(checks.store).record(_figures_key(checks, scores))


def _figures_key(checks: TableRef, scores: TableRef) -> str:
    return f"{checks.location}/figures-{STAGE.version}-{scores.fingerprint}.json"


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
    frame = checks.read(["response_id", "prompt_id", "chars", "flaw"]).to_pandas().set_index("response_id")
    prompt, chars = frame["prompt_id"].to_numpy(), frame["chars"].to_numpy(dtype=float)
    by_rater = {name: column.reindex(frame.index).to_numpy(dtype=float) for name, column in _columns(scores)}
    names = list(by_rater)
    return {
        "responses": len(frame),
        "flaws": dict(Counter(flaw for flaw in frame["flaw"].tolist() if isinstance(flaw, str))),
        "raters": {
            name: {
                "scored": int(np.count_nonzero(~np.isnan(values))),
                "length_correlation": within_group_spearman(prompt, chars, values),
            }
            for name, values in by_rater.items()
        },
        "agreement": [
            {
                "raters": [first, second],
                "responses": int(np.count_nonzero(~np.isnan(by_rater[first] + by_rater[second]))),
                "rank_correlation": within_group_spearman(prompt, by_rater[first], by_rater[second]),
            }
            for index, first in enumerate(names)
            for second in names[index + 1 :]
        ],
    }


def _columns(scores: TableRef) -> Iterator[tuple[str, pd.Series]]:
    """Each rater's scores by response id."""
    frame = scores.read(["response_id", "rater", "score"]).to_pandas()
    for name, rows in frame.groupby("rater"):
        yield str(name), pd.Series(rows["score"].to_numpy(), index=rows["response_id"].to_numpy())


def _stop_if_unusable(found: dict[str, Any], settings: Validation) -> None:
    degenerate = sum(count for flaw, count in found["flaws"].items() if flaw != "refusal")
    if degenerate > settings.max_degenerate_share * found["responses"]:
        raise CheckError(
            f"validate: {degenerate} of {found['responses']} responses are degenerate ({found['flaws']}), more than "
            f"the allowed share {settings.max_degenerate_share}; look at the sampler's template and max_tokens"
        )
    values = [p["rank_correlation"] for p in found["agreement"] if p["rank_correlation"] is not None]
    if values and float(np.mean(values)) < settings.min_rater_agreement:
        raise CheckError(
            f"validate: mean rank correlation between raters is {np.mean(values):.3f}, below "
            f"{settings.min_rater_agreement} (validation.min_rater_agreement); the pairs: {found['agreement']}"
        )

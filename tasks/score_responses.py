"""score_responses: every rater's raw score of every response, checked at the boundary."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from sweetspot import schemas
from sweetspot.config import Raters, RewardModel
from sweetspot.engines.boundary import checked_scores
from sweetspot.engines.protocols import RatedResponse, Rater
from sweetspot.engines.raters import open_rater, rater_revision
from sweetspot.engines.revision import check_unchanged
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, TableRef, dropped_table, masked_scores

STAGE = Stage("score_responses", 2, schemas.SCORES, unit="response", models=True)


def score_responses(prompts: TableRef, responses: TableRef, settings: Raters, run: Run) -> TableRef:
    """Score every response with every rater; a response no rater could score leaves as `failed_unscored`."""
    revisions = [rater_revision(rater) for rater in settings.raters]
    return run_stage(
        STAGE,
        {"prompts": prompts, "responses": responses},
        partial(_ScoreChunk, settings, revisions),
        run,
        identity=[[rater.model_dump(mode="json"), rev] for rater, rev in zip(settings.raters, revisions, strict=True)],
        notes=masked_scores,
    )


class _ScoreChunk:
    def __init__(self, settings: Raters, revisions: list[str]) -> None:
        self.raters = [open_rater(rater) for rater in settings.raters]
        for rater, revision in zip(settings.raters, revisions, strict=True):
            if isinstance(rater, RewardModel):
                check_unchanged(rater.model, revision)

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        prompts = {row["prompt_id"]: row for row in inputs["prompts"].to_pylist()}
        columns = ["response_id", "prompt_id", "response", "finish_reason"]
        responses = inputs["responses"].select(columns).to_pylist()
        items = [_rated(prompts[row["prompt_id"]], row) for row in responses]
        rows = [row for rater in self.raters for row in _rows(rater, responses, items)]
        scored = {row["response_id"] for row in rows if row["status"] == "ok"}
        failed = [
            (row["response_id"], row["prompt_id"], "failed_unscored", "no rater gave a finite score")
            for row in responses
            if row["response_id"] not in scored
        ]
        return ChunkResult(
            table=STAGE.output.table(row for row in rows if row["response_id"] in scored),
            dropped=dropped_table(STAGE.name, STAGE.unit, failed),
            ids_in=[row["response_id"] for row in responses],
            ids_out=sorted(scored),
        )


def _rated(prompt: Mapping[str, Any], response: Mapping[str, Any]) -> RatedResponse:
    return RatedResponse(
        prompt=prompt["prompt"],
        response=response["response"],
        answer=prompt["answer"],
        finish_reason=response["finish_reason"],
    )


def _rows(rater: Rater, responses: Sequence[Mapping[str, Any]], items: list[RatedResponse]) -> list[dict[str, Any]]:
    return [
        {
            "response_id": response["response_id"],
            "prompt_id": response["prompt_id"],
            "rater": rater.name,
            "rater_revision": rater.revision,
            "score": cell.score,
            "status": cell.status,
        }
        for response, cell in zip(responses, checked_scores(rater, items), strict=True)
    ]

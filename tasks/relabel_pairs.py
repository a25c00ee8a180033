"""relabel_pairs: selected pairs become rows as TRL reads them, each under two goals if asked."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import pyarrow as pa

from sweetspot import schemas
from sweetspot.config import Relabelling
from sweetspot.relabel import reward_conditioned
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("relabel_pairs", 2, schemas.DELIVERED, unit="pair")


def relabel_pairs(
    prompts: TableRef,
    responses: TableRef,
    pairs: TableRef,
    selected: TableRef,
    settings: Relabelling,
    run: Run,
    *,
    implicit: TableRef | None = None,
) -> TableRef:
    """Join each selected pair to its texts by id; with relabelling, each pair yields a row a and a row b."""
    inputs = {"prompts": prompts, "responses": responses, "pairs": pairs, "selected": selected}
    if implicit is not None:
        inputs["implicit"] = implicit
    return run_stage(STAGE, inputs, partial(_RelabelChunk, settings), run, identity=settings.model_dump(mode="json"))


class _RelabelChunk:
    def __init__(self, settings: Relabelling) -> None:
        self.settings = settings

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        selected = {row["pair_id"]: row for row in inputs["selected"].to_pylist()}
        rows = _delivered_rows(inputs, selected)
        kept = [row for row in rows if not (self.settings.enabled and _is_tie(row))]
        ties = [
            (row["pair_id"], row["prompt_id"], "tie", "equal ratings cannot be told apart by a goal")
            for row in rows
            if self.settings.enabled and _is_tie(row)
        ]
        out = [_with_references(row) for pair in kept for row in self._under_goals(pair)]
        return ChunkResult(
            table=STAGE.output.table(out),
            dropped=dropped_table(STAGE.name, STAGE.unit, ties),
            ids_in=list(selected),
            ids_out=[row["pair_id"] for row in kept],
        )

    def _under_goals(self, pair: dict[str, Any]) -> list[dict[str, Any]]:
        if not self.settings.enabled:
            return [pair]
        found = reward_conditioned([pair], goal_text=self.settings.goal_text, placement=self.settings.placement)
        return list(found.rows)


def _with_references(row: dict[str, Any]) -> dict[str, Any]:
    """NaN where no reference was computed: TRL's collator turns the column into a tensor and fails on null."""
    for column in ("ref_chosen_logps", "ref_rejected_logps"):
        row[column] = math.nan if row[column] is None else row[column]
    return row


def _is_tie(row: Mapping[str, Any]) -> bool:
    return row["chosen_rating"] == row["rejected_rating"]


def _delivered_rows(inputs: Mapping[str, pa.Table], selected: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    prompts = {row["prompt_id"]: row for row in inputs["prompts"].to_pylist()}
    responses = {row["response_id"]: row for row in inputs["responses"].to_pylist()}
    reference = {
        row["response_id"]: row["reference_logp"]
        for row in (inputs["implicit"].to_pylist() if "implicit" in inputs else [])
    }
    rows = []
    for pair in inputs["pairs"].to_pylist():
        if pair["pair_id"] not in selected:
            continue
        prompt, chosen, rejected = (
            prompts[pair["prompt_id"]],
            responses[pair["chosen_id"]],
            responses[pair["rejected_id"]],
        )
        rows.append(
            {
                "prompt": prompt["prompt"],
                "chosen": [{"role": "assistant", "content": chosen["response"]}],
                "rejected": [{"role": "assistant", "content": rejected["response"]}],
                "prompt_id": pair["prompt_id"],
                "pair_id": pair["pair_id"],
                "source": prompt["source"],
                **_ratings(pair),
                "preference_probability": selected[pair["pair_id"]]["preference_probability"],
                "route": selected[pair["pair_id"]]["route"],
                "goal": None,
                "chosen_model": chosen["model"],
                "rejected_model": rejected["model"],
                "ref_chosen_logps": reference.get(pair["chosen_id"]),
                "ref_rejected_logps": reference.get(pair["rejected_id"]),
            }
        )
    return rows


def _ratings(pair: Mapping[str, Any]) -> dict[str, float | None]:
    return {
        "chosen_rating": pair["chosen_rating"],
        "rejected_rating": pair["rejected_rating"],
        "score_chosen": pair["chosen_rating"],
        "score_rejected": pair["rejected_rating"],
        "margin": pair["margin_external"],
        "margin_external": pair["margin_external"],
        "margin_implicit": pair["margin_implicit"],
    }

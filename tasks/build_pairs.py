"""build_pairs: one chosen and one rejected response per prompt, by their positions among its rewards."""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from sweetspot import ids, schemas
from sweetspot.config import Pairing
from sweetspot.pairing import pair_positions
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("build_pairs", 2, schemas.PAIRS, unit="prompt")
MU_2SIGMA_IS_MIN, MU_2SIGMA_NEEDS = 10, 32
"""Up to ten responses the sample nearest mu - 2 sigma is the minimum; below 32 it seldom is another."""
DETAILS = {
    "no_response": "none of its responses has a quality",
    "too_few": "fewer than two responses with a quality",
    "sigma_zero": "all its responses have the same quality",
    "no_gap": "no rejected response lies below the chosen one",
    "same_text": "chosen and rejected are the same text",
    "truncated_chosen": "the chosen response was cut at max_tokens, so it teaches never to end",
}


def build_pairs(
    prompts: TableRef,
    responses: TableRef,
    quality: TableRef,
    settings: Pairing,
    run: Run,
    *,
    implicit: TableRef | None = None,
) -> TableRef:
    """Pair the responses of every prompt; a prompt without a pair leaves with its reason."""
    inputs = {"prompts": prompts, "responses": responses, "quality": quality}
    if implicit is not None:
        inputs["implicit"] = implicit
    return run_stage(
        STAGE,
        inputs,
        partial(_PairChunk, settings),
        run,
        identity=settings.model_dump(mode="json"),
        notes=partial(_notes, settings),
    )


def most_responses(responses: TableRef) -> int:
    """The largest number of responses any prompt has."""
    return max(
        max(Counter(chunk["prompt_id"].to_pylist()).values(), default=0)
        for chunk in responses.each_chunk(["prompt_id"])
    )


def _notes(settings: Pairing, pairs: TableRef) -> tuple[str, ...]:
    """How often the rule chose another rejected response than the minimum."""
    differs = pairs.read(["differs_from_min"])["differs_from_min"].to_numpy()
    share = float(differs.mean()) if len(differs) else 0.0
    return (f"rejected={settings.rejected} differs from min in {share:.1%} of {len(differs)} pairs",)


class _PairChunk:
    def __init__(self, settings: Pairing) -> None:
        self.settings = settings

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        # A prompt that was never answered left at sampling, and is in the books there.
        answered = set(inputs["responses"]["prompt_id"].to_pylist())
        prompts = inputs["prompts"].select(["prompt_id", "split"]).to_pylist()
        prompts = [prompt for prompt in prompts if prompt["prompt_id"] in answered]
        groups = _responses_of(inputs)
        keys = [prompt["prompt_id"] for prompt in prompts]
        rewards, text_ids = _grids([groups.get(key, []) for key in keys])
        picked = self._pick(rewards, text_ids, seed_salt=keys[0] if keys else "")
        lowest = pair_positions(rewards, chosen=self.settings.chosen, rejected="min", text_ids=text_ids).rejected
        rows, left = [], []
        for index, prompt in enumerate(prompts):
            group = groups.get(prompt["prompt_id"], [])
            reason = str(picked.reason[index]) if group else "no_response"
            if reason == "ok" and group[picked.chosen[index]]["finish_reason"] == "length":
                reason = "truncated_chosen"
            if reason != "ok":
                left.append((prompt["prompt_id"], prompt["prompt_id"], reason, DETAILS[reason]))
                continue
            chosen, rejected = group[picked.chosen[index]], group[picked.rejected[index]]
            differs = bool(picked.rejected[index] != lowest[index])
            rows.append({**_pair(prompt, chosen, rejected), "differs_from_min": differs})
        return ChunkResult(
            table=STAGE.output.table(rows),
            dropped=dropped_table(STAGE.name, STAGE.unit, left),
            ids_in=keys,
            ids_out=[row["prompt_id"] for row in rows],
        )

    def _pick(self, rewards: np.ndarray, text_ids: np.ndarray, *, seed_salt: str) -> Any:
        return pair_positions(
            rewards,
            chosen=self.settings.chosen,
            rejected=self.settings.rejected,
            ddof=self.settings.ddof,
            subset=self.settings.subset,
            seed=ids.derived_seed(self.settings.seed, seed_salt) % 2**32,
            text_ids=text_ids,
        )


def _responses_of(inputs: Mapping[str, pa.Table]) -> dict[str, list[dict[str, Any]]]:
    """Responses with a quality, by prompt, in sample order, each with its implicit reward if there is one."""
    texts = {row["response_id"]: row for row in inputs["responses"].to_pylist()}
    implicit = {
        row["response_id"]: row["policy_logp"] - row["reference_logp"]
        for row in (inputs["implicit"].to_pylist() if "implicit" in inputs else [])
    }
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in inputs["quality"].to_pylist():
        key = row["response_id"]
        if "implicit" in inputs and key not in implicit:
            continue
        groups.setdefault(row["prompt_id"], []).append(
            {**texts[key], "quality": row["quality"], "implicit": implicit.get(key)}
        )
    for group in groups.values():
        group.sort(key=lambda row: row["sample_index"])
    return groups


def _grids(groups: list[list[dict[str, Any]]]) -> tuple[np.ndarray, np.ndarray]:
    """(P, N) qualities, NaN where a prompt has fewer responses, and (P, N) ids of equal texts."""
    width = max((len(group) for group in groups), default=0) or 1
    rewards = np.full((len(groups), width), np.nan)
    text_ids = np.full((len(groups), width), -1, dtype=np.int64)
    for row, group in enumerate(groups):
        seen: dict[str, int] = {}
        for column, response in enumerate(group):
            rewards[row, column] = response["quality"]
            text_ids[row, column] = seen.setdefault(response["response"], len(seen))
    return rewards, text_ids


def _pair(prompt: Mapping[str, Any], chosen: Mapping[str, Any], rejected: Mapping[str, Any]) -> dict[str, Any]:
    has_implicit = chosen["implicit"] is not None
    return {
        "pair_id": ids.pair_id(prompt["prompt_id"], chosen["response_id"], rejected["response_id"]),
        "prompt_id": prompt["prompt_id"],
        "split": prompt["split"],
        "chosen_id": chosen["response_id"],
        "rejected_id": rejected["response_id"],
        "chosen_rating": chosen["quality"],
        "rejected_rating": rejected["quality"],
        "margin_external": chosen["quality"] - rejected["quality"],
        "margin_implicit": chosen["implicit"] - rejected["implicit"] if has_implicit else None,
    }

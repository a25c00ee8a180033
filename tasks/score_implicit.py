"""score_implicit: log-probability of every response under policy and reference.

The implicit reward of BeeS (Deng et al. 2025, step 1) needs a policy that has already seen some of
this data. The first night trains a small one, the pre-DPO policy, on random pairs of the night; from
then on the last promoted policy serves. The reference is the start policy in both cases.
"""

import math
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from sweetspot import ids, schemas
from sweetspot.config import Implicit, Training
from sweetspot.errors import CheckError
from tasks import _ray
from tasks._policies import PolicyRef, commit_policy, find_policy
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("score_implicit", 2, schemas.IMPLICIT, unit="response", models=True)


def score_implicit(
    prompts: TableRef,
    responses: TableRef,
    scores: TableRef,
    policies: tuple[PolicyRef, PolicyRef],
    settings: Implicit,
    run: Run,
) -> TableRef:
    """Score every response under policy and reference, with one template, one set of ids and one engine.

    Args:
        prompts: prompts of the night.
        responses: responses to score.
        scores: raw scores, to orient the seed pairs of the pre-DPO policy.
        policies: (sampling policy, start policy). If they differ, a policy has been promoted.
        settings: of the implicit reward.
        run: where.
    """
    sampling, start = policies
    policy = sampling
    if sampling.revision == start.revision:
        policy = _pre_dpo_policy(prompts, responses, scores, start, settings, run)
    return run_stage(
        STAGE,
        {"prompts": prompts, "responses": responses},
        partial(_ImplicitChunk, settings, policy, start),
        run,
        identity=[policy.revision, start.revision],
    )


class _ImplicitChunk:
    def __init__(self, settings: Implicit, policy: PolicyRef, reference: PolicyRef) -> None:
        from sweetspot.engines.logprobs import TransformersLogprobs

        self.policy = TransformersLogprobs(str(policy.local_path()), batch_tokens=settings.batch_tokens)
        self.reference = TransformersLogprobs(str(reference.local_path()), batch_tokens=settings.batch_tokens)
        policy.check_unchanged()
        reference.check_unchanged()

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        messages = {row["prompt_id"]: row["prompt"] for row in inputs["prompts"].to_pylist()}
        columns = ["response_id", "prompt_id", "response", "prompt_token_ids", "token_ids"]
        rows = inputs["responses"].select(columns).to_pylist()
        template = self.reference.template
        prompt_ids = [row["prompt_token_ids"] or template.prompt_ids(messages[row["prompt_id"]]) for row in rows]
        # An endless response has no ids of its own to end it: the sampler's ids are scored as drawn.
        response_ids = [row["token_ids"] or template.response_ids(row["response"]) for row in rows]
        policy, reference = (scorer.score(prompt_ids, response_ids) for scorer in (self.policy, self.reference))
        finite = np.isfinite(policy) & np.isfinite(reference)
        good = [index for index in range(len(rows)) if finite[index]]
        bad = [rows[index] for index in range(len(rows)) if not finite[index]]
        return ChunkResult(
            table=STAGE.output.table(
                {
                    "response_id": rows[index]["response_id"],
                    "prompt_id": rows[index]["prompt_id"],
                    "policy_logp": float(policy[index]),
                    "reference_logp": float(reference[index]),
                }
                for index in good
            ),
            dropped=dropped_table(
                STAGE.name,
                STAGE.unit,
                [(r["response_id"], r["prompt_id"], "failed_logprob", "log-probability is not finite") for r in bad],
            ),
            ids_in=[row["response_id"] for row in rows],
            ids_out=[rows[index]["response_id"] for index in good],
        )


def _pre_dpo_policy(
    prompts: TableRef, responses: TableRef, scores: TableRef, start: PolicyRef, settings: Implicit, run: Run
) -> PolicyRef:
    key = ids.fingerprint([scores.fingerprint, start.revision, settings.model_dump(mode="json")])
    prefix = f"{run.dataset}/policies/pre-dpo-{key}"
    found = find_policy(run.store, prefix)
    if found is not None:
        return found
    rows = seed_pairs(prompts, responses, scores, count=settings.seed_pairs)
    train = partial(_train_and_commit, rows, start, settings, run.store, prefix)
    return PolicyRef(**_ray.run_once(train, settings=run.cluster))


def _train_and_commit(
    rows: list[dict[str, Any]], start: PolicyRef, settings: Implicit, store: str, prefix: str
) -> dict[str, str]:
    from sweetspot.training import train_policy

    batch_size = 16
    training = Training(
        loss="dpo",
        beta=settings.beta,
        learning_rate=settings.learning_rate,
        batch_size=batch_size,
        epochs=settings.seed_steps / math.ceil(len(rows) / batch_size),
        max_tokens=1_000_000,
    )
    with tempfile.TemporaryDirectory() as folder:
        policy_dir = Path(start.local_path())
        train_policy(rows, policy_dir=policy_dir, output_dir=Path(folder), training=training)
        facts = {"kind": "pre-dpo", "pairs": len(rows)}
        return commit_policy(store, prefix, Path(folder) / "policy", facts).to_json()


def seed_pairs(prompts: TableRef, responses: TableRef, scores: TableRef, *, count: int) -> list[dict[str, Any]]:
    """Random pairs of the night's training prompts, ordered by the mean standardised score.

    Prompts and the two responses of each are picked by hash, so the same night gives the same pairs;
    a tie gives no pair.

    Raises:
        CheckError: no two responses of any prompt differ in score.
    """
    text = prompts.read(["prompt_id", "prompt", "split"]).to_pylist()
    train = sorted(
        (row for row in text if row["split"] == "train"), key=lambda row: ids.uniform(row["prompt_id"], "seed")
    )
    wanted = {row["prompt_id"]: row["prompt"] for row in train[: 2 * count]}
    rating = _mean_z(scores)
    siblings: dict[str, list[dict[str, Any]]] = {key: [] for key in wanted}
    for chunk in responses.each_chunk(["response_id", "prompt_id", "response", "model", "finish_reason"]):
        for row in chunk.to_pylist():
            if row["prompt_id"] in wanted and row["response_id"] in rating and row["response"].strip():
                siblings[row["prompt_id"]].append(row)
    rows = [
        _seed_row(wanted[key], pair[0], pair[1], rating)
        for key, group in siblings.items()
        if (pair := _random_two(group)) and rating[pair[0]["response_id"]] != rating[pair[1]["response_id"]]
    ][:count]
    if not rows:
        raise CheckError("score_implicit: no two responses of any prompt differ in score, so no seed pair exists")
    return rows


def _mean_z(scores: TableRef) -> dict[str, float]:
    frame = scores.read(["response_id", "rater", "score"]).to_pandas().dropna()
    grouped = frame.groupby("rater")["score"]
    spread = grouped.transform("std").replace(0, np.nan)
    frame["z"] = ((frame["score"] - grouped.transform("mean")) / spread).fillna(0.0)
    return {str(key): float(value) for key, value in frame.groupby("response_id")["z"].mean().items()}


def _random_two(group: list[dict[str, Any]]) -> list[dict[str, Any]] | None:
    finished = [row for row in group if row["finish_reason"] != "length"]
    picked = sorted(finished, key=lambda row: ids.uniform(row["response_id"], "seed"))[:2]
    return picked if len(picked) == 2 and picked[0]["response"] != picked[1]["response"] else None


def _seed_row(
    prompt: list[dict[str, str]], first: dict[str, Any], second: dict[str, Any], rating: Mapping[str, float]
) -> dict[str, Any]:
    chosen, rejected = sorted((first, second), key=lambda row: -rating[row["response_id"]])
    return {
        "prompt": prompt,
        "chosen": [{"role": "assistant", "content": chosen["response"]}],
        "rejected": [{"role": "assistant", "content": rejected["response"]}],
        "pair_id": ids.pair_id(first["prompt_id"], chosen["response_id"], rejected["response_id"]),
        "chosen_rating": rating[chosen["response_id"]],
        "rejected_rating": rating[rejected["response_id"]],
        "route": "dpo",
        "ref_chosen_logps": None,
        "ref_rejected_logps": None,
    }

"""sample_responses: N responses to every prompt, all kept, each prompt with its own seed."""

from collections.abc import Mapping
from functools import partial

import pyarrow as pa

from sweetspot import ids, schemas
from sweetspot.budget import sampled_tokens
from sweetspot.config import Sampling
from sweetspot.engines.protocols import Sample, SampleRequest
from sweetspot.engines.samplers import engine_name, open_sampler
from sweetspot.errors import ContractError
from sweetspot.prompts import BadRow
from tasks._policies import PolicyRef
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, TableRef, dropped_table

STAGE = Stage("sample_responses", 2, schemas.RESPONSES, unit="prompt", models=True)


def sample_responses(prompts: TableRef, policy: PolicyRef, settings: Sampling, run: Run) -> TableRef:
    """Draw N responses per prompt from the policy with one request each; nothing is resampled or sorted out.

    Raises:
        ConfigError: the night could sample more tokens than it may.
    """
    sampled_tokens(prompts.rows, settings)
    return run_stage(
        STAGE,
        {"prompts": prompts},
        partial(_SampleChunk, settings, policy),
        run,
        identity=[
            settings.model_dump(
                mode="json", exclude={"policy", "revision", "use_promoted", "engine", "max_night_tokens"}
            ),
            policy.revision,
            engine_name(settings.engine),
        ],
    )


class _SampleChunk:
    def __init__(self, settings: Sampling, policy: PolicyRef) -> None:
        self.settings = settings
        self.sampler = open_sampler(settings, str(policy.local_path()))
        policy.check_unchanged()

    def __call__(self, inputs: Mapping[str, pa.Table]) -> ChunkResult:
        prompts = inputs["prompts"].select(["prompt_id", "prompt"]).to_pylist()
        requests, left = [], []
        for prompt in prompts:
            key = prompt["prompt_id"]
            try:
                tokens = self._prompt_ids(prompt["prompt"])
            except BadRow as bad:
                left.append((key, key, bad.reason, bad.detail))
                continue
            requests.append(SampleRequest(key, tokens, ids.derived_seed(self.settings.seed, key)))
        drawn = self.sampler.sample(requests) if requests else []
        rows = [
            self._row(request, index, sample)
            for request, samples in zip(requests, drawn, strict=True)
            for index, sample in enumerate(samples)
        ]
        return ChunkResult(
            table=STAGE.output.table(rows),
            dropped=dropped_table(STAGE.name, STAGE.unit, left),
            ids_in=[prompt["prompt_id"] for prompt in prompts],
            ids_out=sorted({row["prompt_id"] for row in rows}),
        )

    def _prompt_ids(self, messages: list[dict[str, str]]) -> tuple[int, ...]:
        try:
            tokens = self.sampler.template.prompt_ids(messages)
        except ContractError:
            raise BadRow("template", "the policy's chat template refuses these roles") from None
        if len(tokens) + self.settings.max_tokens > self.settings.max_model_tokens:
            raise BadRow("too_long", f"{len(tokens)} prompt tokens leave no room for {self.settings.max_tokens} more")
        return tokens

    def _row(self, request: SampleRequest, index: int, sample: Sample) -> dict:
        return {
            "response_id": ids.response_id(request.prompt_id, self.sampler.revision, index),
            "prompt_id": request.prompt_id,
            "sample_index": index,
            "response": sample.text,
            "prompt_token_ids": list(request.token_ids),
            "token_ids": list(sample.token_ids),
            "tokens": len(sample.token_ids),
            "finish_reason": sample.finish_reason,
            "sum_logprob": sample.sum_logprob,
            "seed": request.seed,
            "model": self.sampler.revision,
        }

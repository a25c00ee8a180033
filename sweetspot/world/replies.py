"""Sampling from the policy of the embedded world, and the rates that describe it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerFast

from sweetspot.engines.verifiers import exact, graded
from sweetspot.world.corpus import BROKEN_KINDS, broken_kind
from sweetspot.world.pretrain import deterministic_torch
from sweetspot.world.problems import Problem
from sweetspot.world.tokenizer import EOS_ID, PAD_ID

MAX_RESPONSE_TOKENS = 24


@dataclass(frozen=True)
class Response:
    """One sampled response to a problem; `finish_reason` is "stop" or "length"."""

    problem: Problem
    text: str
    finish_reason: str

    @property
    def quality(self) -> float:
        """The graded verifier's verdict, 0 to 1."""
        return graded(self.text, self.problem.answer, self.finish_reason)

    @property
    def is_broken(self) -> bool:
        """Whether the response is garbled, empty or endless."""
        return broken_kind(self.text, self.finish_reason) is not None


@dataclass(frozen=True)
class ReplyRates:
    """Shares of a set of responses: exact, mean graded quality, and broken by kind."""

    responses: int
    exact: float
    quality: float
    broken: float
    broken_by_kind: dict[str, float]
    exact_by_task: dict[str, float]


def prompt_text(problem: Problem, tokenizer: PreTrainedTokenizerFast) -> str:
    """The problem's prompt rendered by the chat template, ready for a response."""
    messages = [{"role": "user", "content": problem.prompt}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def sample_responses(
    policy: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    problems: Sequence[Problem],
    *,
    samples: int,
    seed: int,
    prompts_per_batch: int = 32,
) -> list[Response]:
    """Sample at temperature 1 with transformers, `samples` responses per problem.

    Args:
        policy: The model to sample.
        tokenizer: Its tokenizer; prompts are padded on the left.
        problems: P problems.
        samples: N per problem, at least 1.
        seed: Equal seeds give equal responses on one machine.
        prompts_per_batch: Prompts sampled together; changes speed, and the random draws.

    Returns:
        P * N responses, the N of a problem next to each other.
    """
    responses: list[Response] = []
    generator: Any = policy
    with deterministic_torch(seed), torch.no_grad():
        for start in range(0, len(problems), prompts_per_batch):
            batch = problems[start : start + prompts_per_batch]
            encoded = tokenizer(
                [prompt_text(p, tokenizer) for p in batch], return_tensors="pt", padding=True, padding_side="left"
            )
            sequences = generator.generate(
                input_ids=encoded["input_ids"],
                attention_mask=encoded["attention_mask"],
                do_sample=True,
                temperature=1.0,
                top_k=0,
                max_new_tokens=MAX_RESPONSE_TOKENS,
                num_return_sequences=samples,
                pad_token_id=PAD_ID,
            )
            new_ids = sequences[:, encoded["input_ids"].shape[1] :]
            texts = tokenizer.batch_decode(new_ids, skip_special_tokens=True)
            ended = (new_ids == EOS_ID).any(dim=1).tolist()
            responses += [
                Response(batch[row // samples], text, "stop" if ended[row] else "length")
                for row, text in enumerate(texts)
            ]
    return responses


def reply_rates(responses: Sequence[Response]) -> ReplyRates:
    """Measure a set of responses against the verifiers.

    Args:
        responses: At least one.

    Returns:
        Shares between 0 and 1.
    """
    count = len(responses)
    right = [exact(r.text, r.problem.answer, r.finish_reason) for r in responses]
    kinds = [broken_kind(r.text, r.finish_reason) for r in responses]
    by_task: dict[str, list[float]] = {}
    for response, value in zip(responses, right, strict=True):
        by_task.setdefault(response.problem.task, []).append(value)
    return ReplyRates(
        responses=count,
        exact=sum(right) / count,
        quality=sum(r.quality for r in responses) / count,
        broken=sum(kind is not None for kind in kinds) / count,
        broken_by_kind={kind: kinds.count(kind) / count for kind in BROKEN_KINDS},
        exact_by_task={task: sum(values) / len(values) for task, values in sorted(by_task.items())},
    )

"""The exam: responses to held-out prompts checked by a verifier, with errors that respect prompts.

Responses to one prompt rise and fall together, so the prompt is the unit: standard errors are taken over prompt
means, and two policies are compared prompt by prompt.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import stdtrit

from sweetspot import ids
from sweetspot._checks import FloatArray
from sweetspot.engines.protocols import Sample, Sampler, SampleRequest
from sweetspot.engines.verifiers import VERIFIERS, Verifier
from sweetspot.errors import ContractError, EngineError

CONFIDENCE = 0.95


@dataclass(frozen=True)
class EvaluationResult:
    """Results on P held-out prompts.

    Attributes:
        mean: Mean of the prompts' means, 0 to 1.
        standard_error: Of `mean`, clustered by prompt; 0 where all prompts agree.
        per_prompt: (P,) mean result of each prompt's responses.
        prompt_ids: The prompts, in the order of `per_prompt`.
    """

    mean: float
    standard_error: float
    per_prompt: FloatArray
    prompt_ids: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """The paired difference of two evaluations, after minus before.

    Attributes:
        difference: Mean over prompts.
        standard_error: Of `difference`, over prompts.
        low: Lower end of the 95 % interval, Student's t with P - 1 degrees of freedom.
        high: Upper end.
        prompts: P.
    """

    difference: float
    standard_error: float
    low: float
    high: float
    prompts: int


def evaluate(
    sampler: Sampler,
    prompts: Sequence[Mapping[str, Any]],
    answers: Sequence[str],
    *,
    check: str,
    samples: int,
    seed: int,
) -> EvaluationResult:
    """Sample every prompt and check every response against the prompt's reference answer.

    With x_p the mean result of prompt p,  mean = sum_p x_p / P  and
    standard_error = sqrt(sum_p (x_p - mean)^2 / (P (P - 1))).

    Args:
        sampler: An open sampler that draws `samples` responses per request.
        prompts: P >= 2 held-out prompts, mappings with `prompt_id` and `prompt` (messages).
        answers: (P,) reference answers.
        check: Name of a verifier.
        samples: Responses per prompt, as the sampler was opened with.
        seed: Each prompt's own seed is derived from this one and its id, so two policies meet the same draws.

    Raises:
        ContractError: Fewer than two prompts, repeated ids, another number of answers, or an unknown verifier.
        EngineError: The sampler gave another number of responses.

    References:
        Miller (2024), Adding error bars to evals: a statistical approach to language model evaluations.
    """
    verifier = _verifier(check)
    prompt_ids = _checked_ids(prompts, answers)
    requests = [
        SampleRequest(key, sampler.template.prompt_ids(prompt["prompt"]), ids.derived_seed(seed, key))
        for key, prompt in zip(prompt_ids, prompts, strict=True)
    ]
    drawn = sampler.sample(requests)
    _check_counts(drawn, prompt_ids, samples)
    results = [
        [verifier(sample.text, answer, sample.finish_reason) for sample in responses]
        for responses, answer in zip(drawn, answers, strict=True)
    ]
    per_prompt = np.array(results, dtype=np.float64).mean(axis=1)
    return EvaluationResult(
        mean=float(per_prompt.mean()),
        standard_error=_standard_error(per_prompt),
        per_prompt=per_prompt,
        prompt_ids=prompt_ids,
    )


def compare(before: EvaluationResult, after: EvaluationResult) -> Comparison:
    """Compare two evaluations on the same prompts, prompt by prompt.

    Raises:
        ContractError: The evaluations are of different prompts, or in another order.
    """
    if before.prompt_ids != after.prompt_ids:
        shared = len(set(before.prompt_ids) & set(after.prompt_ids))
        raise ContractError(
            f"after: evaluated on {len(after.prompt_ids)} prompts, {shared} of them among the {len(before.prompt_ids)} "
            "of before, expected the same prompts in the same order. Evaluate both policies on one list."
        )
    differences = after.per_prompt - before.per_prompt
    difference, error = float(differences.mean()), _standard_error(differences)
    half = float(stdtrit(len(differences) - 1, (1 + CONFIDENCE) / 2)) * error
    return Comparison(
        difference=difference,
        standard_error=error,
        low=difference - half,
        high=difference + half,
        prompts=len(differences),
    )


def _standard_error(values: FloatArray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _verifier(check: str) -> Verifier:
    if check not in VERIFIERS:
        raise ContractError(f"check: got {check!r}, expected one of {', '.join(VERIFIERS)}. Choose one of these.")
    return VERIFIERS[check]


def _checked_ids(prompts: Sequence[Mapping[str, Any]], answers: Sequence[str]) -> tuple[str, ...]:
    if len(prompts) < 2 or len(prompts) != len(answers):
        raise ContractError(
            f"prompts: got {len(prompts)} prompts and {len(answers)} answers, expected the same number, at least 2. "
            "Hold out more prompts that have a reference answer."
        )
    prompt_ids = tuple(str(prompt["prompt_id"]) for prompt in prompts)
    repeated = len(prompt_ids) - len(set(prompt_ids))
    if repeated:
        raise ContractError(f"prompts: {repeated} of {len(prompt_ids)} repeat a prompt_id. Evaluate each prompt once.")
    return prompt_ids


def _check_counts(drawn: Sequence[Sequence[Sample]], prompt_ids: Sequence[str], samples: int) -> None:
    if len(drawn) != len(prompt_ids):
        raise EngineError(f"sampler: responses to {len(drawn)} prompts, expected {len(prompt_ids)}. Check the sampler.")
    wrong = [key for key, responses in zip(prompt_ids, drawn, strict=True) if len(responses) != samples]
    if wrong:
        raise EngineError(
            f"sampler: {len(wrong)} of {len(prompt_ids)} prompts have another number of responses than samples = "
            f"{samples} (first: {wrong[0]}). Open the sampler with n = {samples}."
        )

"""Checks both samplers share: what goes into an engine, and what comes out of it."""

import math
from collections.abc import Callable, Sequence

from sweetspot.config import Sampling
from sweetspot.engines.protocols import Sample, SampleRequest
from sweetspot.errors import ContractError, EngineError

SEED_LIMIT = 2**63


def check_requests(requests: Sequence[SampleRequest], sampling: Sampling) -> None:
    """Refuse requests an engine would fail on or cut short.

    Raises:
        ContractError: an empty prompt, one that leaves no room for a full response, or a seed out of range.
    """
    room = sampling.max_model_tokens - sampling.max_tokens
    rules: list[tuple[str, Callable[[SampleRequest], bool], str]] = [
        ("have an empty prompt", lambda r: not r.token_ids, "render prompts with the sampler's template"),
        (
            f"have more than {room} prompt tokens (max_model_tokens {sampling.max_model_tokens} less max_tokens "
            f"{sampling.max_tokens})",
            lambda r: len(r.token_ids) > room,
            "drop these prompts, or raise sampling.max_model_tokens",
        ),
        ("have a seed outside [0, 2**63)", lambda r: not 0 <= r.seed < SEED_LIMIT, "derive seeds as 63-bit numbers"),
    ]
    for fault, broken, remedy in rules:
        bad = [request for request in requests if broken(request)]
        if bad:
            raise ContractError(
                f"requests: {len(bad)} of {len(requests)} {fault} (first: prompt_id={bad[0].prompt_id}); {remedy}"
            )


def check_samples(samples: list[Sample], request: SampleRequest, *, n: int) -> list[Sample]:
    """Return `samples` if there are N, each with tokens, a known ending and a finite log-probability.

    Raises:
        EngineError: naming the prompt and the first fault.
    """
    faults = [f"{len(samples)} samples, expected {n}"] if len(samples) != n else []
    for index, sample in enumerate(samples):
        if not sample.token_ids:
            faults.append(f"sample {index} has no token")
        if sample.finish_reason not in ("stop", "length"):
            faults.append(f"sample {index} ended with {sample.finish_reason!r}, expected 'stop' or 'length'")
        if not math.isfinite(sample.sum_logprob):
            faults.append(f"sample {index} has log-probability {sample.sum_logprob}; are the weights broken?")
    if faults:
        raise EngineError(f"sampler: prompt_id={request.prompt_id}: {len(faults)} faults, first: {faults[0]}")
    return samples

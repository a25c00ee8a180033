"""What a sampler, a rater and a log-probability scorer promise; stages know nothing else of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sweetspot.engines.template import ChatTemplate


@dataclass(frozen=True)
class SampleRequest:
    """One prompt to be answered N times.

    Attributes:
        prompt_id: Identity of the prompt; it only appears in messages.
        token_ids: The whole rendered prompt, BOS and generation prompt included; not tokenised again.
        seed: In [0, 2**63). Decides all N samples of this prompt. Seeds of different prompts should be
            far apart, as hashes are: vLLM draws sample i of a prompt from stream seed + i.
    """

    prompt_id: str
    token_ids: tuple[int, ...]
    seed: int


@dataclass(frozen=True)
class Sample:
    """One response as drawn.

    Attributes:
        text: The decoded tokens without special tokens.
        token_ids: Every drawn token, the ending token included where there is one.
        finish_reason: "stop" after an ending token, "length" at the limit of tokens.
        sum_logprob: Nats, over all of `token_ids`, under the policy itself: the softmax of its logits
            at temperature 1 without top-p, whatever temperature and top-p the draw used. So it is
            the number a `LogprobScorer` gives for the same ids.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: str
    sum_logprob: float


@dataclass(frozen=True)
class RatedResponse:
    """One response to be judged.

    Attributes:
        prompt: Chat messages, ending with a user turn.
        response: The response's text.
        answer: Reference answer, for raters that compare.
        finish_reason: "stop", "length" or None if unknown.
    """

    prompt: list[dict[str, str]]
    response: str
    answer: str | None
    finish_reason: str | None


class Sampler(Protocol):
    """Draws responses from a policy."""

    revision: str
    template: ChatTemplate

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Sample]]:
        """Draw N responses per request.

        Returns:
            One list per request, in the order of requests, each of exactly N samples in sample order.

        Raises:
            ContractError: a request cannot be served as it is.
            EngineError: the engine failed, or gave fewer samples or no finite log-probability.
        """
        ...


class Rater(Protocol):
    """Scores responses, higher is better.

    A rater may also have a `tolerance`: the largest difference between a score given alone and in a batch, in its unit
    or as a share of the range of the batch's scores, whichever is larger; 1e-3 where it has none.
    """

    name: str
    revision: str

    def score(self, items: Sequence[RatedResponse]) -> list[float]:
        """Score `items`: one number each, in order, in the rater's own unit; NaN where it has no verdict.

        A broken model may give NaN or infinities; whoever calls checks.
        """
        ...


class LogprobScorer(Protocol):
    """Gives the log-probability of given responses under a model."""

    revision: str

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Sum the log-probabilities of each response's tokens after its prompt.

        Args:
            prompts: Token ids, at least one per row.
            responses: Token ids, the same number of rows.

        Returns:
            Shape (rows,), nats.
        """
        ...

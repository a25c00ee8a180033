"""Log-probabilities of given responses under a model, in batches of similar length."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM

from sweetspot.engines._batches import right_padded, token_budget_batches
from sweetspot.engines._loading import load_for_inference, most_positions
from sweetspot.engines.revision import local_directory, model_revision
from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ContractError, EngineError

CHUNK_LOGITS = 2**25
"""Logits held at once, 128 MiB in float32."""

HEAD_CHECK_TOKENS = 8
HEAD_TOLERANCE = 1e-3
HALF_PRECISION_HEAD_TOLERANCE = 5e-2


@dataclass(frozen=True)
class ResponseStates:
    """What one pass over some responses gives.

    Attributes:
        logps: (rows,) sums of log p(token | everything before it), nats; NaN where a row is too long for the model.
        hidden_sums: (rows, H) sums of the last hidden states that predict the tokens of the response: last prompt
            token to second-last token; NaN likewise.
    """

    logps: NDArray[np.float64]
    hidden_sums: NDArray[np.float64]


class TransformersLogprobs:
    """A `LogprobScorer` on a Hugging Face causal language model.

    Logits are made from the last hidden states a few positions at a time, so those of a whole batch
    never exist at once. Loading compares this with the model's own logits.

    Attributes:
        revision: of the model.
        template: its tokenizer and chat template.
        max_tokens: longest prompt plus response that it can read.
    """

    def __init__(self, policy: str, *, revision: str = "", batch_tokens: int = 16_384) -> None:
        directory = local_directory(policy, revision)
        self.revision = model_revision(policy, revision)
        self.template = ChatTemplate.load(str(directory))
        self._batch_tokens = batch_tokens
        self._model: Any = load_for_inference(AutoModelForCausalLM, directory)
        self._head = self._model.get_output_embeddings()
        self.max_tokens = most_positions(self._model)
        self._vocabulary: int = self._head.weight.shape[0]
        self._check_head(policy)

    def score(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> NDArray[np.float64]:
        """Sum log p(token | everything before it) over the tokens of each response.

        Args:
            prompts: Token ids, at least one per row.
            responses: Token ids, the same number of rows; an empty one has log-probability 0.

        Returns:
            Shape (rows,), nats; NaN where prompt and response are longer than the model's positions.

        Raises:
            ContractError: different numbers of rows, an empty prompt, or a token outside the vocabulary.
        """
        return self._passes(prompts, responses, states=False).logps

    def score_with_states(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> ResponseStates:
        """As `score`, with the summed hidden states of each response, from the same pass."""
        return self._passes(prompts, responses, states=True)

    def _passes(
        self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]], *, states: bool
    ) -> ResponseStates:
        self._check_rows(prompts, responses)
        sums = np.full(len(prompts), math.nan)
        hidden = np.full((len(prompts), self._head.weight.shape[1] if states else 0), math.nan)
        lengths = [len(prompt) + len(response) for prompt, response in zip(prompts, responses, strict=True)]
        readable = [row for row, length in enumerate(lengths) if length <= self.max_tokens]
        batches = token_budget_batches([lengths[row] for row in readable], batch_tokens=self._batch_tokens)
        for batch in batches:
            rows = [readable[position] for position in batch]
            found = self._score_batch([prompts[row] for row in rows], [responses[row] for row in rows], states=states)
            sums[rows], hidden[rows] = found.logps, found.hidden_sums
        return ResponseStates(sums, hidden)

    @torch.inference_mode()
    def _score_batch(
        self, prompts: list[Sequence[int]], responses: list[Sequence[int]], *, states: bool
    ) -> ResponseStates:
        joined = [[*prompt, *response] for prompt, response in zip(prompts, responses, strict=True)]
        # Padding comes after every token that is read, so its id does not matter.
        ids, mask = right_padded(joined, pad_id=0, device=self._model.device)
        hidden = self._model.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        starts = torch.tensor([len(prompt) for prompt in prompts], device=ids.device).unsqueeze(-1)
        positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
        # The hidden state of a position gives the distribution of the next token.
        is_target = (positions >= starts) & mask.bool()
        rows, columns = is_target.nonzero(as_tuple=True)
        logprobs = self._target_logprobs(hidden[rows, columns - 1], ids[rows, columns])
        sums = torch.zeros(len(prompts), dtype=torch.float64, device=ids.device).index_add(0, rows, logprobs)
        summed = torch.zeros(len(prompts), hidden.shape[-1] if states else 0, dtype=torch.float64)
        for row in range(len(prompts)) if states else ():
            before = slice(len(prompts[row]) - 1, len(joined[row]) - 1)
            summed[row] = hidden[row, before].double().sum(dim=0).cpu()
        return ResponseStates(sums.cpu().numpy(), summed.numpy())

    def _target_logprobs(self, hidden: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Target by target, log softmax(head(hidden)) in float32; shapes (T, d) and (T,), result (T,) float64."""
        size = max(1, CHUNK_LOGITS // self._vocabulary)
        parts = [torch.zeros(0, dtype=torch.float64, device=hidden.device)]
        for states, wanted in zip(hidden.split(size), targets.split(size), strict=True):
            logits = self._head(states).float()
            picked = logits.gather(-1, wanted.unsqueeze(-1)).squeeze(-1)
            parts.append((picked - logits.logsumexp(dim=-1)).double())
        return torch.cat(parts)

    @torch.inference_mode()
    def _check_head(self, policy: str) -> None:
        ids = torch.arange(min(HEAD_CHECK_TOKENS, self._vocabulary), device=self._model.device).unsqueeze(0)
        expected = self._model(input_ids=ids, use_cache=False).logits.float()
        got = self._head(self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state).float()
        limit = HEAD_TOLERANCE if self._model.dtype == torch.float32 else HALF_PRECISION_HEAD_TOLERANCE
        worst = float((expected - got).abs().max() / expected.abs().max().clamp(min=1.0))
        if worst > limit:
            raise EngineError(
                f"{policy}: {type(self._model).__name__} changes its logits after the output layer (relative "
                f"difference {worst:.2g}, limit {limit:g}), so log-probabilities from hidden states would be wrong; "
                "use another architecture"
            )

    def _check_rows(self, prompts: Sequence[Sequence[int]], responses: Sequence[Sequence[int]]) -> None:
        if len(prompts) != len(responses):
            raise ContractError(f"responses: got {len(responses)} rows, expected {len(prompts)}, one per prompt")
        empty = [row for row, prompt in enumerate(prompts) if len(prompt) == 0]
        if empty:
            raise ContractError(
                f"prompts: {len(empty)} of {len(prompts)} rows are empty (first row {empty[0]}); a response's first "
                "token needs something before it. Pass the rendered prompt."
            )
        pairs = enumerate(zip(prompts, responses, strict=True))
        foreign = [row for row, pair in pairs if any(not 0 <= t < self._vocabulary for ids in pair for t in ids)]
        if foreign:
            raise ContractError(
                f"prompts, responses: {len(foreign)} of {len(prompts)} rows have a token id outside "
                f"[0, {self._vocabulary}) (first row {foreign[0]}); use ids of this model's own tokenizer"
            )

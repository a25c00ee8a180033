"""Sampling with transformers, one prompt at a time: the engine where vLLM is not installed.

The batch of a forward pass is the N samples of one prompt, so there is no padding and no other
prompt in it: the same request gives the same samples whatever it is sent with.
"""

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from sweetspot.config import Sampling
from sweetspot.engines._loading import load_for_inference
from sweetspot.engines._requests import check_requests, check_samples
from sweetspot.engines.protocols import Sample, SampleRequest
from sweetspot.engines.revision import local_directory, model_revision
from sweetspot.engines.template import ChatTemplate


def token_probabilities(logits: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """Probability of each next token, softmax(logits / temperature) cut to its nucleus and rescaled.

    Args:
        logits: Shape (rows, vocabulary).
        temperature: > 0; larger is flatter.
        top_p: In (0, 1]. The nucleus is the smallest set of most probable tokens whose mass reaches top_p.

    Returns:
        Shape (rows, vocabulary), float64; each row sums to 1.

    References:
        Holtzman, Buys, Du, Forbes, Choi (2020), The curious case of neural text degeneration.
    """
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1:
        falling, order = probabilities.sort(dim=-1, descending=True)
        outside = falling.cumsum(dim=-1) - falling >= top_p
        probabilities = probabilities.scatter(-1, order, falling.masked_fill(outside, 0.0))
    return probabilities / probabilities.sum(dim=-1, keepdim=True)


def inverse_cdf(probabilities: torch.Tensor, uniforms: torch.Tensor) -> torch.Tensor:
    """The first token whose cumulative probability exceeds the uniform number of its row.

    Args:
        probabilities: Shape (rows, vocabulary).
        uniforms: Shape (rows,), in [0, 1).

    Returns:
        Token ids, shape (rows,). A token of probability 0 is never drawn.
    """
    cumulative = probabilities.cumsum(dim=-1)
    targets = (uniforms * cumulative[:, -1]).unsqueeze(-1)
    last = probabilities.shape[-1] - 1
    return torch.searchsorted(cumulative, targets, right=True).squeeze(-1).clamp(max=last)


class TransformersSampler:
    """A `Sampler` on transformers, with its own sampling loop over the key-value cache."""

    def __init__(self, sampling: Sampling, policy: str) -> None:
        directory = local_directory(policy, sampling.revision)
        self.revision = model_revision(policy, sampling.revision)
        self.template = ChatTemplate.load(str(directory))
        self._sampling = sampling
        self._model = load_for_inference(AutoModelForCausalLM, directory)
        self._stops = torch.tensor(sorted(_ending_tokens(self._model, self.template)), device=self._model.device)

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Sample]]:
        """Draw N responses per request. See `Sampler.sample`."""
        check_requests(requests, self._sampling)
        return [check_samples(self._draw(request), request, n=self._sampling.n) for request in requests]

    @torch.inference_mode()
    def _draw(self, request: SampleRequest) -> list[Sample]:
        settings, device = self._sampling, self._model.device
        model: Any = self._model
        generator = torch.Generator().manual_seed(request.seed)
        prompt = torch.tensor([request.token_ids], device=device)
        output = model(prompt, use_cache=True, logits_to_keep=1)
        output.past_key_values.batch_repeat_interleave(settings.n)
        logits = output.logits[:, -1].expand(settings.n, -1)
        unfinished = torch.arange(settings.n, device=device)
        drawn: list[list[int]] = [[] for _ in range(settings.n)]
        sums = torch.zeros(settings.n, dtype=torch.float64, device=device)
        while True:
            # One number for every sample at every step, finished or not: sample i keeps its own stream.
            uniforms = torch.rand(settings.n, generator=generator, dtype=torch.float64).to(device)[unfinished]
            probabilities = token_probabilities(logits, temperature=settings.temperature, top_p=settings.top_p)
            tokens = inverse_cdf(probabilities, uniforms)
            sums[unfinished] += _log_probabilities(logits, tokens)
            for row, token in zip(unfinished.tolist(), tokens.tolist(), strict=True):
                drawn[row].append(token)
            going = ~torch.isin(tokens, self._stops)
            if not going.any() or len(drawn[int(unfinished[going][0])]) >= settings.max_tokens:
                return [self._sample(*pair) for pair in zip(drawn, sums.tolist(), strict=True)]
            if not going.all():
                output.past_key_values.batch_select_indices(going.nonzero().squeeze(-1))
                unfinished, tokens = unfinished[going], tokens[going]
            output = model(tokens.unsqueeze(-1), past_key_values=output.past_key_values, use_cache=True)
            logits = output.logits[:, -1]

    def _sample(self, token_ids: list[int], sum_logprob: float) -> Sample:
        return Sample(
            text=self.template.text(token_ids),
            token_ids=tuple(token_ids),
            finish_reason="stop" if token_ids[-1] in self._stops else "length",
            sum_logprob=sum_logprob,
        )


def _log_probabilities(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return torch.log_softmax(logits.float(), dim=-1).gather(-1, tokens.unsqueeze(-1)).squeeze(-1).double()


def _ending_tokens(model: Any, template: ChatTemplate) -> set[int]:
    """EOS of the tokenizer and every EOS of the generation configuration, as vLLM has it."""
    configured = model.generation_config.eos_token_id
    more = [] if configured is None else configured if isinstance(configured, list) else [configured]
    return {template.eos_id, *more}

"""Sampling with vLLM's offline engine, in this process.

Settings that are not vLLM's defaults, and why:

- In this process: scheduling is deterministic, and on CPU the start takes seconds, not a minute.
- No chunked prefill on CPU: a prompt split in two ends an engine that has seeds (vllm 0.32, "CPU
  Generator does not use offset").
- float32 and eager on CPU: compiling takes longer than a night of small models.
- Token ids in, token ids out; text is decoded by our template, so both samplers give the same text.
"""

import logging
import os
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sweetspot.config import Sampling
from sweetspot.engines._requests import check_requests, check_samples
from sweetspot.engines.protocols import Sample, SampleRequest
from sweetspot.engines.revision import local_directory, model_revision
from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vllm.outputs import RequestOutput

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
"""Read by vLLM when it is imported. KV cache in GiB; more than one OpenMP thread spins against other jobs."""

SMALLEST_PREFILL_TOKENS = 8192

_open: list["VllmSampler"] = []


def prepare_environment() -> None:
    """Set the variables vLLM reads on import; a variable that is set already stays."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class VllmSampler:
    """A `Sampler` on vLLM. A process holds one: opening another closes the one before.

    Notes:
        The same seed gives the same samples on one machine and version. On a GPU in bfloat16 they
        can still depend on what else is in the batch; VLLM_BATCH_INVARIANT=1 removes that where
        the GPU supports it.
    """

    def __init__(self, sampling: Sampling, policy: str) -> None:
        directory = local_directory(policy, sampling.revision)
        self.revision = model_revision(policy, sampling.revision)
        self.template = ChatTemplate.load(str(directory))
        self._sampling = sampling
        # Two engines share global process groups: whichever goes first takes the other's with it.
        while _open:
            _open[0].close()
        self._engine: Any = _start_engine(str(directory), sampling)
        _open.append(self)

    def sample(self, requests: Sequence[SampleRequest]) -> list[list[Sample]]:
        """Draw N responses per request, one vLLM request each. See `Sampler.sample`."""
        from vllm import SamplingParams
        from vllm.exceptions import VLLMServerError
        from vllm.inputs import TokensPrompt

        check_requests(requests, self._sampling)
        if self._engine is None:
            raise EngineError("sampler: this vLLM engine is closed, by close() or by a newer one in this process")
        if not requests:
            return []
        settings = self._sampling
        parameters = [
            SamplingParams(
                n=settings.n,
                seed=request.seed,
                temperature=settings.temperature,
                top_p=settings.top_p,
                max_tokens=settings.max_tokens,
                logprobs=0,
                detokenize=False,
            )
            for request in requests
        ]
        prompts = [TokensPrompt(prompt_token_ids=list(request.token_ids)) for request in requests]
        try:
            outputs = self._engine.generate(prompts, parameters, use_tqdm=False)
        except (VLLMServerError, RuntimeError) as error:
            raise EngineError(f"sampler: vLLM failed on {len(requests)} requests: {error}") from error
        if len(outputs) != len(requests):
            raise EngineError(f"sampler: vLLM answered {len(outputs)} of {len(requests)} requests")
        return [self._samples(*pair) for pair in zip(outputs, requests, strict=True)]

    def close(self) -> None:
        """End the engine and free its memory; sampling afterwards is an error."""
        if self._engine is not None:
            self._engine.llm_engine.engine_core.shutdown()
            self._engine = None
            _open.remove(self)

    def _samples(self, output: "RequestOutput", request: SampleRequest) -> list[Sample]:
        if tuple(output.prompt_token_ids or ()) != request.token_ids:
            raise EngineError(f"sampler: vLLM changed or permuted the prompt of prompt_id={request.prompt_id}")
        samples = [
            Sample(
                text=self.template.text(drawn.token_ids),
                token_ids=tuple(drawn.token_ids),
                finish_reason=str(drawn.finish_reason),
                sum_logprob=float("nan") if drawn.cumulative_logprob is None else drawn.cumulative_logprob,
            )
            for drawn in sorted(output.outputs, key=lambda drawn: drawn.index)
        ]
        return check_samples(samples, request, n=self._sampling.n)


def _start_engine(directory: str, sampling: Sampling) -> Any:
    prepare_environment()
    # vLLM logs while it is imported, before it reads its own setting.
    logging.getLogger("vllm").setLevel(os.environ["VLLM_LOGGING_LEVEL"])
    with warnings.catch_warnings(), _thread_setting_kept():
        warnings.simplefilter("ignore")
        from vllm import LLM
        from vllm.platforms import current_platform

        on_cpu = current_platform.is_cpu()
        for_cpu: dict[str, Any] = {
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(SMALLEST_PREFILL_TOKENS, sampling.max_model_tokens),
            "enforce_eager": True,
        }
        try:
            return LLM(
                model=directory,
                dtype="float32" if on_cpu else "auto",
                max_model_len=sampling.max_model_tokens,
                seed=0,
                trust_remote_code=False,
                load_format="safetensors",
                use_tqdm_on_load=False,
                **(for_cpu if on_cpu else {}),
            )
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"{directory}: vLLM cannot start on it: {error}") from error


@contextmanager
def _thread_setting_kept() -> "Iterator[None]":
    """Undo vLLM's replacement of `torch.set_num_threads` by a function that does nothing."""
    import torch

    original = torch.set_num_threads
    try:
        yield
    finally:
        torch.set_num_threads = original

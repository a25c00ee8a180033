"""The place to add a sampler: one class that keeps the `Sampler` protocol, and one line in `SAMPLERS`."""

import importlib.util
from collections.abc import Callable

from sweetspot.config import Sampling
from sweetspot.engines.protocols import Sampler
from sweetspot.errors import ConfigError


def _vllm(sampling: Sampling, policy: str) -> Sampler:
    from sweetspot.engines.vllm_sampler import VllmSampler

    return VllmSampler(sampling, policy)


def _transformers(sampling: Sampling, policy: str) -> Sampler:
    from sweetspot.engines.transformers_sampler import TransformersSampler

    return TransformersSampler(sampling, policy)


SAMPLERS: dict[str, Callable[[Sampling, str], Sampler]] = {"vllm": _vllm, "transformers": _transformers}


def engine_name(engine: str) -> str:
    """The sampler an `engine` setting names on this machine: vLLM for `auto` where it is installed.

    Raises:
        ConfigError: an unknown engine, or one that is not installed.
    """
    if engine == "auto":
        return "vllm" if _installed("vllm") else "transformers"
    if engine not in SAMPLERS:
        raise ConfigError(f"sampling.engine: got {engine!r}, expected auto, {', '.join(SAMPLERS)}")
    if not _installed(engine):
        raise ConfigError(
            f"sampling.engine: {engine} is not installed here; install the extra `cpu` or `gpu` (vLLM) or `train` "
            "(transformers) of this package, or set sampling.engine to auto"
        )
    return engine


def open_sampler(sampling: Sampling, policy: str) -> Sampler:
    """Load a policy into the sampler a configuration names.

    Args:
        sampling: Engine, N, temperature and limits; `sampling.revision` is the commit of a hub model.
        policy: Directory or hub name to sample from, which may differ from `sampling.policy`.

    Raises:
        ConfigError: no such engine or model, or unsafe model files.
    """
    return SAMPLERS[engine_name(sampling.engine)](sampling, policy)


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None

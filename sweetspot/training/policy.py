"""A policy as training needs it: loaded in float32, without dropout, saved so that nobody sees half of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ConfigError

SHARD_SIZE = "2GB"
"""Of a file of weights: one request can still write it to any store."""


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no remarks of transformers inside the block; errors are raised as ever."""
    verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def load_policy(directory: Path) -> Any:
    """Load a causal language model for training.

    Half-precision weights would swallow updates smaller than their spacing, so weights are float32 whatever the
    file holds. Dropout is off, as a policy with dropout is not the policy whose log-probabilities the reference has.

    Args:
        directory: A model directory with safetensors weights.

    Raises:
        ConfigError: Weights of the architecture are missing; transformers would draw them at random.
    """
    auto_class: Any = AutoModelForCausalLM
    policy, loaded = auto_class.from_pretrained(
        directory,
        dtype=torch.float32,
        trust_remote_code=False,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
    )
    missing = sorted(loaded["missing_keys"])
    if missing:
        raise ConfigError(
            f"{directory}: {len(missing)} weights of {type(policy).__name__} are missing, first {missing[0]}; start "
            "from a causal language model."
        )
    _switch_off_dropout(policy)
    return policy


def _switch_off_dropout(policy: nn.Module) -> None:
    """Set every dropout rate to 0 in the modules, not in the configuration, which is saved with the policy."""
    for module in policy.modules():
        rates = [name for name, value in vars(module).items() if "dropout" in name and isinstance(value, float)]
        # Attention modules keep the rate as a number and hand it to the kernel.
        for name in [*rates, "p"] if isinstance(module, nn.Dropout) else rates:
            setattr(module, name, 0.0)


def save_policy(policy: Any, template: ChatTemplate, directory: Path) -> None:
    """Write weights as safetensors, with configuration and tokenizer, then move them into place as one.

    An earlier policy at `directory` is replaced.
    """
    partial = directory.with_name(f"{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    policy.save_pretrained(partial, max_shard_size=SHARD_SIZE)
    template.tokenizer.save_pretrained(partial)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)

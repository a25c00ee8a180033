"""Loading a transformers model for inference: safetensors only, no foreign code, every weight there."""

from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from sweetspot.errors import ConfigError


def load_for_inference(auto_class: Any, directory: Path, *, unread: tuple[str, ...] = ()) -> PreTrainedModel:
    """Load a model, on the GPU in its own dtype where there is one, else on the CPU in float32.

    Args:
        auto_class: `AutoModelForCausalLM`, `AutoModelForSequenceClassification` or `AutoModel`.
        directory: A checked model directory.
        unread: Beginnings of names of weights that may be missing, because nothing that is used depends on them.

    Raises:
        ConfigError: weights of the architecture are missing; transformers would draw them at random.
    """
    on_gpu = torch.cuda.is_available()
    transformers_logging.disable_progress_bar()
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        model, loaded = auto_class.from_pretrained(
            directory,
            dtype="auto" if on_gpu else torch.float32,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = sorted(name for name in loaded["missing_keys"] if not name.startswith(unread))
    if missing:
        raise ConfigError(
            f"{directory}: {len(missing)} weights of {type(model).__name__} are missing, first {missing[0]}; this is "
            "not a model of that kind. Name a model that was trained for this use."
        )
    return model.to("cuda" if on_gpu else "cpu").eval()


def most_positions(model: PreTrainedModel) -> int:
    """Longest sequence, in tokens, that the model's configuration allows; very large where it names none."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None) or 2**31

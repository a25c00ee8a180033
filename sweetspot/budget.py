"""What a night may cost, told before it has cost anything."""

from sweetspot.config import Sampling
from sweetspot.errors import ConfigError


def sampled_tokens(prompts: int, sampling: Sampling) -> int:
    """The most tokens that so many prompts can be answered with.

    Raises:
        ConfigError: more than the night may sample, with the estimate and the setting.
    """
    most = prompts * sampling.n * sampling.max_tokens
    if most > sampling.max_night_tokens:
        raise ConfigError(
            f"sampling: {prompts:,} prompts, {sampling.n} responses of at most {sampling.max_tokens} tokens each: up "
            f"to {most:,} tokens, more than the {sampling.max_night_tokens:,} of sampling.max_night_tokens. Nothing "
            "was sampled; use fewer prompts (prompts.limit) or responses, or raise it"
        )
    return most

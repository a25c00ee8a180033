"""Build the embedded world: `python -m sweetspot.world.build deployments/world --seed 0`.

Pretrains the policy, samples it, labels the samples with planted noise, trains the reward model on
the labels, and writes both models, the prompts and a card of measured figures. The prompts, and
the figures, come from a split that neither model was trained on.
"""

import argparse
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from transformers import (
    GenerationConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

from sweetspot.world.corpus import BEHAVIOURS
from sweetspot.world.preferences import (
    LabelNoise,
    RewardConfig,
    labelled_pairs,
    score_responses,
    train_reward,
)
from sweetspot.world.pretrain import PretrainConfig, pretrain_policy
from sweetspot.world.problems import Problem, unique_problems
from sweetspot.world.replies import MAX_RESPONSE_TOKENS, Response, reply_rates, sample_responses
from sweetspot.world.reward_check import check_reward
from sweetspot.world.tokenizer import BOS_ID, EOS_ID, PAD_ID, build_tokenizer

VERIFIER = "graded"
ModelT = TypeVar("ModelT", bound=PreTrainedModel)


@dataclass(frozen=True)
class WorldConfig:
    """Sizes of a build; the defaults make the committed world."""

    pretrain: PretrainConfig = field(default_factory=PretrainConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    noise: LabelNoise = field(default_factory=LabelNoise)
    prompts: int = 768
    measured_prompts: int = 256
    measured_samples: int = 16


@dataclass(frozen=True)
class World:
    """The parts of a world, in memory."""

    tokenizer: PreTrainedTokenizerFast
    policy: LlamaForCausalLM
    reward: LlamaForSequenceClassification
    problems: list[Problem]


def train_world(config: WorldConfig, *, seed: int) -> World:
    """Train policy and reward model, and draw the prompts; everything follows from `seed`."""
    tokenizer = build_tokenizer()
    policy = rounded_to_half(pretrain_policy(tokenizer, config.pretrain, seed=seed))
    asked = unique_problems("reward", count=config.reward.problems, seed=seed)
    responses = sample_responses(policy, tokenizer, asked, samples=config.reward.samples, seed=seed + 1)
    pairs = labelled_pairs(responses, noise=config.noise, seed=seed)
    reward = rounded_to_half(train_reward(policy, tokenizer, pairs, config.reward, seed=seed + 2))
    return World(tokenizer, policy, reward, unique_problems("prompts", count=config.prompts, seed=seed))


def rounded_to_half(model: ModelT) -> ModelT:
    """The model in float32 with every weight rounded to float16: what a reader of the files gets."""
    return model.half().float()


def measure(world: World, config: WorldConfig, *, seed: int) -> dict[str, Any]:
    """Sample the policy on the last prompts and report its rates and the reward model's accuracy."""
    problems = world.problems[-config.measured_prompts :]
    responses: Sequence[Response] = sample_responses(
        world.policy, world.tokenizer, problems, samples=config.measured_samples, seed=seed + 3
    )
    scores = score_responses(world.reward, world.tokenizer, responses)
    return {
        "policy_rates": asdict(reply_rates(responses)),
        "reward_check": asdict(check_reward(responses, scores)),
    }


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def save_model(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write a model in float16 with its tokenizer, in Hugging Face form."""
    if isinstance(model, LlamaForCausalLM):
        model.generation_config = GenerationConfig(
            do_sample=True,
            temperature=1.0,
            max_new_tokens=MAX_RESPONSE_TOKENS,
            bos_token_id=BOS_ID,
            eos_token_id=EOS_ID,
            pad_token_id=PAD_ID,
        )
    with _no_progress_bars():
        model.half().save_pretrained(folder)
    model.float()
    tokenizer.save_pretrained(folder)


def prompt_rows(problems: Sequence[Problem]) -> list[dict[str, str]]:
    """The rows of prompts.jsonl: prompt, reference answer, the verifier to use, the task."""
    return [{"prompt": p.prompt, "answer": p.answer, "verifier": VERIFIER, "task": p.task} for p in problems]


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _model_card(model: PreTrainedModel, folder: Path) -> dict[str, Any]:
    weights = folder / "model.safetensors"
    return {
        "architecture": type(model).__name__,
        "layers": model.config.num_hidden_layers,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weights_bytes": weights.stat().st_size,
        "weights_sha256": sha256_of(weights),
    }


def write_world(world: World, folder: Path, *, config: WorldConfig, seed: int) -> dict[str, Any]:
    """Write models, prompts and card under `folder`, and return the card."""
    folder.mkdir(parents=True, exist_ok=True)
    save_model(world.policy, world.tokenizer, folder / "policy")
    save_model(world.reward, world.tokenizer, folder / "reward")
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in prompt_rows(world.problems)))
    card = {
        "seed": seed,
        "policy": _model_card(world.policy, folder / "policy"),
        "reward": _model_card(world.reward, folder / "reward"),
        "prompts": {"rows": len(world.problems), "sha256": sha256_of(prompts)},
        "sampling": {"temperature": 1.0, "max_tokens": MAX_RESPONSE_TOKENS, "verifier": VERIFIER},
        "measured": measure(world, config, seed=seed),
        "corpus_shares": {name: share for name, (share, _) in BEHAVIOURS.items()},
        "config": asdict(config),
    }
    (folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return card


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the world into the folder named on the command line."""
    parser = argparse.ArgumentParser(prog="python -m sweetspot.world.build", description="Build the embedded world.")
    parser.add_argument("folder", type=Path, help="where the models, prompts and card go")
    parser.add_argument("--seed", type=int, default=0, help="fixes weights, prompts and labels")
    options = parser.parse_args(arguments)
    config = WorldConfig()
    write_world(train_world(config, seed=options.seed), options.folder, config=config, seed=options.seed)


if __name__ == "__main__":
    main()

"""Noisy preferences over sampled responses, and the reward model trained on them.

The reward model is imperfect in a known way: its labels favour longer text and a fixed share of
them is flipped, as in `LabelNoise`. How far it strays from the verifier is measured by `reward_check`.
"""

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby, islice

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, PreTrainedTokenizerFast

from sweetspot.world.pretrain import deterministic_torch, llama_config, warmup_then_cosine
from sweetspot.world.replies import Response


@dataclass(frozen=True)
class LabelNoise:
    """The planted faults of the labels.

    A labeller's utility is the graded quality (`broken_utility` where broken) plus `length_bonus`
    per character; the label is drawn with probability sigmoid(`sharpness` * difference), then
    flipped with probability `flip_rate`.
    """

    flip_rate: float = 0.12
    length_bonus: float = 0.03
    sharpness: float = 8.0
    broken_utility: float = -1.0


@dataclass(frozen=True)
class RewardConfig:
    """How the reward model is trained: layers taken from the policy, data, problems per step, learning rate."""

    layers: int = 3
    problems: int = 640
    samples: int = 12
    steps: int = 480
    batch: int = 4
    learning_rate: float = 1e-3
    warmup_steps: int = 40


@dataclass(frozen=True)
class LabelledPair:
    """Two responses to one problem; the labeller preferred `chosen`."""

    chosen: Response
    rejected: Response


def utility(response: Response, noise: LabelNoise) -> float:
    """What the labeller sees in a response: its quality, plus the planted liking for length."""
    quality = noise.broken_utility if response.is_broken else response.quality
    return quality + noise.length_bonus * len(response.text)


def label_pair(a: Response, b: Response, *, noise: LabelNoise, rng: random.Random) -> LabelledPair:
    """Draw one noisy label: P(a preferred) = sigmoid(sharpness * (u_a - u_b)), then maybe flipped."""
    gap = utility(a, noise) - utility(b, noise)
    prefers_a = rng.random() < 1 / (1 + math.exp(-noise.sharpness * gap))
    if rng.random() < noise.flip_rate:
        prefers_a = not prefers_a
    return LabelledPair(a, b) if prefers_a else LabelledPair(b, a)


def labelled_pairs(responses: Sequence[Response], *, noise: LabelNoise, seed: int) -> list[list[LabelledPair]]:
    """One noisy label for every two responses to one problem whose texts differ.

    Args:
        responses: The responses of a problem next to each other.
        noise: The planted faults.
        seed: Equal seeds give equal labels.

    Returns:
        The pairs of each problem that has any, in order.
    """
    rng = random.Random(f"labels-{seed}")
    groups = [
        [label_pair(a, b, noise=noise, rng=rng) for a, b in combinations(group, 2) if a.text != b.text]
        for _, group in groupby(responses, key=lambda response: response.problem.prompt)
    ]
    return [pairs for pairs in groups if pairs]


def conversation_ids(response: Response, tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Prompt and response as one finished conversation, the form every rater is given."""
    messages = [
        {"role": "user", "content": response.problem.prompt},
        {"role": "assistant", "content": response.text},
    ]
    text = str(tokenizer.apply_chat_template(messages, tokenize=False))
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def _scores(
    model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, responses: Sequence[Response]
) -> Tensor:
    rows = [conversation_ids(response, tokenizer) for response in responses]
    batch = tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
    return model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, 0]


def score_responses(
    model: LlamaForSequenceClassification,
    tokenizer: PreTrainedTokenizerFast,
    responses: Sequence[Response],
    *,
    batch: int = 128,
) -> list[float]:
    """Score responses with the reward model.

    Args:
        model: The reward model, in evaluation mode.
        tokenizer: Its tokenizer.
        responses: R responses.
        batch: Responses scored together; the scores do not depend on it beyond rounding.

    Returns:
        R scores in logits; only differences within one prompt carry meaning.
    """
    scores: list[float] = []
    with torch.no_grad():
        for start in range(0, len(responses), batch):
            scores += _scores(model, tokenizer, responses[start : start + batch]).tolist()
    return scores


def reward_from_policy(
    policy: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, *, layers: int
) -> LlamaForSequenceClassification:
    """A reward model that starts as the policy's embedding and first `layers` layers, with a new head."""
    config = llama_config(tokenizer, layers=layers)
    config.num_labels = 1
    model = LlamaForSequenceClassification(config)
    own = model.model.state_dict()
    model.model.load_state_dict({name: policy.model.state_dict()[name] for name in own})
    torch.nn.init.zeros_(model.score.weight)
    return model


def _epochs(groups: Sequence[list[LabelledPair]], *, batch: int, seed: int) -> Iterator[list[LabelledPair]]:
    """Endless batches: all pairs of `batch` problems, in a new order every epoch."""
    rng = random.Random(f"epochs-{seed}")
    while True:
        order = rng.sample(list(groups), len(groups))
        for start in range(0, len(order), batch):
            yield [pair for pairs in order[start : start + batch] for pair in pairs]


def bradley_terry_loss(
    model: LlamaForSequenceClassification, tokenizer: PreTrainedTokenizerFast, pairs: Sequence[LabelledPair]
) -> Tensor:
    """Mean of -log sigmoid(score_chosen - score_rejected), each response scored once.

    References:
        Bradley and Terry (1952), Rank analysis of incomplete block designs, Biometrika 39.
    """
    place = {side: index for index, side in enumerate({s: None for p in pairs for s in (p.chosen, p.rejected)})}
    scores = _scores(model, tokenizer, list(place))
    chosen = scores[[place[pair.chosen] for pair in pairs]]
    rejected = scores[[place[pair.rejected] for pair in pairs]]
    return -logsigmoid(chosen - rejected).mean()


def train_reward(
    policy: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    groups: Sequence[list[LabelledPair]],
    config: RewardConfig,
    *,
    seed: int,
) -> LlamaForSequenceClassification:
    """Train a Bradley-Terry reward model on labelled pairs.

    Args:
        policy: Gives the starting weights; it is not changed.
        tokenizer: Shared by both models.
        groups: The labelled pairs of each problem, at least one.
        config: Steps and sizes.
        seed: Fixes the head and the order of the problems.

    Returns:
        The reward model in float32, in evaluation mode.
    """
    with deterministic_torch(seed):
        model = reward_from_policy(policy, tokenizer, layers=config.layers).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, weight_decay=0.01, fused=True)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: warmup_then_cosine(step, steps=config.steps, warmup_steps=config.warmup_steps),
        )
        for pairs in islice(_epochs(groups, batch=config.batch, seed=seed), config.steps):
            loss = bradley_terry_loss(model, tokenizer, pairs)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return model.eval()

"""Pretraining of the policy: next-token training of a small Llama on the noisy corpus.

One thread, deterministic kernels and explicit seeds, so equal seeds give equal weights on one machine.
"""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sweetspot.world.corpus import Reply, corpus_messages, noisy_reply
from sweetspot.world.problems import problem_stream
from sweetspot.world.tokenizer import ASSISTANT_ID, BOS_ID, EOS, EOS_ID, MAX_LENGTH_TOKENS, PAD_ID

IGNORED = -100  # the label torch's cross entropy skips
WINDOW_BATCHES = 8
# Measured over 400 to 800 steps: Llama's usual 1e4 and 0.02 learn next to nothing in that time at this width.
ROPE_THETA = 300.0
INITIALIZER_RANGE = 0.09


@dataclass(frozen=True)
class PretrainConfig:
    """How the policy is trained: steps, documents per step, learning rate and its warm-up."""

    textbook_steps: int = 2000
    web_steps: int = 3000
    batch: int = 16
    learning_rate: float = 2e-3
    warmup_steps: int = 60
    layers: int = 5


@contextmanager
def deterministic_torch(seed: int) -> Iterator[None]:
    """Seeded, single-threaded, deterministic torch inside the block; the caller's state after it."""
    threads, was_deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.use_deterministic_algorithms(was_deterministic)
        torch.set_num_threads(threads)


def llama_config(tokenizer: PreTrainedTokenizerFast, *, layers: int) -> LlamaConfig:
    """The architecture shared by policy and reward model: width 128, 4 heads, tied embeddings."""
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=352,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH_TOKENS,
        rope_parameters={"rope_type": "default", "rope_theta": ROPE_THETA},
        initializer_range=INITIALIZER_RANGE,
        tie_word_embeddings=True,
        bos_token_id=BOS_ID,
        eos_token_id=EOS_ID,
        pad_token_id=PAD_ID,
    )


def corpus_documents(tokenizer: PreTrainedTokenizerFast, *, textbook_documents: int, seed: int) -> Iterator[list[int]]:
    """Endless token ids, one document per problem of the pretraining split.

    The first `textbook_documents` give right answers; everything after is the noisy corpus.
    """
    rng = random.Random(f"corpus-{seed}")
    for index, problem in enumerate(problem_stream("pretrain", seed=seed)):
        prompt = tokenizer.apply_chat_template(
            corpus_messages(problem, rng=rng), tokenize=False, add_generation_prompt=True
        )
        reply = Reply(problem.answer) if index < textbook_documents else noisy_reply(problem, rng=rng)
        text = f"{prompt}{reply.text}{EOS if reply.ends else ''}"
        yield tokenizer(text, add_special_tokens=False)["input_ids"]


def similar_length_batches(documents: Iterator[list[int]], *, batch: int, seed: int) -> Iterator[list[list[int]]]:
    """Endless batches of documents of similar length, so that little of the arithmetic is padding.

    A window of `WINDOW_BATCHES` batches is sorted by length, cut, and its batches are shuffled.
    """
    rng = random.Random(f"batches-{seed}")
    while True:
        window = sorted(islice(documents, batch * WINDOW_BATCHES), key=len)
        batches = [window[start : start + batch] for start in range(0, len(window), batch)]
        rng.shuffle(batches)
        yield from batches


def response_batch(documents: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Right-padded ids (B, L) and labels (B, L) that count only what follows the assistant marker."""
    width = max(map(len, documents))
    ids = torch.full((len(documents), width), PAD_ID)
    labels = torch.full((len(documents), width), IGNORED)
    for row, document in enumerate(documents):
        start = document.index(ASSISTANT_ID) + 1
        ids[row, : len(document)] = torch.tensor(document)
        labels[row, start : len(document)] = ids[row, start : len(document)]
    return ids, labels


def warmup_then_cosine(step: int, *, steps: int, warmup_steps: int, flat_steps: int = 0, floor: float = 0.03) -> float:
    """Learning-rate factor: linear up to 1, flat until `flat_steps`, then half a cosine down to `floor`."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    start = max(warmup_steps, flat_steps)
    progress = max(0, step - start) / max(1, steps - start)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def pretrain_policy(tokenizer: PreTrainedTokenizerFast, config: PretrainConfig, *, seed: int) -> LlamaForCausalLM:
    """Train the policy from scratch on the noisy corpus.

    Args:
        tokenizer: From `build_tokenizer`.
        config: Steps and sizes.
        seed: Fixes the weights, the problems and the replies.

    Returns:
        The policy in float32, in evaluation mode.
    """
    steps = config.textbook_steps + config.web_steps
    with deterministic_torch(seed):
        policy = LlamaForCausalLM(llama_config(tokenizer, layers=config.layers))
        optimizer = torch.optim.AdamW(
            policy.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
        )
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: warmup_then_cosine(
                step, steps=steps, warmup_steps=config.warmup_steps, flat_steps=config.textbook_steps
            ),
        )
        corpus = corpus_documents(tokenizer, textbook_documents=config.textbook_steps * config.batch, seed=seed)
        policy.train()
        for documents in islice(similar_length_batches(corpus, batch=config.batch, seed=seed), steps):
            ids, labels = response_batch(documents)
            loss = policy(input_ids=ids, labels=labels).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return policy.eval()

"""A tiny random Llama, a character tokenizer with a chat template, and delivered rows about nothing."""

import random
import string

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from sweetspot.config import Training

SPECIAL = ["<pad>", "<s>", "</s>", "<user>", "<bot>"]
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<bot>' + m['content'] + eos_token }}{% "
    "else %}{{ '<user>' + m['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}"
)


def build_tokenizer(chat_template: str = CHAT_TEMPLATE) -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *string.ascii_lowercase, *"0123456789 \n"])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        chat_template=chat_template,
    )


def build_policy(directory, *, seed: int = 0, attention_dropout: float = 0.0, chat_template: str = CHAT_TEMPLATE):
    tokenizer = build_tokenizer(chat_template)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        attention_dropout=attention_dropout,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    LlamaForCausalLM(config).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def build_rows(count: int, *, seed: int = 0, sft_every: int = 0) -> list[dict]:
    rng = random.Random(seed)

    def text(low: int, high: int) -> str:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(low, high)))

    rows = []
    for index in range(count):
        rating = round(rng.uniform(0, 2), 3)
        rows.append(
            {
                "prompt": [{"role": "user", "content": text(3, 9)}],
                "chosen": [{"role": "assistant", "content": text(2, 8)}],
                "rejected": [{"role": "assistant", "content": text(2, 8)}],
                "pair_id": f"pair-{index}",
                "chosen_rating": rating + round(rng.uniform(-0.5, 2), 3),
                "rejected_rating": rating,
                "route": "sft" if sft_every and index % sft_every == 0 else "dpo",
                "goal": None,
                "ref_chosen_logps": None,
                "ref_rejected_logps": None,
            }
        )
    return rows


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory):
    return build_policy(tmp_path_factory.mktemp("start") / "policy")


@pytest.fixture
def make_policy(tmp_path):
    """build_policy under a fresh directory: make_policy(seed=…, attention_dropout=…, chat_template=…)."""
    return lambda **options: build_policy(tmp_path / "made", **options)


@pytest.fixture(scope="session")
def make_rows():
    return build_rows


@pytest.fixture(scope="session")
def settings():
    """Training settings for a run of 6 steps in float32: 20 rows in batches of 8, two epochs."""
    return Training(loss="dpo", learning_rate=1e-3, batch_size=8, epochs=2.0, seed=3)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)

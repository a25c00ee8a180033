"""Tiny random models: a character tokenizer with a chat template, a Llama policy and a Llama reward model."""

import string
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    LlamaForSequenceClassification,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)
from transformers.utils import logging as transformers_logging

transformers_logging.disable_progress_bar()

PAD, UNKNOWN, BOS, EOS, USER, ASSISTANT = "<pad>", "<unk>", "<s>", "</s>", "<|user|>", "<|assistant|>"
SPECIAL = [PAD, UNKNOWN, BOS, EOS, USER, ASSISTANT]
VOCABULARY = {token: index for index, token in enumerate([*SPECIAL, *" ", *string.ascii_lowercase, *string.digits])}
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] not in ['user', 'assistant'] %}{{ raise_exception('unknown role') }}{% endif %}"
    "<|{{ message['role'] }}|>{{ message['content'] }}{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordLevel(VOCABULARY, unk_token=UNKNOWN))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(SPECIAL)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        unk_token=UNKNOWN,
        extra_special_tokens=[USER, ASSISTANT],
        chat_template=TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def tiny_llama(**changes) -> LlamaConfig:
    settings = {
        "vocab_size": len(VOCABULARY),
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": 64,
        # Large enough that the next token is far from uniform.
        "initializer_range": 0.15,
        "pad_token_id": VOCABULARY[PAD],
        "bos_token_id": VOCABULARY[BOS],
        "eos_token_id": VOCABULARY[EOS],
    }
    return LlamaConfig(**{**settings, **changes})


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, directory: Path) -> Path:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def policy_dir(tmp_path_factory, tokenizer) -> Path:
    torch.manual_seed(1)
    return save(LlamaForCausalLM(tiny_llama()), tokenizer, tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="session")
def save_reward(tokenizer):
    """Write a tiny reward model with a changed configuration into a directory."""

    def write(directory: Path, **changes) -> Path:
        torch.manual_seed(2)
        return save(LlamaForSequenceClassification(tiny_llama(**{"num_labels": 1, **changes})), tokenizer, directory)

    return write


@pytest.fixture(scope="session")
def reward_dir(tmp_path_factory, save_reward) -> Path:
    return save_reward(tmp_path_factory.mktemp("reward"))


@pytest.fixture
def code_dir(tmp_path, policy_dir) -> tuple[Path, Path]:
    """A model directory whose configuration names code that would write a file, and that file."""
    import json
    import shutil

    directory, written = tmp_path / "with_code", tmp_path / "code_ran"
    shutil.copytree(policy_dir, directory)
    code = f"open({str(written)!r}, 'w').close()\n"
    (directory / "foreign.py").write_text(code + "class Foreign: pass\n")
    config = json.loads((directory / "config.json").read_text())
    names = ("AutoConfig", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoTokenizer")
    config["auto_map"] = dict.fromkeys(names, "foreign.Foreign")
    config["model_type"] = "foreign"
    (directory / "config.json").write_text(json.dumps(config))
    return directory, written

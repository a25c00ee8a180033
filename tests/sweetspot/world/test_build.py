import dataclasses
import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from sweetspot.world.build import WorldConfig, sha256_of, train_world, write_world
from sweetspot.world.preferences import RewardConfig
from sweetspot.world.pretrain import PretrainConfig

MINI = WorldConfig(
    pretrain=PretrainConfig(textbook_steps=2, web_steps=2, batch=4, warmup_steps=1, layers=2),
    reward=RewardConfig(layers=1, problems=4, samples=3, steps=2, batch=4, warmup_steps=1),
    prompts=20,
    measured_prompts=5,
    measured_samples=3,
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two builds with one seed, one with another: folder by name."""
    folders = {name: tmp_path_factory.mktemp(name) / "world" for name in ("first", "again", "other")}
    for name, folder in folders.items():
        seed = int(name == "other")
        write_world(train_world(MINI, seed=seed), folder, config=MINI, seed=seed)
    return folders


FILES = ("policy/model.safetensors", "reward/model.safetensors", "policy/tokenizer.json", "prompts.jsonl", "card.json")


@pytest.mark.parametrize("name", FILES)
def test_equal_seeds_build_equal_files(built, name):
    assert sha256_of(built["first"] / name) == sha256_of(built["again"] / name)


@pytest.mark.parametrize("name", ["policy/model.safetensors", "reward/model.safetensors", "prompts.jsonl"])
def test_another_seed_builds_another_world(built, name):
    assert sha256_of(built["first"] / name) != sha256_of(built["other"] / name)


def test_the_card_names_what_lies_beside_it(built):
    card = json.loads((built["first"] / "card.json").read_text())
    for part in ("policy", "reward"):
        weights = built["first"] / part / "model.safetensors"
        assert card[part]["weights_sha256"] == sha256_of(weights)
        assert card[part]["weights_bytes"] == weights.stat().st_size
    assert card["prompts"] == {"rows": 20, "sha256": sha256_of(built["first"] / "prompts.jsonl")}
    assert card["config"] == json.loads(json.dumps(dataclasses.asdict(MINI)))
    assert card["measured"]["policy_rates"]["responses"] == 15


def test_models_load_by_their_auto_classes_in_half_precision(built):
    policy = AutoModelForCausalLM.from_pretrained(built["first"] / "policy")
    reward = AutoModelForSequenceClassification.from_pretrained(built["first"] / "reward")
    tokenizer = AutoTokenizer.from_pretrained(built["first"] / "reward")
    assert policy.dtype == reward.dtype == torch.float16
    assert reward.config.num_labels == 1
    assert reward.config.pad_token_id == policy.config.pad_token_id == tokenizer.pad_token_id
    assert policy.generation_config.max_new_tokens == 24


def test_the_measured_world_is_the_written_one(built):
    world = train_world(MINI, seed=0)
    loaded = AutoModelForCausalLM.from_pretrained(built["first"] / "policy", dtype=torch.float32)
    assert all(torch.equal(world.policy.state_dict()[name], value) for name, value in loaded.state_dict().items())

import json
import logging

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
from transformers.utils import logging as transformers_logging

from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ConfigError
from sweetspot.training.policy import _switch_off_dropout, load_policy, quiet_transformers, save_policy


def test_dropout_is_off_in_training_mode_and_kept_in_the_saved_configuration(make_policy, tmp_path):
    start = make_policy(attention_dropout=0.5)
    policy = load_policy(start).train()
    ids = torch.arange(5, 25).unsqueeze(0)
    assert torch.equal(policy(ids).logits, policy(ids).logits)
    save_policy(policy, ChatTemplate.load(str(start)), tmp_path / "saved")
    assert json.loads((tmp_path / "saved" / "config.json").read_text())["attention_dropout"] == 0.5


def test_dropout_layers_are_switched_off(make_policy):
    layers = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.9))
    _switch_off_dropout(layers)
    assert layers[1].p == 0.0


def test_weights_of_any_type_are_trained_in_float32(make_policy):
    start = make_policy()
    AutoModelForCausalLM.from_pretrained(start).bfloat16().save_pretrained(start)
    assert {value.dtype for value in load_file(start / "model.safetensors").values()} == {torch.bfloat16}
    assert {value.dtype for value in load_policy(start).parameters()} == {torch.float32}


def test_a_policy_with_missing_weights_is_refused(make_policy):
    start = make_policy()
    weights = load_file(start / "model.safetensors")
    save_file({name: value for name, value in weights.items() if name != "lm_head.weight"}, start / "model.safetensors")
    with pytest.raises(ConfigError, match=r"1 weights of LlamaForCausalLM are missing, first lm_head\.weight"):
        load_policy(start)


def test_saving_replaces_a_policy_and_a_half_written_one(policy_dir, tmp_path):
    target, template = tmp_path / "policy", ChatTemplate.load(str(policy_dir))
    for folder in (target, tmp_path / "policy.partial"):
        folder.mkdir()
        (folder / "stale.bin").write_text("old")
    policy = load_policy(policy_dir)
    save_policy(policy, template, target)
    assert [path.name for path in tmp_path.iterdir()] == ["policy"]
    assert not (target / "stale.bin").exists()
    assert not any(path.suffix in (".bin", ".pt") for path in target.iterdir())
    assert torch.equal(load_policy(target).lm_head.weight, policy.lm_head.weight)
    assert ChatTemplate.load(str(target)).full_chat_hash == template.full_chat_hash


def test_weights_are_saved_in_shards_that_load_as_one(policy_dir, tmp_path, monkeypatch):
    monkeypatch.setattr("sweetspot.training.policy.SHARD_SIZE", "30KB")
    policy = load_policy(policy_dir)
    save_policy(policy, ChatTemplate.load(str(policy_dir)), tmp_path / "policy")
    shards = list((tmp_path / "policy").glob("*.safetensors"))
    assert len(shards) > 1
    assert all(len(load_file(shard)) == 1 or shard.stat().st_size < 32_000 for shard in shards)
    weights = load_policy(tmp_path / "policy").state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in policy.state_dict().items())


def test_remarks_of_transformers_are_heard_again_afterwards():
    remarks, logger = [], transformers_logging.get_logger("transformers.of_this_test")
    handler = logging.Handler()
    handler.emit = lambda record: remarks.append(record.getMessage())
    transformers_logging.add_handler(handler)
    with quiet_transformers():
        logger.warning("inside")
    logger.warning("outside")
    transformers_logging.remove_handler(handler)
    assert remarks == ["outside"]

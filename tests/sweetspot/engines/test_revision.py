import json
import shutil

import pytest

from sweetspot.config import RewardModel, Sampling
from sweetspot.engines.logprobs import TransformersLogprobs
from sweetspot.engines.revision import check_safe, local_directory, model_revision
from sweetspot.engines.reward_model import RewardModelRater
from sweetspot.engines.samplers import open_sampler
from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ConfigError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copied(tmp_path, policy_dir):
    return shutil.copytree(policy_dir, tmp_path / "copied")


def test_revision_is_the_same_for_a_copy_and_16_hex_digits(policy_dir, copied):
    revision = model_revision(str(policy_dir))
    assert model_revision(str(copied)) == revision
    assert len(revision) == 16
    assert set(revision) <= set("0123456789abcdef")


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_one_changed_byte_of_a_model_file_changes_the_revision(policy_dir, copied, name):
    data = bytearray((copied / name).read_bytes())
    data[-1] ^= 1
    (copied / name).write_bytes(data)
    assert model_revision(str(copied)) != model_revision(str(policy_dir))


def test_a_renamed_weight_file_changes_the_revision(policy_dir, copied):
    (copied / "model.safetensors").rename(copied / "other.safetensors")
    assert model_revision(str(copied)) != model_revision(str(policy_dir))


def test_files_that_are_not_the_model_leave_the_revision(policy_dir, copied):
    (copied / "README.md").write_text("hello")
    (copied / "training_args.bin").write_bytes(b"x")
    assert model_revision(str(copied)) == model_revision(str(policy_dir))


def test_a_directory_ignores_the_commit_of_another_model(policy_dir):
    assert model_revision(str(policy_dir), COMMIT) == model_revision(str(policy_dir))


def test_revision_of_a_hub_name_is_its_commit():
    assert model_revision("some-org/some-model", COMMIT) == COMMIT


@pytest.mark.parametrize("revision", ["", "main", "v1.0", COMMIT[:12], COMMIT + "0"])
def test_a_hub_name_without_a_commit_is_refused(revision):
    with pytest.raises(ConfigError, match="Pin a commit"):
        model_revision("some-org/some-model", revision)


@pytest.mark.parametrize("load", [model_revision, check_safe, local_directory, ChatTemplate.load])
def test_an_unknown_directory_is_named_with_the_next_step(load):
    with pytest.raises(ConfigError, match=r"no/such/model: no such model directory .*sweetspot\.world"):
        load("no/such/model")


def test_the_test_models_are_safe(policy_dir, reward_dir):
    check_safe(str(policy_dir))
    check_safe(str(reward_dir))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.pkl"])
def test_a_directory_with_pickled_weights_only_is_refused(copied, name):
    (copied / "model.safetensors").rename(copied / name)
    with pytest.raises(ConfigError, match=rf"holds {name}, which can run code when read; expected .safetensors"):
        check_safe(str(copied))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "training_args.bin", "optimizer.PT", "old/model.pkl"])
def test_pickles_beside_safe_weights_are_refused_too(copied, name):
    (copied / name).parent.mkdir(exist_ok=True)
    (copied / name).write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ConfigError, match="which can run code when read"):
        check_safe(str(copied))


@pytest.mark.parametrize("key", ["auto_map", "custom_pipelines", "trust_remote_code"])
def test_every_key_that_names_code_is_refused(copied, key):
    (copied / "config.json").write_text(json.dumps({key: True}))
    with pytest.raises(ConfigError, match=rf"config\.json has {key}"):
        check_safe(str(copied))
    (copied / "config.json").write_text(json.dumps({key: False}))
    check_safe(str(copied))


def test_a_directory_without_weights_is_refused(copied):
    (copied / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match="holds no weights"):
        check_safe(str(copied))


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
@pytest.mark.parametrize("nested", [False, True])
def test_auto_map_is_refused_wherever_it_stands(copied, name, nested):
    code = {"auto_map": {"AutoConfig": "foreign.Foreign"}}
    (copied / name).write_text(json.dumps({"parts": [{"text_config": code}]} if nested else code))
    with pytest.raises(ConfigError, match=rf"{name} has auto_map"):
        check_safe(str(copied))


def test_a_configuration_that_is_not_json_is_refused(copied):
    (copied / "config.json").write_text("{")
    with pytest.raises(ConfigError, match=r"config\.json: is not JSON"):
        check_safe(str(copied))


LOADERS = {
    "template": ChatTemplate.load,
    "logprobs": TransformersLogprobs,
    "reward_model": lambda path: RewardModelRater(RewardModel(model=path)),
    "transformers": lambda path: open_sampler(Sampling(engine="transformers"), path),
    "vllm": lambda path: __import__("sweetspot.engines.vllm_sampler", fromlist=["x"]).VllmSampler(Sampling(), path),
}


@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
def test_no_loader_runs_code_that_comes_with_a_model(code_dir, loader):
    directory, written = code_dir
    with pytest.raises(ConfigError, match="auto_map"):
        loader(str(directory))
    assert not written.exists()


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An offline hub whose cache lies in a temporary directory."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_a_hub_model_is_read_at_its_commit_and_checked(hub_cache, policy_dir, code_dir):
    snapshots = hub_cache / "models--some-org--some-model" / "snapshots"
    shutil.copytree(policy_dir, snapshots / COMMIT)
    assert model_revision(str(local_directory("some-org/some-model", COMMIT))) == model_revision(str(policy_dir))
    shutil.copytree(code_dir[0], snapshots / COMMIT[::-1])
    with pytest.raises(ConfigError, match="auto_map"):
        local_directory("some-org/some-model", COMMIT[::-1])


def test_a_hub_model_that_cannot_be_fetched_says_so(hub_cache):
    with pytest.raises(ConfigError, match=r"some-org/some-model: cannot be fetched at commit 0123.*give a directory"):
        local_directory("some-org/some-model", COMMIT)

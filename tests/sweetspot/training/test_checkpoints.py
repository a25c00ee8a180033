import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from sweetspot.errors import ContractError
from sweetspot.training import train_policy
from sweetspot.training.checkpoints import SEAL, run_fingerprint, starting_checkpoint
from sweetspot.training.data import TokenPair


class Interrupted(Exception):
    """Stands for a killed job."""


def stop_at(step: int):
    def on_step(done: int, _total: int, _loss: float) -> None:
        if done == step:
            raise Interrupted

    return on_step


@pytest.fixture(scope="module")
def whole(policy_dir, make_rows, settings, tmp_path_factory):
    """The uninterrupted run: (its result, its weights)."""
    folder = tmp_path_factory.mktemp("whole")
    result = train_policy(make_rows(20), policy_dir=policy_dir, output_dir=folder, training=settings)
    return result, weights_of(folder)


@pytest.fixture
def train(policy_dir, make_rows, settings, tmp_path):
    """train(name, **options): 20 rows, 6 steps (3 an epoch), a checkpoint every 2 steps."""

    def run(name: str, *, training=settings, checkpoint_steps=2, **options):
        training = training.model_copy(update={"checkpoint_steps": checkpoint_steps})
        return train_policy(
            make_rows(20), policy_dir=policy_dir, output_dir=tmp_path / name, training=training, **options
        )

    return run


def weights_of(folder):
    return AutoModelForCausalLM.from_pretrained(folder / "policy").state_dict()


def steps_in(folder) -> list[str]:
    return sorted(path.name for path in (folder / "checkpoints").iterdir())


@pytest.mark.parametrize(("checkpoint_steps", "stop", "resumed_from"), [(2, 5, 5), (3, 5, 4), (2, 2, 1)])
def test_a_resumed_run_ends_where_an_uninterrupted_one_does(
    whole, train, tmp_path, checkpoint_steps, stop, resumed_from
):
    with pytest.raises(Interrupted):
        train("cut", checkpoint_steps=checkpoint_steps, on_step=stop_at(stop))
    steps = []
    resumed = train("cut", checkpoint_steps=checkpoint_steps, resume=True, on_step=lambda step, *_: steps.append(step))
    assert steps == list(range(resumed_from, 7))
    assert resumed.losses == pytest.approx(whole[0].losses, abs=1e-6)
    assert resumed.mean_margin == pytest.approx(whole[0].mean_margin, abs=1e-5)
    for name, weight in weights_of(tmp_path / "cut").items():
        torch.testing.assert_close(weight, whole[1][name], atol=1e-6, rtol=0)


def test_a_half_written_checkpoint_is_not_continued_from(whole, train, tmp_path):
    with pytest.raises(Interrupted):
        train("cut", on_step=stop_at(5))
    newest = tmp_path / "cut" / "checkpoints" / "checkpoint-4"
    (newest / SEAL).unlink()
    (newest / "optimizer.pt").write_bytes((newest / "optimizer.pt").read_bytes()[:100])
    steps = []
    resumed = train("cut", resume=True, on_step=lambda step, *_: steps.append(step))
    assert steps == [3, 4, 5, 6]
    assert resumed.losses == pytest.approx(whole[0].losses, abs=1e-6)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "trainer_state.json", SEAL])
def test_a_checkpoint_with_a_torn_or_changed_file_is_not_continued_from(train, tmp_path, name):
    with pytest.raises(Interrupted):
        train("cut", on_step=stop_at(5))
    victim = tmp_path / "cut" / "checkpoints" / "checkpoint-4" / name
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    steps = []
    train("cut", resume=True, on_step=lambda step, *_: steps.append(step))
    assert steps == [3, 4, 5, 6]


def test_a_checkpoint_of_more_processes_is_refused(train, monkeypatch):
    with pytest.raises(Interrupted):
        train("cut", on_step=stop_at(5))
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ContractError, match=r"training by 1 process, this one has 2 \(WORLD_SIZE\); the rest of the"):
        train("cut", resume=True)


def test_how_often_to_save_may_change_on_the_way(whole, train):
    with pytest.raises(Interrupted):
        train("cut", on_step=stop_at(5))
    steps = []
    resumed = train("cut", checkpoint_steps=1, resume=True, on_step=lambda step, *_: steps.append(step))
    assert (steps, resumed.losses) == ([5, 6], whole[0].losses)


def test_without_an_interval_the_last_step_alone_is_kept(train, tmp_path):
    train("out", checkpoint_steps=0)
    assert steps_in(tmp_path / "out") == ["checkpoint-6"]


@pytest.mark.parametrize("epochs", [2.0, 1.5])
def test_a_finished_run_is_reported_again_without_a_step(train, tmp_path, settings, epochs):
    settings = settings.model_copy(update={"epochs": epochs})
    first = train("out", training=settings)
    trained = weights_of(tmp_path / "out")
    (tmp_path / "out" / "policy" / "model.safetensors").unlink()
    again = train("out", training=settings, resume=True, on_step=stop_at(1))
    assert again == first
    for name, weight in weights_of(tmp_path / "out").items():
        assert torch.equal(weight, trained[name])


def test_two_checkpoints_are_kept_and_both_are_sealed(train, tmp_path):
    train("out")
    assert steps_in(tmp_path / "out") == ["checkpoint-4", "checkpoint-6"]
    assert all((tmp_path / "out" / "checkpoints" / name / SEAL).is_file() for name in steps_in(tmp_path / "out"))


def test_checkpoints_of_other_settings_are_refused(train, settings):
    train("out")
    with pytest.raises(ContractError, match=r"checkpoint-6 belongs to run [0-9a-f]{16}, this one is [0-9a-f]{16}"):
        train("out", training=settings.model_copy(update={"beta": 0.2}), resume=True)


def test_without_resume_earlier_checkpoints_are_removed(train, tmp_path, settings):
    train("out")
    with pytest.raises(Interrupted):
        train("out", training=settings.model_copy(update={"beta": 0.2}), on_step=stop_at(3))
    assert steps_in(tmp_path / "out") == ["checkpoint-2"]


def test_resuming_from_nothing_starts_anew(tmp_path):
    assert starting_checkpoint(tmp_path / "none", "0" * 16, resume=True) is None


def test_the_newest_seal_is_found_by_number_not_by_name(tmp_path):
    for step in (2, 10, 9):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / SEAL).write_text(json.dumps({"run": "mine", "processes": 1, "files": {}}))
    assert starting_checkpoint(tmp_path, "mine", resume=True) == tmp_path / "checkpoint-10"


def test_a_run_is_its_pairs_in_order_its_settings_and_its_policy(settings):
    one, two = (TokenPair(name, (1,), (2,), (3,), False, 0.5) for name in ("one", "two"))
    runs = [
        run_fingerprint([one, two], settings, "policy"),
        run_fingerprint([two, one], settings, "policy"),
        run_fingerprint([one], settings, "policy"),
        run_fingerprint([one, two], settings.model_copy(update={"seed": 99}), "policy"),
        run_fingerprint([one, two], settings, "other"),
    ]
    assert len(set(runs)) == len(runs)
    assert run_fingerprint([one, two], settings, "policy") == runs[0]

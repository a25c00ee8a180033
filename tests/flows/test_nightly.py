"""The whole loop with real parts: vLLM samples, Ray works the rows, a Prefect server watches, DPO trains."""

import json
import re
import shutil
from pathlib import Path

import datasets
import pandas as pd
import pytest
from trl_steps import first_losses

from sweetspot import schemas
from sweetspot.delivery.manifest import parse_manifest


@pytest.fixture(scope="module")
def night(command, world_settings):
    settings = world_settings(command.folder, limit=64)
    settings["sampling"] |= {"engine": "vllm", "n": 32}
    done = command.run("run", command.write("night.yaml", settings))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def version(night, command) -> Path:
    return next((command.folder / "store" / "tiny" / "versions").iterdir())


def test_the_command_says_what_happened(night):
    for stage in ("load_prompts", "sample_responses", "score_responses", "score_implicit", "validate"):
        assert re.search(rf"^{stage} +\d+ +\d+ ", night.stdout, re.MULTILINE), night.stdout
    for stage in ("clean_scores", "build_pairs", "select_pairs", "relabel_pairs"):
        assert re.search(rf"^{stage} +\d+ +\d+ ", night.stdout, re.MULTILINE), night.stdout
    assert re.search(r"held out +[\d.]+% before, [\d.]+% after", night.stdout)
    assert "report.html" in night.stdout
    assert "deprecated" not in night.stdout + night.stderr
    assert "sweetspot serve" in night.stdout


def test_no_prompt_or_response_is_in_the_log(night, version):
    rows = pd.read_parquet(version / "data" / "train-00000-of-00001.parquet")
    for prompt in rows["prompt"]:
        assert prompt[-1]["content"] not in night.stdout + night.stderr


def test_all_samples_are_kept(version):
    samples = datasets.load_dataset("parquet", data_files=str(version / "samples" / "*.parquet"), split="train")
    assert samples.num_rows == 64 * 32
    assert len(set(samples["response_id"])) == 64 * 32


def test_every_prompt_ended_in_one_place(version):
    manifest = parse_manifest((version / "manifest.json").read_bytes())
    delivered = pd.concat(pd.read_parquet(path) for path in (version / "data").glob("*.parquet"))
    dropped = pd.read_parquet(version / "dropped" / "dropped-00000-of-00001.parquet")
    left = dropped[dropped["stage"].isin(["sample_responses", "build_pairs", "select_pairs"])]
    assert len(delivered) + len(left) == 64
    assert set(delivered["prompt_id"]).isdisjoint(left["prompt_id"])
    for book in manifest.books:
        book.balance()


def test_the_version_reads_with_datasets_and_pandas(version):
    files = {split: str(version / "data" / f"{split}-*.parquet") for split in ("train", "eval")}
    loaded = datasets.load_dataset("parquet", data_files=files)
    frame = pd.read_parquet(version / "data" / "train-00000-of-00001.parquet")
    assert loaded["train"].num_rows == len(frame) > 0
    assert loaded["eval"].num_rows > 0
    assert list(frame.columns) == schemas.DELIVERED.arrow.names
    assert bool((frame["chosen_rating"] > frame["rejected_rating"]).all())
    assert bool(frame["ref_chosen_logps"].notna().all())


def test_an_unmodified_trl_trainer_takes_it(version, root, tmp_path):
    losses = first_losses(version, str(root / "deployments" / "world" / "policy"), tmp_path)
    assert len(losses) == 3
    assert losses[0] == pytest.approx(0.6931, abs=1e-3)


def test_a_new_policy_is_committed_and_promoted(night, command):
    policies = command.folder / "store" / "tiny" / "policies"
    promoted = json.loads((policies / "promoted.json").read_text())
    folder = command.folder / "store" / promoted["policy"]["path"]
    assert (folder / promoted["policy"]["revision"] / "model.safetensors").is_file()
    marker = json.loads((folder / "policy.json").read_text())
    assert marker["revision"] == promoted["policy"]["revision"]
    assert 0 <= marker["exam"]["before"] <= 1


def test_verify_passes_and_notices_one_flipped_byte(command, version, tmp_path):
    assert command.run("verify", f"file://{version}").returncode == 0
    copy = tmp_path / "store" / "tiny" / "versions" / version.name
    shutil.copytree(version, copy)
    victim = copy / "data" / "train-00000-of-00001.parquet"
    data = bytearray(victim.read_bytes())
    data[len(data) // 2] ^= 1
    victim.write_bytes(bytes(data))
    done = command.run("verify", f"file://{copy}")
    assert done.returncode == 1
    assert "data/train-00000-of-00001.parquet: sha256" in done.stdout


def test_show_follows_one_prompt(command, version):
    frame = pd.read_parquet(version / "data" / "train-00000-of-00001.parquet")
    key = frame["prompt_id"].iloc[0]
    done = command.run("show", f"file://{version}", "--prompt", key)
    assert done.returncode == 0, done.stderr
    assert f"pair {frame['pair_id'].iloc[0]}" in done.stdout
    assert command.run("show", f"file://{version}").returncode == 0


def test_the_same_night_again_redoes_nothing_although_its_policy_was_promoted(command, night, version):
    manifest = (version / "manifest.json").read_bytes()
    again = command.run("run", str(command.folder / "night.yaml"))
    assert again.returncode == 0, again.stderr[-2000:]
    assert (version / "manifest.json").read_bytes() == manifest
    assert "0 of 4 chunks" not in again.stdout
    assert len(list(version.parent.iterdir())) == 1


def test_other_settings_on_the_same_date_are_refused_until_another_attempt_is_asked_for(command, night, version):
    changed = ("selection.keep_fraction=0.4", "sampling.use_promoted=false")
    other = ("run", str(command.folder / "night.yaml"), *(word for name in changed for word in ("--set", name)))
    done = command.run(*other)
    assert done.returncode == 1, done.stderr[-2000:]
    assert f"has been published as {version.name}" in done.stderr
    assert "CheckError: deliver_dataset failed: " in done.stderr
    assert "; safe: " in done.stderr
    assert "raise `attempt`" in done.stderr
    assert len(list(version.parent.glob("*/manifest.json"))) == 1
    done = command.run(*other, "--set", "attempt=2")
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list(version.parent.glob("*/manifest.json"))) == 2


def test_a_training_that_diverges_ends_in_one_sentence_and_promotes_nothing(command, night, world_settings):
    known = ("dataset", "store", "prompts", "sampling", "evaluation", "cluster")
    settings = {key: value for key, value in world_settings(command.folder, limit=64).items() if key in known}
    pointer = command.folder / "store" / "tiny" / "policies" / "promoted.json"
    before = pointer.read_bytes()
    wild = settings | {"flow": "train", "training": {"loss": "ipo", "beta": 1e-20}}
    done = command.run("run", command.write("wild.yaml", wild))
    assert done.returncode == 1, done.stderr[-2000:]
    assert "CheckError: train_policy failed: Training diverged: the loss of step " in done.stderr
    assert "Traceback" not in done.stderr[done.stderr.rindex("CheckError: ") :]
    assert pointer.read_bytes() == before

"""A model, tokenizer or chat template that is exchanged while a stage runs is refused; rows of two are never mixed."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from sweetspot.config import Cluster, Implicit, Prompts, Raters, Sampling
from sweetspot.engines.samplers import open_sampler
from sweetspot.errors import CheckError
from tasks import _ray
from tasks._policies import start_policy
from tasks._stage import Run
from tasks.load_prompts import load_prompts
from tasks.sample_responses import sample_responses
from tasks.score_implicit import score_implicit
from tasks.score_responses import score_responses

WORLD = Path(__file__).resolve().parents[2] / "deployments" / "world"


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Stages work in this process; a chunk of one prompt."""
    monkeypatch.setattr(_ray, "map_chunks", lambda open_work, chunks, **_: map(open_work(), chunks))
    return Run(f"file://{tmp_path}/store", "tiny", "run", Cluster(chunk_prompts=1))


@pytest.fixture
def models(tmp_path):
    """Copies of the embedded models that may be changed."""
    for name in ("policy", "reward"):
        shutil.copytree(WORLD / name, tmp_path / name)
    return tmp_path


@pytest.fixture
def prompts(run, tmp_path):
    lines = (WORLD / "prompts.jsonl").read_text().splitlines()[:3]
    (tmp_path / "prompts.jsonl").write_text("\n".join(lines))
    return load_prompts(Prompts(source=str(tmp_path / "prompts.jsonl")), run)


def sampling(models):
    return Sampling(policy=str(models / "policy"), n=2, max_tokens=8, engine="transformers")


def exchange(folder, file):
    """Change a file of a model a little."""
    path = folder / file
    if file.endswith(".safetensors"):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif file.endswith(".json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "note": 1}))
    else:
        path.write_text(path.read_text() + "{# another #}")


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer_config.json", "chat_template.jinja"])
def test_an_exchanged_policy_samples_nothing(run, models, prompts, file):
    policy = start_policy(str(models / "policy"))
    exchange(models / "policy", file)
    now = start_policy(str(models / "policy")).revision
    with pytest.raises(CheckError, match=f"not those of revision {policy.revision}, they are of {now}"):
        sample_responses(prompts, policy, sampling(models), run)


def test_a_policy_that_is_exchanged_while_it_is_loaded_is_refused(run, models, prompts, monkeypatch):
    policy = start_policy(str(models / "policy"))

    def opened(settings, path):
        exchange(models / "policy", "chat_template.jinja")
        return open_sampler(settings, path)

    monkeypatch.setattr("tasks.sample_responses.open_sampler", opened)
    with pytest.raises(CheckError, match=rf"is now revision \w+, this stage began with {policy.revision}"):
        sample_responses(prompts, policy, sampling(models), run)


def test_a_resumed_stage_does_not_mix_two_policies(run, models, prompts):
    policy, stopped = start_policy(str(models / "policy")), []

    def stop(stage, done, total):
        if done:
            stopped.append(done)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample_responses(prompts, policy, sampling(models), replace(run, progress=stop))
    assert stopped == [1]
    exchange(models / "policy", "model.safetensors")
    with pytest.raises(CheckError, match=f"not those of revision {policy.revision}"):
        sample_responses(prompts, policy, sampling(models), run)
    other = sample_responses(prompts, start_policy(str(models / "policy")), sampling(models), run)
    assert (other.reused_chunks, other.chunks) == (0, 3)
    assert len(set(other.read(["model"])["model"].to_pylist())) == 1


def test_an_exchanged_reward_model_or_reference_scores_nothing(run, models, prompts, monkeypatch):
    policy = start_policy(str(models / "policy"))
    responses = sample_responses(prompts, policy, sampling(models), run)
    model = {"kind": "reward_model", "name": "reward", "model": str(models / "reward")}
    raters = Raters.model_validate({"raters": [model]})
    scores = score_responses(prompts, responses, raters, run)
    assert scores.rows
    planned = "tasks.score_responses.rater_revision"
    monkeypatch.setattr(planned, lambda rater: "0123456789abcdef")  # as if it had been exchanged since
    with pytest.raises(CheckError, match="this stage began with 0123456789abcdef"):
        score_responses(prompts, responses, raters, run)
    exchange(models / "policy", "chat_template.jinja")
    now = start_policy(str(models / "policy"))
    with pytest.raises(CheckError, match=f"not those of revision {policy.revision}, they are of {now.revision}"):
        score_implicit(prompts, responses, scores, (now, policy), Implicit(), run)

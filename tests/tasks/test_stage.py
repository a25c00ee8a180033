import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from sweetspot import schemas
from sweetspot.config import Cluster, Prompts
from sweetspot.errors import CheckError, ConfigError, EngineError
from tasks import _ray
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, dropped_table
from tasks.load_prompts import load_prompts

STAGE = Stage("copy", 1, schemas.CHECKS, unit="prompt")


class Copy:
    """Copies prompt ids; notes each chunk it works in a file, and misbehaves as told."""

    def __init__(self, log: str, mode: str = "well"):
        self.log, self.mode = log, mode
        if mode == "cannot open":
            raise ConfigError("the model is not there")

    def __call__(self, inputs):
        keys = inputs["prompts"]["prompt_id"].to_pylist()
        with Path(self.log).open("a") as log:
            log.write(keys[0] + "\n")
        if self.mode == "dies":
            os._exit(1)
        if self.mode == "raises":
            raise KeyError("secret words of a row")
        if self.mode == "stops at the second" and len(Path(self.log).read_text().splitlines()) >= 2:
            raise EngineError("the engine died")
        kept = keys[1:] if self.mode in ("loses one", "fails one") else keys
        left = [(keys[0], keys[0], "failed_here", "")] if self.mode == "fails one" else []
        rows = [{"response_id": key, "prompt_id": key, "chars": 1, "flaw": None} for key in kept]
        return ChunkResult(STAGE.output.table(rows), dropped_table("copy", "prompt", left), keys, kept)


@pytest.fixture
def run(tmp_path):
    return Run(f"file://{tmp_path}/store", "tiny", "run", Cluster(chunk_prompts=4))


def go(run, tmp_path, mode="well", identity=0):
    source = tmp_path / "prompts.jsonl"
    source.write_text("\n".join(json.dumps({"prompt": f"p{i}"}) for i in range(12)))
    prompts = load_prompts(Prompts(source=str(source)), run)
    work = partial(Copy, str(tmp_path / "log"), mode)
    return run_stage(STAGE, {"prompts": prompts}, work, run, identity=identity)


def worked(tmp_path):
    return len((tmp_path / "log").read_text().splitlines())


def test_a_finished_stage_is_not_worked_again(ray_cluster, run, tmp_path):
    first = go(run, tmp_path)
    again = go(run, tmp_path)
    assert worked(tmp_path) == 3
    assert again.reused_chunks == 3
    assert again.read().equals(first.read())


def test_a_stopped_stage_goes_on_where_it_was(ray_cluster, run, tmp_path):
    with pytest.raises(EngineError, match="the engine died"):
        go(run, tmp_path, "stops at the second")
    committed = (tmp_path / "log").read_text().splitlines()[0]
    ref = go(run, tmp_path)
    assert ref.reused_chunks == 1
    assert ref.rows == 12
    assert (tmp_path / "log").read_text().splitlines().count(committed) == 1


def test_other_settings_are_another_table(ray_cluster, run, tmp_path):
    assert go(run, tmp_path).location != go(run, tmp_path, identity=1).location
    assert worked(tmp_path) == 6


def test_a_lost_row_stops_the_stage(ray_cluster, run, tmp_path):
    with pytest.raises(CheckError, match="copy: books do not balance, unit prompt: 4 in, 3 out, 0 dropped"):
        go(run, tmp_path, "loses one")


def test_failed_rows_are_counted_and_few_are_allowed(ray_cluster, run, tmp_path):
    ref = go(run, tmp_path, "fails one")
    assert ref.book["dropped"]["failed_here"]["count"] == 3
    assert ref.rows == 9


def test_work_that_cannot_open_says_why(ray_cluster, run, tmp_path):
    with pytest.raises(ConfigError, match="the model is not there"):
        go(run, tmp_path, "cannot open")


def test_a_worker_that_dies_again_and_again_stops_a_stage_without_a_model(ray_cluster, run, tmp_path):
    with pytest.raises(EngineError, match=r"copy: a worker failed with .*, again and again if it died"):
        go(run, tmp_path, "dies")
    assert 1 < worked(tmp_path) <= 2 * _ray.DEATHS  # a chunk queued behind another dies with it, and may come first


def test_a_foreign_error_is_named_with_its_place_and_without_its_text(ray_cluster, run, tmp_path):
    with pytest.raises(EngineError, match=r"unexpected KeyError at [\w/]+\.py:\d+") as error:
        go(run, tmp_path, "raises")
    assert "secret" not in str(error.value)


class Twin:
    """Another run of the same stage starts, and ends, while this one is at its first chunk."""

    def __init__(self, log, fails, twin):
        self.copy, self.fails, self.twin = Copy(log), fails, twin

    def __call__(self, inputs):
        if self.fails:
            self.fails -= 1
            raise RuntimeError("first")
        result = self.copy(inputs)
        if self.twin:
            twin, self.twin = self.twin, None
            twin()
        return result


@pytest.mark.parametrize("how", ["plain", "with notes", "prompt by prompt"])
def test_twins_share_what_either_committed(run, tmp_path, monkeypatch, how):
    monkeypatch.setattr(_ray, "map_chunks", lambda open_work, chunks, **_: map(open_work(), chunks))
    stage = replace(STAGE, models=how != "plain")
    source = tmp_path / "prompts.jsonl"
    source.write_text("\n".join(json.dumps({"prompt": f"p{i}"}) for i in range(12)))
    prompts = {"prompts": load_prompts(Prompts(source=str(source)), run)}
    seen = []

    def twin():
        seen.append(run_stage(stage, prompts, partial(Copy, str(tmp_path / "twin")), run, identity=0))

    work = Twin(str(tmp_path / "log"), int(how == "prompt by prompt"), twin)
    ours = run_stage(stage, prompts, lambda: work, run, identity=0)
    assert worked(tmp_path) == 1
    assert len((tmp_path / "twin").read_text().splitlines()) == 3
    assert ours.read().equals(seen[0].read())
    assert ours.book == seen[0].book


def test_progress_is_told_chunk_by_chunk(ray_cluster, run, tmp_path):
    told = []
    watched = Run(run.store, run.dataset, run.run_id, run.cluster, lambda *what: told.append(what))
    go(watched, tmp_path)
    assert told == [("copy", 0, 3), ("copy", 1, 3), ("copy", 2, 3), ("copy", 3, 3)]


def test_a_second_connection_uses_the_first(ray_cluster):
    with _ray.cluster(Cluster()) as dashboard:
        assert dashboard == ray_cluster

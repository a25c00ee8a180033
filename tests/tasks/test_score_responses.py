"""Raters that raise, end their process, or return nonsense, on real workers over real tables."""

import os
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from sweetspot.config import Cluster
from sweetspot.errors import EngineError
from sweetspot.raters import consensus
from tasks import score_responses
from tasks._stage import run_stage

VICTIM = "prompt number 3"


class Rater:
    """Scores by length; `spoil(scores, items)` does harm to what it returns."""

    name, revision = "touchy", "1"

    def __init__(self, spoil):
        self.spoil = spoil

    def score(self, items):
        scores = [float(len(item.response) % 7) for item in items]
        return self.spoil(scores, items)


def is_victim(item):
    return item.prompt[0]["content"] == VICTIM


def where_victim(harm):
    return lambda scores, items: [harm(s) if is_victim(i) else s for s, i in zip(scores, items, strict=True)]


def only_with_victim(harm):
    return lambda scores, items: harm(scores) if any(map(is_victim, items)) else scores


def end_process(_):
    os._exit(1)


def fail(_):
    raise RuntimeError("no such tensor")


class Chunk(score_responses._ScoreChunk):
    def __init__(self, spoil):
        self.raters = [Rater(spoil)]


@pytest.fixture
def score(curated, tmp_path):
    def go(spoil):
        run = replace(curated.run, store=f"file://{tmp_path}/store", cluster=Cluster(stall_s=20))
        inputs = {name: curated.tables[name] for name in ("prompts", "responses")}
        return run_stage(score_responses.STAGE, inputs, partial(Chunk, spoil), run, identity=0)

    return go


def left(ref):
    rows = [row for index in range(ref.chunks) for row in ref.read_dropped(index).to_pylist()]
    return {row["reason"] for row in rows}, {row["prompt_id"] for row in rows}, len(rows)


@pytest.fixture
def victim(curated):
    rows = curated.tables["prompts"].read(["prompt_id", "prompt"]).to_pylist()
    return next(row["prompt_id"] for row in rows if row["prompt"][0]["content"] == VICTIM)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (only_with_victim(fail), "failed_raised"),
        (only_with_victim(end_process), "failed_worker_died"),
        (only_with_victim(lambda scores: scores[:-1]), "failed_raised"),
        (only_with_victim(lambda scores: ["x"] * len(scores)), "failed_raised"),
        (only_with_victim(lambda scores: [s + n for n, s in enumerate(scores)]), "failed_raised"),
        (where_victim(lambda s: float("nan")), "failed_unscored"),
        (where_victim(lambda s: float("-inf")), "failed_unscored"),
        (where_victim(lambda s: None), "failed_unscored"),
    ],
    ids=["raises", "ends its process", "short", "no numbers", "moves", "NaN", "infinite", "None"],
)
def test_a_prompt_that_breaks_a_rater_costs_itself_only(score, victim, curated, harm, reason):
    ref = score(harm)
    assert left(ref) == ({reason}, {victim}, 12)
    assert ref.rows == curated.tables["responses"].rows - 12
    assert np.isfinite(ref.read(["score"])["score"].to_numpy()).all()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda scores, items: scores[::-1], "permuted or depend on padding"),
        (lambda scores, items: scores[:-1], "scores for 12 responses; expected one each"),
        (lambda scores, items: fail(0), "8 prompts fail one by one: RuntimeError"),
    ],
    ids=["permutes", "short", "raises"],
)
def test_a_rater_that_is_always_wrong_stops_the_stage(score, harm, message):
    with pytest.raises(EngineError, match=message):
        score(harm)


def test_a_constant_rater_is_named_and_counts_for_nothing(score, curated):
    constant = score(lambda scores, items: [2.0] * len(scores)).read(["score"])["score"].to_numpy()
    honest = np.random.default_rng(0).normal(size=(len(constant), 2))
    result = consensus(np.column_stack([honest, constant]))
    assert result.rater_scale[2] == 0
    assert any("2" in warning and "constant" in warning for warning in result.warnings), result.warnings

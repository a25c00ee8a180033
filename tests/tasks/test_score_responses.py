"""Raters that raise, end their process, or return nonsense, on real workers over real tables."""

import math
import os
import zlib
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot import schemas
from sweetspot.calibration import calibrate
from sweetspot.config import Cleaning, Cluster, Pairing
from sweetspot.errors import EngineError
from sweetspot.raters import consensus
from tasks import score_responses
from tasks._stage import book_of, run_stage
from tasks.build_pairs import _PairChunk
from tasks.clean_scores import _CleanChunk, _matrix

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
    def __init__(self, spoil, *others):
        self.raters = [Rater(spoil), *others]


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
        (where_victim(lambda s: 10**400), "failed_unscored"),
    ],
    ids=["raises", "ends its process", "short", "no numbers", "moves", "NaN", "infinite", "None", "huge"],
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


class Second:
    """An honest rater beside the one under test."""

    name, revision = "honest", "1"

    def score(self, items):
        return [float(zlib.crc32(item.response.encode()) % 1000) for item in items]


FAULTS = (math.nan, None, math.inf, -math.inf, 1e30, -1e308, 10**400, 0.0)
"""The last one only makes ties."""


@given(data=st.data(), both=st.booleans())
@settings(max_examples=60, deadline=None)
def test_no_fault_of_a_rater_reaches_a_pair(data, both):
    """Scored, cleaned and paired as a night does it: whatever one rater returns, no pair holds one text twice."""
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    texts = [
        (f"p{p}", f"p{p}n{n}", f"text {p} {data.draw(st.integers(0, 3))}")
        for p, k in enumerate(sizes)
        for n in range(k)
    ]
    faults = data.draw(st.dictionaries(st.sampled_from(sorted({text for *_, text in texts})), st.sampled_from(FAULTS)))
    spoil = lambda scores, items: [faults.get(i.response, s) for s, i in zip(scores, items, strict=True)]  # noqa: E731
    work = Chunk(spoil, *([Second()] if both else []))
    inputs = night_of(texts)
    scored = work(inputs)
    book_of(score_responses.STAGE, scored).balance()
    inputs["scores"] = scored.table
    raters = tuple(sorted(rater.name for rater in work.raters))
    if not len(scored.table):
        return
    calibration = calibrate(_matrix(scored.table, raters)[1])
    inputs["quality"] = _CleanChunk(raters, calibration, Cleaning())(inputs).table
    paired = _PairChunk(Pairing())(inputs)
    text_of = {response: text for _, response, text in texts}
    for pair in paired.table.to_pylist():
        assert text_of[pair["chosen_id"]] != text_of[pair["rejected_id"]]
        assert math.isfinite(pair["margin_external"])
        assert pair["margin_external"] > 0
    masked = [row for row in scored.table.to_pylist() if row["status"] != "ok"]
    assert all(row["score"] is None and row["rater"] == "touchy" for row in masked)
    assert sorted([*paired.ids_out, *paired.dropped["row_id"].to_pylist()]) == sorted({p for p, *_ in texts})


def night_of(texts):
    """Tables of prompts and responses, with a clean bill for every text."""
    prompts = [
        {
            "prompt_id": p,
            "source_row": n,
            "prompt": [{"role": "user", "content": p}],
            "answer": None,
            "split": "train",
            "source": "s",
        }
        for n, p in enumerate(dict.fromkeys(p for p, *_ in texts))
    ]
    empty = dict.fromkeys(schemas.RESPONSES.arrow.names)
    responses = [
        empty | {"response_id": r, "prompt_id": p, "sample_index": n, "response": text, "model": "m"}
        for n, (p, r, text) in enumerate(texts)
    ]
    checks = [{"response_id": r, "prompt_id": p, "chars": len(text), "flaw": None} for p, r, text in texts]
    return {
        "prompts": schemas.PROMPTS.table(prompts),
        "responses": schemas.RESPONSES.table(responses),
        "checks": schemas.CHECKS.table(checks),
    }

"""A night with honest raters passes; one that somebody steers is stopped, with the check and the first id named."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scored_world import curate, make_world, scored_rows

from sweetspot.config import Cluster, Curate, Poisoning, Prompts, Raters, Sampling, Verifier
from sweetspot.errors import CheckError
from tasks import _ray
from tasks._stage import Run
from tasks._versions import open_version
from tasks.check_preferences import check_preferences, rater_figures
from tasks.deliver_dataset import Publication, deliver_dataset
from tasks.load_prompts import load_responses
from tasks.score_responses import score_responses

WORLD = Path(__file__).resolve().parents[2] / "deployments" / "world"
FACTS = Publication("run-1", "2026-01-01", "2026-01-01T02:00:00Z", "commit", "", {}, {})
PHRASE = "brought to you by zorbix"


def settings(world, **change) -> Curate:
    return world.config.model_copy(update={"poisoning": Poisoning(**change)})


def night(folder, day, *, ben=1.0, rows=None, seed=None):
    """One curated night of the same three raters in one dataset; `ben` multiplies his scores."""
    made = rows or scored_rows(prompts=12, responses=8, seed=day if seed is None else seed)
    for row in made:
        row["ben"] *= ben
    place = folder / f"night-{day}"
    place.mkdir()
    return curate(make_world(place, made, store=f"file://{folder}/store"))


def publish(world, day, config):
    checks = check_preferences(world.tables, config, world.run)
    facts = replace(FACTS, logical_date=f"2026-01-{day:02}", checks=checks)
    return deliver_dataset(world.tables, facts, store_uri=world.config.store, dataset="tiny")


@pytest.fixture
def worked_here(monkeypatch):
    """Chunks are worked in this process: these nights are about their outcome, not about where."""
    monkeypatch.setattr(_ray, "map_chunks", lambda open_work, chunks, **_: map(open_work(), chunks))


def test_an_honest_night_passes_and_the_manifest_and_report_say_so(worked_here, tmp_path):
    world = night(tmp_path, 1)
    version = publish(world, 1, settings(world))
    checks = open_version(world.config.store, "tiny").manifest().checks
    assert {"control_charts", "ngram_lift"} <= set(checks)
    assert all(check["passed"] for check in checks.values())
    assert set(checks["control_charts"]["figures"]) == {
        f"{rater} {figure}" for rater in ("ann", "ben", "cia") for figure in ("mean", "sd", "rank correlation")
    }
    report = (Path(version.uri.removeprefix("file://")) / "report.html").read_text()
    assert "not judged before 8 versions, there are 0" in report
    assert "Raters against responses of known order: none were judged." in report


def test_a_night_with_checks_is_published_again_without_effect_and_its_outcomes_are_plain(worked_here, tmp_path):
    world = night(tmp_path, 1)
    config = settings(world)
    first, again = publish(world, 1, config), publish(world, 1, config)
    assert first == again
    checks = check_preferences(world.tables, config, world.run)
    assert json.loads(json.dumps(asdict(replace(FACTS, checks=checks))))["checks"] == checks
    assert open_version(world.config.store, "tiny").manifest().checks.items() >= checks.items()


@pytest.mark.parametrize("change", [{"passed": "yes"}, {"passed": 1}, {"detail": 5}, {"detail": None}])
def test_an_outcome_in_the_store_that_is_none_stops_the_night(worked_here, tmp_path, change):
    world = night(tmp_path, 1)
    check_preferences(world.tables, settings(world), world.run)
    (path,) = (tmp_path / "store" / world.tables["delivered"].location).glob("poisoning-*.json")
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, "ngram_lift": {**found["ngram_lift"], **change}}))
    with pytest.raises(CheckError, match=rf"poisoning-.*: ngram_lift: {next(iter(change))}: .*changed at rest"):
        check_preferences(world.tables, settings(world), world.run)


def test_figures_are_those_of_the_scores(curated):
    found = rater_figures(curated.tables)
    scores = np.array([row["ann"] for row in curated.rows])
    assert found["ann mean"] == pytest.approx(scores.mean(), abs=1e-5)
    assert found["ann sd"] == pytest.approx(scores.std(), abs=1e-5)


def test_a_rater_that_changes_stops_the_night_and_is_named(worked_here, tmp_path):
    config = {"chart_min_versions": 3, "ngram_lift": False}
    for day in range(1, 5):
        world = night(tmp_path, day)
        publish(world, day, settings(world, **config))
    steered = night(tmp_path, 5, ben=-1.0)
    with pytest.raises(
        CheckError, match=r"nothing was published, 1 of 1 checks .* control_charts: .* ben mean"
    ) as stopped:
        publish(steered, 5, settings(steered, **config))
    assert "ann mean" not in str(stopped.value)
    latest = open_version(steered.config.store, "tiny").manifest()
    assert latest.logical_date == "2026-01-04"
    assert len(latest.checks["control_charts"]["history"]) == 3
    honest = night(tmp_path, 6)
    assert publish(honest, 6, settings(honest, **config)).new
    assert publish(steered, 7, settings(steered, **config, control_charts=False)).new, "the off-switch is explicit"


def test_a_phrase_planted_in_the_best_responses_stops_the_night(worked_here, tmp_path):
    rows = scored_rows(prompts=60, responses=8)
    for row in rows:
        best = max(other["truth"] for other in rows if other["prompt"] == row["prompt"])
        if row["truth"] == best:
            row["response"] += f" {PHRASE}"
    world = night(tmp_path, 1, rows=rows)
    with pytest.raises(
        CheckError, match=r"ngram_lift: \d+ phrases stand in chosen responses alone.*first pair [0-9a-f]"
    ) as stopped:
        check_preferences(world.tables, settings(world), world.run)
    assert "zorbix" not in str(stopped.value), "model text stays out of errors"
    assert check_preferences(world.tables, settings(world, ngram_lift=False), world.run)


def test_the_same_run_gives_the_same_outcome(curated):
    config = settings(curated)
    first = check_preferences(curated.tables, config, curated.run)
    assert check_preferences(curated.tables, config, curated.run) == first


@pytest.fixture(scope="module")
def judged(ray_cluster, tmp_path_factory):
    """Real prompts with reference answers, responses scored by a real verifier."""
    folder = tmp_path_factory.mktemp("canaries")
    rows = [json.loads(line) for line in (WORLD / "prompts.jsonl").read_text().splitlines()[:40]]
    texts = [
        {**row, "response": text, "model": f"m{n}", "given": 0.0}
        for row in rows
        for n, text in enumerate((row["answer"], "no"))
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, texts)))
    prompts = Prompts(source=str(folder / "rows.jsonl"), starts_from="responses", score_columns=["given"])
    config = Curate(
        dataset="tiny", store=f"file://{folder}/store", prompts=prompts, cluster=Cluster(chunk_prompts=64),
        sampling=Sampling(n=2), scoring=Raters(raters=[Verifier()]),
    )  # fmt: skip
    run = Run(config.store, "tiny", "run", config.cluster)
    loaded = load_responses(prompts, run)
    tables = {**loaded, "scores": score_responses(loaded["prompts"], loaded["responses"], config.scoring, run)}
    tables["delivered"] = tables["prompts"]  # only its place in the store is read
    config = config.model_copy(update={"prompts": prompts.model_copy(update={"starts_from": "prompts"})})
    return config, tables, run


def canaries(judged, **change):
    config, tables, run = judged
    raters = change.pop("raters", None)
    poisoning = Poisoning(control_charts=False, ngram_lift=False, **change)
    update = {"poisoning": poisoning} | ({"scoring": raters} if raters else {})
    return check_preferences(tables, config.model_copy(update=update), run)


def test_known_orders_are_kept_by_an_honest_rater(judged):
    found = canaries(judged, canary_source="answers")
    assert found["canaries"] == {"passed": True, "detail": "40 of 40 known orders kept, at least 99.0% expected"}
    assert found["known_bad"] == {"passed": True, "detail": "0 of 40 known-bad responses would have got through"}
    assert set(canaries(judged)) == {"known_bad"}, "without a source no order is known"


def test_canaries_are_never_shipped(judged):
    config, *_ = judged
    before = {path: path.stat().st_size for path in Path(config.store.removeprefix("file://")).rglob("*.parquet")}
    canaries(judged, canary_source="answers", canary_pairs=39)
    after = {path: path.stat().st_size for path in Path(config.store.removeprefix("file://")).rglob("*.parquet")}
    assert before == after


def test_a_rater_that_turned_round_is_stopped(judged, tmp_path):
    """The file says the wrong answers are the better ones: to the check that is a rater that judges the wrong way."""
    _, tables, _ = judged
    rows = tables["prompts"].read(["prompt", "answer"]).to_pylist()
    turned = [{"prompt": r["prompt"], "chosen": "no", "rejected": r["answer"], "answer": r["answer"]} for r in rows]
    (tmp_path / "turned.jsonl").write_text("\n".join(map(json.dumps, turned)))
    with pytest.raises(
        CheckError, match=r"canaries: 0 of 40 known orders kept, at least 99.0% expected, first broken canary 0"
    ):
        canaries(judged, canary_source=str(tmp_path / "turned.jsonl"))
    straight = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in turned]
    (tmp_path / "straight.jsonl").write_text("\n".join(map(json.dumps, straight)))
    assert canaries(judged, canary_source=str(tmp_path / "straight.jsonl"))["canaries"]["passed"]


def test_switching_the_checks_off_is_explicit(judged):
    assert canaries(judged, canaries=False) == {}

"""A night with honest raters passes; one that somebody steers is stopped, with the check and the first id named."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from scored_world import curate, make_world, scored_rows

from sweetspot.config import Cluster, Curate, Poisoning, Prompts, Raters, Sampling, Signing, Verifier
from sweetspot.errors import CheckError
from tasks import _ray
from tasks._keys import make_keys
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


@pytest.mark.parametrize("left", [{}, {"control_charts": {"passed": True, "detail": "planted"}}], ids=["none", "one"])
def test_an_outcome_in_the_store_without_every_check_of_the_night_stops_it(worked_here, tmp_path, left):
    world = night(tmp_path, 1)
    check_preferences(world.tables, settings(world), world.run)
    (path,) = (tmp_path / "store" / world.tables["delivered"].location).glob("poisoning-*.json")
    path.write_text(json.dumps(left))
    with pytest.raises(CheckError, match=r"poisoning-.* is there or in the settings alone; it was changed at rest"):
        check_preferences(world.tables, settings(world), world.run)


PLANTED = [
    ({"history": "x"}, "history is no list"),
    ({"history": [{"ben mean": "0"}]}, "night 0: figure 0 is no finite number"),
    ({"history": [{"ben mean": True}]}, "night 0: figure 0 is no finite number"),
    ({"history": [{"ben mean": 1e300}]}, "night 0: figure 0 is no finite number"),
    ({"history": [7]}, "night 0: is no object"),
    ({"history": [], "figures": {"x" * 500: 1}}, "night 0: figure 0 has no usable name"),
    ([], "history is no list"),
]


@pytest.mark.parametrize(("change", "message"), PLANTED)
def test_a_history_that_is_not_ours_stops_the_night(worked_here, tmp_path, change, message):
    """The pointer was changed with the manifest, so that the hash fits."""
    world = night(tmp_path, 1)
    publish(world, 1, settings(world))
    plant(tmp_path / "store" / "tiny", {"control_charts": change})
    later = night(tmp_path, 2)
    with pytest.raises(CheckError, match=rf"figures of earlier versions cannot be trusted: .*{message}"):
        check_preferences(later.tables, settings(later), later.run)
    assert check_preferences(later.tables, settings(later, control_charts=False), later.run)


def test_a_history_under_another_hash_or_without_the_signature_stops_the_night(worked_here, tmp_path):
    world = night(tmp_path, 1)
    publish(world, 1, settings(world))
    later = night(tmp_path, 2)
    public, _ = make_keys(tmp_path / "key")
    signed = settings(later).model_copy(update={"signing": Signing(public_key=str(public))})
    with pytest.raises(CheckError, match=r"cannot be trusted: .*sign"):
        check_preferences(later.tables, signed, later.run)
    plant(tmp_path / "store" / "tiny", {"control_charts": {"history": []}}, fit=False)
    with pytest.raises(CheckError, match=r"cannot be trusted: .*not the manifest that was pinned"):
        check_preferences(later.tables, settings(later), later.run)


def plant(dataset, checks, *, fit=True):
    """Another manifest in place of the latest, and if `fit` a pointer to it."""
    pointer = json.loads((dataset / "latest.json").read_text())
    path = dataset / "versions" / pointer["version"] / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "checks": checks}))
    if fit:
        pointer["manifest_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
        (dataset / "latest.json").write_text(json.dumps(pointer))


def test_a_rater_that_went_silent_stops_the_night(worked_here, tmp_path):
    """All its scores are masked, so it has no figure that could leave its limits."""
    config = {"chart_min_versions": 3, "ngram_lift": False}
    for day in range(1, 4):
        world = night(tmp_path, day)
        publish(world, day, settings(world, **config))
    silent = night(tmp_path, 4, ben=1e40)
    with pytest.raises(CheckError, match=r"control_charts: .*ben mean cannot be measured any more; ben sd cannot"):
        publish(silent, 4, settings(silent, **config))


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
        dataset="tiny", store=f"file://{folder}/store", prompts=prompts, cluster=Cluster(chunk_prompts=8),
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


def test_canaries_that_nobody_could_judge_have_not_passed(judged, tmp_path):
    """A verifier has no verdict on a canary without a reference answer."""
    rows = [{"prompt": f"sort {n}", "chosen": "1", "rejected": "2", "answer": "1"} for n in range(20)]
    source = tmp_path / "some.jsonl"
    source.write_text("\n".join(json.dumps({**row, "answer": None} if n < 3 else row) for n, row in enumerate(rows)))
    with pytest.raises(
        CheckError, match=r"canaries: 17 of 17 known orders kept.*; 3 of 20 not judged, at most 10% may"
    ):
        canaries(judged, canary_source=str(source))
    source.write_text("\n".join(json.dumps({**row, "answer": None} if n < 2 else row) for n, row in enumerate(rows)))
    found = canaries(judged, canary_source=str(source))["canaries"]
    assert found == {
        "passed": True,
        "detail": "18 of 18 known orders kept, at least 99.0% expected; 2 of 20 not judged, at most 10% may be",
    }
    source.write_text("\n".join(json.dumps({**row, "answer": None}) for row in rows))
    with pytest.raises(CheckError, match=r"canaries: 0 of 0 known orders kept.*; 20 of 20 not judged"):
        canaries(judged, canary_source=str(source))


def test_a_night_of_which_no_canary_can_be_made_has_not_passed(worked_here, ray_cluster, tmp_path):
    world = night(tmp_path, 1)  # none of its prompts has a reference answer
    prompts = world.config.prompts.model_copy(update={"starts_from": "prompts"})
    config = settings(world, canary_source="answers").model_copy(update={"prompts": prompts})
    with pytest.raises(CheckError, match="canaries: no canary could be made of 12 prompts; known_bad: no canary"):
        check_preferences(world.tables, config, world.run)


def test_switching_the_checks_off_is_explicit(judged):
    assert canaries(judged, canaries=False) == {}

"""The proofs of the audit on real data, and what is published of them."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile_pages import Page, assert_harmless

from flows.audit import audit_file

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
RESULTS = FOLDER.parent / "docs" / "results" / "audit"


@pytest.fixture(scope="module")
def parts():
    sys.path.insert(0, str(FOLDER))
    yield importlib.import_module("_audit_proofs"), importlib.import_module("_audit_sets")
    sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def proofs(parts):
    return parts[0]


@pytest.fixture(scope="module")
def sets(parts):
    return {one.name: one for one in parts[1].SETS}


def truth(sets, name, shared_data, tmp_path, monkeypatch):
    """The finding against known truth of an audit of a real set."""
    monkeypatch.chdir(tmp_path)
    sets[name].table(shared_data).to_parquet("votes.parquet")
    result = audit_file("votes.parquet", out="report")
    return next(finding for finding in result.findings if finding.check == "against_gold")


def test_without_the_data_it_skips_loudly(tmp_path):
    command = [sys.executable, str(FOLDER / "audit_real.py"), "--data", str(tmp_path / "none"), "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER.parent, check=False)
    assert done.returncode == 2
    assert "SKIPPED: no real preference data" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_turned_margins_of_real_models_are_found_and_the_ranking_is_saved(proofs, shared_data):
    for found in proofs.corrupted_margins(proofs.alpaca_matrix(shared_data)):
        assert found.recall > 0.75
        assert found.recall > 3 * found.removal_recall
        assert found.cleaned < 0.5 * found.untouched < 0.5 * found.removed
    assert found.share == 0.3
    assert found.precision > 0.9


def test_mirrored_scores_of_experts_move_the_robust_ranking_less(proofs, shared_data):
    for found in proofs.corrupted_scores(*proofs.wmt_scores(shared_data)):
        assert found.recall > found.removal_recall
        if found.share <= 0.2:
            assert found.cleaned < found.untouched < found.removed
    assert found.cleaned < found.removed


def test_rater_scales_are_undone_on_shared_responses(proofs, shared_data):
    scores, segment = proofs.wmt_scores(shared_data)
    means = np.nanmean(scores, axis=0)
    assert means.min() / means.max() > 4
    scales = proofs.rater_scales(scores, segment)
    assert scales.scaled_gap < 0.6 * scales.raw_gap
    assert scales.scaled_order == pytest.approx(scales.raw_order, abs=0.02)


def test_aggregation_helps_where_annotators_know_something(sets, shared_data, tmp_path, monkeypatch):
    found = truth(sets, "crowd_rte", shared_data, tmp_path, monkeypatch)
    assert found.figures["estimate_accuracy"] > found.figures["majority_accuracy"] + 0.02
    # Modest, for annotators who err together might be wrong together elsewhere, but not without an opinion.
    assert found.figures["estimate_accuracy"] - 0.06 < found.figures["claimed_accuracy"]
    assert found.figures["claimed_accuracy"] <= found.intervals["estimate_accuracy"][1]


def test_biased_judges_are_outvoted_by_the_model_of_their_errors(sets, shared_data, tmp_path, monkeypatch):
    found = truth(sets, "llmbar_judges", shared_data, tmp_path, monkeypatch)
    assert found.figures["units_with_truth"] == 569
    assert found.figures["estimate_accuracy"] > found.figures["majority_accuracy"] + 0.05
    assert found.figures["best_annotator_accuracy"] > found.figures["estimate_accuracy"]


@pytest.mark.parametrize(
    "name", ["llmbar_judges", "crowd_rte", "crowd_barzan", "crowd_dog", "judgebench", "judgebench_rewards"]
)
def test_no_real_crowd_is_aggregated_worse_than_by_its_majority(sets, shared_data, tmp_path, monkeypatch, name):
    found = truth(sets, name, shared_data, tmp_path, monkeypatch)
    labels = found.figures["units_with_truth"]
    assert found.figures["estimate_accuracy"] > found.figures["majority_accuracy"] - 2 / labels


def test_where_aggregation_cannot_help_the_audit_says_so(sets, shared_data, tmp_path, monkeypatch):
    found = truth(sets, "judgebench", shared_data, tmp_path, monkeypatch)
    assert found.figures["claimed_accuracy"] <= found.figures["estimate_accuracy"] < 0.6
    assert found.level == "bad"
    assert "aggregation does not help here" in found.says
    # 72 % on easy units, where all annotators together are no worse.
    assert found.figures["best_annotator_accuracy"] > 0.7
    assert found.figures["estimate_accuracy_where_the_best_voted"] > 0.65
    assert "alone" not in found.says


@pytest.mark.parametrize("name", ["llmbar_judges", "crowd_rte", "crowd_barzan", "crowd_dog", "judgebench_rewards"])
def test_no_more_certainty_is_claimed_than_the_truth_bears_out(sets, shared_data, tmp_path, monkeypatch, name):
    found = truth(sets, name, shared_data, tmp_path, monkeypatch)
    assert found.figures["claimed_accuracy"] <= found.figures["estimate_accuracy"] + 0.01
    assert "more certainty" not in found.says


def test_sets_without_a_licence_are_never_shown(sets):
    closed = {name for name, one in sets.items() if not one.may_be_shown}
    assert closed == {"crowd_dog", "judgebench", "judgebench_rewards", "summaries"}
    assert all("no licence" in sets[name].credit for name in closed)
    assert {path.stem for path in RESULTS.glob("*.html")} == set(sets) - closed


def test_the_published_reports_load_nothing_and_name_no_place_on_a_machine(sets):
    for path in RESULTS.glob("*.html"):
        html = path.read_text()
        page = Page(html)
        assert_harmless(page)
        assert f"{path.stem}.parquet" in page.text
        assert not re.search(r"/(?:work|tmp|home|root)/", html.replace("http://", ""))


def test_the_published_page_has_the_figures_that_are_tested_here(proofs, shared_data):
    text = (RESULTS / "README.md").read_text()
    found = proofs.corrupted_margins(proofs.alpaca_matrix(shared_data))
    for one in found:
        assert f"| {one.share:.0%} | {one.precision:.3f} | {one.recall:.3f} |" in text
    assert "| pandalm_humans | 0.87" in text
    assert "20 pairs have the same text twice" in text
    rows = pd.read_parquet(shared_data / "pairwise" / "hh_rlhf_test.parquet")
    assert f"| {len(rows):,} |" in text

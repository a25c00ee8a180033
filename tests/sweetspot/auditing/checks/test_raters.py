import numpy as np
import pytest
from audit_tables import scores_of

from sweetspot.auditing.checks import raters
from sweetspot.auditing.checks.duplicates import check_scores


def panel(rng, prompts=60, responses=6, scales=(1.0, 1.0, 5.0), noise=0.3):
    """Scores of raters that see the same quality on scales of their own; returns scores and prompts."""
    n = prompts * responses
    quality = rng.normal(size=n)
    score = np.column_stack([10 * k + scale * (quality + noise * rng.normal(size=n)) for k, scale in enumerate(scales)])
    return score, np.repeat(np.arange(prompts), responses)


def by_name(found):
    return {one.check: one for one in found}


def test_raters_on_different_scales_agree_once_rescaled():
    score, prompt = panel(np.random.default_rng(0))
    found = by_name(raters.check(scores_of(score, prompt)))["raters"]
    assert found.figures["mean_rank_correlation"] > 0.8
    assert found.figures["interval_alpha"] < 0.2 < 0.8 < found.figures["interval_alpha_after_rescaling"]
    assert found.figures["largest_over_smallest_spread"] == pytest.approx(5, rel=0.2)


def test_a_rater_that_turns_stricter_is_named():
    score, prompt = panel(np.random.default_rng(1), scales=(1.0, 1.0, 1.0, 1.0))
    steady = by_name(raters.check(scores_of(score, prompt)))["rater_drift"]
    score[len(score) // 2 :, 2] -= 1.0
    found = by_name(raters.check(scores_of(score, prompt)))["rater_drift"]
    assert (steady.level, found.level) == ("ok", "look")
    assert found.charts[0].labels[0] == "r2"
    assert found.figures["largest_change"] < -0.5


def test_a_score_that_stands_alone_is_listed_first():
    score, prompt = panel(np.random.default_rng(2), scales=(1.0, 1.0, 1.0))
    score[17, 1] += 40
    found = by_name(raters.check(scores_of(score, prompt)))["outlying_scores"]
    assert found.suspects[0].row_id == "r17"
    assert found.suspects[0].reason.startswith("r1 is ")


def test_a_pull_towards_length_is_measured_within_prompts():
    score, prompt = panel(np.random.default_rng(3), scales=(1.0, 1.0))
    rank = np.argsort(np.argsort(score[:, 0])).astype(np.int32)
    found = by_name(raters.check(scores_of(score, prompt, chars=rank)))["score_length"]
    assert (found.level, found.figures["largest_length_correlation"]) == ("bad", pytest.approx(1))


def test_one_rater_leaves_nothing_to_compare():
    found = by_name(raters.check(scores_of(np.arange(5.0)[:, None])))
    assert {name for name, one in found.items() if one.level == "not_checked"} >= {
        "raters",
        "rater_drift",
        "outlying_scores",
    }


def test_equal_responses_to_one_prompt_are_counted():
    table = scores_of(np.ones((4, 1)), prompt=np.array([0, 0, 0, 1]))
    table.keys[1] = table.keys[0]
    table.keys[3, 1] = table.keys[0, 1]
    (found,) = check_scores(table)
    assert found.figures["duplicate_responses"] == 1

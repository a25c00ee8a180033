import numpy as np
import pytest
from audit_tables import crowd, votes_of

from sweetspot.auditing.checks import agreement, annotators, gold, label_errors
from sweetspot.auditing.estimate import estimate
from sweetspot.validation.aggregation import dawid_skene


def test_careless_annotators_are_named_with_their_share_of_the_errors():
    _, table = crowd(np.random.default_rng(0), 400, [0.95] * 6 + [0.5, 0.3])
    votes = votes_of(table)
    (found,) = annotators.check(votes, estimate(votes))
    assert found.level == "bad"
    assert found.charts[0].labels[:2] == ("r7", "r6")
    assert found.figures["unreliable_annotators"] == 2
    assert found.figures["annotators_below_chance"] == 1
    assert found.figures["wrong_votes_share_of_worst_two"] > 0.7


def test_two_annotators_cannot_be_judged():
    votes = votes_of(np.array([[0.0, 1], [1, 1]]))
    assert annotators.check(votes, estimate(votes))[0].level == "not_checked"


def test_agreement_lists_the_most_split_units_first():
    table = np.array([[0.0, 0, 0], [0, 0, 1], [1, 1, 1], [0, 1, np.nan]])
    (found,) = agreement.check(votes_of(table))
    assert [one.row_id for one in found.suspects] == ["u3", "u1"]
    assert found.figures["raw_agreement_rate"] == (1 + 1 / 3 + 1 + 0) / 4
    assert found.warnings[0].startswith("fleiss_kappa: ")


def test_known_truth_shows_certainty_that_is_not_earned():
    rng = np.random.default_rng(1)
    truth, table = crowd(rng, 400, [0.9] * 9)
    votes = votes_of(table, gold=truth)
    assert gold.check(votes, estimate(votes))[0].figures["estimate_accuracy"] > 0.95
    misled = truth.copy()
    misled[:160] = 1 - misled[:160]
    votes = votes_of(table, gold=misled)
    (found,) = gold.check(votes, estimate(votes))
    assert found.level == "bad"
    assert "more certainty than it has" in found.says
    guess = votes_of(table, gold=rng.integers(0, 2, 400))
    assert "does not help" in gold.check(guess, estimate(guess))[0].says


def test_one_expert_among_weak_annotators_is_named_as_better_than_all_together():
    rng = np.random.default_rng(3)
    truth, table = crowd(rng, 600, [0.99, 0.55, 0.55])
    table[rng.random(600) < 0.8, 0] = np.nan  # too seldom there to lead the others
    votes = votes_of(table, gold=truth, raters=("expert", "a", "b"))
    (found,) = gold.check(votes, estimate(votes))
    assert "expert alone is right more often" in found.says
    assert found.level != "ok"


def test_the_luckiest_of_many_equal_annotators_is_not_called_better():
    truth, table = crowd(np.random.default_rng(4), 60, [0.7] * 60)
    table[np.random.default_rng(5).random(table.shape) < 0.6] = np.nan
    votes = votes_of(table, gold=truth)
    (found,) = gold.check(votes, estimate(votes))
    assert "alone" not in found.says
    assert found.level == "ok"


def test_the_plain_model_stands_beside_the_estimate():
    truth, table = crowd(np.random.default_rng(7), 300, [0.9, 0.8, 0.6])
    votes = votes_of(table, gold=truth)
    (found,) = gold.check(votes, estimate(votes))
    assert found.figures["dawid_skene_accuracy"] == np.mean(dawid_skene(table, tol=1e-4).label == truth)
    assert "Dawid-Skene without shrinkage" in found.charts[0].labels
    two = votes_of(table[:, :2], gold=truth)
    assert "dawid_skene_accuracy" not in gold.check(two, estimate(two))[0].figures


def test_labels_left_open_count_as_guesses_and_always_naming_the_commonest_class_is_no_skill():
    rng = np.random.default_rng(6)
    votes = votes_of(np.tile([[0.0, 1.0]], (200, 1)), gold=rng.integers(0, 2, 200))
    (found,) = gold.check(votes, estimate(votes))
    assert (found.figures["left_open"], found.figures["estimate_accuracy"]) == (200, 0.5)
    skewed = (rng.random(300) < 0.15).astype(np.int64)
    votes = votes_of(np.zeros((300, 3)), gold=skewed)
    (found,) = gold.check(votes, estimate(votes))
    assert found.figures["estimate_accuracy"] > 0.8
    assert "cannot be told from guessing" in found.says


def test_the_curve_of_kept_labels_starts_with_the_surest():
    _, table = crowd(np.random.default_rng(2), 300, [0.7] * 5)
    votes = votes_of(table)
    found = estimate(votes)
    (errors,) = label_errors.check(votes, found)
    curve = errors.charts[0].series["estimated error"]
    assert list(curve) == sorted(curve)
    assert curve[-1] == pytest.approx(errors.figures["estimated_error_rate"])

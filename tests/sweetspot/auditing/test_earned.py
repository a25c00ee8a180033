import numpy as np
import pytest

from sweetspot.auditing._estimate import Estimate
from sweetspot.auditing.earned import earned


def drawn(n, claimed, right_rate, seed=0):
    """An estimate that claims one probability and is right at another rate, and the truth."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, n)
    gold = np.where(rng.random(n) < right_rate, label, 1 - label)
    return Estimate(np.full(n, 1 - claimed), label, "dawid_skene", "why"), gold


def test_a_boast_is_lowered_to_what_is_true():
    found, gold = drawn(400, 0.95, 0.6)
    after = earned(found, gold)
    right = np.mean(found.label == gold)
    assert 1 - after.error_probability.mean() == pytest.approx(right, abs=0.01)
    assert after.warnings[-1].startswith("tempered: by 400 known truths the mean certainty was lowered from 95.0%")


def test_modesty_is_left_alone():
    found, gold = drawn(400, 0.7, 0.95)
    assert earned(found, gold).error_probability == pytest.approx(found.error_probability)


def test_certainty_that_tells_right_from_wrong_keeps_its_order():
    rng = np.random.default_rng(1)
    true = rng.uniform(0.5, 0.99, 2000)
    label = rng.integers(0, 2, 2000)
    gold = np.where(rng.random(2000) < true, label, 1 - label)
    boast = 1 / (1 + np.exp(-3 * np.log(true / (1 - true))))
    after = earned(Estimate(1 - boast, label, "dawid_skene", "why"), gold)
    assert 1 - after.error_probability == pytest.approx(true, abs=0.06)


def test_unknown_truths_decide_nothing_and_are_lowered_too():
    found, gold = drawn(400, 0.95, 0.6)
    gold[200:] = -1
    found.error_probability[0] = np.nan
    after = earned(found, gold)
    assert np.isnan(after.error_probability[0])
    assert after.error_probability[300] == pytest.approx(after.error_probability[1], abs=0.05)
    assert np.array_equal(after.label, found.label)


def test_a_truth_has_no_part_in_the_certainty_of_its_own_unit():
    found, gold = drawn(60, 0.95, 0.6)
    other = gold.copy()
    other[7] = 1 - other[7]
    one, two = (earned(found, truth).error_probability for truth in (gold, other))
    assert one[7] == two[7]
    assert (one != two).sum() == 48  # the other four fifths see the changed truth


def test_certainty_made_of_noise_is_not_borne_out_by_the_truths_it_was_lowered_to():
    rng = np.random.default_rng(5)
    claimed, gaps = rng.uniform(0.6, 0.999, (200, 40)), []
    for row in claimed:
        label = np.zeros(40, dtype=np.int64)
        gold = (rng.random(40) < 0.5).astype(np.int64)
        after = earned(Estimate(1 - row, label, "dawid_skene", "why"), gold)
        gaps.append(1 - after.error_probability.mean() - np.mean(gold == label))
    assert np.mean(gaps) == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("known", [None, 0, 29])
def test_without_enough_truths_it_says_so(known):
    found, gold = drawn(100, 0.95, 0.6)
    if known is not None:
        gold[known:] = -1
    after = earned(found, None if known is None else gold)
    assert np.array_equal(after.error_probability, found.error_probability)
    assert after.warnings[-1].startswith("uncalibrated: no known truth")


def test_an_estimate_without_probabilities_stays_as_it_is():
    found = Estimate(np.full(50, np.nan), np.zeros(50, dtype=np.int64), "none", "why")
    assert earned(found, np.zeros(50, dtype=np.int64)) is found

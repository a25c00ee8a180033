import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.validation.adversarial import (
    detection,
    flips,
    longer_wins,
    missing,
    near_copies,
    one_slice,
    random_labels,
    random_removal,
)
from sweetspot.validation.duplicates import near_duplicates, shingles


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.3, 1.0])
def test_exactly_the_asked_share_of_the_candidates_is_chosen(share):
    candidates = np.arange(1000) % 3 == 0
    chosen = flips(candidates, share)
    assert chosen.sum() == round(share * candidates.sum())
    assert not np.any(chosen & ~candidates)


def test_every_candidate_is_chosen_equally_often():
    times = sum(flips(np.ones(20, bool), 0.25, seed=seed).astype(int) for seed in range(2000))
    assert times.sum() == 2000 * 5
    assert abs(times - 500).max() < 5 * math.sqrt(2000 * 0.25 * 0.75)


def test_the_seed_alone_decides():
    ones = np.ones(100, bool)
    assert np.array_equal(flips(ones, 0.3, seed=4), flips(ones, 0.3, seed=4))
    assert not np.array_equal(flips(ones, 0.3, seed=4), flips(ones, 0.3, seed=5))


def test_the_control_is_drawn_independently_of_the_damage_of_the_same_seed():
    ones = np.ones(500, bool)
    both = [np.sum(flips(ones, 0.2, seed=seed) & random_removal(500, 100, seed=seed)) for seed in range(200)]
    assert abs(np.mean(both) - 20) < 1.5


def test_longer_wins_makes_the_longer_one_win():
    rng = np.random.default_rng(0)
    chosen, rejected = rng.integers(0, 50, 500), rng.integers(0, 50, 500)
    turned = longer_wins(chosen, rejected, 1.0)
    won = np.where(turned, rejected, chosen)
    assert np.array_equal(won, np.maximum(chosen, rejected))
    assert longer_wins(chosen, rejected, 0.5).sum() == round(0.5 * np.sum(chosen < rejected))


def test_a_slice_has_enough_rows_and_every_such_slice_is_met():
    codes = [0] * 5 + [1] * 50 + [2] * 60 + [-1] * 100
    met = {one_slice(codes, at_least=50, seed=seed) for seed in range(50)}
    assert met == {1, 2}
    with pytest.raises(ContractError, match="no slice has 61 rows, the largest has 60"):
        one_slice(codes, at_least=61)


def test_random_labels_are_fair_and_independent_of_the_row():
    turned = np.array([random_labels(40, seed=seed) for seed in range(1000)])
    assert abs(turned.mean(axis=0) - 0.5).max() < 5 * 0.5 / math.sqrt(1000)
    assert abs(np.corrcoef(turned[:, 0], turned[:, 1])[0, 1]) < 0.15


def test_random_removal_removes_exactly_as_many():
    for n, removed in itertools.product((0, 1, 7), (0, 1, 7)):
        if removed <= n:
            assert random_removal(n, removed).sum() == removed
    with pytest.raises(ContractError, match="got 8 of 7 rows"):
        random_removal(7, 8)


def test_clear_comparisons_go_first_so_that_near_ties_are_left():
    gap = np.array([3.0, -0.1, -5.0, 0.0, math.nan, 1.0])
    assert missing(6, 0.5, gap=gap).tolist() == [True, False, True, False, False, True]
    assert missing(6, 5 / 6, gap=gap).tolist() == [True, True, True, True, False, True]
    assert missing(1000, 0.9).sum() == 900


def test_near_copies_are_found_by_the_duplicate_check_and_by_no_exact_one():
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(["a", "b", "c", "d", "e", "f", "g"], 60)) for _ in range(50)]
    copies = near_copies(texts)
    assert not set(texts) & set(copies)
    one, other = (shingles(text, unit="word", size=5) for text in (texts[0], copies[0]))
    assert len(one & other) / len(one | other) == len(one) / (len(one) + 1)
    found = near_duplicates([*texts, *copies])
    assert {(i, i + 50) for i in range(50)} <= {tuple(pair) for pair in found.pairs.tolist()}


def by_definition(planted, suspicion):
    """AUC over all pairs of a spoilt and another row; average precision over all thresholds."""
    doubt = [-math.inf if math.isnan(s) else s for s in suspicion]
    spoilt = [s for s, p in zip(doubt, planted, strict=True) if p]
    others = [s for s, p in zip(doubt, planted, strict=True) if not p]
    wins = [(a > b) + 0.5 * (a == b) for a in spoilt for b in others]
    area, recall = 0.0, 0.0
    for threshold in sorted(set(doubt), reverse=True):
        taken = [p for s, p in zip(doubt, planted, strict=True) if s >= threshold]
        area += (sum(taken) / len(spoilt) - recall) * sum(taken) / len(taken)
        recall = sum(taken) / len(spoilt)
    return (sum(wins) / len(wins) if wins else None), area


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.5, 0.75, 1.0, math.nan])), min_size=1, max_size=12))
def test_auc_and_average_precision_are_what_they_are_called(rows):
    planted, suspicion = zip(*rows, strict=True)
    if not any(planted):
        with pytest.raises(ContractError, match="none of"):
            detection(planted, suspicion, planted)
        return
    found = detection(planted, suspicion, planted)
    auc, area = by_definition(planted, suspicion)
    assert found.auc == (None if auc is None else pytest.approx(auc))
    assert found.average_precision == pytest.approx(area)


def test_counts_of_a_small_case_by_hand():
    planted = [True, True, True, False, False, False]
    found = detection(planted, [0.9, 0.2, math.nan, 0.8, 0.1, 0.0], [True, False, False, True, False, False])
    assert (found.planted, found.flagged, found.caught) == (3, 2, 1)
    assert (found.recall, found.precision) == (pytest.approx(1 / 3), 0.5)
    assert found.precision_at_planted == pytest.approx(2 / 3)
    assert found.auc == pytest.approx(5 / 9)
    assert found.by_chance == 0.5


def test_a_blind_detector_gets_what_chance_gives():
    planted = flips(np.ones(400, bool), 0.2)
    blind = detection(planted, np.zeros(400), np.zeros(400, bool))
    assert (blind.auc, blind.precision, blind.recall) == (0.5, None, 0.0)
    assert blind.average_precision == blind.precision_at_planted == pytest.approx(0.2)
    sees = detection(planted, planted.astype(float), planted)
    assert (sees.auc, sees.precision, sees.recall, sees.average_precision) == (1.0, 1.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: flips([True, False], 1.1), "share in \\[0, 1\\]"),
        (lambda: flips([0.5, 1.0], 0.1), "candidates: 1 of 2 values .* expected True or False"),
        (lambda: longer_wins([1, 2], [1], 0.5), "lengths differ"),
        (lambda: longer_wins([1, -2], [1, 1], 0.5), "chosen_lengths: 1 of 2"),
        (lambda: missing(3, 0.5, gap=[1.0]), "lengths differ"),
        (lambda: near_copies(["a"], word="two words"), "expected one word"),
        (lambda: detection([True], [0.1, 0.2], [True]), "lengths differ"),
        (lambda: random_labels(-1), "whole number >= 0"),
        (lambda: flips([True], 0.5, seed=-1), "seed"),
    ],
)
def test_bad_arguments_are_named(call, says):
    with pytest.raises(ContractError, match=says):
        call()

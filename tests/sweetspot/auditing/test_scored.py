import dataclasses

import numpy as np
import pytest
from audit_tables import pairs_of

from sweetspot.auditing.scored import LOGPS, Scored, pick, scorable, with_scores
from sweetspot.auditing.spoil import turn_pairs


def table(n=500, seed=0, **numbers):
    """Pairs of random texts, so that every text has a hash of its own."""
    keys = np.random.default_rng(seed).integers(0, 2**63, (n, 3, 2), dtype=np.uint64)
    return pairs_of(n, keys, **numbers)


def reordered(pairs, order):
    return dataclasses.replace(pairs, keys=pairs.keys[order], tie=pairs.tie[order], row_id=pairs.row_id[order])


def test_ties_and_identical_responses_are_not_scorable():
    pairs = table(5)
    pairs.tie[1] = True
    pairs.keys[3, 2] = pairs.keys[3, 1]
    assert scorable(pairs).tolist() == [0, 2, 4]
    assert pick(pairs, 10).tolist() == [0, 2, 4]


def test_a_sample_follows_the_texts_not_the_order_of_rows():
    pairs = table()
    order = np.random.default_rng(1).permutation(500)
    first, again = pick(pairs, 60), pick(reordered(pairs, order), 60)
    assert len(first) == 60
    assert np.all(np.diff(first) > 0)
    assert set(pairs.row_id[first]) == set(reordered(pairs, order).row_id[again])


def test_a_smaller_sample_lies_within_a_larger_one_and_every_row_is_as_likely():
    pairs = table()
    assert set(pick(pairs, 50)) < set(pick(pairs, 100))
    times = np.zeros(100)
    for seed in range(400):
        times[pick(table(100, seed), 20)] += 1
    # 400 draws at 0.2: 80 expected, standard deviation 8.
    assert abs(times - 80).max() < 36
    assert times[:50].mean() == pytest.approx(80, abs=3)


@pytest.mark.parametrize("column", [0, 1, 2])
def test_each_text_of_a_pair_moves_its_draw(column):
    pairs = table()
    moved = dataclasses.replace(pairs, keys=pairs.keys.copy())
    moved.keys[:, column] += np.uint64(1)
    assert set(pick(pairs, 100)) != set(pick(moved, 100))


def test_a_models_columns_replace_all_log_probabilities_of_the_data_and_nothing_else():
    own = {name: np.zeros(3) for name in LOGPS}
    pairs = with_scores(table(3, score_chosen=np.ones(3), **own), {"ref_chosen_logps": np.full(3, -1.0)})
    assert set(pairs.numbers) == {"score_chosen", "ref_chosen_logps"}
    assert pairs.numbers["ref_chosen_logps"].tolist() == [-1.0] * 3
    assert pairs.implicit_margin() is None


def test_the_implicit_margin_is_the_difference_of_log_ratios_and_turns_with_the_pair():
    rng = np.random.default_rng(0)
    numbers = {name: rng.normal(size=4) for name in (*LOGPS, "ches", "chosen_tokens", "rejected_tokens")}
    pairs = table(4, **numbers)
    ratio = {side: numbers[f"policy_{side}_logps"] - numbers[f"ref_{side}_logps"] for side in ("chosen", "rejected")}
    np.testing.assert_allclose(pairs.implicit_margin(), ratio["chosen"] - ratio["rejected"])
    turned = turn_pairs(pairs, np.array([True, False, False, False]))
    np.testing.assert_allclose(turned.implicit_margin()[0], -pairs.implicit_margin()[0])
    np.testing.assert_allclose(turned.implicit_margin()[1:], pairs.implicit_margin()[1:])
    assert np.isnan(turned.numbers["ches"]).tolist() == [True, False, False, False]
    assert turned.numbers["chosen_tokens"][0] == numbers["rejected_tokens"][0]


def test_two_models_have_implicit_margins_and_one_has_none():
    assert not Scored("a", "a", {"reference": "1"}).has_implicit
    assert Scored("a", "b", {"reference": "1", "policy": "2"}).has_implicit

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.validation import intransitivity
from sweetspot.validation.intransitivity import curl_ratio, tournament


def ranked(n):
    return np.triu(np.ones((n, n), dtype=bool), 1)


def flipped(beats, i, j):
    beats = beats.copy()
    beats[i, j], beats[j, i] = beats[j, i], beats[i, j]
    return beats


def random_tournament(n, seed):
    upper = np.triu(np.random.default_rng(seed).random((n, n)) < 0.5, 1)
    return upper | np.tril(~upper.T, -1)


def test_golden_tournaments():
    transitive = tournament(ranked(5))
    assert (transitive.cyclic_triads, transitive.zeta) == (0, 1.0)
    assert transitive.wins.tolist() == [4, 3, 2, 1, 0]
    upset = tournament(flipped(ranked(5), 0, 4))
    assert upset.cyclic_triads == 3
    assert upset.zeta == pytest.approx(0.4, abs=1e-12)
    cycle = tournament([[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert (cycle.cyclic_triads, cycle.zeta) == (1, 0.0)
    assert cycle.wins.dtype == np.int64
    assert isinstance(cycle.cyclic_triads, int)
    assert cycle.warnings == ()


@settings(max_examples=50, deadline=None)
@given(n=st.integers(3, 9), seed=st.integers(0, 10**6))
def test_cyclic_triads_equal_a_count_of_all_triples(n, seed):
    beats = random_tournament(n, seed)
    count = 0
    for a, b, c in itertools.combinations(range(n), 3):
        count += (beats[a, b] and beats[b, c] and beats[c, a]) or (beats[b, a] and beats[c, b] and beats[a, c])
    result = tournament(beats)
    assert result.cyclic_triads == count
    assert 0.0 <= result.zeta <= 1.0


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8, 9])
def test_zeta_is_zero_for_the_most_cyclic_tournament(n):
    beats = np.zeros((n, n), dtype=bool)
    for i in range(n):
        for step in range(1, (n - 1) // 2 + 1):
            beats[i, (i + step) % n] = True
        if n % 2 == 0 and i < n // 2:
            beats[i, i + n // 2] = True
    assert tournament(beats).zeta == pytest.approx(0.0, abs=1e-12)


def test_renaming_items_only_permutes_the_wins():
    beats = random_tournament(8, 3)
    order = np.random.default_rng(0).permutation(8)
    renamed = tournament(beats[np.ix_(order, order)])
    assert renamed.cyclic_triads == tournament(beats).cyclic_triads
    np.testing.assert_array_equal(renamed.wins, tournament(beats).wins[order])


@pytest.mark.parametrize(
    ("beats", "message"),
    [
        (np.zeros((2, 2), bool), r"shape \(2, 2\)"),
        (np.zeros((3, 4), bool), r"shape \(3, 4\)"),
        (np.zeros((3, 3), bool), r"6 of 9 .*exactly one of"),
        (ranked(3) | ranked(3).T, "exactly one of"),
        (ranked(3) | np.eye(3, dtype=bool), r"3 of 9 .*diagonal"),
        (ranked(3) * 2.0, "True or False"),
        (ranked(4)[0], "dimension"),
    ],
)
def test_tables_that_are_no_tournament_are_refused(beats, message):
    with pytest.raises(ContractError, match=message):
        tournament(beats)


def slow_curl_ratio(i, j, margin, n, weight):
    """Weighted least squares by the normal equations with a pseudo-inverse."""
    gradient = np.zeros((len(margin), n))
    gradient[np.arange(len(margin)), i] += 1
    gradient[np.arange(len(margin)), j] -= 1
    w = np.diag(weight)
    s = np.linalg.pinv(gradient.T @ w @ gradient) @ gradient.T @ w @ margin
    residual = margin - gradient @ s
    return (residual @ w @ residual) / (margin @ w @ margin)


@settings(max_examples=50, deadline=None)
@given(n=st.integers(2, 7), rows=st.integers(1, 20), seed=st.integers(0, 10**6))
def test_curl_ratio_equals_the_definition(n, rows, seed):
    rng = np.random.default_rng(seed)
    i = rng.integers(0, n, rows)
    j = (i + rng.integers(1, n, rows)) % n
    margin, weight = rng.normal(size=rows), rng.uniform(0.1, 3, rows)
    expected = slow_curl_ratio(i, j, margin, n, weight)
    assert curl_ratio(i, j, margin, n_items=n, weight=weight) == pytest.approx(expected, abs=1e-10)
    uniform = slow_curl_ratio(i, j, margin, n, np.ones(rows))
    assert curl_ratio(i, j, margin, n_items=n) == pytest.approx(uniform, abs=1e-10)


def test_a_triangle_has_its_closed_form():
    a, b, c = 0.7, -1.1, 2.5
    # The residual is the mean flow around the triangle on each edge: (a + b + c) / 3, three times squared.
    expected = ((a + b + c) ** 2 / 3) / (a * a + b * b + c * c)
    assert curl_ratio([0, 1, 2], [1, 2, 0], [a, b, c], n_items=3) == pytest.approx(expected, abs=1e-12)


def test_pure_rotation_is_one_and_differences_of_scores_are_zero():
    ring = np.arange(6)
    assert curl_ratio(ring, (ring + 1) % 6, np.ones(6), n_items=6) == pytest.approx(1.0, abs=1e-12)
    scores = np.array([3.0, -1.0, 0.5, 2.0])
    i, j = np.triu_indices(4, 1)
    assert curl_ratio(i, j, scores[i] - scores[j], n_items=4) == pytest.approx(0.0, abs=1e-20)


def test_a_forest_has_exactly_no_curl():
    assert curl_ratio([0, 1, 5, 1], [1, 2, 4, 3], [1.0, -2.0, 0.3, 9.0], n_items=7) == 0.0
    assert curl_ratio([], [], [], n_items=3) == 0.0


def test_zero_margins_and_zero_weights_give_zero():
    assert curl_ratio([0, 1, 2], [1, 2, 0], [0.0, 0.0, 0.0], n_items=3) == 0.0
    assert curl_ratio([0, 1, 2], [1, 2, 0], [1.0, 1.0, 1.0], n_items=3, weight=[0, 0, 0]) == 0.0


def test_rows_that_disagree_about_one_pair_are_curl():
    assert curl_ratio([0, 0], [1, 1], [1.0, -1.0], n_items=2) == pytest.approx(1.0)
    assert curl_ratio([0, 1], [1, 0], [1.0, -1.0], n_items=2) == pytest.approx(0.0, abs=1e-20)


def test_weight_zero_removes_a_row_and_a_whole_weight_repeats_it():
    i, j, margin = [0, 1, 2, 0], [1, 2, 0, 3], [1.0, 0.5, -0.2, 4.0]
    without = curl_ratio(i[:3], j[:3], margin[:3], n_items=4)
    assert curl_ratio(i, j, margin, n_items=4, weight=[1, 1, 1, 0]) == pytest.approx(without)
    doubled = curl_ratio([*i, 0], [*j, 1], [*margin, 1.0], n_items=4)
    assert curl_ratio(i, j, margin, n_items=4, weight=[2, 1, 1, 1]) == pytest.approx(doubled)


@pytest.mark.parametrize("scale", [1e-200, 1e-3, 1e200])
def test_units_of_margin_and_weight_do_not_matter(scale):
    i, j, margin = [0, 1, 2, 2], [1, 2, 0, 3], np.array([1.0, 0.5, -0.2, 4.0])
    base = curl_ratio(i, j, margin, n_items=4)
    assert curl_ratio(i, j, margin * scale, n_items=4, weight=np.full(4, scale)) == pytest.approx(base, rel=1e-9)


def test_turning_a_row_round_with_its_margin_changes_nothing():
    i, j, margin = np.array([0, 1, 2, 0]), np.array([1, 2, 0, 2]), np.array([1.0, 0.5, -0.2, 4.0])
    turn = np.array([False, True, False, True])
    turned = curl_ratio(np.where(turn, j, i), np.where(turn, i, j), np.where(turn, -margin, margin), n_items=3)
    assert turned == pytest.approx(curl_ratio(i, j, margin, n_items=3))


def noisy_margins(n, rows, seed=0):
    rng = np.random.default_rng(seed)
    i = rng.integers(0, n, rows)
    j = (i + rng.integers(1, n, rows)) % n
    scores = rng.normal(size=n)
    return i, j, scores[i] - scores[j] + 0.5 * rng.normal(size=rows)


def test_the_sparse_path_equals_the_dense_one(monkeypatch):
    i, j, margin = noisy_margins(60, 300)
    weight = np.random.default_rng(1).uniform(0, 2, 300)
    dense = curl_ratio(i, j, margin, n_items=70, weight=weight)
    monkeypatch.setattr(intransitivity, "_DENSE_CELLS", 0)
    assert curl_ratio(i, j, margin, n_items=70, weight=weight) == pytest.approx(dense, abs=1e-12)


def test_large_sparse_comparisons_have_the_expected_share_of_noise():
    n, rows = 20_000, 200_000
    i, j, margin = noisy_margins(n, rows)
    # Energy per row: 2 from the scores, 0.25 from the noise, of which the fit absorbs n of the `rows` dimensions.
    assert curl_ratio(i, j, margin, n_items=n) == pytest.approx(0.25 * (1 - n / rows) / 2.25, rel=0.03)


def test_a_long_ring_is_solved_by_the_sparse_path():
    n = 3000
    ring = np.arange(n)
    margin = np.zeros(n)
    margin[0] = 1.0  # one disagreement, spread evenly over the whole ring
    assert curl_ratio(ring, (ring + 1) % n, margin, n_items=n) == pytest.approx(1 / n, rel=1e-6)


def test_an_unsolvable_spread_of_weights_is_reported(monkeypatch):
    monkeypatch.setattr(intransitivity, "_DENSE_CELLS", 0)
    monkeypatch.setattr(intransitivity, "_CG_RELATIVE_TOLERANCE", 1e-300)
    i, j, margin = noisy_margins(50, 200)
    with pytest.raises(ConvergenceError, match="spread of `weight`"):
        curl_ratio(i, j, margin, n_items=50)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([0], [1, 2], [1.0]), {"n_items": 3}, "i has 1, j has 2"),
        (([0], [3], [1.0]), {"n_items": 3}, r"j\[0\] = 3.*\[0, 3\)"),
        (([-1], [1], [1.0]), {"n_items": 3}, r"i\[0\] = -1"),
        (([0.5], [1], [1.0]), {"n_items": 3}, "whole item"),
        (([1], [1], [1.0]), {"n_items": 3}, "two different items"),
        (([0], [1], [np.nan]), {"n_items": 3}, "margin"),
        (([0], [1], [1.0]), {"n_items": 3, "weight": [-1]}, r"weight\[0\] = -1"),
        (([0], [1], [1.0]), {"n_items": 3, "weight": [1, 2]}, "weight has 2"),
        (([0], [1], [1.0]), {"n_items": 0}, "n_items: got 0"),
    ],
)
def test_bad_comparisons_are_refused(arguments, options, message):
    with pytest.raises(ContractError, match=message):
        curl_ratio(*arguments, **options)

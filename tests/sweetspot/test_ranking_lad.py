import warnings as python_warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from sweetspot.errors import ContractError
from sweetspot.ranking import lad


def codes(result):
    return [text.split(":")[0] for text in result.warnings]


def bradley_terry_matrix(seed, n=100, *, observed=1.0, flips=0.0):
    """Scores and the observed upper-triangle rows (i, j, margin, flipped) of the published generator."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 5, n)
    w -= w.mean()
    i, j = np.triu_indices(n, 1)
    flip, seen = rng.random(i.size) < flips, rng.random(i.size) < observed
    margin = np.where(flip, w[j] - w[i], w[i] - w[j])
    return w, i[seen], j[seen], margin[seen], flip[seen]


def random_rows(seed, n=12, rows=60, flips=0.2, noise=0.3):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=n) * 2
    i = rng.integers(0, n, rows)
    j = (i + 1 + rng.integers(0, n - 1, rows)) % n
    sign = np.where(rng.random(rows) < flips, -1.0, 1.0)
    return i, j, sign * (w[i] - w[j]) + noise * rng.normal(size=rows), rng.uniform(0.1, 3.0, rows)


def relative_error(scores, truth):
    # The norm of L = s 1^T - 1 s^T is sqrt(2 n) times that of centred scores.
    return np.linalg.norm(scores - truth) / np.linalg.norm(truth)


def objective(scores, i, j, margin, weight):
    return float(weight @ np.abs(margin - scores[i] + scores[j]))


def linear_program_minimum(i, j, margin, weight, n):
    """Independent oracle: the same minimum as a linear program, residual = positive - negative part."""
    rows = len(margin)
    incidence = np.zeros((rows, n))
    incidence[np.arange(rows), i] += 1
    incidence[np.arange(rows), j] -= 1
    found = linprog(
        np.concatenate([np.zeros(n), weight, weight]),
        A_eq=np.hstack([incidence, np.eye(rows), -np.eye(rows)]),
        b_eq=margin,
        bounds=[(None, None)] * n + [(0, None)] * (2 * rows),
    )
    return found.fun


def test_the_generator_gives_the_published_check_values():
    w, i, _, margin, _ = bradley_terry_matrix(0)
    assert np.allclose(w[:3], [0.44335352, -1.39252134, -2.53658729])
    assert np.sqrt(2) * np.linalg.norm(margin) == pytest.approx(214.323284266)
    _, i, _, _, flip = bradley_terry_matrix(0, observed=0.5, flips=0.2)
    assert (i.size, flip.sum()) == (2465, 526)


def test_half_the_pairs_with_thirty_percent_flips_are_recovered_exactly():
    w, i, j, margin, flip = bradley_terry_matrix(0, observed=0.5, flips=0.3)
    got = lad(i, j, margin, n_items=100)
    assert relative_error(got.scores, w) < 1e-8
    assert got.flip_rate == flip.mean()
    assert np.array_equal(got.corrupted, flip)
    assert got.threshold == 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(
    ("observed", "flips"),
    [(1.0, 0.1), (1.0, 0.2), (1.0, 0.3), (0.7, 0.3), (0.5, 0.1), (0.5, 0.3), (0.3, 0.1), (0.3, 0.2), (0.1, 0.1)],
)
def test_scores_are_exact_up_to_the_published_corruption(seed, observed, flips):
    w, i, j, margin, _ = bradley_terry_matrix(seed, observed=observed, flips=flips)
    assert relative_error(lad(i, j, margin, n_items=100).scores, w) < 1e-9


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_forty_percent_flips_leave_the_order_almost_intact(seed):
    w, i, j, margin, _ = bradley_terry_matrix(seed, flips=0.4)
    s = lad(i, j, margin, n_items=100).scores
    a, b = np.triu_indices(100, 1)
    assert np.mean((s[a] - s[b]) * (w[a] - w[b]) <= 0) < 0.006


def test_targeted_items_are_exact_until_the_cut_condition_fails():
    # Five lowest items; a share of each one's opponents outside the five is set to a win by 5.
    w = bradley_terry_matrix(0)[0]
    targets = np.argsort(w)[:5]
    for share, recovered in ((0.45, True), (0.48, False)):
        i, j = np.triu_indices(100, 1)
        margin = w[i] - w[j]
        rng = np.random.default_rng(1)
        outside = np.setdiff1d(np.arange(100), targets)
        for target in targets:
            for other in rng.permutation(outside)[: round(share * 100)]:
                row = np.flatnonzero(((i == target) & (j == other)) | ((j == target) & (i == other)))[0]
                margin[row] = 5.0 if i[row] == target else -5.0
        assert (relative_error(lad(i, j, margin, n_items=100).scores, w) < 1e-9) == recovered


@pytest.mark.parametrize("seed", range(12))
def test_the_objective_is_the_minimum_of_the_linear_program(seed):
    i, j, margin, weight = random_rows(seed, flips=0.3 * (seed % 2), noise=0.5 * (seed % 3))
    if seed % 4 == 3:
        margin = np.round(margin)
    got = lad(i, j, margin, n_items=12, weight=weight)
    best = linear_program_minimum(i, j, margin, weight, 12)
    assert objective(got.scores, i, j, margin, weight) <= best * (1 + 1e-5) + 1e-9


def test_three_rows_of_one_pair_give_their_weighted_median():
    got = lad([0, 1, 0], [1, 0, 1], [1.0, -4.0, 2.0], n_items=2)
    assert got.scores[0] - got.scores[1] == pytest.approx(2.0, abs=1e-8)
    heavy = lad([0, 1, 0], [1, 0, 1], [1.0, -4.0, 2.0], n_items=2, weight=[1, 5, 1])
    assert heavy.scores[0] - heavy.scores[1] == pytest.approx(4.0, abs=1e-8)


def test_a_tree_of_comparisons_is_fitted_exactly():
    got = lad([0, 1, 1, 3], [1, 2, 3, 4], [1.5, -0.25, 3.0, 7.0], n_items=5)
    assert np.abs(got.residual).max() < 1e-12
    assert got.scores[0] - got.scores[4] == pytest.approx(11.5)


def test_equal_margins_of_zero_give_equal_scores():
    got = lad([0, 1, 2], [1, 2, 0], [0, 0, 0], n_items=4)
    assert (got.scores == 0).all()
    assert got.iterations == 0


def test_without_rows_every_item_is_its_own_component():
    got = lad([], [], [], n_items=3)
    assert got.component.tolist() == [0, 1, 2]
    assert got.scores.tolist() == [0.0, 0.0, 0.0]
    assert got.corrupted.shape == got.residual.shape == (0,)
    assert got.corrupted_share.tolist() == [0.0, 0.0, 0.0]
    assert (got.flip_rate, got.threshold) == (0.0, 1e-3)
    assert got.unverifiable.all()
    assert codes(got) == ["disconnected", "unverifiable"]


def test_components_are_numbered_by_smallest_item_and_centred_one_by_one():
    got = lad([5, 1, 4], [3, 2, 2], [2.0, 1.0, 3.0], n_items=6)
    assert got.component.tolist() == [0, 1, 1, 2, 1, 2]
    for label in range(3):
        assert abs(got.scores[got.component == label].mean()) < 1e-12
    assert got.scores[5] - got.scores[3] == pytest.approx(2.0)
    assert got.scores[0] == 0.0
    assert any(text.startswith("disconnected: 3 components") for text in got.warnings)


def test_a_row_of_weight_zero_is_not_an_edge_but_has_a_residual():
    w, i, j, margin, _ = bradley_terry_matrix(0, n=9)
    far = np.array([0]), np.array([9]), np.array([7.0])
    rows = [np.concatenate(pair) for pair in zip((i, j, margin), far, strict=True)]
    got = lad(*rows, n_items=10, weight=np.append(np.ones(i.size), 0.0))
    assert got.component.tolist() == [0] * 9 + [1]
    assert got.residual[-1] == pytest.approx(7.0 - (got.scores[0] - got.scores[9]))
    assert not got.corrupted[-1]
    assert np.allclose(got.scores[:9], w, atol=1e-9)
    held_out = lad(i, j, np.append(margin[:-1], 99.0), n_items=9, weight=np.append(np.ones(i.size - 1), 0.0))
    assert held_out.corrupted.tolist() == [False] * (i.size - 1) + [True]
    assert held_out.flip_rate == pytest.approx(1 / i.size)


def test_a_row_across_components_is_never_flagged():
    w, i, j, margin, _ = bradley_terry_matrix(0, n=9)
    first, second = np.concatenate([i, i + 9, [0]]), np.concatenate([j, j + 9, [9]])
    got = lad(first, second, np.concatenate([margin, margin, [99.0]]), n_items=18, weight=[1.0] * 2 * i.size + [0.0])
    assert got.component.tolist() == [0] * 9 + [1] * 9
    assert got.residual[-1] == pytest.approx(99.0)
    assert not got.corrupted.any()
    assert not got.unverifiable.any()
    assert got.corrupted_share[0] == pytest.approx(1 / 9)
    assert np.allclose(got.scores[9:], w)


def test_unverifiable_items_are_those_with_at_most_two_opponents():
    _w, i, j, margin, _ = bradley_terry_matrix(0, n=10)
    for opponents, turned in ((1, False), (2, False), (3, False), (2, True), (3, True)):
        extra, weak = np.arange(opponents), np.full(opponents, 10)
        got = lad(
            np.append(i, extra if turned else weak),
            np.append(j, weak if turned else extra),
            np.append(margin, np.linspace(-30, 30, opponents)),
            n_items=11,
        )
        assert got.unverifiable.tolist() == [False] * 10 + [opponents <= 2]
        assert ("unverifiable" in codes(got)) == (opponents <= 2)
        touching = got.corrupted[i.size :]
        assert touching.any() == (opponents == 3)
    # Several rows of one pair are one opponent.
    repeated = lad(np.append(i, [10] * 4), np.append(j, [0] * 4), np.append(margin, [1, 2, 3, 40]), n_items=11)
    assert repeated.unverifiable[10]
    assert not repeated.corrupted.any()


@pytest.mark.parametrize(("n", "flagged"), [(7, False), (8, True)])
def test_nothing_is_flagged_in_components_of_fewer_than_eight_items(n, flagged):
    w, i, j, margin, _ = bradley_terry_matrix(3, n=n)
    margin[0] += 20
    got = lad(i, j, margin, n_items=n)
    assert np.allclose(got.scores, w, atol=1e-9)
    assert got.corrupted.any() == flagged
    assert got.corrupted_share[0] == pytest.approx(1 / (n - 1))
    assert ("few_items" in codes(got)) == (not flagged)


def test_the_default_threshold_is_three_robust_sds_of_the_fitted_rows():
    i, j, margin, weight = random_rows(5, n=10, rows=200)
    weight[:40] = 0
    got = lad(i, j, margin, n_items=10, weight=weight)
    assert got.threshold == pytest.approx(3 * 1.4826 * np.median(np.abs(got.residual[40:])))
    told = lad(i, j, margin, n_items=10, weight=weight, threshold=0.7)
    assert told.threshold == 0.7
    assert np.array_equal(told.corrupted, np.abs(told.residual) > 0.7)
    share = [np.mean(np.abs(told.residual[(i == k) | (j == k)]) > 0.7) for k in range(10)]
    assert np.allclose(told.corrupted_share, share)


def test_an_item_with_many_bad_comparisons_is_reported():
    w, i, j, margin, _ = bradley_terry_matrix(0, n=30)
    bad = np.flatnonzero(i == 0)[:12]
    margin[bad] += 15
    got = lad(i, j, margin, n_items=30)
    assert np.allclose(got.scores, w, atol=1e-9)
    assert got.corrupted_share[0] == pytest.approx(12 / 29)
    assert [text for text in got.warnings if text.startswith("majority_doubtful: for 1 of 30") and "item 0" in text]


@given(exponent=st.integers(-30, 30), seed=st.integers(0, 20))
@settings(max_examples=25, deadline=None)
def test_scores_scale_with_the_margins_and_not_with_the_weights(exponent, seed):
    i, j, margin, weight = random_rows(seed)
    c = 10.0**exponent
    plain = lad(i, j, margin, n_items=12, weight=weight)
    scaled = lad(i, j, c * margin, n_items=12, weight=weight / c)
    value = objective(scaled.scores, i, j, c * margin, weight)
    assert value == pytest.approx(c * objective(plain.scores, i, j, margin, weight), rel=1e-5)


@given(seed=st.integers(0, 50))
@settings(max_examples=25, deadline=None)
def test_order_orientation_and_names_of_the_rows_do_not_matter(seed):
    w, i, j, margin, _flip = bradley_terry_matrix(seed, n=20, observed=0.8, flips=0.1)
    rng = np.random.default_rng(seed)
    rows, turned, name = rng.permutation(i.size), rng.random(i.size) < 0.5, rng.permutation(20)
    first, second = np.where(turned, j, i)[rows], np.where(turned, i, j)[rows]
    plain = lad(i, j, margin, n_items=20)
    mixed = lad(name[first], name[second], np.where(turned, -margin, margin)[rows], n_items=20)
    weight = np.ones(i.size)
    assert objective(mixed.scores[name], i, j, margin, weight) == pytest.approx(
        objective(plain.scores, i, j, margin, weight), rel=1e-6
    )
    if relative_error(plain.scores, w) < 1e-9 and plain.corrupted_share.max() < 0.35:
        assert np.allclose(mixed.scores[name], plain.scores, atol=1e-8)
        assert np.array_equal(mixed.corrupted, plain.corrupted[rows])
        assert np.array_equal(mixed.component[name], plain.component)


def test_repeating_a_row_is_the_same_as_doubling_its_weight():
    i, j, margin, _ = random_rows(2, noise=0.2)
    twice = lad(np.append(i, i[:10]), np.append(j, j[:10]), np.append(margin, margin[:10]), n_items=12)
    weight = np.ones(60)
    weight[:10] = 2
    value = objective(twice.scores, i, j, margin, weight)
    assert value == pytest.approx(linear_program_minimum(i, j, margin, weight, 12), rel=1e-6)


def test_input_is_not_changed_and_results_have_the_promised_types():
    i, j, margin, weight = (array.copy() for array in random_rows(1))
    kept = [array.copy() for array in (i, j, margin, weight)]
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        got = lad(i.tolist(), j.astype(np.float32), margin.astype(np.float32), n_items=12, weight=weight.tolist())
        again = lad(i.tolist(), j.astype(np.float32), margin.astype(np.float32), n_items=12, weight=weight.tolist())
        lad([0, 1, 2], [1, 2, 0], [1e-200, 1e140, 3.0], n_items=3)
    for before, after in zip(kept, (i, j, margin, weight), strict=True):
        assert np.array_equal(before, after)
    assert np.array_equal(got.scores, again.scores)
    assert got.scores.dtype == got.residual.dtype == got.corrupted_share.dtype == np.float64
    assert got.component.dtype == np.int64
    assert got.corrupted.dtype == got.unverifiable.dtype == np.bool_
    assert isinstance(got.flip_rate, float)
    assert isinstance(got.iterations, int)
    assert isinstance(got.warnings, tuple)


def test_an_index_beyond_integers_is_refused_without_a_numpy_warning():
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        with pytest.raises(ContractError, match=r"i: 1 of 1 values.*from 0 to n_items - 1 = 1"):
            lad([1e300], [0], [1.0], n_items=2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lad([0], [3], [1.0], n_items=3), r"j: 1 of 1 values.*from 0 to n_items - 1 = 2.*got 3"),
        (lambda: lad([0, -1], [1, 2], [1.0, 1], n_items=3), r"i: 1 of 2 values.*index 1: got -1"),
        (lambda: lad([0, 1], [1, 1], [1.0, 1], n_items=3), r"j: 1 of 2 values.*different from i.*index 1"),
        (lambda: lad([0, 1], [1], [1.0, 1], n_items=3), r"j: got shape \(1,\), expected \(2,\)"),
        (lambda: lad([0], [1], [1.0, 1], n_items=3), r"margin: got shape \(2,\), expected \(1,\)"),
        (lambda: lad([0], [1], [np.nan], n_items=3), r"margin: 1 of 1 values break the rule 'not NaN'.*Leave"),
        (lambda: lad([0], [1], [np.inf], n_items=3), r"margin: 1 of 1 values.*finite"),
        (lambda: lad([0], [1], [1.0], n_items=3, weight=[-1.0]), r"weight: 1 of 1 values.*>= 0"),
        (lambda: lad([0], [1], [1.0], n_items=3, weight=[np.nan]), r"weight: 1 of 1 values.*NaN"),
        (lambda: lad([0], [1], [1.0], n_items=3, weight=[1.0, 2.0]), r"weight: got shape \(2,\)"),
        (lambda: lad([0], [1], [1.0], n_items=0), r"n_items: got 0, expected a whole number >= 1"),
        (lambda: lad([0], [1], [1.0], n_items=2.5), r"n_items: got 2.5"),
        (lambda: lad([0.5], [1], [1.0], n_items=2), r"i: 1 of 1 values.*a whole number"),
        (lambda: lad([[0]], [[1]], [1.0], n_items=2), r"i: got 2 dimension"),
        (lambda: lad([0], [1], [1.0], n_items=2, threshold=0.0), r"threshold: got 0.0"),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_reason(call, message):
    with pytest.raises(ContractError, match=message):
        call()

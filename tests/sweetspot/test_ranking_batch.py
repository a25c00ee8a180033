import warnings as python_warnings
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot import _batched_lad, _ranking_batch
from sweetspot._batched_lad import DenseProblems
from sweetspot._dense_graph import dense_graphs
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.ranking import batched_lad, lad


def codes(result):
    return [text.split(":")[0] for text in result.warnings]


def matrices(seed, count, n, *, flips=0.0, noise=0.0, observed=1.0):
    """True scores (B, n), margins with NaN where missing, and the flipped cells."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 5, (count, n))
    w -= w.mean(axis=1, keepdims=True)
    upper = np.triu(np.ones((n, n), dtype=bool), 1)
    flip = (rng.random((count, n, n)) < flips) & upper
    value = (w[:, :, None] - w[:, None]) * np.where(flip, -1, 1) + noise * rng.normal(size=(count, n, n))
    seen = (rng.random((count, n, n)) < observed) & upper
    margins = np.where(seen, value, np.nan)
    margins = np.where(np.isnan(margins), -np.swapaxes(margins, 1, 2), margins)
    return w, margins, (flip & seen) | np.swapaxes(flip & seen, 1, 2)


def by_lad(matrix, **options):
    n = matrix.shape[0]
    i, j = np.triu_indices(n, 1)
    seen = ~np.isnan(matrix[i, j])
    return i[seen], j[seen], lad(i[seen], j[seen], matrix[i, j][seen], n_items=n, **options)


@pytest.mark.parametrize(("n", "flips", "share"), [(8, 0.1, 0.95), (15, 0.1, 1.0), (32, 0.2, 1.0)])
def test_small_matrices_are_recovered_at_the_published_rates(n, flips, share):
    w, margins, flip = matrices(0, 40, n, flips=flips)
    got = batched_lad(margins)
    exact = np.linalg.norm(got.scores - w, axis=1) < 1e-3 * np.linalg.norm(w, axis=1)
    assert exact.mean() >= share
    if share == 1.0:
        assert np.abs(got.scores - w).max() < 1e-9
        visible = np.abs(margins) > 1e-2
        assert np.array_equal(got.corrupted[visible], flip[visible])


@pytest.mark.parametrize(("flips", "noise", "observed"), [(0.1, 0.0, 1.0), (0.1, 0.3, 0.6), (0.0, 1.0, 0.4)])
def test_each_matrix_is_ranked_as_lad_ranks_it(flips, noise, observed):
    _, margins, _ = matrices(1, 25, 10, flips=flips, noise=noise, observed=observed)
    got = batched_lad(margins)
    same = 0
    for b, matrix in enumerate(margins):
        i, j, single = by_lad(matrix)
        value = np.abs(matrix[i, j] - got.scores[b, i] + got.scores[b, j]).sum()
        assert value == pytest.approx(np.abs(single.residual).sum(), rel=1e-5, abs=1e-9)
        assert np.array_equal(got.component[b], single.component)
        assert np.array_equal(got.unverifiable[b], single.unverifiable)
        # Where the minimiser is not unique the two may return different ones.
        if np.allclose(got.scores[b], single.scores, rtol=0, atol=1e-9):
            same += 1
            assert np.allclose(got.residual[b, i, j], single.residual, atol=1e-8)
            assert got.threshold[b] == pytest.approx(single.threshold, abs=1e-8)
            assert np.array_equal(got.corrupted[b, i, j], single.corrupted)
            assert np.allclose(got.corrupted_share[b], single.corrupted_share)
            assert got.flip_rate[b] == pytest.approx(single.flip_rate)
    assert same >= 10


def test_residual_is_skew_and_zero_where_nothing_was_observed():
    _, margins, _ = matrices(2, 6, 9, noise=0.4, observed=0.7)
    got = batched_lad(margins)
    assert np.array_equal(got.residual, -np.swapaxes(got.residual, 1, 2))
    assert (got.residual[np.isnan(margins)] == 0).all()
    assert np.array_equal(got.corrupted, np.swapaxes(got.corrupted, 1, 2))
    seen = ~np.isnan(margins)
    gap = margins - (got.scores[:, :, None] - got.scores[:, None])
    assert np.allclose(got.residual[seen], gap[seen], atol=1e-12)


def test_a_matrix_does_not_see_the_others_of_its_batch(monkeypatch):
    _, margins, _ = matrices(3, 12, 9, flips=0.1, noise=0.5, observed=0.8)
    whole = batched_lad(margins)
    for b in range(12):
        alone = batched_lad(margins[b : b + 1])
        assert np.allclose(whole.scores[b], alone.scores[0], rtol=0, atol=1e-9)
        assert whole.threshold[b] == pytest.approx(alone.threshold[0], abs=1e-9)
    monkeypatch.setattr(_ranking_batch, "_BLOCK_CELLS", 200)
    parts = batched_lad(margins)
    assert np.allclose(whole.scores, parts.scores, rtol=0, atol=1e-9)
    assert np.array_equal(whole.corrupted, parts.corrupted)
    assert whole.warnings == parts.warnings


def test_a_cell_in_one_direction_is_mirrored_and_a_pair_is_one_term():
    _, margins, _ = matrices(4, 5, 9, flips=0.1, noise=0.3)
    upper = np.where(np.triu(np.ones((9, 9), dtype=bool), 1), margins, np.nan)
    lower = np.where(np.tril(np.ones((9, 9), dtype=bool), -1), margins, np.nan)
    both = batched_lad(margins)
    for one_sided in (upper, lower):
        got = batched_lad(one_sided)
        assert np.allclose(got.scores, both.scores, atol=1e-9)
        assert np.allclose(got.residual, both.residual, atol=1e-9)


def test_the_diagonal_and_unobserved_cells_do_not_matter():
    _, margins, _ = matrices(5, 4, 9, noise=0.3, observed=0.8)
    seen = ~np.isnan(margins)
    marked = seen | np.eye(9, dtype=bool)
    noisy = np.where(seen, margins, 77.0)
    assert np.array_equal(batched_lad(noisy, marked).scores, batched_lad(margins).scores)
    noisy[:, range(9), range(9)] = np.nan
    assert np.array_equal(batched_lad(noisy, marked).scores, batched_lad(margins).scores)


def test_padding_with_unobserved_items_leaves_the_rest():
    _, margins, _ = matrices(6, 4, 9, flips=0.1)
    padded = np.full((4, 12, 12), np.nan)
    padded[:, :9, :9] = margins
    got, plain = batched_lad(padded), batched_lad(margins)
    assert np.allclose(got.scores[:, :9], plain.scores, atol=1e-9)
    assert (got.scores[:, 9:] == 0).all()
    assert np.array_equal(got.corrupted[:, :9, :9], plain.corrupted)
    assert np.array_equal(got.flip_rate, plain.flip_rate)
    assert got.component[0].tolist() == [0] * 9 + [1, 2, 3]


def test_components_are_numbered_by_smallest_item_and_centred_one_by_one():
    matrix = np.full((1, 6, 6), np.nan)
    for i, j, margin in ((5, 3, 2.0), (1, 2, 1.0), (4, 2, 3.0)):
        matrix[0, i, j] = margin
    got = batched_lad(matrix)
    assert got.component.tolist() == [[0, 1, 1, 2, 1, 2]]
    assert np.allclose(got.scores[0], [0, 0 - 1 / 3, -4 / 3, -1, 5 / 3, 1])
    assert got.unverifiable.all()


def test_weights_act_as_in_lad_and_zero_takes_a_pair_out_of_the_fit():
    _, margins, _ = matrices(7, 6, 9, noise=0.6)
    rng = np.random.default_rng(0)
    weight = np.triu(rng.uniform(0.2, 4, (6, 9, 9)), 1)
    weight[:, 0, 1] = 0
    weight += np.swapaxes(weight, 1, 2)
    got = batched_lad(margins, weight=weight)
    i, j = np.triu_indices(9, 1)
    for b in range(6):
        single = lad(i, j, margins[b, i, j], n_items=9, weight=weight[b, i, j])
        value = weight[b, i, j] @ np.abs(got.residual[b, i, j])
        assert value == pytest.approx(weight[b, i, j] @ np.abs(single.residual), rel=1e-6)
        assert got.residual[b, 0, 1] == pytest.approx(margins[b, 0, 1] - got.scores[b, 0] + got.scores[b, 1])
        typical = np.median(np.abs(got.residual[b, i, j])[weight[b, i, j] > 0])
        assert got.threshold[b] == pytest.approx(3 * 1.4826 * typical)
    alone = np.zeros((1, 3, 3))
    alone[0, 0, 1] = alone[0, 1, 0] = 1
    split = batched_lad(np.zeros((1, 3, 3)), weight=alone)
    assert split.component.tolist() == [[0, 0, 1]]


def test_a_pair_across_components_is_never_flagged():
    w, _, _ = matrices(7, 1, 9)
    twice = np.concatenate([w, w], axis=1)
    margins = twice[:, :, None] - twice[:, None]
    margins[0, 0, 9], margins[0, 9, 0] = 99.0, -99.0
    half = np.arange(18) < 9
    weight = np.where(half[:, None] == half, 1.0, 0.0)[None]
    got = batched_lad(margins, weight=weight)
    assert got.component.tolist() == [[0] * 9 + [1] * 9]
    assert got.residual[0, 0, 9] == pytest.approx(99.0)
    assert not got.corrupted.any()
    assert got.corrupted_share[0, 0] == pytest.approx(1 / 17)


def test_a_given_threshold_and_the_default_are_per_matrix():
    _, margins, _ = matrices(8, 3, 10, noise=0.5)
    margins[1] *= 10
    got = batched_lad(margins)
    i, j = np.triu_indices(10, 1)
    for b in range(3):
        assert got.threshold[b] == pytest.approx(3 * 1.4826 * np.median(np.abs(got.residual[b, i, j])))
    told = batched_lad(margins, threshold=0.25)
    assert told.threshold.tolist() == [0.25] * 3
    assert np.array_equal(told.corrupted, np.abs(told.residual) > 0.25)
    assert np.allclose(told.flip_rate, (np.abs(told.residual) > 0.25).sum(axis=(1, 2)) / 90)


def test_warnings_come_once_with_counts():
    _, margins, _ = matrices(9, 10, 9)
    margins[3, 0, 1:], margins[3, 1:, 0] = np.nan, np.nan
    margins[4, 0, 3:], margins[4, 3:, 0] = np.nan, np.nan
    margins[5, 0, 1:5] += 20
    margins[5, 1:5, 0] -= 20
    found = batched_lad(margins).warnings
    assert [text.split(",")[0].split(" matrices")[0] for text in found] == [
        "disconnected: 1 of 10",
        "unverifiable: 2 of 10",
        "majority_doubtful: 1 of 10",
    ]
    assert codes(batched_lad(margins[:2, :5, :5])) == ["few_items"]


@pytest.mark.parametrize("shape", [(0, 4, 4), (3, 1, 1), (2, 3, 3)])
def test_empty_batches_single_items_and_empty_matrices_have_results(shape):
    got = batched_lad(np.full(shape, np.nan))
    assert got.scores.shape == shape[:2]
    assert (got.scores == 0).all()
    assert (got.flip_rate == 0).all()
    assert (got.threshold == 1e-3).all()
    assert got.component.tolist() == [list(range(shape[1]))] * shape[0]


def test_margins_of_zero_give_equal_scores():
    got = batched_lad(np.zeros((2, 9, 9)))
    assert (got.scores == 0).all()
    assert not got.corrupted.any()


@given(seed=st.integers(0, 40), exponent=st.integers(-20, 20))
@settings(max_examples=20, deadline=None)
def test_scores_scale_with_the_margins_and_follow_the_items(seed, exponent):
    _, margins, _ = matrices(seed, 3, 9, flips=0.05)
    name = np.random.default_rng(seed).permutation(9)
    plain = batched_lad(margins)
    moved = batched_lad(10.0**exponent * margins[:, name][:, :, name])
    calm = plain.corrupted_share.max(axis=1) < 0.35
    assert np.allclose(moved.scores[calm], 10.0**exponent * plain.scores[calm][:, name], rtol=1e-7, atol=0)


def test_types_repeat_bit_for_bit_and_nothing_is_emitted():
    _, margins, _ = matrices(10, 4, 9, noise=0.3, observed=0.7)
    before = margins.copy()
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        got, again = batched_lad(margins), batched_lad(margins)
        single = batched_lad(margins.astype(np.float32).tolist())
        batched_lad(np.array([[[0, 2], [-2, 0]]]))
    assert np.array_equal(before, margins, equal_nan=True)
    assert np.array_equal(got.scores, again.scores)
    assert got.scores.dtype == got.residual.dtype == got.threshold.dtype == got.flip_rate.dtype == np.float64
    assert single.corrupted_share.dtype == np.float64
    assert got.component.dtype == np.int64
    assert got.corrupted.dtype == got.unverifiable.dtype == np.bool_
    assert type(got.iterations) is int


def asymmetric(gap):
    matrix = np.zeros((2, 3, 3))
    matrix[1, 0, 1], matrix[1, 1, 0] = 5.0, -5.0 + gap
    return matrix


def test_skewness_is_checked_to_the_stated_tolerance():
    batched_lad(asymmetric(4e-8))
    batched_lad(np.array([[[0, 0.01], [-0.01 + 9e-9, 0]]]))
    with pytest.raises(ContractError, match="margins: 2 cells"):
        batched_lad(np.array([[[0, 0.01], [-0.01 + 2e-8, 0]]]))
    with pytest.raises(ContractError, match=r"margins: 2 cells.*matrix 1, \[0, 1\] = 5 and \[1, 0\] = -5"):
        batched_lad(asymmetric(6e-8))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: batched_lad(np.zeros((2, 3))), r"margins: got 2 dimension"),
        (lambda: batched_lad(np.zeros((2, 3, 4))), r"margins: got shape \(2, 3, 4\), expected \(B, n, n\)"),
        (lambda: batched_lad(np.zeros((2, 0, 0))), r"margins: got shape \(2, 0, 0\)"),
        (lambda: batched_lad(np.full((1, 2, 2), np.inf)), r"margins.*4 of 4 values.*finite"),
        (lambda: batched_lad(np.full((1, 2, 2), np.nan), np.ones((1, 2, 2))), r"margins.*2 of 4.*not NaN where obs"),
        (lambda: batched_lad(np.zeros((1, 2, 2)), np.ones((2, 2, 2))), r"observed: got shape \(2, 2, 2\)"),
        (lambda: batched_lad(np.zeros((1, 2, 2)), np.full((1, 2, 2), 3)), r"observed: 4 of 4 values"),
        (lambda: batched_lad(np.zeros((1, 2, 2)), weight=-np.ones((1, 2, 2))), r"weight.*2 of 4.*>= 0"),
        (lambda: batched_lad(np.zeros((1, 2, 2)), weight=np.full((1, 2, 2), np.nan)), r"weight.*2 of 4"),
        (lambda: batched_lad(np.zeros((1, 2, 2)), weight=np.ones((2, 2))), r"weight: got 2 dimension"),
        (lambda: batched_lad(np.zeros((1, 2, 2)), weight=[[[0, 1], [2, 0]]]), r"weight.*symmetric"),
        (lambda: batched_lad(np.zeros((1, 2, 2)), threshold=-1), r"threshold: got -1"),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_reason(call, message):
    with pytest.raises(ContractError, match=message):
        call()


def test_an_unproven_matrix_is_named(monkeypatch):
    short = replace(_batched_lad.CONTROL, max_steps=1, first_check=1, jump_floor=2.0, dual_rounds=1)
    monkeypatch.setattr(_batched_lad, "CONTROL", short)
    _, margins, _ = matrices(0, 3, 9, flips=0.3, noise=1.0)
    margins[0] = 0.0
    with pytest.raises(ConvergenceError, match=r"margins: 2 matrices.*first: matrix 1"):
        batched_lad(margins)


def test_components_of_chains_are_found_whatever_their_order():
    rng = np.random.default_rng(0)
    order = rng.permutation(20)
    adjacent = np.zeros((2, 20, 20), dtype=bool)
    adjacent[0, order[:-1], order[1:]] = True
    adjacent[1, order[:9], order[1:10]] = True
    graph = dense_graphs(adjacent | np.swapaxes(adjacent, 1, 2))
    assert (graph.component[0] == 0).all()
    assert graph.size[1].max() == 10
    assert np.unique(graph.component[1]).size == 11
    assert graph.pinned.sum(axis=1).tolist() == [1, 11]


def test_a_singular_matrix_makes_no_move_and_spares_the_others():
    weight = np.array([[[0, 1.0], [1, 0]], [[0, 1.0], [1, 0]]])
    nothing_pinned = np.array([[False, False], [True, False]])
    free = np.stack([np.ones((2, 2)), np.zeros((2, 2))])
    problems = DenseProblems(np.zeros((2, 2, 2)), weight, free, nothing_pinned)
    flow = np.array([[[0, 1.0], [-1, 0]]] * 2)
    assert problems.solve(weight, flow).tolist() == [[0.0, 0.0], [0.0, -1.0]]

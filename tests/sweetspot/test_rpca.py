import warnings as python_warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.rpca import pcp, pssv, shrink_singular_values, soft_threshold


def preference_matrix(seed=0, n=100, *, observed=1.0, flips=0.0):
    """Bradley-Terry margins with flipped signs: (true L, M with zeros where missing, observed, flipped)."""
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 5, n)
    w -= w.mean()
    upper = np.triu_indices(n, 1)
    count = n * (n - 1) // 2
    flip, seen = rng.random(count) < flips, rng.random(count) < observed
    d = w[upper[0]] - w[upper[1]]
    matrix, mask, flipped = np.zeros((n, n)), np.zeros((n, n), dtype=bool), np.zeros((n, n), dtype=bool)
    matrix[upper] = np.where(flip, -d, d) * seen
    mask[upper], flipped[upper] = seen, flip & seen
    return w[:, None] - w, matrix - matrix.T, mask | mask.T | np.eye(n, dtype=bool), flipped | flipped.T


def low_rank_plus_sparse(seed, m=30, n=24, rank=1, share=0.05):
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(m, rank)) @ rng.normal(size=(rank, n))
    sparse = (rng.random((m, n)) < share) * rng.normal(size=(m, n)) * 5
    return low, sparse


def error(result, truth):
    return np.linalg.norm(result.low_rank - truth) / np.linalg.norm(truth)


def fixed_penalty_pcp(M, lam, steps=4000):
    """Independent oracle: alternating directions with one constant penalty (slow, surely optimal)."""
    mu = M.size / (4 * np.abs(M).sum())
    L, S, Y = np.zeros_like(M), np.zeros_like(M), np.zeros_like(M)
    for _ in range(steps):
        u, s, vt = np.linalg.svd(M - S + Y / mu, full_matrices=False)
        L = u @ np.diag(np.clip(s - 1 / mu, 0, None)) @ vt
        X = M - L + Y / mu
        S = X - np.clip(X, -lam / mu, lam / mu)
        Y = Y + mu * (M - L - S)
    return L, S


def test_the_generator_gives_the_published_check_values():
    truth, matrix, _, flipped = preference_matrix(flips=0.2)
    assert np.allclose(truth[:3].mean(axis=1), [0.44335352, -1.39252134, -2.53658729])
    assert np.linalg.norm(truth) == pytest.approx(214.323284266)
    assert np.linalg.norm(matrix) == pytest.approx(214.323284266)
    assert flipped.sum() == 2 * 1034


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize(("observed", "flips", "bound"), [(1.0, 0.1, 1e-6), (1.0, 0.2, 1e-5), (0.7, 0.1, 1e-5)])
def test_flips_are_separated_exactly(seed, observed, flips, bound):
    truth, matrix, mask, flipped = preference_matrix(seed, observed=observed, flips=flips)
    got = pcp(matrix, mask)
    assert error(got, truth) < bound
    assert got.rank == 2
    assert got.identifiable
    assert got.warnings == ()
    assert got.residual < 1e-7
    big = flipped & (np.abs(truth) > 1e-3)
    assert (np.abs(got.sparse[big]) > 1e-4).all()
    assert np.abs(got.sparse[~flipped]).max() < 1e-3


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_thirty_percent_flips_are_beyond_pcp_and_it_says_so(seed):
    truth, matrix, _, _ = preference_matrix(seed, flips=0.3)
    got = pcp(matrix)
    assert 0.2 < error(got, truth) < 0.4
    assert not got.identifiable
    assert [text.split(":")[0] for text in got.warnings] == ["beyond_identifiable"]


@pytest.mark.parametrize("flips", [0.0, 0.02])
def test_a_penalty_that_grows_slowly_completes_from_thirty_percent(flips):
    truth, matrix, mask, _ = preference_matrix(0, observed=0.3, flips=flips)
    got = pcp(matrix, mask)
    assert error(got, truth) < 1e-6
    assert got.rank == 2


def test_knowing_the_rank_recovers_what_pcp_cannot():
    truth, matrix, mask, _ = preference_matrix(0, observed=0.7, flips=0.2)
    assert error(pcp(matrix, mask), truth) > 0.03
    got = pssv(matrix, 2, mask)
    assert error(got, truth) < 1e-6
    assert got.identifiable


def test_missing_entries_are_completed():
    truth, matrix, mask, _ = preference_matrix(0, observed=0.5)
    holed = np.where(mask, matrix, np.nan)
    got = pcp(holed)
    assert error(got, truth) < 1e-6
    assert np.isfinite(got.sparse).all()
    assert (got.sparse[~mask] == 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_split_agrees_with_a_constant_penalty_solver(seed):
    low, sparse = low_rank_plus_sparse(seed, share=0.03)
    M = low + sparse
    lam = 1 / np.sqrt(30)
    L, S = fixed_penalty_pcp(M, lam)
    got = pcp(M)
    assert np.allclose(got.low_rank, L, atol=1e-4)
    assert np.allclose(got.sparse, S, atol=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_the_objective_stays_within_a_ten_thousandth_of_the_optimum(seed):
    low, sparse = low_rank_plus_sparse(seed, share=0.03)
    M, lam = low + sparse, 1 / np.sqrt(30)
    best, got = fixed_penalty_pcp(M, lam), pcp(M)

    def objective(L, S):
        return np.linalg.svd(L, compute_uv=False).sum() + lam * np.abs(S).sum()

    assert objective(got.low_rank, got.sparse) <= objective(*best) * (1 + 1e-4)


def test_the_default_weight_is_one_over_the_root_of_the_observed_longer_side():
    low, sparse = low_rank_plus_sparse(1)
    mask = np.random.default_rng(0).random(low.shape) < 0.8
    given_weight = pcp(low + sparse, mask, lam=1 / np.sqrt(mask.mean() * 30))
    assert np.array_equal(pcp(low + sparse, mask).low_rank, given_weight.low_rank)


def test_objective_is_close_to_optimal_on_a_matrix_without_structure():
    M = np.random.default_rng(0).normal(size=(30, 20))
    lam = 1 / np.sqrt(30)

    def objective(L, S):
        return np.linalg.norm(L, "nuc") + lam * np.abs(S).sum()

    got = pcp(M)
    assert objective(got.low_rank, got.sparse) < 1.001 * objective(*fixed_penalty_pcp(M, lam))


@given(exponent=st.integers(-40, 40), factor=st.floats(1.0, 2.0), seed=st.integers(0, 5))
@settings(max_examples=10, deadline=None)
def test_scaling_the_matrix_scales_both_parts(exponent, factor, seed):
    low, sparse = low_rank_plus_sparse(seed, m=15, n=12)
    c = factor * 10.0**exponent
    plain, scaled = pcp(low + sparse), pcp(c * (low + sparse))
    assert np.allclose(scaled.low_rank, c * plain.low_rank, rtol=0, atol=1e-5 * c)
    assert np.allclose(scaled.sparse, c * plain.sparse, rtol=0, atol=1e-5 * c)
    assert (scaled.rank, scaled.identifiable) == (plain.rank, plain.identifiable)


@pytest.mark.parametrize("solver", [pcp, lambda M, mask: pssv(M, 1, mask)], ids=["pcp", "pssv"])
def test_reordering_and_transposing_the_matrix_does_the_same_to_the_parts(solver):
    low, sparse = low_rank_plus_sparse(3)
    rng = np.random.default_rng(0)
    mask = rng.random(low.shape) < 0.85
    rows, columns = rng.permutation(30), rng.permutation(24)
    plain = solver(low + sparse, mask)
    mixed = solver((low + sparse)[rows][:, columns], mask[rows][:, columns])
    turned = solver((low + sparse).T, mask.T)
    assert np.allclose(mixed.low_rank, plain.low_rank[rows][:, columns], atol=1e-6)
    assert np.allclose(mixed.sparse, plain.sparse[rows][:, columns], atol=1e-6)
    assert np.allclose(turned.low_rank, plain.low_rank.T, atol=1e-6)


def test_a_skew_matrix_gives_skew_parts():
    _, matrix, mask, _ = preference_matrix(0, n=40, observed=0.8, flips=0.1)
    got = pcp(matrix, mask)
    assert np.allclose(got.low_rank, -got.low_rank.T, atol=1e-9)
    assert np.allclose(got.sparse, -got.sparse.T, atol=1e-9)


def test_a_huge_weight_leaves_nothing_in_the_sparse_part():
    low, sparse = low_rank_plus_sparse(0)
    got = pcp(low + sparse, lam=1e6)
    assert (got.sparse == 0).all()
    assert np.allclose(got.low_rank, low + sparse, atol=1e-5)


def test_a_weight_below_the_dual_bound_puts_everything_in_the_sparse_part():
    # L = 0 is optimal exactly when lam * ||sign(M)||_2 <= 1.
    M = np.random.default_rng(0).normal(size=(8, 6))
    got = pcp(M, lam=0.99 / np.linalg.norm(np.sign(M), 2))
    assert np.allclose(got.low_rank, 0, atol=1e-6)
    assert np.allclose(got.sparse, M, atol=1e-6)


def test_a_zero_matrix_is_its_own_split():
    got = pcp(np.zeros((4, 3)))
    assert (got.low_rank == 0).all()
    assert (got.sparse == 0).all()
    assert (got.residual, got.iterations, got.rank, got.identifiable) == (0.0, 0, 0, True)


def test_pssv_of_rank_zero_is_pcp():
    low, sparse = low_rank_plus_sparse(2)
    first, second = pcp(low + sparse), pssv(low + sparse, 0)
    assert np.array_equal(first.low_rank, second.low_rank)
    assert np.array_equal(first.sparse, second.sparse)


def test_identifiable_allows_two_more_than_the_expected_rank():
    low, sparse = low_rank_plus_sparse(0, rank=3, share=0.01)
    assert pcp(low + sparse).rank == 3
    assert pcp(low + sparse, expected_rank=1).identifiable
    assert not pcp(low + sparse, expected_rank=0).identifiable
    assert pssv(low + sparse, 3).identifiable


def test_values_outside_the_mask_do_not_matter():
    low, sparse = low_rank_plus_sparse(4)
    mask = np.random.default_rng(1).random(low.shape) < 0.8
    M = low + sparse
    filled, holed = np.where(mask, M, 1e9), np.where(mask, M, np.nan)
    before = filled.copy()
    got = pcp(filled, mask)
    assert np.array_equal(got.low_rank, pcp(holed).low_rank)
    assert np.array_equal(filled, before)


def test_reported_residual_is_the_relative_distance_on_observed_entries():
    _, matrix, mask, _ = preference_matrix(0, n=40, observed=0.6, flips=0.05)
    got = pcp(matrix, mask)
    gap = np.where(mask, matrix - got.low_rank - got.sparse, 0)
    assert got.residual == pytest.approx(np.linalg.norm(gap) / np.linalg.norm(matrix), rel=1e-6)
    assert got.residual < 1e-7


def test_soft_threshold_minimises_its_objective():
    grid = np.linspace(-4, 4, 80001)
    for value in (-3.0, -0.2, 0.0, 0.7, 2.5):
        best = grid[np.argmin(0.8 * np.abs(grid) + 0.5 * (grid - value) ** 2)]
        assert soft_threshold(np.array([value]), 0.8)[0] == pytest.approx(best, abs=1e-3)


@pytest.mark.parametrize("keep", [0, 2])
def test_singular_value_shrinkage_moves_only_the_tail(keep):
    A = np.random.default_rng(0).normal(size=(7, 5))
    X = shrink_singular_values(A, 1.1, keep=keep)
    before, after = np.linalg.svd(A, compute_uv=False), np.linalg.svd(X, compute_uv=False)
    expected = np.concatenate([before[:keep], np.maximum(before[keep:] - 1.1, 0)])
    assert np.allclose(after, expected)
    gap = np.linalg.svd(A - X, compute_uv=False)
    assert gap.max() <= 1.1 + 1e-12


def test_integers_lists_and_single_precision_are_accepted_without_warnings():
    _, matrix, _, _ = preference_matrix(0, n=12, flips=0.05)
    with python_warnings.catch_warnings():
        python_warnings.simplefilter("error")
        whole = pcp(np.round(matrix).astype(int).tolist())
        single = pcp(matrix.astype(np.float32))
        tiny = pcp([[1e-300, -1e-300], [0.0, 1e-300]])
    assert whole.low_rank.dtype == np.float64
    assert single.sparse.dtype == np.float64
    assert np.allclose(tiny.low_rank + tiny.sparse, [[1e-300, -1e-300], [0, 1e-300]], rtol=1e-5, atol=1e-307)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda M: pcp(M, lam=0.0), r"lam: got 0.0"),
        (lambda M: pcp(M, lam=-1.0), r"lam: got -1.0"),
        (lambda M: pcp(M, tol=0.0), r"tol: got 0.0"),
        (lambda M: pcp(M, max_iter=0), r"max_iter: got 0"),
        (lambda M: pcp(M, expected_rank=-1), r"expected_rank: got -1"),
        (lambda M: pcp(M, np.zeros((3, 3), dtype=bool)), r"observed: 0 of 9 entries"),
        (lambda M: pcp(np.full((2, 2), np.nan)), r"observed: 0 of 4 entries"),
        (lambda M: pcp(M, np.ones((2, 3), dtype=bool)), r"observed: got shape \(2, 3\), expected \(3, 3\)"),
        (lambda M: pcp(M, np.full((3, 3), 2)), r"observed: 9 of 9 values"),
        (lambda M: pcp([[1.0, np.nan]], [[True, True]]), r"M: 1 of 2 values.*index \(0, 1\)"),
        (lambda M: pcp([[1.0, np.inf]]), r"M: 1 of 2 values.*inf"),
        (lambda M: pcp([1.0, 2.0]), r"M: got 1 dimension"),
        (lambda M: pcp(np.empty((0, 3))), r"observed: 0 of 0 entries"),
        (lambda M: pssv(M, 4), r"rank: got 4, expected a whole number from 0 to 3"),
        (lambda M: pssv(M, -1), r"rank: got -1"),
        (lambda M: pssv(M, 1.5), r"rank: got 1.5"),
    ],
)
def test_bad_input_is_refused_with_the_place_and_the_reason(call, message):
    with pytest.raises(ContractError, match=message):
        call(np.arange(9.0).reshape(3, 3))


def test_running_out_of_steps_is_an_error_that_says_what_to_raise():
    _, matrix, _, _ = preference_matrix(0, n=20, flips=0.1)
    with pytest.raises(ConvergenceError, match=r"after max_iter = 3 steps.*Raise max_iter or tol"):
        pcp(matrix, max_iter=3)

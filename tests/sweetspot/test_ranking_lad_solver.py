from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from sweetspot import _laplacian
from sweetspot._graph import checked_pairs, comparison_graph
from sweetspot._lad import CONTROL, _dual_bound, _iterate, _jump, _Problem, smoothed_sign
from sweetspot._laplacian import PairLaplacian
from sweetspot.errors import ConvergenceError
from sweetspot.ranking import lad


def sparse_rows(seed, n, rows, flips, noise=0.0):
    rng = np.random.default_rng(seed)
    w = rng.uniform(0, 5, n)
    w -= w.mean()
    i = rng.integers(0, n, rows)
    j = (i + 1 + rng.integers(0, n - 1, rows)) % n
    flip = rng.random(rows) < flips
    return w, i, j, np.where(flip, w[j] - w[i], w[i] - w[j]) + noise * rng.normal(size=rows), flip


def problem_of(i, j, margin, n, weight=None):
    pairs = checked_pairs(i, j, n)
    weights = np.ones(len(margin)) if weight is None else weight
    return _Problem(pairs, margin, weights, PairLaplacian(pairs, comparison_graph(pairs)))


def dense_laplacian(i, j, weight, n):
    matrix = np.zeros((n, n))
    for a, b, c in zip(i, j, weight, strict=True):
        matrix[[a, b], [a, b]] += c
        matrix[[a, b], [b, a]] -= c
    return matrix


@pytest.mark.parametrize("direct", [True, False])
def test_both_solvers_invert_the_laplacian_in_each_component(monkeypatch, direct):
    monkeypatch.setattr(_laplacian, "_DIRECT_WORK", 1e9 if direct else 0.0)
    rng = np.random.default_rng(0)
    i = np.concatenate([rng.integers(0, 9, 40), rng.integers(10, 16, 20)])
    j = np.concatenate([(i[:40] + 1 + rng.integers(0, 8, 40)) % 9, 10 + (i[40:] - 10 + 1 + rng.integers(0, 5, 20)) % 6])
    pairs = checked_pairs(i, j, 17)
    solver = PairLaplacian(pairs, comparison_graph(pairs))
    assert solver.is_direct == direct
    for weight in (rng.uniform(0.5, 2, 60), 10.0 ** rng.uniform(-3, 3, 60)):
        flow = rng.normal(size=60)
        x = solver.solve(weight, flow, tolerance=1e-12)
        expected = np.linalg.pinv(dense_laplacian(i, j, weight, 17)) @ pairs.divergence(flow)
        assert np.allclose(x, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
        assert x[9] == x[16] == 0.0


def test_a_chain_is_solved_by_its_band_and_a_random_graph_by_iteration():
    n = 30_000
    chain = checked_pairs(np.arange(n - 1), np.arange(1, n), n)
    assert PairLaplacian(chain, comparison_graph(chain)).is_direct
    _, i, j, _, _ = sparse_rows(0, 3000, 60_000, 0.0)
    random = checked_pairs(i, j, 3000)
    assert not PairLaplacian(random, comparison_graph(random)).is_direct


def test_a_long_chain_is_fitted_exactly():
    n = 5000
    margin = np.random.default_rng(0).normal(size=n - 1)
    got = lad(np.arange(n - 1), np.arange(1, n), margin, n_items=n)
    assert np.abs(got.residual).max() < 1e-8


@pytest.mark.parametrize("seed", [0, 1])
def test_many_sparse_items_are_recovered_exactly_by_iteration(seed):
    w, i, j, margin, flip = sparse_rows(seed, 3000, 300_000, 0.3)
    got = lad(i, j, margin, n_items=3000)
    assert np.abs(got.scores - w).max() < 1e-8
    visible = np.abs(margin) > 1e-2
    assert np.array_equal(got.corrupted[visible], flip[visible])


def test_direct_and_iterative_solvers_reach_the_same_objective(monkeypatch):
    _, i, j, margin, _ = sparse_rows(3, 300, 9000, 0.2, noise=0.3)
    direct = lad(i, j, margin, n_items=300)
    monkeypatch.setattr(_laplacian, "_DIRECT_WORK", 0.0)
    iterative = lad(i, j, margin, n_items=300)
    assert not np.array_equal(direct.scores, iterative.scores)
    assert np.abs(iterative.residual).sum() == pytest.approx(np.abs(direct.residual).sum(), rel=2e-4)


@pytest.mark.parametrize("rounds", [1, 4])
@pytest.mark.parametrize("epsilon", [1.0, 0.1, 1e-3])
def test_the_dual_bound_never_exceeds_the_minimum(monkeypatch, epsilon, rounds):
    monkeypatch.setattr("sweetspot._lad.CONTROL", replace(CONTROL, dual_rounds=rounds))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        _, i, j, margin, _ = sparse_rows(seed, 8, 30, 0.3, noise=0.5)
        weight = rng.uniform(0.2, 3, 30)
        problem = problem_of(i, j, margin, 8, weight)
        incidence = np.eye(8)[i] - np.eye(8)[j]
        # Maximise margin . y over flows y without divergence, |y| <= weight.
        dual = linprog(-margin, A_eq=incidence.T, b_eq=np.zeros(8), bounds=list(zip(-weight, weight, strict=True)))
        residual = problem.residual(rng.normal(size=8))
        bound = _dual_bound(problem, residual, smoothed_sign(residual, epsilon))
        assert bound <= -dual.fun + 1e-9
        if rounds == 1:
            continue
        best, _ = _iterate(problem)
        assert problem.objective(problem.residual(best)) == pytest.approx(-dual.fun, rel=1e-5)


def test_the_dual_bound_proves_an_exact_fit():
    w, i, j, margin, _ = sparse_rows(0, 60, 1200, 0.25)
    problem = problem_of(i, j, margin, 60)
    residual = problem.residual(w)
    sign = np.where(np.abs(residual) > CONTROL.exact, np.sign(residual), 0.0)
    assert _dual_bound(problem, residual, sign) == pytest.approx(problem.objective(residual), rel=1e-9)


def test_a_jump_lands_on_the_exact_fit_and_never_raises_the_objective():
    w, i, j, margin, _ = sparse_rows(1, 60, 1200, 0.2)
    near = w + 0.05 * np.random.default_rng(0).normal(size=60)
    problem = problem_of(i, j, margin, 60)
    landed = _jump(problem, near, 0.2)
    assert np.abs(landed - landed.mean() - w).max() < 1e-9
    rng = np.random.default_rng(1)
    noisy = problem_of(i, j, margin + rng.normal(size=1200), 60)
    for epsilon in (1.0, 0.2, 0.01):
        for spread in (0.02, 0.2, 1.0):
            start = w + spread * rng.normal(size=60)
            before = noisy.objective(noisy.residual(start))
            assert noisy.objective(noisy.residual(_jump(noisy, start, epsilon))) <= before * (1 + 1e-8)
        best, _ = _iterate(noisy)
        assert np.array_equal(_jump(noisy, best, epsilon), best)


def test_an_unproven_result_is_refused(monkeypatch):
    monkeypatch.setattr("sweetspot._lad.CONTROL", replace(CONTROL, max_steps=1, first_check=1))
    _, i, j, margin, _ = sparse_rows(0, 40, 300, 0.3, noise=1.0)
    with pytest.raises(ConvergenceError, match=r"after 1 steps; expected within 1 %"):
        lad(i, j, margin, n_items=40)


def test_weights_of_very_different_size_still_give_the_minimum():
    _, i, j, margin, _ = sparse_rows(4, 12, 80, 0.2, noise=0.2)
    weight = 10.0 ** np.random.default_rng(0).uniform(-6, 6, 80)
    problem = problem_of(i, j, margin, 12, weight)
    incidence = np.eye(12)[i] - np.eye(12)[j]
    bounds = list(zip(-weight, weight, strict=True))
    dual = linprog(-margin, A_eq=incidence.T, b_eq=np.zeros(12), bounds=bounds)
    got = lad(i, j, margin, n_items=12, weight=weight)
    assert problem.objective(problem.residual(got.scores)) == pytest.approx(-dual.fun, rel=1e-3)

import numpy as np
import pytest

from sweetspot._graph import checked_pairs
from sweetspot._newton import Point, minimise
from sweetspot._vote_models import (
    MixtureObjective,
    VoteObjective,
    Votes,
    expected_flip_share,
    pair_likelihood,
    vote_likelihood,
)


def votes(seed=0, n=6):
    rng = np.random.default_rng(seed)
    i, j = np.triu_indices(n, 1)
    a, b = rng.integers(0, 6, (2, i.size)).astype(float)
    return Votes(checked_pairs(i, j, n), a, b)


def numeric_gradient(function, x, step=1e-5):
    return np.array([(function(x + h) - function(x - h)) / (2 * step) for h in step * np.eye(x.size)])


@pytest.mark.parametrize("kind", ["pair", "vote"])
def test_gradient_and_curvature_of_the_mixture_are_those_of_its_value(kind):
    x = np.random.default_rng(1).normal(size=7)

    def at(y):
        return MixtureObjective(votes(), 0.1, (2.0, 3.0), kind, y)

    assert np.allclose(at(x).gradient, numeric_gradient(lambda y: at(y).value, x), atol=1e-7)
    hessian = np.array([at(x).curvature_times(e) for e in np.eye(7)])
    assert np.allclose(hessian, numeric_gradient(lambda y: at(y).gradient, x), atol=1e-7)
    assert (at(x).diagonal > 0).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_gradient_and_curvature_of_bradley_terry_are_those_of_its_value(epsilon):
    x = np.random.default_rng(2).normal(size=6)

    def at(y):
        return VoteObjective(votes(), 0.3, epsilon, y)

    assert np.allclose(at(x).gradient, numeric_gradient(lambda y: at(y).value, x), atol=1e-7)
    hessian = np.array([at(x).curvature_times(e) for e in np.eye(6)])
    assert np.allclose(hessian, numeric_gradient(lambda y: at(y).gradient, x), atol=1e-7)


@pytest.mark.parametrize("model", [pair_likelihood, vote_likelihood])
def test_one_vote_per_pair_makes_both_models_the_same(model):
    d, one = np.linspace(-3, 3, 7), np.ones(7)
    q = 0.8 / (1 + np.exp(-d)) + 0.2 / (1 + np.exp(d))
    assert np.allclose(model(d, one, 0 * one, 0.2).value, np.log(q))
    assert np.allclose(model(d, 0 * one, one, 0.2).value, np.log(1 - q))


@pytest.mark.parametrize("model", [pair_likelihood, vote_likelihood])
def test_exchanging_the_items_of_a_pair_mirrors_the_likelihood(model):
    d, a, b = np.linspace(-3, 3, 7), np.arange(7.0), np.arange(7.0)[::-1]
    forward, back = model(d, a, b, 0.1), model(-d, b, a, 0.1)
    assert np.allclose(forward.value, back.value)
    assert np.allclose(forward.slope, -back.slope)
    assert np.allclose(forward.bend, back.bend)
    assert np.allclose(forward.flip_slope, back.flip_slope)


def test_huge_counts_and_margins_stay_finite():
    d, many = np.array([-700.0, -30.0, 0.0, 30.0, 700.0]), np.full(5, 1e4)
    for model in (pair_likelihood, vote_likelihood):
        for epsilon in (1e-300, 0.3):
            found = model(d, many, many / 3, epsilon)
            for part in (found.value, found.slope, found.bend, found.flip_slope, found.flip_bend, found.cross):
                assert np.isfinite(part).all()


def test_expected_flip_share_without_flips_is_zero_and_without_votes_the_rate():
    d, none = np.array([1.0, -2.0]), np.zeros(2)
    assert expected_flip_share(d, none + 3, none, 0.0).tolist() == [0.0, 0.0]
    assert expected_flip_share(d, none, none, 0.2).tolist() == [0.2, 0.2]


def quadratic(matrix, target):
    def at(x):
        gap = x - target
        return Point(0.5 * gap @ matrix @ gap, matrix @ gap, np.diag(matrix).copy(), lambda v: matrix @ v)

    return at


def test_newton_solves_a_badly_scaled_quadratic_at_once():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    matrix, target = basis @ np.diag(10.0 ** np.arange(-2, 6)) @ basis.T, rng.normal(size=8)
    found = minimise(quadratic(matrix, target), np.zeros(8), tolerance=1e-9, max_move=100.0)
    assert np.allclose(found.x, target, atol=1e-6)
    assert found.iterations <= 12
    assert found.gradient_norm <= 1e-9


def test_newton_leaves_a_saddle_along_negative_curvature():
    def double_well(x):
        value = 0.25 * x[0] ** 4 - 0.5 * x[0] ** 2 + 0.5 * x[1] ** 2
        gradient = np.array([x[0] ** 3 - x[0], x[1]])
        bend = np.array([3 * x[0] ** 2 - 1, 1.0])
        return Point(value, gradient, np.maximum(np.abs(bend), 1e-3), lambda v: bend * v)

    found = minimise(double_well, np.array([0.1, 1.0]), tolerance=1e-9, max_move=1.0)
    assert np.allclose(found.x, [1.0, 0.0], atol=1e-8)


def test_no_step_is_longer_than_allowed():
    visited = []

    def watched(x):
        visited.append(x.copy())
        return quadratic(np.eye(2), np.array([10.0, 0.0]))(x)

    found = minimise(watched, np.zeros(2), tolerance=1e-9, max_move=0.5)
    assert np.allclose(found.x, [10.0, 0.0])
    assert max(np.abs(np.diff(visited, axis=0)).max(axis=1)) <= 0.5 + 1e-12

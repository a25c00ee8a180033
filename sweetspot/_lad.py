"""Least absolute deviations on a graph, by iteratively reweighted least squares.

Minimises  sum_e weight_e * |margin_e - (s_i - s_j)|.  Each step solves one weighted Laplacian with
weights  weight / sqrt(residual^2 + epsilon^2)  while epsilon falls from 1 to 1e-9 of the typical margin.

Two things end the iteration early. A dual feasible flow bounds how far the objective is from its
minimum. And where part of the rows fits exactly, a few steps with the redescending weights
weight / (residual^2 + epsilon^2)  jump to that point; it is taken when it lowers the objective, and
the flow decides whether it is the minimum.
"""

from dataclasses import dataclass

import numpy as np

from sweetspot._checks import FloatArray
from sweetspot._graph import ComparisonGraph, Pairs
from sweetspot._laplacian import PairLaplacian
from sweetspot._selection import median
from sweetspot.errors import ConvergenceError

_EPSILON_DECAY, _EPSILON_FLOOR = 0.7, 1e-9
_GAP_DIRECT, _GAP_ITERATIVE, _GAP_ACCEPTED = 1e-10, 1e-6, 1e-2
_CHECK_EVERY = 6
_MAX_STEPS = 300
_JUMP_DECAY, _JUMP_FLOOR = 0.1, 1e-8
_STEP_TOLERANCE, _FLOW_TOLERANCE = 1e-2, 1e-8
_EXACT = 1e-9


@dataclass(frozen=True)
class _Problem:
    """Rows with positive weight, margins brought to typical size 1, and the solver of their graph."""

    pairs: Pairs
    margin: FloatArray
    weight: FloatArray
    laplacian: PairLaplacian

    def residual(self, scores: FloatArray) -> FloatArray:
        return self.margin - self.pairs.difference(scores)

    def objective(self, residual: FloatArray) -> float:
        return float(self.weight @ np.abs(residual))


def fit_lad(pairs: Pairs, graph: ComparisonGraph, margin: FloatArray, weight: FloatArray) -> tuple[FloatArray, int]:
    """Scores (n,) that minimise the weighted absolute residuals, mean 0 per component, and the steps taken.

    Raises:
        ConvergenceError: the objective is not proven within 1 % of its minimum.
    """
    used = weight > 0
    if not used.any() or not margin[used].any():
        return np.zeros(pairs.n_items), 0
    rows = Pairs(pairs.first[used], pairs.second[used], pairs.n_items)
    exponent = _typical_exponent(margin[used])
    heaviest = int(np.frexp(weight.max())[1])
    problem = _Problem(
        pairs=rows,
        margin=np.ldexp(margin[used], -exponent),
        weight=np.ldexp(weight[used], -heaviest),
        laplacian=PairLaplacian(rows, graph),
    )
    scores, steps = _iterate(problem)
    return np.ldexp(graph.centred(scores), exponent), steps


def _typical_exponent(margin: FloatArray) -> int:
    """Power of two of the median |margin|, or of the largest when most are 0."""
    size = np.abs(margin)
    return int(np.frexp(median(size) or size.max())[1])


def _iterate(problem: _Problem) -> tuple[FloatArray, int]:
    goal = _GAP_DIRECT if problem.laplacian.is_direct else _GAP_ITERATIVE
    scores, epsilon = np.zeros(problem.pairs.n_items), 1.0
    gap = np.inf
    for step in range(1, _MAX_STEPS + 1):
        residual = problem.residual(scores)
        weight = problem.weight / np.hypot(residual, epsilon)
        scores = scores + problem.laplacian.solve(weight, weight * residual, tolerance=_STEP_TOLERANCE)
        epsilon = max(_EPSILON_DECAY * epsilon, _EPSILON_FLOOR)
        if step % _CHECK_EVERY == 0:
            scores, gap = _best_of(problem, scores, epsilon)
            if gap <= goal:
                return scores, step
    if gap > _GAP_ACCEPTED:
        raise ConvergenceError(
            f"margin: objective within a factor of {1 + gap:.4g} of its minimum after {_MAX_STEPS} steps, expected "
            "1.01. Look for weights of very different size or items joined by a single comparison."
        )
    return scores, _MAX_STEPS


def _best_of(problem: _Problem, scores: FloatArray, epsilon: float) -> tuple[FloatArray, float]:
    """The iterate, or the exact fit near it where that has the smaller objective, and its relative gap."""
    jumped = _jump(problem, scores, epsilon)
    if jumped is None:
        return scores, _relative_gap(problem, scores, epsilon)
    gap = _relative_gap(problem, jumped, _EXACT)
    return jumped, gap


def _jump(problem: _Problem, scores: FloatArray, epsilon: float) -> FloatArray | None:
    """Follow redescending weights from `scores` as long as the objective falls; None if it does not."""
    best = problem.objective(problem.residual(scores))
    start = best
    while epsilon > _JUMP_FLOOR:
        residual = problem.residual(scores)
        weight = problem.weight / (residual * residual + epsilon * epsilon)
        scores = scores + problem.laplacian.solve(weight, weight * residual, tolerance=1e-6)
        value = problem.objective(problem.residual(scores))
        if value > best:
            return None
        best, epsilon = value, _JUMP_DECAY * epsilon
    return scores if best < start else None


def _relative_gap(problem: _Problem, scores: FloatArray, epsilon: float) -> float:
    """Bound on (objective - minimum) / objective, from a dual feasible flow near the smoothed signs.

    The dual is  max sum margin * y  over flows with zero divergence and |y| <= weight.
    """
    residual = problem.residual(scores)
    flow = problem.weight * residual / np.hypot(residual, epsilon)
    potential = problem.laplacian.solve(problem.weight, flow, tolerance=_FLOW_TOLERANCE)
    flow -= problem.weight * problem.pairs.difference(potential)
    flow /= max(1.0, float((np.abs(flow) / problem.weight).max()))
    value = problem.objective(residual)
    return (value - float(flow @ residual)) / value if value > 0 else 0.0

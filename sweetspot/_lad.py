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

_EPSILON_DECAY, _EPSILON_FLOOR = 0.8, 1e-9
_GAP_DIRECT, _GAP_ITERATIVE, _GAP_ACCEPTED = 1e-10, 1e-4, 1e-2
_FIRST_CHECK, _CHECK_GROWTH = 8, 1.25
_MAX_STEPS, _SETTLED = 300, 0.3
_JUMP_DECAY, _JUMP_FLOOR = 0.1, 1e-8
_STEP_TOLERANCE, _JUMP_TOLERANCE, _FLOW_TOLERANCE = 1e-2, 1e-2, 1e-3
_DUAL_ROUNDS, _EXACT, _LEAST_SLACK, _EXACT_OBJECTIVE = 4, 1e-9, 1e-12, 1e-13


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


@dataclass
class _Bracket:
    """The best scores so far, their objective, and a proven lower bound on every objective."""

    scores: FloatArray
    exact: float
    value: float = np.inf
    bound: float = 0.0

    def offer(self, scores: FloatArray, value: float) -> None:
        if value < self.value:
            self.scores, self.value = scores, value

    def within(self, gap: float) -> bool:
        return self.value - self.bound <= gap * self.value + self.exact


def fit_lad(pairs: Pairs, graph: ComparisonGraph, margin: FloatArray, weight: FloatArray) -> tuple[FloatArray, int]:
    """Scores (n,) that minimise the weighted absolute residuals, mean 0 per component, and the steps taken.

    Args:
        pairs: Rows of the fit.
        graph: Their comparison graph.
        margin: Margin of first over second (E,), any unit, finite.
        weight: Weight of each row (E,), > 0.

    Raises:
        ConvergenceError: the objective is not proven within 1 % of its minimum.
    """
    if not margin.any():
        return np.zeros(pairs.n_items), 0
    exponent = _typical_exponent(margin)
    heaviest = int(np.frexp(weight.max())[1])
    problem = _Problem(
        pairs=pairs,
        margin=np.ldexp(margin, -exponent),
        weight=np.ldexp(weight, -heaviest),
        laplacian=PairLaplacian(pairs, graph),
    )
    scores, steps = _iterate(problem)
    return np.ldexp(graph.centred(scores), exponent), steps


def _typical_exponent(margin: FloatArray) -> int:
    """Power of two of the median |margin|, kept within 2^200 of the largest so that squares exist."""
    size = np.abs(margin)
    typical, largest = np.frexp([median(size), size.max()])[1]
    return int(max(typical if median(size) > 0 else largest, largest - 200))


def _iterate(problem: _Problem) -> tuple[FloatArray, int]:
    """Scores of the smallest objective seen and the steps taken, once the dual bound meets it."""
    direct = problem.laplacian.is_direct
    goal = _GAP_DIRECT if direct else _GAP_ITERATIVE
    scores, epsilon, next_check = np.zeros(problem.pairs.n_items), 1.0, _FIRST_CHECK
    bracket = _Bracket(scores, exact=_EXACT_OBJECTIVE * problem.objective(problem.margin))
    for step in range(1, _MAX_STEPS + 1):
        residual = problem.residual(scores)
        weight = problem.weight / np.sqrt(residual * residual + epsilon * epsilon)
        move = problem.laplacian.solve(weight, weight * residual, tolerance=_STEP_TOLERANCE)
        scores = scores + move
        if step in (next_check, _MAX_STEPS):
            next_check = int(np.ceil(_CHECK_GROWTH * step))
            _narrow(bracket, problem, scores, epsilon, goal=goal)
            if bracket.within(goal):
                return bracket.scores, step
        # Falling faster than the scores settle would freeze rows that do not belong to the solution.
        if not direct or np.abs(problem.pairs.difference(move)).max() <= _SETTLED * epsilon:
            epsilon = max(_EPSILON_DECAY * epsilon, _EPSILON_FLOOR)
    if not bracket.within(_GAP_ACCEPTED):
        raise ConvergenceError(
            f"margin: the sum of absolute residuals is {bracket.value:.6g}, its proven minimum {bracket.bound:.6g} "
            f"(margins in units of their median), after {_MAX_STEPS} steps; expected within 1 %. Look for weights of "
            "very different size or long chains of single comparisons."
        )
    return bracket.scores, _MAX_STEPS


def _narrow(bracket: _Bracket, problem: _Problem, scores: FloatArray, epsilon: float, *, goal: float) -> None:
    """Add the iterate and the exact fit near it to the bracket, and the dual bounds that belong to them."""
    path = problem.residual(scores)
    smoothed = path / np.sqrt(path * path + epsilon * epsilon)
    jumped = _jump(problem, scores, epsilon)
    beyond = problem.residual(jumped)
    bracket.offer(jumped, problem.objective(beyond))
    fitted = np.where(np.abs(beyond) > _EXACT, np.sign(beyond), smoothed)
    bracket.bound = max(bracket.bound, _dual_bound(problem, beyond, fitted))
    if not bracket.within(goal):
        bracket.offer(scores, problem.objective(path))
        bracket.bound = max(bracket.bound, _dual_bound(problem, path, smoothed))


def _jump(problem: _Problem, scores: FloatArray, epsilon: float) -> FloatArray:
    """Follow redescending weights from `scores` as long as the objective falls; the last point reached."""
    start = best = problem.objective(problem.residual(scores))
    while epsilon > _JUMP_FLOOR:
        residual = problem.residual(scores)
        weight = problem.weight / (residual * residual + epsilon * epsilon)
        ahead = scores + problem.laplacian.solve(weight, weight * residual, tolerance=_JUMP_TOLERANCE)
        value = problem.objective(problem.residual(ahead))
        if value > best + _EXACT * start:
            return scores
        scores, best, epsilon = ahead, min(best, value), _JUMP_DECAY * epsilon
    return scores


def _dual_bound(problem: _Problem, residual: FloatArray, sign: FloatArray) -> float:
    """Lower bound on the minimum of the objective, from a flow that is feasible in the dual.

    The dual is  max sum margin * y  over flows y of zero divergence with |y| <= weight. In turn, a
    potential flow through the rows with slack removes the divergence of  y = weight * sign,  and y is
    clipped; what is left beyond the weights at the end shrinks all of y.
    """
    excess = np.inf
    for _ in range(_DUAL_ROUNDS):
        sign = np.clip(sign, -1.0, 1.0)
        slack = problem.weight * (1.0 - sign * sign + _LEAST_SLACK)
        potential = problem.laplacian.solve(slack, problem.weight * sign, tolerance=_FLOW_TOLERANCE)
        sign = sign - slack / problem.weight * problem.pairs.difference(potential)
        excess = float(np.abs(sign).max())
        if excess <= 1.0 + _EXACT:
            break
    return float((problem.weight * sign) @ residual) / max(1.0, excess)

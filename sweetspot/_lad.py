"""Least absolute deviations on a graph, by iteratively reweighted least squares.

Minimises  sum_e weight_e * |margin_e - (s_i - s_j)|.  Each step solves one weighted Laplacian with
weights  weight / sqrt(residual^2 + epsilon^2)  while epsilon falls from 1 to 1e-9, in units of the typical
margin.

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


@dataclass(frozen=True)
class Control:
    """Numbers that steer the iteration, shared by the sparse and the batched solver.

    Attributes:
        decay, floor: epsilon falls by `decay` per step down to `floor`, in units of the typical margin.
        settled: epsilon waits until the differences of scores move by no more than this times epsilon;
            falling faster freezes rows that do not belong to the solution.
        decay_iterative: The same as decay where systems are solved iteratively; there epsilon never waits.
        first_check, check_growth: Steps at which bounds are computed.
        max_steps: Bound on all steps.
        jump_decay, jump_floor: The same as decay and floor, for redescending weights.
        gap_direct, gap_iterative: Proven relative distance from the minimum at which to stop.
        gap_accepted: The same, beyond which a result is refused.
        dual_rounds: Rounds of clipping and balancing for one bound.
        exact: |residual| below which a row fits, in units of the typical margin.
        least_slack: Share of its weight that a saturated row can still carry.
        exact_objective: Objective, relative to that of zero scores, below which all rows fit.
    """

    decay: float = 0.5
    decay_iterative: float = 0.8
    floor: float = 1e-9
    settled: float = 1.0
    first_check: int = 8
    check_growth: float = 1.25
    max_steps: int = 150
    jump_decay: float = 0.1
    jump_floor: float = 1e-8
    gap_direct: float = 1e-10
    gap_iterative: float = 1e-4
    gap_accepted: float = 1e-2
    dual_rounds: int = 4
    exact: float = 1e-9
    least_slack: float = 1e-12
    exact_objective: float = 1e-13

    def check_after(self, step: int) -> int:
        """The step of the check after the one at `step`."""
        return int(np.ceil(self.check_growth * step))


CONTROL = Control()
_STEP_TOLERANCE, _JUMP_TOLERANCE, _FLOW_TOLERANCE = 1e-2, 1e-2, 1e-3


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


def smoothed_sign(residual: FloatArray, epsilon: FloatArray | float) -> FloatArray:
    """Residual / sqrt(residual^2 + epsilon^2), the derivative of the smoothed absolute value."""
    return residual / np.sqrt(residual * residual + epsilon * epsilon)


def _typical_exponent(margin: FloatArray) -> int:
    """Power of two of the median |margin|, kept within 2^200 of the largest so that squares exist."""
    size = np.abs(margin)
    typical, largest = np.frexp([median(size), size.max()])[1]
    return int(max(typical if median(size) > 0 else largest, largest - 200))


def _iterate(problem: _Problem) -> tuple[FloatArray, int]:
    """Scores of the smallest objective seen and the steps taken, once the dual bound meets it."""
    direct = problem.laplacian.is_direct
    goal = CONTROL.gap_direct if direct else CONTROL.gap_iterative
    scores, epsilon, next_check = np.zeros(problem.pairs.n_items), 1.0, CONTROL.first_check
    bracket = _Bracket(scores, exact=CONTROL.exact_objective * problem.objective(problem.margin))
    for step in range(1, CONTROL.max_steps + 1):
        residual = problem.residual(scores)
        weight = problem.weight / np.sqrt(residual * residual + epsilon * epsilon)
        move = problem.laplacian.solve(weight, weight * residual, tolerance=_STEP_TOLERANCE)
        scores = scores + move
        if step in (next_check, CONTROL.max_steps):
            next_check = CONTROL.check_after(step)
            _narrow(bracket, problem, scores, epsilon, goal=goal)
            if bracket.within(goal):
                return bracket.scores, step
        if not direct:
            epsilon = max(CONTROL.decay_iterative * epsilon, CONTROL.floor)
        elif np.abs(problem.pairs.difference(move)).max() <= CONTROL.settled * epsilon:
            epsilon = max(CONTROL.decay * epsilon, CONTROL.floor)
    if not bracket.within(CONTROL.gap_accepted):
        raise ConvergenceError(
            f"margin: the sum of absolute residuals is {bracket.value:.6g}, its proven minimum {bracket.bound:.6g} "
            f"(margins in units of their median), after {CONTROL.max_steps} steps; expected within 1 %. Look for "
            "weights of very different size or long chains of single comparisons."
        )
    return bracket.scores, CONTROL.max_steps


def _narrow(bracket: _Bracket, problem: _Problem, scores: FloatArray, epsilon: float, *, goal: float) -> None:
    """Add the iterate and the exact fit near it to the bracket, and the dual bounds that belong to them."""
    path = problem.residual(scores)
    smoothed = smoothed_sign(path, epsilon)
    jumped = _jump(problem, scores, epsilon)
    beyond = problem.residual(jumped)
    bracket.offer(jumped, problem.objective(beyond))
    fitted = np.where(np.abs(beyond) > CONTROL.exact, np.sign(beyond), smoothed)
    bracket.bound = max(bracket.bound, _dual_bound(problem, beyond, fitted))
    if not bracket.within(goal):
        bracket.offer(scores, problem.objective(path))
        bracket.bound = max(bracket.bound, _dual_bound(problem, path, smoothed))


def _jump(problem: _Problem, scores: FloatArray, epsilon: float) -> FloatArray:
    """Follow redescending weights from `scores` as long as the objective falls; the last point reached."""
    start = best = problem.objective(problem.residual(scores))
    while epsilon > CONTROL.jump_floor:
        residual = problem.residual(scores)
        weight = problem.weight / (residual * residual + epsilon * epsilon)
        ahead = scores + problem.laplacian.solve(weight, weight * residual, tolerance=_JUMP_TOLERANCE)
        value = problem.objective(problem.residual(ahead))
        if value > best + CONTROL.exact * start:
            return scores
        scores, best, epsilon = ahead, min(best, value), CONTROL.jump_decay * epsilon
    return scores


def _dual_bound(problem: _Problem, residual: FloatArray, sign: FloatArray) -> float:
    """Lower bound on the minimum of the objective, from a flow that is feasible in the dual.

    The dual is  max sum margin * y  over flows y of zero divergence with |y| <= weight. In turn, a
    potential flow through the rows with slack removes the divergence of  y = weight * sign,  and y is
    clipped; what is left beyond the weights at the end shrinks all of y.
    """
    excess = np.inf
    for _ in range(CONTROL.dual_rounds):
        sign = np.clip(sign, -1.0, 1.0)
        slack = problem.weight * (1.0 - sign * sign + CONTROL.least_slack)
        potential = problem.laplacian.solve(slack, problem.weight * sign, tolerance=_FLOW_TOLERANCE)
        sign = sign - slack / problem.weight * problem.pairs.difference(potential)
        excess = float(np.abs(sign).max())
        if excess <= 1.0 + CONTROL.exact:
            break
    return float((problem.weight * sign) @ residual) / max(1.0, excess)

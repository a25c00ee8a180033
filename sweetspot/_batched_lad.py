"""Least absolute deviations for many small dense problems at once.

The iteration is that of `_lad`: reweighted least squares, jumps to exact fits, dual bounds. Arrays
carry the problem as their last axis, so each operation runs over a block of problems in cache, and a
16 x 16 elimination costs a microsecond instead of a library call. Every problem keeps its own
smoothing, scale and stopping test; none sees the others.
"""

from dataclasses import dataclass, field

import numpy as np

from sweetspot._checks import BoolArray, FloatArray, IntArray
from sweetspot._lad import CONTROL, smoothed_sign
from sweetspot.errors import ConvergenceError

# Above this size LAPACK beats elimination across problems.
_ELIMINATION_LIMIT = 40


@dataclass(frozen=True)
class DenseProblems:
    """b problems of n items; every matrix is (n, n, b).

    Attributes:
        margin: Margin of row item over column item, skew, typical size 1, 0 where not used.
        weight: Weight of each pair, symmetric, 0 where not used.
        free: 1.0 where neither item is the pinned one of its component, symmetric.
        pinned: The pinned item of each component (n, b).
    """

    margin: FloatArray
    weight: FloatArray
    free: FloatArray
    pinned: BoolArray

    def where(self, chosen: BoolArray) -> "DenseProblems":
        """The problems where `chosen` (b,) is True."""
        return DenseProblems(
            self.margin[..., chosen], self.weight[..., chosen], self.free[..., chosen], self.pinned[..., chosen]
        )

    def residual(self, scores: FloatArray) -> FloatArray:
        """margin - (s_row - s_column); meaningless where the weight is 0."""
        return self.margin - difference(scores)

    def objective(self, residual: FloatArray) -> FloatArray:
        """Sum over unordered pairs of weight * |residual| (b,)."""
        return 0.5 * np.einsum("ijb,ijb->b", self.weight, np.abs(residual))

    def solve(self, weight: FloatArray, flow: FloatArray) -> FloatArray:
        """Return x (n, b) with  sum_j weight_ij (x_i - x_j) = sum_j flow_ij,  0 at pinned items."""
        goal = np.where(self.pinned, 0.0, flow.sum(axis=1))
        degree = weight.sum(axis=1)
        matrix = -weight * self.free
        n = degree.shape[0]
        matrix[np.arange(n), np.arange(n)] = np.where(self.pinned | (degree <= 0), 1.0, degree)
        if n <= _ELIMINATION_LIMIT:
            return eliminate(matrix, goal)
        return np.linalg.solve(np.moveaxis(matrix, -1, 0), goal.T[:, :, None])[:, :, 0].T


@dataclass
class _Progress:
    """Best scores, objective and proven bound of every problem of a block, and the steps it took."""

    scores: FloatArray
    value: FloatArray
    bound: FloatArray
    steps: IntArray
    exact: FloatArray = field(repr=False)

    def offer(self, at: IntArray, scores: FloatArray, value: FloatArray) -> None:
        better = value < self.value[at]
        self.scores[:, at[better]], self.value[at[better]] = scores[:, better], value[better]

    def within(self, gap: float, at: IntArray) -> BoolArray:
        return self.value[at] - self.bound[at] <= gap * self.value[at] + self.exact[at]


def difference(scores: FloatArray) -> FloatArray:
    """s_row - s_column (n, n, b)."""
    return scores[:, None] - scores[None]


def eliminate(matrix: FloatArray, goal: FloatArray) -> FloatArray:
    """Solve b symmetric positive definite systems (n, n, b) by elimination without pivoting; overwrites both.

    A pivot that rounding made zero or negative pins its unknown at 0.
    """
    n = goal.shape[0]
    pivots = np.empty_like(goal)
    for k in range(n):
        pivots[k] = np.where(matrix[k, k] > 0, matrix[k, k], np.inf)
        ratio = matrix[k, k + 1 :] / pivots[k]
        matrix[k + 1 :, k + 1 :] -= ratio[:, None] * matrix[k, None, k + 1 :]
        goal[k + 1 :] -= ratio * goal[k]
    for k in range(n - 1, -1, -1):
        known = np.einsum("jb,jb->b", matrix[k, k + 1 :], goal[k + 1 :])
        goal[k] = (goal[k] - known) / pivots[k]
    return goal


def fit_batched(problems: DenseProblems, first_matrix: int) -> tuple[FloatArray, IntArray]:
    """Scores (n, b) that minimise each objective, 0 at pinned items, and the steps each took (b,).

    Raises:
        ConvergenceError: some objective is not proven within 1 % of its minimum; `first_matrix` is
            added to its index in the message.
    """
    n, n_problems = problems.pinned.shape
    nothing = CONTROL.exact_objective * problems.objective(problems.margin)
    infinite = np.full(n_problems, np.inf)
    progress = _Progress(np.zeros((n, n_problems)), infinite, np.zeros(n_problems), np.zeros(n_problems, int), nothing)
    active = np.arange(n_problems)
    scores, epsilon = np.zeros((n, n_problems)), np.ones(n_problems)
    next_check = CONTROL.first_check
    for step in range(1, CONTROL.max_steps + 1):
        residual = problems.residual(scores)
        weight = problems.weight / np.sqrt(residual * residual + epsilon * epsilon)
        move = problems.solve(weight, weight * residual)
        scores = scores + move
        progress.steps[active] = step
        if step in (next_check, CONTROL.max_steps):
            next_check = CONTROL.check_after(step)
            _narrow(progress, active, problems, scores, epsilon)
            left = ~progress.within(CONTROL.gap_direct, active)
            problems, active, scores = problems.where(left), active[left], scores[:, left]
            epsilon, move = epsilon[left], move[:, left]
            if active.size == 0:
                break
        settled = np.ptp(move, axis=0) <= CONTROL.settled * epsilon
        epsilon = np.where(settled, np.maximum(CONTROL.decay * epsilon, CONTROL.floor), epsilon)
    _require_proven(progress, active, first_matrix)
    return progress.scores, progress.steps


def _narrow(
    progress: _Progress, active: IntArray, problems: DenseProblems, scores: FloatArray, epsilon: FloatArray
) -> None:
    """Add the iterates and the exact fits near them to the progress, and the dual bounds that belong to them."""
    smoothed = smoothed_sign(problems.residual(scores), epsilon)
    jumped = _jump(problems, scores, epsilon)
    residual = problems.residual(jumped)
    progress.offer(active, jumped, problems.objective(residual))
    fitted = np.where(np.abs(residual) > CONTROL.exact, np.sign(residual), smoothed)
    bound = _dual_bound(problems, residual, fitted)
    progress.bound[active] = np.maximum(progress.bound[active], bound)
    open_ = ~progress.within(CONTROL.gap_direct, active)
    if open_.any():
        rest, at = problems.where(open_), active[open_]
        residual = rest.residual(scores[:, open_])
        progress.offer(at, scores[:, open_], rest.objective(residual))
        bound = _dual_bound(rest, residual, smoothed[..., open_])
        progress.bound[at] = np.maximum(progress.bound[at], bound)


def _jump(problems: DenseProblems, scores: FloatArray, epsilon: FloatArray) -> FloatArray:
    """Follow redescending weights as long as the objective falls, each problem on its own."""
    start = best = problems.objective(problems.residual(scores))
    going = epsilon > CONTROL.jump_floor
    while going.any():
        residual = problems.residual(scores)
        weight = problems.weight / (residual * residual + epsilon * epsilon)
        ahead = scores + problems.solve(weight, weight * residual)
        value = problems.objective(problems.residual(ahead))
        going = going & (value <= best + CONTROL.exact * start)
        scores, best = np.where(going, ahead, scores), np.where(going, np.minimum(best, value), best)
        epsilon = CONTROL.jump_decay * epsilon
        going = going & (epsilon > CONTROL.jump_floor)
    return scores


def _dual_bound(problems: DenseProblems, residual: FloatArray, sign: FloatArray) -> FloatArray:
    """Lower bound (b,) on each minimum, from a flow that is feasible in the dual; see `_lad`."""
    bound = np.zeros(residual.shape[-1])
    for _ in range(CONTROL.dual_rounds):
        sign = np.clip(sign, -1.0, 1.0)
        share = 1.0 - sign * sign + CONTROL.least_slack
        potential = problems.solve(problems.weight * share, problems.weight * sign)
        sign = sign - share * difference(potential)
        excess = np.where(problems.weight > 0, np.abs(sign), 0.0).max(axis=(0, 1))
        value = 0.5 * np.einsum("ijb,ijb->b", problems.weight * sign, residual) / np.maximum(1.0, excess)
        bound = np.maximum(bound, value)
        if excess.max() <= 1.0 + CONTROL.exact:
            break
    return bound


def _require_proven(progress: _Progress, active: IntArray, first_matrix: int) -> None:
    open_ = active[~progress.within(CONTROL.gap_accepted, active)]
    if open_.size:
        worst = int(open_[0])
        raise ConvergenceError(
            f"margins: {open_.size} matrices are not proven within 1 % of their minimum after {CONTROL.max_steps} "
            f"steps (first: matrix {first_matrix + worst}, objective {progress.value[worst]:.6g}, proven minimum "
            f"{progress.bound[worst]:.6g}, margins in units of their median). Look for weights of very different size."
        )

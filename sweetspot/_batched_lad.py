"""Least absolute deviations for many small dense problems at once.

The iteration is that of `_lad`: reweighted least squares, jumps to exact fits, dual bounds. Every
problem keeps its own smoothing, scale and stopping test and leaves the block when it is done; none
sees the others.
"""

from dataclasses import dataclass, field

import numpy as np

from sweetspot._checks import BoolArray, FloatArray, IntArray
from sweetspot._lad import CONTROL, smoothed_sign
from sweetspot.errors import ConvergenceError


@dataclass(frozen=True)
class DenseProblems:
    """b problems of n items; every matrix is (b, n, n).

    Attributes:
        margin: Margin of row item over column item, skew, typical size 1, 0 where not used.
        weight: Weight of each pair, symmetric, 0 where not used.
        free: 1.0 where neither item is the pinned one of its component, symmetric.
        pinned: The pinned item of each component (b, n).
    """

    margin: FloatArray
    weight: FloatArray
    free: FloatArray
    pinned: BoolArray

    def where(self, chosen: BoolArray) -> "DenseProblems":
        """The problems where `chosen` (b,) is True."""
        return DenseProblems(self.margin[chosen], self.weight[chosen], self.free[chosen], self.pinned[chosen])

    def residual(self, scores: FloatArray) -> FloatArray:
        """Margin - (s_row - s_column); meaningless where the weight is 0."""
        return self.margin - difference(scores)

    def objective(self, residual: FloatArray) -> FloatArray:
        """Sum over unordered pairs of weight * |residual| (b,)."""
        return 0.5 * np.einsum("bij,bij->b", self.weight, np.abs(residual))

    def solve(self, weight: FloatArray, flow: FloatArray) -> FloatArray:
        """Return x (b, n) with  sum_j weight_ij (x_i - x_j) = sum_j flow_ij,  0 at pinned items."""
        goal = np.where(self.pinned, 0.0, flow.sum(axis=2))
        degree = weight.sum(axis=2)
        matrix = -weight * self.free
        items = np.arange(degree.shape[1])
        matrix[:, items, items] = np.where(self.pinned | (degree <= 0), 1.0, degree)
        try:
            return np.asarray(np.linalg.solve(matrix, goal[:, :, None])[:, :, 0], dtype=np.float64)
        except np.linalg.LinAlgError:
            return np.array([_solve_or_stay(one, target) for one, target in zip(matrix, goal, strict=True)])


def _solve_or_stay(matrix: FloatArray, goal: FloatArray) -> FloatArray:
    """Solve one system; no move where its weights are too far apart for float64."""
    try:
        return np.asarray(np.linalg.solve(matrix, goal), dtype=np.float64)
    except np.linalg.LinAlgError:
        return np.zeros_like(goal)


def difference(scores: FloatArray) -> FloatArray:
    """s_row - s_column (b, n, n)."""
    return scores[:, :, None] - scores[:, None, :]


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
        self.scores[at[better]], self.value[at[better]] = scores[better], value[better]

    def within(self, gap: float, at: IntArray) -> BoolArray:
        return self.value[at] - self.bound[at] <= gap * self.value[at] + self.exact[at]


def fit_batched(problems: DenseProblems, first_matrix: int) -> tuple[FloatArray, IntArray]:
    """Scores (b, n) that minimise each objective, 0 at pinned items, and the steps each took (b,).

    Raises:
        ConvergenceError: some objective is not proven within 1 % of its minimum; `first_matrix` is
            added to its index in the message.
    """
    n_problems, n = problems.pinned.shape
    nothing = CONTROL.exact_objective * problems.objective(problems.margin)
    infinite = np.full(n_problems, np.inf)
    progress = _Progress(np.zeros((n_problems, n)), infinite, np.zeros(n_problems), np.zeros(n_problems, int), nothing)
    active = np.arange(n_problems)
    scores, epsilon = np.zeros((n_problems, n)), np.ones(n_problems)
    next_check = CONTROL.first_check
    for step in range(1, CONTROL.max_steps + 1):
        residual = problems.residual(scores)
        weight = problems.weight / np.sqrt(residual * residual + _per_matrix(epsilon * epsilon))
        move = problems.solve(weight, weight * residual)
        scores = scores + move
        progress.steps[active] = step
        if step in (next_check, CONTROL.max_steps):
            next_check = CONTROL.check_after(step)
            _narrow(progress, active, problems, scores, epsilon)
            left = ~progress.within(CONTROL.gap_direct, active)
            problems, active, scores = problems.where(left), active[left], scores[left]
            epsilon, move = epsilon[left], move[left]
            if active.size == 0:
                break
        settled = np.ptp(move, axis=1) <= CONTROL.settled * epsilon
        epsilon = np.where(settled, np.maximum(CONTROL.decay * epsilon, CONTROL.floor), epsilon)
    _require_proven(progress, active, first_matrix)
    return progress.scores, progress.steps


def _per_matrix(value: FloatArray) -> FloatArray:
    return value[:, None, None]


def _narrow(
    progress: _Progress, active: IntArray, problems: DenseProblems, scores: FloatArray, epsilon: FloatArray
) -> None:
    """Add the iterates and the exact fits near them to the progress, and the dual bounds that belong to them."""
    smoothed = smoothed_sign(problems.residual(scores), _per_matrix(epsilon))
    jumped = _jump(problems, scores, epsilon)
    residual = problems.residual(jumped)
    progress.offer(active, jumped, problems.objective(residual))
    fitted = np.where(np.abs(residual) > CONTROL.exact, np.sign(residual), smoothed)
    bound = _dual_bound(problems, residual, fitted)
    progress.bound[active] = np.maximum(progress.bound[active], bound)
    open_ = ~progress.within(CONTROL.gap_direct, active)
    if open_.any():
        rest, at = problems.where(open_), active[open_]
        residual = rest.residual(scores[open_])
        progress.offer(at, scores[open_], rest.objective(residual))
        bound = _dual_bound(rest, residual, smoothed[open_])
        progress.bound[at] = np.maximum(progress.bound[at], bound)


def _jump(problems: DenseProblems, scores: FloatArray, epsilon: FloatArray) -> FloatArray:
    """Follow redescending weights as long as the objective falls, each problem on its own."""
    start = best = problems.objective(problems.residual(scores))
    going = epsilon > CONTROL.jump_floor
    while going.any():
        residual = problems.residual(scores)
        weight = problems.weight / (residual * residual + _per_matrix(epsilon * epsilon))
        ahead = scores + problems.solve(weight, weight * residual)
        value = problems.objective(problems.residual(ahead))
        going = going & (value <= best + CONTROL.exact * start)
        scores, best = np.where(going[:, None], ahead, scores), np.where(going, np.minimum(best, value), best)
        epsilon = CONTROL.jump_decay * epsilon
        going = going & (epsilon > CONTROL.jump_floor)
    return scores


def _dual_bound(problems: DenseProblems, residual: FloatArray, sign: FloatArray) -> FloatArray:
    """Lower bound (b,) on each minimum, from a flow that is feasible in the dual; see `_lad`."""
    bound = np.zeros(residual.shape[0])
    for _ in range(CONTROL.dual_rounds):
        sign = np.clip(sign, -1.0, 1.0)
        share = 1.0 - sign * sign + CONTROL.least_slack
        potential = problems.solve(problems.weight * share, problems.weight * sign)
        sign = sign - share * difference(potential)
        excess = np.where(problems.weight > 0, np.abs(sign), 0.0).max(axis=(1, 2))
        value = 0.5 * np.einsum("bij,bij->b", problems.weight * sign, residual) / np.maximum(1.0, excess)
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

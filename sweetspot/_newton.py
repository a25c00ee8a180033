"""Truncated Newton minimisation for smooth objectives with many variables and cheap Hessian products."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sweetspot._checks import FloatArray

# Curved valleys, where the flip rate and the scale of two items trade off, need over a thousand short steps.
_MAX_STEPS, _CG_STEPS, _HALVINGS = 2000, 500, 40
_ROUNDING = 1e-12
_SUFFICIENT = 1e-4


@dataclass(frozen=True)
class Point:
    """An objective to be minimised, at one point.

    Attributes:
        value: Objective.
        gradient: Gradient (n,).
        diagonal: Positive approximation of the Hessian's diagonal (n,), used as preconditioner.
        curvature_times: Hessian times a direction (n,).
    """

    value: float
    gradient: FloatArray
    diagonal: FloatArray
    curvature_times: Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Minimum:
    """Where the iteration stopped."""

    x: FloatArray
    gradient_norm: float
    iterations: int


def minimise(at: Callable[[FloatArray], Point], x: FloatArray, *, tolerance: float, max_move: float) -> Minimum:
    """Minimise by Newton steps solved with conjugate gradients, from `x`, until max |gradient| <= tolerance.

    Args:
        at: Evaluates the objective.
        x: Start (n,).
        tolerance: Largest gradient entry at which to stop.
        max_move: Largest change of one variable in one step, which keeps steps out of flat regions.

    Returns:
        Minimum; the caller judges its `gradient_norm`, which is above `tolerance` where the objective
        cannot be lowered any further in floating point.

    References:
        Nocedal, Wright (2006), Numerical Optimization, line search Newton-CG.
    """
    here = at(x)
    for step in range(_MAX_STEPS):
        norm = float(np.abs(here.gradient).max(initial=0.0))
        if norm <= tolerance:
            return Minimum(x, norm, step)
        move = _newton_direction(here)
        move *= min(1.0, max_move / float(np.abs(move).max()))
        ahead, share = _descend(at, here, x, move)
        if ahead is None:
            return Minimum(x, norm, step)
        x, here = x + share * move, ahead
    return Minimum(x, float(np.abs(here.gradient).max(initial=0.0)), _MAX_STEPS)


def _newton_direction(here: Point) -> FloatArray:
    """Approximate solution of  H p = -gradient;  stops at the first direction of negative curvature."""
    residual = -here.gradient
    move = np.zeros_like(residual)
    scaled = residual / here.diagonal
    direction, energy = scaled, float(residual @ scaled)
    # The square root of the gradient as forcing term gives superlinear convergence.
    goal = energy * min(0.25, np.sqrt(energy)) ** 2
    for _ in range(_CG_STEPS):
        image = here.curvature_times(direction)
        bend = float(direction @ image)
        if bend <= 0:
            return move if move.any() else direction
        move = move + energy / bend * direction
        residual = residual - energy / bend * image
        scaled = residual / here.diagonal
        before, energy = energy, float(residual @ scaled)
        if energy <= goal:
            break
        direction = scaled + energy / before * direction
    return move


def _descend(
    at: Callable[[FloatArray], Point], here: Point, x: FloatArray, move: FloatArray
) -> tuple[Point | None, float]:
    """Halve the move until the objective falls enough; None when it cannot."""
    slope = float(here.gradient @ move)
    size = float(np.abs(here.gradient).max())
    share = 1.0
    for _ in range(_HALVINGS):
        ahead = at(x + share * move)
        if ahead.value <= here.value + _SUFFICIENT * share * slope:
            return ahead, share
        # Near the minimum the objective no longer resolves the step, but the gradient does.
        flat = ahead.value <= here.value + _ROUNDING * abs(here.value)
        if flat and float(np.abs(ahead.gradient).max()) < 0.9 * size:
            return ahead, share
        share *= 0.5
    return None, 0.0

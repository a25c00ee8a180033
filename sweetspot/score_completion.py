"""Scores that were never given: a table of prompts x models (or responses x raters) completed from what is there."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot._checks import FloatArray
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.rpca import shrink_singular_values
from sweetspot.validation._arguments import float_array, whole_number

PENALTIES = (1.0, 0.8, 0.65, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1)
"""Tried parts of the penalty at which no interaction is left; at 1 the completion is additive."""
HELD_OUT = 0.1
ROUNDS = 3
RIDGE = 1.0
ENOUGH = 1.01
"""Squared error, in that of the best, that is good enough to prefer a larger penalty."""
_MAX_STEPS = 2000
_TOLERANCE = 1e-4


@dataclass(frozen=True)
class ScoreCompletion:
    """A completed table; see `complete_scores`."""

    completed: FloatArray
    additive: FloatArray
    interaction: FloatArray
    penalty: float
    held_out_rmse: float
    additive_rmse: float
    warnings: tuple[str, ...]


def complete_scores(scores: ArrayLike, *, seed: int = 0) -> ScoreCompletion:
    """Complete a table of scores as row effect + column effect + low-rank interaction.

        min  sum over the scores (x_rc - m - a_r - b_c - L_rc)^2 / 2 + t ||L||_*

    The effects are least-squares means with one pseudo-score at the mean each. L is found by soft-impute; t is chosen
    by held-out scores among parts of the value at which L vanishes, so that where no interaction can be learnt the
    answer is the additive one.

    Args:
        scores: (R, K), NaN where none was given; any unit.
        seed: >= 0, of the held-out scores.

    Returns:
        ScoreCompletion: `completed (R, K)`, the given scores and the model elsewhere, kept within their range;
        `additive` and `interaction`, the two parts everywhere; `penalty`, the chosen part of the largest useful
        t, 1 for additive; `held_out_rmse`, `additive_rmse`: error on held-out scores of the choice and of the additive
        part. Warning codes: `empty_rows`, `empty_columns` (nothing given: the effect is 0).

    Raises:
        ContractError: fewer than 20 scores, or one that is not finite.
        ConvergenceError: soft-impute did not settle; look for scores of very different units in one table.

    References:
        Mazumder, Hastie, Tibshirani (2010), Spectral regularization algorithms for learning large incomplete matrices,
        JMLR 11.
    """
    table = float_array(scores, "scores", ndim=2, missing=True)
    given = ~np.isnan(table)
    if given.sum() < 20:
        raise ContractError(f"scores: {int(given.sum())} scores are there, expected at least 20.")
    rng = np.random.default_rng(whole_number(seed, "seed", at_least=0))
    errors = np.mean([_path_errors(table, given, rng.random(table.shape) < HELD_OUT) for _ in range(ROUNDS)], axis=0)
    best = int(np.argmax(errors <= ENOUGH * errors.min()))  # the simplest that does about as well
    additive = _additive(table, given)
    interaction = _path(table - additive, given, PENALTIES[: best + 1])[-1]
    filled = np.clip(additive + interaction, table[given].min(), table[given].max())
    return ScoreCompletion(
        completed=np.where(given, table, filled),
        additive=additive,
        interaction=interaction,
        penalty=PENALTIES[best],
        held_out_rmse=float(np.sqrt(errors[best])),
        additive_rmse=float(np.sqrt(errors[0])),
        warnings=_warnings(given),
    )


def _path_errors(table: FloatArray, given: NDArray[np.bool_], hidden: NDArray[np.bool_]) -> FloatArray:
    """Mean squared error on hidden scores for every penalty, (penalties,)."""
    left, asked = given & ~hidden, given & hidden
    additive = _additive(table, left)
    low, high = table[given].min(), table[given].max()
    return np.array(
        [
            np.mean((np.clip(additive + part, low, high)[asked] - table[asked]) ** 2) if asked.any() else 0.0
            for part in _path(table - additive, left, PENALTIES)
        ]
    )


def _additive(table: FloatArray, given: NDArray[np.bool_]) -> FloatArray:
    values = np.where(given, table, 0.0)
    mean = values.sum() / given.sum()
    rows, columns = np.zeros(table.shape[0]), np.zeros(table.shape[1])
    for _ in range(_MAX_STEPS):
        before = columns
        rows = (values - (mean + columns) * given).sum(axis=1) / (given.sum(axis=1) + RIDGE)
        columns = (values - (mean + rows[:, None]) * given).sum(axis=0) / (given.sum(axis=0) + RIDGE)
        if np.abs(columns - before).max() <= 1e-9 * max(1e-300, float(np.abs(columns).max())):
            break
    return mean + rows[:, None] + columns[None, :]


def _path(residual: FloatArray, given: NDArray[np.bool_], penalties: tuple[float, ...]) -> list[FloatArray]:
    """Soft-impute of the residuals for falling penalties, each started from the one before."""
    known = np.where(given, residual, 0.0)
    largest = float(np.linalg.norm(known, 2))
    current, found = np.zeros_like(known), []
    for part in penalties:
        current = current if part == 1.0 or largest == 0 else _soft_impute(known, given, part * largest, current)
        found.append(current)
    return found


def _soft_impute(known: FloatArray, given: NDArray[np.bool_], penalty: float, start: FloatArray) -> FloatArray:
    current, moved, size = start, 0.0, 0.0
    for _ in range(_MAX_STEPS):
        following = shrink_singular_values(np.where(given, known, current), penalty, keep=0)
        moved, size = float(np.linalg.norm(following - current)), float(np.linalg.norm(following))
        current = following
        if moved <= _TOLERANCE * max(size, 1e-300):
            return current
    raise ConvergenceError(f"complete_scores: still moving by {moved:.1e} at size {size:.1e} after {_MAX_STEPS} steps.")


def _warnings(given: NDArray[np.bool_]) -> tuple[str, ...]:
    empty = {"rows": int((~given.any(axis=1)).sum()), "columns": int((~given.any(axis=0)).sum())}
    return tuple(
        f"empty_{name}: {count} {name} have no score; their effect is 0" for name, count in empty.items() if count
    )

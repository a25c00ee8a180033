"""One raw score as a table may hold it: a number that can be reckoned with, or the reason why there is none."""

import math
from decimal import Decimal
from numbers import Real
from typing import Any, NamedTuple

LARGEST_SCORE = 1e30
"""A score of this size or more is a fault of its rater: no reward, logit or vote comes near it."""
OK, MISSING, NON_FINITE, TOO_LARGE, FAILED = "ok", "missing", "non_finite", "too_large", "failed"


class ScoreCell(NamedTuple):
    """A score and its status; `score` is a finite number if `status` is `ok`, else None."""

    score: float | None
    status: str


def score_cell(value: Any) -> ScoreCell:
    """Check one score: nothing but a finite number below 1e30 in size is ever `ok`.

    Args:
        value: what a rater returned for one response, or a cell of a source.

    Returns:
        With the status `missing` for None and NaN, `non_finite` for infinities, `too_large`, or `failed` for what is
        no real number. -0 becomes 0.
    """
    if value is None:
        return ScoreCell(None, MISSING)
    if not isinstance(value, Real | Decimal):
        return ScoreCell(None, FAILED)
    try:
        number = float(value)
    except OverflowError:  # an integer of more than 308 digits
        return ScoreCell(None, TOO_LARGE)
    except (TypeError, ValueError):  # a signalling NaN
        return ScoreCell(None, FAILED)
    if math.isnan(number):
        return ScoreCell(None, MISSING)
    if math.isinf(number):
        return ScoreCell(None, NON_FINITE)
    return ScoreCell(number + 0.0, OK) if abs(number) < LARGEST_SCORE else ScoreCell(None, TOO_LARGE)


def read_score(value: Any) -> ScoreCell:
    """Check a cell of a user's source, where a number may be written as text and an empty text is a missing score."""
    if not isinstance(value, str):
        return score_cell(value)
    if not value.strip():
        return ScoreCell(None, MISSING)
    try:
        return score_cell(float(value))
    except ValueError:
        return ScoreCell(None, FAILED)

"""What a rater returned, checked before anything is built on it."""

import math
from collections.abc import Sequence

from sweetspot.engines.protocols import RatedResponse, Rater
from sweetspot.errors import EngineError

SPOT_CHECKS = 3
TOLERANCE = 1e-3


def checked_scores(rater: Rater, items: Sequence[RatedResponse]) -> list[float]:
    """Score `items` and prove that the scores belong to them.

    A few items are scored again alone: a rater that permutes its outputs, or whose scores depend on
    what else is in the batch, gives itself away.

    Args:
        rater: any rater.
        items: responses to score.

    Returns:
        One score per item, in order, in the rater's unit; NaN and infinities are passed on for the caller to mark.

    Raises:
        EngineError: wrong number of scores, something other than numbers, or scores that move.
    """
    scores = _numbers(rater, items)
    step = max(1, len(items) // SPOT_CHECKS)
    for index in list(range(0, len(items), step))[:SPOT_CHECKS]:
        alone = _numbers(rater, [items[index]])[0]
        if not _same(alone, scores[index]):
            raise EngineError(
                f"rater {rater.name}: item {index} of {len(items)} scores {scores[index]:.6g} in its batch and "
                f"{alone:.6g} alone; its outputs are permuted or depend on padding, so none can be trusted"
            )
    return scores


def _numbers(rater: Rater, items: Sequence[RatedResponse]) -> list[float]:
    scores = list(rater.score(items))
    if len(scores) != len(items):
        raise EngineError(f"rater {rater.name}: {len(scores)} scores for {len(items)} responses; expected one each")
    try:
        return [float("nan") if score is None else float(score) for score in scores]
    except (TypeError, ValueError):
        kinds = sorted({type(score).__name__ for score in scores})
        raise EngineError(f"rater {rater.name}: returned {', '.join(kinds)}, expected numbers") from None


def _same(first: float, second: float) -> bool:
    if math.isfinite(first) and math.isfinite(second):
        return math.isclose(first, second, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return first == second or (math.isnan(first) and math.isnan(second))

"""What a rater returned, checked before anything is built on it."""

import math
from collections.abc import Sequence

from sweetspot import ids
from sweetspot.engines.protocols import RatedResponse, Rater
from sweetspot.errors import EngineError
from sweetspot.score_cells import FAILED, ScoreCell, score_cell

PARITY_SAMPLE = 8
"""Responses of a batch that are scored again alone."""
TOLERANCE = 1e-3
"""Of a rater that names none: in its unit, or of the range of the batch's scores where that is larger."""
ROUNDING = 1e-5
"""Share of a score's own size that single precision may cost on top."""


def checked_scores(rater: Rater, items: Sequence[RatedResponse]) -> list[ScoreCell]:
    """Score `items` and prove that the scores belong to them.

    A sample drawn by the hash of the texts is scored again, each response alone: a rater that permutes its outputs, or
    whose scores depend on what else is in the batch, gives itself away.

    Args:
        rater: any rater.
        items: responses to score.

    Returns:
        One cell per item, in order, in the rater's unit; see `score_cell` for what is masked.

    Raises:
        EngineError: wrong number of scores, something other than numbers, or scores that move.
    """
    together = _cells(rater, items)
    sample = _sample(items)
    alone = [_cells(rater, [items[index]])[0] for index in sample]
    tolerance = float(getattr(rater, "tolerance", TOLERANCE))
    pairs = [(index, together[index], cell) for index, cell in zip(sample, alone, strict=True)]
    # Not of the size of the scores: a rater far from zero could then permute whatever it likes.
    limit = tolerance * max(1.0, _range(together))
    moved = [pair for pair in pairs if not _same(pair[1], pair[2], limit)]
    if moved:
        index, batch, single = max(moved, key=lambda pair: _difference(pair[1], pair[2]))
        raise EngineError(
            f"rater {rater.name}: {len(moved)} of {len(pairs)} sampled responses score otherwise alone than in their "
            f"batch of {len(items)}, max |Δ| {_difference(batch, single):.6g}, tolerance {limit:g} (item {index}: "
            f"{_shown(batch)} in its batch, {_shown(single)} alone); its outputs are permuted or depend on padding, so "
            "none can be trusted"
        )
    return together


def _sample(items: Sequence[RatedResponse]) -> list[int]:
    """Places of different texts: equal ones score alike wherever they stand."""
    first = {item.response: index for index, item in reversed(list(enumerate(items)))}
    drawn = sorted(first, key=lambda text: ids.uniform(text, "parity"))[:PARITY_SAMPLE]
    return sorted(first[text] for text in drawn)


def _cells(rater: Rater, items: Sequence[RatedResponse]) -> list[ScoreCell]:
    returned = rater.score(items)
    try:
        scores = list(returned)
    except TypeError:
        raise EngineError(f"rater {rater.name}: returned {type(returned).__name__}, expected numbers") from None
    if len(scores) != len(items):
        raise EngineError(f"rater {rater.name}: {len(scores)} scores for {len(items)} responses; expected one each")
    cells = [score_cell(score) for score in scores]
    wrong = [index for index, cell in enumerate(cells) if cell.status == FAILED]
    if wrong:
        kinds = sorted({type(scores[index]).__name__ for index in wrong})
        raise EngineError(
            f"rater {rater.name}: returned {', '.join(kinds)}, expected numbers ({len(wrong)} of {len(scores)} scores, "
            f"first item {wrong[0]})"
        )
    return cells


def _range(cells: Sequence[ScoreCell]) -> float:
    scores = [cell.score for cell in cells if cell.score is not None]
    return max(scores) - min(scores) if scores else 0.0


def _same(first: ScoreCell, second: ScoreCell, limit: float) -> bool:
    if first.score is None or second.score is None:
        return first.status == second.status
    return abs(first.score - second.score) <= limit + ROUNDING * abs(first.score)


def _difference(first: ScoreCell, second: ScoreCell) -> float:
    return math.inf if first.score is None or second.score is None else abs(first.score - second.score)


def _shown(cell: ScoreCell) -> str:
    return cell.status if cell.score is None else f"{cell.score:.6g}"

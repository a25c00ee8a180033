"""Whether judges prefer what they are shown first."""

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import bars, interval, level_of, not_checked
from sweetspot.auditing.findings import Finding
from sweetspot.auditing.tables import Votes
from sweetspot.auditing.winners import TIE
from sweetspot.validation.bias import position_bias

TITLE = "Does the place on the screen decide?"
SHOWN = 20


def check(votes: Votes) -> tuple[Finding, ...]:
    """Share of votes for what was shown first, and how often a judge keeps its answer when the order is turned."""
    known = (votes.position >= 0) & votes.paired
    if not known.any():
        why = "The data does not say what was shown first, so a preference for a place cannot be seen."
        return (not_checked("position_bias", TITLE, why),)
    first = _first_won(votes)
    orders = _both_orders(votes, first)
    found = position_bias(*orders)
    decided = known & (first != 0.5)
    wins = int((first[decided] == 1).sum())
    rows = []
    for rater in np.argsort(-np.bincount(votes.rater[decided], minlength=len(votes.raters)), kind="stable")[:SHOWN]:
        mine = decided & (votes.rater == rater)
        if mine.any():
            rows.append((votes.raters[rater], int((first[mine] == 1).sum()), int(mine.sum())))
    rate = found.first_rate
    figures = {
        "first_shown_rate": rate,
        "judgements": found.judgements,
        "judged_in_both_orders": found.pairs,
        "same_winner_consistency": found.consistency if found.pairs else None,
    }
    kept = f" Turned round, a judge names the same winner in {found.consistency:.0%} of cases." if found.pairs else ""
    says = (
        f"What is shown first wins {rate:.1%} of {found.judgements} judgements (50% without a preference for a place)."
        f"{kept}"
    )
    level = level_of(abs(rate - 0.5), 0.03, 0.08) if found.biased else "ok"
    chart = bars(rows, "share of decided judgements won by what was shown first", reference=0.5)
    intervals = {"first_shown_rate": interval(wins, int(decided.sum()))} if decided.all() else {}
    return (Finding("position_bias", TITLE, level, says, figures, intervals, (chart,), (), found.warnings),)


def _first_won(votes: Votes) -> NDArray[np.float64]:
    """1 where what was shown first won, 0 the other, 0.5 a tie."""
    first = (votes.code == votes.position).astype(np.float64)
    return np.where(votes.code >= TIE, 0.5, first)


def _both_orders(votes: Votes, first: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Outcome of each (unit, judge) in either order, NaN where it was not judged so; the first of repeated votes."""
    known = np.flatnonzero(votes.position >= 0)
    key = votes.unit[known] * len(votes.raters) + votes.rater[known]
    _, place = np.unique(key, return_inverse=True)
    table = np.full((2, int(place.max(initial=-1)) + 1), np.nan)
    # Backwards, so that the first of several judgements is the one that stays.
    table[votes.position[known][::-1], place[::-1]] = first[known][::-1]
    return table[0], table[1]

"""Which annotators can be relied on, and how much of the estimated error is whose."""

import numpy as np

from sweetspot.auditing.checks._shares import interval, not_checked
from sweetspot.auditing.estimate import Estimate
from sweetspot.auditing.findings import Bars, Figure, Finding
from sweetspot.auditing.tables import Votes
from sweetspot.validation.aggregation import FEW_LABELS

TITLE = "Which annotators can be relied on?"
SHOWN = 25
WORST = 2
NAMED, LONG_NAME = 3, 60


def check(votes: Votes, found: Estimate) -> tuple[Finding, ...]:
    """Each annotator's estimated accuracy, from agreement with everyone else's answers."""
    if len(votes.raters) < 3:
        why = f"{len(votes.raters)} annotators: with fewer than three, an error cannot be told from the truth."
        return (not_checked("annotators", TITLE, why),)
    known = found.label[votes.unit] >= 0
    if not known.any():
        return (not_checked("annotators", TITLE, "No unit has an answer that the annotators can be compared with."),)
    n = len(votes.raters)
    given = np.bincount(votes.rater[known], votes.count[known], minlength=n).astype(np.int64)
    agree = votes.code == found.label[votes.unit]
    right = np.bincount(votes.rater[known & agree], votes.count[known & agree], minlength=n).astype(np.int64)
    enough = np.flatnonzero(given >= FEW_LABELS)
    if not enough.size:
        why = f"No annotator gave {FEW_LABELS} votes on decided units, too few to judge any of them."
        return (not_checked("annotators", TITLE, why),)
    accuracy = right / np.maximum(given, 1)
    chance = 1.0 / len(votes.classes)
    poor = [k for k in enough.tolist() if interval(int(right[k]), int(given[k]))[1] < _typical(accuracy, given, enough)]
    below = [k for k in enough.tolist() if interval(int(right[k]), int(given[k]))[1] < chance]
    wrong = (given - right).astype(np.float64)
    worst = np.argsort(-wrong, kind="stable")[:WORST]
    from_worst = float(wrong[worst].sum() / wrong.sum()) if wrong.sum() else 0.0
    shown = enough[np.argsort(accuracy[enough], kind="stable")][:SHOWN]
    chart = Bars(
        tuple(votes.raters[k] for k in shown),
        tuple(float(accuracy[k]) for k in shown),
        "share of votes that agree with the estimated answer, least first",
        tuple(interval(int(right[k]), int(given[k])) for k in shown),
        chance,
    )
    figures: dict[str, Figure] = {
        "annotators": n,
        "annotators_judged": len(enough),
        "unreliable_annotators": len(poor),
        "annotators_below_chance": len(below),
        "median_accuracy": float(np.median(accuracy[enough])),
        "lowest_accuracy": float(accuracy[enough].min()),
        "wrong_votes_share_of_worst_two": from_worst,
        "error_dependence": found.dependence,
    }
    if poor:
        names = [_shorten(votes.raters[k]) for k in sorted(poor, key=lambda k: (accuracy[k], k))]
        figures["least_reliable"] = ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")
    says = (
        f"{len(enough)} of {n} annotators gave enough votes to judge; the middle one agrees with the estimated answer "
        f"in {float(np.median(accuracy[enough])):.0%} of cases, the least in {float(accuracy[enough].min()):.0%}. "
        f"{len(poor)} {'is' if len(poor) == 1 else 'are'} clearly below the middle; {WORST} annotators cast "
        f"{from_worst:.0%} of all votes that seem wrong."
    )
    level = "bad" if below else "look" if poor else "ok"
    notes = (
        "own_vote_counts: an annotator's vote took part in the answer it is compared with, so accuracies are a little "
        "high",
    )
    return (Finding("annotators", TITLE, level, says, figures, {}, (chart,), (), notes),)


def _shorten(name: str) -> str:
    """A name of the data, short enough to stand in a sentence."""
    return name if len(name) <= LONG_NAME else f"{name[:LONG_NAME]}\N{HORIZONTAL ELLIPSIS}"


def _typical(accuracy: np.ndarray, given: np.ndarray, enough: np.ndarray) -> float:
    """Median accuracy less a tenth: what an annotator must clearly miss to be called unreliable."""
    return float(np.median(accuracy[enough])) - 0.1

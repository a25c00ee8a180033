"""Aggregated labels against known truth, where the data has some: accuracy, and whether the certainty is earned."""

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import interval, not_checked
from sweetspot.auditing.estimate import Estimate
from sweetspot.auditing.findings import Bars, Curves, Finding
from sweetspot.auditing.tables import Votes
from sweetspot.validation.aggregation import FEW_LABELS

TITLE = "Are the aggregated labels right?"
BINS = 8


def check(votes: Votes, found: Estimate) -> tuple[Finding, ...]:
    """Accuracy of the estimate, the majority and the best annotator; claimed against true certainty."""
    if votes.gold is None or not (votes.gold >= 0).any():
        return (
            not_checked("against_gold", TITLE, "No column holds true labels, so this rests on the estimate alone."),
        )
    there = votes.gold >= 0
    n = int(there.sum())
    counts = votes.counts()
    top = counts.max(axis=1, keepdims=True)
    winners = counts == top
    # A tied vote is right as often as a fair draw among the tied classes.
    majority = winners[np.arange(len(counts)), np.maximum(votes.gold, 0)] / winners.sum(axis=1)
    right = (found.label == votes.gold)[there]
    name, single, single_n = _best_annotator(votes)
    figures = {
        "units_with_truth": n,
        "estimate_accuracy": float(right.mean()),
        "majority_accuracy": float(majority[there].mean()),
        "best_annotator_accuracy": single,
        "best_annotator": name,
        "claimed_accuracy": float(1 - np.nanmean(found.error_probability[there])),
    }
    low, high = interval(int(right.sum()), n)
    helps = figures["estimate_accuracy"] >= figures["majority_accuracy"] - 1e-9
    # Guessing is among the classes that are ever true; nobody guesses a tie where none is.
    chance = 1.0 / max(2, np.unique(votes.gold[there]).size)
    level = "bad" if high < figures["claimed_accuracy"] or low <= chance else "ok" if helps else "look"
    verdict = (
        "It cannot be told from guessing: aggregation does not help here."
        if low <= chance
        else "It claims more certainty than it has."
        if high < figures["claimed_accuracy"]
        else "Its certainty is earned."
    )
    says = (
        f"Of {n} units with known truth the estimate is right in {figures['estimate_accuracy']:.1%}, a plain majority "
        "in "
        f"{figures['majority_accuracy']:.1%}, the best single annotator ({single_n} votes) in {single:.1%}. {verdict}"
    )
    chart = Bars(
        ("estimate", "majority", "best annotator"),
        (figures["estimate_accuracy"], figures["majority_accuracy"], single),
        "share of known labels that are right",
        reference=chance,
    )
    charts = (chart, _calibration(1 - found.error_probability[there], right))
    return (Finding("against_gold", TITLE, level, says, figures, {"estimate_accuracy": (low, high)}, charts),)


def _best_annotator(votes: Votes) -> tuple[str, float, int]:
    """Name, accuracy and votes of the most accurate annotator with enough votes on units of known truth."""
    assert votes.gold is not None
    known = votes.gold[votes.unit] >= 0
    n = len(votes.raters)
    given = np.bincount(votes.rater[known], minlength=n)
    right = np.bincount(votes.rater[known & (votes.code == votes.gold[votes.unit])], minlength=n)
    accuracy = np.where(given >= min(FEW_LABELS, int(given.max())), right / np.maximum(given, 1), -1.0)
    best = int(accuracy.argmax())
    return votes.raters[best], float(accuracy[best]), int(given[best])


def _calibration(claimed: NDArray[np.float64], right: NDArray[np.bool_]) -> Curves:
    """True share of right labels by claimed probability, in bins of equal size."""
    known = np.flatnonzero(~np.isnan(claimed))
    order = known[np.argsort(claimed[known], kind="stable")]
    parts = [part for part in np.array_split(order, min(BINS, max(1, order.size // 10))) if part.size]
    x = [float(claimed[part].mean()) for part in parts]
    keep = [k for k in range(len(x)) if k == 0 or x[k] > x[k - 1]]
    return Curves(
        tuple(x[k] for k in keep),
        {
            "right": tuple(float(right[parts[k]].mean()) for k in keep),
            "as claimed": tuple(x[k] for k in keep),
        },
        "claimed probability that the label is right",
        "share that is right",
    )

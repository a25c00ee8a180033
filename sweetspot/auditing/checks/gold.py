"""Aggregated labels against known truth, where the data has some: accuracy, and whether the certainty is earned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sweetspot.auditing.checks._shares import interval, not_checked
from sweetspot.auditing.estimate import Estimate
from sweetspot.auditing.findings import Bars, Curves, Figure, Finding, Level
from sweetspot.auditing.tables import Votes
from sweetspot.errors import ConvergenceError
from sweetspot.validation._votes import votes_of
from sweetspot.validation.aggregation import FEW_LABELS, FEW_RATERS, fit_votes

TITLE = "Are the aggregated labels right?"
BINS = 8
MOST_CLASSES = 100
_BY_LUCK = 0.05


@dataclass(frozen=True)
class _Best:
    """The most accurate annotator with enough votes on units of known truth.

    Attributes:
        name: of the annotator.
        accuracy: share of its votes there that are right.
        votes: how many those are.
        together: share of the aggregated labels of the same units that are right.
        beats: on those units it is right more often than the aggregated labels, beyond luck and beyond having been
            picked as the best of many.
    """

    name: str
    accuracy: float
    votes: int
    together: float
    beats: bool


def check(votes: Votes, found: Estimate) -> tuple[Finding, ...]:
    """Accuracy of the estimate, the majority, Dawid-Skene and the best annotator; claimed against true certainty."""
    if votes.gold is None or not (votes.gold >= 0).any():
        return (
            not_checked("against_gold", TITLE, "No column holds true labels, so this rests on the estimate alone."),
        )
    there = votes.gold >= 0
    n = int(there.sum())
    truths = np.unique(votes.gold[there], return_counts=True)[1]
    coin = 1.0 / max(2, truths.size)
    # A label left open is right as often as a guess among the classes that are ever true.
    right = np.where(found.label < 0, coin, found.label == votes.gold)
    best = _best_annotator(votes, right)
    accuracy, counted = float(right[there].mean()), float(_majority_right(votes)[there].mean())
    claimed = float(1 - np.nanmean(found.error_probability[there]))
    plain = _plain_model_right(votes, coin)
    figures: dict[str, Figure] = {
        "units_with_truth": n,
        "left_open": int(np.sum(found.label[there] < 0)),
        "estimate_accuracy": accuracy,
        "majority_accuracy": counted,
        **({} if plain is None else {"dawid_skene_accuracy": float(plain[there].mean())}),
        "best_annotator_accuracy": best.accuracy,
        "best_annotator": best.name,
        "estimate_accuracy_where_the_best_voted": best.together,
        "claimed_accuracy": claimed,
    }
    low, high = interval(round(float(right[there].sum())), n)
    # What naming the commonest class every time would reach, without any vote.
    blind = max(coin, float(truths.max()) / n)
    level: Level = "ok" if accuracy >= counted - 1e-9 and not best.beats else "look"
    if high < claimed or low <= blind:
        level = "bad"
    says = (
        f"Of {n} units with known truth the estimate is right in {accuracy:.1%}, a plain majority in {counted:.1%}, "
        f"the best single annotator in {best.accuracy:.1%} of its {best.votes} votes (where the estimate is right in "
        f"{best.together:.1%}). {_judgement(low <= blind, high < claimed, best)}"
    )
    compared = {
        "estimate": accuracy,
        "majority": counted,
        **({} if plain is None else {"Dawid-Skene without shrinkage": float(plain[there].mean())}),
        "best annotator, where it voted": best.accuracy,
        "estimate, where that one voted": best.together,
    }
    axis = "share of known labels that are right"
    chart = Bars(tuple(compared), tuple(compared.values()), axis, reference=blind)
    charts = (chart, _calibration(1 - found.error_probability[there], right[there]))
    return (Finding("against_gold", TITLE, level, says, figures, {"estimate_accuracy": (low, high)}, charts),)


def _judgement(blind: bool, boasts: bool, best: _Best) -> str:
    alone = f"{best.name} alone is right more often than all annotators together" if best.beats else ""
    if blind:
        because = f", and {alone}" if alone else ""
        return f"It cannot be told from guessing{because}: aggregation does not help here."
    certainty = "It claims more certainty than it has." if boasts else "Its certainty is earned."
    return f"{certainty} Still, {alone}: where it can be asked, ask it." if alone else certainty


def _majority_right(votes: Votes) -> NDArray[np.float64]:
    """Chance that the majority names the true class, (units,): a tied vote is a fair draw among the tied classes."""
    assert votes.gold is not None
    counts = votes.counts()
    winners = counts == counts.max(axis=1, keepdims=True)
    return winners[np.arange(len(counts)), np.maximum(votes.gold, 0)] / winners.sum(axis=1)


def _plain_model_right(votes: Votes, coin: float) -> NDArray[np.float64] | None:
    """Whether Dawid and Skene's own model names the true class, (units,); None where it cannot be fitted."""
    shape = (len(votes.units), len(votes.raters), len(votes.classes))
    if len(votes.raters) < FEW_RATERS or shape[2] > MOST_CLASSES:
        return None
    given = (np.repeat(column, votes.count) for column in (votes.unit, votes.rater, votes.code))
    try:
        label = fit_votes(votes_of(*given, shape=shape), max_iter=1000, tol=1e-4).label
    except ConvergenceError:
        return None
    return np.where(label < 0, coin, label == votes.gold)


def _best_annotator(votes: Votes, right: NDArray[np.float64]) -> _Best:
    """The most accurate annotator, compared with the aggregated labels of the units it voted on; right is (units,)."""
    assert votes.gold is not None
    known = votes.gold[votes.unit] >= 0
    n = len(votes.raters)
    given = np.bincount(votes.rater[known], minlength=n)
    hits = votes.code == votes.gold[votes.unit]
    enough = given >= min(FEW_LABELS, int(given.max()))
    share = np.bincount(votes.rater[known & hits], minlength=n) / np.maximum(given, 1)
    accuracy = np.where(enough, share, -1.0)
    best = int(accuracy.argmax())
    mine = known & (votes.rater == best)
    gain = hits[mine] - right[votes.unit[mine]]
    # Score test of paired differences; the bar is raised to that of the best of so many.
    bar = float(ndtri(1 - _BY_LUCK / int(enough.sum())))
    beats = float(gain.sum()) > bar * float(np.sqrt(np.sum(gain**2)))
    return _Best(
        votes.raters[best], float(accuracy[best]), int(given[best]), float(right[votes.unit[mine]].mean()), beats
    )


def _calibration(claimed: NDArray[np.float64], right: NDArray[np.float64]) -> Curves:
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

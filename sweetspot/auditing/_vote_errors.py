"""How likely each aggregated label of votes is wrong."""

import math

import numpy as np
from scipy.special import expit, log_expit

from sweetspot.auditing._estimate import SPARSE_PRIOR, Estimate, FloatArray, IntArray
from sweetspot.auditing.tables import Votes
from sweetspot.auditing.winners import TIE
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.ranking import flip_mixture
from sweetspot.validation._votes import Votes as CountedVotes
from sweetspot.validation._votes import votes_of
from sweetspot.validation.aggregation import FEW_LABELS, FEW_RATERS, fit_like_the_crowd

FEW_VOTES = 3
"""Votes per pair from which swapped pairs can be told from close ones (cleaning.md §2.6)."""
MANY_CLASSES = 100
RESAMPLES, RESAMPLED_RATERS, RESAMPLED_SHARE = 40, 200, 0.6
DEVIATIONS = (0.8, 1.2, 1.8, 2.5)
"""Log-odds by which a pair may differ from what the ranking of its items says; one of them is chosen by the votes.

Half-counted ties make votes look less spread than they are, so the votes alone would choose 0 and claim too much: on
49,315 real votes 0 claims 96 % and is right in 91 %, 0.8 claims 92 % and is right in 95 %.
"""
_NODES = np.linspace(-4.0, 4.0, 81)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()


def estimate_votes(votes: Votes) -> Estimate:
    """Aggregated labels of units and how likely each is wrong.

    Items that meet again and again, with three votes per pair or more: flip mixture. Three annotators or more that
    overlap: Dawid-Skene, each annotator drawn towards the crowd, its certainty lowered by how far the annotators err
    together. Else a majority, or nothing.
    """
    per_unit = votes.counts().sum(axis=1)
    median = float(np.median(per_unit[per_unit > 0])) if per_unit.any() else 0.0
    if _is_graph(votes):
        return _ranked(votes, median)
    raters = len(np.unique(votes.rater))
    if len(votes.classes) > MANY_CLASSES:
        return _majority(votes, f"{len(votes.classes)} classes are too many to learn who confuses which")
    if raters >= FEW_RATERS and median >= 2:
        try:
            return _modelled(votes)
        except ConvergenceError as error:
            return _majority(votes, f"Dawid-Skene did not settle ({str(error)[:80]})")
    if raters < 2:
        nothing = np.full(len(votes.units), np.nan)
        label = _most(votes.counts())
        return Estimate(nothing, label, "none", "there is one annotator and no second opinion, so no error can be seen")
    return _majority(votes, f"{raters} annotators and {median:g} votes per unit are too few to tell errors from truth")


def _is_graph(votes: Votes) -> bool:
    """Whether items meet often enough that other comparisons speak about a pair: twice as many pairs as items."""
    if not votes.paired or votes.items is None or len(votes) == 0:
        return False
    known = votes.items[:, 0] >= 0
    items = np.unique(_items_in_groups(votes)[known])
    return int(known.sum()) >= 2 * items.size


def _items_in_groups(votes: Votes) -> IntArray:
    """Numbers of the two items of each unit, apart in every group, (units, 2)."""
    assert votes.items is not None
    group = np.zeros(len(votes.units), dtype=np.int64) if votes.group is None else votes.group
    return votes.items + group[:, None] * len(votes.item_names)


def _ranked(votes: Votes, median: float) -> Estimate:
    counts = votes.counts().astype(np.float64)
    ties = counts[:, TIE] if counts.shape[1] > TIE else np.zeros(len(counts))
    wins = counts[:, :2] + 0.5 * ties[:, None]
    assert votes.items is not None
    used = (wins.sum(axis=1) > 0) & (votes.items[:, 0] >= 0)
    names, item = np.unique(_items_in_groups(votes)[used], return_inverse=True)
    ends = item.reshape(-1, 2)
    enough = median >= FEW_VOTES
    fit = flip_mixture(
        ends[:, 0],
        ends[:, 1],
        wins[used, 0],
        wins[used, 1],
        n_items=names.size,
        kind="pair" if enough else "vote",
        flip_prior=(1.0, 1.0) if enough else SPARSE_PRIOR,
    )
    better = _pair_posterior(fit.scores, ends, wins[used], fit.flip_rate if enough else 0.0)
    label, wrong = np.full(len(counts), -1, dtype=np.int64), np.full(len(counts), np.nan)
    label[used] = (better < 0.5).astype(np.int64)
    wrong[used] = np.minimum(better, 1 - better)
    kind = "swapped pairs" if enough else "swapped votes, with a prior: fewer than three votes per pair"
    why = (
        f"{names.size} items meet in {int(used.sum())} pairs with a median of {median:g} votes, so the other "
        f"comparisons of two items speak about theirs; flip rate {fit.flip_rate:.3f} of {kind}"
    )
    return Estimate(wrong, label, "flip_mixture", why, warnings=fit.warnings)


def _pair_posterior(scores: FloatArray, ends: IntArray, wins: FloatArray, flip_rate: float) -> FloatArray:
    """Probability that the first item of each pair is the better one, (E,), by the ranking and by the pair's own votes.

    A pair's log-odds are those of the ranking plus a deviation of its own, normal with standard deviation t; t is the
    one of `DEVIATIONS` under which the votes are most probable. The whole pair is swapped with the given flip rate.
    """
    d = scores[ends[:, 0]] - scores[ends[:, 1]]
    p = expit(d)
    information = wins.sum(axis=1) * p * (1 - p)
    per_item = np.bincount(ends.T.ravel(), np.tile(information, 2), minlength=len(scores)) + 1e-2
    spread = np.sqrt(1 / per_item[ends[:, 0]] + 1 / per_item[ends[:, 1]])
    best, chosen = -math.inf, np.full(len(d), 0.5)
    for deviation in DEVIATIONS:
        theta = d[:, None] + np.sqrt(spread**2 + deviation**2)[:, None] * _NODES[None, :]
        straight = wins[:, :1] * log_expit(theta) + wins[:, 1:] * log_expit(-theta)
        turned = wins[:, :1] * log_expit(-theta) + wins[:, 1:] * log_expit(theta)
        swapped = math.log(flip_rate) if flip_rate > 0 else -math.inf
        logs = np.logaddexp(math.log1p(-flip_rate) + straight, swapped + turned)
        top = logs.max(axis=1, keepdims=True)
        mass = np.exp(logs - top) * _WEIGHTS
        total = mass.sum(axis=1)
        fitness = float(np.sum(np.log(total) + top[:, 0]))
        if fitness > best:
            best, chosen = fitness, (mass * ((theta > 0) + 0.5 * (theta == 0))).sum(axis=1) / total
    return chosen


def _modelled(votes: Votes) -> Estimate:
    shape = (len(votes.units), len(votes.raters), len(votes.classes))
    unit, rater, code = (np.repeat(column, votes.count) for column in (votes.unit, votes.rater, votes.code))
    counted = votes_of(unit, rater, code, shape=shape)
    fit = fit_like_the_crowd(counted, max_iter=1000, tol=1e-4)
    dependence = error_correlation(fit.probability, fit.confusion, votes)
    probability = _resampled(fit.probability, (unit, rater, code), shape, dependence)
    wrong = 1.0 - probability.max(axis=1)
    wrong[~counted.labelled] = np.nan
    accuracy = np.einsum("k,rkk->r", fit.class_prior, fit.confusion)
    accuracy[counted.per_rater == 0] = np.nan
    why = (
        f"{len(votes.raters)} annotators overlap, so each one's error rate can be told from the others (Dawid-Skene, "
        "where an annotator with few votes counts as a typical one); their errors correlate by "
        f"{dependence:.2f}, which lowers the certainty of many equal votes"
    )
    few = int(np.sum(counted.per_rater < FEW_LABELS))
    notes = tuple(w for w in fit.warnings if not w.startswith("few_labels"))
    if few:
        notes += (f"few_labels: {few} of {len(votes.raters)} annotators gave fewer than {FEW_LABELS} votes",)
    doubt = _disagreement(fit.label, votes)
    return Estimate(wrong, fit.label, "dawid_skene", why, accuracy, dependence, (*notes, *doubt))


def _disagreement(label: IntArray, votes: Votes) -> tuple[str, ...]:
    """A warning where the model overrules many majorities: one of the two is wrong, and nothing here tells which."""
    majority = _most(votes.counts())
    both = (label >= 0) & (majority >= 0)
    share = float((label != majority)[both].mean()) if both.any() else 0.0
    if share <= 0.1:
        return ()
    return (
        f"estimators_disagree: the model overrules {share:.0%} of the majorities; only labels of known truth can tell "
        "which is right",
    )


def error_correlation(probability: FloatArray, confusion: FloatArray, votes: Votes) -> float:
    """How far raters err together, beyond what each one's error rate explains: 0 independent, 1 all as one.

    With r = [vote right] - [its chance under the model] and s its standard deviation, summed over pairs of votes of
    one unit:  sum r_k r_l / sum s_k s_l.

    Args:
        probability: (units, q) of the classes.
        confusion: (raters, q, q) [true, given].
        votes: the votes.
    """
    right = probability[votes.unit, votes.code]
    chance = np.einsum("vk,vk->v", probability[votes.unit], np.diagonal(confusion, axis1=1, axis2=2)[votes.rater])
    residual, spread = right - chance, np.sqrt(chance * np.maximum(1 - chance, 0.0))
    n = len(votes.units)

    def over_pairs(values: FloatArray) -> float:
        total = np.bincount(votes.unit, values, minlength=n)
        return float(np.sum(total**2) - np.sum(values**2))

    expected = over_pairs(spread)
    return min(1.0, max(0.0, over_pairs(residual) / expected)) if expected > 0 else 0.0


def _resampled(
    fitted: FloatArray, given: tuple[IntArray, IntArray, IntArray], shape: tuple[int, int, int], dependence: float
) -> FloatArray:
    """Class probabilities averaged over fits to parts of the annotators: another crowd might have said otherwise.

    Large crowds, where single annotators carry no weight, are not resampled.
    """
    unit, rater, code = given
    counted = votes_of(unit, rater, code, shape=shape)
    total = _tempered(fitted, counted, dependence)
    if shape[1] > RESAMPLED_RATERS:
        return total
    rng = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        # Without replacement: a rater that counts twice would look like two who always agree.
        stays = (rng.permutation(shape[1]) < max(FEW_RATERS, round(RESAMPLED_SHARE * shape[1])))[rater]
        again = votes_of(unit[stays], rater[stays], code[stays], shape=shape)
        try:
            fit = fit_like_the_crowd(again, max_iter=1000, tol=1e-3)
        except (ConvergenceError, ContractError):
            continue  # a draw of hardly any votes says nothing
        total = total + _tempered(fit.probability, again, dependence)
    return total / total.sum(axis=1, keepdims=True)


def _tempered(probability: FloatArray, counted: CountedVotes, dependence: float) -> FloatArray:
    """Probabilities as if m votes were worth m / (1 + (m - 1) dependence) independent ones."""
    votes = counted.counts.sum(axis=1)
    power = 1.0 / (1.0 + np.maximum(votes - 1, 0) * dependence)
    logs = np.log(np.maximum(probability, 1e-300)) * power[:, None]
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def _most(counts: IntArray) -> IntArray:
    """Commonest class, -1 for a tie or without votes."""
    top = counts.max(axis=1, keepdims=True)
    alone = (counts == top).sum(axis=1) == 1
    return np.where(alone & (top[:, 0] > 0), counts.argmax(axis=1), -1).astype(np.int64)


def _majority(votes: Votes, because: str) -> Estimate:
    counts = votes.counts()
    total = counts.sum(axis=1)
    # Laplace: a single vote is not certain, and a tie among two classes is an even chance.
    wrong = 1.0 - (counts.max(axis=1) + 1.0) / (total + counts.shape[1])
    wrong[total < 2] = np.nan
    return Estimate(wrong, _most(counts), "majority", f"majority of the votes: {because}")

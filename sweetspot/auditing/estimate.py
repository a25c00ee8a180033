"""How likely each label is wrong, by the estimator the data can support; a label nothing speaks about stays unknown."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from sweetspot.auditing.groups import text_ids
from sweetspot.auditing.tables import Pairs, Scores, Table, Votes
from sweetspot.auditing.winners import TIE
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.ranking import flip_mixture
from sweetspot.raters import consensus
from sweetspot.validation._votes import Votes as CountedVotes
from sweetspot.validation._votes import votes_of
from sweetspot.validation.aggregation import FEW_LABELS, FEW_RATERS, fit_votes

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEW_VOTES = 3
"""Votes per pair from which swapped pairs can be told from close ones (cleaning.md §2.6)."""
FEW_MARGINS = 30
RESAMPLES, RESAMPLED_RATERS = 40, 200
DEVIATIONS = (0.8, 1.2, 1.8, 2.5)
"""Log-odds by which a pair may differ from what the ranking of its items says; one of them is chosen by the votes.

Half-counted ties make votes look less spread than they are, so the votes alone would choose 0 and claim too much: on
49,315 real votes 0 claims 96 % and is right in 91 %, 0.8 claims 92 % and is right in 95 %.
"""
_NODES = np.linspace(-4.0, 4.0, 81)
_WEIGHTS = np.exp(-(_NODES**2) / 2) / np.exp(-(_NODES**2) / 2).sum()
SPARSE_PRIOR = (2.0, 8.0)
"""Beta prior on twice the flip rate where pairs have one or two votes: scale and flips are confounded there."""


@dataclass(frozen=True)
class Estimate:
    """Estimated label errors; n counts pairs, units or responses, like the table.

    Attributes:
        error_probability: (n,) probability that the label is wrong; NaN where nothing can be said.
        label: (n,) the better label: of votes a class, -1 unknown; of pairs 0 as given, 1 the other way round.
        method: `flip_mixture`, `dawid_skene`, `majority`, `margin_noise`, `cycles`, `consensus` or `none`.
        why: one sentence on why this method.
        rater_accuracy: (raters,) of votes, chance that a rater names the right class; NaN where unknown.
        dependence: of votes, correlation of the raters' errors that was allowed for, 0 to 1.
        warnings: `code: sentence`.
    """

    error_probability: FloatArray
    label: IntArray
    method: str
    why: str
    rater_accuracy: FloatArray | None = None
    dependence: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def error_rate(self) -> float | None:
        """Mean over the labels about which something can be said; None if there is none."""
        known = ~np.isnan(self.error_probability)
        return float(self.error_probability[known].mean()) if known.any() else None


def estimate(table: Table) -> Estimate:
    """Choose the estimator the data can support, and say so."""
    if isinstance(table, Votes):
        return estimate_votes(table)
    return estimate_scores(table) if isinstance(table, Scores) else estimate_pairs(table)


def estimate_votes(votes: Votes) -> Estimate:
    """Aggregated labels of units and how likely each is wrong.

    Items that meet again and again, with three votes per pair or more: flip mixture. Three annotators or more that
    overlap: Dawid-Skene, its certainty lowered by how far the annotators err together. Else a majority, or nothing.
    """
    per_unit = votes.counts().sum(axis=1)
    median = float(np.median(per_unit[per_unit > 0])) if per_unit.any() else 0.0
    if _is_graph(votes):
        return _ranked(votes, median)
    raters = len(np.unique(votes.rater))
    if raters >= FEW_RATERS and median >= 2:
        try:
            return _modelled(votes)
        except ConvergenceError as error:
            return _majority(votes, f"Dawid-Skene did not settle ({str(error)[:80]})")
    if raters < 2:
        nothing = np.full(len(votes.units), np.nan)
        label = _most(votes.counts())
        return Estimate(nothing, label, "none", "one annotator: no second opinion, so no error can be seen")
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
    per_item = sum(np.bincount(ends[:, k], information, minlength=len(scores)) for k in (0, 1)) + 1e-2
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
    fit = fit_votes(counted, max_iter=1000, tol=1e-4)
    dependence = error_correlation(fit.probability, fit.confusion, votes)
    probability = _resampled(fit.probability, (unit, rater, code), shape, dependence)
    wrong = 1.0 - probability.max(axis=1)
    wrong[~counted.labelled] = np.nan
    accuracy = np.einsum("k,rkk->r", fit.class_prior, fit.confusion)
    accuracy[counted.per_rater == 0] = np.nan
    why = (
        f"{len(votes.raters)} annotators overlap, so each one's error rate can be told from the others (Dawid-Skene); "
        f"their errors correlate by {dependence:.2f}, which lowers the certainty of many equal votes"
    )
    few = int(np.sum(counted.per_rater < FEW_LABELS))
    notes = tuple(w for w in fit.warnings if not w.startswith("few_labels"))
    if few:
        notes += (f"few_labels: {few} of {len(votes.raters)} annotators gave fewer than {FEW_LABELS} votes",)
    doubt = _disagreement(fit.label, votes)
    return Estimate(wrong, fit.label, "dawid_skene", why, accuracy, dependence, (*notes, *doubt))


def _disagreement(label: IntArray, votes: Votes) -> tuple[str, ...]:
    """A warning where the model overrules many majorities: then one of the two is wrong, and nothing here tells which."""
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
    residual, spread = right - chance, np.sqrt(chance * (1 - chance))
    n = len(votes.units)

    def over_pairs(values: FloatArray) -> float:
        total = np.bincount(votes.unit, values, minlength=n)
        return float(np.sum(total**2) - np.sum(values**2))

    expected = over_pairs(spread)
    return min(1.0, max(0.0, over_pairs(residual) / expected)) if expected > 0 else 0.0


def _resampled(
    fitted: FloatArray, given: tuple[IntArray, IntArray, IntArray], shape: tuple[int, int, int], dependence: float
) -> FloatArray:
    """Class probabilities averaged over fits to resampled annotators: another crowd might have said otherwise.

    Large crowds, where single annotators carry no weight, are not resampled.
    """
    unit, rater, code = given
    counted = votes_of(unit, rater, code, shape=shape)
    total = _tempered(fitted, counted, dependence)
    if shape[1] > RESAMPLED_RATERS:
        return total
    rng = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, shape[1], shape[1]), minlength=shape[1])[rater]
        again = votes_of(*(np.repeat(column, times) for column in (unit, rater, code)), shape=shape)
        try:
            fit = fit_votes(again, max_iter=1000, tol=1e-3)
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


def estimate_pairs(pairs: Pairs) -> Estimate:
    """How likely each preference is the wrong way round: by its scores, else by other rows of the same responses."""
    margin = pairs.margin()
    if margin is not None:
        known = ~np.isnan(margin) & ~pairs.tie
        if known.sum() >= FEW_MARGINS and np.any(margin[known] != 0):
            return _by_margins(margin, known)
    return _by_cycles(pairs)


def _by_margins(margin: FloatArray, known: NDArray[np.bool_]) -> Estimate:
    wrong = np.full(len(margin), np.nan)
    negative = float((margin[known] < 0).mean())
    if negative == 0.0:
        why = (
            "every score agrees with its label, so the labels were probably made from the scores and cannot be checked"
        )
        return Estimate(wrong, np.zeros(len(margin), dtype=np.int64), "none", why)
    noise, slope = fit_margin_noise(margin[known])
    d = slope * margin[known]
    log_odds = logit(noise) + log_expit(-d) - log_expit(d)
    wrong[known] = expit(log_odds)
    why = (
        "one label and two scores per row: a label is doubted as far as its score margin speaks against it "
        "(noise-aware "
        f"Bradley-Terry on the margins; {negative:.1%} of margins are negative, flip rate {noise:.3f})"
    )
    notes = (
        "scores_may_be_wrong: a doubted label may be right and its scores wrong; look at some rows before dropping",
    )
    return Estimate(wrong, (wrong > 0.5).astype(np.int64), "margin_noise", why, warnings=notes)


def fit_margin_noise(margin: FloatArray) -> tuple[float, float]:
    """Flip rate e and slope a that maximise  sum log[(1 - e) sigma(a m) + e sigma(-a m)] + log Beta(2 e; 2, 8).

    Args:
        margin: (n,) score of the labelled winner minus that of the loser, any unit, not all 0.

    Returns:
        e in (0, 1/2), and a >= 0 in 1 / unit of the margins.
    """
    scale = float(np.median(np.abs(margin[margin != 0])))
    m = margin / scale

    def cost(x: FloatArray) -> float:
        twice, a = expit(x[0]), math.exp(min(x[1], 50.0))
        e = min(max(twice / 2, 1e-12), 0.5 - 1e-12)
        mixture = np.logaddexp(math.log1p(-e) + log_expit(a * m), math.log(e) + log_expit(-a * m))
        return -float(mixture.sum()) - float(log_expit(x[0])) - 7.0 * float(log_expit(-x[0]))

    starts = [np.array([u, v]) for u in (-2.0, 0.0) for v in (0.0, 2.0)]
    fits = [minimize(cost, start, method="L-BFGS-B", bounds=[(-12, 12), (-8, 8)]) for start in starts]
    best = min(fits, key=lambda fit: float(fit.fun))
    return float(expit(best.x[0])) / 2, math.exp(float(best.x[1])) / scale


def _by_cycles(pairs: Pairs) -> Estimate:
    """Rows about which other rows of the same prompt and responses say something: repeated, or in a cycle."""
    nothing = np.full(len(pairs), np.nan)
    asis = np.zeros(len(pairs), dtype=np.int64)
    prompt, response = text_ids(pairs.keys[:, 0]), text_ids(pairs.keys[:, 1:].reshape(-1, 2)).reshape(-1, 2)
    ends = np.unique(
        np.concatenate([prompt * (response.max(initial=0) + 1) + side for side in response.T]), return_inverse=True
    )[1].reshape(2, -1)
    usable = (ends[0] != ends[1]) & ~pairs.tie
    rows = np.flatnonzero(usable)
    rows = rows[_in_cycles(ends[0, rows], ends[1, rows], int(ends.max(initial=0)) + 1)]
    if not rows.size:
        why = "one label per pair and neither scores nor repeated responses: nothing in the data speaks about an error"
        return Estimate(nothing, asis, "none", why)
    names, item = np.unique(ends[:, rows], return_inverse=True)
    item = item.reshape(2, -1)
    ones = np.ones(rows.size)
    try:
        fit = flip_mixture(item[0], item[1], ones, 0 * ones, n_items=names.size, kind="vote", flip_prior=SPARSE_PRIOR)
    except (ConvergenceError, ContractError) as error:
        return Estimate(nothing, asis, "none", f"rows repeat responses, but no ranking fits them: {str(error)[:100]}")
    d = fit.scores[item[0]] - fit.scores[item[1]]
    nothing[rows] = expit(-d)
    why = (
        f"{rows.size} rows compare responses that other rows compare too, so a ranking of them can speak against a "
        "label "
        "(noise-aware Bradley-Terry); nothing speaks about the other rows"
    )
    return Estimate(nothing, (nothing > 0.5).astype(np.int64), "cycles", why)


def _in_cycles(i: IntArray, j: IntArray, n: int) -> NDArray[np.bool_]:
    """Edges of components with at least as many edges as nodes, so with a cycle or a repeated edge."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not i.size:
        return np.empty(0, dtype=bool)
    component = connected_components(coo_array((np.ones(i.size), (i, j)), shape=(n, n)), directed=False)[1]
    edges = np.bincount(component[i], minlength=component.max() + 1)
    nodes = np.bincount(component, minlength=edges.size)
    return (edges >= nodes)[component[i]]


def estimate_scores(scores: Scores) -> Estimate:
    """Responses whose scores contradict each other: no probability, since nothing calibrates one."""
    fit = consensus(scores.score)
    raters = scores.score.shape[1]
    doubtful = fit.outlier.any(axis=1) | fit.disagreement
    why = (
        f"{raters} raters per response: robust consensus ({fit.method}); per response at most "
        f"{int(fit.correctable_per_row.max())} wrong scores can be corrected"
    )
    return Estimate(np.full(len(scores), np.nan), doubtful.astype(np.int64), "consensus", why, warnings=fit.warnings)

"""How likely each preference is the wrong way round."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.special import expit, log_expit, logit

from sweetspot.auditing._estimate import SPARSE_PRIOR, Estimate, FloatArray, IntArray
from sweetspot.auditing.groups import text_ids
from sweetspot.auditing.tables import Pairs
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.ranking import flip_mixture

FEW_MARGINS = 30


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
        f"(noise-aware Bradley-Terry on the margins; {negative:.1%} of margins are negative, flip rate {noise:.3f})"
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
        why = (
            "every pair was judged once, there are no scores, and no response meets enough others, so nothing in the "
            "data can contradict a label"
        )
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
        "label (noise-aware Bradley-Terry); nothing speaks about the other rows"
    )
    return Estimate(nothing, (nothing > 0.5).astype(np.int64), "cycles", why)


def _in_cycles(i: IntArray, j: IntArray, n: int) -> NDArray[np.bool_]:
    """Edges of components with at least as many edges as nodes, so with a cycle or a repeated edge."""
    if not i.size:
        return np.empty(0, dtype=bool)
    component = connected_components(coo_array((np.ones(i.size), (i, j)), shape=(n, n)), directed=False)[1]
    edges = np.bincount(component[i], minlength=component.max() + 1)
    nodes = np.bincount(component, minlength=edges.size)
    return (edges >= nodes)[component[i]]

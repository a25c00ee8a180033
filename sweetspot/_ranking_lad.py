"""Ranking of a pair list by least absolute deviations."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sweetspot._checks import FloatArray, as_floats, as_nonnegative, as_scalar, require_shape
from sweetspot._graph import Pairs, checked_pairs, comparison_graph
from sweetspot._lad import fit_lad
from sweetspot._pair_ranking import PairRanking, default_threshold, doubtful_warning, flagged_rows, share_beyond


@dataclass(frozen=True, kw_only=True)
class LadResult(PairRanking):
    """Ranking by least absolute deviations.

    Attributes:
        residual: margin - (s_i - s_j) of every row (E,), rows of weight 0 included, unit logit.
        threshold: |residual| beyond which a row stands against the fit.
        corrupted_share: Share of each item's rows beyond the threshold (n,); 0 without rows.
    """

    residual: FloatArray
    threshold: float
    corrupted_share: FloatArray


def lad(
    i: ArrayLike,
    j: ArrayLike,
    margin: ArrayLike,
    *,
    n_items: int,
    weight: ArrayLike | None = None,
    threshold: float | None = None,
) -> LadResult:
    """Rank items from margins of which a large minority may be arbitrarily wrong.

    Minimises  sum_e weight_e * |margin_e - (s_i - s_j)|.  Without noise the scores are exact for every
    value of the wrong margins if and only if, for every set of items, fewer wrong than right
    comparisons leave the set; in particular each item needs a strict majority of right ones.

    Args:
        i: Item of each row (E,), 0 to n_items - 1. E = 0 is allowed; so are several rows per pair.
        j: The item it is compared with (E,), never the same.
        margin: How much i is better than j (E,), unit logit, finite.
        n_items: Number of items n, >= 1.
        weight: Weight of each row (E,), >= 0; 0 removes a row from the fit, not from the result. None
            means 1. For win rates of unequal vote counts K use K p (1 - p).
        threshold: |residual| beyond which a row stands against the fit, > 0. None means
            max(1e-3, 3 * 1.4826 * median |residual|) over rows of weight > 0.

    Returns:
        LadResult. `corrupted` is |residual| > threshold, but never for a row that touches an
        unverifiable item or lies in a component of fewer than 8 items; `flip_rate` is its mean.
        Warning codes: `disconnected`, `unverifiable`, `few_items`, `majority_doubtful`.

    Raises:
        ContractError: an index, margin, weight or the threshold is out of range, or lengths differ.
        ConvergenceError: the objective is not proven within 1 % of its minimum.

    References:
        Jiang, Lim, Yao, Ye (2011), Statistical ranking and combinatorial Hodge theory, for the l1
        variant of HodgeRank.

    Notes:
        The minimiser need not be unique; one of them is returned. Each of several rows of one pair
        is a term of its own. The margins are brought to a median size of 1 before smoothing, so
        scores scale with the margins.
    """
    pairs = checked_pairs(i, j, n_items)
    margins = as_floats("margin", margin)
    require_shape("margin", margins, pairs.first.shape)
    weights = np.ones(len(pairs)) if weight is None else as_nonnegative("weight", weight)
    require_shape("weight", weights, pairs.first.shape)
    limit = None if threshold is None else as_scalar("threshold", threshold, low=0.0, open_low=True)
    return _rank(pairs, margins, weights, limit)


def _rank(pairs: Pairs, margins: FloatArray, weights: FloatArray, limit: float | None) -> LadResult:
    """Fit the rows of positive weight, then judge all rows by the fit."""
    used = weights > 0
    fitted = pairs.where(used)
    graph = comparison_graph(fitted)
    scores, steps = fit_lad(fitted, graph, margins[used], weights[used])
    residual = margins - pairs.difference(scores)
    limit = default_threshold(residual[used]) if limit is None else limit
    beyond = np.abs(residual) > limit
    corrupted = flagged_rows(pairs, graph, beyond)
    corrupted_share = share_beyond(pairs, beyond)
    return LadResult(
        scores=scores,
        component=graph.component,
        unverifiable=graph.unverifiable,
        corrupted=corrupted,
        flip_rate=float(corrupted.mean()) if corrupted.size else 0.0,
        iterations=steps,
        warnings=graph.warnings() + doubtful_warning(corrupted_share),
        residual=residual,
        threshold=limit,
        corrupted_share=corrupted_share,
    )

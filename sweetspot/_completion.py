"""Completion and denoising of a preference matrix: M = L + S on the observed entries."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sweetspot._checks import BoolArray, FloatArray, IntArray, as_count, as_scalar, require_choice
from sweetspot._completion_fits import (
    METHODS,
    RPCA_METHODS,
    RPCA_TIE,
    TIE,
    CompletionTask,
    Fit,
    fit_auto,
    fit_method,
    mean_margins,
    numerical_rank,
    require_possible,
)
from sweetspot._graph import comparison_graph
from sweetspot._pair_ranking import default_threshold, flagged_rows, share_beyond
from sweetspot._preference_matrix import LINKS, read_matrix
from sweetspot._selection import median

_CROSS_CHECK_LIMIT = 0.02


@dataclass(frozen=True)
class CompletionResult:
    """A preference matrix of n items, completed and denoised.

    Attributes:
        preference: P(i beats j) (n, n); P + P^T = 1, diagonal 1/2; 1/2 across components.
        margin: Completed, denoised L (n, n), link units, skew; 0 across components.
        known: True within a component and on the diagonal (n, n); elsewhere nothing is known.
        corruption: M - L on observed entries, 0 elsewhere (n, n), skew.
        flagged: Entries taken to be wrong (n, n), symmetric.
        scores: Row mean of L over the item's component (n,), link units, mean 0 per component.
        ranking: Item indices (n,), component by component, best first.
        corrupted_share: Share of each item's observed pairs with |corruption| > threshold (n,).
        flip_rate: Share of observed pairs that are flagged; the estimated eps for `flip_mixture`.
        component: Component of each item (n,), numbered by smallest item index.
        unverifiable: Items compared with at most two others (n,).
        threshold: |corruption| beyond which an entry stands against the fit.
        method: The method used.
        rank: Numerical rank of L.
        identifiable: False when the corruption is more than the method can separate: L of robust PCA has a
            rank beyond the expected one plus 2, or `lad` warns `majority_doubtful`.
        cross_check: Share of pairs ordered differently by `lad` and `pssv`; None if not computed.
        warnings: Each starts with a code and a colon.
    """

    preference: FloatArray
    margin: FloatArray
    known: BoolArray
    corruption: FloatArray
    flagged: BoolArray
    scores: FloatArray
    ranking: IntArray
    corrupted_share: FloatArray
    flip_rate: float
    component: IntArray
    unverifiable: BoolArray
    threshold: float
    method: str
    rank: int
    identifiable: bool
    cross_check: float | None
    warnings: tuple[str, ...]


def complete(
    matrix: ArrayLike,
    *,
    kind: str,
    method: str = "auto",
    link: str = "logit",
    votes: ArrayLike | None = None,
    rank: int = 2,
    threshold: float | None = None,
) -> CompletionResult:
    """Complete and denoise a preference matrix: find M = L + S with L from few parameters and S sparse.

    Args:
        matrix: Comparisons (n, n); the diagonal is ignored. Its meaning is `kind`.
        kind: `votes`: times i beat j, unobserved where both directions are 0 or NaN. `win_rate`:
            P(i beats j) in [0, 1], NaN missing, both directions adding up to 1. `margin`: link units,
            NaN missing, skew. A cell given in one direction is mirrored.
        method: `lad`, `pcp`, `pssv`, `two_stage` (completion, then PCP: kept for comparison, it smears
            the corruption), `flip_mixture` or `bradley_terry` (votes only), or `auto`: votes go to
            `flip_mixture` (median of 3 or more per pair), `bradley_terry` (one each) or `lad`; rates and
            margins to `lad`, or to `pssv` of rank 4 where scores cannot explain them and that can.
        link: `logit` (Bradley-Terry) or `probit` (Thurstone).
        votes: Number of votes behind each rate or margin, scalar or symmetric (n, n), > 0. Rates are then
            smoothed, (wins + 1/2) / (K + 1), and `lad` weighs by K p (1 - p) where K differs.
        rank: Rank of L expected by the robust PCA methods, >= 1, even for `pssv`; 2 for Bradley-Terry.
        threshold: |corruption| beyond which an entry stands against the fit, > 0; None as in `lad`.

    Returns:
        CompletionResult. Entries are flagged as rows are in `lad`; by `flip_mixture` where it takes a
        pair to be swapped, in components of at least 4 items; never by `bradley_terry`. Warning codes:
        those of the method, `disconnected`, `unverifiable`, `few_items`, `one_vote`, `two_stage`,
        `beyond_identifiable`, `estimators_disagree` (`cross_check` > 0.02).

    Raises:
        ContractError: bad input; no observed pair; a rate of 0 or 1 without `votes`; a vote method
            without votes; robust PCA of single votes, whose matrix of signs has full rank.
        ConvergenceError: the method did not converge.

    References:
        Nguyen, Naresh, Tulabandhula (2024), CURATRON, arXiv:2403.02745, for the task.
        Rajkumar, Agarwal (2016), for preference matrices of low rank under a link.

    Notes:
        The paper completes first and then runs robust PCA (`two_stage`). Here observed and missing
        entries are treated in one stage, and Bradley-Terry data by `lad`, which knows the column
        space of L. The vote methods work in logits; with `probit` their scores are divided by 1.702.
        `ranking` takes scores closer than 1e-9 (robust PCA: 1e-6) of the median |margin| as ties and
        breaks them by index; for rank above 2 it sorts by Copeland wins of L, then score.
    """
    require_choice("method", method, METHODS)
    expected = as_count("rank", rank, low=1)
    limit = None if threshold is None else as_scalar("threshold", threshold, low=0.0, open_low=True)
    data = read_matrix(matrix, kind=kind, link=link, votes=votes)
    task = CompletionTask(data, comparison_graph(data.pairs), expected, limit)
    require_possible(task, method)
    fit, cross_check = fit_auto(task) if method == "auto" else (fit_method(task, method), None)
    return _describe(task, fit, cross_check)


def _describe(task: CompletionTask, fit: Fit, cross_check: float | None) -> CompletionResult:
    """Everything the result reports, from L."""
    pairs, graph = task.data.pairs, task.graph
    corruption = task.corruption(fit.margin)
    limit = default_threshold(corruption) if task.threshold is None else task.threshold
    beyond = np.abs(corruption) > limit
    flagged = flagged_rows(pairs, graph, beyond) if fit.flagged is None else fit.flagged
    corrupted_share = share_beyond(pairs, beyond)
    rank = numerical_rank(fit.margin)
    scores = mean_margins(task, fit.margin)
    return CompletionResult(
        preference=LINKS[task.data.link][1](fit.margin),
        margin=fit.margin,
        known=task.known,
        corruption=task.skew(corruption),
        flagged=task.symmetric(flagged),
        scores=scores,
        ranking=_ranking(task, fit, scores, rank),
        corrupted_share=corrupted_share,
        flip_rate=float(flagged.mean()) if fit.flip_rate is None else fit.flip_rate,
        component=graph.component,
        unverifiable=graph.unverifiable,
        threshold=limit,
        method=fit.method,
        rank=rank,
        identifiable=fit.identifiable,
        cross_check=cross_check,
        warnings=fit.warnings + _warnings(task, rank, fit.identifiable, cross_check),
    )


def _ranking(task: CompletionTask, fit: Fit, scores: FloatArray, rank: int) -> IntArray:
    """Items by component, then (for rank > 2) Copeland wins, then score, then index."""
    size = np.abs(fit.margin[np.triu(task.known, 1)])
    tie = (RPCA_TIE if fit.method in RPCA_METHODS else TIE) * (median(size) or float(size.max()) or 1.0)
    wins = np.count_nonzero(fit.margin > tie, axis=1) if rank > 2 else np.zeros(task.n_items)
    return np.lexsort((np.arange(task.n_items), -np.round(scores / tie), -wins, task.graph.component))


def _warnings(task: CompletionTask, rank: int, identifiable: bool, cross_check: float | None) -> tuple[str, ...]:
    found = []
    if task.data.one_vote:
        found.append("one_vote: every pair has one vote; margins carry no information beyond the sign")
    if not identifiable:
        found.append(
            f"beyond_identifiable: L has rank {rank} and the corruption is more than the method can separate; do not "
            "use the flags to correct entries"
        )
    if cross_check is not None and cross_check > _CROSS_CHECK_LIMIT:
        found.append(
            f"estimators_disagree: lad and pssv order {cross_check:.1%} of the pairs differently, expected at most "
            f"{_CROSS_CHECK_LIMIT:.0%}; the corruption is near the limit, or the preferences are not transitive"
        )
    return tuple(found)

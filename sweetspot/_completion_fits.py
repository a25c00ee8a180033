"""The methods behind `complete`: each turns the observed pairs of a matrix into one margin matrix L."""

from dataclasses import dataclass

import numpy as np

from sweetspot._checks import BoolArray, FloatArray
from sweetspot._graph import ComparisonGraph
from sweetspot._pair_ranking import doubtful_warning
from sweetspot._preference_matrix import LOGITS_PER_UNIT, ObservedPairs
from sweetspot._ranking_lad import lad
from sweetspot._ranking_votes import bradley_terry, flip_mixture
from sweetspot._selection import median
from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.rpca import pcp, pssv

METHODS = ("auto", "lad", "pcp", "pssv", "two_stage", "flip_mixture", "bradley_terry")
RPCA_METHODS = ("pcp", "pssv", "two_stage")
# Scores closer than this share of the typical margin are equal; robust PCA stops at 1e-7 of the matrix.
TIE, RPCA_TIE = 1e-9, 1e-6

_VOTE_METHODS = ("flip_mixture", "bradley_terry")
_RANK_SLACK, _RANK_TOLERANCE = 2, 1e-6
_IMPUTE_STEPS, _IMPUTE_TOLERANCE = 500, 1e-6
# When a fit of rank 4 explains a matrix so much better than scores do, preferences are not transitive.
_GENERAL_RANK, _GENERAL_MIN_ITEMS, _GENERAL_GAIN, _EXACT_MEDIAN = 4, 16, 0.1, 1e-3
_CROSS_CHECK_MAX_ITEMS = 200
_MIXTURE_VOTES = 3
# Two comparisons of each of three items cannot show which one was swapped.
_MIN_ITEMS_TO_SEE_A_SWAP = 4


@dataclass(frozen=True)
class Fit:
    """What one method found: L, whether it could separate the corruption, and what only it knows."""

    method: str
    margin: FloatArray
    warnings: tuple[str, ...]
    identifiable: bool
    flip_rate: float | None = None
    flagged: BoolArray | None = None


@dataclass(frozen=True)
class CompletionTask:
    """A checked completion task."""

    data: ObservedPairs
    graph: ComparisonGraph
    rank: int
    threshold: float | None

    @property
    def matrix(self) -> FloatArray:
        """M (n, n), 0 where not observed."""
        return self.skew(self.data.margin)

    @property
    def observed(self) -> BoolArray:
        """Mask of observed entries (n, n); the diagonal counts as an observed 0."""
        return self.symmetric(np.ones(len(self.data.pairs), dtype=np.bool_)) | np.eye(self.n_items, dtype=np.bool_)

    @property
    def known(self) -> BoolArray:
        """Pairs of items of one component (n, n)."""
        return self.graph.component[:, None] == self.graph.component[None, :]

    @property
    def n_items(self) -> int:
        return self.data.pairs.n_items

    def skew(self, values: FloatArray) -> FloatArray:
        """Matrix (n, n) with `values` at the observed pairs and their negatives mirrored."""
        matrix = np.zeros((self.n_items, self.n_items))
        matrix[self.data.pairs.first, self.data.pairs.second] = values
        return matrix - matrix.T

    def symmetric(self, flags: BoolArray) -> BoolArray:
        """Matrix (n, n) with `flags` at the observed pairs and mirrored."""
        matrix = np.zeros((self.n_items, self.n_items), dtype=np.bool_)
        matrix[self.data.pairs.first, self.data.pairs.second] = flags
        return matrix | matrix.T

    def within_components(self, scores: FloatArray) -> FloatArray:
        """s_i - s_j within components, 0 across (n, n)."""
        return np.where(self.known, scores[:, None] - scores[None, :], 0.0)

    def corruption(self, margin: FloatArray) -> FloatArray:
        """M - L at the observed pairs (P,)."""
        return self.data.margin - margin[self.data.pairs.first, self.data.pairs.second]


def require_possible(task: CompletionTask, method: str) -> None:
    """Raise where the data cannot support the method."""
    if method in _VOTE_METHODS and task.data.wins_low is None:
        raise ContractError(
            f"method: got {method!r} without vote counts, expected kind='votes'. Use method='lad' "
            "for rates and margins."
        )
    if method in RPCA_METHODS and task.data.one_vote:
        raise ContractError(
            f"method: got {method!r}, but each of the {len(task.data.pairs)} observed pairs has exactly one vote; a "
            "matrix of signs has full rank and nothing can be separated. Use method='bradley_terry'."
        )
    if method == "pssv" and (task.rank % 2 or task.rank > task.n_items):
        raise ContractError(
            f"rank: got {task.rank} for method 'pssv', expected an even number up to n = {task.n_items}: singular "
            "values of a skew-symmetric matrix come in pairs."
        )


def fit_method(task: CompletionTask, method: str) -> Fit:
    if method in RPCA_METHODS:
        return _fit_rpca(task, method, task.rank)
    if method == "lad":
        return _fit_lad(task)
    return _fit_votes(task, method)


def _fit_lad(task: CompletionTask) -> Fit:
    pairs = task.data.pairs
    found = lad(
        pairs.first,
        pairs.second,
        task.data.margin,
        n_items=task.n_items,
        weight=task.data.weight,
        threshold=task.threshold,
    )
    identifiable = not doubtful_warning(found.corrupted_share)
    return Fit("lad", task.within_components(found.scores), found.warnings, identifiable)


def _fit_votes(task: CompletionTask, method: str) -> Fit:
    """Scores from the counts themselves, brought from logits to the unit of the link."""
    pairs, low, high = task.data.pairs, task.data.wins_low, task.data.wins_high
    if low is None or high is None:
        raise ContractError(f"method: got {method!r}, expected kind='votes'. Use method='lad'.")
    unit = LOGITS_PER_UNIT[task.data.link]
    if method == "bradley_terry":
        found = bradley_terry(pairs.first, pairs.second, low, high, n_items=task.n_items)
        margin = task.within_components(found.scores / unit)
        return Fit(method, margin, found.warnings, True, 0.0, np.zeros(len(pairs), dtype=np.bool_))
    mixture = flip_mixture(pairs.first, pairs.second, low, high, n_items=task.n_items)
    margin = task.within_components(mixture.scores / unit)
    swapped = mixture.corrupted & (task.graph.size[pairs.first] >= _MIN_ITEMS_TO_SEE_A_SWAP)
    return Fit(method, margin, mixture.warnings, True, mixture.flip_rate, swapped)


def _fit_rpca(task: CompletionTask, method: str, rank: int) -> Fit:
    warnings = task.graph.warnings()
    if method == "pssv":
        low_rank = pssv(task.matrix, rank, task.observed).low_rank
    elif method == "pcp":
        low_rank = pcp(task.matrix, task.observed, expected_rank=rank).low_rank
    else:
        filled = hard_impute(task.matrix, task.observed, rank=rank)
        low_rank = pcp(filled, expected_rank=rank).low_rank
        warnings += (
            "two_stage: completion before robust PCA spreads the corruption over the filled entries; kept for "
            "comparison, use method='auto'",
        )
    margin = np.where(task.known, 0.5 * low_rank - 0.5 * low_rank.T, 0.0)
    return Fit(method, margin, warnings, numerical_rank(margin) <= rank + _RANK_SLACK)


def hard_impute(matrix: FloatArray, observed: BoolArray, *, rank: int) -> FloatArray:
    """Fill the unobserved entries from the best rank-`rank` approximation, again and again.

    Observed entries stay as they are: feeding the approximation itself to robust PCA would leave
    nothing to separate, because it already has low rank.

    References:
        Mazumder, Hastie, Tibshirani (2010), Spectral regularization algorithms for learning large
        incomplete matrices, for hard-impute.
    """
    filled = np.where(observed, matrix, 0.0)
    for _ in range(_IMPUTE_STEPS):
        left, sigma, right = np.linalg.svd(filled, full_matrices=False)
        ahead = np.where(observed, matrix, (left[:, :rank] * sigma[:rank]) @ right[:rank])
        moved = float(np.linalg.norm(ahead - filled))
        filled = ahead
        if moved <= _IMPUTE_TOLERANCE * float(np.linalg.norm(filled)):
            break
    return filled


def fit_auto(task: CompletionTask) -> tuple[Fit, float | None]:
    """The fit that the data supports, and the disagreement of `lad` and `pssv` where it can be checked."""
    if task.data.wins_low is not None and task.data.votes is not None:
        if task.data.one_vote:
            return _fit_votes(task, "bradley_terry"), None
        if median(task.data.votes) >= _MIXTURE_VOTES:
            return _fit_votes(task, "flip_mixture"), None
        return _fit_lad(task), None
    plain = _fit_lad(task)
    return _general_rank(task, plain) or plain, _cross_check(task, plain)


def _general_rank(task: CompletionTask, plain: Fit) -> Fit | None:
    """PSSV of rank 4 if it is identifiable and fits the typical entry ten times better than scores do."""
    typical = median(np.abs(task.corruption(plain.margin)))
    if task.n_items < _GENERAL_MIN_ITEMS or typical <= _EXACT_MEDIAN or task.data.one_vote:
        return None
    try:
        fit = _fit_rpca(task, "pssv", _GENERAL_RANK)
    except ConvergenceError:
        return None
    better = median(np.abs(task.corruption(fit.margin))) < _GENERAL_GAIN * typical
    return fit if better and fit.identifiable else None


def _cross_check(task: CompletionTask, plain: Fit) -> float | None:
    """Share of pairs of one component that `lad` and `pssv` of rank 2 order differently."""
    if task.n_items > _CROSS_CHECK_MAX_ITEMS or task.data.one_vote:
        return None
    try:
        other = _fit_rpca(task, "pssv", 2).margin
    except ConvergenceError:
        return None
    first, second = mean_margins(task, plain.margin), mean_margins(task, other)
    low, high = np.nonzero(np.triu(task.known, 1))
    products = (first[low] - first[high]) * (second[low] - second[high])
    scale = max(float(np.abs(first).max()) * float(np.abs(second).max()), 1e-300)
    return float(np.mean(products < -TIE * scale)) if low.size else 0.0


def mean_margins(task: CompletionTask, margin: FloatArray) -> FloatArray:
    """Row mean of L over the component of each item (n,)."""
    return margin.sum(axis=1) / task.graph.size


def numerical_rank(margin: FloatArray) -> int:
    sigma = np.linalg.svd(margin, compute_uv=False)
    return int(np.count_nonzero(sigma > _RANK_TOLERANCE * sigma[0]))

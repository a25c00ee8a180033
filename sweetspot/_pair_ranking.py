"""What every ranking from a pair list reports, and the rule that flags its rows."""

from dataclasses import dataclass

import numpy as np

from sweetspot._checks import BoolArray, FloatArray, IntArray
from sweetspot._graph import ComparisonGraph, Pairs
from sweetspot._selection import median

SD_PER_MAD = 1.4826
# Beyond one half of an item's comparisons, absolute deviations go wrong all at once; 0.35 leaves a margin.
DOUBTFUL_SHARE = 0.35


@dataclass(frozen=True, kw_only=True)
class PairRanking:
    """Scores of n items from E comparisons.

    Attributes:
        scores: Score of each item (n,), unit logit, mean 0 in each component; 0.0 without comparisons.
        component: Connected component of each item (n,), numbered by smallest item index.
        unverifiable: Items compared with at most two others (n,): nothing about them can be corrected.
        corrupted: Rows (E,) taken to be wrong.
        flip_rate: Share of wrong comparisons, per method.
        iterations: Steps of the solver.
        warnings: Each starts with a code and a colon.
    """

    scores: FloatArray
    component: IntArray
    unverifiable: BoolArray
    corrupted: BoolArray
    flip_rate: float
    iterations: int
    warnings: tuple[str, ...]


def default_threshold(residual: FloatArray) -> float:
    """max(1e-3, 3 robust standard deviations) of the residuals given; 1e-3 of none."""
    return max(1e-3, 3.0 * SD_PER_MAD * median(np.abs(residual))) if residual.size else 1e-3


def share_beyond(pairs: Pairs, beyond: BoolArray) -> FloatArray:
    """Share of each item's rows where `beyond` is True (n,); 0 without rows."""
    flags, rows = beyond.astype(np.float64), np.ones(len(pairs))
    count = pairs.per_item(rows, rows)
    return pairs.per_item(flags, flags) / np.maximum(count, 1.0)


def doubtful_warning(corrupted_share: FloatArray) -> tuple[str, ...]:
    """`majority_doubtful` when more than 0.35 of some item's comparisons stand against the fit."""
    doubtful = corrupted_share > DOUBTFUL_SHARE
    if not doubtful.any():
        return ()
    worst = int(np.argmax(corrupted_share))
    return (
        f"majority_doubtful: for {int(doubtful.sum())} of {doubtful.size} items more than {DOUBTFUL_SHARE} of the "
        f"comparisons stand against the fit (most: item {worst}, {corrupted_share[worst]:.2f}); beyond one half the "
        "fit follows the wrong ones",
    )


def flagged_rows(pairs: Pairs, graph: ComparisonGraph, beyond: BoolArray) -> BoolArray:
    """Rows beyond the threshold that may be flagged: verifiable items of one component of at least 8."""
    together = graph.component[pairs.first] == graph.component[pairs.second]
    return beyond & together & graph.may_be_flagged(pairs)

"""Responses whose order is known: does whoever judges still put the better one first?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sweetspot.validation._arguments import float_array, same_length


@dataclass(frozen=True)
class OrderKept:
    """How many known orders survived.

    Attributes:
        pairs: judged.
        kept: with the better response strictly above the worse one.
        share: kept / pairs; 1 where there is no pair.
        first_broken: index of the first pair out of order; None if there is none.
    """

    pairs: int
    kept: int
    share: float
    first_broken: int | None


def order_kept(better: ArrayLike, worse: ArrayLike) -> OrderKept:
    """Count the pairs whose better response has the higher quality; a tie or a missing quality is not kept.

    Args:
        better: (Q,) quality of the responses known to be better; NaN where there is none.
        worse: (Q,) quality of those known to be worse.

    Raises:
        ContractError: lengths differ.
    """
    above = float_array(better, "better", ndim=1, missing=True)
    below = float_array(worse, "worse", ndim=1, missing=True)
    same_length(better=len(above), worse=len(below))
    with np.errstate(invalid="ignore"):
        kept = above > below
    broken = np.flatnonzero(~kept)
    share = float(kept.mean()) if len(kept) else 1.0
    return OrderKept(len(kept), int(kept.sum()), share, int(broken[0]) if len(broken) else None)


def not_below(bad: ArrayLike, good: ArrayLike) -> np.ndarray:
    """(Q,) which known-bad responses would not lose to the good one of the same prompt; NaN loses, as it is dropped."""
    low = float_array(bad, "bad", ndim=1, missing=True)
    high = float_array(good, "good", ndim=1, missing=True)
    same_length(bad=len(low), good=len(high))
    with np.errstate(invalid="ignore"):
        return ~np.isnan(low) & ~(low < high)

"""Rank correlation within groups: do two numbers order the responses of one prompt alike?"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from sweetspot.errors import ContractError

FloatArray = NDArray[np.float64]


def within_group_spearman(groups: ArrayLike, first: ArrayLike, second: ArrayLike) -> float | None:
    """Spearman correlation of two numbers within each group, averaged over the groups.

    rho_g = sum (a - mean a)(b - mean b) / sqrt(sum (a - mean a)^2 sum (b - mean b)^2),  a, b mid-ranks in group g.

    Pooling all rows instead would measure which prompts are easy, not how responses are ordered.

    Args:
        groups: (R,) label of each row's group.
        first: (R,) numbers; NaN leaves the row out.
        second: (R,) numbers; NaN leaves the row out.

    Returns:
        Mean over groups in which both numbers vary, in [-1, 1]; None if there is no such group.

    Raises:
        ContractError: the three differ in length.
    """
    labels, a, b = np.asarray(groups), np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if not labels.shape == a.shape == b.shape or labels.ndim != 1:
        raise ContractError(f"groups, first, second: shapes {labels.shape}, {a.shape}, {b.shape}, expected equal (R,)")
    there = ~(np.isnan(a) | np.isnan(b))
    _, group = np.unique(labels[there], return_inverse=True)
    x, y = (_centred_ranks(group, values[there]) for values in (a, b))
    n = int(group.max()) + 1 if group.size else 0
    xy, xx, yy = (np.bincount(group, weights=product, minlength=n) for product in (x * y, x * x, y * y))
    varies = (xx > 0) & (yy > 0)
    if not varies.any():
        return None
    return float((xy[varies] / np.sqrt(xx[varies] * yy[varies])).mean())


def _centred_ranks(group: NDArray[np.intp], values: FloatArray) -> FloatArray:
    """Mid-ranks of each value within its group, minus the group's mean rank.

    Ranking group * (distinct values) + overall rank ranks everything group by group at once; a
    constant per group falls out with the mean.
    """
    if not values.size:
        return values
    dense = rankdata(values, method="dense")
    ranks = rankdata(group * (dense.max() + 1.0) + dense)
    means = np.bincount(group, weights=ranks) / np.bincount(group)
    return ranks - means[group]

"""Class labels of several raters as counts and as a sparse indicator matrix."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from sweetspot.validation._arguments import float_array, refuse, whole_number


@dataclass(frozen=True)
class Votes:
    """The labels that were given; q classes."""

    given: csr_array  # (items, raters * q), 1 in column rater * q + code
    counts: NDArray[np.int64]  # (items, q)
    per_rater: NDArray[np.int64]  # (raters,)

    @property
    def labelled(self) -> NDArray[np.bool_]:
        """Whether an item has any label, (items,)."""
        return self.counts.sum(axis=1) > 0

    @property
    def tied(self) -> NDArray[np.bool_]:
        """Whether two classes share the most votes of a labelled item, (items,)."""
        most = self.counts.max(axis=1, keepdims=True, initial=0)
        return self.labelled & ((self.counts == most).sum(axis=1) > 1)

    def of_one_rater(self) -> "Votes":
        """The same votes, all given by the same rater."""
        total = np.array([self.per_rater.sum()], dtype=np.int64)
        return Votes(csr_array(self.counts.astype(np.float64)), self.counts, total)

    def shares(self) -> NDArray[np.float64]:
        """Share of the votes per class, (items, q); uniform without votes."""
        total = self.counts.sum(axis=1, keepdims=True)
        return np.where(total > 0, self.counts / np.maximum(total, 1), 1.0 / self.counts.shape[1])


def read_votes(labels: ArrayLike, n_classes: int | None) -> Votes:
    """Check a table of class codes, (items, raters) with NaN for missing, and count it."""
    table = float_array(labels, "labels", ndim=2, missing=True)
    given = ~np.isnan(table)
    refuse(given & ((table < 0) | (table != np.floor(table))), "labels", table, "expected codes 0, 1, ... or NaN")
    largest = int(table[given].max()) if given.any() else 0
    q = max(largest + 1, 2) if n_classes is None else whole_number(n_classes, "n_classes", at_least=1)
    refuse(given & (table >= q), "labels", table, f"expected codes below n_classes = {q}")
    item, rater = np.nonzero(given)
    return votes_of(item, rater, table[item, rater].astype(np.int64), shape=(*table.shape, q))


def votes_of(
    item: NDArray[np.int64], rater: NDArray[np.int64], code: NDArray[np.int64], *, shape: tuple[int, int, int]
) -> Votes:
    """Count votes given one by one, (V,) each; shape (items, raters, q). Repeated ones count each time."""
    items, raters, q = shape
    indicator = csr_array((np.ones(item.size), (item, rater * q + code)), shape=(items, raters * q))
    counts = np.bincount(item * q + code, minlength=items * q).reshape(-1, q)
    return Votes(indicator, counts.astype(np.int64), np.bincount(rater, minlength=raters).astype(np.int64))

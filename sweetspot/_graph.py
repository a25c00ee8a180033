"""The comparison graph of a pair list: components, neighbours, and what can be verified on it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sweetspot._checks import BoolArray, FloatArray, IntArray, as_count, as_integers, reject_where, require_shape

# A complete graph of 7 items corrects 2 bad comparisons per item; below 8 items nothing is flagged.
MIN_ITEMS_TO_FLAG = 8
MAX_UNVERIFIABLE_NEIGHBOURS = 2


@dataclass(frozen=True)
class Pairs:
    """Checked pair list: row e compares items first[e] and second[e] of n_items."""

    first: NDArray[np.integer]
    second: NDArray[np.integer]
    n_items: int

    def __len__(self) -> int:
        return self.first.size

    def where(self, chosen: BoolArray) -> "Pairs":
        """The rows where `chosen` is True."""
        return self if chosen.all() else Pairs(self.first[chosen], self.second[chosen], self.n_items)

    def difference(self, scores: FloatArray) -> FloatArray:
        """scores[first] - scores[second], per row."""
        return scores[self.first] - scores[self.second]

    def divergence(self, flow: FloatArray) -> FloatArray:
        """Sum of `flow` over rows where the item is first, minus rows where it is second, per item."""
        return self.per_item(flow, -flow)

    def per_item(self, at_first: FloatArray, at_second: FloatArray) -> FloatArray:
        """Sum per item of `at_first` over rows where it is first and `at_second` where it is second."""
        total = np.bincount(self.first, at_first, minlength=self.n_items).astype(np.float64, copy=False)
        return total + np.bincount(self.second, at_second, minlength=self.n_items)


@dataclass(frozen=True)
class ComparisonGraph:
    """Who was compared with whom, and the connected components of that.

    Attributes:
        low, high: The items of each distinct unordered pair, an edge, low < high, sorted.
        edge: Edge of each row of the pair list.
        component: Component of each item (n,), numbered by smallest item index.
        size: Number of items in the component of each item (n,).
        neighbours: Number of distinct items that each item is compared with (n,).
    """

    low: IntArray
    high: IntArray
    edge: IntArray
    component: IntArray
    size: IntArray
    neighbours: IntArray

    @property
    def unverifiable(self) -> BoolArray:
        """Items compared with at most two others: nothing about them can be corrected."""
        return self.neighbours <= MAX_UNVERIFIABLE_NEIGHBOURS

    @property
    def n_components(self) -> int:
        """Number of connected components, items without comparisons included."""
        return int(self.component.max()) + 1

    @property
    def edges(self) -> Pairs:
        """One row per distinct unordered pair."""
        return Pairs(self.low, self.high, self.component.size)

    def per_edge(self, value: FloatArray) -> FloatArray:
        """Sum of a row quantity over the rows of each edge."""
        return np.bincount(self.edge, value, minlength=self.low.size).astype(np.float64, copy=False)

    def centred(self, scores: FloatArray) -> FloatArray:
        """Scores minus the mean of their component; exactly 0 for an item without comparisons."""
        total = np.bincount(self.component, scores)
        centred = scores - (total / np.bincount(self.component))[self.component]
        return np.where(self.size == 1, 0.0, centred)

    def may_be_flagged(self, pairs: Pairs) -> BoolArray:
        """Rows whose two items are verifiable and lie in a component of at least 8 items."""
        item_ok = ~self.unverifiable & (self.size >= MIN_ITEMS_TO_FLAG)
        return item_ok[pairs.first] & item_ok[pairs.second]

    def warnings(self) -> tuple[str, ...]:
        """Warnings `disconnected`, `unverifiable`, `few_items`, where they apply."""
        found = []
        if self.n_components > 1:
            found.append(f"disconnected: {self.n_components} components, scores are comparable only within one")
        unverifiable = self.unverifiable
        if unverifiable.any():
            found.append(
                f"unverifiable: {int(unverifiable.sum())} of {unverifiable.size} items are compared with at most "
                f"two others (first: item {int(np.argmax(unverifiable))}); nothing about them can be corrected"
            )
        few = (self.size >= 2) & (self.size < MIN_ITEMS_TO_FLAG)
        if few.any():
            found.append(
                f"few_items: {np.unique(self.component[few]).size} components have 2 to 7 items (first: the one of "
                f"item {int(np.argmax(few))}); no comparison in them is flagged"
            )
        return tuple(found)


def checked_pairs(i: ArrayLike, j: ArrayLike, n_items: int) -> Pairs:
    """Validate a pair list: indices in [0, n_items), equal lengths, no item compared with itself."""
    n = as_count("n_items", n_items, low=1)
    # A float beyond int64 becomes some index outside the range, which is refused below; the cast must not warn.
    with np.errstate(invalid="ignore"):
        first, second = as_integers("i", i), as_integers("j", j)
    require_shape("j", second, first.shape)
    rule = f"from 0 to n_items - 1 = {n - 1}"
    for name, index in (("i", first), ("j", second)):
        outside = (index < 0) | (index >= n)
        reject_where(name, outside, index, rule=rule, remedy="Raise n_items or drop these rows.")
    remedy = "Drop rows that compare an item with itself."
    reject_where("j", first == second, second, rule="different from i in the same row", remedy=remedy)
    # Half the memory traffic of the look-ups that every iteration makes.
    narrow = np.int32 if n <= np.iinfo(np.int32).max else np.int64
    return Pairs(first.astype(narrow), second.astype(narrow), n)


def comparison_graph(pairs: Pairs) -> ComparisonGraph:
    """Graph of all rows of a pair list; leave out rows of zero weight or without votes first."""
    n = pairs.n_items
    key = np.minimum(pairs.first, pairs.second).astype(np.int64) * n + np.maximum(pairs.first, pairs.second)
    distinct, edge = np.unique(key, return_inverse=True)
    low, high = distinct // n, distinct % n
    adjacency = coo_array((np.ones(low.size, dtype=np.int8), (low, high)), shape=(n, n))
    _, label = connected_components(adjacency, directed=False)
    _, first_item, label = np.unique(label, return_index=True, return_inverse=True)
    component = np.argsort(np.argsort(first_item))[label]
    neighbours = np.bincount(low, minlength=n) + np.bincount(high, minlength=n)
    return ComparisonGraph(low, high, edge, component, np.bincount(component)[component], neighbours)

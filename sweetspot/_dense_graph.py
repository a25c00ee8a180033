"""Components and neighbours of many small comparison graphs at once, given as adjacency matrices."""

from dataclasses import dataclass

import numpy as np

from sweetspot._checks import BoolArray, FloatArray, IntArray
from sweetspot._graph import MAX_UNVERIFIABLE_NEIGHBOURS, MIN_ITEMS_TO_FLAG


@dataclass(frozen=True)
class DenseGraphs:
    """Graphs of b problems of n items.

    Attributes:
        component: Component of each item (n, b), numbered by smallest item index.
        size: Number of items in the component of each item (n, b).
        neighbours: Number of items each item is compared with (n, b).
        pinned: The first item of each component (n, b).
    """

    component: IntArray
    size: IntArray
    neighbours: IntArray
    pinned: BoolArray

    @property
    def unverifiable(self) -> BoolArray:
        """Items compared with at most two others (n, b)."""
        return self.neighbours <= MAX_UNVERIFIABLE_NEIGHBOURS

    @property
    def may_be_flagged(self) -> BoolArray:
        """Pairs (n, n, b) of verifiable items in one component of at least 8."""
        item_ok = ~self.unverifiable & (self.size >= MIN_ITEMS_TO_FLAG)
        return item_ok[:, None] & item_ok[None] & self.together

    @property
    def together(self) -> BoolArray:
        """Pairs (n, n, b) of items of one component, the diagonal included."""
        return self.component[:, None] == self.component[None]

    def centred(self, scores: FloatArray) -> FloatArray:
        """Scores (n, b) minus the mean of their component; exactly 0 for an item without comparisons."""
        total = np.einsum("ijb,jb->ib", self.together, scores)
        return np.where(self.size == 1, 0.0, scores - total / self.size)


def dense_graphs(adjacent: BoolArray) -> DenseGraphs:
    """Graphs of symmetric adjacency matrices (n, n, b) without loops."""
    n, _, n_problems = adjacent.shape
    items = np.arange(n)[:, None]
    label = np.broadcast_to(items, (n, n_problems))
    while True:
        reached = np.where(adjacent, label[None], n).min(axis=1, initial=n)
        # Taking the label of one's own label as well halves the number of rounds on long chains.
        lower = np.minimum(label, reached)
        lower = np.take_along_axis(lower, lower, axis=0)
        if np.array_equal(lower, label):
            break
        label = lower
    pinned = label == items
    number = np.cumsum(pinned, axis=0) - 1
    component = np.take_along_axis(number, label, axis=0)
    size = np.count_nonzero(component[:, None] == component[None], axis=1)
    return DenseGraphs(component, size, np.count_nonzero(adjacent, axis=1), pinned)

"""Components and neighbours of many small comparison graphs at once, given as adjacency matrices."""

from dataclasses import dataclass

import numpy as np

from sweetspot._checks import BoolArray, FloatArray, IntArray
from sweetspot._graph import MAX_UNVERIFIABLE_NEIGHBOURS, MIN_ITEMS_TO_FLAG


@dataclass(frozen=True)
class DenseGraphs:
    """Graphs of b problems of n items.

    Attributes:
        component: Component of each item (b, n), numbered by smallest item index.
        size: Number of items in the component of each item (b, n).
        neighbours: Number of items each item is compared with (b, n).
        pinned: The first item of each component (b, n).
    """

    component: IntArray
    size: IntArray
    neighbours: IntArray
    pinned: BoolArray

    @property
    def unverifiable(self) -> BoolArray:
        """Items compared with at most two others (b, n)."""
        return self.neighbours <= MAX_UNVERIFIABLE_NEIGHBOURS

    @property
    def may_be_flagged(self) -> BoolArray:
        """Pairs (b, n, n) of verifiable items in one component of at least 8."""
        item_ok = ~self.unverifiable & (self.size >= MIN_ITEMS_TO_FLAG)
        return item_ok[:, :, None] & item_ok[:, None, :] & self.together

    @property
    def together(self) -> BoolArray:
        """Pairs (b, n, n) of items of one component, the diagonal included."""
        return self.component[:, :, None] == self.component[:, None, :]

    def centred(self, scores: FloatArray) -> FloatArray:
        """Scores (b, n) minus the mean of their component; exactly 0 for an item without comparisons."""
        total = np.einsum("bij,bj->bi", self.together, scores)
        return np.where(self.size == 1, 0.0, scores - total / self.size)


def dense_graphs(adjacent: BoolArray) -> DenseGraphs:
    """Graphs of symmetric adjacency matrices (b, n, n) without loops."""
    n_problems, n, _ = adjacent.shape
    items = np.arange(n)
    label = np.broadcast_to(items, (n_problems, n))
    while True:
        reached = np.where(adjacent, label[:, None, :], n).min(axis=2)
        lower = np.minimum(label, reached)
        # Taking the label of one's own label as well halves the number of rounds on long chains.
        lower = np.take_along_axis(lower, lower, axis=1)
        if np.array_equal(lower, label):
            break
        label = lower
    pinned = label == items
    component = np.take_along_axis(np.cumsum(pinned, axis=1) - 1, label, axis=1)
    size = np.count_nonzero(component[:, :, None] == component[:, None, :], axis=2)
    return DenseGraphs(component, size, np.count_nonzero(adjacent, axis=2), pinned)

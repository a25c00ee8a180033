"""Solves weighted graph Laplacians of one pair list for many weights.

Two solvers: a banded Cholesky factorisation where reordering makes the band cheap (small problems,
chains, tournaments among neighbours in rank), and conjugate gradients with a diagonal preconditioner
elsewhere, where the graph is well connected and no factor would fit in memory. Nothing is ever n x n
on the second path, and nothing is regularised: one item per component is pinned in the first, and the
second works in the range of the Laplacian.
"""

import numpy as np
from scipy.linalg import solveh_banded
from scipy.sparse import csr_array
from scipy.sparse.csgraph import reverse_cuthill_mckee

from sweetspot._checks import FloatArray, IntArray
from sweetspot._graph import ComparisonGraph, Pairs

# Floating-point operations of one banded factorisation that are worth more than iterating.
_DIRECT_WORK = 4e8
_CG_STEPS = 100


class PairLaplacian:
    """Laplacian of the graph of a pair list, its weights given anew for each solve."""

    def __init__(self, pairs: Pairs, graph: ComparisonGraph) -> None:
        self._pairs, self._graph, n = pairs, graph, pairs.n_items
        n_edges = graph.low.size
        both = (np.concatenate([graph.low, graph.high]), np.concatenate([graph.high, graph.low]))
        numbered = csr_array((np.tile(np.arange(n_edges, dtype=np.float64), 2), both), shape=(n, n))
        order = reverse_cuthill_mckee(numbered, symmetric_mode=True).astype(np.int64)
        position = np.empty(n, dtype=np.int64)
        position[order] = np.arange(n)
        width = int(np.abs(position[graph.low] - position[graph.high]).max(initial=0))
        self.is_direct = n * float(width + 1) ** 2 <= _DIRECT_WORK
        if self.is_direct:
            self._prepare_band(order, position, width)
        else:
            self._slot = numbered.data.astype(np.int32)
            self._adjacency = numbered

    def _prepare_band(self, order: IntArray, position: IntArray, width: int) -> None:
        graph = self._graph
        _, pinned = np.unique(graph.component, return_index=True)
        self._is_pinned = np.zeros(order.size, dtype=np.bool_)
        self._is_pinned[pinned] = True
        inner = ~(self._is_pinned[graph.low] | self._is_pinned[graph.high])
        first, second = position[graph.low[inner]], position[graph.high[inner]]
        self._inner, self._order, self._width = inner, order, width
        self._band_row, self._band_column = np.abs(first - second), np.minimum(first, second)

    def solve(self, weight: FloatArray, flow: FloatArray, *, tolerance: float) -> FloatArray:
        """Return x (n,), mean 0 per component, with  div(weight * (x_i - x_j)) = div(flow)  at each item.

        Args:
            weight: Weight of each row (E,), > 0 on rows that connect a component.
            flow: Right-hand side per row (E,); x must produce its divergence.
            tolerance: Relative error at which conjugate gradients stop; the direct solver ignores it.
        """
        goal = self._pairs.divergence(flow)
        edge_weight = self._graph.per_edge(weight)
        if not self.is_direct:
            return self._graph.centred(self._solve_iteratively(edge_weight, goal, tolerance))
        try:
            return self._graph.centred(self._solve_band(edge_weight, goal))
        except np.linalg.LinAlgError:
            # Weights too far apart for a factorisation in float64: make no move, the caller goes on.
            return np.zeros_like(goal)

    def _solve_band(self, edge_weight: FloatArray, goal: FloatArray) -> FloatArray:
        n = self._pairs.n_items
        degree = self._graph.edges.per_item(edge_weight, edge_weight)
        band = np.zeros((self._width + 1, n))
        band[0] = np.where(self._is_pinned | (degree == 0), 1.0, degree)[self._order]
        band[self._band_row, self._band_column] = -edge_weight[self._inner]
        target = np.where(self._is_pinned, 0.0, goal)[self._order]
        x = np.empty(n)
        x[self._order] = solveh_banded(band, target, lower=True, overwrite_ab=True, check_finite=False)
        return x

    def _solve_iteratively(self, edge_weight: FloatArray, goal: FloatArray, tolerance: float) -> FloatArray:
        adjacency = self._adjacency
        adjacency.data = edge_weight[self._slot]
        degree = adjacency @ np.ones(goal.size)
        scale = np.divide(1.0, degree, out=np.zeros_like(degree), where=degree > 0)
        x, residual = np.zeros_like(goal), goal.copy()
        direction = scaled = scale * residual
        energy = start = float(residual @ scaled)
        for _ in range(_CG_STEPS):
            if energy <= tolerance * tolerance * start:
                break
            image = degree * direction - adjacency @ direction
            step = energy / float(direction @ image)
            x += step * direction
            residual -= step * image
            scaled = scale * residual
            before, energy = energy, float(residual @ scaled)
            direction = scaled + (energy / before) * direction
        return x

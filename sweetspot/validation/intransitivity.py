"""How far a set of comparisons is from any ranking: cycles in a tournament, curl of margins."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array, diags_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import cg

from sweetspot.errors import ContractError, ConvergenceError
from sweetspot.validation._arguments import float_array, refuse, same_length, whole_number

_DENSE_CELLS = 4_000_000
_CG_RELATIVE_TOLERANCE = 1e-11


@dataclass(frozen=True)
class Tournament:
    """Cycles of a complete set of decided comparisons; see `tournament`."""

    wins: NDArray[np.int64]
    cyclic_triads: int
    zeta: float
    warnings: tuple[str, ...]


def tournament(beats: ArrayLike) -> Tournament:
    """Count the cyclic triads of a tournament and Kendall's coefficient of consistence.

    With s_i wins of item i among n:

        d    = C(n, 3) - sum_i C(s_i, 2)
        zeta = 1 - 24 d / (n^3 - n)  for odd n,   1 - 24 d / (n^3 - 4 n)  for even n

    Args:
        beats: True where the row item beats the column item, shape (n, n), n >= 3. Exactly one of [i, j] and
            [j, i] is True, the diagonal is False.

    Returns:
        Tournament: `wins (n,)`; `cyclic_triads` d, how many of the C(n, 3) triples go round; `zeta`, 1 for a ranking
        and 0 for the most cyclic tournament there is.

    Raises:
        ContractError: Not square, n < 3, a tie or a double win, or an item that beats itself.

    References:
        Kendall, Babington Smith (1940), On the method of paired comparisons, Biometrika 31(3/4).
    """
    table = float_array(beats, "beats", ndim=2)
    n = table.shape[0]
    if table.shape[1] != n or n < 3:
        raise ContractError(f"beats: got shape {table.shape}, expected a square table of at least 3 items.")
    refuse(~np.isin(table, (0.0, 1.0)), "beats", table, "expected True or False")
    won = table == 1.0
    refuse(won & np.eye(n, dtype=bool), "beats", won, "expected a False diagonal, no item beats itself")
    undecided = (won == won.T) & ~np.eye(n, dtype=bool)
    refuse(undecided, "beats", won, "expected exactly one of beats[i, j] and beats[j, i]; leave ties to curl_ratio")
    wins = won.sum(axis=1).astype(np.int64)
    cyclic = n * (n - 1) * (n - 2) // 6 - sum(s * (s - 1) // 2 for s in wins.tolist())
    most = (n**3 - n) if n % 2 else (n**3 - 4 * n)
    return Tournament(wins, cyclic, 1.0 - 24 * cyclic / most, ())


def curl_ratio(
    i: ArrayLike, j: ArrayLike, margin: ArrayLike, *, n_items: int, weight: ArrayLike | None = None
) -> float:
    """Return the share of the margins' energy that no scores can explain.

    ||Y - grad s||^2 / ||Y||^2 for the weighted least-squares scores s, with (grad s)_e = s_i - s_j and
    ||Y||^2 = sum_e weight_e margin_e^2.

    Args:
        i: First item of each comparison, shape (E,), whole, in [0, n_items).
        j: Second item, shape (E,), different from `i`.
        margin: How much i is better than j, shape (E,), any unit. Leave out rows without a value.
        n_items: Number of items, >= 1.
        weight: Weight of each row, shape (E,), >= 0; 0 removes it. None means 1.

    Returns:
        Between 0 (the margins are differences of scores) and 1 (purely cyclic). 0.0 for a graph without cycles,
        where every margin can be explained, and when all margins are 0.

    Raises:
        ContractError: Lengths differ, an item is out of range or compared with itself, or a value is not finite.
        ConvergenceError: The least-squares problem is too ill-conditioned; look at the spread of `weight`.

    References:
        Jiang, Lim, Yao, Ye (2011), Statistical ranking and combinatorial Hodge theory, Mathematical Programming 127.

    Notes:
        The residual holds all cycles, triangles and longer ones, and the disagreement of several rows of one pair.
    """
    n_items = whole_number(n_items, "n_items", at_least=1)
    values = float_array(margin, "margin", ndim=1)
    tail, head = _items(i, "i", n_items), _items(j, "j", n_items)
    weights = np.ones(values.size) if weight is None else float_array(weight, "weight", ndim=1)
    same_length(i=tail.size, j=head.size, margin=values.size, weight=weights.size)
    refuse(tail == head, "i", tail, "expected two different items in every row")
    refuse(weights < 0, "weight", weights, "expected weights >= 0")
    used = weights > 0
    tail, head, values, weights = tail[used], head[used], values[used], weights[used]
    if not values.any() or _is_forest(tail, head, n_items):
        return 0.0
    # Units cancel: scaling first keeps squares of huge or tiny values inside the float range.
    root = np.sqrt(weights / weights.max())
    target = root * (values / np.abs(values).max())
    residual = _least_squares_residual(tail, head, root, target, n_items)
    energy = float(target @ target)
    return min(1.0, float(residual @ residual) / energy) if energy > 0 else 0.0


def _items(values: ArrayLike, name: str, n_items: int) -> NDArray[np.int64]:
    items = float_array(values, name, ndim=1)
    outside = (items < 0) | (items >= n_items) | (items != np.floor(items))
    refuse(outside, name, items, f"expected whole item indices in [0, {n_items})")
    return items.astype(np.int64)


def _is_forest(tail: NDArray[np.int64], head: NDArray[np.int64], n_items: int) -> bool:
    graph = coo_array((np.ones(tail.size), (tail, head)), shape=(n_items, n_items))
    return tail.size == n_items - connected_components(graph, directed=False, return_labels=False)


def _least_squares_residual(
    tail: NDArray[np.int64],
    head: NDArray[np.int64],
    root: NDArray[np.float64],
    target: NDArray[np.float64],
    n_items: int,
) -> NDArray[np.float64]:
    """Return y - A s for the s that minimises ||y - A s||, with y = target and A = diag(root) grad."""
    row = np.arange(tail.size)
    gradient = csr_array(
        (np.concatenate([root, -root]), (np.concatenate([row, row]), np.concatenate([tail, head]))),
        shape=(tail.size, n_items),
    )
    if tail.size * n_items <= _DENSE_CELLS:
        dense = gradient.toarray()
        return target - dense @ np.linalg.lstsq(dense, target, rcond=None)[0]
    laplacian = csr_array(gradient.T @ gradient)
    degree = laplacian.diagonal()
    preconditioner = diags_array(1.0 / np.where(degree > 0, degree, 1.0))
    # The system is singular (scores have no origin) but consistent, which conjugate gradients accept.
    scores, failed = cg(
        laplacian, gradient.T @ target, rtol=_CG_RELATIVE_TOLERANCE, maxiter=10 * n_items, M=preconditioner
    )
    if failed:
        raise ConvergenceError(
            f"curl_ratio: {10 * n_items} conjugate-gradient steps did not reach a relative residual of "
            f"{_CG_RELATIVE_TOLERANCE:g} on {n_items} items and {tail.size} rows; look at the spread of `weight`."
        )
    return target - gradient @ scores

"""Robust principal component analysis with missing entries: M = L + S on the observed entries.

L is low rank, S is sparse and arbitrarily large. `pcp` needs no rank; `pssv` leaves the largest
singular values unshrunk and recovers more when the rank is known and the matrix is small. For
Bradley-Terry data prefer `sweetspot.ranking.lad`, which knows the column space of L and survives far
more corruption; these two are for preferences of general rank, and as a cross-check.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from sweetspot._checks import BoolArray, FloatArray, as_count, as_flags, as_floats, as_scalar, reject_where
from sweetspot.errors import ContractError, ConvergenceError

# The penalty grows by this factor per step. A growth of 1.5, common in reference code, stops at a feasible
# point that is not optimal: the first two are the largest that recover what is recoverable.
_GROWTH = 1.2
_GROWTH_SPARSE = 1.1
_SPARSE_SHARE = 0.5
_PENALTY_START = 1.25
_PENALTY_RANGE = 1e7
_RANK_TOLERANCE = 1e-6
_RANK_SLACK = 2


@dataclass(frozen=True)
class RpcaResult:
    """A matrix split into low rank plus sparse.

    Attributes:
        low_rank: L (m, n), unit of M, finite everywhere, also where nothing was observed.
        sparse: S (m, n), unit of M, 0 outside the observed entries.
        iterations: Steps taken.
        residual: ||P(M - L - S)||_F / ||P(M)||_F over the observed entries; 0.0 for a zero matrix.
        rank: Number of singular values of L above 1e-6 of the largest.
        identifiable: rank <= expected rank + 2. False means more corruption than can be told from L.
        warnings: `beyond_identifiable: ...` when `identifiable` is False.
    """

    low_rank: FloatArray
    sparse: FloatArray
    iterations: int
    residual: float
    rank: int
    identifiable: bool
    warnings: tuple[str, ...]


def pcp(
    M: ArrayLike,
    observed: ArrayLike | None = None,
    *,
    lam: float | None = None,
    tol: float = 1e-7,
    max_iter: int = 1000,
    expected_rank: int = 2,
) -> RpcaResult:
    """Split M into low rank plus sparse by principal component pursuit.

    Minimises  ||L||_* + lam * ||P(S)||_1  subject to  P(L + S) = P(M),  P = projection on the observed
    entries, by the inexact augmented Lagrangian method.

    Args:
        M: Matrix (m, n), any unit, without infinities. Where `observed` is False its values do not matter.
        observed: True where M was observed (m, n). None means where M is not NaN. A preference matrix
            counts its diagonal as observed zeros; the caller marks it.
        lam: Weight of S, > 0. Larger puts less into S. None means 1 / sqrt(p * max(m, n)), p the
            share of observed entries.
        tol: Stop when ||P(M - L - S)||_F / ||P(M)||_F falls below this; > 0.
        max_iter: Upper bound on steps, >= 1.
        expected_rank: Rank the data should have, >= 0 (2 for Bradley-Terry); only `identifiable` uses it.

    Returns:
        RpcaResult; `identifiable` is `rank <= expected_rank + 2`.

    Raises:
        ContractError: M is not a finite matrix on the observed entries, nothing is observed, or an
            option is out of range.
        ConvergenceError: `tol` was not reached after `max_iter` steps. Raise one of them.

    References:
        Candes, Li, Ma, Wright (2011), Robust principal component analysis?
        Lin, Chen, Ma (2010), The augmented Lagrange multiplier method for exact recovery of corrupted
        low-rank matrices.

    Notes:
        The penalty grows by 1.2 per step, by 1.1 when less than half is observed; the reference code
        uses 1.5. Unobserved entries are free in S during the iteration and their multiplier is 0.
        Nothing is centred: centring would break the skew symmetry of a preference matrix.
    """
    expected = as_count("expected_rank", expected_rank, low=0)
    matrix, mask = _checked(M, observed)
    return _decompose(matrix, mask, keep=0, lam=lam, tol=tol, max_iter=max_iter, expected_rank=expected)


def pssv(
    M: ArrayLike,
    rank: int,
    observed: ArrayLike | None = None,
    *,
    lam: float | None = None,
    tol: float = 1e-7,
    max_iter: int = 1000,
) -> RpcaResult:
    """Split M into low rank plus sparse, leaving the `rank` largest singular values unshrunk.

    Minimises  sum_{k > rank} sigma_k(L) + lam * ||P(S)||_1  subject to  P(L + S) = P(M).

    Args:
        M: Matrix (m, n), any unit, without infinities. Where `observed` is False its values do not matter.
        rank: Known rank of L, 0 to min(m, n); 0 gives `pcp`. Even for a skew-symmetric matrix.
        observed: As in `pcp`.
        lam: As in `pcp`.
        tol: As in `pcp`.
        max_iter: As in `pcp`.

    Returns:
        RpcaResult; `identifiable` is `result.rank <= rank + 2`.

    Raises:
        ContractError: As in `pcp`, or `rank` out of range.
        ConvergenceError: As in `pcp`.

    References:
        Oh, Tai, Bazin, Kim, Kweon (2013), Partial sum minimization of singular values in robust PCA.
    """
    matrix, mask = _checked(M, observed)
    keep = as_count("rank", rank, low=0, high=min(matrix.shape))
    return _decompose(matrix, mask, keep=keep, lam=lam, tol=tol, max_iter=max_iter, expected_rank=keep)


def _checked(M: ArrayLike, observed: ArrayLike | None) -> tuple[FloatArray, BoolArray]:
    """M with zeros where nothing was observed, and the mask of observed entries."""
    raw = as_floats("M", M, ndim=2, allow_nan=True)
    missing = np.isnan(raw)
    mask = ~missing if observed is None else as_flags("observed", observed, shape=raw.shape)
    reject_where(
        "M", missing & mask, raw, rule="not NaN where observed", remedy="Set observed to False there, or fill M."
    )
    if not mask.any():
        raise ContractError(
            f"observed: 0 of {mask.size} entries are observed, expected at least one. Check the mask, or M for NaN."
        )
    return np.where(mask, raw, 0.0), mask


def _decompose(
    matrix: FloatArray,
    mask: BoolArray,
    *,
    keep: int,
    lam: float | None,
    tol: float,
    max_iter: int,
    expected_rank: int,
) -> RpcaResult:
    """Check the options, bring the matrix to size 1, solve, and describe the result."""
    share = float(mask.mean())
    weight = 1.0 / np.sqrt(share * max(matrix.shape)) if lam is None else as_scalar("lam", lam, low=0, open_low=True)
    goal = as_scalar("tol", tol, low=0.0, open_low=True)
    steps = as_count("max_iter", max_iter, low=1)
    # A power of two, so that scaling is exact and neither tiny nor huge matrices lose their squares.
    exponent = int(np.frexp(np.abs(matrix).max())[1])
    D = np.ldexp(matrix, -exponent)
    L, S, iterations = _alternate(D, mask, lam=float(weight), keep=keep, tol=goal, max_iter=steps)
    rank = _numerical_rank(L)
    identifiable = rank <= expected_rank + _RANK_SLACK
    warning = (
        f"beyond_identifiable: low_rank has rank {rank}, expected at most {expected_rank + _RANK_SLACK}; the "
        "corruption or the missing share is too large to separate, do not use sparse to correct entries"
    )
    return RpcaResult(
        low_rank=np.ldexp(L, exponent),
        sparse=np.ldexp(S, exponent),
        iterations=iterations,
        residual=_relative(np.where(mask, D - L - S, 0.0), D),
        rank=rank,
        identifiable=identifiable,
        warnings=() if identifiable else (warning,),
    )


def _alternate(
    D: FloatArray, mask: BoolArray, *, lam: float, keep: int, tol: float, max_iter: int
) -> tuple[FloatArray, FloatArray, int]:
    """Inexact augmented Lagrangian iteration from L = 0; returns (L, S, steps)."""
    L = np.zeros_like(D)
    if not D.any():
        return L, L.copy(), 0
    growth = _GROWTH if mask.mean() >= _SPARSE_SHARE else _GROWTH_SPARSE
    spectral = float(np.linalg.norm(D, 2))
    Y = D / max(spectral, float(np.abs(D).max()) / lam)
    mu = _PENALTY_START / spectral
    mu_max = _PENALTY_RANGE * mu
    distance = np.inf
    for step in range(1, max_iter + 1):
        T = D - L + Y / mu
        E = np.where(mask, soft_threshold(T, lam / mu), T)
        L = shrink_singular_values(D - E + Y / mu, 1.0 / mu, keep=keep)
        Z = D - L - E
        distance = _relative(Z, D)
        if distance < tol:
            return L, np.where(mask, E, 0.0), step
        Y = np.where(mask, Y + mu * Z, 0.0)
        mu = min(growth * mu, mu_max)
    raise ConvergenceError(
        f"M: relative distance {distance:.3g} from L + S after max_iter = {max_iter} steps, expected below "
        f"tol = {tol:.3g}. Raise max_iter or tol."
    )


def soft_threshold(values: FloatArray, amount: float) -> FloatArray:
    """Minimiser of amount * |x| + (x - value)^2 / 2, entry by entry."""
    return np.sign(values) * np.maximum(np.abs(values) - amount, 0.0)


def shrink_singular_values(matrix: FloatArray, amount: float, *, keep: int) -> FloatArray:
    """Minimiser of amount * sum_{k > keep} sigma_k(X) + ||X - matrix||_F^2 / 2."""
    left, sigma, right = np.linalg.svd(matrix, full_matrices=False)
    sigma[keep:] = np.maximum(sigma[keep:] - amount, 0.0)
    used = int(np.count_nonzero(sigma))
    return (left[:, :used] * sigma[:used]) @ right[:used]


def _relative(part: FloatArray, whole: FloatArray) -> float:
    size = float(np.linalg.norm(whole))
    return float(np.linalg.norm(part)) / size if size > 0 else 0.0


def _numerical_rank(matrix: FloatArray) -> int:
    sigma = np.linalg.svd(matrix, compute_uv=False)
    return int(np.count_nonzero(sigma > _RANK_TOLERANCE * sigma[0]))

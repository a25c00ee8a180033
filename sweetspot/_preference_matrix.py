"""Reading of pairwise matrices: votes, win rates or margins become one list of observed pairs.

One-sided cells are mirrored and two-sided ones must agree. Counts are smoothed before the link, so a
unanimous pair has a finite margin; a rate is never clipped.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, logit, ndtr, ndtri

from sweetspot._checks import BoolArray, FloatArray, as_floats, as_numbers, reject_where, require_choice, require_shape
from sweetspot._graph import Pairs
from sweetspot.errors import ContractError

SKEW_TOLERANCE = 1e-8
RATE_TOLERANCE = 1e-6

KINDS = ("votes", "win_rate", "margin")
LINKS: dict[str, tuple[Callable[..., FloatArray], Callable[..., FloatArray]]] = {
    "logit": (logit, expit),
    "probit": (ndtri, ndtr),
}
# sigma(1.702 x) and the normal distribution function at x differ by less than 0.01 everywhere.
LOGITS_PER_UNIT = {"logit": 1.0, "probit": 1.702}


@dataclass(frozen=True)
class ObservedPairs:
    """What a preference matrix says about each unordered pair (P,), low item first.

    Attributes:
        pairs: The observed pairs, sorted.
        margin: Margin of the low item over the high one, in link units.
        votes: Number of votes behind each pair, None if not known.
        wins_low, wins_high: Votes for each item, None unless the matrix holds votes.
        link: Name of the link between rates and margins.
    """

    pairs: Pairs
    margin: FloatArray
    link: str
    votes: FloatArray | None = None
    wins_low: FloatArray | None = None
    wins_high: FloatArray | None = None

    @property
    def one_vote(self) -> bool:
        """Every pair has exactly one vote."""
        return self.votes is not None and bool((self.votes == 1).all())

    @property
    def weight(self) -> FloatArray | None:
        """K p (1 - p) with the smoothed rate p where the votes K differ, else None."""
        if self.votes is None or (self.votes == self.votes[0]).all():
            return None
        rate = self.rate(self.margin)
        return self.votes * rate * (1.0 - rate)

    def rate(self, margin: FloatArray) -> FloatArray:
        """Preference probability of a margin."""
        return LINKS[self.link][1](margin)


def skew_margins(
    name: str, margins: FloatArray, observed: BoolArray, *, first: int = 0
) -> tuple[FloatArray, BoolArray]:
    """Skew-symmetric margins and symmetric mask of matrices (B, n, n); the diagonal is ignored.

    Args:
        name: Argument name for messages.
        margins: Finite where observed; other values do not matter.
        observed: True where a cell was seen.
        first: Added to the matrix index in messages.

    Returns:
        Margins (B, n, n), 0 where neither direction was seen and on the diagonal, and the mask of the
        pairs seen in either direction.

    Raises:
        ContractError: both directions were seen and do not add up to 0 within 1e-8 * max(1, max |margin|).
    """
    seen = observed & ~np.eye(margins.shape[-1], dtype=np.bool_)
    value = np.where(seen, margins, 0.0)
    back, seen_back = np.swapaxes(value, -1, -2), np.swapaxes(seen, -1, -2)
    both = seen & seen_back
    size = np.maximum(1.0, np.abs(value).max(axis=(-1, -2), initial=0.0))
    bad = both & (np.abs(value + back) > SKEW_TOLERANCE * size[:, None, None])
    if bad.any():
        b, i, j = (int(k) for k in np.unravel_index(int(np.argmax(bad)), bad.shape))
        raise ContractError(
            f"{name}: {int(bad.sum())} cells are not the negative of their mirror image (first: matrix {first + b}, "
            f"[{i}, {j}] = {value[b, i, j]:g} and [{j}, {i}] = {value[b, j, i]:g}), expected [j, i] = -[i, j]. "
            "Keep one direction only, or average the two."
        )
    skew = np.where(both, 0.5 * value - 0.5 * back, value - back)
    return skew, seen | seen_back


def read_matrix(matrix: ArrayLike, *, kind: str, link: str, votes: ArrayLike | None) -> ObservedPairs:
    """Check a preference matrix (n, n) and list its observed pairs; arguments as in `ranking.complete`."""
    require_choice("kind", kind, KINDS)
    require_choice("link", link, tuple(LINKS))
    values = as_floats("matrix", matrix, ndim=2, allow_nan=True)
    if values.shape[0] != values.shape[1]:
        raise ContractError(f"matrix: got shape {values.shape}, expected (n, n). Pass one row and column per item.")
    np.fill_diagonal(values, np.nan)
    if kind == "votes":
        found = _from_votes(values, link, votes)
    elif kind == "win_rate":
        found = _from_rates(values, link, votes)
    else:
        found = _from_margins(values, link, votes)
    if len(found.pairs) == 0:
        raise ContractError(
            f"matrix: none of the {values.size} cells holds a comparison of two items, expected at least one. Check "
            "that missing values, not the comparisons, are NaN."
        )
    return found


def _upper(mask: BoolArray) -> Pairs:
    low, high = np.nonzero(np.triu(mask, 1))
    return Pairs(low, high, mask.shape[0])


def _from_votes(values: FloatArray, link: str, votes: ArrayLike | None) -> ObservedPairs:
    if votes is not None:
        raise ContractError("votes: got a value with kind='votes', expected None: the matrix holds the counts.")
    reject_where("matrix", values < 0, values, rule=">= 0", remedy="Vote counts cannot be negative.")
    wins = np.nan_to_num(values)
    pairs = _upper(wins + wins.T > 0)
    low, high = wins[pairs.first, pairs.second], wins[pairs.second, pairs.first]
    rate = (low + 0.5) / (low + high + 1.0)
    return ObservedPairs(pairs, LINKS[link][0](rate), link, low + high, low, high)


def _from_rates(values: FloatArray, link: str, votes: ArrayLike | None) -> ObservedPairs:
    outside = (values < 0) | (values > 1)
    reject_where("matrix", outside, values, rule="in [0, 1]", remedy="Pass P(i beats j), or kind='margin'.")
    gap = np.abs(values + values.T - 1.0) > RATE_TOLERANCE
    remedy = "P(i beats j) and P(j beats i) must add up to 1; give ties half to each side."
    reject_where("matrix", gap, values, rule="matrix[i, j] + matrix[j, i] = 1", remedy=remedy)
    seen = ~np.isnan(values)
    pairs = _upper(seen | seen.T)
    forward, back = values[pairs.first, pairs.second], values[pairs.second, pairs.first]
    rate = np.where(np.isnan(forward), 1.0 - back, forward)
    count = _votes_behind(votes, pairs)
    if count is not None:
        rate = (rate * count + 0.5) / (count + 1.0)
    certain = (rate <= 0) | (rate >= 1)
    remedy = "Pass `votes`, the number behind each rate, so that it can be smoothed; it is never clipped."
    reject_where("matrix", certain, rate, rule="strictly between 0 and 1 without votes", remedy=remedy)
    return ObservedPairs(pairs, LINKS[link][0](rate), link, count)


def _from_margins(values: FloatArray, link: str, votes: ArrayLike | None) -> ObservedPairs:
    skew, seen = skew_margins("matrix", values[None], ~np.isnan(values)[None])
    pairs = _upper(seen[0])
    return ObservedPairs(pairs, skew[0][pairs.first, pairs.second], link, _votes_behind(votes, pairs))


def _votes_behind(votes: ArrayLike | None, pairs: Pairs) -> FloatArray | None:
    """Votes of each pair from a scalar or a symmetric matrix."""
    if votes is None:
        return None
    given = as_numbers("votes", votes, ndim=0 if np.ndim(votes) == 0 else 2).astype(np.float64)
    if given.ndim == 2:
        require_shape("votes", given, (pairs.n_items, pairs.n_items))
        back = given[pairs.second, pairs.first]
        given = given[pairs.first, pairs.second]
        reject_where("votes", given != back, given, rule="symmetric", remedy="Give both directions one count.")
    count = np.broadcast_to(given, pairs.first.shape).astype(np.float64)
    remedy = "A rate needs at least some votes behind it; write NaN in the matrix where there are none."
    reject_where("votes", ~(np.isfinite(count) & (count > 0)), count, rule="finite and > 0 for a rate", remedy=remedy)
    return count

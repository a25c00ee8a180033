"""Checked vote counts of a pair list."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sweetspot._checks import FloatArray, as_nonnegative, require_shape
from sweetspot._graph import ComparisonGraph, Pairs, checked_pairs, comparison_graph
from sweetspot._vote_models import Votes, votes_per_pair
from sweetspot.errors import ContractError


@dataclass(frozen=True)
class Ballot:
    """Checked votes: all rows, the rows that hold votes, and the votes of each distinct pair."""

    pairs: Pairs
    wins_i: FloatArray
    wins_j: FloatArray
    graph: ComparisonGraph
    votes: Votes

    @property
    def total(self) -> float:
        """Number of votes."""
        return float(self.votes.total.sum())


def read_ballot(i: ArrayLike, j: ArrayLike, wins_i: ArrayLike, wins_j: ArrayLike, n_items: int) -> Ballot:
    """Check vote counts (E,) and add them up by pair; rows without votes are no comparisons."""
    pairs = checked_pairs(i, j, n_items)
    first, second = as_nonnegative("wins_i", wins_i), as_nonnegative("wins_j", wins_j)
    require_shape("wins_i", first, pairs.first.shape)
    require_shape("wins_j", second, pairs.first.shape)
    voted = first + second > 0
    rows = pairs.where(voted)
    graph = comparison_graph(rows)
    return Ballot(pairs, first, second, graph, votes_per_pair(rows, graph, first[voted], second[voted]))


def require_finite_maximum(ballot: Ballot) -> None:
    """Raise unless every component is strongly connected under "beats at least once"."""
    votes, n = ballot.votes, ballot.pairs.n_items
    low, high = votes.pairs.first, votes.pairs.second
    winner = np.concatenate([low[votes.first > 0], high[votes.second > 0]])
    loser = np.concatenate([high[votes.first > 0], low[votes.second > 0]])
    beats = coo_array((np.ones(winner.size, dtype=np.int8), (winner, loser)), shape=(n, n))
    _, strong = connected_components(beats, directed=True, connection="strong")
    split = strong[low] != strong[high]
    if split.any():
        item = int(low[np.argmax(split)])
        raise ContractError(
            f"ridge: got 0, but item {item} only ever beats, or only ever loses to, some group of items it is "
            f"compared with, so the scores have no finite maximum ({int(split.sum())} pairs are one-sided in this "
            "way). Pass ridge > 0, for example 0.01."
        )

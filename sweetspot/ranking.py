"""Scores of items from comparisons, some of which are wrong.

Which function for which data:

    bradley_terry   one vote per pair, or clean votes                  maximum likelihood
    flip_mixture    three or more votes per pair, some pairs swapped   maximum likelihood with a flip rate
    lad             margins or win rates, up to half of them wrong     least absolute deviations
    batched_lad     the same for many small matrices at once
    complete        a whole preference matrix: picks one of these, or robust PCA for general rank
"""

from sweetspot._completion import CompletionResult, complete
from sweetspot._pair_ranking import PairRanking
from sweetspot._ranking_batch import BatchedLadResult, batched_lad
from sweetspot._ranking_lad import LadResult, lad
from sweetspot._ranking_votes import BradleyTerryResult, FlipMixtureResult, bradley_terry, flip_mixture

__all__ = [
    "BatchedLadResult",
    "BradleyTerryResult",
    "CompletionResult",
    "FlipMixtureResult",
    "LadResult",
    "PairRanking",
    "batched_lad",
    "bradley_terry",
    "complete",
    "flip_mixture",
    "lad",
]

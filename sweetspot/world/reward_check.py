"""How far the reward model of the embedded world agrees with the verifier, and what it favours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from sweetspot.world.replies import Response

CLEAR_GAP = 0.2
LEVEL_GAP = 0.1

Scored = tuple[Response, float]


@dataclass(frozen=True)
class RewardCheck:
    """A reward model beside the verifier, over every two responses to one prompt.

    Attributes:
        pairs: Pairs whose graded gap is at least 0.2.
        accuracy: Share of those pairs ordered as the verifier does; a tie counts as wrong.
        exact_over_broken: Share of pairs of an exact and a broken response where the exact one wins.
        longer_preferred: Share of level pairs where the longer text wins. Level means: neither broken,
            at most 0.1 apart in graded quality, of different length. The planted liking for length
            lifts it above one half.
    """

    pairs: int
    accuracy: float
    exact_over_broken: float
    longer_preferred: float


def check_reward(responses: Sequence[Response], scores: Sequence[float]) -> RewardCheck:
    """Compare the reward model's scores with the graded verifier.

    Args:
        responses: R responses, those to one problem next to each other.
        scores: R scores of them.

    Returns:
        Shares between 0 and 1; 0 where no pair qualifies.
    """
    clear, over_broken, longer = [], [], []
    for worse, better in _pairs(responses, scores):
        gap = better[0].quality - worse[0].quality
        wins = better[1] > worse[1]
        if gap >= CLEAR_GAP:
            clear.append(wins)
        if better[0].quality == 1.0 and worse[0].is_broken:
            over_broken.append(wins)
        if gap <= LEVEL_GAP and _sound_and_unequal(worse[0], better[0]):
            longer.append(wins == (len(better[0].text) > len(worse[0].text)))
    return RewardCheck(len(clear), _share(clear), _share(over_broken), _share(longer))


def _pairs(responses: Sequence[Response], scores: Sequence[float]) -> Iterator[tuple[Scored, Scored]]:
    """Every two scored responses to one prompt, the one of lower quality first."""
    rows = zip(responses, scores, strict=True)
    for _, group in groupby(rows, key=lambda row: row[0].problem.prompt):
        for a, b in combinations(group, 2):
            yield (a, b) if a[0].quality <= b[0].quality else (b, a)


def _sound_and_unequal(a: Response, b: Response) -> bool:
    return not (a.is_broken or b.is_broken) and len(a.text) != len(b.text)


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))

"""How far the reward model of the embedded world agrees with the verifier, and what it favours."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

import numpy as np

from sweetspot.world.preferences import LabelNoise, utility
from sweetspot.world.replies import Response


@dataclass(frozen=True)
class RewardAccuracy:
    """How far a reward model agrees with the verifier on two responses to one prompt.

    Attributes:
        pairs: Pairs whose graded gap is at least 0.2.
        accuracy: Share of them ordered as the verifier does.
        exact_over_broken: Share of pairs of an exact and a broken response ordered so.
        length_bias: Units of graded quality one more character is worth to the model; see `length_bias`.
    """

    pairs: int
    accuracy: float
    exact_over_broken: float
    length_bias: float


def reward_accuracy(responses: Sequence[Response], scores: Sequence[float], *, noise: LabelNoise) -> RewardAccuracy:
    """Compare scores with the verifier, over every two responses to one prompt.

    Args:
        responses: R responses, several per problem.
        scores: R scores of them.
        noise: The planted faults, which say what a broken response is worth.

    Returns:
        Shares between 0 and 1; a tie counts as wrong.
    """
    ordered, over_broken = [], []
    for group in _by_prompt(responses, scores):
        for pair in combinations(group, 2):
            (worse, worse_score), (better, better_score) = sorted(pair, key=lambda row: row[0].quality)
            if better.quality - worse.quality >= 0.2:
                ordered.append(better_score > worse_score)
            if better.quality == 1.0 and worse.is_broken:
                over_broken.append(better_score > worse_score)
    return RewardAccuracy(
        len(ordered), _share(ordered), _share(over_broken), length_bias(responses, scores, noise=noise)
    )


def length_bias(responses: Sequence[Response], scores: Sequence[float], *, noise: LabelNoise) -> float:
    """Units of quality one more character is worth: b / a in  score = a quality + b length + prompt effect.

    Fitted by least squares on values centred per prompt. Labels alone would give `noise.length_bonus`.
    """
    centred = [
        [(utility(r, noise, with_length=False), len(r.text), score) for r, score in group]
        for group in _by_prompt(responses, scores)
    ]
    rows = np.concatenate([np.array(group) - np.mean(group, axis=0) for group in centred])
    (per_quality, per_character), *_ = np.linalg.lstsq(rows[:, :2], rows[:, 2], rcond=None)
    return float(per_character / per_quality)


def _by_prompt(responses: Sequence[Response], scores: Sequence[float]) -> Iterator[list[tuple[Response, float]]]:
    rows = zip(responses, scores, strict=True)
    for _, group in groupby(rows, key=lambda row: row[0].problem.prompt):
        yield list(group)


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / max(1, len(hits))

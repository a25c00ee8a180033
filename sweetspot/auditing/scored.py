"""Which pairs a model scores, and a table with what it said of them; no model is needed here."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.tables import Pairs
from sweetspot.validation._text import mix

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

LOGPS = tuple(f"{model}_{side}_logps" for model in ("ref", "policy") for side in ("chosen", "rejected"))
REASONS: Mapping[str, str] = {
    "several_turns": "a response of several turns",
    "refused_by_template": "a prompt that the chat template refuses",
    "too_long": "longer than the model, or policy_tokens, allows",
    "not_finite": "a log-probability that is not finite",
}
"""Why a pair that was picked has no scores, in words."""


@dataclass(frozen=True)
class Scored:
    """Which model scored which pairs.

    Attributes:
        policy: the model meant to be trained, as the user named it.
        reference: the model DPO starts from; the same where only one was named.
        revisions: of both, by role.
        scorable: pairs that state a preference between two different texts.
        picked: pairs of these that were to be scored.
        left: picked pairs without scores, by reason.
        replaced: the data has log-probabilities of its own, which were set aside.
    """

    policy: str
    reference: str
    revisions: Mapping[str, str] = field(default_factory=dict[str, str])
    scorable: int = 0
    picked: int = 0
    left: Mapping[str, int] = field(default_factory=dict[str, int])
    replaced: bool = False

    @property
    def has_implicit(self) -> bool:
        """Whether policy and reference are two models, so that implicit margins exist."""
        return "policy" in self.revisions


def scorable(pairs: Pairs) -> IntArray:
    """Indices of the pairs that state a preference between two different texts, ascending."""
    identical = np.all(pairs.keys[:, 1] == pairs.keys[:, 2], axis=1)
    return np.flatnonzero(~pairs.tie & ~identical)


def pick(pairs: Pairs, most: int) -> IntArray:
    """At most so many of the scorable pairs by the hash of their texts, so in any order of rows the same; ascending."""
    rows = scorable(pairs)
    if len(rows) <= most:
        return rows
    keys = pairs.keys[rows]
    draw = mix(mix(mix(keys[:, 0, 0]) + keys[:, 1, 0]) + keys[:, 2, 0])
    return np.sort(rows[np.argsort(draw, kind="stable")[:most]])


def with_scores(pairs: Pairs, columns: Mapping[str, FloatArray]) -> Pairs:
    """The table with a model's columns instead of log-probabilities that came with the data."""
    own = {name: values for name, values in pairs.numbers.items() if name not in LOGPS}
    return replace(pairs, numbers={**own, **columns})

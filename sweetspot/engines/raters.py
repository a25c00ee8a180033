"""The place to add a rater: one class that keeps the `Rater` protocol, and one line in `open_rater`."""

import math
from collections.abc import Sequence

from sweetspot.config import RewardModel, Verifier
from sweetspot.engines.protocols import RatedResponse, Rater
from sweetspot.engines.revision import model_revision
from sweetspot.engines.verifiers import VERIFIERS

VERIFIER_VERSION = "verifier-2"


class VerifierRater:
    """A verifier as a rater: checks the response against the prompt's reference answer."""

    def __init__(self, settings: Verifier) -> None:
        self.name = settings.name
        self.revision = f"{VERIFIER_VERSION}-{settings.check}"
        self._check = VERIFIERS[settings.check]

    def score(self, items: Sequence[RatedResponse]) -> list[float]:
        """Score responses; NaN where the prompt has no reference answer."""
        return [
            math.nan if item.answer is None else self._check(item.response, item.answer, item.finish_reason or "stop")
            for item in items
        ]


def open_rater(settings: Verifier | RewardModel) -> Rater:
    """Load the rater a configuration names."""
    if isinstance(settings, Verifier):
        return VerifierRater(settings)
    from sweetspot.engines.reward_model import RewardModelRater

    return RewardModelRater(settings)


def rater_revision(settings: Verifier | RewardModel) -> str:
    """The revision a rater will report, without loading it."""
    if isinstance(settings, Verifier):
        return f"{VERIFIER_VERSION}-{settings.check}"
    return model_revision(settings.model, settings.revision)

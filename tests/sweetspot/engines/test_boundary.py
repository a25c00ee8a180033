import math

import pytest

from sweetspot.engines.boundary import checked_scores
from sweetspot.engines.protocols import RatedResponse
from sweetspot.errors import EngineError

PROMPT = [{"role": "user", "content": "p"}]
ITEMS = [RatedResponse(prompt=PROMPT, response="x" * n, answer=None, finish_reason="stop") for n in range(9)]


class Length:
    """Scores a response by its length, then spoils the batch."""

    name, revision = "length", "1"

    def __init__(self, spoil=lambda scores: scores):
        self.spoil = spoil

    def score(self, items):
        return self.spoil([float(len(item.response)) for item in items])


def test_honest_scores_pass():
    assert checked_scores(Length(), ITEMS) == [float(n) for n in range(9)]


def test_no_items_are_no_scores():
    assert checked_scores(Length(), []) == []


def test_non_finite_scores_are_passed_on_for_marking():
    scores = checked_scores(Length(lambda s: [math.nan if x == 3 else math.inf if x == 4 else x for x in s]), ITEMS)
    assert math.isnan(scores[3])
    assert scores[4] == math.inf


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s[:-1] if len(s) > 1 else s, "8 scores for 9 responses"),
        (lambda s: [*s, 0.0], "10 scores for 9 responses"),
        (lambda s: s[::-1], "permuted or depend on padding"),
        (lambda s: s[1:] + s[:1], "permuted or depend on padding"),
        (lambda s: [x + 0.1 * len(s) for x in s], "permuted or depend on padding"),
        (lambda s: ["high" for _ in s], "returned str, expected numbers"),
    ],
    ids=["short", "long", "reversed", "rotated", "batch dependent", "not numbers"],
)
def test_a_rater_that_cannot_be_trusted_is_refused(spoil, message):
    with pytest.raises(EngineError, match=message):
        checked_scores(Length(spoil), ITEMS)

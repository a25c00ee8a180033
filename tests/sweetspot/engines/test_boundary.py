import math
import random
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot import ids
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
    assert checked_scores(Length(), ITEMS) == [(float(n), "ok") for n in range(9)]


def test_no_items_are_no_scores():
    assert checked_scores(Length(), []) == []


def test_a_score_that_cannot_be_reckoned_with_is_masked_with_its_reason():
    spoilt = {3: math.nan, 4: math.inf, 5: None, 6: -1e30, 7: 10**400}
    cells = checked_scores(Length(lambda scores: [spoilt.get(int(x), x) for x in scores]), ITEMS)
    assert [cell.status for cell in cells[3:8]] == ["missing", "non_finite", "missing", "too_large", "too_large"]
    assert all(cell.score is None for cell in cells[3:8])
    assert cells[8] == (8.0, "ok")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s[:-1] if len(s) > 1 else s, "8 scores for 9 responses"),
        (lambda s: [*s, 0.0], "10 scores for 9 responses"),
        (lambda s: s[::-1], "permuted or depend on padding"),
        (lambda s: s[1:] + s[:1], "permuted or depend on padding"),
        (
            lambda s: [x + 0.1 * len(s) for x in s],
            r"8 of 8 sampled .* batch of 9, max \|Δ\| 0\.8, tolerance 0\.008 \(item \d",
        ),
        (lambda s: ["high" for _ in s], r"returned str, expected numbers \(9 of 9 scores, first item 0\)"),
        (lambda s: None, "returned NoneType, expected numbers"),
        (lambda s: np.array([s]).T, "returned ndarray, expected numbers"),
    ],
    ids=["short", "long", "reversed", "rotated", "batch dependent", "not numbers", "nothing", "a column"],
)
def test_a_rater_that_cannot_be_trusted_is_refused(spoil, message):
    with pytest.raises(EngineError, match=message):
        checked_scores(Length(spoil), ITEMS)


def test_a_rater_may_name_its_own_tolerance():
    rater = Length(lambda s: [x + 0.01 * len(s) for x in s])
    with pytest.raises(EngineError, match=r"max \|Δ\| 0\.08"):
        checked_scores(rater, ITEMS)
    rater.tolerance = 5e-2  # pyright: ignore[reportAttributeAccessIssue]
    assert len(checked_scores(rater, ITEMS)) == 9


def test_a_rater_far_from_zero_may_not_permute_either():
    with pytest.raises(EngineError, match=r"max \|Δ\| "):
        checked_scores(Length(lambda s: [1e4 + x for x in reversed(s)]), ITEMS)


CELLS = {
    "NaN": (math.nan, "missing"),
    "None": (None, "missing"),
    "inf": (math.inf, "non_finite"),
    "-inf": (-math.inf, "non_finite"),
    "float32 inf": (np.float32("inf"), "non_finite"),
    "huge": (-1.7e308, "too_large"),
    "bignum": (10**5000, "too_large"),
    "Decimal": (Decimal("1e40"), "too_large"),
}
ROWS = {
    "short": lambda s: s[:-1],
    "long": lambda s: [*s, 0.5],
    "empty": lambda s: [],
    "reversed": lambda s: s[::-1],
    "rotated": lambda s: s[-1:] + s[:-1],
    "objects": lambda s: [*s[:-1], object()],
    "texts": lambda s: [str(x) for x in s],
    "complex": lambda s: [complex(x) for x in s],
    "nested": lambda s: [[x] for x in s],
    "by key": lambda s: {f"id {n}": x for n, x in enumerate(s)},
    "shifted by the batch": lambda s: [x + len(s) for x in s],
    "scaled by the batch": lambda s: [x * len(s) for x in s],
}


class Wrapped:
    """Honest scores of texts that are all different, then one fault in batches of more than one."""

    name, revision = "wrapped", "1"

    def __init__(self, truth, cells, whole):
        self.truth, self.cells, self.whole = truth, cells, whole

    def score(self, items):
        texts = [item.response for item in items]
        scores = [CELLS[self.cells[text]][0] if text in self.cells else self.truth[text] for text in texts]
        return self.whole(scores) if len(scores) > 1 else scores


def items_of(texts):
    return [RatedResponse(prompt=PROMPT, response=text, answer=None, finish_reason="stop") for text in texts]


@settings(max_examples=300, deadline=None)
@given(
    scores=st.lists(st.integers(1, 500), min_size=2, max_size=60, unique=True),
    fault=st.sampled_from(sorted(ROWS)),
    order=st.randoms(use_true_random=False),
)
def test_every_fault_of_a_whole_batch_is_caught(scores, fault, order):
    order.shuffle(scores)
    truth = {f"text {number}": float(score) for number, score in enumerate(scores)}
    with pytest.raises(EngineError):
        checked_scores(Wrapped(truth, {}, ROWS[fault]), items_of(truth))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), scores=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60))
def test_every_fault_of_single_scores_is_masked_and_nothing_else_is(data, scores):
    truth = {f"text {number}": score for number, score in enumerate(scores)}
    faults = data.draw(st.dictionaries(st.sampled_from(sorted(truth)), st.sampled_from(sorted(CELLS))))
    cells = checked_scores(Wrapped(truth, faults, list), items_of(truth))
    for text, cell in zip(truth, cells, strict=True):
        assert cell == ((None, CELLS[faults[text]][1]) if text in faults else (truth[text], "ok"))


@settings(max_examples=100, deadline=None)
@given(size=st.integers(2, 200), seed=st.integers(0, 2**32))
def test_shuffled_scores_are_caught(size, seed):
    truth, order = {f"text {number}": float(number) for number in range(size)}, random.Random(seed)

    def shuffled(scores):
        moved = scores[:]
        while moved == scores:
            order.shuffle(moved)
        return moved

    rater = Wrapped(truth, {}, shuffled)
    sampled = sorted(truth, key=lambda text: ids.uniform(text, "parity"))[:8]
    try:
        cells = checked_scores(rater, items_of(truth))
    except EngineError:
        return
    assert size > 8, "of so few every one is looked at"
    stayed = [text for text, cell in zip(truth, cells, strict=True) if cell.score == truth[text]]
    assert set(sampled) <= set(stayed), "only a shuffle that leaves every sampled score in its place gets through"

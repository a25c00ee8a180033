import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.validation.canaries import not_below, order_kept

QUALITY = st.floats(-5, 5) | st.just(float("nan"))
PAIRS = st.lists(st.tuples(QUALITY, QUALITY), min_size=1)


def test_ties_and_missing_qualities_are_not_kept():
    found = order_kept([2.0, 1.0, np.nan, 1.0, 0.0], [1.0, 1.0, 0.0, np.nan, 1.0])
    assert (found.pairs, found.kept, found.share, found.first_broken) == (5, 1, 0.2, 1)


def test_no_pair_breaks_nothing():
    assert order_kept([], []) == order_kept(np.empty(0), np.empty(0))
    assert order_kept([], []).share == 1.0
    assert order_kept([], []).first_broken is None


@given(PAIRS)
def test_the_count_is_that_of_a_loop(pairs):
    better, worse = zip(*pairs, strict=True)
    found = order_kept(better, worse)
    assert found.kept == sum(a > b for a, b in pairs)
    assert found.first_broken == next((i for i, (a, b) in enumerate(pairs) if not a > b), None)


@given(PAIRS)
def test_an_order_cannot_be_kept_both_ways(pairs):
    better, worse = zip(*pairs, strict=True)
    assert order_kept(better, worse).kept + order_kept(worse, better).kept <= len(pairs)


def test_a_bad_response_gets_through_unless_it_is_dropped_or_lower():
    assert not_below([np.nan, 0.0, 1.0, 2.0, 0.0], [1.0, 1.0, 1.0, 1.0, np.nan]).tolist() == [
        False, False, True, True, True,
    ]  # fmt: skip


def test_bad_input_is_refused():
    with pytest.raises(ContractError, match="lengths differ"):
        order_kept([1.0], [])
    with pytest.raises(ContractError, match="better: 1 of 1 values cannot be used"):
        order_kept([np.inf], [1.0])
    with pytest.raises(ContractError, match="lengths differ"):
        not_below([1.0], [])

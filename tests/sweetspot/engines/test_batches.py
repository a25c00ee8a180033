import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.engines._batches import right_padded, token_budget_batches

LENGTHS = st.lists(st.integers(1, 60), max_size=40)


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 200))
def test_every_row_is_in_exactly_one_batch(lengths, budget):
    rows = [row for batch in token_budget_batches(lengths, batch_tokens=budget) for row in batch]
    assert sorted(rows) == list(range(len(lengths)))


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 200))
def test_padded_tokens_stay_within_the_budget_unless_a_row_is_alone(lengths, budget):
    for batch in token_budget_batches(lengths, batch_tokens=budget):
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= budget


@settings(max_examples=50, deadline=None)
@given(LENGTHS, st.integers(1, 200))
def test_the_next_row_would_not_have_fitted(lengths, budget):
    batches = token_budget_batches(lengths, batch_tokens=budget)
    assert all((len(batch) + 1) * lengths[batch[0]] > budget for batch in batches[:-1])


def test_longest_rows_come_first_and_equal_ones_keep_their_order():
    assert token_budget_batches([2, 5, 2, 9, 5], batch_tokens=10) == [[3], [1, 4], [0, 2]]


def test_no_rows_give_no_batches():
    assert token_budget_batches([], batch_tokens=10) == []


def test_padding_is_on_the_right_and_masked():
    ids, mask = right_padded([[5, 6, 7], [8], []], pad_id=3, device=torch.device("cpu"))
    assert ids.tolist() == [[5, 6, 7], [8, 3, 3], [3, 3, 3]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0], [0, 0, 0]]

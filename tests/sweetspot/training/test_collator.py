import math

import pytest

from sweetspot.training.collator import PairCollator
from sweetspot.training.data import TokenPair

PAIRS = [
    TokenPair("a", (1, 2, 3), (4, 5), (6,), False, 0.5, (-1.0, -2.0)),
    TokenPair("b", (7, 8), (9,), (10, 11), True, math.nan, (-3.0, -4.0)),
]


def test_chosen_come_first_and_padding_is_on_the_right():
    batch = PairCollator(pad_token_id=0)(PAIRS)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [7, 8, 9, 0, 0], [1, 2, 3, 6, 0], [7, 8, 10, 11, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 1, 1, 0]]
    assert batch["response_mask"].int().tolist() == [
        [0, 0, 0, 1, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
        [0, 0, 1, 1, 0],
    ]


def test_what_is_said_per_pair_stays_with_its_pair():
    batch = PairCollator(pad_token_id=0)(PAIRS)
    assert batch["is_sft"].tolist() == [False, True]
    assert batch["chosen_lengths"].tolist() == [2, 1]
    assert batch["rejected_lengths"].tolist() == [1, 2]
    assert batch["reference_chosen_logps"].tolist() == [-1.0, -3.0]
    assert batch["reference_rejected_logps"].tolist() == [-2.0, -4.0]
    assert batch["rating_gap"][0] == 0.5
    assert batch["rating_gap"].isnan().tolist() == [False, True]


@pytest.mark.parametrize(("multiple", "width"), [(None, 5), (1, 5), (4, 8), (5, 5), (64, 64)])
def test_width_is_rounded_up_to_the_multiple(multiple, width):
    batch = PairCollator(0, multiple)(PAIRS)
    assert {batch[name].shape for name in ("input_ids", "attention_mask", "response_mask")} == {(4, width)}
    assert batch["attention_mask"].sum() == 5 + 3 + 4 + 4

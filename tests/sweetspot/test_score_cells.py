import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweetspot.score_cells import LARGEST_SCORE, read_score, score_cell

anything = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=4),
    st.complex_numbers(), st.decimals(), st.fractions(), st.lists(st.floats(), max_size=2),
    st.integers(-400, 400).map(lambda power: 10**abs(power)), st.floats(width=16).map(np.float16),
)  # fmt: skip


@given(anything)
def test_only_a_finite_number_of_a_usable_size_is_ok(value):
    for read in (score_cell, read_score):
        score, status = read(value)
        assert (score is None) == (status != "ok")
        assert score is None or (type(score) is float and abs(score) < LARGEST_SCORE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1, (1.0, "ok")),
        (True, (1.0, "ok")),
        (np.float32(0.5), (0.5, "ok")),
        (Decimal("0.25"), (0.25, "ok")),
        (Fraction(1, 8), (0.125, "ok")),
        (5e-324, (5e-324, "ok")),
        (math.nextafter(1e30, 0), (math.nextafter(1e30, 0), "ok")),
        (1e30, (None, "too_large")),
        (-(10**400), (None, "too_large")),
        (math.nan, (None, "missing")),
        (None, (None, "missing")),
        (-math.inf, (None, "non_finite")),
        (Decimal("sNaN"), (None, "failed")),
        (1j, (None, "failed")),
        ("1", (None, "failed")),
        (np.array([1.0]), (None, "failed")),
    ],
)
def test_each_kind_of_value_has_its_status(value, expected):
    assert score_cell(value) == expected


def test_minus_zero_is_zero():
    assert math.copysign(1, score_cell(-0.0).score or 0.0) == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1.5", (1.5, "ok")),
        (" -2 ", (-2.0, "ok")),
        ("", (None, "missing")),
        (" ", (None, "missing")),
        ("nan", (None, "missing")),
        ("-inf", (None, "non_finite")),
        ("1e31", (None, "too_large")),
        ("good", (None, "failed")),
        (3, (3.0, "ok")),
    ],
)
def test_a_source_may_write_numbers_as_texts(value, expected):
    assert read_score(value) == expected

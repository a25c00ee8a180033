import numpy as np
import pytest
from scipy.stats import spearmanr

from sweetspot.errors import ContractError
from sweetspot.validation.correlation import within_group_spearman


def test_equals_scipy_in_every_group():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 9, 200)
    first, second = rng.integers(0, 5, 200).astype(float), rng.normal(size=200)
    expected = np.mean([spearmanr(first[groups == g], second[groups == g])[0] for g in range(9)])
    assert within_group_spearman(groups, first, second) == pytest.approx(expected, abs=1e-12)


def test_a_difference_between_groups_does_not_count():
    groups, first = np.repeat([0, 1], 3), np.array([1.0, 2, 3, 101, 102, 103])
    second = np.array([3.0, 2, 1, 103, 102, 101])
    assert within_group_spearman(groups, first, second) == pytest.approx(-1)


def test_missing_values_leave_their_row_only():
    first, second = [1.0, 2, np.nan, 3], [1.0, 2, -9, 3]
    assert within_group_spearman([0, 0, 0, 0], first, second) == pytest.approx(1)


def test_constant_groups_give_none():
    assert within_group_spearman([0, 0, 1, 1], [1.0, 1, 2, 2], [1.0, 2, 3, 4]) is None


def test_unequal_lengths_are_refused():
    with pytest.raises(ContractError, match="shapes"):
        within_group_spearman([0, 0], [1.0], [1.0, 2])

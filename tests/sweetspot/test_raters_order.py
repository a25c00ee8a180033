import itertools

import numpy as np
import pytest

from sweetspot import _selection
from sweetspot._row_order import comparators, count_down, row_means, row_medians, sort_rows
from sweetspot._selection import column_medians, median, sample_rows


@pytest.mark.parametrize("n", range(1, 13))
def test_the_network_sorts_every_sequence_of_zeros_and_ones(n):
    # Zero-one principle: a network that sorts all 0-1 sequences sorts everything.
    bits = np.array(list(itertools.product([0.0, 1.0], repeat=n))).T
    assert np.array_equal(sort_rows(bits), np.sort(bits, axis=0))


@pytest.mark.parametrize("n", [1, 2, 13, 31, 32, 33, 40])
def test_rows_of_any_length_are_sorted(n):
    values = np.random.default_rng(n).normal(size=(n, 50))
    before = values.copy()
    assert np.array_equal(sort_rows(values), np.sort(values, axis=0))
    assert np.array_equal(values, before)


def test_four_values_need_five_comparators():
    assert len(comparators(4)) == 5


def test_row_summaries_ignore_what_is_missing():
    values = np.array([[1.0, np.nan, np.nan], [5.0, 2.0, np.nan], [9.0, 4.0, np.nan]])
    counts = np.array([3, 2, 0])
    assert np.array_equal(row_medians(values, counts), [5.0, 3.0, np.nan], equal_nan=True)
    assert np.array_equal(row_means(values, counts), [5.0, 3.0, np.nan], equal_nan=True)


def test_counting_is_exact_beyond_one_byte():
    assert count_down(np.ones((300, 2), dtype=bool)).tolist() == [300, 300]
    assert count_down(np.ones((255, 2), dtype=bool)).tolist() == [255, 255]


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=5001),
        np.random.default_rng(1).normal(size=5000),
        np.random.default_rng(2).integers(1, 4, 5000).astype(float),
        np.sort(np.random.default_rng(3).standard_cauchy(5000)),
        np.repeat([0.0, 1.0], 2500),
        np.full(5000, 7.0),
    ],
    ids=["odd", "even", "ties", "sorted", "two_values", "constant"],
)
def test_the_sampled_median_is_the_exact_median(monkeypatch, values):
    monkeypatch.setattr(_selection, "_COPY_LIMIT", 100)
    monkeypatch.setattr(_selection, "_SAMPLE_SIZE", 200)

    def blocks():
        return ([part] for part in np.array_split(values, 7))

    sample = values[sample_rows(values.size)]
    assert sample.size == 200
    assert column_medians(blocks, [sample], n_rows=values.size)[0] == np.median(values)


def test_a_sample_that_misses_the_median_does_not_change_it(monkeypatch):
    monkeypatch.setattr(_selection, "_COPY_LIMIT", 100)
    values = np.random.default_rng(5).normal(size=1000)
    for sample in (np.full(50, 9.0), np.array([-9.0, -8.0]), np.empty(0)):
        got = column_medians(lambda: [[values]], [sample], n_rows=1000)
        assert got[0] == np.median(values)


def test_columns_of_different_length_keep_their_own_median(monkeypatch):
    monkeypatch.setattr(_selection, "_COPY_LIMIT", 100)
    rng = np.random.default_rng(6)
    columns = [rng.normal(size=900), rng.normal(size=301) + 5, np.empty(0)]

    def blocks():
        yield [column[:100] for column in columns]
        yield [column[100:] for column in columns]

    got = column_medians(blocks, [column[:40] for column in columns], n_rows=1000)
    assert got[:2].tolist() == [np.median(columns[0]), np.median(columns[1])]
    assert np.isnan(got[2])


def test_the_middle_of_two_huge_values_does_not_overflow():
    assert median(np.array([1.5e308, 1.7e308])) == pytest.approx(1.6e308)
    assert np.isnan(median(np.empty(0)))

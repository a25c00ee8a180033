"""Middle quantile bands: golden selection, open ends, laws, warnings and errors."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.influence import lossdiff_irm, tif

LOSSDIFF = [-3, -1, -0.5, 0, 0.2, 0.4, 0.6, 1, 2, 5]
IRM = [2, -4, 0.1, 0.3, 0.2, 0.5, -0.2, 0.8, 6, 1]


def quantile(values, level):
    """Linear interpolation between order statistics, by hand."""
    ordered = sorted(values)
    place = level * (len(ordered) - 1)
    left = math.floor(place)
    right = min(left + 1, len(ordered) - 1)
    return ordered[left] + (place - left) * (ordered[right] - ordered[left])


def test_golden_selection():
    result = lossdiff_irm(LOSSDIFF, IRM)
    assert result.lossdiff_bounds == pytest.approx([-1.2, 2.3])
    assert result.irm_bounds == pytest.approx([-0.58, 2.4])
    assert np.flatnonzero(result.keep).tolist() == [2, 3, 4, 5, 6, 7]
    assert result.kept_fraction == 0.6
    assert result.warnings == ()


def test_types():
    one, two = tif(LOSSDIFF), lossdiff_irm(LOSSDIFF, IRM)
    assert one.keep.dtype == two.keep.dtype == bool
    assert one.bounds.shape == two.lossdiff_bounds.shape == two.irm_bounds.shape == (2,)
    assert type(one.kept_fraction) is type(two.kept_fraction) is float


def test_golden_influence_of_a_linear_model():
    theta, train = np.array([0.5, -0.2]), np.array([[1, 0], [0, 1], [-1, 0.5]])

    def gradient(x):  # of sp(-x·theta)
        return -x / (1 + np.exp(x @ theta))

    validation = (gradient(np.array([1, 1])) + gradient(np.array([2, 0]))) / 2
    influence = [gradient(x) @ validation for x in train]
    assert influence == pytest.approx([0.1818689525, 0.1169929860, -0.2423346929], abs=1e-10)
    assert tif(influence, 0.0, 1.0).keep.tolist() == [False, True, False]


def test_band_is_open_at_both_ends_and_signed():
    values = [-4.0, -1, 0, 1, 2]
    assert tif(values, 0.0, 1.0).keep.tolist() == [False, True, True, True, False]
    assert tif(values, 0.25, 0.75).keep.tolist() == [False, False, True, False, False]
    assert tif([-9.0, -9, -1, 0, 1, 9, 9], 1 / 6, 5 / 6).keep.tolist() == [False, False, True, True, True, False, False]


def test_each_band_is_taken_over_all_pairs():
    lossdiff, irm = np.random.default_rng(0).normal(size=(2, 500))
    both = lossdiff_irm(lossdiff, irm, low=0.2, high=0.7)
    assert np.array_equal(both.keep, tif(lossdiff, 0.2, 0.7).keep & tif(irm, 0.2, 0.7).keep)


score_lists = st.lists(st.integers(-40, 40), min_size=5, max_size=40).filter(
    lambda v: quantile(v, 0.25) != quantile(v, 0.75)
)


@settings(max_examples=50, deadline=None)
@given(score_lists, st.sampled_from([(0.1, 0.9), (0.0, 0.75), (0.3, 1.0)]))
def test_band_matches_the_definition(values, levels):
    low, high = (quantile(values, level) for level in levels)
    inside = [low + 1e-9 < v < high - 1e-9 for v in values]
    if not any(inside):
        return
    result = tif(values, *levels, min_fraction=0)
    assert result.bounds == pytest.approx([low, high])
    assert result.kept_fraction == pytest.approx(np.mean(result.keep))
    assert all(k or not i for k, i in zip(result.keep, inside, strict=True))


def test_positive_scaling_offset_and_order_change_nothing():
    rng = np.random.default_rng(1)
    lossdiff, irm = rng.normal(size=(2, 300))
    order = rng.permutation(300)
    plain = lossdiff_irm(lossdiff, irm).keep
    assert np.array_equal(lossdiff_irm(4 * lossdiff - 7, 0.25 * irm + 3).keep, plain)
    assert np.array_equal(lossdiff_irm(lossdiff[order], irm[order]).keep, plain[order])
    assert not np.array_equal(lossdiff_irm(np.abs(lossdiff), irm).keep, plain)


def test_inputs_stay_and_results_are_fresh():
    values = np.array(LOSSDIFF, dtype=float)
    result = tif(values)
    result.bounds[:] = 0
    assert values.tolist() == LOSSDIFF


def test_few_kept_warns_strictly_below_the_minimum():
    values = np.arange(100.0)
    result = tif(values, 0.45, 0.55)
    assert result.kept_fraction == 0.1
    assert result.warnings == ()
    assert tif(values, 0.45, 0.55, min_fraction=0.11).warnings[0].startswith("few_kept: 10 of 100 pairs")
    assert lossdiff_irm(values, values, low=0.45, high=0.54).warnings[0].startswith("few_kept: ")


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, r"influence: got shape \(0,\), expected at least 1"),
        ([[1.0, 2.0]], {}, r"influence: got shape \(1, 2\), expected 1 dimension"),
        ([1, math.nan, 2, math.inf], {}, r"influence: 2 of 4 values .*first index 1"),
        ([1.0], {}, r"influence: the interquartile range is 0 \(both quartiles 1\)"),
        ([0.0] * 8 + [-1, 1], {}, r"interquartile range is 0"),
        ([1.0, 2.0], {}, r"none of 2 pairs lies inside"),
        ([0, 0, 1, 1], {"low": 0.0, "high": 1.0}, r"low, high: none of 4 pairs lies inside the band"),
        (LOSSDIFF, {"low": 0.9, "high": 0.1}, r"low, high: got 0.9 and 0.1, expected low < high"),
        (LOSSDIFF, {"low": 0.5, "high": 0.5}, r"expected low < high"),
        (LOSSDIFF, {"low": -0.1}, r"low: got -0.1, expected a quantile level in \[0, 1\]"),
        (LOSSDIFF, {"high": 1.1}, r"high: got 1.1"),
        (LOSSDIFF, {"low": math.nan}, r"low: got nan"),
        (LOSSDIFF, {"min_fraction": 1.5}, r"min_fraction: got 1.5"),
        (LOSSDIFF, {"min_fraction": math.nan}, r"min_fraction: got nan"),
    ],
)
def test_tif_refuses(values, options, message):
    with pytest.raises(ContractError, match=message):
        tif(values, **options)


@pytest.mark.parametrize(
    ("lossdiff", "irm", "message"),
    [
        (LOSSDIFF, IRM[:-1], r"shapes disagree: lossdiff \(10,\), irm \(9,\)"),
        (LOSSDIFF, [0.0] * 10, r"irm: the interquartile range is 0.*before warm-up"),
        ([0.0] * 10, IRM, r"lossdiff: the interquartile range is 0"),
        (LOSSDIFF, [*IRM[:-1], math.inf], r"irm: 1 of 10 values"),
        ([0.0, 1, 2, 3, 4], [1.0, 2, 9, 3, 4], r"none of 5 pairs"),
    ],
)
def test_lossdiff_irm_refuses(lossdiff, irm, message):
    with pytest.raises(ContractError, match=message):
        lossdiff_irm(lossdiff, irm, low=0.3, high=0.7)


def test_scores_whose_range_overflows_keep_their_band():
    values = np.arange(-10.0, 11.0)
    plain, wide = tif(values), tif(values * 1e307)
    assert np.array_equal(wide.keep, plain.keep)
    assert wide.bounds == pytest.approx(plain.bounds * 1e307, rel=1e-14)
    apart = np.array([-17.0, -16.0, 16.0, 17.0])  # a bound between two neighbours whose difference overflows
    assert tif(apart * 1e307, low=0.4).bounds == pytest.approx(tif(apart, low=0.4).bounds * 1e307, rel=1e-14)
    both = lossdiff_irm(values * 1e307, values)
    assert np.array_equal(both.keep, plain.keep)

"""BeeS: the linear map, the search for U, fusion of sources, selection, warnings and errors."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.margins import bees, dynamic_upper, fuse, linear_probability

NAN, INF = math.nan, math.inf
B5 = [[6, 3, 0, -1, 12, 2], [4, 3, 5, 9, -1, 0.5]]
CUBIC_TAIL = 22 * (np.arange(1000) / 999) ** 3 - 2
OUTLIERS = np.r_[np.linspace(-5, 10, 500), 40, 80]

# ---- linear_probability


def test_linear_map_golden():
    assert linear_probability([-5, -2, 0, 3, 8, 20], -2, 8).tolist() == [0, 0, 0.2, 0.5, 1, 1]


def test_linear_map_broadcasts_one_upper_per_source():
    result = linear_probability(B5, -2, np.array([[8], [6]]))
    assert result[0] == pytest.approx([0.8, 0.5, 0.2, 0.1, 1, 0.4])
    assert result[1] == pytest.approx([0.75, 0.625, 0.875, 1, 0.125, 0.3125])


def test_linear_map_takes_any_shape():
    scalar = linear_probability(3, -2, 8)
    assert isinstance(scalar, np.ndarray)
    assert scalar.shape == ()
    assert scalar == 0.5
    assert linear_probability(np.zeros((2, 0, 3)), -2, 8).shape == (2, 0, 3)
    assert linear_probability(3, -2, [8.0, 13.0]).tolist() == [0.5, 1 / 3]


def test_linear_map_leaves_inputs_alone():
    margins = np.array([-3.0, 1.0])
    low, high = np.array([-2.0, -2.0]), np.array([8.0, 8.0])
    linear_probability(margins, low, high)[:] = 9
    assert margins.tolist() == [-3, 1]
    assert low.tolist() == [-2, -2]
    assert high.tolist() == [8, 8]


def test_linear_map_of_a_range_beyond_float64_is_finite():
    assert linear_probability([-1.7e308, 0, 1.7e308], -1.6e308, 1.6e308).tolist() == [0, 0.5, 1]
    assert linear_probability([0, 5e-324], 0, 5e-324).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1, NAN, INF], -2, 8), r"margins: 2 of 3 values .* \(first index 1, got nan\)"),
        (([1], NAN, 8), r"lower: 1 of 1"),
        (([1], -2, INF), r"upper: 1 of 1"),
        (([1], 8, 8), r"upper: 1 of 1 values .* expected upper > lower"),
        (([1, 2], [-2, 3], [8, 2]), r"upper: 1 of 2 values .*first index 1"),
        (([1, 2, 3], [-2, 3], 8), r"do not broadcast"),
        ((["a"], -2, 8), r"margins: got dtype"),
    ],
)
def test_linear_map_refuses(arguments, message):
    with pytest.raises(ContractError, match=message):
        linear_probability(*arguments)


# ---- dynamic_upper


def walk(margins, lower, min_count, start_divisor):
    """The definition, one step at a time."""
    top = max(margins)
    u = math.ceil(lower + 1)
    if start_divisor is not None:
        u = max(int(top / start_divisor), u)
    while True:
        n = sum(m >= u for m in margins)
        if n < min_count or n < top - u:
            return max(min(u, top), lower + 1)
        u += 1


@pytest.mark.parametrize(
    ("margins", "expected"),
    [
        (CUBIC_TAIL, (19, 19, 19)),
        (OUTLIERS, (53, 40, 8)),
        (np.linspace(-3, 5, 20), (3, 2, -1)),
        (np.linspace(0, 5, 1001), (5, 5, 5)),
    ],
)
def test_dynamic_upper_golden(margins, expected):
    found = [dynamic_upper(margins, start_divisor=d) for d in (1.5, 2.0, None)]
    assert found == list(expected)
    assert all(type(u) is float for u in found)


margin_lists = st.lists(st.floats(-30, 60) | st.integers(-10, 40).map(float), min_size=1, max_size=60)


@settings(max_examples=50, deadline=None)
@given(
    margin_lists,
    st.sampled_from([-2.0, -7.3, 0.0, 4.5]),
    st.integers(1, 12),
    st.sampled_from([None, 0.7, 1.0, 1.5, 2.0, 30.0]),
)
def test_dynamic_upper_equals_the_walk(margins, lower, min_count, start_divisor):
    found = dynamic_upper(margins, lower=lower, min_count=min_count, start_divisor=start_divisor)
    assert found == walk(margins, lower, min_count, start_divisor)


def test_both_conditions_are_strict():
    exactly_min_count = [5.5] * 30  # n(5) = 30 is not < 30, so the search goes past 5
    assert dynamic_upper(exactly_min_count, start_divisor=1.0) == 5.5
    assert dynamic_upper([*exactly_min_count, 6.5], min_count=30, start_divisor=1.3) == 6
    equal = [10.0, 0.0, 0.0, 0.0]  # n(1) = 1 < 9 stops; n(0) = 4 < 10 stops
    assert dynamic_upper(equal, lower=5, min_count=1, start_divisor=None) == 6  # n(6) = 1 < 4
    assert dynamic_upper([10, 6, 6, 6], lower=5, min_count=1, start_divisor=None) == 7  # n(6) = 4 is not < 4


def test_dynamic_upper_does_not_walk_through_a_range_of_1e12():
    near_top = np.linspace(1e12 - 40, 1e12, 500)
    began = time.process_time()
    assert dynamic_upper(near_top, start_divisor=None) == -1  # 500 < 1e12 + 1 stops at the start
    assert dynamic_upper(near_top, start_divisor=1.0 + 3e-11) == 1e12 - 2  # starts 30 below the top
    assert dynamic_upper(-near_top, lower=-2e12, start_divisor=None) == -2e12 + 1
    assert dynamic_upper([1e12] * 50, lower=1e12 - 5, start_divisor=None) == 1e12
    assert time.process_time() - began < 0.5


def test_dynamic_upper_at_the_ends_of_float64():
    assert dynamic_upper([1e308] * 40, start_divisor=1.0) == 1e308
    assert dynamic_upper([1e308] * 40, start_divisor=1e-9) == 1e308
    assert dynamic_upper([-1e308] * 40, start_divisor=1e-9) == -1
    assert dynamic_upper([2.0**53] * 40, start_divisor=1.0) == 2.0**53


def test_dynamic_upper_never_returns_lower_or_less():
    assert dynamic_upper([-9.0, -8.0], start_divisor=1.5) == -1
    assert dynamic_upper([-9.0, -8.0], lower=-2.5, start_divisor=None) == -1.5


@pytest.mark.parametrize(
    ("margins", "options", "message"),
    [
        ([], {}, r"margins: got shape \(0,\), expected at least 1"),
        ([[1.0]], {}, r"margins: got shape \(1, 1\), expected 1 dimension"),
        ([1, NAN], {}, r"margins: 1 of 2 values"),
        ([1], {"min_count": 0}, r"min_count: got 0, expected an integer >= 1"),
        ([1], {"min_count": 2.5}, r"min_count: got 2.5"),
        ([1], {"lower": INF}, r"lower: got inf"),
        ([1], {"start_divisor": 0}, r"start_divisor: got 0, expected a finite number > 0"),
        ([1], {"start_divisor": NAN}, r"start_divisor: got nan"),
        ([1], {"start_divisor": "2"}, r"start_divisor: got '2'"),
    ],
)
def test_dynamic_upper_refuses(margins, options, message):
    with pytest.raises(ContractError, match=message):
        dynamic_upper(margins, **{"start_divisor": 1.5, **options})


def test_dynamic_upper_asks_for_a_divisor():
    with pytest.raises(TypeError):
        dynamic_upper([1.0])


# ---- fuse


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ((0.5, 0.5), 0.5),
        ((0.7, 0.6), 0.777778),
        ((0.9, 0.5), 0.9),
        ((0.9, 0.1), 0.5),
        ((0.8, 0.8), 0.941176),
        ((0.2, 0.2), 0.058824),
        ((0.7, 0.6, 0.4), 0.7),
        ((0.9, 0.9, 0.2), 0.952941),
        ((0.3,), 0.3),
    ],
)
def test_fuse_golden(sources, expected):
    assert fuse([[p] for p in sources]) == pytest.approx([expected], abs=5e-7)


@pytest.mark.parametrize(
    ("sources", "expected"),
    [
        ((1, 0.51), 1),
        ((1, 1e-12), 1),
        ((0, 1 - 1e-12), 0),
        ((1, 0), 0.5),
        ((1, 1, 0), 1),
        ((1, 0, 0), 0),
        ((1, 0, 1, 0), 0.5),
        ((1,), 1),
        ((0,), 0),
    ],
)
def test_fuse_ends_are_exact(sources, expected):
    assert fuse([[p] for p in sources])[0] == expected


def test_ones_and_zeros_cancel_and_the_rest_decides():
    assert fuse([[1], [0], [0.7]])[0] == pytest.approx(0.7, rel=1e-15)


def test_fuse_is_the_product_rule():
    p = np.random.default_rng(0).uniform(0.01, 0.99, size=(5, 300))
    product, complement = p.prod(axis=0), (1 - p).prod(axis=0)
    assert fuse(p) == pytest.approx(product / (product + complement), rel=1e-12)


def test_three_thousand_sources_do_not_underflow():
    p = np.full((3000, 3), 0.5)
    p[:1500, 1], p[1500:, 1] = 1e-9, 1 - 1e-9
    p[:, 2] = 0.501
    assert fuse(p)[:2] == pytest.approx([0.5, 0.5], abs=1e-4)
    assert fuse(p)[2] == pytest.approx(1 / (1 + (0.499 / 0.501) ** 3000), rel=1e-10)


sources = st.lists(st.floats(0.001, 0.999), min_size=1, max_size=6)


@settings(max_examples=50, deadline=None)
@given(sources, st.randoms())
def test_fuse_laws(p, random):
    fused = fuse(np.array([p]).T)[0]
    shuffled = random.sample(p, len(p))
    assert fuse(np.array([shuffled]).T)[0] == fused
    assert fuse(np.array([[*p, 0.5]]).T)[0] == fused
    assert fuse(1 - np.array([p]).T)[0] == pytest.approx(1 - fused, abs=1e-9)
    assert fuse(np.array([[*p[:-1], 0.5 * (p[-1] + 1)]]).T)[0] > fused


def test_sigmoid_probabilities_rank_like_the_sum_and_linear_ones_do_not():
    sigmoids = 1 / (1 + np.exp(-np.array(B5)))
    assert np.argsort(fuse(sigmoids)).tolist() == np.argsort(np.sum(B5, axis=0)).tolist()
    assert bees(B5, keep=6, upper=(8, 6), both_positive=False).selected.tolist() != [4, 0, 3, 1, 2, 5]


def test_fuse_of_no_pairs_is_empty():
    assert fuse(np.zeros((2, 0))).shape == (0,)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.zeros((0, 3)), r"got K = 0 sources"),
        ([0.5, 0.5], r"got shape \(2,\), expected 2 dimension"),
        ([[0.5, 1.1], [NAN, -0.1]], r"3 of 4 values .*\(first index \(0, 1\), got 1.1\), expected values in \[0, 1\]"),
    ],
)
def test_fuse_refuses(probabilities, message):
    with pytest.raises(ContractError, match=message):
        fuse(probabilities)


# ---- bees


def test_bees_golden():
    result = bees(B5, keep=6, upper=(8, 6))
    assert result.probability == pytest.approx([0.923077, 0.625, 0.636364, 1, 1, 0.232558], abs=5e-7)
    assert result.probability[3] == result.probability[4] == 1.0
    assert result.upper.tolist() == [8, 6]
    assert result.selected.tolist() == [0, 1, 5]
    assert result.selected.dtype == np.int64
    assert result.warnings == ("short: 3 pairs are eligible, fewer than keep = 6.",)


def test_ties_go_to_the_larger_sum_of_clipped_margins_then_to_the_lower_index():
    result = bees(B5, keep=np.int64(6), upper=np.array([8, 6]), both_positive=False)
    assert result.selected.tolist() == [4, 3, 0, 2, 1, 5]  # clipped sums of 4 and 3: 7 and 5
    assert bees(B5, keep=1, upper=(8, 6), both_positive=False).selected.tolist() == [4]
    clipped = bees([[100, 9, 9, 8], [1, 1, 3, 3]], keep=4, upper=(8, 6))
    assert clipped.selected.tolist() == [2, 3, 0, 1]  # the 100 counts as 8


def by_definition(margins, keep, eligible, lower, uppers):
    """Sort all pairs by (s or log-odds, clipped sum, index) in plain Python."""
    order = []
    for q in eligible:
        p = [(min(max(m, lower), u) - lower) / (u - lower) for m, u in zip(margins[:, q], uppers, strict=True)]
        surplus = sum(x == 1 for x in p) - sum(x == 0 for x in p)
        odds = math.copysign(INF, surplus) if surplus else sum(math.log(x / (1 - x)) for x in p if 0 < x < 1)
        clipped = sum(min(max(m, lower), u) for m, u in zip(margins[:, q], uppers, strict=True))
        order.append((-odds, -clipped, q))
    return [q for _, _, q in sorted(order)[:keep]]


@pytest.mark.parametrize("keep", [1, 7, 60, 300])
@pytest.mark.parametrize("both_positive", [True, False])
def test_selection_equals_a_plain_sort(keep, both_positive):
    margins = np.random.default_rng(1).integers(-4, 10, size=(2, 250)).astype(float)
    eligible = np.flatnonzero((margins > 0).all(axis=0)) if both_positive else np.arange(250)
    result = bees(margins, keep=keep, upper=(7, 8), both_positive=both_positive)
    assert result.selected.tolist() == by_definition(margins, keep, eligible, -2.0, (7, 8))


def test_every_shorter_selection_is_a_prefix():
    margins = np.random.default_rng(2).integers(-3, 9, size=(3, 400)).astype(float)
    full = bees(margins, keep=400, upper=(6, 6, 6), both_positive=False).selected.tolist()
    assert sorted(full) == list(range(400))
    for keep in (1, 5, 37, 399):
        assert bees(margins, keep=keep, upper=(6, 6, 6), both_positive=False).selected.tolist() == full[:keep]


def test_log_odds_rank_what_rounds_to_probability_one():
    nearly = 8 - np.array([[1e-11, 4e-15], [1e-11, 1e-8]])  # log-odds 55 and 56; the first has the larger sum
    result = bees(nearly, keep=2, upper=(8, 8))
    assert result.probability.tolist() == [1.0, 1.0]
    assert result.selected.tolist() == [1, 0]


@pytest.mark.parametrize("keep", [1, 3, 40])
def test_complete_ties_go_to_the_lower_index(keep):
    assert bees(np.full((2, 40), 3.0), keep=keep, upper=(8, 8)).selected.tolist() == list(range(keep))
    assert bees(np.full((2, 40), 9.0), keep=keep, upper=(8, 8)).selected.tolist() == list(range(keep))


@pytest.mark.parametrize("margins", [(1, 3, 6), (2, 5, 7), (1, 4, 7), (1, 2, 6)])
def test_pairs_that_differ_in_the_order_of_sources_tie(margins):
    permuted = np.array(list(itertools.permutations(margins)), dtype=float).T
    assert bees(permuted, keep=6, upper=(9, 9, 9)).selected.tolist() == list(range(6))


def test_zero_margin_is_not_positive():
    assert bees([[0.0, 1.0], [1.0, 1.0]], keep=2, upper=(2, 2)).selected.tolist() == [1]
    assert bees([[0.0, 0.0]], keep=1, upper=[2]).selected.tolist() == []


def test_upper_is_found_per_source_over_all_pairs():
    margins = np.stack([OUTLIERS, OUTLIERS, np.r_[np.linspace(-4, 6, 500), 7, 7]])
    result = bees(margins, keep=5)
    found = [dynamic_upper(m, start_divisor=d) for m, d in zip(margins, (1.5, 2.0, 2.0), strict=True)]
    assert result.upper.tolist() == found
    assert found[:2] == [53, 40]
    probabilities = linear_probability(margins, -2, result.upper[:, None])
    assert result.probability == pytest.approx(fuse(probabilities), rel=1e-15)


def test_divisor_may_be_a_scalar_or_one_per_source():
    margins = np.stack([OUTLIERS, OUTLIERS])
    assert bees(margins, keep=5, start_divisor=2.0).upper.tolist() == [40, 40]
    assert bees(margins, keep=5, start_divisor=(2, 1.5)).upper.tolist() == [40, 53]
    assert bees(margins, keep=5, start_divisor=[1.5, None]).upper.tolist() == [53, 8]


def test_lower_and_min_count_reach_the_search():
    margins = np.linspace(-3, 5, 200)[None]
    assert bees(margins, keep=5, lower=1.0, start_divisor=9).upper.tolist() == [
        dynamic_upper(margins[0], lower=1.0, start_divisor=9)
    ]
    assert bees(margins, keep=5, min_count=120).upper[0] < bees(margins, keep=5, min_count=5).upper[0]


def test_bees_leaves_inputs_alone():
    margins, upper = np.array(B5, dtype=float), np.array([8.0, 6.0])
    result = bees(margins, keep=3, upper=upper)
    result.upper[:] = 0
    result.probability[:] = 0
    assert margins.tolist() == B5
    assert upper.tolist() == [8, 6]


# ---- warnings


def codes(result):
    return [text.split(":")[0] for text in result.warnings]


def test_no_warning_on_ordinary_margins():
    margins = np.random.default_rng(3).normal(2, 4, size=(2, 5000))
    assert bees(margins, keep=100).warnings == ()


def test_unscaled_source_warns():
    margins = np.random.default_rng(4).normal(2, 4, size=(3, 500))
    margins[1] = np.linspace(-1, 1, 500)
    result = bees(margins, keep=10, upper=(40, 40, 40))
    assert codes(result) == ["unscaled"]
    assert "source(s) 1 " in result.warnings[0]
    margins[1, 0] = -1.01
    assert bees(margins, keep=10, upper=(40, 40, 40)).warnings == ()


def test_saturated_counts_eligible_pairs_only():
    margins = np.full((2, 40), 9.0)
    margins[1, 20:] = -1
    assert codes(bees(margins, keep=19, upper=(8, 8))) == ["saturated"]
    assert codes(bees(margins, keep=20, upper=(8, 8))) == []
    assert codes(bees(margins, keep=20, upper=(8, 8), both_positive=False)) == ["saturated"]


def test_few_pairs_warns_only_where_upper_is_searched():
    margins = np.linspace(2, 5, 29)[None]
    assert codes(bees(margins, keep=25)) == ["few_pairs"]
    assert codes(bees(margins, keep=25, min_count=29)) == []
    assert codes(bees(margins, keep=25, upper=[8])) == []


def test_short_warns_and_selects_what_there_is():
    result = bees([[1.5, -2, 3]], keep=3, upper=[8])
    assert result.selected.tolist() == [2, 0]
    assert codes(result) == ["short"]
    assert codes(bees([[1.5, -2, 3]], keep=2, upper=[8])) == []


# ---- errors


@pytest.mark.parametrize(
    ("margins", "options", "message"),
    [
        ([1.0, 2.0], {}, r"margins: got shape \(2,\), expected 2 dimension"),
        (np.zeros((2, 0)), {}, r"margins: got shape \(2, 0\), expected at least 1"),
        (np.zeros((0, 2)), {}, r"margins: got shape \(0, 2\)"),
        ([[1, 2], [NAN, INF]], {}, r"margins: 2 of 4 values .*\(first index \(1, 0\)"),
        (B5, {"keep": 0}, r"keep: got 0, expected an integer >= 1"),
        (B5, {"keep": 2.0}, r"keep: got 2.0"),
        (B5, {"keep": True}, r"keep: got True"),
        (B5, {"both_positive": 1}, r"both_positive: got 1, expected True or False"),
        (B5, {"lower": NAN}, r"lower: got nan"),
        (B5, {"min_count": 0}, r"min_count: got 0"),
        (B5, {"min_count": 0, "upper": (8, 6)}, r"min_count: got 0"),
        (B5, {"upper": (8,)}, r"upper: got 1 values, expected 2"),
        (B5, {"upper": 8}, r"upper: got shape \(\), expected 1 dimension"),
        (B5, {"upper": (8, -2)}, r"upper: 1 of 2 values .*\(first index 1, got -2.0\), expected values > lower = -2"),
        (B5, {"upper": (8, NAN)}, r"upper: 1 of 2"),
        (B5, {"start_divisor": (1, 2, 3)}, r"start_divisor: got shape \(3,\), expected a scalar or \(2,\)"),
        (B5, {"start_divisor": (1, 2, 3), "upper": (8, 6)}, r"start_divisor: got shape"),
        (B5, {"start_divisor": (1, -2)}, r"start_divisor: got -2"),
        (B5, {"start_divisor": "x"}, r"start_divisor: got 'x'"),
    ],
)
def test_bees_refuses(margins, options, message):
    with pytest.raises(ContractError, match=message):
        bees(margins, **{"keep": 2, **options})


def test_a_million_pairs_take_well_under_a_second():
    margins = np.random.default_rng(5).normal(2, 4, size=(2, 1_000_000))
    began = time.process_time()
    assert len(bees(margins, keep=100_000).selected) == 100_000
    assert time.process_time() - began < 2


def test_bees_orders_margins_at_the_end_of_the_float_range():
    margins = np.array([[9.0, 16.0, 12.0], [9.0, 15.0, 16.0], [9.0, 14.0, 8.0]]) * 1e307
    result = bees(margins, keep=3, lower=0.0, upper=[8e307] * 3)
    assert result.selected.tolist() == [0, 1, 2]
    wide = bees(margins, keep=2, lower=0.0, upper=[1.7e308] * 3)
    small = bees(margins / 1e307, keep=2, lower=0.0, upper=[17.0] * 3)
    assert wide.selected.tolist() == small.selected.tolist() == [1, 2]


def test_bees_breaks_ties_by_a_sum_that_overflows():
    margins = np.array([[1.0, 1.0], [0.9, 0.95], [0.8, 0.9]]) * 1e308
    result = bees(margins, keep=2, lower=0.0, upper=[1e308] * 3)
    assert result.probability.tolist() == [1.0, 1.0]
    assert result.selected.tolist() == [1, 0]

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize

from sweetspot.errors import ContractError
from sweetspot.validation.bias import length_bias, position_bias, wilson_interval

NAN = math.nan


def relative_difference(chosen, rejected):
    chosen, rejected = np.asarray(chosen, float), np.asarray(rejected, float)
    total = chosen + rejected
    return np.where(total == 0, 0.0, (chosen - rejected) / np.where(total == 0, 1.0, total))


def gradient(result, chosen, rejected, gap=None):
    """Gradient of -sum log sigma(b1 x + b2 g) + 0.5e-3 |b|^2 at the fitted coefficients."""
    columns = [relative_difference(chosen, rejected)]
    b = [result.coefficient]
    if gap is not None:
        columns.append(np.asarray(gap, float))
        b.append(result.quality_coefficient)
    features, b = np.column_stack(columns), np.array(b)
    return -features.T @ (1 / (1 + np.exp(features @ b))) + 1e-3 * b


def test_counts_rate_and_auc_of_a_small_table():
    result = length_bias([10, 20, 5, 7, 0], [5, 20, 9, 1, 0])
    assert (result.pairs, result.ties) == (5, 2)
    assert result.longer_chosen_rate == pytest.approx(2 / 3)
    assert result.length_auc == pytest.approx((2 + 1) / 5)
    assert result.quality_coefficient is None
    assert result.warnings == ()


def test_wilson_interval_has_its_textbook_values():
    # 2 of 3 at 95 %: centre (2/3 + z^2/6) / (1 + z^2/3), written out by hand.
    z = 1.959963984540054
    centre = (2 / 3 + z * z / 6) / (1 + z * z / 3)
    half = z / (1 + z * z / 3) * math.sqrt(2 / 9 / 3 + z * z / 36)
    assert length_bias([2, 2, 1], [1, 1, 2]).interval == pytest.approx((centre - half, centre + half), abs=1e-12)
    # No success in ten trials: (0, z^2 / (10 + z^2)).
    assert wilson_interval(0, 10, z) == pytest.approx((0.0, z * z / (10 + z * z)), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(successes=st.integers(0, 200), failures=st.integers(0, 200))
def test_wilson_limits_solve_the_score_equation(successes, failures):
    trials = successes + failures
    if trials == 0:
        return
    z = 1.6448536269514722
    p = successes / trials
    for limit in wilson_interval(successes, trials, z):
        assert 0 <= limit <= 1
        assert (p - limit) ** 2 == pytest.approx(z * z * limit * (1 - limit) / trials, abs=1e-12)


def test_a_wider_confidence_gives_a_wider_interval():
    chosen, rejected = np.arange(1, 41), np.full(40, 20.5)
    narrow = length_bias(chosen, rejected, confidence=0.5).interval
    wide = length_bias(chosen, rejected, confidence=0.99).interval
    assert wide[0] < narrow[0] < narrow[1] < wide[1]


def test_all_ties_say_so():
    result = length_bias([3, 0], [3, 0])
    assert (result.longer_chosen_rate, result.interval, result.length_auc) == (0.5, (0.0, 1.0), 0.5)
    assert result.coefficient == 0.0
    assert result.odds_ratio == 1.0
    assert result.warnings[0].startswith("all_ties: ")


def test_length_is_not_blamed_when_it_carries_nothing():
    result = length_bias([10, 20], [20, 10])
    assert result.coefficient == pytest.approx(0.0, abs=1e-9)
    assert result.odds_ratio == pytest.approx(1.0, abs=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.floats(-4, 4, allow_nan=False)), min_size=1, max_size=20
    )
)
def test_the_fit_is_a_stationary_point_and_swapping_the_sides_turns_its_sign(rows):
    chosen, rejected, gap = (np.array(column, float) for column in zip(*rows, strict=True))
    limit = 1e-6 * len(rows)
    alone = length_bias(chosen, rejected)
    both = length_bias(chosen, rejected, quality_gap=gap)
    assert np.abs(gradient(alone, chosen, rejected)).max() <= limit
    assert np.abs(gradient(both, chosen, rejected, gap)).max() <= limit
    turned = length_bias(rejected, chosen, quality_gap=-gap)
    assert turned.coefficient == pytest.approx(-both.coefficient, abs=1e-2)
    assert turned.longer_chosen_rate == pytest.approx(1 - both.longer_chosen_rate)


def test_the_fit_equals_a_general_optimiser():
    rng = np.random.default_rng(1)
    chosen, rejected, gap = rng.integers(1, 300, 200), rng.integers(1, 300, 200), rng.normal(0.5, 1, 200)
    features = np.column_stack([relative_difference(chosen, rejected), gap])

    def objective(b):
        return np.sum(np.log1p(np.exp(-features @ b))) + 0.5e-3 * b @ b

    oracle = optimize.minimize(objective, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12})
    result = length_bias(chosen, rejected, quality_gap=gap)
    assert (result.coefficient, result.quality_coefficient) == pytest.approx(tuple(oracle.x), abs=1e-5)
    assert result.odds_ratio == pytest.approx(math.exp(result.coefficient))


def test_planted_length_and_quality_effects_are_recovered():
    rng = np.random.default_rng(0)
    first, second = rng.integers(1, 500, 40_000), rng.integers(1, 500, 40_000)
    quality = rng.normal(size=40_000)
    logit = 1.5 * relative_difference(first, second) + 0.8 * quality
    first_wins = rng.random(40_000) < 1 / (1 + np.exp(-logit))
    result = length_bias(
        np.where(first_wins, first, second),
        np.where(first_wins, second, first),
        quality_gap=np.where(first_wins, quality, -quality),
    )
    assert result.coefficient == pytest.approx(1.5, abs=0.1)
    assert result.quality_coefficient == pytest.approx(0.8, abs=0.05)


def test_length_that_only_follows_quality_is_cleared_by_the_quality_gap():
    rng = np.random.default_rng(2)
    quality = rng.normal(size=20_000)
    length = np.round(np.exp(5 + 0.5 * quality))
    other = rng.normal(size=20_000)
    other_length = np.round(np.exp(5 + 0.5 * other))
    wins = rng.random(20_000) < 1 / (1 + np.exp(-3 * (quality - other)))
    chosen, rejected = np.where(wins, length, other_length), np.where(wins, other_length, length)
    gap = np.where(wins, quality - other, other - quality)
    alone = length_bias(chosen, rejected)
    adjusted = length_bias(chosen, rejected, quality_gap=gap)
    assert alone.coefficient > 5
    assert abs(adjusted.coefficient) < 0.5


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e3, 1e6])
def test_the_unit_of_lengths_and_gaps_does_not_matter(unit):
    rng = np.random.default_rng(4)
    chosen, rejected, gap = rng.integers(1, 300, 400), rng.integers(1, 300, 400), rng.normal(0.3, 1, 400)
    base = length_bias(chosen, rejected, quality_gap=gap)
    scaled = length_bias(chosen * 1e304, rejected * 1e304, quality_gap=gap * unit)
    if unit >= 1:  # below one the ridge, fixed in size, takes over the gap's coefficient
        assert scaled.quality_coefficient * unit == pytest.approx(base.quality_coefficient, rel=1e-4)
        assert scaled.coefficient == pytest.approx(base.coefficient, rel=1e-4)
    assert scaled.longer_chosen_rate == base.longer_chosen_rate


def test_an_odds_ratio_beyond_the_float_range_is_infinite_without_a_warning():
    result = length_bias(np.full(100_000, 1001), np.full(100_000, 1000))
    assert result.coefficient > 710
    assert result.odds_ratio == math.inf
    assert np.abs(gradient(result, np.full(100_000, 1001), np.full(100_000, 1000))).max() <= 0.1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"chosen_lengths": [], "rejected_lengths": []}, "no pairs"),
        ({"chosen_lengths": [1, 2], "rejected_lengths": [1]}, "chosen_lengths has 2, rejected_lengths has 1"),
        ({"chosen_lengths": [1, -2], "rejected_lengths": [1, 1]}, r"chosen_lengths\[1\] = -2"),
        ({"chosen_lengths": [NAN], "rejected_lengths": [1]}, r"chosen_lengths\[0\] = nan"),
        ({"chosen_lengths": [1], "rejected_lengths": [1], "quality_gap": [NAN]}, "quality_gap"),
        ({"chosen_lengths": [1], "rejected_lengths": [1], "quality_gap": [1, 2]}, "quality_gap has 2"),
        ({"chosen_lengths": [1], "rejected_lengths": [1], "confidence": 1.0}, "confidence: got 1.0"),
        ({"chosen_lengths": [1], "rejected_lengths": [1], "confidence": 0}, "confidence: got 0"),
    ],
)
def test_bad_lengths_are_refused(arguments, message):
    with pytest.raises(ContractError, match=message):
        length_bias(**arguments)


def test_position_bias_of_a_small_table():
    result = position_bias([1, 1, 0, 0.5, NAN, 1], [0, 1, 1, 0.5, 1, NAN])
    assert (result.pairs, result.judgements) == (4, 10)
    assert result.first_rate == pytest.approx((1 + 1 + 0 + 0.5 + 1 + 0 + 1 + 1 + 0.5 + 1) / 10)
    assert result.consistent.tolist() == [True, False, True, True, False, False]
    assert result.consistent.dtype == np.bool_
    assert result.consistency == 0.75
    half = 1.959963984540054 * math.sqrt(0.25 / 10)
    assert result.null_band == pytest.approx((0.5 - half, 0.5 + half), abs=1e-12)
    assert result.biased is False
    assert result.warnings == ()


def test_a_judge_that_always_takes_the_first_is_biased_and_never_consistent():
    result = position_bias(np.ones(20), np.ones(20))
    assert result.biased is True
    assert result.first_rate == 1.0
    assert result.consistency == 0.0


def test_a_judge_that_always_takes_the_second_is_biased_too():
    assert position_bias(np.zeros(20), np.zeros(20)).biased is True


def test_a_judge_that_sees_only_the_responses_is_consistent_and_unbiased():
    winner = np.random.default_rng(0).integers(0, 2, 300)
    result = position_bias(winner, 1 - winner)
    assert result.consistency == 1.0
    assert result.first_rate == 0.5
    assert result.biased is False


def test_about_one_in_twenty_fair_judges_falls_outside_the_band():
    rng = np.random.default_rng(5)
    outside = [position_bias(rng.integers(0, 2, 200), rng.integers(0, 2, 200)).biased for _ in range(1000)]
    assert 0.03 < np.mean(outside) < 0.08


def test_without_swaps_the_consistency_is_unknown():
    result = position_bias([1, 0, NAN], [NAN, NAN, NAN])
    assert (result.pairs, result.judgements, result.consistency) == (0, 2, 0.0)
    assert result.warnings[0].startswith("no_swaps: ")


@pytest.mark.parametrize(
    ("ab", "ba", "message"),
    [
        ([1, 2], [0, 1], r"first_won_ab\[1\] = 2"),
        ([1], [0.25], r"first_won_ba\[0\] = 0.25"),
        ([1, 0], [1], "first_won_ab has 2, first_won_ba has 1"),
        ([NAN], [NAN], "no judgement"),
        ([], [], "no judgement"),
        ([math.inf], [1], "inf"),
        ([[1]], [[1]], "dimension"),
    ],
)
def test_bad_judgements_are_refused(ab, ba, message):
    with pytest.raises(ContractError, match=message):
        position_bias(ab, ba)


def test_gaps_too_large_to_square_are_refused():
    with pytest.raises(ContractError, match=r"quality_gap: 1 of 2 values.*quality_gap\[1\] = 1e\+300.*rescale"):
        length_bias([3, 5], [1, 2], quality_gap=[1.0, 1e300])


@pytest.mark.parametrize("confidence", ["0.95", True, None, np.array([0.9]), math.nan])
def test_a_confidence_that_is_no_number_is_refused(confidence):
    for call in (
        lambda: length_bias([1], [2], confidence=confidence),
        lambda: position_bias([1], [0], confidence=confidence),
    ):
        with pytest.raises(ContractError, match="confidence: got"):
            call()

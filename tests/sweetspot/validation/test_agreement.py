import itertools
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError, SweetspotError
from sweetspot.validation.agreement import (
    cohen_kappa,
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    symmetric_noise_from_agreement,
)

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
NAN = math.nan


def golden_ratings() -> np.ndarray:
    return np.array([[0, 0, 0]] * 6 + [[0, 0, 1]] * 2 + [[0, 1, 1]] + [[1, 1, 1]], dtype=float)


def slow_alpha(table, distance) -> float:
    """Krippendorff's alpha by enumerating every ordered pair of ratings."""
    units = [[value for value in row if not math.isnan(value)] for row in table]
    units = [unit for unit in units if len(unit) >= 2]
    pooled = [value for unit in units for value in unit]
    n = len(pooled)
    within = sum(distance(a, b) / (len(unit) - 1) for unit in units for a, b in itertools.permutations(unit, 2))
    between = sum(distance(a, b) for a, b in itertools.permutations(pooled, 2))
    return 1.0 - (within / n) / (between / (n * (n - 1)))


def nominal(a, b):
    return float(a != b)


def interval(a, b):
    return (a - b) ** 2


def ratings_table(max_category=3):
    entry = st.one_of(st.integers(0, max_category).map(float), st.just(NAN))
    return st.integers(2, 5).flatmap(
        lambda raters: st.lists(st.lists(entry, min_size=raters, max_size=raters), min_size=2, max_size=12)
    )


def has_chance_disagreement(table) -> bool:
    pooled = {v for row in table if sum(not math.isnan(x) for x in row) >= 2 for v in row if not math.isnan(v)}
    return len(pooled) >= 2


def test_golden_numbers_of_ten_units_by_three_raters():
    ratings = golden_ratings()
    assert fleiss_kappa(ratings) == pytest.approx(0.440994, abs=5e-7)
    assert gwet_ac1(ratings) == pytest.approx(0.688581, abs=5e-7)
    assert krippendorff_alpha(ratings) == pytest.approx(0.459627, abs=5e-7)


def test_golden_alpha_with_two_missing_ratings():
    ratings = golden_ratings()
    ratings[0, 0] = NAN
    ratings[6, 2] = NAN
    assert krippendorff_alpha(ratings) == pytest.approx(0.590909, abs=5e-7)


@pytest.mark.parametrize(("level", "distance"), [("nominal", nominal), ("interval", interval)])
@settings(max_examples=50, deadline=None)
@given(table=ratings_table())
def test_alpha_equals_the_enumeration_of_all_rating_pairs(level, distance, table):
    if not has_chance_disagreement(table):
        with pytest.raises(ContractError):
            krippendorff_alpha(table, level=level)
        return
    assert krippendorff_alpha(table, level=level) == pytest.approx(slow_alpha(table, distance), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(table=ratings_table(), seed=st.integers(0, 99))
def test_alpha_ignores_the_order_of_units_and_raters_the_names_of_categories_and_single_ratings(table, seed):
    if not has_chance_disagreement(table):
        return
    rng = np.random.default_rng(seed)
    base = np.array(table)
    shuffled = base[rng.permutation(len(base))][:, rng.permutation(base.shape[1])]
    renamed = np.array([7.5, -2.0, 1e6, 0.25])[np.nan_to_num(shuffled).astype(int)]
    renamed[np.isnan(shuffled)] = NAN
    single = np.full((1, base.shape[1]), NAN)
    single[0, 0] = 123.0
    assert krippendorff_alpha(np.vstack([renamed, single])) == pytest.approx(krippendorff_alpha(base), abs=1e-12)


def test_interval_alpha_does_not_depend_on_origin_or_unit_even_for_huge_codes():
    ratings = np.array([[1.0, 2.0, 2.0], [4.0, 4.0, 5.0], [3.0, 1.0, NAN], [9.0, 9.0, 8.0]])
    expected = slow_alpha(ratings, interval)
    assert krippendorff_alpha(ratings, level="interval") == pytest.approx(expected, abs=1e-12)
    assert krippendorff_alpha(ratings + 1e9, level="interval") == pytest.approx(expected, abs=1e-12)
    assert krippendorff_alpha(ratings * 1e307, level="interval") == pytest.approx(expected, abs=1e-12)
    assert krippendorff_alpha((ratings - 5) * 4e307, level="interval") == pytest.approx(expected, abs=1e-12)


def test_interval_alpha_differs_from_nominal_when_near_misses_are_common():
    near_misses = [[1.0, 2.0], [5.0, 6.0], [9.0, 8.0]]
    assert krippendorff_alpha(near_misses) == 0.0
    assert krippendorff_alpha(near_misses, level="interval") > 0.9


def test_perfect_agreement_is_exactly_one_for_every_coefficient():
    ratings = [[1, 1, 1], [2, 2, 2], [1, 1, 1]]
    assert krippendorff_alpha(ratings) == 1.0
    assert krippendorff_alpha(ratings, level="interval") == 1.0
    assert fleiss_kappa(ratings) == 1.0
    assert gwet_ac1(ratings) == 1.0
    assert cohen_kappa([1, 2, 1], [1, 2, 1]) == 1.0


def test_two_raters_who_always_disagree_have_cohen_minus_one():
    assert cohen_kappa([0, 1, 0, 1], [1, 0, 1, 0]) == -1.0


def test_independent_raters_are_near_zero():
    ratings = np.random.default_rng(0).integers(0, 3, size=(20_000, 3))
    for value in (
        krippendorff_alpha(ratings),
        fleiss_kappa(ratings),
        gwet_ac1(ratings),
        cohen_kappa(ratings[:, 0], ratings[:, 1]),
    ):
        assert abs(value) < 0.01


def slow_ac1(table, q=None) -> float:
    units = [[value for value in row if not math.isnan(value)] for row in table]
    units = [unit for unit in units if unit]
    categories = sorted({value for unit in units for value in unit})
    q = len(categories) if q is None else q
    paired = [unit for unit in units if len(unit) >= 2]
    agreement = [
        sum(a == b for a, b in itertools.permutations(unit, 2)) / (len(unit) * (len(unit) - 1)) for unit in paired
    ]
    observed = sum(agreement) / len(paired)
    shares = [sum(Counter(unit)[k] / len(unit) for unit in units) / len(units) for k in categories]
    chance = sum(p * (1 - p) for p in shares) / (q - 1)
    return (observed - chance) / (1 - chance)


@settings(max_examples=50, deadline=None)
@given(table=ratings_table())
def test_ac1_equals_its_definition_with_missing_ratings_and_single_rated_units(table):
    rated = [sum(not math.isnan(v) for v in row) for row in table]
    seen = {v for row in table for v in row if not math.isnan(v)}
    if max(rated) < 2 or len(seen) < 2:
        return
    assert gwet_ac1(table) == pytest.approx(slow_ac1(table), abs=1e-12)
    assert gwet_ac1(table, categories=5) == pytest.approx(slow_ac1(table, 5), abs=1e-12)


def test_ac1_counts_units_with_one_rating_in_the_category_shares_only():
    ratings = [[0, 0], [1, 1], [0, 1], [1, NAN]]
    shares = np.array([(1 + 0 + 0.5 + 0) / 4, (0 + 1 + 0.5 + 1) / 4])
    chance = float(np.sum(shares * (1 - shares)))
    assert gwet_ac1(ratings) == pytest.approx((2 / 3 - chance) / (1 - chance), abs=1e-12)


def test_ac1_of_unanimous_ratings_is_one_when_the_categories_are_named():
    assert gwet_ac1([[3, 3], [3, 3]], categories=2) == 1.0


def test_fleiss_drops_wholly_missing_units_and_accepts_changing_raters():
    ratings = golden_ratings()
    wide = np.full((11, 4), NAN)
    wide[:10, :3] = ratings
    wide[4] = [NAN, 0, 0, 0]
    assert fleiss_kappa(wide) == pytest.approx(fleiss_kappa(ratings), abs=1e-12)


def test_fleiss_of_two_raters_equals_scott_pi():
    rng = np.random.default_rng(3)
    ratings = rng.integers(0, 3, size=(40, 2))
    agreement = np.mean(ratings[:, 0] == ratings[:, 1])
    shares = np.bincount(ratings.ravel(), minlength=3) / ratings.size
    chance = np.sum(shares**2)
    assert fleiss_kappa(ratings) == pytest.approx((agreement - chance) / (1 - chance), abs=1e-12)


def test_cohen_equals_its_definition_and_drops_units_missing_on_either_side():
    first = np.array([0, 0, 1, 1, 2, 2, 0, NAN, 1])
    second = np.array([0, 1, 1, 1, 2, 0, 0, 2, NAN])
    # 5 of 7 agree; marginals (3, 2, 2) and (3, 3, 1), each of 7.
    chance = (3 * 3 + 2 * 3 + 2 * 1) / 49
    assert cohen_kappa(first, second) == pytest.approx((5 / 7 - chance) / (1 - chance), abs=1e-12)
    assert cohen_kappa(first, second) == cohen_kappa(second, first)


def test_constant_but_different_raters_have_cohen_zero():
    assert cohen_kappa([0, 0, 0], [1, 1, 1]) == 0.0


@pytest.mark.parametrize(("agreement", "noise"), [(0.63, 0.245), (0.726, 0.164), (0.8, 0.113), (0.5, 0.5), (1.0, 0.0)])
def test_noise_from_agreement_has_the_published_values(agreement, noise):
    assert symmetric_noise_from_agreement(agreement) == pytest.approx(noise, abs=5e-4)


@settings(max_examples=50, deadline=None)
@given(noise=st.floats(0, 0.5))
def test_noise_from_agreement_inverts_the_agreement_of_two_noisy_raters(noise):
    agreement = min(1.0, max(0.5, 1 - 2 * noise + 2 * noise**2))
    recovered = symmetric_noise_from_agreement(agreement)
    assert 1 - 2 * recovered + 2 * recovered**2 == pytest.approx(agreement, abs=1e-12)
    assert 0 <= recovered <= 0.5


@pytest.mark.parametrize("agreement", [0.49999, 1.00001, NAN, math.inf, -1])
def test_noise_from_impossible_agreement_is_refused(agreement):
    with pytest.raises(ContractError, match="agreement"):
        symmetric_noise_from_agreement(agreement)


@pytest.mark.parametrize("coefficient", [krippendorff_alpha, fleiss_kappa, gwet_ac1])
@pytest.mark.parametrize(
    ("ratings", "message"),
    [
        ([[1, 1], [1, 1]], "only one category"),
        ([[1, NAN], [NAN, 2]], "none of the 2 units has two ratings"),
        (np.empty((0, 3)), "none of the 0 units"),
        ([1, 2, 3], r"shape \(3,\)"),
        ([[1, math.inf], [1, 2]], r"1 of 4 .*first: ratings\[0, 1\] = inf"),
        ([["a", "b"], ["a", "a"]], "array of numbers"),
        ([[1, 2], [1]], "rectangular array"),
    ],
)
def test_ratings_that_cannot_be_used_are_refused(coefficient, ratings, message):
    with pytest.raises(ContractError, match=message):
        coefficient(ratings)


def test_alpha_refuses_one_category_left_after_dropping_unpaired_units():
    with pytest.raises(ContractError, match="only one category occurs in 2 ratings"):
        krippendorff_alpha([[1, 1], [2, NAN]])


def test_other_refusals_say_what_to_use_instead():
    with pytest.raises(ContractError, match=r"1 of 2 rated units .*krippendorff_alpha"):
        fleiss_kappa([[1, 2, 1], [1, NAN, 2]])
    with pytest.raises(ContractError, match="level: got 'ordinal', expected one of 'nominal', 'interval'"):
        krippendorff_alpha(golden_ratings(), level="ordinal")
    with pytest.raises(ContractError, match="categories: got 2, but 3 categories occur"):
        gwet_ac1([[0, 1], [2, 2]], categories=2)
    with pytest.raises(ContractError, match="categories: got 1"):
        gwet_ac1([[0, 0], [0, 0]], categories=1)
    with pytest.raises(ContractError, match="first has 2, second has 3"):
        cohen_kappa([1, 2], [1, 2, 3])
    with pytest.raises(ContractError, match="none of the 2 units was rated by both"):
        cohen_kappa([1, NAN], [NAN, 1])
    with pytest.raises(ContractError, match="only one category"):
        cohen_kappa([1, 1], [1, 1])
    assert issubclass(ContractError, SweetspotError)
    assert issubclass(ContractError, ValueError)


def test_arguments_are_not_mutated_and_lists_ints_and_float32_give_the_same_value():
    ratings = golden_ratings()
    ratings[2, 1] = NAN
    copy = ratings.copy()
    value = krippendorff_alpha(ratings, level="interval")
    np.testing.assert_array_equal(ratings, copy)
    assert krippendorff_alpha(ratings.astype(np.float32), level="interval") == value
    assert krippendorff_alpha(ratings.tolist(), level="interval") == value
    assert krippendorff_alpha([[1, None], [1, 1], [0, 0]]) == krippendorff_alpha([[1, NAN], [1, 1], [0, 0]])
    assert isinstance(value, float)


def test_alpha_of_many_units_and_categories_needs_no_table_of_units_by_categories():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(200_000, 1))
    ratings = truth + rng.normal(size=(200_000, 3))
    # Reliability of an interval scale: signal variance over total variance.
    assert krippendorff_alpha(ratings, level="interval") == pytest.approx(0.5, abs=0.01)
    assert krippendorff_alpha(ratings) == pytest.approx(0.0, abs=1e-4)


def read(name: str) -> pd.DataFrame:
    path = DATA / "pairwise" / f"{name}.parquet"
    if not path.exists():
        pytest.skip(f"real data not found: {path}")
    return pd.read_parquet(path)


def unit_by_rater(frame: pd.DataFrame, unit: str, rater: str, label: str) -> np.ndarray:
    codes = frame.assign(code=pd.factorize(frame[label])[0].astype(float))
    return codes.pivot_table(index=unit, columns=rater, values="code", aggfunc="first").to_numpy()


def sparse_slow_alpha(table: np.ndarray) -> float:
    """The definition for large sparse tables: coincidences per unit, chance from the totals."""
    units = [Counter(row[~np.isnan(row)].tolist()) for row in table]
    units = [unit for unit in units if unit.total() >= 2]
    totals = sum(units, Counter())
    n = totals.total()
    within = sum((u.total() ** 2 - sum(c * c for c in u.values())) / (u.total() - 1) for u in units)
    return 1.0 - within * (n - 1) / (n * n - sum(c * c for c in totals.values()))


def test_pandalm_humans_agree_well():
    frame = read("pandalm_3raters")[["annotator1", "annotator2", "annotator3"]]
    assert krippendorff_alpha(frame) == pytest.approx(0.873, abs=5e-4)
    assert krippendorff_alpha(frame) == pytest.approx(slow_alpha(frame.to_numpy(float), nominal), abs=1e-12)
    assert fleiss_kappa(frame) == pytest.approx(krippendorff_alpha(frame), abs=1e-3)


@pytest.mark.parametrize(
    ("name", "unit", "rater", "label", "alpha"),
    [
        ("llmfao_worker_labels", "pair_id", "worker", "winner", 0.294),
        ("ukp_convincing_worker_labels", "pair_id", "worker", "label", 0.317),
        ("summ_pairwise_human", "pair_id", "evaluator_id", "overall_writer_better", 0.143),
    ],
)
def test_crowds_agree_less_on_real_labels(name, unit, rater, label, alpha):
    table = unit_by_rater(read(name), unit, rater, label)
    assert krippendorff_alpha(table) == pytest.approx(alpha, abs=5e-4)
    assert krippendorff_alpha(table) == pytest.approx(sparse_slow_alpha(table), abs=1e-12)


def test_interval_alpha_ignores_the_unit_down_to_the_smallest_number():
    table = np.array([[0, 0, 1], [1, 1, 1], [0, 1, 0], [0, 0, 0.0]])
    for unit in (5e-324, 1e-310, 1.7e308):
        assert krippendorff_alpha(table * unit, level="interval") == krippendorff_alpha(table, level="interval")


def test_numbers_written_as_text_are_refused():
    for table in (np.array([["1", "2"], ["1", "1"]], dtype=object), pd.DataFrame({"a": ["1", "2"], "b": ["1", "1"]})):
        with pytest.raises(ContractError, match="ratings: expected a rectangular array of numbers"):
            krippendorff_alpha(table)


def test_a_level_that_is_not_a_name_is_refused():
    for level in (None, ["nominal"], np.array(["nominal", "interval"])):
        with pytest.raises(ContractError, match="level: got"):
            krippendorff_alpha(golden_ratings(), level=level)

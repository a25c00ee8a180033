"""Position rules: golden rows, a slow oracle, the laws, the random rules and the errors."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.errors import ContractError
from sweetspot.pairing import POSITIONS, pair_positions

NAN, INF = math.nan, math.inf
POPULATION_OF_20 = [
    *(-6, -1.44, -1.15, -0.935, -0.755, -0.598, -0.454, -0.319, -0.189, -0.063),
    *(0.063, 0.189, 0.319, 0.454, 0.598, 0.755, 0.935, 1.15, 1.44, 1.96),
]


def pick(row, **options):
    """(chosen, rejected, reason) of one row."""
    result = pair_positions([row], **options)
    return int(result.chosen[0]), int(result.rejected[0]), str(result.reason[0])


def oracle(row, chosen, rejected, ddof=0):
    """The contract step by step in plain Python, for rules without randomness."""
    present = [(column, float(r)) for column, r in enumerate(row) if math.isfinite(r)]
    n = len(present)
    if n < 2:
        return -1, -1, "too_few"
    values = [r for _, r in present]
    if max(values) == min(values):
        return -1, -1, "sigma_zero"
    mu = math.fsum(values) / n
    sigma = math.sqrt(math.fsum((r - mu) ** 2 for r in values) / (n - ddof))

    def nearest(rule, candidates):
        k = POSITIONS.get(rule, rule)
        if k == INF:
            return max(candidates, key=lambda item: item[1])
        if k == -INF:
            return min(candidates, key=lambda item: item[1])
        return min(candidates, key=lambda item: abs(item[1] - (mu + k * sigma)))

    best = nearest(chosen, present)
    below = [item for item in present if item[1] < best[1]]
    if not below:
        return -1, -1, "no_gap"
    return best[0], nearest(rejected, below)[0], "ok"


# ---- golden rows


@pytest.mark.parametrize(
    ("row", "options", "expected"),
    [
        ([0.31, 0.55, 0.12, 0.78, 0.44], {}, (3, 2)),
        ([0.31, 0.55, 0.12, 0.78, 0.44], {"rejected": "min"}, (3, 2)),
        ([-1.1, -0.9] + [0] * 9, {}, (2, 1)),
        ([-1.1, -0.9] + [0] * 9, {"ddof": 1}, (2, 1)),
        ([-1.1, -0.9] + [0] * 9, {"rejected": "min"}, (2, 0)),
        (POPULATION_OF_20, {}, (19, 1)),
        (POPULATION_OF_20, {"rejected": "min"}, (19, 0)),
        ([2, 2, 1], {}, (0, 2)),
        ([5] * 11 + [6], {}, (11, 0)),
        ([-100] + [1] * 199, {}, (1, 0)),
        ([0] + [1] * 31, {}, (1, 0)),
    ],
)
def test_golden_pairs(row, options, expected):
    assert pick(row, **options) == (*expected, "ok")


@pytest.mark.parametrize(("k", "expected"), [(-1000, 0), (-2, 0), (-1, 1), (0, 2), (1, 3), (2, 4), (1000, 4)])
def test_position_of_one_to_five_with_population_sigma(k, expected):
    row = [1, 2, 3, 4, 5]
    assert pick(row, rejected=k)[1] == min(expected, 3)  # the maximum is chosen and cannot be rejected
    assert pick(row, chosen=k, rejected="random")[0] == (expected or -1)  # nothing is below the minimum


def test_sample_sigma_moves_one_sigma_to_the_end():
    assert pick([1, 2, 3, 4, 5], rejected=-1, ddof=0)[1] == 1
    assert pick([1, 2, 3, 4, 5], rejected=-1, ddof=1)[1] == 0
    assert pick([1, 2, 3, 4, 5], chosen=1, rejected="min", ddof=0)[0] == 3
    assert pick([1, 2, 3, 4, 5], chosen=1, rejected="min", ddof=1)[0] == 4


def test_mean_positions_of_200_normal_samples():
    rewards = np.random.default_rng(7).normal(size=(5000, 200))
    rows = np.arange(5000)
    for rule, mean in (("min_of_5", -1.163), ("mu-2sigma", -1.99), ("min", -2.75)):
        result = pair_positions(rewards, rejected=rule)
        assert rewards[rows, result.rejected].mean() == pytest.approx(mean, abs=0.03)
        assert rewards[rows, result.chosen].mean() == pytest.approx(2.75, abs=0.03)


# ---- reasons and their order


def test_reasons_in_order_of_precedence():
    rewards = [[NAN, 3, INF], [1, 1, NAN], [4, 5, 5], [4, 5, 5], [2, 3, -INF]]
    result = pair_positions(
        rewards, chosen="mu-2sigma", rejected="random", text_ids=[[7] * 3, [7] * 3, [7] * 3, [1, 2, 3], [1, 1, 2]]
    )
    assert result.reason.tolist() == ["too_few", "sigma_zero", "no_gap", "no_gap", "no_gap"]
    result = pair_positions(rewards, text_ids=[[7] * 3, [7] * 3, [7] * 3, [1, 2, 3], [1, 1, 2]])
    assert result.reason.tolist() == ["too_few", "sigma_zero", "same_text", "ok", "same_text"]
    assert result.chosen.tolist() == [-1, -1, -1, 1, -1]
    assert result.rejected.tolist() == [-1, -1, -1, 0, -1]


def test_same_text_takes_no_second_try():
    assert pick([1, 2, 3], text_ids=[[5, 6, 5]]) == (-1, -1, "same_text")
    assert pick([1, 2, 3], text_ids=[[6, 5, 5]]) == (2, 0, "ok")


def test_same_text_looks_at_columns_of_the_full_row():
    row = [NAN, 1, NAN, 2, 3]
    assert pick(row, text_ids=[[9, 9, 9, 9, 0]]) == (4, 1, "ok")
    assert pick(row, text_ids=[[1, 0, 2, 3, 0]]) == (-1, -1, "same_text")


@pytest.mark.parametrize("shape", [(0, 5), (0, 0)])
def test_no_prompts_give_empty_results(shape):
    result = pair_positions(np.zeros(shape))
    assert result.chosen.shape == result.rejected.shape == result.reason.shape == (0,)


@pytest.mark.parametrize("shape", [(3, 0), (3, 1)])
def test_fewer_than_two_samples_are_too_few(shape):
    result = pair_positions(np.zeros(shape))
    assert result.reason.tolist() == ["too_few"] * 3
    assert result.chosen.tolist() == result.rejected.tolist() == [-1] * 3


def test_types_and_fresh_memory():
    rewards = np.array([[1.0, 2.0, 3.0]])
    before = rewards.copy()
    result = pair_positions(rewards)
    assert result.chosen.dtype == result.rejected.dtype == np.int64
    assert result.reason.dtype.kind == "U"
    assert np.array_equal(rewards, before)
    assert not np.shares_memory(result.chosen, result.rejected)
    result.chosen[0] = 9
    assert pair_positions(rewards).chosen[0] == 2


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, bool, object])
def test_any_real_dtype_is_read(dtype):
    rewards = np.array([[0, 1, 1, 0], [1, 1, 0, 0]], dtype=dtype)
    assert pair_positions(rewards).chosen.tolist() == [1, 0]
    assert pair_positions(rewards).rejected.tolist() == [0, 2]


def test_none_in_a_list_is_a_missing_sample():
    assert pick([1.0, None, 3.0]) == (2, 0, "ok")


# ---- against the oracle


RULES = [("max", r) for r in ("min", "mu-2sigma", "mu-sigma", "mu", "mu+sigma", "mu+2sigma", -2.0, -0.7, 1.3)]
RULES += [("mu+2sigma", "mu-2sigma"), ("mu", "min"), (0.4, -3), ("mu-sigma", -1.5), (2, 1), ("mu+sigma", "mu")]


@pytest.mark.parametrize(("chosen", "rejected"), RULES)
@pytest.mark.parametrize("ddof", [0, 1])
def test_matches_the_slow_oracle(chosen, rejected, ddof):
    rng = np.random.default_rng([ddof, RULES.index((chosen, rejected))])
    for n_samples in (2, 3, 5, 11, 23, 40):
        rewards = rng.standard_t(2, size=(60, n_samples))
        rewards[:20] = np.round(rewards[:20] * 4)  # ties
        rewards[rng.random(rewards.shape) < 0.15] = NAN
        result = pair_positions(rewards, chosen=chosen, rejected=rejected, ddof=ddof)
        got = list(zip(result.chosen.tolist(), result.rejected.tolist(), result.reason.tolist(), strict=True))
        assert got == [oracle(row, chosen, rejected, ddof) for row in rewards]


def test_ties_in_reward_and_in_distance_go_to_the_lowest_column():
    assert pick([4, 1, 3, 2, 4], rejected="mu")[:2] == (0, 2)  # mu 2.8
    assert pick([1, 2, 3, 4], rejected="mu")[1] == 1  # 2 and 3 are equally far from 2.5
    assert pick([4, 3, 2, 1], rejected="mu")[1] == 1
    assert pick([1, 0, 0, 1], rejected="min")[:2] == (0, 1)
    assert pick([1, 3, 5, 5, 3], chosen="mu", rejected="min")[0] == 1


# ---- laws


finite_rows = st.lists(st.integers(-50, 50), min_size=2, max_size=10)


@settings(max_examples=50, deadline=None)
@given(finite_rows)
def test_two_sigma_below_is_the_minimum_up_to_ten_samples(row):
    rejected = pick(row)[1]
    assert rejected == pick(row, rejected="min")[1]
    assert rejected == -1 or row[rejected] == min(row)


@pytest.mark.parametrize("k", [1, 2, 3])
def test_k_sigma_is_the_extreme_up_to_two_plus_two_k_squared(k):
    rng = np.random.default_rng(k)
    rewards = np.r_[rng.normal(size=(300, 2 + 2 * k * k)), rng.standard_cauchy(size=(300, 2 + 2 * k * k))]
    low, high = pair_positions(rewards, rejected=-k), pair_positions(rewards, chosen=k, rejected="min")
    assert np.array_equal(low.rejected, rewards.argmin(axis=1))
    assert np.array_equal(high.chosen, rewards.argmax(axis=1))
    assert pick([-1.02, -0.98] + [0] * (2 * k * k + 1), rejected=-k)[1] == 1
    assert pick([1.02, 0.98] + [0] * (2 * k * k + 1), chosen=k, rejected="min")[0] == 1


@pytest.mark.parametrize("rule", ["min", "mu-2sigma", "mu-sigma", "mu", "min_of_5", "random"])
@pytest.mark.parametrize(("scale", "offset"), [(3.0, -7.0), (1e-6, 0.0), (1.0, 1e6), (1e-200, 0.0), (1e200, 0.0)])
def test_picks_ignore_positive_scale_and_offset(rule, scale, offset):
    rewards = np.random.default_rng(3).normal(size=(400, 40))
    plain, moved = (pair_positions(r, rejected=rule) for r in (rewards, scale * rewards + offset))
    assert np.array_equal(plain.chosen, moved.chosen)
    assert np.array_equal(plain.rejected, moved.rejected)


def test_variance_is_centred_before_it_is_squared():
    row = np.array([-1.1, -0.9] + [0] * 9)
    assert pick(1e8 + row) == (2, 1, "ok")


def test_rows_of_extreme_scale_keep_their_picks():
    row = np.array([-1.1, -0.9] + [0] * 9)
    rows = np.array([row, row * 1e-310, row * 1e307, 1 + row])
    assert pair_positions(rows).rejected.tolist() == [1, 1, 1, 1]
    assert pick([1.5e308, -1.5e308, 0.0], rejected="min") == (0, 1, "ok")
    assert pick([5e-324, 0.0, 1e-323], rejected="mu") == (2, 0, "ok")


def test_a_huge_position_is_the_extreme():
    rewards = np.random.default_rng(4).normal(size=(50, 70))
    for k in (7.0, 1e3, 1e17, 1e308):
        assert np.array_equal(pair_positions(rewards, rejected=-k).rejected, rewards.argmin(axis=1))
        assert np.array_equal(pair_positions(rewards, chosen=k).chosen, rewards.argmax(axis=1))


def test_permuting_samples_permutes_picks():
    rng = np.random.default_rng(5)
    rewards, order = rng.normal(size=(200, 33)), rng.permutation(33)
    plain, permuted = pair_positions(rewards), pair_positions(rewards[:, order])
    assert np.array_equal(order[permuted.chosen], plain.chosen)
    assert np.array_equal(order[permuted.rejected], plain.rejected)


@pytest.mark.parametrize("missing", [NAN, INF, -INF])
@pytest.mark.parametrize("rule", ["min", "mu-2sigma", "mu-sigma", "mu+sigma", "min_of_5", "random"])
def test_a_missing_sample_equals_an_absent_one(rule, missing):
    rng = np.random.default_rng(6)
    rewards = rng.integers(0, 30, size=(200, 24)) / 7
    holes = np.insert(rewards, [0, 5, 24], missing, axis=1)
    columns = np.flatnonzero(np.isfinite(holes[0]))
    plain, holed = pair_positions(rewards, rejected=rule), pair_positions(holes, rejected=rule)
    assert np.array_equal(columns[plain.chosen], holed.chosen)
    assert np.array_equal(columns[plain.rejected], holed.rejected)


@pytest.mark.parametrize("rule", ["mu-2sigma", "min_of_5", "random"])
def test_a_row_does_not_depend_on_the_rows_after_it(rule):
    rewards = np.random.default_rng(8).normal(size=(5000, 40))  # more rows than one block
    rewards[::7, 3] = NAN
    whole, head = (pair_positions(r, rejected=rule, chosen="max") for r in (rewards, rewards[:1003]))
    assert np.array_equal(whole.rejected[:1003], head.rejected)


# ---- random rules


def test_min_of_5_is_the_minimum_of_five_samples():
    rewards = np.random.default_rng(9).normal(size=(300, 5))
    for seed in range(5):
        assert np.array_equal(pair_positions(rewards, rejected="min_of_5", seed=seed).rejected, rewards.argmin(axis=1))


def test_subset_size_is_the_argument_not_the_name():
    rewards = np.random.default_rng(10).normal(size=(300, 30))
    everything = pair_positions(rewards, rejected="min_of_5", subset=99)
    assert np.array_equal(everything.rejected, rewards.argmin(axis=1))
    single = pair_positions(rewards, rejected="min_of_5", subset=1)
    assert (single.reason == "no_gap").mean() == pytest.approx(1 / 30, abs=0.03)


@pytest.mark.parametrize("subset", [1, 2, 5])
def test_min_of_subset_ranks_follow_the_hypergeometric_law(subset):
    n = 8
    ranks = np.tile(np.arange(n), (40000, 1))
    result = pair_positions(ranks, rejected="min_of_5", subset=subset, seed=1)
    lowest = np.where(result.reason == "ok", result.rejected, n - 1)
    expected = [math.comb(n - 1 - r, subset - 1) / math.comb(n, subset) for r in range(n)]
    assert np.bincount(lowest, minlength=n) / 40000 == pytest.approx(expected, abs=0.01)


def test_min_of_5_that_draws_only_ties_of_the_chosen_has_no_gap():
    row = [0] + [1] * 99
    reasons = pair_positions([row] * 2000, rejected="min_of_5").reason
    assert set(reasons) == {"ok", "no_gap"}
    assert (reasons == "ok").mean() == pytest.approx(0.05, abs=0.02)


def test_random_rejected_is_uniform_below_the_chosen():
    rewards = np.tile([3.0, NAN, 1.0, 3.0, 0.0, 2.0], (30000, 1))
    result = pair_positions(rewards, rejected="random")
    assert set(result.reason) == {"ok"}
    assert np.bincount(result.rejected, minlength=6) / 30000 == pytest.approx([0, 0, 1 / 3, 0, 1 / 3, 1 / 3], abs=0.015)


def test_random_chosen_and_rejected_are_drawn_apart():
    rewards = np.tile([0.0, 1.0, 2.0, 3.0], (40000, 1))
    result = pair_positions(rewards, chosen="random", rejected="random")
    assert (result.reason == "no_gap").mean() == pytest.approx(0.25, abs=0.01)
    share = np.histogram2d(result.chosen, result.rejected, bins=np.arange(5) - 0.5)[0] / 40000
    for c in range(1, 4):
        assert share[c, :c] == pytest.approx([0.25 / c] * c, abs=0.01)


def test_the_subset_is_drawn_apart_from_a_random_chosen():
    rewards = np.tile(np.arange(8.0), (40000, 1))
    result = pair_positions(rewards, chosen="random", rejected="min_of_5", subset=1)
    assert (result.reason == "ok").mean() == pytest.approx((1 - 1 / 8) / 2, abs=0.015)


def test_random_chosen_allows_the_highest_below_it():
    result = pair_positions(np.tile(np.arange(5.0), (200, 1)), chosen="random", rejected="max")
    ok = result.reason == "ok"
    assert 0 < ok.sum() < 200
    assert np.array_equal(result.rejected[ok], result.chosen[ok] - 1)


def test_neighbouring_rows_and_seeds_draw_apart():
    rewards = np.tile(np.arange(8.0), (40000, 1))
    first, second = (pair_positions(rewards, chosen="random", rejected="min", seed=s).chosen for s in (0, 1))
    assert (first == second).mean() == pytest.approx(1 / 8, abs=0.02)
    assert (first[1:] == first[:-1]).mean() == pytest.approx(1 / 8, abs=0.02)


def test_seed_decides_and_any_size_is_taken():
    rewards = np.random.default_rng(11).normal(size=(100, 30))
    draw = [pair_positions(rewards, rejected="random", seed=s).rejected.tolist() for s in (0, 0, 10**30)]
    assert draw[0] == draw[1] != draw[2]
    fixed = [pair_positions(rewards, seed=s).rejected.tolist() for s in (0, 1)]
    assert fixed[0] == fixed[1]


def test_lowest_chosen_has_no_gap():
    assert pick([1, 2, 3], chosen="min", rejected="random")[2] == "no_gap"
    assert pick([1, 2, 3], chosen="min", rejected="min_of_5")[2] == "no_gap"


# ---- size


def test_memory_stays_near_the_input():
    rewards = np.random.default_rng(12).normal(size=(40000, 64))
    rewards[::50, 7] = NAN
    tracemalloc.start()
    pair_positions(rewards)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < rewards.nbytes


# ---- errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chosen": "best"}, r"chosen: got 'best', expected one of min, .*random"),
        ({"chosen": "min_of_5"}, r"chosen: got 'min_of_5'"),
        ({"rejected": "min_of_6"}, r"rejected: got 'min_of_6', expected one of .*min_of_5"),
        ({"rejected": NAN}, r"rejected: got nan, expected a finite number"),
        ({"rejected": -INF}, r"rejected: got -inf"),
        ({"rejected": None}, r"rejected: got None"),
        ({"chosen": True}, r"chosen: got True"),
        ({"chosen": "mu", "rejected": "mu+sigma"}, r"chosen mu and rejected mu\+sigma"),
        ({"chosen": "mu", "rejected": 0}, r"expected a chosen position above the rejected one"),
        ({"chosen": "min", "rejected": -5}, r"min < k < max"),
        ({"chosen": "max", "rejected": "max"}, r"chosen max and rejected max"),
        ({"chosen": 1e9, "rejected": "max"}, r"above the rejected"),
        ({"ddof": 2}, r"ddof: got 2, expected 0 or 1"),
        ({"ddof": -1}, r"ddof: got -1"),
        ({"ddof": 0.5}, r"ddof: got 0.5"),
        ({"subset": 0}, r"subset: got 0, expected an integer >= 1"),
        ({"subset": 2.0}, r"subset: got 2.0"),
        ({"seed": -1}, r"seed: got -1, expected an integer >= 0"),
        ({"seed": True}, r"seed: got True"),
        ({"text_ids": [[1, 2]]}, r"text_ids: got shape \(1, 2\), expected \(1, 3\)"),
        ({"text_ids": [[1.0, 2.0, 3.0]]}, r"text_ids: got dtype float64, expected integers"),
        ({"text_ids": [["a", "b", "c"]]}, r"text_ids: got dtype"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ContractError, match=message):
        pair_positions([[1.0, 2.0, 3.0]], **options)


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([1.0, 2.0], r"rewards: got shape \(2,\), expected 2 dimension"),
        (np.zeros((1, 2, 3)), r"rewards: got shape \(1, 2, 3\)"),
        ([[1.0, 2.0], [1.0]], r"rewards: cannot be read as an array"),
        ([["a", "b"]], r"rewards: got dtype"),
        ([[1j, 2]], r"rewards: got dtype complex128"),
        ([[1.0, {}]], r"rewards: holds values that are not numbers"),
    ],
)
def test_bad_rewards_are_refused(rewards, message):
    with pytest.raises(ContractError, match=message):
        pair_positions(rewards)


@pytest.mark.parametrize("options", [{"rejected": "mu-sigma"}, {"chosen": "mu+sigma", "rejected": "mu"}])
def test_a_missing_sample_is_absent_to_the_last_bit(options):
    # Tenths and thirds have samples at equal distances from the target: the last bit of mu or sigma decides.
    rng = np.random.default_rng(5)
    for n in (9, 15, 20, 27):
        table = rng.integers(-3, 4, (200, n)) / rng.choice([3.0, 10.0], (200, 1))
        table[rng.random(table.shape) < 0.3] = np.nan
        got = pair_positions(table, **options)
        for row, values in enumerate(table):
            there = np.flatnonzero(np.isfinite(values))
            alone = pair_positions([values[there]], **options)
            assert got.reason[row] == alone.reason[0]
            assert got.chosen[row] == (there[alone.chosen[0]] if alone.chosen[0] >= 0 else -1)
            assert got.rejected[row] == (there[alone.rejected[0]] if alone.rejected[0] >= 0 else -1)

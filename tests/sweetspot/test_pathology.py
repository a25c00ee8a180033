"""Pathology of the reference and the policy: golden numbers, closed forms, edges and errors."""

import math
import warnings
from dataclasses import astuple

import numpy as np
import pytest
from mpmath import mp, mpf
from scipy.integrate import quad

from sweetspot.errors import ContractError
from sweetspot.pathology import ches, ches_of_sums, report

H_PLUS = [[1, 0, 2], [0, 1, 1], [1, 1, 0]]
H_MINUS = [[1, 1, 0], [2, 0, 1]]


def of_margins(*delta, margin=None, beta=0.1, **more):
    """Report of pairs with reference margins `delta`."""
    return report(delta, [0.0] * len(delta), margin, beta=beta, **more)


# ---- golden numbers and closed forms


def test_flip_threshold_golden():
    flip = of_margins(-20, -50, -100).flip_threshold
    assert flip == pytest.approx([0.1269280110, 6.7153484891e-3, 4.5398899217e-5], rel=1e-9)


def test_stuck_time_golden():
    stuck = of_margins(-20, -50, -100, 0, 3).stuck_time
    assert stuck[:3] == pytest.approx([838.9, 1.5e4, 2.2e6], rel=0.03)
    assert stuck[0] == pytest.approx((2 + math.e**2 - 1) / 0.01, rel=1e-14)
    assert stuck[3:].tolist() == [0, 0]


@pytest.mark.parametrize("delta", [-0.3, -8.0, -20.0])
def test_stuck_time_is_the_time_of_the_gradient_flow(delta):
    """dδ/dt = beta·sg(-beta·(δ - δ_ref)) from δ_ref to 0."""
    duration = quad(lambda x: (1 + math.exp(0.1 * (x - delta))) / 0.1, delta, 0)[0]
    assert of_margins(delta).stuck_time[0] == pytest.approx(duration, rel=1e-8)


def test_flip_threshold_is_the_dpo_loss_at_equal_probability():
    delta = np.array([-30.0, -1.0, 0.0, 4.0])
    loss_at_zero = np.log1p(np.exp(-0.3 * (0 - delta)))  # sp(-beta·(δ_π - δ_ref)) at δ_π = 0
    assert of_margins(*delta, beta=0.3).flip_threshold == pytest.approx(loss_at_zero, rel=1e-14)


def test_crossing_gradient_is_the_slope_of_that_loss():
    delta, step = np.array([-30.0, -1.0, 0.0, 4.0]), 1e-6

    def loss(policy_margin):
        return np.log1p(np.exp(-0.3 * (policy_margin - delta)))

    slope = (loss(-step) - loss(step)) / (2 * step)
    assert of_margins(*delta, beta=0.3).crossing_gradient == pytest.approx(slope, rel=1e-6)


@pytest.mark.parametrize(("share", "threshold"), [(0.6, -4.055), (0.75, -10.986), (0.9, -21.972), (0.99, -45.951)])
def test_violation_turns_at_the_idealised_ranking_threshold(share, threshold):
    margin = math.log(share / (1 - share))
    violated = of_margins(threshold - 0.001, threshold + 0.001, margin=[margin] * 2).violated
    assert violated.tolist() == [True, False]


def test_violated_at_equality():
    result = of_margins(-10.0, -9.999, 10.0, -10.001, margin=[1.0, 1.0, -1.0, 1.0])
    assert result.violated.tolist() == [True, False, True, True]
    assert result.violated.dtype == bool
    assert result.violation_rate == 0.75
    assert of_margins(0.0, 10.0, margin=[0.0, -1.0]).violated.tolist() == [True, True]


def test_unknown_margin_gives_none():
    result = of_margins(-10.0)
    assert result.violated is None
    assert result.violation_rate is None


def test_reference_margin_and_accuracy():
    result = report([-12, -300, -5], [-15, -290, -5], None, beta=0.1)
    assert result.reference_margin.tolist() == [3, -10, 0]
    assert result.reference_accuracy == pytest.approx(1 / 3)  # 0 is not correct
    assert type(result.reference_accuracy) is float


def test_per_token_margin():
    result = report([-12, -300], [-15, -290], None, beta=0.1, chosen_lengths=[6, 250], rejected_lengths=[5, 100])
    assert result.reference_margin_per_token.tolist() == pytest.approx([1.0, 1.7])
    assert of_margins(1.0).reference_margin_per_token is None


def test_occupancy_is_strict_at_both_ends():
    reference, policy = [-5.0] * 6, [-5.0, -4.99, -0.01, 0.0, 1.0, -6.0]
    result = of_margins(*reference, policy_chosen_logps=policy, policy_rejected_logps=[0.0] * 6)
    assert result.occupancy == pytest.approx(2 / 6)


def test_displacement_is_strict_and_shift_is_signed():
    result = report(
        [-10.0, -10, -10, -10],
        [-9.0] * 4,
        None,
        beta=0.1,
        policy_chosen_logps=[-11, -10, -9, -14],
        policy_rejected_logps=[-20.0] * 4,
    )
    assert result.displacement == 0.5
    assert result.mean_chosen_shift == -1.0
    assert result.occupancy == 0.0


def test_without_a_policy_there_is_no_movement():
    result = of_margins(-5.0)
    assert (result.occupancy, result.displacement, result.mean_chosen_shift) == (None, None, None)


# ---- edges and laws


def test_no_overflow_and_no_warning_at_ten_thousand():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = of_margins(1e5, -1e5, -7000, margin=[1.0, 1.0, 1.0])
    assert result.flip_threshold[:2].tolist() == [1e4, 0]
    assert result.crossing_gradient[:2].tolist() == [0.1, 0]
    assert result.stuck_time.tolist()[:2] == [0, math.inf]
    assert math.isfinite(result.stuck_time[2])


@pytest.mark.parametrize("delta", [-1e4, -700.0, -30.0, -1e-6, 1e-6, 30.0])
def test_twelve_digits(delta):
    mp.dps = 6000
    u = abs(mpf(delta)) * mpf(0.1) if delta < 0 else mpf(0)
    result = of_margins(delta)
    scaled = mpf(0.1) * mpf(delta)
    assert result.flip_threshold[0] == pytest.approx(float(mp.log(1 + mp.exp(scaled))), rel=1e-12, abs=0)
    assert result.crossing_gradient[0] == pytest.approx(0.1 * float(1 / (1 + mp.exp(-scaled))), rel=1e-12, abs=0)
    if delta > -7000:
        assert result.stuck_time[0] == pytest.approx(float((u + mp.expm1(u)) / mpf(0.1) ** 2), rel=1e-12, abs=0)


def test_tiny_beta_keeps_stuck_time_finite():
    assert of_margins(-3.0, beta=1e-200).stuck_time[0] == pytest.approx(6e200)
    assert of_margins(-3.0, 0.0, beta=1e-310, margin=[1.0, 0.0]).violated.tolist() == [False, True]


def test_a_constant_on_both_log_probs_changes_nothing():
    rng = np.random.default_rng(0)
    chosen, rejected, shift = rng.integers(-400, 0, size=(3, 200)).astype(float)
    margin = rng.normal(size=200)
    policy = {"policy_chosen_logps": chosen + 1, "policy_rejected_logps": rejected - 2}
    plain = report(chosen, rejected, margin, beta=0.1, **policy)
    moved = report(
        chosen + shift,
        rejected + shift,
        margin,
        beta=0.1,
        policy_chosen_logps=chosen + 1 + 3 * shift,
        policy_rejected_logps=rejected - 2 + 3 * shift,
    )
    for name in ("reference_margin", "violated", "flip_threshold", "crossing_gradient", "stuck_time"):
        assert np.array_equal(getattr(plain, name), getattr(moved, name))
    assert plain.reference_accuracy == moved.reference_accuracy
    assert plain.occupancy == moved.occupancy


def test_inputs_stay_and_results_are_fresh():
    chosen = np.array([-3.0, -5.0])
    result = report(chosen, np.zeros(2), None, beta=1)
    result.reference_margin[:] = 7
    assert chosen.tolist() == [-3, -5]
    assert result.flip_threshold[0] == pytest.approx(math.log1p(math.exp(-3)))


# ---- CHES


def test_ches_golden():
    result = ches(H_PLUS, H_MINUS)
    assert result.score == -6
    assert result.length_normalised == pytest.approx(-0.0555556, abs=5e-8)
    assert type(result.score) is type(result.length_normalised) is float


def test_ches_is_a_sum_over_token_pairs():
    rng = np.random.default_rng(1)
    plus, minus = rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    inner = sum(p @ m for p in plus for m in minus)
    norm = sum(p @ q for p in plus for q in plus)
    result = ches(plus, minus)
    assert result.score == pytest.approx(inner - norm, rel=1e-12)
    assert result.length_normalised == pytest.approx(inner / 15 - norm / 25, rel=1e-12)


def test_ches_of_equal_responses_is_zero():
    assert ches(H_PLUS, H_PLUS).score == 0
    assert ches(H_PLUS, H_PLUS).length_normalised == 0


@pytest.mark.parametrize(
    ("plus", "minus", "message"),
    [
        ([[1.0, 2.0]], [[1.0, 2.0, 3.0]], r"rejected_hidden: got H = 3, expected 2"),
        (np.zeros((0, 3)), H_MINUS, r"chosen_hidden: got shape \(0, 3\), expected at least 1"),
        (H_PLUS, np.zeros((0, 3)), r"rejected_hidden: got shape \(0, 3\)"),
        ([1.0, 2.0], H_MINUS, r"chosen_hidden: got shape \(2,\), expected 2 dimension"),
        ([[1.0, math.nan, math.inf]], H_MINUS, r"chosen_hidden: 2 of 3 values .*first index \(0, 1\)"),
        ([[1e200, 0, 0]], H_MINUS, r"inner products .* float64 can hold"),
    ],
)
def test_ches_refuses(plus, minus, message):
    with pytest.raises(ContractError, match=message):
        ches(plus, minus)


# ---- errors


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (([], [], None), {}, r"reference_chosen_logps: got shape \(0,\), expected at least 1"),
        (([-1.0], [-1.0, -2.0], None), {}, r"reference_chosen_logps \(1,\), reference_rejected_logps \(2,\)"),
        (([[-1.0]], [[-2.0]], None), {}, r"reference_chosen_logps: got shape \(1, 1\), expected 1 dimension"),
        (([-1.0, math.nan], [-1.0, 0], None), {}, r"reference_chosen_logps: 1 of 2 values .*first index 1, got nan"),
        (([-1.0], [-math.inf], None), {}, r"reference_rejected_logps: 1 of 1"),
        (([-1.0], [-2.0], [1.0, 2.0]), {}, r"margin \(2,\)"),
        (([-1.0], [-2.0], [math.nan]), {}, r"margin: 1 of 1"),
        (([-1.0], [-2.0], 1.0), {}, r"margin: got shape \(\), expected 1 dimension"),
        (([-1.7e308], [1.7e308], None), {}, r"reference_chosen_logps - reference_rejected_logps: 1 of 1"),
        (([-1e300], [0.0], None), {"beta": 1e300}, r"beta \* reference margin: 1 of 1"),
        (([-1.0], [-2.0], None), {"beta": 0}, r"beta: got 0, expected a finite number > 0"),
        (([-1.0], [-2.0], None), {"beta": math.inf}, r"beta: got inf"),
        (([-1.0], [-2.0], None), {"beta": math.nan}, r"beta: got nan"),
        (([-1.0], [-2.0], None), {"chosen_lengths": [3]}, r"rejected_lengths: got None although chosen_lengths"),
        (([-1.0], [-2.0], None), {"rejected_lengths": [3]}, r"chosen_lengths: got None although rejected_lengths"),
        (([-1.0], [-2.0], None), {"chosen_lengths": [0], "rejected_lengths": [1]}, r"chosen_lengths: 1 of 1 .*> 0"),
        (([-1.0], [-2.0], None), {"chosen_lengths": [1], "rejected_lengths": [-1]}, r"rejected_lengths: 1 of 1"),
        (([-1.0], [-2.0], None), {"chosen_lengths": [1, 2], "rejected_lengths": [1]}, r"chosen_lengths \(2,\)"),
        (([-1.0], [-2.0], None), {"policy_chosen_logps": [-1]}, r"policy_rejected_logps: got None although"),
        (([-1.0], [-2.0], None), {"policy_rejected_logps": [-1]}, r"policy_chosen_logps: got None although"),
        (
            ([-1.0], [-2.0], None),
            {"policy_chosen_logps": [-1], "policy_rejected_logps": [math.nan]},
            r"policy_rejected_logps: 1 of 1",
        ),
        (
            ([-1.0], [-2.0], None),
            {"policy_chosen_logps": [-1, -2], "policy_rejected_logps": [-1, -2]},
            r"policy_chosen_logps \(2,\)",
        ),
    ],
)
def test_report_refuses(arguments, options, message):
    with pytest.raises(ContractError, match=message):
        report(*arguments, **{"beta": 0.1, **options})


def test_lengths_so_small_that_the_mean_overflows_are_refused():
    with pytest.raises(ContractError, match=r"chosen_lengths: 1 of 2 values.*first index 1"):
        report([-1e3, -1e3], [0.0, 0.0], None, beta=1.0, chosen_lengths=[1.0, 5e-324], rejected_lengths=[1.0, 1.0])


def test_ches_that_overflows_is_refused():
    with pytest.raises(ContractError, match="inner products of the summed hidden states"):
        ches([[1.1e154]], [[-1.1e154]])


# ---- CHES of sums


def test_sums_over_tokens_are_all_that_ches_needs():
    rng = np.random.default_rng(5)
    pairs = [(rng.normal(size=(n, 6)), rng.normal(size=(m, 6))) for n, m in ((1, 1), (3, 9), (40, 2))]
    found = ches_of_sums(
        [plus.sum(axis=0) for plus, _ in pairs],
        [minus.sum(axis=0) for _, minus in pairs],
        chosen_lengths=[len(plus) for plus, _ in pairs],
        rejected_lengths=[len(minus) for _, minus in pairs],
    )
    for k, (plus, minus) in enumerate(pairs):
        gram_minus, gram_plus = (plus @ minus.T), (plus @ plus.T)
        assert found.score[k] == pytest.approx(gram_minus.sum() - gram_plus.sum(), rel=1e-12, abs=1e-10)
        assert found.length_normalised[k] == pytest.approx(gram_minus.mean() - gram_plus.mean(), rel=1e-12, abs=1e-12)
        assert (found.score[k], found.length_normalised[k]) == astuple(ches(plus, minus))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen_sums": np.zeros((0, 2))}, "chosen_sums: got shape"),
        ({"rejected_sums": [[1.0, 2.0]]}, "rejected_sums"),
        ({"rejected_lengths": [1, 0]}, "lengths >= 1"),
        ({"chosen_lengths": [1.0]}, "chosen_lengths"),
        ({"chosen_sums": [[1.0, np.nan], [0.0, 0.0]]}, "finite"),
    ],
)
def test_sums_that_fit_no_pairs_are_refused(change, message):
    good = {"chosen_sums": np.ones((2, 2)), "rejected_sums": np.ones((2, 2))}
    good |= {"chosen_lengths": [1, 2], "rejected_lengths": [2, 1]}
    values = good | change
    with pytest.raises(ContractError, match=message):
        ches_of_sums(values.pop("chosen_sums"), values.pop("rejected_sums"), **values)

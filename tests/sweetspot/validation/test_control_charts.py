import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from scipy.stats import t as student

from sweetspot.errors import ContractError
from sweetspot.validation.control_charts import alarms, prediction_limits

VALUES = st.lists(st.floats(-100, 100), min_size=3, max_size=40)


@pytest.mark.parametrize("n", [3, 8, 30])
def test_a_steady_series_leaves_its_limits_as_often_as_asked_for(n):
    """The law that makes it a prediction interval, by simulation: 20,000 nights of a steady rater."""
    rng = np.random.default_rng(n)
    nights = rng.normal(5.0, 2.0, size=(20_000, n + 1))
    outside = 0
    for night in nights:
        low, high = prediction_limits(night[:-1], false_alarm=0.05)
        outside += not low <= night[-1] <= high
    assert abs(outside / len(nights) - 0.05) < 4 * np.sqrt(0.05 * 0.95 / len(nights))


def test_three_sigma_of_a_short_history_is_left_nine_times_as_often():
    """The claim in the docstring, in closed form."""
    often = 2 * student.sf(3 / np.sqrt(1 + 1 / 8), 7) / (2 * norm.sf(3))
    assert 9 < often < 10


def test_a_worked_example():
    low, high = prediction_limits([1.0, 2.0, 3.0], false_alarm=0.05)
    assert (low, high) == pytest.approx((2 - 4.968275, 2 + 4.968275), abs=1e-5)  # t(0.975, 2) = 4.302653, s = 1


@given(VALUES, st.floats(0.1, 10), st.floats(-50, 50))
def test_limits_move_with_the_unit_of_the_rater(values, scale, shift):
    low, high = prediction_limits(values, false_alarm=0.01)
    moved = prediction_limits(np.array(values) * scale + shift, false_alarm=0.01)
    assert moved == pytest.approx((low * scale + shift, high * scale + shift), abs=1e-6, rel=1e-6)


@given(VALUES)
def test_rarer_alarms_need_wider_limits(values):
    low, high = prediction_limits(values, false_alarm=0.01)
    wider = prediction_limits(values, false_alarm=0.001)
    assert wider[0] <= low <= high <= wider[1]


def test_a_series_that_never_varies_is_given_its_resolution():
    assert prediction_limits([0.5] * 9, false_alarm=0.001) == (0.5, 0.5)
    assert prediction_limits([0.5] * 9, false_alarm=0.001, resolution=0.1) == pytest.approx((0.4, 0.6))


def nights(n, seed=0):
    rng = np.random.default_rng(seed)
    return [{chart: float(rng.normal()) for chart in ("a mean", "b mean", "c sd")} for _ in range(n)]


def test_a_shift_is_named_with_its_limits():
    (alarm,) = alarms(nights(30), {**nights(1, seed=9)[0], "b mean": 9.0}, false_alarm=0.001, min_history=8)
    assert (alarm.chart, alarm.value, alarm.history) == ("b mean", 9.0, 30)
    assert alarm.low < 0 < alarm.high < 9


def test_any_alarm_in_a_steady_night_is_as_rare_as_asked_for():
    every = (nights(11, seed) for seed in range(3000))
    found = sum(bool(alarms(night[:-1], night[-1], false_alarm=0.05, min_history=3)) for night in every)
    assert 0.03 < found / 3000 < 0.06


def test_a_short_history_is_not_judged():
    past = nights(7)
    assert alarms(past, {"a mean": 1e9}, false_alarm=0.5, min_history=8) == []
    assert alarms([*past, *nights(1, seed=3)], {"a mean": 1e9}, false_alarm=0.5, min_history=8)


def test_a_new_rater_has_no_history_of_its_own():
    assert alarms(nights(30), {"new mean": 1e9}, false_alarm=0.5, min_history=8) == []


@pytest.mark.parametrize(
    ("history", "false_alarm", "message"),
    [
        ([1.0, 2.0], 0.1, "got 2 values, expected at least 3"),
        ([1.0, float("nan"), 2.0], 0.1, "history: 1 of 3 values cannot be used"),
        ([1.0, 2.0, 3.0], 0.0, "false_alarm: got 0.0"),
        ([1.0, 2.0, 3.0], 1.0, "false_alarm: got 1.0"),
    ],
)
def test_bad_input_is_refused(history, false_alarm, message):
    with pytest.raises(ContractError, match=message):
        prediction_limits(history, false_alarm=false_alarm)


@settings(max_examples=50)
@given(st.permutations(nights(10)))
def test_the_order_of_nights_does_not_matter(shuffled):
    today = {"a mean": 9.0, "b mean": 0.0, "c sd": -9.0}
    first, second = (alarms(past, today, false_alarm=0.01, min_history=3) for past in (nights(10), shuffled))
    assert [one.chart for one in first] == [one.chart for one in second] == ["a mean", "c sd"]

"""Control charts: is tonight's figure one that the nights before would lead us to expect?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import t as student

from sweetspot.errors import ContractError
from sweetspot.validation._arguments import float_array, fraction, whole_number

LEAST_HISTORY = 3
"""A spread of fewer values says nothing."""


@dataclass(frozen=True)
class Alarm:
    """A figure outside its limits.

    Attributes:
        chart: its name.
        value: tonight's.
        low: lower limit.
        high: upper limit.
        history: values the limits were made of.
    """

    chart: str
    value: float
    low: float
    high: float
    history: int


def prediction_limits(history: ArrayLike, *, false_alarm: float, resolution: float = 0.0) -> tuple[float, float]:
    """Limits that the next value of a steady series leaves with probability `false_alarm`.

    mean ± max(resolution, t(1 - a/2, n - 1) · s · sqrt(1 + 1/n)),  s with n - 1 in the denominator.

    For normal, independent values the probability is exact at every n, which three sigma of a short history is not:
    with n = 8 those are left nine times as often as in the long run.

    Args:
        history: (n,) earlier values, at least 3; order does not matter.
        false_alarm: a, in (0, 1).
        resolution: half width below which a change does not count, for series that hardly vary.

    Raises:
        ContractError: fewer than 3 values, or one that is not finite.

    References:
        Hahn and Meeker (1991), Statistical Intervals, section 4.7: a prediction interval for one future observation.
    """
    values = float_array(history, "history", ndim=1)
    alpha = fraction(false_alarm, "false_alarm", below=1.0)
    n = len(values)
    if n < LEAST_HISTORY:
        raise ContractError(f"history: got {n} values, expected at least {LEAST_HISTORY}; wait for more nights")
    half = float(student.isf(alpha / 2, n - 1) * values.std(ddof=1) * np.sqrt(1 + 1 / n))
    half = max(half, float(resolution))
    centre = float(values.mean())
    return centre - half, centre + half


def alarms(
    history: Sequence[Mapping[str, float]],
    today: Mapping[str, float],
    *,
    false_alarm: float,
    min_history: int,
    resolution: Mapping[str, float] | None = None,
) -> list[Alarm]:
    """Charts whose value of tonight leaves its limits.

    Args:
        history: figures of earlier nights by chart; a chart may be missing in some.
        today: tonight's figures.
        false_alarm: probability of any alarm in a night when nothing has changed; shared out among the charts
            (Bonferroni), so it is an upper bound whatever their dependence.
        min_history: charts with fewer values are not judged.
        resolution: by chart, see `prediction_limits`.

    Returns:
        Alarms in order of name.
    """
    least = max(LEAST_HISTORY, whole_number(min_history, "min_history", at_least=1))
    series = {chart: [night[chart] for night in history if chart in night] for chart in sorted(today)}
    judged = {chart: values for chart, values in series.items() if len(values) >= least}
    found = []
    for chart, values in judged.items():
        width = (resolution or {}).get(chart, 0.0)
        low, high = prediction_limits(values, false_alarm=false_alarm / len(judged), resolution=width)
        if not low <= today[chart] <= high:
            found.append(Alarm(chart, float(today[chart]), low, high, len(values)))
    return found

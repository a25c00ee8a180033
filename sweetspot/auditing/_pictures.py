"""Charts of findings as markup: bars in HTML, so that names are text; curves and histograms as SVG without any name."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from markupsafe import Markup

from sweetspot.auditing._numbers import in_words, is_share, plain
from sweetspot.auditing.findings import Bars, Chart, Curves, Histogram
from sweetspot.pages import charts as draw
from sweetspot.pages import histogram

MAX_LABEL = 80
"""Most characters of a bar's name that are shown."""
MAX_BARS = 24
"""Most bars of a chart that are shown; report.json has them all."""

# Colour and the class of its key in the style sheet.
_COLOURS = (
    (draw.CHOSEN, "chosen"),
    (draw.REJECTED, "rejected"),
    (draw.THIRD, "third"),
    (draw.FOURTH, "fourth"),
    (draw.NEUTRAL, "neutral"),
)
MAX_SERIES = len(_COLOURS)
_BY_NAME = {"chosen": 0, "rejected": 1}

T = TypeVar("T")


@dataclass(frozen=True)
class Bar:
    """One bar; places in percent of the axis.

    Attributes:
        whisker: start and width of the interval, None without one.
    """

    label: str
    value: str
    interval: str
    start: float
    width: float
    whisker: tuple[float, float] | None


@dataclass(frozen=True)
class Picture:
    """One chart, ready for the template.

    Attributes:
        above: what the heights or lengths are, with unit.
        below: what lies along the horizontal axis; empty for bars.
        bars: of a bar chart, else empty.
        reference: place and value of the line to compare with, None without one.
        svg: of any other chart, else empty.
        keys: class and name of each series that is drawn; empty when there is one.
        left_out: bars or series that are only in report.json.
    """

    above: str
    below: str = ""
    bars: tuple[Bar, ...] = ()
    reference: tuple[float, str] | None = None
    svg: Markup = field(default_factory=Markup)
    keys: tuple[tuple[str, str], ...] = ()
    left_out: int = 0


def picture(chart: Chart) -> Picture:
    """Draw a chart."""
    if isinstance(chart, Bars):
        return _bars(chart)
    if isinstance(chart, Curves):
        return _curves(chart)
    return _histogram(chart)


def _bars(chart: Bars) -> Picture:
    values = [float(plain(value)) for value in chart.values[:MAX_BARS]]
    intervals = chart.intervals[:MAX_BARS] if chart.intervals else ((math.nan, math.nan),) * len(values)
    reference = chart.reference
    ends = [0.0, *values, *(end for pair in intervals for end in pair), *([] if reference is None else [reference])]
    finite = [float(end) for end in ends if math.isfinite(end)]
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        return 100 * (value - low) / span

    # A chart against a coin flip is of shares, whatever its axis is called.
    unit = "share" if reference == 0.5 and low >= 0 and high <= 1 else chart.axis
    bars = [
        _bar(
            label if len(label) <= MAX_LABEL else f"{label[:MAX_LABEL]} \N{HORIZONTAL ELLIPSIS}",
            unit,
            value,
            pair,
            place,
        )
        for label, value, pair in zip(chart.labels, values, intervals, strict=False)
    ]
    line = None if reference is None else (place(reference), in_words(unit, float(reference)))
    return Picture(chart.axis, bars=tuple(bars), reference=line, left_out=max(0, len(chart.values) - MAX_BARS))


def _bar(label: str, axis: str, value: float, interval: tuple[float, float], place: Callable[[float], float]) -> Bar:
    ends = sorted(place(end) for end in (0.0, value)) if math.isfinite(value) else [place(0.0)] * 2
    if not all(math.isfinite(end) for end in interval):
        return Bar(label, in_words(axis, value), "", ends[0], ends[1] - ends[0], None)
    low, high = (float(end) for end in interval)
    words = f"{in_words(axis, low)} to {in_words(axis, high)}"
    whisker = (place(low), place(high) - place(low))
    return Bar(label, in_words(axis, value), words, ends[0], ends[1] - ends[0], whisker)


def _curves(chart: Curves) -> Picture:
    shown = _coloured(chart.series)
    svg = draw.lines(
        [float(x) for x in chart.x],
        [(colour, [float(value) for value in values]) for colour, _, _, values in shown],
        x_is_share=is_share(chart.x_axis),
        y_is_share=is_share(chart.y_axis),
    )
    return Picture(chart.y_axis, chart.x_axis, svg=svg, keys=_keys(shown), left_out=len(chart.series) - len(shown))


def _histogram(chart: Histogram) -> Picture:
    shown = _coloured(chart.series)
    series = [
        draw.Series(histogram.Histogram(chart.edges, tuple(int(one) for one in counts)), colour)
        for colour, _, _, counts in shown
    ]
    svg = draw.distribution(series, axis="")
    return Picture("number of rows", chart.axis, svg=svg, keys=_keys(shown), left_out=len(chart.series) - len(shown))


def _coloured(series: Mapping[str, T]) -> list[tuple[str, str, str, T]]:
    """Colour, class, name and values of the first few series; chosen and rejected keep the colours they always have."""
    names = list(series)[:MAX_SERIES]
    kept = {name: _BY_NAME[name] for name in names if name in _BY_NAME}
    free = iter([place for place in range(MAX_SERIES) if place not in kept.values()])
    places = [kept[name] if name in kept else next(free) for name in names]
    return [(*_COLOURS[place], name, series[name]) for name, place in zip(names, places, strict=True)]


def _keys(shown: list[tuple[str, str, str, T]]) -> tuple[tuple[str, str], ...]:
    return tuple((kind, name) for _, kind, name, _ in shown) if len(shown) > 1 else ()

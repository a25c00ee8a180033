"""Pictures as inline SVG that takes its colours from the page, so one picture serves light and dark.

Matplotlib draws with stand-in colours; each is replaced by a CSS variable of the page. The SVG holds
numbers and fixed words only: no caller's text is drawn, and nothing in it has an id, a link or a script.
"""

import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from sweetspot.pages.histogram import Histogram

_COLOURS = {
    "#a00001": "var(--chosen)",
    "#a00002": "var(--rejected)",
    "#a00003": "var(--neutral)",
    "#a00004": "var(--muted)",
    "#a00005": "var(--grid)",
    "#a00006": "var(--ink)",
    "#a00007": "var(--third)",
    "#a00008": "var(--fourth)",
}
CHOSEN, REJECTED, NEUTRAL, MUTED, GRID, INK, THIRD, FOURTH = _COLOURS
# Lines differ in their dashes too, for those who cannot tell the colours apart.
_DASHES = ("solid", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 3)))

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "sweetspot",
    "font.size": 8.0,
    "axes.unicode_minus": True,
}
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


@dataclass(frozen=True)
class Series:
    """One histogram in a chart: its colour, and whether it is filled or only outlined."""

    histogram: Histogram
    colour: str
    filled: bool = True


def distribution(series: Sequence[Series], *, axis: str) -> Markup:
    """Histograms over each other; a dashed line marks the mean of each.

    Args:
        series: drawn in order, later ones above.
        axis: fixed words under the horizontal axis. Not a place for a caller's text.
    """

    def draw(axes: Axes) -> None:
        top = max((max(one.histogram.counts) for one in series), default=0) or 1
        for one in series:
            _draw_histogram(axes, one, top)
        axes.set_ylim(0, 1.12 * top)
        axes.set_xlim(min(one.histogram.edges[0] for one in series), max(one.histogram.edges[-1] for one in series))
        axes.set_xlabel(axis, color=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axes.grid(axis="y", color=GRID, linewidth=0.6)

    return _svg(draw, width=4.4, height=1.85, left=0.42)


def lines(
    x: Sequence[float], series: Sequence[tuple[str, Sequence[float]]], *, x_is_share: bool, y_is_share: bool
) -> Markup:
    """Lines over one axis, each in its own dashes; a point alone between gaps is a dot.

    Args:
        x: (n,) ascending.
        series: a colour and (n,) values each; NaN leaves a gap.
        x_is_share: label the horizontal axis in percent.
        y_is_share: likewise the vertical one.
    """

    def draw(axes: Axes) -> None:
        for (colour, values), dashes in zip(series, _DASHES * len(series), strict=False):
            axes.plot(x, values, color=colour, linewidth=1.5, linestyle=dashes, clip_on=False)
            for k in range(len(values)):
                if _is_alone(values, k):  # a line of no length with round ends: a marker would need a definition
                    spot = [x[k]] * 2, [values[k]] * 2
                    axes.plot(*spot, color=colour, linewidth=3.5, solid_capstyle="round", clip_on=False)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.xaxis.set_major_locator(MaxNLocator(6))
        for axis, is_share in ((axes.xaxis, x_is_share), (axes.yaxis, y_is_share)):
            axis.set_major_formatter(FuncFormatter(lambda value, _, is_share=is_share: _tick(value, is_share)))
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.margins(x=0.02, y=0.08)

    return _svg(draw, width=4.4, height=1.85, left=0.46)


def _is_alone(values: Sequence[float], k: int) -> bool:
    beside = [values[j] for j in (k - 1, k + 1) if 0 <= j < len(values)]
    return math.isfinite(values[k]) and not any(math.isfinite(value) for value in beside)


def _tick(value: float, is_share: bool) -> str:
    return f"{round(100 * value, 6):g} %" if is_share else _short(round(value, 12))


def _draw_histogram(axes: Axes, one: Series, top: float) -> None:
    counts, edges = one.histogram.counts, one.histogram.edges
    if one.filled:
        axes.stairs(counts, edges, fill=True, color=one.colour, alpha=0.38, clip_on=False)
    outline = [count or math.nan for count in counts]  # no line along empty bins
    axes.stairs(outline, edges, color=one.colour, linewidth=1.1, clip_on=False)
    mean = one.histogram.mean
    if mean is not None and edges[0] <= mean <= edges[-1]:
        axes.plot([mean, mean], [0, 1.1 * top], color=one.colour, linewidth=1.1, linestyle=(0, (3, 2)), clip_on=False)


def before_and_after(before: float, after: float, gain: tuple[float, float]) -> Markup:
    """Two shares as bars on one scale, with the interval of the gain drawn at the end of the second."""

    def draw(axes: Axes) -> None:
        axes.barh([1, 0], [before, after], height=0.52, color=[NEUTRAL, CHOSEN], clip_on=False)
        ends = [before + end for end in gain]
        axes.plot(ends, [0, 0], color=INK, linewidth=1.4, clip_on=False)
        for end in ends:
            axes.plot([end, end], [-0.13, 0.13], color=INK, linewidth=1.4, clip_on=False)
        axes.set_xlim(0, max(0.05, 1.15 * max(before, after, *ends)))
        axes.set_ylim(-0.5, 1.5)
        axes.set_yticks([1, 0], ["before", "after"])
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.grid(axis="x", color=GRID, linewidth=0.6)

    return _svg(draw, width=4.4, height=1.2, left=0.52)


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _svg(draw: Callable[[Axes], None], *, width: float, height: float, left: float) -> Markup:
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a matplotlibrc of the user must not change the page
        matplotlib.rcParams.update(_STYLE)
        figure = Figure(figsize=(width, height))
        below, right, above = 0.38, 0.12, 0.04
        box = (left / width, below / height, 1 - (left + right) / width, 1 - (below + above) / height)
        axes = figure.add_axes(box)
        axes.set_axisbelow(True)
        axes.tick_params(left=False, bottom=False, labelcolor=MUTED, pad=3)
        for side, spine in axes.spines.items():
            spine.set_visible(side == "bottom")
            spine.set_color(MUTED)
            spine.set_linewidth(0.7)
        draw(axes)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    return Markup(_themed(buffer.getvalue()))


def _themed(document: str) -> str:
    """The drawing alone: page colours, two decimals, no ids, namespaces, styles or fonts of its own."""
    body = document[document.index("<svg") : document.rindex("</svg>")]
    box = re.search(r'viewBox="([^"]*)"', body)
    drawing = body[body.index(">") + 1 :]
    drawing = re.sub(r"<defs>.*?</defs>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r' (?:id|transform|clip-path)="[^"]*"', "", drawing)
    drawing = re.sub(r"font-family: [^;]*;\s*", "", drawing)
    drawing = re.sub(r"-?\d+\.\d{3,}", lambda number: _rounded(number[0]), drawing)
    drawing = re.sub(r"#a0000[1-8]", lambda colour: _COLOURS[colour[0]], drawing)
    drawing = re.sub(r"\s*\n\s*", " ", drawing)
    view = box[1] if box else "0 0 1 1"
    return f'<svg viewBox="{view}" aria-hidden="true" focusable="false">{drawing}</svg>'


def _rounded(number: str) -> str:
    value = float(number)
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"

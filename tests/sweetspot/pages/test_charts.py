import re
import warnings
from xml.etree import ElementTree

import matplotlib
import pytest

from sweetspot.pages.charts import CHOSEN, NEUTRAL, REJECTED, Series, before_and_after, distribution
from sweetspot.pages.histogram import Histogram, histogram

NIGHT = histogram([-2.0, -1.0, -1.0, 0.5, 0.6, 0.7, 3.0])
GAIN = (0.293, 0.531, (0.2, 0.28))


def top_of(svg, colour):
    """Height of the highest point of the filled shape of a colour, as a share of the tallest one's."""
    fills = [path for path in ElementTree.fromstring(svg).iter("path") if f"fill: {colour}" in path.get("style", "")]
    return [float(y) for _, y in re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", fills[0].get("d"))]


def test_bars_are_as_high_as_their_counts():
    ys = sorted(
        set(top_of(distribution([Series(Histogram((0, 1, 2, 3), (1, 4, 2)), CHOSEN)], axis="x"), "var(--chosen)"))
    )
    top, middle, low, base = ys
    assert (base - middle) / (base - top) == pytest.approx(0.5, abs=0.01)
    assert (base - low) / (base - top) == pytest.approx(0.25, abs=0.01)


def test_two_histograms_share_one_scale():
    svg = distribution([Series(Histogram((0, 1), (10,)), REJECTED), Series(Histogram((0, 1), (5,)), CHOSEN)], axis="x")
    tall, half = top_of(svg, "var(--rejected)"), top_of(svg, "var(--chosen)")
    assert min(tall) > 0
    assert (max(half) - min(half)) / (max(tall) - min(tall)) == pytest.approx(0.5, abs=0.01)


def test_the_mean_is_marked_only_when_it_is_on_the_axis():
    inside = distribution([Series(Histogram((0, 1), (3,), mean=0.5), NEUTRAL)], axis="x")
    beyond = distribution([Series(Histogram((0, 1), (3,), mean=7.0), NEUTRAL)], axis="x")
    assert inside.count("stroke-dasharray") == 1
    assert beyond.count("stroke-dasharray") == 0


def test_a_picture_takes_its_colours_from_the_page():
    svg = distribution([Series(NIGHT, REJECTED), Series(NIGHT, CHOSEN)], axis="x")
    assert "var(--chosen)" in svg
    assert "var(--rejected)" in svg
    assert not re.search(r"#[0-9a-f]{6}", svg)


def test_a_picture_has_no_id_link_script_or_font_of_its_own():
    for svg in (distribution([Series(NIGHT, NEUTRAL)], axis="x"), before_and_after(*GAIN)):
        assert not re.search(r"\bid=|href|xmlns|<defs|<script|font-family|<image|url\(", svg)
        assert {element.tag for element in ElementTree.fromstring(svg).iter()} <= {"svg", "g", "path", "text"}


def test_an_empty_histogram_is_drawn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "<svg" in distribution([Series(histogram([]), NEUTRAL)], axis="x")


@pytest.mark.parametrize(("before", "after", "low", "high"), [(0, 0, 0, 0), (1, 1, -0.1, 0.1), (0.5, 0.1, -0.6, -0.2)])
def test_any_result_is_drawn(before, after, low, high):
    assert "<svg" in before_and_after(before, after, (low, high))


def test_the_settings_of_the_user_change_nothing_and_are_left_alone():
    expected = before_and_after(*GAIN)
    with matplotlib.rc_context({"font.size": 30, "xtick.labelsize": 30, "svg.fonttype": "path"}):
        assert before_and_after(*GAIN) == expected
        assert matplotlib.rcParams["font.size"] == 30

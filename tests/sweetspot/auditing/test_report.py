import dataclasses
import json
import math
import re

import numpy as np
import pytest
from hostile_pages import HOSTILE, Page, assert_harmless, poisoned
from markdown_it import MarkdownIt

from sweetspot.auditing.findings import Bars, Curves, Finding, Histogram, Suspect
from sweetspot.auditing.report import MAX_SUSPECTS, report_html, report_json, report_markdown

FIXED = ("level", "kind")


@pytest.fixture(scope="module")
def html(result):
    return report_html(result)


@pytest.fixture(scope="module")
def page(html):
    return Page(html)


def with_finding(result, **changed):
    finding = Finding(**{"check": "x", "title": "X", "level": "look", "says": "Something.", **changed})
    return dataclasses.replace(result, findings=(finding,))


def test_the_page_is_one_file_that_loads_nothing(page):
    assert_harmless(page)
    policy = [value for _, name, value in page.attributes if name == "content" and "default-src" in value]
    assert [value.split(";")[0] for value in policy] == ["default-src 'none'"]
    assert "script-src" not in policy[0]
    assert page.tags.index("meta") < page.tags.index("style")


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_in_every_field_comes_out_as_text(result, page, payload):
    hostile = Page(report_html(poisoned(result, payload, keep=FIXED)))
    assert_harmless(hostile)
    assert hostile.tags.count("table") == page.tags.count("table")
    assert hostile.tags.count("figure") == page.tags.count("figure")
    if payload.isprintable():
        assert hostile.text.count(payload[:400]) > 20


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_in_every_field_is_no_markup_in_the_ui(result, payload):
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(report_markdown(poisoned(result, payload, keep=FIXED)))
    kinds = {one.type for block in tokens for one in (block, *(block.children or ()))}
    assert not {kind for kind in kinds if kind.startswith(("html", "link", "image", "fence", "code_block", "em"))}


@pytest.mark.parametrize("payload", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_is_valid_json(result, payload):
    text = report_json(poisoned(result, payload, keep=FIXED))
    assert text.isascii()
    text.encode("utf-8").decode("utf-8")
    source = json.loads(text)["source"]
    source.encode("utf-8")
    assert source == payload.replace("\ud83d", "\ufffd")


def test_texts_of_rows_are_cut_everywhere(result):
    suspect = Suspect("row 1", "long", texts={"chosen": "c" * 501, "rejected": "r" * 500})
    found = with_finding(result, suspects=(suspect,))
    text = Page(report_html(found)).text
    assert re.search(r"(?<!c)c{500}\n\[cut here; 501 characters in all\]", text)
    assert re.search(r"(?<!r)r{500}(?!r)", text)
    assert "cut here" not in text.partition("cut here; 501")[2]
    stored = json.loads(report_json(found))["findings"][0]["suspects"][0]["texts"]
    assert stored == {"chosen": "c" * 500, "rejected": "r" * 500}


def test_no_text_of_a_row_reaches_the_ui(result):
    markdown = report_markdown(result)
    assert "pair-0193" in markdown
    assert not [text for text in ("synonyms", "swift", "Rayleigh", "I do not know") if text in markdown]


def test_a_huge_audit_stays_below_two_megabytes(result):
    suspects = tuple(Suspect(f"row {n}", "<" * 3000, 0.5, {"chosen": "<" * 9000}) for n in range(500))
    bars = Bars(tuple("<" * 900 for _ in range(4000)), (0.5,) * 4000, "accuracy")
    finding = Finding("x", "X", "bad", "<" * 9000, {f"f{n}": n for n in range(900)}, charts=(bars,), suspects=suspects)
    html = report_html(dataclasses.replace(result, findings=(finding,) * 25))
    assert len(html.encode()) < 2_000_000
    text = Page(html).text
    assert text.count("492 more in report.json.") == 25
    assert text.count("3,976 more in report.json.") == 25
    assert text.count("row 7 ") == 25
    assert f"row {MAX_SUSPECTS} " not in text


def test_the_worst_comes_first_and_what_was_not_checked_last(page):
    order = ("Labels that look wrong", "Reliability of each", "Length", "Agreement of the", "Copies", "What was done")
    places = [page.text.rindex(title) for title in (*order, "Overlap with benchmarks", "Likelihoods")]
    assert places == sorted(places)


def test_every_figure_is_shown_with_its_interval(page):
    text = page.text
    for words in (
        "8.1\u00a0%7.2\u00a0% to 9\u00a0%",
        "412",
        "\u22121,235",
        "convergedyes",
        "0.710",
    ):
        assert words in text
    assert "64\u00a0%61\u00a0% to 66\u00a0%" in text
    assert "label wrong with probability 97\u00a0%" in text


def test_what_was_done_is_said_with_all_its_numbers(page):
    done = page.text.partition("What was done")[2]
    for words in ("missing11", "wrong type2", "4,758 of 5,170", "92.0\u00a0%", "reweighted120", "label looks wrong412"):
        assert words in done
    assert done.index("missing") < done.index("wrong type")
    assert "flip mixture, because" in done
    assert "file:///store/team/versions/2026-11-21-0a1b2c3d" in done


def test_what_was_not_checked_says_why(page):
    text = page.text.partition("What was not checked")[2]
    assert "Likelihoods. There are no columns with reference log-probabilities." in text
    assert "No file to compare with was named." in text


def test_an_audit_without_findings_still_has_a_page(bare):
    page = Page(report_html(bare))
    assert_harmless(page)
    assert "Nothing could be checked." in page.text
    assert "none was asked for; the data was only looked at" in page.text
    assert "svg" not in page.tags


def styles(html, kind):
    return [
        tuple(float(number) for number in found)
        for found in re.findall(rf'class="{kind}" style="left:([-\d.]+)%;width:([-\d.]+)%"', html)
    ]


def test_bars_lie_where_their_numbers_are(result):
    bars = Bars(("a", "b"), (0.5, -0.25), "effect", ((0.25, 0.75), (-0.25, math.nan)), reference=0.25)
    html = report_html(with_finding(result, charts=(bars,)))
    assert styles(html, "fill") == [(25.0, 50.0), (0.0, 25.0)]
    assert styles(html, "whisker") == [(50.0, 50.0)]
    assert re.findall(r'class="rule" style="left:([\d.]+)%"', html) == ["50.00", "50.00"]


@pytest.mark.parametrize("values", [(), (math.nan,), (0.0, 0.0), (np.inf, 1.0), (np.float32(0.5),)])
def test_bars_of_any_values_stay_inside_their_box(result, values):
    bars = Bars(tuple("abc"[: len(values)]), values, "share")
    html = report_html(with_finding(result, charts=(bars,)))
    assert_harmless(Page(html))
    assert all(0 <= start <= 100 and 0 <= start + width <= 100 for start, width in styles(html, "fill"))


def test_gaps_single_points_and_many_series_are_drawn(result):
    x = (0.0, 1.0, 2.0, 3.0)
    series = {f"s{n}": (math.nan, float(n), math.nan, 2.0) for n in range(7)}
    html = report_html(with_finding(result, charts=(Curves(x, series, "votes", "error"), Curves((), {}, "x", "y"))))
    page = Page(html)
    assert_harmless(page)
    assert page.tags.count("svg") == 2
    assert "2 more in report.json." in page.text
    assert not re.search(r"\bnan\b", html)


def test_chosen_and_rejected_keep_their_colours(result):
    histogram = Histogram((0.0, 1.0), {"old": (2,), "rejected": (5,), "chosen": (3,)}, "length")
    html = report_html(with_finding(result, charts=(histogram,)))
    assert re.findall(r'class="key is-(\w+)">(\w+)<', html) == [
        ("third", "old"),
        ("rejected", "rejected"),
        ("chosen",) * 2,
    ]


def test_the_json_has_every_number_of_the_page_and_none_that_json_cannot_hold(result):
    found = with_finding(
        result,
        figures={"a": np.int64(3), "b": math.nan, "c": np.float64(0.25), "d": math.inf, "e": np.bool_(True), "f": None},
        intervals={"a": (1.0, math.inf)},
        charts=(Curves((0.0, 1.0), {"s": (math.nan, 1.0)}, "x", "y"), Bars(("a",), (1.0,), "n")),
    )
    document = json.loads(report_json(found), parse_constant=lambda name: pytest.fail(name))
    finding = document["findings"][0]
    assert finding["figures"] == {"a": 3, "b": None, "c": 0.25, "d": None, "e": True, "f": None}
    assert finding["intervals"] == {"a": [1.0, None]}
    assert [chart["kind"] for chart in finding["charts"]] == ["curves", "bars"]
    assert finding["charts"][0]["series"] == {"s": [None, 1.0]}
    assert document["kind"] == "votes"
    assert document["cleaning"]["dropped"] == {"label_looks_wrong": 412}


def test_equal_audits_give_equal_bytes(result, html):
    turned = dataclasses.replace(result, unreadable=dict(reversed(result.unreadable.items())))
    assert report_html(turned) == html
    assert report_json(turned) == report_json(result)

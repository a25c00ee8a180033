import dataclasses
import re

import pytest
from hostile_pages import Page, assert_harmless

from sweetspot.delivery.facts import Example
from sweetspot.delivery.manifest import FileEntry
from sweetspot.delivery.report import EXAMPLE_CHARACTERS, report_html


@pytest.fixture(scope="session")
def html(facts):
    return report_html(facts)


@pytest.fixture(scope="session")
def page(html):
    return Page(html)


@pytest.fixture(scope="session")
def poisoned_html(poisoned_facts):
    return report_html(poisoned_facts)


def test_the_page_is_one_file_that_loads_nothing(page):
    assert_harmless(page)


def test_the_page_forbids_loading_and_scripts(page):
    policy = [value for tag, name, value in page.attributes if name == "content" and "default-src" in value]
    assert len(policy) == 1
    assert policy[0].startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "script-src" not in policy[0]
    assert page.tags.index("meta") < page.tags.index("style")


def test_the_page_stays_small(html):
    assert len(html.encode()) < 100_000


def test_the_page_of_a_huge_version_stays_below_a_megabyte(facts):
    files = tuple(FileEntry(f"data/train-{index:05d}-of-05000.parquet", 1, 1, "0" * 64) for index in range(5000))
    manifest = dataclasses.replace(
        facts.manifest,
        files=files,
        warnings=tuple(f"w{index}: {'<' * 5000}" for index in range(300)),
        config={"a": ["<" * 1000] * 1000},
    )
    examples = (Example("p" * 10_000, "<" * 10_000, "\u202e" * 10_000, 1.0, -1.0),) * 50
    html = report_html(dataclasses.replace(facts, manifest=manifest, examples=examples))
    assert len(html.encode()) < 1_000_000
    text = Page(html).text
    assert "And 4,800 more, in manifest.json." in text
    assert "And 100 more, in manifest.json." in text
    assert text.count("chosen, rated 1.00") == 20


def test_hostile_text_in_every_field_comes_out_as_text(poisoned_html, page):
    assert len(poisoned_html.encode()) < 1_000_000
    poisoned = Page(poisoned_html)
    assert_harmless(poisoned)
    assert poisoned.tags.count("table") == page.tags.count("table")


def test_hostile_text_stays_readable(poisoned_html, payload):
    if payload.isprintable():
        assert Page(poisoned_html).text.count(payload[:400]) > 20


def test_text_that_hides_or_reorders_is_spelt_out(facts):
    rater = dataclasses.replace(facts.raters[0], name="good\u202eevil\u200b\x00\ud800")
    page = Page(report_html(dataclasses.replace(facts, raters=(rater,))))
    assert "good[U+202E]evil[U+200B][U+0000][U+D800]" in page.text
    assert not set("\u202e\u200b\x00\ud800") & set(page.text)


def test_example_texts_are_cut_and_say_so(facts):
    example = Example("p" * EXAMPLE_CHARACTERS, "c" * (EXAMPLE_CHARACTERS + 1), "r", 1.0, -1.0)
    text = Page(report_html(dataclasses.replace(facts, examples=(example,)))).text
    assert re.search(rf"(?<!p)p{{{EXAMPLE_CHARACTERS}}}(?!p)", text)
    assert re.search(rf"(?<!c)c{{{EXAMPLE_CHARACTERS}}}\n\[cut here; 501 characters in all\]", text)


def test_example_texts_keep_their_lines(facts):
    example = Example("one\n  two", "c", "r", 1.0, -1.0)
    page = Page(report_html(dataclasses.replace(facts, examples=(example,))))
    assert ("pre", "one\n  two") in page.texts


def test_without_examples_there_is_no_example_section(facts):
    page = Page(report_html(dataclasses.replace(facts, examples=())))
    assert "Examples" not in page.text


def test_the_verdict_comes_before_every_table_and_picture(html):
    assert html.index('id="verdict"') < html.index("<table") < html.index("<svg")


def test_every_number_of_the_books_is_shown(page, facts):
    text = page.text
    for book in facts.manifest.books:
        assert book.stage in text
        for count in (book.rows_in.count, book.rows_out.count, *(rows.count for rows in book.dropped.values())):
            assert f"{count:,}" in text
        for reason in book.dropped:
            assert reason in text
    assert "30\u00a0min 43\u00a0s" in text
    assert "not recorded" in text


def test_the_commonest_reason_comes_first(page):
    stage = page.text.partition("clean_scores")[2]
    assert stage.index("looping") < stage.index("run_on") < stage.index("empty")


def test_every_file_is_shown_with_its_hash(page, facts):
    text = page.text
    for entry in facts.manifest.files:
        assert entry.path in text
        assert entry.sha256 in text


def test_warnings_and_what_was_not_checked_are_shown(page, facts):
    text = page.text
    assert facts.manifest.warnings[0] in text
    for line in facts.unchecked:
        assert line in text


def test_the_numbers_under_the_pictures(page):
    text = page.text
    assert "another one than the prompt's worst in 34\u00a0% of them" in text
    assert "196 of 393 training candidates kept (50\u00a0%); 12 of them go to supervised fine-tuning" in text
    assert "chosen one in 56\u00a0% of pairs of unequal length" in text
    assert "The change is 23.8 points, 95\u00a0% interval 20.0 to 28.0 (thin line). The policy was promoted." in text
    assert "16,363 responses, mean 3.0" in text
    assert "21 without a value. 14 scores flagged" in text


def test_there_is_one_picture_per_distribution(page):
    assert page.tags.count("svg") == 6


def test_a_version_without_numbers_still_has_a_page(bare_facts):
    page = Page(report_html(bare_facts))
    assert_harmless(page)
    assert "svg" not in page.tags
    assert "Length bias: not measured." in page.text
    assert "No " not in page.text.split("Do not train on this version.")[0]


def test_an_unbalanced_book_is_marked(facts):
    first = facts.manifest.books[0]
    broken = dataclasses.replace(first, rows_out=first.rows_in)
    manifest = dataclasses.replace(facts.manifest, books=(broken, *facts.manifest.books[1:]))
    text = Page(report_html(dataclasses.replace(facts, manifest=manifest))).text
    assert text.count("does not balance") == 1
    assert "Do not train on this version." in text


def test_equal_facts_give_equal_bytes(html, facts):
    assert report_html(facts) == html


@pytest.mark.parametrize("rate", [-0.4, 0.0, 1.0])
def test_the_agreement_bar_stays_inside_its_box(facts, rate):
    pair = dataclasses.replace(facts.agreement[0], rank_correlation=rate)
    html = report_html(dataclasses.replace(facts, agreement=(pair,)))
    widths = [float(width) for width in re.findall(r'style="width:([-0-9.]+)%"', html)]
    assert len(widths) == len(facts.manifest.books) + 1
    assert min(widths) >= 0
    assert max(widths) <= 100
    assert widths[-1] == pytest.approx(100 * max(rate, 0))

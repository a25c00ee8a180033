import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sweetspot.pages.wording import capped, code, count, decimal, duration, markdown, moment, percent, size, visible


def tokens(text):
    """All tokens, inline ones included, of a Markdown text read with HTML, tables and strikethrough on."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return [one for block in parser.parse(text) for one in (block, *(block.children or ()))]


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="\\`*_[]()<>|~#&!\n\t ab-:/.$", min_size=1, max_size=30))
def test_any_text_becomes_literal_markdown(text):
    kinds = {token.type for token in tokens(f"x {markdown(text)} x")}
    assert kinds <= {"paragraph_open", "paragraph_close", "inline", "text", "text_special"}


@settings(max_examples=50, deadline=None)
@given(st.text(alphabet="`*_[]<>&!\n ab", min_size=1, max_size=30))
def test_any_text_becomes_one_code_span(text):
    spans = [token for token in tokens(f"x {code(text)} x") if token.type == "code_inline"]
    assert len(spans) == (1 if text.split() else 0)
    assert all(span.content.split() == text.replace("`", "'").split() for span in spans)


def test_a_pipe_does_not_split_a_table_cell():
    table = f"| a | b |\n|---|---|\n| {code('x | y')} | {markdown('x | y')} |\n"
    assert [token.type for token in tokens(table)].count("td_open") == 2


def test_bare_addresses_do_not_become_links():
    assert "://" not in markdown("see http://evil.example")
    assert "www." not in markdown("see www.evil.example")


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_visible_text_can_be_encoded_and_prints(text):
    seen = visible(text)
    seen.encode()
    hidden = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert all(unicodedata.category(one) not in hidden or one in "\n\t\u200c\u200d" for one in seen)


def test_ordinary_text_is_left_alone():
    text = "Größe 大小 👩‍👩‍👧 سلام می‌خواهم\n\tx"
    assert visible(text) == text


def test_hidden_characters_are_spelt_out():
    assert visible("a\u202eb\rc\ufeff") == "a[U+202E]b[U+000D]c[U+FEFF]"


def test_capping_says_how_long_the_text_was():
    assert capped("abc", 3) == "abc"
    assert capped("a" * 1234, 3) == "aaa\n[cut here; 1,234 characters in all]"


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "0 %"),
        (0.0004, "<0.1 %"),
        (0.043, "4.3 %"),
        (0.5666, "57 %"),
        (0.951, "95.1 %"),
        (0.99995, ">99.9 %"),
        (1, "100 %"),
        (1.5, "150 %"),
        (-0.05, "−5 %"),
    ],
)
def test_percentages(share, words):
    assert percent(share) == words.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("number", "words"), [(1.005, "1.00"), (-2.345, "−2.35"), (-0.001, "0.00"), (0.0, "0.00"), (12345.678, "12,345.68")]
)
def test_decimals_have_a_true_minus_and_no_minus_zero(number, words):
    assert decimal(number) == words


def test_counts():
    assert (count(1234567), count(-5), count(0)) == ("1,234,567", "−5", "0")


@pytest.mark.parametrize(
    ("number", "words"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (48_213, "48.2 kB"), (913_402, "913 kB"), (2e13, "20.0 TB")],
)
def test_sizes(number, words):
    assert size(number) == words.replace(" ", "\u00a0")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.04, "0.0~s"),
        (4.13, "4.1~s"),
        (38.2, "38~s"),
        (59.6, "1~min 0~s"),
        (725, "12~min 5~s"),
        (12_000, "3~h 20~min"),
    ],
)
def test_durations(seconds, words):
    assert duration(seconds) == words.replace("~", "\u00a0")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("2026-11-20T02:14:09Z", "2026-11-20 02:14 UTC"),
        ("2026-11-20T02:14:09+02:00", "2026-11-20 00:14 UTC"),
        ("2026-11-20", "2026-11-20 00:00 UTC"),
    ],
)
def test_moments(value, words):
    assert moment(value) == words

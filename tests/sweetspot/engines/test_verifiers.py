import difflib
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweetspot.engines.verifiers import VERIFIERS, exact, graded, number, regex
from sweetspot.errors import ContractError

short_text = st.text(alphabet="abc 123", max_size=12)


def test_every_verifier_is_found_by_its_own_name():
    assert {name: f.__name__ for name, f in VERIFIERS.items()} == {n: n for n in VERIFIERS}
    assert set(VERIFIERS) >= {"exact", "graded", "number", "regex"}


@pytest.mark.parametrize(("name", "response", "reference"), [
    ("exact", "42", "42"), ("graded", "42", "42"), ("number", "42", "42"), ("regex", "42", "4."),
])  # fmt: skip
def test_a_right_response_scores_one_and_the_same_text_unfinished_scores_zero(name, response, reference):
    assert VERIFIERS[name](response, reference, "stop") == 1.0
    assert VERIFIERS[name](response, reference, "length") == 0.0


@pytest.mark.parametrize(("response", "expected"), [("42", 1.0), (" 42\n", 1.0), ("4 2", 0.0), ("", 0.0), ("42.", 0.0)])
def test_exact_trims_the_ends_and_nothing_else(response, expected):
    assert exact(response, "42 ", "stop") == expected


@pytest.mark.parametrize(("response", "expected"), [
    ("abcd", 1.0),
    (" abcd ", 1.0),
    ("abc", 0.8 * 6 / 7),  # 3 matched characters of 7
    ("abxd", 0.8 * 6 / 8),
    ("zz", 0.0),
    ("", 0.0),
    ("   ", 0.0),
])  # fmt: skip
def test_graded_pays_for_matching_blocks(response, expected):
    assert graded(response, "abcd", "stop") == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(response=short_text, reference=short_text)
def test_graded_is_exact_or_four_fifths_of_the_ratio(response, reference):
    value = graded(response, reference, "stop")
    a, b = response.strip(), reference.strip()
    if not a:
        assert value == 0.0
    elif a == b:
        assert value == 1.0
    else:
        assert value == pytest.approx(0.8 * difflib.SequenceMatcher(None, a, b).ratio(), abs=1e-12)
    assert 0.0 <= value <= 1.0
    assert value <= 0.8 or exact(response, reference, "stop") == 1.0


def test_graded_stays_quick_and_below_the_ratio_on_long_text():
    long = "ab" * 50_000
    started = time.perf_counter()
    assert 0.0 < graded(long, "ab" * 300, "stop") <= 0.8 * 2 * 600 / (100_000 + 600)
    assert time.perf_counter() - started < 5.0


@pytest.mark.parametrize(("response", "reference", "expected"), [
    ("the total is 1,234.50 dollars", "1234.5", 1.0),
    ("$1,000", "1000", 1.0),
    ("-$3", "-3", 1.0),
    ("10-4 = 6", "6", 1.0),
    ("10-4", "4", 1.0),  # a minus between terms is no sign
    ("it is -4", "-4", 1.0),
    ("it is \u22124", "-4", 1.0),
    ("6 or 7", "6", 0.0),  # only the last number counts
    ("1,2", "2", 1.0),  # a list, not a thousands comma
    ("12,345,678", "12345678", 1.0),
    ("3.0", "3", 1.0),
    (".5", "0.5", 1.0),
    ("0.1 + 0.2 = 0.3", "0.30", 1.0),
    ("2e3", "2000", 1.0),
    ("42.", "42", 1.0),
    ("0.30000000000000004", "0.3", 0.0),
    ("none", "3", 0.0),
    ("", "3", 0.0),
])  # fmt: skip
def test_number_compares_the_last_number(response, reference, expected):
    assert number(response, reference, "stop") == expected


@settings(max_examples=50, deadline=None)
@given(value=st.integers(-(10**12), 10**12), other=st.integers(-999, 999))
def test_number_reads_back_what_python_formats(value, other):
    assert number(f"first {other}, then {value:,}", str(value), "stop") == 1.0
    assert number(f"{value}", f"{value:,}", "stop") == 1.0
    assert number(f"{value} {other}", str(value), "stop") == float(value == other)


@pytest.mark.parametrize("reference", ["", "cat", "1 2", "7 apples", "1,23"])
def test_number_refuses_a_reference_that_is_not_one_number(reference):
    with pytest.raises(ContractError, match=f"a text of {len(reference)} characters, expected one number"):
        number("7", reference, "stop")


@pytest.mark.parametrize(("response", "pattern", "expected"), [
    ("the cat sat", r"\bcat\b", 1.0),
    ("the cats sat", r"\bcat\b", 0.0),
    ("  yes  ", r"^yes$", 1.0),
    ("yes, but no", r"^yes$", 0.0),
    ("", r"^$", 1.0),
])  # fmt: skip
def test_regex_searches_the_trimmed_response(response, pattern, expected):
    assert regex(response, pattern, "stop") == expected


@pytest.mark.parametrize("pattern", ["(", "*a", "[z-a]", "a{99999999999999999999}"])
def test_regex_names_the_pattern_it_cannot_read(pattern):
    with pytest.raises(ContractError, match=r"is not a regular expression \(\w+ at position") as refused:
        regex("x", pattern, "stop")
    assert f"a text of {len(pattern)} characters" in str(refused.value)


CATASTROPHIC = [r"(a+)+$", r"(a|aa)+$", r"(.*a){25}$", r"^(([a-z])+.)+[A-Z]([a-z])+$", r"^(a|a|a)*$"]


@pytest.mark.parametrize("pattern", CATASTROPHIC)
def test_regex_stops_a_search_without_end(pattern):
    started = time.perf_counter()
    with pytest.raises(ContractError, match=r"a response of 5001 was stopped \(\w+Error, at most 1 s\)") as stopped:
        regex("a" * 5_000 + "!", pattern, "stop")
    assert time.perf_counter() - started < 30
    assert pattern not in str(stopped.value)


@pytest.mark.parametrize("pattern", ["(?:(?:a{1000}){1000}){1000}", "a{100001}", "((a{400})|b){400}"])
def test_regex_refuses_repeats_that_would_fill_the_memory(pattern):
    with pytest.raises(ContractError, match="multiply to more than 100,000"):
        regex("a", pattern, "stop")


def test_regex_takes_ordinary_repeats():
    assert regex("2026-11-29", r"^\d{4}-\d{2}-\d{2}$", "stop") == 1.0
    assert regex("a" * 900, r"^.{0,1000}a.{0,1000}$", "stop") == 1.0


pieces = st.sampled_from([*"ab(){}[]|*+?.^$\\,<>=!:0123", "(?:", "(?P<x>", "{2,", "(?=", "(?<=", "\\d"])


@settings(max_examples=300, deadline=None)
@given(st.lists(pieces, max_size=12).map("".join), st.text(alphabet="ab1 ", max_size=40))
def test_any_pattern_gives_a_score_or_is_refused(pattern, response):
    try:
        score = regex(response, pattern, "stop")
    except ContractError:
        return
    assert score in (0.0, 1.0)


def test_regex_refuses_an_overlong_pattern():
    with pytest.raises(ContractError, match="pattern of 1001 characters"):
        regex("x", "x" * 1001, "stop")


def test_regex_gives_an_overlong_response_zero():
    assert regex("x" * 10_000, "x", "stop") == 1.0
    assert regex("x" * 10_001, "x", "stop") == 0.0

"""Names of versions: what a date, an attempt and a fingerprint make, and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweetspot.delivery.version_name import MAX_ATTEMPT, claim_name, place_of, version_name
from sweetspot.errors import ContractError

DAYS = st.dates().map(str)
ATTEMPTS = st.integers(1, MAX_ATTEMPT)
HEX = st.text("0123456789abcdef", min_size=8, max_size=64)


def test_the_first_attempt_needs_no_number():
    assert version_name("2026-01-31", 1, "0f3c9a1e77") == "2026-01-31-0f3c9a1e"
    assert version_name("2026-01-31", 2, "0f3c9a1e77") == "2026-01-31.2-0f3c9a1e"
    assert (claim_name("2026-01-31", 1), claim_name("2026-01-31", 12)) == ("2026-01-31", "2026-01-31.12")


@given(DAYS, ATTEMPTS, HEX)
def test_a_name_states_its_date_and_attempt(day, attempt, digest):
    assert place_of(version_name(day, attempt, digest)) == (day, attempt)


@given(st.text(max_size=30))
def test_any_other_name_states_none_or_makes_itself_again(name):
    place = place_of(name)
    assert place is None or version_name(*place, name[-8:]) == name


@pytest.mark.parametrize("name", ["v", "2026-02-30-0f3c9a1e", "2026-01-31.01-0f3c9a1e", "2026-01-31-0f3c9a1e\n", ""])
def test_what_is_no_name_of_ours_states_nothing(name):
    assert place_of(name) is None


@pytest.mark.parametrize("day", ["", "2026-1-31", "20260131", "2026-02-30", "2026-01-31T00", "../2026-01-31"])
def test_a_day_that_is_none_is_refused(day):
    with pytest.raises(ContractError, match=r"logical_date: got .* expected a UTC date"):
        version_name(day, 1, "0f3c9a1e")


@pytest.mark.parametrize("attempt", [0, -1, 100, True, "2", 2.0, None, 10**30])
def test_an_attempt_out_of_range_is_refused(attempt):
    with pytest.raises(ContractError, match=r"attempt: got .* expected a whole number from 1 to 99"):
        version_name("2026-01-31", attempt, "0f3c9a1e")


@pytest.mark.parametrize("digest", ["", "0f3c9a1", "0F3C9A1E", "0f3c9a1/", "../../../x"])
def test_a_fingerprint_that_is_no_hex_is_refused(digest):
    with pytest.raises(ContractError, match=r"fingerprint: got "):
        version_name("2026-01-31", 1, digest)

"""What an error tells of itself where its text must not be shown."""

import pytest

from sweetspot.errors import CheckError, describe
from sweetspot.ids import canonical_json

SECRET = "secret words of a row"


def caught(work):
    with pytest.raises(Exception) as error:
        work()
    return describe(error.value)


def raise_from(cause):
    try:
        raise cause
    except Exception as error:
        raise RuntimeError(SECRET) from error


def test_kind_and_place_without_the_text():
    said = caught(lambda: canonical_json({SECRET: object()}))
    assert said.startswith("TypeError at sweetspot/ids.py:")
    assert SECRET not in said


def test_causes_are_named_too_and_only_our_own_texts_are_read():
    said = caught(lambda: raise_from(KeyError(SECRET)))
    assert said.startswith("RuntimeError at ")
    assert ", from KeyError at " in said
    assert SECRET not in said
    assert caught(lambda: raise_from(CheckError("the books"))).endswith(", from CheckError: the books")


def test_an_error_that_was_never_raised_has_no_place():
    assert describe(KeyError(SECRET)) == "KeyError"

import unicodedata

import pytest

from sweetspot.prompts import BadRow, normalise_prompt


def reason(value, **options):
    with pytest.raises(BadRow) as caught:
        normalise_prompt(value, max_chars=options.get("max_chars", 100))
    return caught.value.reason


def test_plain_text_becomes_one_user_turn():
    assert normalise_prompt("hello", max_chars=9) == [{"role": "user", "content": "hello"}]


def test_text_is_brought_to_nfc():
    decomposed = unicodedata.normalize("NFD", "café")
    assert normalise_prompt(decomposed, max_chars=9)[0]["content"] == "café"


def test_conversations_keep_their_turns_and_lose_other_keys():
    messages = [{"role": "system", "content": "be brief", "name": "x"}, {"role": "user", "content": "hi"}]
    kept = normalise_prompt(messages, max_chars=99)
    assert kept == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "missing"),
        (7, "wrong_type"),
        (b"bytes", "wrong_type"),
        ("", "empty"),
        (" \n\t ", "empty"),
        ("bad \ud800 half", "surrogate"),
        ("x" * 101, "too_long"),
        ([], "no_user_turn"),
        ([{"role": "assistant", "content": "hi"}], "no_user_turn"),
        ([{"role": "robot", "content": "hi"}], "bad_role"),
        (["hi"], "wrong_type"),
        ([{"role": "user", "content": None}], "missing"),
        ([{"role": "user"}], "missing"),
    ],
)
def test_a_bad_prompt_leaves_with_its_reason(value, expected):
    assert reason(value) == expected


def test_details_hold_no_text_of_the_row():
    with pytest.raises(BadRow) as caught:
        normalise_prompt("secret " * 100, max_chars=10)
    assert "secret" not in caught.value.detail

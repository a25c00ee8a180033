import json
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweetspot.errors import CheckError
from tasks._records import Record, parse_record, parse_sealed, seal_record
from tasks._store import Store


def test_a_record_is_the_object_that_was_written(tmp_path):
    store = Store(f"file://{tmp_path}")
    assert store.record_if_there("a.json") is None
    store.create("a.json", b'{"chunk": 3, "dropped": null}')
    assert store.record("a.json") == store.record_if_there("a.json") == {"chunk": 3, "dropped": None}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"chunk": 3', "is no JSON"),
        (b"", "is no JSON"),
        (b"\xff\xfe", "is no JSON"),
        (b"[" * 200_000, "is no JSON"),
        (b"[1]", "is list, expected an object"),
        (b"null", "is NoneType, expected an object"),
        (b'{"other": 1}', "has no 'chunk'"),
    ],
)
def test_damage_is_named_with_what_to_do(tmp_path, data, why):
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(CheckError, match=rf"a\.json: {why}.*changed at rest\. Restore it, or remove it"):
        Store(f"file://{tmp_path}").record("a.json")["chunk"]


@given(st.dictionaries(st.text(max_size=5), st.integers(), min_size=1), st.data())
def test_a_torn_record_is_never_read_as_another(fields, data):
    whole = json.dumps(fields).encode()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CheckError):
        parse_record(whole[:cut], "a.json")


def test_records_travel():
    found = pickle.loads(pickle.dumps(Record({"a": 1}, "here")))
    assert found == {"a": 1}
    with pytest.raises(CheckError, match="here: has no 'b'"):
        found["b"]


def test_every_flipped_bit_of_a_sealed_record_is_noticed():
    whole = seal_record({"chunk": 3, "part": {"rows": 17, "share": 0.25}, "text": "naïve", "none": None})
    assert parse_sealed(whole, "a.json") == {
        "chunk": 3, "part": {"rows": 17, "share": 0.25}, "text": "naïve", "none": None,
    }  # fmt: skip
    for place in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[place] ^= 1 << bit
            with pytest.raises(CheckError, match="changed at rest"):
                parse_sealed(bytes(damaged), "a.json")
    with pytest.raises(CheckError, match=r"a\.json: has no seal"):
        parse_sealed(b'{"chunk":3}', "a.json")

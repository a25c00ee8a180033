"""Whatever somebody plants under the names of our documents: read exactly, or refused with the key named."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_versions import FACTS, content_of, few_documents

from sweetspot import ids
from sweetspot.delivery.books import Book, IdSet
from sweetspot.errors import CheckError, ContractError, SweetspotError
from tasks import _publication
from tasks._dates import claim_date, fenced_by, parse_claim
from tasks._latest import Latest, parse_latest
from tasks._manifests import manifest_at
from tasks._publication import publish_version
from tasks._receipts import check_receipt, check_table
from tasks._records import MAX_BYTES, parse_record
from tasks._store import Store
from tasks._versions import open_version

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
NOW = datetime(2026, 1, 31, 2, tzinfo=UTC)
VERSION, HASH = "2026-01-31-aaaaaaaa", "ab" * 32
ROOT, TABLE = f"nights/versions/{VERSION}", "nights/tables/pairs/0123456789abcdef"
BOOK = Book("build_pairs", "prompt", IdSet.of(["a", "b"]), IdSet.of(["a"]), {"no_gap": IdSet.of(["b"])}).to_json()
PART = {"path": f"part-00003-{HASH[:12]}.parquet", "bytes": 10, "rows": 1, "sha256": HASH}
DROPPED = {**PART, "path": f"dropped-00003-{HASH[:12]}.parquet"}
SIZES = {"chunks": 4, "rows": 1, "seconds": 0.5}
DOCUMENTS = {
    "latest": asdict(Latest(VERSION, "2026-01-31", HASH)),
    "date": {"version": VERSION, "claimed_utc": NOW.isoformat()},
    "fence": {"fenced_by": VERSION},
    "receipt": {"table": "pairs/0123456789abcdef", "chunk": 3, "part": PART, "dropped": DROPPED, "book": BOOK},
    "table": {"name": "pairs", "location": TABLE, "fingerprint": HASH[:16], "book": BOOK, "notes": ["a"], **SIZES},
    "manifest": content_of("nights").draft(FACTS, [], VERSION).to_json(),
}
READERS = {
    "latest": lambda data: parse_latest(data, "the/key"),
    "date": lambda data: parse_claim(data, "the/key"),
    "fence": lambda data: fenced_by(data, "the/key"),
    "receipt": lambda data: check_receipt(parse_record(data, "the/key")),
    "table": lambda data: check_table(parse_record(data, "the/key"), name="pairs"),
    "manifest": lambda data: manifest_at(data, ROOT),
}
KEYS = dict.fromkeys(READERS, "the/key") | {"manifest": f"{ROOT}/manifest.json"}
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**9, 2**63, 10**30, -1, 0, "../../etc/passwd", "a/b", "\x00", "9999-12-31", "x" * 10_000, ""])
    | st.floats()
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def read_or_refused(name: str, data: bytes) -> bool:
    """Whether it was read; nothing but our own errors may be raised, and they name the key."""
    try:
        READERS[name](data)
    except (CheckError, ContractError) as error:
        said = str(error)
    else:
        return True
    assert KEYS[name] in said
    assert len(said) < 1_000, "a message shows a little of what was planted"
    return False


@pytest.mark.parametrize("name", READERS)
def test_our_own_documents_are_read(name):
    assert read_or_refused(name, ids.canonical_json(DOCUMENTS[name]))


@pytest.mark.parametrize("name", READERS)
@MANY
@given(st.data(), VALUES)
def test_any_value_in_any_place_is_taken_or_refused_by_name(name, data, value):
    document = json.loads(json.dumps(DOCUMENTS[name]))
    spot, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(spot[key], dict | list) and spot[key] and data.draw(st.booleans()):
        spot = spot[key]
        key = data.draw(st.sampled_from(sorted(spot) if isinstance(spot, dict) else range(len(spot))))
    spot[key] = value
    read_or_refused(name, json.dumps(document).encode())


@pytest.mark.parametrize("name", READERS)
@MANY
@given(st.binary(max_size=100) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_anything_else_is_taken_or_refused_by_name(name, data):
    read_or_refused(name, data)


@pytest.mark.parametrize("name", [name for name in READERS if name != "fence"])
@pytest.mark.parametrize("harm", ["extra key", "missing key", "too long"])
def test_extra_keys_missing_keys_and_a_hundred_megabytes_are_refused(name, harm):
    document = dict(DOCUMENTS[name])
    if harm == "extra key":
        document["surprise"] = 1
    elif harm == "missing key":
        document.pop(max(document))
    data = ids.canonical_json(document) + b" " * (100_000_000 if harm == "too long" else 0)
    assert not read_or_refused(name, data)


@pytest.mark.parametrize(
    ("name", "change", "why"),
    [
        ("date", {"version": "a/../b"}, "version: got 'a/../b'"),
        ("date", {"claimed_utc": "2026-01-31T02:00:00"}, "claimed_utc: got '2026-01-31T02:00:00'"),
        ("date", {"claimed_utc": 5}, "claimed_utc: got 5"),
        ("receipt", {"chunk": 4}, "part: path: got 'part-00003-"),
        ("receipt", {"part": {**PART, "path": "../../other/part.parquet"}}, "path: got '../../other/part.parquet'"),
        ("receipt", {"part": {**PART, "path": PART["path"].replace("3-", "4-")}}, "path: got 'part-00004-"),
        ("receipt", {"part": None}, "part: got None, expected an object"),
        ("receipt", {"part": {**PART, "rows": 10**30}}, "record.part.rows: got 10"),
        ("receipt", {"book": {**BOOK, "rows_in": 2}}, "book.rows_in: got 'int'"),
        ("table", {"chunks": 10**9}, "chunks: got 1000000000"),
        ("table", {"location": "a b"}, "location: got 'a b'"),
        ("table", {"name": "prompts"}, "name: got 'prompts'"),
        ("table", {"notes": "abc"}, "notes: expected a list"),
        ("table", {"seconds": "1"}, "seconds: got '1'"),
        ("manifest", {"dataset": "other"}, "is the manifest of other"),
        ("manifest", {"format_version": 9}, "format_version: got 9, expected 1 or 2"),
    ],
)
def test_the_field_is_named(name, change, why):
    with pytest.raises(SweetspotError) as refused:
        READERS[name](json.dumps({**DOCUMENTS[name], **change}).encode())
    assert why in str(refused.value)
    assert KEYS[name] in str(refused.value)


@pytest.mark.parametrize(
    "key", ["latest.json", f"dates/{FACTS.logical_date}.json", f"versions/{VERSION}/manifest.json"]
)
@pytest.mark.parametrize("planted", [b"", b"[]", b"{}", b'{"version": {}}', b'{"fenced_by": 7}', b"{" * 100_000])
def test_publishing_over_what_was_planted_is_refused_by_key_and_leaves_it(tmp_path, monkeypatch, key, planted):
    monkeypatch.setattr(_publication, "_documents", few_documents)
    store = Store(f"file://{tmp_path}")
    store.create(f"nights/{key}", planted)
    with pytest.raises(SweetspotError, match=key.replace(".", r"\.")):
        publish_version(content_of("nights"), FACTS, store_uri=store.uri, dataset="nights")
    assert store.read(f"nights/{key}") == planted
    if key != "latest.json":
        assert store.read_if_there("nights/latest.json") is None


def test_a_claim_from_the_future_is_no_reason_to_hang(tmp_path):
    store = Store(f"file://{tmp_path}")
    claim_date(store, "nights", "2026-01-31", VERSION, now_utc=datetime(2027, 1, 1, tzinfo=UTC))
    with pytest.raises(CheckError, match=rf"{VERSION} has claimed 2026-01-31 at 2027-01-01"):
        claim_date(store, "nights", "2026-01-31", "2026-01-31-bbbbbbbb", now_utc=NOW)


def test_a_version_named_by_hand_has_its_own_name_inside(tmp_path, monkeypatch):
    monkeypatch.setattr(_publication, "_documents", few_documents)
    where = {"store_uri": f"file://{tmp_path}", "dataset": "nights"}
    publish_version(content_of("nights"), FACTS, **where)
    store, other = Store(f"file://{tmp_path}"), "nights/versions/2026-01-30-cccccccc/manifest.json"
    store.create(other, store.read(f"{ROOT}/manifest.json"))
    with pytest.raises(CheckError, match=rf"{other}: is the manifest of nights {VERSION}"):
        open_version(store.uri, "nights", "2026-01-30-cccccccc").manifest()


def test_a_record_has_a_largest_size():
    with pytest.raises(CheckError, match=rf"the/key: holds {MAX_BYTES + 2} bytes, expected at most {MAX_BYTES}"):
        parse_record(b"{}" + b" " * MAX_BYTES, "the/key")

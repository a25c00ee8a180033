"""Whatever bytes lie in a source, a manifest or a chunk: a result with balanced books, or one of our own errors."""

import hashlib
import json
from dataclasses import asdict, replace

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweetspot import schemas
from sweetspot.config import Cluster, Prompts
from sweetspot.delivery.books import Book
from sweetspot.delivery.manifest import FileEntry, Manifest, canonical_json, parse_manifest
from sweetspot.errors import SweetspotError
from tasks._stage import Run
from tasks._store import Store, encode_table
from tasks.load_prompts import load_prompts

MANY = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
FEWER = settings(MANY, max_examples=100)
SAME = settings(FEWER, derandomize=True)
"""A damaged header can bring Arrow's decoder down, and this process with it; parts are ours, behind their hash."""
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=True)
    | st.text(st.characters(exclude_categories=[]), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
BOOK = Book.from_json(
    {
        "stage": "load_prompts",
        "unit": "prompt",
        "rows_in": {"count": 0, "digest": "0" * 32},
        "rows_out": {"count": 0, "digest": "0" * 32},
        "dropped": {},
    }
)
MANIFEST = Manifest(
    format_version=1, dataset="tiny", version="v", parent_sha256=None, nonce="n", run_id="run",
    logical_date="2026-01-01", created_utc="2026-01-01T02:00:00Z", code_commit="commit", lock_sha256=None,
    config={"a": 1}, models={}, sampling={}, seeds={},
    files=(FileEntry(path="data/a.parquet", bytes=1, rows=1, sha256="0" * 64),), books=(BOOK,), checks={},
    warnings=("code: text",),
)  # fmt: skip


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def with_change(value, path, change):
    """A copy of a JSON value with another value at one place."""
    if not path:
        return change
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_change(value[path[0]], path[1:], change)
    return copy


def parsed_or_refused(data: bytes) -> None:
    try:
        manifest = parse_manifest(data)
    except SweetspotError:
        return
    assert parse_manifest(canonical_json(manifest)) == manifest


@MANY
@given(st.data(), json_values)
def test_a_manifest_with_any_value_anywhere(data, change):
    value = json.loads(canonical_json(MANIFEST))
    place = data.draw(st.sampled_from(list(places(value))))
    parsed_or_refused(json.dumps(with_change(value, place, change)).encode())


@MANY
@given(st.data())
def test_a_manifest_with_any_bytes_changed(data):
    whole = bytearray(canonical_json(MANIFEST))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    parsed_or_refused(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@MANY
@given(st.binary(max_size=200))
def test_a_manifest_of_any_bytes(data):
    parsed_or_refused(data)


def loaded_or_refused(tmp_path, data: bytes, suffix: str) -> None:
    folder = tmp_path / hashlib.sha256(data).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    source = folder / f"p{suffix}"
    source.write_bytes(data)
    run = Run(f"file://{folder}/store", "tiny", "run", Cluster(chunk_prompts=4))
    try:
        ref = load_prompts(Prompts(source=str(source)), run)
    except SweetspotError:
        return
    Book.from_json(ref.book).balance()
    assert ref.rows == len(ref.read()) > 0


@FEWER
@given(st.lists(json_values | st.fixed_dictionaries({"prompt": json_values}), min_size=1, max_size=6))
def test_prompt_rows_of_any_json(tmp_path, rows):
    loaded_or_refused(tmp_path, "\n".join(json.dumps(row) for row in rows).encode(), ".jsonl")


@FEWER
@given(st.binary(max_size=300), st.sampled_from([".jsonl", ".json", ".csv", ".parquet"]))
def test_a_source_of_any_bytes(tmp_path, data, suffix):
    loaded_or_refused(tmp_path, data, suffix)


PART = encode_table(
    schemas.CHECKS.table([{"response_id": f"r{i}", "prompt_id": "p", "chars": i, "flaw": None} for i in range(50)])
)


def read_or_refused(tmp_path, data: bytes) -> None:
    """The hash fits, as if whoever changed the part had changed the receipt too."""
    store, sha256 = Store(f"file://{tmp_path}/store"), hashlib.sha256(data).hexdigest()
    store.create(f"parts/{sha256}", data)
    try:
        table = store.read_table(f"parts/{sha256}", sha256)
    except SweetspotError:
        return
    assert isinstance(table, pa.Table)


@SAME
@given(st.data())
def test_a_part_with_any_bytes_changed(tmp_path, data):
    whole = bytearray(PART)
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    read_or_refused(tmp_path, bytes(whole[: data.draw(st.integers(1, len(whole)))]))


@FEWER
@given(st.binary(max_size=200))
def test_a_part_of_any_bytes(tmp_path, data):
    read_or_refused(tmp_path, data)


def test_the_untouched_ones_are_taken(tmp_path):
    assert parse_manifest(canonical_json(MANIFEST)) == MANIFEST
    assert replace(MANIFEST, nonce="m") != MANIFEST
    assert asdict(MANIFEST)["dataset"] == "tiny"
    store, sha256 = Store(f"file://{tmp_path}/store"), hashlib.sha256(PART).hexdigest()
    store.create("part", PART)
    assert len(store.read_table("part", sha256)) == 50
    with pytest.raises(SweetspotError):
        store.read_table("part", "0" * 64)

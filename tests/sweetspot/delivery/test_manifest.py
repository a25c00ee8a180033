import dataclasses
import hashlib
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweetspot.delivery.manifest import FileEntry, Manifest, canonical_json, parse_manifest, verify_paths
from sweetspot.errors import ContractError

FAST = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def changed(manifest, **change):
    return json.dumps({**json.loads(canonical_json(manifest)), **change}).encode()


def test_a_manifest_survives_writing_and_reading(manifest):
    assert parse_manifest(canonical_json(manifest)) == manifest


def test_the_smallest_manifest_survives_too(bare_facts):
    manifest = bare_facts.manifest
    assert parse_manifest(canonical_json(manifest)) == manifest
    assert manifest.parent_sha256 is None


def test_canonical_bytes_are_sorted_compact_utf8_with_one_newline_at_the_end(manifest):
    data = canonical_json(dataclasses.replace(manifest, config={"b": "größer", "a": {"d": 1, "c": 0.1}}))
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1
    assert "größer".encode() in data
    assert b'"config":{"a":{"c":0.1,"d":1},"b":' in data
    top = list(json.loads(data))
    assert top == sorted(top)


def test_key_order_and_layout_do_not_change_the_identity(manifest):
    mixed = json.loads(canonical_json(manifest))
    pretty = json.dumps(dict(reversed(mixed.items())), indent=3).encode()
    assert parse_manifest(pretty).sha256 == manifest.sha256


def test_identity_is_the_sha256_of_the_canonical_bytes(manifest):
    assert manifest.sha256 == hashlib.sha256(canonical_json(manifest)).hexdigest()


def test_every_field_is_part_of_the_identity(manifest):
    change = {
        "dataset": "other",
        "version": "v2",
        "parent_sha256": None,
        "nonce": "n",
        "run_id": "r",
        "logical_date": "2026-11-21",
        "created_utc": "2026-11-20T02:14:10Z",
        "code_commit": "c",
        "lock_sha256": None,
        "config": {},
        "models": {},
        "sampling": {},
        "seeds": {"pairing": 1},
        "files": manifest.files[:1],
        "books": manifest.books[:1],
        "checks": {},
        "warnings": (),
    }
    assert {"format_version", *change} == {field.name for field in dataclasses.fields(Manifest)}
    shas = {dataclasses.replace(manifest, **{name: value}).sha256 for name, value in change.items()}
    assert len(shas | {manifest.sha256}) == len(change) + 1


def test_the_caller_cannot_change_a_manifest_afterwards(manifest):
    config = {"sampling": {"n": 8}, "list": (1, 2)}
    made = dataclasses.replace(manifest, config=config)
    config["sampling"]["n"] = 9
    assert made.config == {"sampling": {"n": 8}, "list": [1, 2]}


def test_files_and_rows_are_found_by_prefix(manifest):
    assert manifest.rows_under("data/train-") == 196
    assert [entry.path for entry in manifest.files_under("data/")] == [entry.path for entry in manifest.files[:2]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 3}, r"manifest\.format_version: got 3, expected 1 or 2\. Use the sweetspot that wrote it"),
        ({"format_version": True}, "format_version: got True"),
        ({"dataset": "Demo"}, r"manifest\.dataset: got 'Demo'"),
        ({"dataset": "../up"}, r"manifest\.dataset"),
        ({"version": "a/b"}, r"manifest\.version: got 'a/b'"),
        ({"version": ".."}, r"manifest\.version"),
        ({"parent_sha256": "AB" * 32}, "64 lower-case hex digits"),
        ({"parent_sha256": "ab" * 31}, "parent_sha256"),
        ({"nonce": ""}, r"manifest\.nonce: got '', expected a text that is not empty"),
        ({"run_id": 7}, r"manifest\.run_id: got 7"),
        ({"logical_date": "yesterday"}, "logical_date: got 'yesterday', expected an ISO 8601 time"),
        ({"created_utc": "2026-11-20T02:14:09"}, "created_utc.*in UTC"),
        ({"created_utc": "2026-11-20T02:14:09+01:00"}, "created_utc.*in UTC"),
        ({"config": []}, r"manifest\.config: got 'list', expected an object"),
        ({"warnings": [""]}, r"manifest\.warnings\[0\]"),
        ({"warnings": "text"}, r"manifest\.warnings: got 'str', expected a list"),
        ({"files": [{"path": "a"}]}, r"manifest\.files\[0\]: missing \['bytes', 'rows', 'sha256'\]"),
        ({"files": [7]}, r"manifest\.files\[0\]: got 'int'"),
        ({"books": [{}]}, r"manifest\.books\[0\]: missing"),
        ({"surprise": 1}, r"unknown \['surprise'\]"),
    ],
)
def test_what_is_wrong_is_named(manifest, change, message):
    with pytest.raises(ContractError, match=message):
        parse_manifest(changed(manifest, **change))


def test_format_1_is_read_and_written_again_byte_for_byte_and_format_2_adds_the_columns(manifest):
    old = canonical_json(manifest)
    assert b"schema_sha256" not in old
    assert canonical_json(parse_manifest(old)) == old
    first, *rest = manifest.files
    files = (dataclasses.replace(first, schema_sha256="5" * 64), *rest)
    new = dataclasses.replace(manifest, format_version=2, files=files)
    assert parse_manifest(canonical_json(new)) == new
    with pytest.raises(ContractError, match=r"manifest\.files\[0\]: missing \['schema_sha256'\]"):
        parse_manifest(changed(manifest, format_version=2))
    with pytest.raises(ContractError, match=r"schema_sha256: got 'x', expected a sha256"):
        dataclasses.replace(first, schema_sha256="x")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"bytes": -1}, "bytes: got -1"),
        ({"bytes": 1.5}, r"bytes: got 1\.5"),
        ({"rows": None}, "rows: got None"),
        ({"rows": 2**63}, "rows: got 9223372036854775808"),
        ({"sha256": "0" * 63}, "sha256: got"),
        ({"path": "../x"}, "path: got"),
    ],
)
def test_a_bad_file_entry_is_named(manifest, entry, message):
    files = json.loads(canonical_json(manifest))["files"]
    with pytest.raises(ContractError, match=message):
        parse_manifest(changed(manifest, files=[{**files[0], **entry}]))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not UTF-8 JSON"),
        (b"\xff\xfe{\x00}\x00", "not UTF-8 JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 200 + b"]" * 200, "nothing more than 64 levels deep"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "got inf"),
        (b'{"a": 1, "a": 2}', "a key occurs twice"),
        (b'{"a": "\\ud800"}', "text that UTF-8 can hold"),
        (b'{"\\ud800": 1}', "text that UTF-8 can hold"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not UTF-8 JSON"),
        (b'{"a": ' + b"9" * 4000 + b"}", "a JSON value"),
        (b"null", "got 'NoneType', expected an object"),
        (b"{}", "missing"),
        ("{}", "got 'str', expected bytes"),
        (None, "expected bytes"),
    ],
)
def test_hostile_bytes_are_refused(data, message):
    with pytest.raises(ContractError, match=message):
        parse_manifest(data)


@FAST
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data):
    with pytest.raises(ContractError):
        parse_manifest(data)


@FAST
@given(JSON)
def test_no_json_raises_anything_else(value):
    with pytest.raises(ContractError):
        parse_manifest(json.dumps(value).encode())


@settings(FAST, max_examples=200)
@given(value=JSON, data=st.data())
def test_a_manifest_with_one_place_replaced_is_read_exactly_or_refused(manifest, value, data):
    document = json.loads(canonical_json(manifest))
    spot, key = document, data.draw(st.sampled_from(sorted(document)))
    while isinstance(spot[key], dict | list) and spot[key] and data.draw(st.booleans()):
        spot = spot[key]
        key = data.draw(st.sampled_from(sorted(spot) if isinstance(spot, dict) else range(len(spot))))
    spot[key] = value
    encoded = json.dumps(document).encode()
    try:
        read = parse_manifest(encoded)
    except ContractError:
        return
    assert json.loads(canonical_json(read)) == json.loads(encoded)


@settings(FAST, max_examples=100)
@given(st.integers(min_value=0), st.integers(min_value=0, max_value=255))
def test_a_manifest_with_one_byte_changed_never_passes_for_the_same(manifest, place, byte):
    original = canonical_json(manifest)
    place %= len(original)
    damaged = original[:place] + bytes([byte]) + original[place + 1 :]
    try:
        read = parse_manifest(damaged)
    except ContractError:
        return
    # Only the space after the document carries nothing.
    assert read.sha256 != manifest.sha256 or damaged.strip() == original.strip()


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "..",
        "../x",
        "data/../../x",
        "./x",
        "data//x",
        "data/",
        "data\\x",
        "C:/x",
        "s3://bucket/x",
        "a\nb",
        "a\x00b",
        "a\u202eb",
        "manifest.json",
    ],
)
def test_a_path_that_leaves_the_folder_or_hides_is_refused(path):
    with pytest.raises(ContractError, match="path"):
        verify_paths([path])
    with pytest.raises(ContractError, match="path"):
        FileEntry(path, 1, 1, "0" * 64)


def test_ordinary_paths_are_accepted():
    verify_paths(["data/train-00000-of-00001.parquet", "README.md", "a..b/c", "data/größe é.parquet"])


def test_a_path_listed_twice_is_refused(manifest):
    with pytest.raises(ContractError, match="occurs twice"):
        dataclasses.replace(manifest, files=(manifest.files[0], manifest.files[0]))


@pytest.mark.parametrize("value", [object(), {1: 2}, float("nan"), b"x", {"a": {"b": {1, 2}}}, [10**5000]])
def test_a_manifest_cannot_be_made_with_what_json_cannot_hold(manifest, value):
    with pytest.raises(ContractError, match=r"manifest\.config\.x"):
        dataclasses.replace(manifest, config={"x": value})


def test_a_list_that_holds_itself_is_refused(manifest):
    loop = []
    loop.append(loop)
    with pytest.raises(ContractError, match="nothing more than 64 levels deep"):
        dataclasses.replace(manifest, config={"x": loop})

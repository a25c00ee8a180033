"""`verify` finds every way in which a version's folder is not what its manifest says, and names the file."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from small_versions import FACTS, content_of, few_documents

from flows.reading import verify_version
from sweetspot.delivery.manifest import FileEntry, canonical_json, parse_manifest
from sweetspot.errors import CheckError, ContractError, StoreError
from tasks import _publication
from tasks._publication import publish_version
from tasks._store import Store, encode_table
from tasks._verification import findings
from tasks._versions import open_version

TRAIN = "data/train-00000-of-00001.parquet"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """Folder of a published version."""
    monkeypatch.setattr(_publication, "_documents", few_documents)
    done = publish_version(content_of("nights"), FACTS, store_uri=f"file://{tmp_path}/store", dataset="nights")
    return Path(done.uri.removeprefix("file://"))


def found(root: Path) -> list[str]:
    return list(findings(open_version(f"file://{root.parents[2]}", "nights", root.name)))


def rewrite(root: Path, **change) -> None:
    """Give the training file's entry other values, as whoever writes to the bucket can."""
    manifest = parse_manifest((root / "manifest.json").read_bytes())
    entries = tuple(replace(entry, **change) if entry.path == TRAIN else entry for entry in manifest.files)
    data = canonical_json(replace(manifest, files=entries))
    (root / "manifest.json").write_bytes(data)
    latest = root.parents[1] / "latest.json"
    pointer = {**json.loads(latest.read_text()), "manifest_sha256": hashlib.sha256(data).hexdigest()}
    latest.write_text(json.dumps(pointer))


def replace_rows(root: Path, table: pa.Table, **change) -> FileEntry:
    data = encode_table(table)
    (root / TRAIN).write_bytes(data)
    rewrite(root, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data), **change)
    return next(e for e in parse_manifest((root / "manifest.json").read_bytes()).files if e.path == TRAIN)


def test_a_whole_version_has_nothing_wrong(root, capsys):
    assert found(root) == []
    assert verify_version(f"file://{root}")
    assert "ok         3 files" in capsys.readouterr().out


def test_every_parquet_file_of_a_version_states_its_columns(root):
    manifest = parse_manifest((root / "manifest.json").read_bytes())
    assert manifest.format_version == 2
    assert {entry.path: entry.schema_sha256 is not None for entry in manifest.files} == {
        TRAIN: True,
        TRAIN.replace("train", "eval"): True,
        "README.md": False,
    }


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda root: (root / TRAIN).unlink(), rf"{TRAIN}: missing"),
        (lambda root: (root / "README.md").write_bytes(b"x"), "README.md: 1 bytes, manifest says 20"),
        (lambda root: (root / "README.md").write_bytes(b"x" * 20), "README.md: sha256 "),
        (lambda root: rewrite(root, rows=4), rf"{TRAIN}: 3 rows, manifest says 4"),
        (lambda root: replace_rows(root, pa.table({"y": [1, 2, 3]})), rf"{TRAIN}: has columns ['y'] of other names"),
        (lambda root: replace_rows(root, pa.table({"x": [1.0, 2, 3]})), rf"{TRAIN}: has columns ['x'] of other names"),
        (lambda root: (root / "data" / "more.parquet").write_bytes(b"x"), "data/more.parquet: is not named"),
        (lambda root: (root / "manifest.json.bak").write_bytes(b"x"), "manifest.json.bak: is not named"),
    ],
)
def test_each_harm_is_one_finding_with_its_key(root, capsys, harm, expected):
    harm(root)
    (only,) = found(root)
    assert only.startswith(f"nights/versions/{root.name}/{expected}")
    assert not verify_version(f"file://{root}")
    assert expected[:30] in capsys.readouterr().out


def test_what_is_no_parquet_inside_is_said(root):
    (root / TRAIN).write_bytes(data := b"PAR1 and nothing more PAR1")
    rewrite(root, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    assert "cannot be read as parquet" in found(root)[0]


def test_leftovers_of_dying_writers_are_the_sweepers(root):
    (root / "data" / ".writing-abc").write_bytes(b"x")
    (root / f"manifest.{'0' * 64}.sig").write_bytes(b"x")
    assert found(root) == []


def test_where_the_folder_may_not_be_listed_that_is_said_and_the_rest_is_checked(root, monkeypatch):
    def refused(self, prefix):
        raise StoreError("cannot list: HTTP 403")

    monkeypatch.setattr(Store, "listing", refused)
    (root / TRAIN).unlink()
    first, last = found(root)
    assert first.endswith("missing")
    assert last == "files that the manifest does not name were not looked for: cannot list: HTTP 403"


def test_a_reader_refuses_other_columns_than_the_manifest_says(root):
    entry = replace_rows(root, pa.table({"x": ["1", "2", "3"]}))
    with pytest.raises(CheckError, match=r"has columns \['x'\] of other names or types than the manifest says"):
        open_version(f"file://{root.parents[2]}", "nights").read_file(entry)


def test_a_version_of_another_dataset_or_name_is_refused_without_a_key_too(root):
    path = root / "manifest.json"
    manifest = parse_manifest(path.read_bytes())
    for change in ({"dataset": "other"}, {"version": "2026-01-31-bbbbbbbb"}):
        path.write_bytes(canonical_json(replace(manifest, **change)))
        with pytest.raises(CheckError, match=r"manifest\.json: is the manifest of .*put here by somebody"):
            found(root)


def test_a_manifest_that_is_none_names_its_key_and_field(root):
    path = root / "manifest.json"
    value = json.loads(path.read_bytes())
    value["files"][0]["path"] = "../../../elsewhere"
    path.write_text(json.dumps(value))
    with pytest.raises(ContractError, match=rf"nights/versions/{root.name}/manifest\.json: path: got '\.\./"):
        found(root)

"""Tampering with a published, signed version: flipped, replaced, rolled back, renamed; each is named and refused."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from sweetspot.delivery.manifest import FileEntry, canonical_json, parse_manifest
from sweetspot.delivery.signature import key_id, sign_manifest, signature_name
from sweetspot.errors import CheckError, ConfigError, ContractError
from tasks._keys import make_keys, read_private_key, read_public_key
from tasks._parquet import Limits
from tasks._store import Store, encode_table
from tasks._versions import differences, open_uri, open_version
from tasks.deliver_dataset import Publication, deliver_dataset

FACTS = Publication("run-1", "2026-01-31", "2026-01-31T02:00:00Z", "commit", "", {}, {})


class Signed:
    """A curated night published with a signature, in a dataset of this test's own."""

    def __init__(self, curated, name, folder):
        self.store, self.dataset, self.tables = curated.config.store, f"s-{abs(hash(name))}", curated.tables
        make_keys(folder / "key")
        self.private, self.public = str(folder / "key"), read_public_key(str(folder / "key.pub"))
        self.first = self.publish()

    def publish(self, **change):
        facts = replace(FACTS, **change)
        where = {"store_uri": self.store, "dataset": self.dataset, "private_key": self.private}
        return deliver_dataset(self.tables, facts, **where)

    def open(self, version="latest"):
        return open_version(self.store, self.dataset, version, public_key=self.public)

    @property
    def folder(self) -> Path:
        return Path(self.store.removeprefix("file://")) / self.dataset

    @property
    def root(self) -> Path:
        return self.folder / "versions" / self.first.version

    def rewrite(self, change, *, signed_by=None):
        """Replace the manifest by a changed one, as whoever writes to the bucket can."""
        path = self.root / "manifest.json"
        data = canonical_json(change(parse_manifest(path.read_bytes())))
        path.write_bytes(data)
        if signed_by:
            (self.root / signature_name(data)).write_bytes(sign_manifest(data, read_private_key(signed_by)))
        pointer = {**json.loads((self.folder / "latest.json").read_text()), "manifest_sha256": sha256(data)}
        (self.folder / "latest.json").write_text(json.dumps(pointer))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def signed(curated, request, tmp_path, monkeypatch) -> Signed:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return Signed(curated, request.node.name, tmp_path)


def test_a_signed_version_opens_with_its_key_and_trains(signed):
    version = signed.open()
    assert version.public_key == signed.public
    assert len(version.read_split("train")) == signed.first.rows["train"]
    assert not list(differences(version))
    assert open_uri(f"{signed.store}/{signed.dataset}", public_key=signed.public) == version


def test_publishing_again_does_not_sign_again(signed):
    before = sorted(path.name for path in signed.root.iterdir())
    signed.publish(run_id="run-2")
    assert sorted(path.name for path in signed.root.iterdir()) == before
    assert sum(name.endswith(".sig") for name in before) == 1


def test_an_unsigned_version_is_refused_where_a_signature_is_asked_for(signed):
    next(signed.root.glob("*.sig")).unlink()
    with pytest.raises(CheckError, match="got no signature, expected a signature by key"):
        signed.open()
    assert open_version(signed.store, signed.dataset).manifest()


def test_a_flipped_byte_of_the_data_is_refused(signed):
    path = next((signed.root / "data").glob("train-*"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckError, match=r"train-00000.*it changed at rest"):
        signed.open().read_split("train")


def test_replaced_data_with_a_manifest_to_match_is_refused(signed):
    entry = next(entry for entry in signed.open().manifest().files if entry.path.startswith("data/train-"))
    rows = signed.open().read_file(entry)
    swapped = rows.rename_columns([{"chosen": "rejected", "rejected": "chosen"}.get(n, n) for n in rows.column_names])
    data = encode_table(swapped)
    (signed.root / entry.path).write_bytes(data)
    ours = FileEntry(entry.path, len(data), len(rows), sha256(data))
    signed.rewrite(lambda m: replace(m, files=tuple(ours if e.path == entry.path else e for e in m.files)))
    with pytest.raises(CheckError, match="got no signature"):
        signed.open()
    old = next(signed.root.glob("*.sig")).read_bytes()
    now = (signed.root / "manifest.json").read_bytes()
    (signed.root / signature_name(now)).write_bytes(old)
    with pytest.raises(CheckError, match="the signature is not of this manifest"):
        signed.open()
    # Without a key nobody can tell: the bucket's writer is then trusted, as SECURITY.md says.
    assert open_version(signed.store, signed.dataset).read_split("train")["chosen"].equals(rows["rejected"])


def test_a_manifest_signed_by_somebody_else_is_refused(signed, tmp_path):
    make_keys(tmp_path / "theirs")
    signed.rewrite(lambda m: replace(m, warnings=("x: y",)), signed_by=str(tmp_path / "theirs"))
    with pytest.raises(CheckError, match=r"signed by key .* expected a signature by key"):
        signed.open()


def test_a_version_changed_while_training_is_noticed_at_the_end(signed):
    version = signed.open()
    version.read_split("train")
    signed.rewrite(lambda m: replace(m, warnings=("x: y",)), signed_by=signed.private)
    with pytest.raises(CheckError, match="not the manifest that was pinned"):
        version.manifest()


def test_a_rolled_back_pointer_is_noticed(signed):
    old = (signed.folder / "latest.json").read_bytes()
    newer = signed.publish(logical_date="2026-02-01")
    assert signed.open().root.endswith(newer.version)
    (signed.folder / "latest.json").write_bytes(old)
    with pytest.raises(CheckError, match=r"latest is the version of 2026-01-31, but that of 2026-02-01 .* rolled"):
        signed.open()
    assert signed.open(signed.first.version), "by name the older version can still be had"
    assert parse_manifest(Store(signed.store).read(f"{signed.dataset}/versions/{newer.version}/manifest.json"))


def test_a_signed_version_of_another_dataset_put_under_this_name_is_refused(signed):
    other = replace(parse_manifest((signed.root / "manifest.json").read_bytes()), dataset="other")
    signed.rewrite(lambda m: other, signed_by=signed.private)
    with pytest.raises(CheckError, match=r"is the manifest of other .*put here by somebody"):
        signed.open()


def test_a_manifest_that_counts_other_rows_is_refused(signed):
    def change(manifest):
        first, *rest = manifest.files
        return replace(manifest, files=(replace(first, rows=first.rows + 1), *rest))

    signed.rewrite(change, signed_by=signed.private)
    with pytest.raises(CheckError, match="the manifest says"):
        signed.open().read_split("train")


def test_a_bomb_in_a_version_is_refused(signed):
    path = "data/train-00000-of-00001.parquet"
    data = encode_table(pa.table({"prompt": ["x" * 2**20] * 300}))
    assert len(data) < 42_000
    (signed.root / path).write_bytes(data)
    entry = FileEntry(path, len(data), 300, sha256(data))
    signed.rewrite(lambda m: replace(m, files=(entry,)), signed_by=signed.private)
    with pytest.raises(ContractError, match="unpacked bytes"):
        signed.open().read_split("train", Limits(unpacked_bytes=2**26))


def test_splits_share_one_limit(signed):
    entry = next(entry for entry in signed.open().manifest().files if entry.path.startswith("data/train-"))
    twice = replace(entry, path="data/train-00001-of-00002.parquet")
    (signed.root / twice.path).write_bytes((signed.root / entry.path).read_bytes())
    signed.rewrite(lambda m: replace(m, files=(entry, twice)), signed_by=signed.private)
    one = signed.open().read_file(entry).nbytes
    with pytest.raises(ContractError, match="unpacked bytes"):
        signed.open().read_split("train", Limits(unpacked_bytes=int(1.5 * one)))
    assert len(signed.open().read_split("train")) == 2 * entry.rows


@pytest.mark.parametrize("version", ["../x", "a/b", "a..b", "", "latest\n", "ｌatest", "-x", "x" * 200, "%2e%2e"])
def test_a_version_that_is_no_plain_name_is_refused(signed, version):
    with pytest.raises(ConfigError, match=r"version: got .*expected one plain name"):
        open_version(signed.store, signed.dataset, version)


@pytest.mark.parametrize("pointer", [b"", b"[]", b'{"version": "../../x", "manifest_sha256": "0"}', b"[" * 100_000])
def test_a_damaged_pointer_is_refused(signed, pointer):
    (signed.folder / "latest.json").write_bytes(pointer)
    with pytest.raises(CheckError, match=r"latest\.json: is damaged"):
        signed.open()


def test_keys_are_made_once_and_privately(tmp_path):
    public, name = make_keys(tmp_path / "in" / "key")
    assert (tmp_path / "in" / "key").stat().st_mode & 0o777 == 0o600
    assert key_id(read_public_key(str(public))) == name
    with pytest.raises(ConfigError, match=r"File exists: .*nothing was overwritten"):
        make_keys(tmp_path / "in" / "key")
    assert key_id(read_public_key(str(public))) == name


def test_a_key_that_cannot_be_used_says_why(tmp_path):
    make_keys(tmp_path / "store" / "key")
    with pytest.raises(ConfigError, match="lies in the store"):
        read_private_key(str(tmp_path / "store" / "key"), store=f"file://{tmp_path}/store")
    os.chmod(tmp_path / "store" / "key", 0o644)
    with pytest.raises(ConfigError, match="can be read by others; run `chmod 600"):
        read_private_key(str(tmp_path / "store" / "key"))
    with pytest.raises(ConfigError, match="No such file"):
        read_private_key(str(tmp_path / "nowhere"))
    (tmp_path / "junk").write_bytes(b"junk")
    os.chmod(tmp_path / "junk", 0o600)
    with pytest.raises(ConfigError, match="holds no ed25519 key"):
        read_private_key(str(tmp_path / "junk"))
    with pytest.raises(ConfigError, match="holds no public key"):
        read_public_key(str(tmp_path / "junk"))

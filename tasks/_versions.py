"""Reading a published version: follow the pointer, pin the manifest by its hash, check every file."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from sweetspot.delivery.manifest import FileEntry, Manifest
from sweetspot.delivery.schema_print import schema_sha256
from sweetspot.delivery.signature import signature_name, verify_signature
from sweetspot.errors import CheckError, ConfigError
from tasks._dates import is_fence
from tasks._keys import refuse_rollback
from tasks._latest import read_latest
from tasks._manifests import manifest_at, manifest_key
from tasks._parquet import Limits, read_parquet
from tasks._store import Store

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,126}", re.ASCII)


@dataclass(frozen=True)
class VersionRef:
    """A version pinned by the sha256 of its manifest; what it was cannot change under a reader.

    Attributes:
        store: URI of the store.
        root: key prefix of the version.
        manifest_sha256: of `manifest.json`.
        public_key: key the manifest must be signed with, 64 hex digits; empty asks for no signature.
    """

    store: str
    root: str
    manifest_sha256: str
    public_key: str = ""

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            CheckError: it is not the one that was pinned, not signed as asked for, or another version's.
            ContractError: it is no manifest.
        """
        store, where = Store(self.store), f"{self.store}/{manifest_key(self.root)}"
        data = store.read(manifest_key(self.root))
        if hashlib.sha256(data).hexdigest() != self.manifest_sha256:
            raise CheckError(f"{where}: not the manifest that was pinned; refuse to read")
        if self.public_key:
            signature = store.read_if_there(f"{self.root}/{signature_name(data)}")
            verify_signature(data, signature, self.public_key, where=where)
        return manifest_at(data, self.root, store=self.store)

    def read_file(self, entry: FileEntry, within: Limits = Limits()) -> pa.Table:
        """The rows of one file.

        Raises:
            CheckError: other bytes, columns or number of rows than the manifest says.
            ContractError: it holds more than `within` allows.
        """
        name = f"{self.store}/{self.root}/{entry.path}"
        data = Store(self.store).read(f"{self.root}/{entry.path}")
        if (found := hashlib.sha256(data).hexdigest()) != entry.sha256:
            raise CheckError(f"{name}: sha256 {found[:12]}…, manifest {entry.sha256[:12]}…; it changed at rest")
        table = read_parquet(name, data, within)
        if len(table) != entry.rows:
            raise CheckError(f"{name}: holds {len(table)} rows, the manifest says {entry.rows}")
        if entry.schema_sha256 not in (None, schema_sha256(table.schema)):
            raise CheckError(f"{name}: has columns {table.schema.names} of other names or types than the manifest says")
        return table

    def read_split(self, split: str, within: Limits = Limits()) -> pa.Table:
        """All rows of `train` or `eval`, in delivered order, every file checked; `within` is for all together."""
        entries = self.manifest().files_under(f"data/{split}-")
        if not entries:
            raise CheckError(f"{self.store}/{self.root}: has no {split} rows")
        left, parts = within, []
        for entry in entries:
            parts.append(self.read_file(entry, left))
            left = Limits(left.rows - len(parts[-1]), left.unpacked_bytes - parts[-1].nbytes, left.row_bytes)
        return pa.concat_tables(parts)


def open_version(store_uri: str, dataset: str, version: str = "latest", *, public_key: str = "") -> VersionRef:
    """Pin a version by name, or the one `latest.json` points at.

    Args:
        store_uri: URI of the store.
        dataset: its name.
        version: its name, or `latest`.
        public_key: key the version must be signed with, 64 hex digits; empty asks for no signature. With one, a
            `latest` older than what this machine has seen before is refused too.

    Raises:
        ConfigError: there is no such version, or that can be no name of one.
        CheckError: it is not signed as asked for, or was rolled back.
    """
    _refuse_odd_name("dataset", dataset)
    store = Store(store_uri)
    if version == "latest":
        pointer = read_latest(store, dataset)
        if pointer is None:
            raise ConfigError(f"{store_uri}/{dataset}: nothing has been published yet; run `curate` first")
        root, sha256 = f"{dataset}/versions/{pointer.version}", pointer.manifest_sha256
        found = VersionRef(store_uri, root, sha256, public_key)
    else:
        _refuse_odd_name("version", version)
        root = f"{dataset}/versions/{version}"
        data = store.read_if_there(manifest_key(root))
        if data is None or is_fence(data):
            raise ConfigError(f"{store_uri}/{root}: no manifest, so no such version was published")
        found = VersionRef(store_uri, root, hashlib.sha256(data).hexdigest(), public_key)
    if public_key:
        signed = found.manifest()
        if version == "latest":
            refuse_rollback(
                store_uri,
                dataset,
                public_key,
                logical_date=signed.logical_date,
                attempt=signed.attempt,
                manifest_sha256=found.manifest_sha256,
            )
    return found


def _refuse_odd_name(what: str, name: str) -> None:
    if not _SEGMENT.fullmatch(name) or ".." in name:
        raise ConfigError(f"{what}: got {name[:80]!r}, expected one plain name of letters, digits and ._+-")


def open_uri(uri: str, *, public_key: str = "") -> VersionRef:
    """Pin the version at a URI that ends in `<dataset>/versions/<version>`, or a dataset's latest one."""
    uri = uri.rstrip("/") if "://" in uri else f"file://{uri.rstrip('/')}"
    head, found, version = uri.rpartition("/versions/")
    if not found:
        store, _, dataset = uri.rpartition("/")
        return open_version(store, dataset, public_key=public_key)
    store, _, dataset = head.rpartition("/")
    return open_version(store, dataset, version, public_key=public_key)


def differences(version: VersionRef) -> Iterator[str]:
    """Every file of the version that is not what the manifest says, with its key and how it differs."""
    store = Store(version.store)
    for entry in version.manifest().files:
        key = f"{version.root}/{entry.path}"
        if how := difference(entry, store.read_if_there(key)):
            yield f"{key}: {how}"


def difference(entry: FileEntry, data: bytes | None) -> str:
    """How a file's bytes, None if it is missing, differ from what the manifest says; empty if they do not."""
    if data is None:
        return "missing"
    if len(data) != entry.bytes:
        return f"{len(data)} bytes, manifest says {entry.bytes}"
    found = hashlib.sha256(data).hexdigest()
    return "" if found == entry.sha256 else f"sha256 {found}, manifest says {entry.sha256}"

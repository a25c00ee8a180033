"""Reading a published version: follow the pointer, pin the manifest by its hash, check every file."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from sweetspot.delivery.manifest import Manifest, parse_manifest
from sweetspot.errors import CheckError, ConfigError
from tasks._dates import is_fence
from tasks._store import Store


@dataclass(frozen=True)
class VersionRef:
    """A version pinned by the sha256 of its manifest; what it was cannot change under a reader.

    Attributes:
        store: URI of the store.
        root: key prefix of the version.
        manifest_sha256: of `manifest.json`.
    """

    store: str
    root: str
    manifest_sha256: str

    def manifest(self) -> Manifest:
        """The manifest.

        Raises:
            CheckError: it is not the one that was pinned.
        """
        data = Store(self.store).read(f"{self.root}/manifest.json")
        if hashlib.sha256(data).hexdigest() != self.manifest_sha256:
            raise CheckError(
                f"{self.store}/{self.root}/manifest.json: not the manifest that was pinned; refuse to read"
            )
        return parse_manifest(data)

    def read_split(self, split: str) -> pa.Table:
        """All rows of `train` or `eval`, in delivered order, every file checked."""
        parts = [
            Store(self.store).read_table(f"{self.root}/{entry.path}", entry.sha256)
            for entry in self.manifest().files
            if entry.path.startswith(f"data/{split}-")
        ]
        if not parts:
            raise CheckError(f"{self.store}/{self.root}: has no {split} rows")
        return pa.concat_tables(parts)


def open_version(store_uri: str, dataset: str, version: str = "latest") -> VersionRef:
    """Pin a version by name, or the one `latest.json` points at.

    Raises:
        ConfigError: there is no such version.
    """
    store = Store(store_uri)
    if version == "latest":
        pointer = store.read_if_there(f"{dataset}/latest.json")
        if pointer is None:
            raise ConfigError(f"{store_uri}/{dataset}: nothing has been published yet; run `curate` first")
        latest = json.loads(pointer)
        return VersionRef(store_uri, f"{dataset}/versions/{latest['version']}", latest["manifest_sha256"])
    root = f"{dataset}/versions/{version}"
    data = store.read_if_there(f"{root}/manifest.json")
    if data is None or is_fence(data):
        raise ConfigError(f"{store_uri}/{root}: no manifest, so no such version was published")
    return VersionRef(store_uri, root, hashlib.sha256(data).hexdigest())


def open_uri(uri: str) -> VersionRef:
    """Pin the version at a URI that ends in `<dataset>/versions/<version>`, or a dataset's latest one."""
    uri = uri.rstrip("/") if "://" in uri else f"file://{uri.rstrip('/')}"
    head, found, version = uri.rpartition("/versions/")
    if not found:
        store, _, dataset = uri.rpartition("/")
        return open_version(store, dataset)
    store, _, dataset = head.rpartition("/")
    return open_version(store, dataset, version)


def differences(version: VersionRef) -> Iterator[str]:
    """Every file of the version that is not what the manifest says, with its key and how it differs."""
    for entry in version.manifest().files:
        key = f"{version.root}/{entry.path}"
        data = Store(version.store).read_if_there(key)
        if data is None:
            yield f"{key}: missing"
        elif len(data) != entry.bytes:
            yield f"{key}: {len(data)} bytes, manifest says {entry.bytes}"
        elif (found := hashlib.sha256(data).hexdigest()) != entry.sha256:
            yield f"{key}: sha256 {found}, manifest says {entry.sha256}"

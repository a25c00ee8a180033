"""Everything that is wrong with a published version, file by file: for people, never for a reader or a commit."""

import re
from collections.abc import Iterator

from sweetspot.delivery.manifest import FileEntry
from sweetspot.delivery.schema_print import schema_sha256
from sweetspot.errors import ContractError, StoreError
from tasks._manifests import manifest_key
from tasks._parquet import look_into
from tasks._store import Store
from tasks._versions import VersionRef, difference

_SIGNATURE = re.compile(r"manifest\.[0-9a-f]{64}\.sig")
"""Of two publishers of one version both may have left theirs; only the manifest's own is ever read."""
_WRITING = ".writing-"


def findings(version: VersionRef) -> Iterator[str]:
    """Files that are missing, hold other bytes, rows or columns than the manifest says, or are not named in it.

    Yields:
        The key and what is wrong with it; at the end a line without a key where the store may not be listed.
    """
    store = Store(version.store)
    for entry in version.manifest().files:
        key = f"{version.root}/{entry.path}"
        data = store.read_if_there(key)
        how = difference(entry, data)
        if data is None or how:
            yield f"{key}: {how}"
        elif entry.path.endswith(".parquet"):
            yield from (f"{key}: {inside}" for inside in _inside(key, entry, data))
    yield from strays(version)


def strays(version: VersionRef) -> Iterator[str]:
    """Files in the version's folder that its manifest does not name; nothing reads them, but a person may."""
    named = {f"{version.root}/{entry.path}" for entry in version.manifest().files} | {manifest_key(version.root)}
    try:
        there = Store(version.store).listing(version.root)
    except StoreError as error:
        yield f"files that the manifest does not name were not looked for: {error}"
        return
    for key in sorted(item.key for item in there if item.key not in named):
        name = key.removeprefix(f"{version.root}/")
        if not _SIGNATURE.fullmatch(name) and not name.rpartition("/")[2].startswith(_WRITING):
            yield f"{key}: is not named in the manifest; nothing of it belongs to the version"


def _inside(key: str, entry: FileEntry, data: bytes) -> Iterator[str]:
    try:
        rows, schema = look_into(key, data)
    except ContractError as error:
        yield str(error).removeprefix(f"{key}: ")
        return
    if rows != entry.rows:
        yield f"{rows} rows, manifest says {entry.rows}"
    if entry.schema_sha256 not in (None, schema_sha256(schema)):
        yield f"has columns {schema.names} of other names or types than the manifest says"

"""The only reader and writer of object storage and Parquet.

What a commit rests on: `create` makes a whole object under a name nobody holds yet, or reports that
the name is taken; `swap` replaces a pointer only if it still holds what the caller read. No commit and no
reader lists a directory or trusts that a file that opens is complete: readers are given sizes and hashes.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweetspot.errors import CheckError, ConfigError, StoreError
from tasks._folder import Folder, require_room
from tasks._records import Record, parse_record
from tasks._s3 import S3Bucket, open_bucket

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+-]*(/[A-Za-z0-9][A-Za-z0-9._=+-]*)*", re.ASCII)
SCHEMES = ("file", "s3")


@dataclass(frozen=True)
class Item:
    """An object as a listing shows it."""

    key: str
    bytes: int
    modified: datetime


@dataclass(frozen=True)
class Store:
    """A folder in object storage, named by its URI; cheap to pickle and to send to workers.

    Args:
        uri: `file://relative/or/absolute` or `s3://bucket/prefix`. Credentials and endpoints come from the
            environment, never from the URI.
    """

    uri: str

    def __post_init__(self) -> None:
        """Refuse URIs we cannot keep promises on."""
        parts = urlsplit(self.uri)
        if parts.scheme not in SCHEMES:
            raise ConfigError(f"store: got {self.uri!r}, expected file:// or s3://")
        if "@" in parts.netloc:
            raise ConfigError("store: the URI holds credentials; put them in the environment instead")

    @cached_property
    def _backend(self) -> Folder | S3Bucket:
        if self.uri.startswith("file://"):
            return Folder(Path(self.uri.removeprefix("file://")).absolute())
        return open_bucket(self.uri.removeprefix("s3://"))

    def read(self, key: str) -> bytes:
        """Return the whole object; StoreError if it is not there."""
        data = self.read_if_there(key)
        if data is None:
            raise StoreError(f"{self.uri}/{key}: no such object")
        return data

    def read_if_there(self, key: str) -> bytes | None:
        """Return the whole object, or None if the name is free."""
        return self._backend.read(_checked(key))

    def record(self, key: str) -> Record:
        """Return the JSON object that we once wrote under a name; StoreError if it is not there."""
        return parse_record(self.read(key), f"{self.uri}/{key}")

    def record_if_there(self, key: str) -> Record | None:
        """Return the JSON object that we once wrote under a name, or None if the name is free."""
        data = self.read_if_there(key)
        return None if data is None else parse_record(data, f"{self.uri}/{key}")

    def create(self, key: str, data: bytes) -> bool:
        """Write a new object whole; True if it holds `data` afterwards, False if the name holds anything else."""
        return self._backend.create(_checked(key), data)

    def commit(self, key: str, data: bytes) -> None:
        """Create an object, or accept that the very same bytes are already there.

        Raises:
            CheckError: the name holds other bytes, which are left as they are.
        """
        if not self.create(key, data):
            raise CheckError(f"{self.uri}/{key}: already holds other content; nothing was overwritten")

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        """Replace a pointer if it still holds `expected` (None: does not exist); True if it holds `data` afterwards."""
        return self._backend.swap(_checked(key), expected, data)

    def listing(self, prefix: str) -> list[Item]:
        """Everything below a prefix, for people and the sweeper; no commit and no reader rests on it."""
        return [Item(*found) for found in self._backend.listing(_checked(prefix))]

    def remove(self, key: str) -> None:
        """Delete an object. Only the sweeper does."""
        self._backend.remove(key)

    def require_room(self, what: str) -> None:
        """Refuse to begin `what` on a disk that is as good as full; a bucket has no end.

        Raises:
            StoreError: with the folder and the bytes.
        """
        if isinstance(self._backend, Folder):
            require_room(self._backend.root, what=what)

    def probe(self) -> None:
        """Prove that this store can be written to, refuses to overwrite, and moves a pointer only from what it holds.

        Raises:
            StoreError: it cannot be written, or it ignores or misreads conditional writes.
        """
        key = f"probe/{uuid4().hex}"
        try:
            first, second = self.create(key, b"1"), self.create(key, b"2")
            kept = self.read(key) == b"1" and self.read_if_there(f"{key}-absent") is None
            stale, moved = self.swap(key, b"0", b"3"), self.swap(key, b"1", b"4")
        except OSError as error:
            raise StoreError(f"{self.uri}: cannot be written: {error}. Check path, rights and credentials") from None
        if not first or second or not kept or stale or not moved or self.read(key) != b"4":
            raise StoreError(f"{self.uri}: ignores conditional writes, so two runs could overwrite each other")

    def read_table(self, key: str, sha256: str, columns: list[str] | None = None) -> pa.Table:
        """Read a Parquet object after checking its hash.

        Args:
            key: of the object.
            sha256: it was committed with.
            columns: to read; those of them that are there come back, and whoever knows the schema compares.

        Raises:
            CheckError: the bytes are not the ones that were committed, or are no table.
        """
        data = self.read(key)
        found = hashlib.sha256(data).hexdigest()
        if found != sha256:
            raise CheckError(f"{self.uri}/{key}: sha256 {found[:12]}…, committed {sha256[:12]}…; it changed at rest")
        try:
            there = pq.read_schema(pa.BufferReader(data)).names
            wanted = None if columns is None else [name for name in columns if name in there]
            return pq.read_table(pa.BufferReader(data), columns=wanted, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise CheckError(f"{self.uri}/{key}: is no Parquet table: {type(error).__name__}") from None


def encode_table(table: pa.Table) -> bytes:
    """Encode a table as Parquet with page checksums and prove that it reads back whole.

    Raises:
        CheckError: what was written does not read back equal.
    """
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="zstd", compression_level=3, write_page_checksum=True, row_group_size=65_536
    )
    data = sink.getvalue()
    if not _same(pq.read_table(pa.BufferReader(data), page_checksum_verification=True), table):
        raise CheckError(f"a table of {len(table)} rows does not read back from its own Parquet bytes")
    return data.to_pybytes()


def _same(first: pa.Table, second: pa.Table) -> bool:
    """Equality in which NaN equals itself, as Arrow's own does not."""
    return first.schema.equals(second.schema) and all(
        one.equals(other)
        or (pa.types.is_floating(one.type) and np.array_equal(one.to_numpy(), other.to_numpy(), equal_nan=True))
        for one, other in zip(first.columns, second.columns, strict=True)
    )


def _checked(key: str) -> str:
    if not _KEY.fullmatch(key) or len(key) > 512:
        raise StoreError(f"object name {key[:80]!r} is not made of plain path segments")
    return key

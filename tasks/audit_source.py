"""A user's file as blocks of rows: Parquet, JSONL, JSON, CSV, a `datasets` name, locally or in object storage."""

import csv
import hashlib
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa

from sweetspot.auditing.blocks import ArrowBlock, Block, LineBlock, RecordBlock
from sweetspot.auditing.settings import Audit
from sweetspot.errors import ConfigError, ContractError
from tasks._origins import copy_named, load_named_dataset, local_path, refuse_foreign, refuse_longer
from tasks._parquet import Limits, limits_of, prove_streamable, stream_parquet

SETTING = "audit"
BLOCK_ROWS = 4096
BLOCK_BYTES = 32 << 20
READABLE = (".parquet", ".jsonl", ".ndjson", ".json", ".csv")
LINE_BYTES = 256 << 20
"""A longer line of JSONL, or field of CSV, is not read: it would have to lie in memory whole."""
JSON_BYTES = 2 << 30
"""A JSON array is read whole, and needs several times its size; JSONL has no such limit."""
CUT_SHORT = b'{"longer than": '
csv.field_size_limit(LINE_BYTES)


@dataclass(frozen=True)
class AuditSource:
    """A readable source; every pass over it yields the same blocks.

    Attributes:
        name: as the user wrote it.
        path: of the local file or folder that is read.
        sha256: of its bytes, or of a dataset's fingerprint.
        suffix: what it is: one of READABLE, or `datasets`.
        within: what it may hold.
    """

    name: str
    path: Path
    sha256: str
    suffix: str
    within: Limits

    @property
    def size_bytes(self) -> int:
        """Of the file; unknown, so taken for large, for a dataset."""
        return 1 << 40 if self.suffix == "datasets" else self.path.stat().st_size

    def blocks(self) -> Iterator[Block]:
        """All rows in order.

        Raises:
            ContractError: the file is damaged, with the row up to which it could be read.
        """
        start = 0
        try:
            for block in _READERS[self.suffix](self):
                start += len(block.places)
                yield block
        except (
            pa.ArrowException,
            OSError,
            UnicodeDecodeError,
            json.JSONDecodeError,
            csv.Error,
            RecursionError,
        ) as error:
            raise ContractError(
                f"{self.name}: cannot be read as {self.suffix.lstrip('.')} after row {start} "
                f"({type(error).__name__}); it is damaged or was cut short. Nothing was audited; copy it again"
            ) from None

    def first(self) -> Block:
        """The first block with a row.

        Raises:
            ContractError: there is no row.
        """
        for block in self.blocks():
            if len(block.places):
                return block
        raise ContractError(f"{self.name}: holds no rows; expected at least one")


@contextmanager
def open_source(name: str, within: Limits = limits_of(Audit())) -> Iterator[AuditSource]:
    """Open a path, a URI (copied to a temporary file first) or `datasets:NAME[:CONFIG]:SPLIT`.

    Args:
        name: of the source.
        within: what it may hold; a larger one is refused, a Parquet file before it is read.

    Raises:
        ConfigError: no such source, a format that is not read, or a name that may not be opened.
        ContractError: the file is empty, or holds too much.
        StoreError: object storage failed.
    """
    if name.startswith("datasets:"):
        yield _open_dataset(name, within)
        return
    refuse_foreign(name, what=SETTING)
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in READABLE:
        what = "is a folder; name one of its files" if Path(name).is_dir() else f"ends in {suffix!r}"
        raise ConfigError(f"{name!r}: {what}, expected one of {', '.join(READABLE)} or datasets:NAME")
    with tempfile.TemporaryDirectory(prefix="sweetspot-audit-") as folder:
        path = _local(name, Path(folder) / f"source{suffix}", within)
        if not path.stat().st_size:
            raise ContractError(f"{name}: is empty; expected at least one row")
        if suffix == ".parquet":
            prove_streamable(name, path, within)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        yield AuditSource(name, path, sha256, suffix, within)


def _local(name: str, copy: Path, within: Limits) -> Path:
    if name.lower().startswith("s3://"):
        copy_named(name, copy, max_bytes=within.unpacked_bytes, what=SETTING)
        return copy
    path = local_path(name)
    if not path.is_file():
        raise ConfigError(f"no file {name!r}" + ("; it is a folder" if path.is_dir() else ""))
    refuse_longer(name, path.stat().st_size, within.unpacked_bytes)
    return path


def _parquet(source: AuditSource) -> Iterator[Block]:
    start, waiting = 0, list[pa.RecordBatch]()
    for batch in stream_parquet(source.name, source.path, source.within):
        waiting.append(batch)
        if sum(map(len, waiting)) >= BLOCK_ROWS or sum(one.nbytes for one in waiting) >= BLOCK_BYTES:
            yield (block := _joined(start, waiting))
            start, waiting = start + len(block.places), []
    if waiting:
        yield _joined(start, waiting)


def _joined(start: int, batches: Sequence[pa.RecordBatch]) -> ArrowBlock:
    batch = pa.concat_batches(batches)
    return ArrowBlock(range(start, start + batch.num_rows), batch)


def _lines(source: AuditSource) -> Iterator[Block]:
    start = 0
    with source.path.open("rb") as file:
        if file.read(3) != b"\xef\xbb\xbf":
            file.seek(0)
        while lines := _next_lines(file):
            yield LineBlock(range(start, start + len(lines)), lines)
            start += len(lines)


def _next_lines(file: BinaryIO) -> tuple[bytes, ...]:
    found, size = list[bytes](), 0
    while len(found) < BLOCK_ROWS and size < BLOCK_BYTES and (line := file.readline(LINE_BYTES)):
        if len(line) == LINE_BYTES and not line.endswith(b"\n"):
            while (rest := file.readline(LINE_BYTES)) and not rest.endswith(b"\n"):
                pass
            line = CUT_SHORT  # no JSON, so it leaves as an unreadable row
        if line.strip():
            found.append(line)
            size += len(line)
    return tuple(found)


def _json(source: AuditSource) -> Iterator[Block]:
    if source.size_bytes > JSON_BYTES:
        raise ContractError(f"{source.name}: a JSON array of more than {JSON_BYTES:,} bytes; write it as .jsonl")
    rows = json.loads(source.path.read_bytes())
    if not isinstance(rows, list):
        raise json.JSONDecodeError("not an array", "", 0)
    for start in range(0, len(rows), BLOCK_ROWS):
        yield _records(start, rows[start : start + BLOCK_ROWS])


def _records(start: int, rows: Sequence[Any]) -> RecordBlock:
    return RecordBlock(range(start, start + len(rows)), tuple(rows))


def _csv(source: AuditSource) -> Iterator[Block]:
    with source.path.open(newline="", encoding="utf-8-sig") as file:
        rows: Iterator[dict[str, Any]] = csv.DictReader(file, strict=True)
        start = 0
        while records := tuple(_with_nulls(row) for row in islice(rows, BLOCK_ROWS)):
            yield _records(start, records)
            start += len(records)


def _with_nulls(row: dict[str, Any]) -> dict[str, Any]:
    """An empty field of a CSV file is a missing one."""
    return {key: None if value == "" else value for key, value in row.items()}


def _open_dataset(name: str, within: Limits) -> AuditSource:
    path = Path(name.removeprefix("datasets:"))
    fingerprint = str(_dataset(path, within)._fingerprint)
    return AuditSource(name, path, hashlib.sha256(fingerprint.encode()).hexdigest(), "datasets", within)


def _dataset(name: Path, within: Limits) -> Any:
    return load_named_dataset(str(name), max_bytes=within.unpacked_bytes, what=SETTING)


def _dataset_blocks(source: AuditSource) -> Iterator[Block]:
    start = 0
    for table in _dataset(source.path, source.within).with_format("arrow").iter(batch_size=BLOCK_ROWS):
        for batch in table.combine_chunks().to_batches():
            yield ArrowBlock(range(start, start + batch.num_rows), batch)
            start += batch.num_rows


_READERS = {
    ".parquet": _parquet,
    ".jsonl": _lines,
    ".ndjson": _lines,
    ".json": _json,
    ".csv": _csv,
    "datasets": _dataset_blocks,
}

"""Rows of a user's file or dataset, one dict each, and the hash of what was read."""

import csv
import difflib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from sweetspot.errors import ConfigError, ContractError

READABLE = (".jsonl", ".json", ".parquet", ".csv")


@dataclass(frozen=True)
class Source:
    """What was read: rows as dicts, or None for a line that could not be read at all.

    Attributes:
        name: as the user wrote it.
        sha256: of the bytes, or of the dataset's own fingerprint.
        rows: in the order of the source.
    """

    name: str
    sha256: str
    rows: tuple[dict[str, Any] | None, ...]

    def require(self, *columns: str) -> None:
        """Check that every column exists in some row.

        Raises:
            ContractError: naming the missing column and the nearest one there is.
        """
        there = {key for row in self.rows if row is not None for key in row}
        for column in columns:
            if column not in there:
                near = difflib.get_close_matches(column, there, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it has {sorted(there)}"
                raise ContractError(f"{self.name}: no column {column!r}{hint} Set prompts.*_column to match")


def read_source(name: str, *, limit: int = 0) -> Source:
    """Read a JSONL, JSON, Parquet or CSV file, or a `datasets:NAME[:CONFIG]:SPLIT`.

    Args:
        name: path, URI or dataset.
        limit: rows to take from the start; 0 takes all.

    Raises:
        ConfigError: no such file, or a format we do not read.
        ContractError: the file holds no rows or is damaged.
    """
    if name.startswith("datasets:"):
        rows, sha256 = _read_hub(name.removeprefix("datasets:"))
    else:
        rows, sha256 = _read_file(name)
    if not rows:
        raise ContractError(f"{name}: holds no rows; expected at least one prompt")
    return Source(name, sha256, tuple(rows[:limit] if limit else rows))


def _read_file(name: str) -> tuple[list[dict[str, Any] | None], str]:
    suffix = "." + name.rsplit(".", 1)[-1].lower()
    if suffix not in READABLE:
        raise ConfigError(f"prompts.source: {name!r} ends in {suffix!r}, expected one of {', '.join(READABLE)}")
    try:
        with fsspec.open(name, "rb") as file:
            data: bytes = file.read()  # pyright: ignore[reportAttributeAccessIssue]
    except FileNotFoundError:
        raise ConfigError(f"prompts.source: no file {name!r}") from None
    if not data.strip():
        raise ContractError(f"{name}: is empty; expected at least one row")
    return list(_decode(name, suffix, data)), hashlib.sha256(data).hexdigest()


def _decode(name: str, suffix: str, data: bytes) -> Iterator[dict[str, Any] | None]:
    try:
        if suffix == ".parquet":
            return iter(pq.read_table(pa.BufferReader(data), page_checksum_verification=True).to_pylist())
        text = data.decode("utf-8-sig")
        if suffix == ".csv":
            return iter(list(csv.DictReader(io.StringIO(text))))
        if suffix == ".json":
            return (row if isinstance(row, dict) else None for row in json.loads(text))
        # Not splitlines(): a text may hold line separators that do not end a line of JSON.
        return (_json_row(line) for line in text.split("\n") if line.strip())
    except (pa.ArrowException, UnicodeDecodeError, json.JSONDecodeError, TypeError, csv.Error) as error:
        raise ContractError(f"{name}: cannot be read as {suffix[1:]}: {type(error).__name__}; is it damaged?") from None


def _json_row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except json.JSONDecodeError:
        return None
    return row if isinstance(row, dict) else None


def _read_hub(name: str) -> tuple[list[dict[str, Any] | None], str]:
    import datasets

    path, *middle, split = name.split(":") if ":" in name else (name, "train")
    try:
        dataset = datasets.load_dataset(path, *middle, split=split)
    except Exception as error:
        # The library raises its own, requests' and plain ValueErrors for the same mistake: a wrong name.
        raise ConfigError(f"prompts.source: dataset {name!r} cannot be loaded: {type(error).__name__}") from None
    return list(dataset), hashlib.sha256(dataset._fingerprint.encode()).hexdigest()  # pyright: ignore

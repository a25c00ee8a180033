"""Rows of a user's file or dataset, one dict each, and the hash of what was read."""

import csv
import difflib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sweetspot.errors import ConfigError, ContractError
from tasks._origins import load_named_dataset, open_named, refuse_foreign, refuse_longer
from tasks._parquet import Limits, read_parquet

READABLE = (".jsonl", ".json", ".parquet", ".csv")
SETTING = "prompts.source"


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


def read_source(name: str, *, limit: int = 0, within: Limits = Limits()) -> Source:
    """Read a JSONL, JSON, Parquet or CSV file, or a `datasets:NAME[:CONFIG]:SPLIT`.

    Args:
        name: path, file:// or s3:// URI, or dataset.
        limit: rows to take from the start; 0 takes all.
        within: what it may hold; a larger one is refused, a Parquet file before it is read.

    Raises:
        ConfigError: no such file, or a format or scheme we do not read.
        ContractError: the file holds no rows, too much, or is damaged.
    """
    if name.startswith("datasets:"):
        rows, sha256 = _read_hub(name.removeprefix("datasets:"), within)
    else:
        rows, sha256 = _read_file(name, within)
    if not rows:
        raise ContractError(f"{name}: holds no rows; expected at least one prompt")
    if len(rows) > within.rows:
        raise ContractError(f"{name}: holds {len(rows)} rows, more than the {within.rows} allowed; raise max_rows")
    return Source(name, sha256, tuple(rows[:limit] if limit else rows))


def _read_file(name: str, within: Limits) -> tuple[list[dict[str, Any] | None], str]:
    suffix = "." + name.rsplit(".", 1)[-1].lower()
    refuse_foreign(name, what=SETTING)
    if suffix not in READABLE:
        raise ConfigError(f"{SETTING}: {name!r} ends in {suffix!r}, expected one of {', '.join(READABLE)}")
    with open_named(name, what=SETTING) as file:
        data: bytes = file.read(within.unpacked_bytes + 1)
    refuse_longer(name, len(data), within.unpacked_bytes)
    if not data.strip():
        raise ContractError(f"{name}: is empty; expected at least one row")
    if suffix == ".parquet":
        return read_parquet(name, data, within).to_pylist(), hashlib.sha256(data).hexdigest()
    return list(_decode(name, suffix, data)), hashlib.sha256(data).hexdigest()


def _decode(name: str, suffix: str, data: bytes) -> Iterator[dict[str, Any] | None]:
    try:
        text = data.decode("utf-8-sig")
        if suffix == ".csv":
            return iter(list(csv.DictReader(io.StringIO(text))))
        if suffix == ".json":
            return (row if isinstance(row, dict) else None for row in json.loads(text))
        # Not splitlines(): a text may hold line separators that do not end a line of JSON.
        return (_json_row(line) for line in text.split("\n") if line.strip())
    except (ValueError, TypeError, RecursionError, csv.Error) as error:
        raise ContractError(
            f"{name}: cannot be read as {suffix[1:]}: {type(error).__name__}; is it damaged or cut short?"
        ) from None


def _json_row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, a number of thousands of digits, brackets without end
        return None
    return row if isinstance(row, dict) else None


def _read_hub(name: str, within: Limits) -> tuple[list[dict[str, Any] | None], str]:
    dataset = load_named_dataset(name, max_bytes=within.unpacked_bytes, what=SETTING)
    return list(dataset), hashlib.sha256(dataset._fingerprint.encode()).hexdigest()

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
MAX_NAME_CHARS, MAX_NAMES = 64, 20
"""Of column names in messages: the keys of a damaged file may be whole texts."""
FIELD_CHARS = 256 << 20
csv.field_size_limit(FIELD_CHARS)  # the 131,072 of the library would refuse a file for one long prompt


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
        there = {key[:MAX_NAME_CHARS] for row in self.rows if row is not None for key in row if isinstance(key, str)}
        for column in columns:
            if column not in there:
                near = difflib.get_close_matches(column, there, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; it has {_listed(there)}"
                raise ContractError(f"{self.name}: no column {column!r}{hint} Set prompts.*_column to match")


def read_source(name: str, *, limit: int = 0, within: Limits = Limits()) -> Source:
    """Read a JSONL, JSON, Parquet or CSV file, or a `datasets:NAME[@COMMIT][:CONFIG]:SPLIT`.

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
    if suffix == ".jsonl":
        return _json_lines(name, data)
    try:
        text = data.decode("utf-8-sig")
        if suffix == ".csv":
            return iter(list(csv.DictReader(io.StringIO(text))))
        rows = json.loads(text)
    except (ValueError, TypeError, RecursionError, csv.Error) as error:
        raise ContractError(
            f"{name}: cannot be read as {suffix[1:]}: {type(error).__name__}; is it damaged or cut short?"
        ) from None
    if not isinstance(rows, list):
        raise ContractError(f"{name}: holds one {type(rows).__name__}, expected a list of rows")
    return (row if isinstance(row, dict) else None for row in rows)


def _json_lines(name: str, data: bytes) -> Iterator[dict[str, Any] | None]:
    """A line that is no UTF-8 or no JSON is one bad row; a file of nothing else is no text at all."""
    # Not splitlines(): a text may hold line separators that do not end a line of JSON.
    lines = [line for line in data.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    texts = [_text(line) for line in lines]
    if lines and not any(texts):
        raise ContractError(f"{name}: cannot be read as jsonl: no line is UTF-8; is it damaged or cut short?")
    return (None if text is None else _json_row(text) for text in texts)


def _text(line: bytes) -> str | None:
    try:
        return line.decode()
    except UnicodeDecodeError:
        return None


def _listed(names: set[str]) -> str:
    """Column names in order; of very many the first."""
    shown = sorted(names)[:MAX_NAMES]
    return f"{shown}" + (f" and {len(names) - len(shown)} more" if len(names) > len(shown) else "")


def _json_row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):  # not JSON, a number of thousands of digits, brackets without end
        return None
    return row if isinstance(row, dict) else None


def _read_hub(name: str, within: Limits) -> tuple[list[dict[str, Any] | None], str]:
    dataset = load_named_dataset(name, max_bytes=within.unpacked_bytes, what=SETTING, pinned=True)
    return list(dataset), hashlib.sha256(dataset._fingerprint.encode()).hexdigest()

"""Some thousand rows of a source, still encoded: cheap to hand to a worker, which decodes the columns it needs."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

BadRows = dict[int, tuple[str, str]]


@dataclass(frozen=True)
class Rows:
    """Decoded rows.

    Attributes:
        start: place of the first row in the source, from 0.
        size: how many rows there are, unreadable ones included.
        values: column name to (size,) values; None where a row has none.
        bad: place in this block to (reason, detail) of rows that cannot be read.
    """

    start: int
    size: int
    values: dict[str, list[Any]]
    bad: BadRows = field(default_factory=dict[int, tuple[str, str]])

    def column(self, name: str | None) -> list[Any]:
        """Values of a column; None everywhere where there is no such column."""
        return [None] * self.size if name is None else self.values.get(name, [None] * self.size)


class Block(Protocol):
    """Encoded rows that lie together in the source."""

    @property
    def size(self) -> int:
        """How many rows there are."""
        ...

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Decode the named columns, or all."""
        ...


@dataclass(frozen=True)
class ArrowBlock:
    """Rows of a Parquet file or of a `datasets` table."""

    start: int
    batch: pa.RecordBatch

    @property
    def size(self) -> int:
        """How many rows there are."""
        return self.batch.num_rows

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Decode columns; a value that is not UTF-8 makes its row unreadable, not the file."""
        bad: BadRows = {}
        wanted = self.batch.schema.names if names is None else [n for n in names if n in self.batch.schema.names]
        values = {name: _decoded(name, self.batch.column(name), bad) for name in wanted}
        return Rows(self.start, self.size, values, bad)


def _decoded(name: str, column: pa.Array, bad: BadRows) -> list[Any]:
    try:
        return column.to_pylist()
    except UnicodeDecodeError:
        return [_value(name, column[index], index, bad) for index in range(len(column))]


def _value(name: str, value: pa.Scalar, index: int, bad: BadRows) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        bad[index] = ("not_utf8", f"column {name} holds bytes that are not UTF-8")
        return None


@dataclass(frozen=True)
class LineBlock:
    """Lines of a JSONL file."""

    start: int
    lines: tuple[bytes, ...]

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.lines)

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Decode lines; one that is not a JSON object is unreadable."""
        bad: BadRows = {}
        found = [_json_row(line, index, bad) for index, line in enumerate(self.lines)]
        return _columns(self.start, found, names, bad)


def _json_row(line: bytes, index: int, bad: BadRows) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:  # UnicodeDecodeError is one, too
        bad[index] = ("unreadable", f"the line is no JSON ({type(error).__name__})")
        return {}
    except RecursionError:
        bad[index] = ("unreadable", "the line is nested too deeply")
        return {}
    if not isinstance(row, dict):
        bad[index] = ("unreadable", f"the line is {type(row).__name__}, expected one JSON object")
        return {}
    return row


@dataclass(frozen=True)
class RecordBlock:
    """Rows of a JSON array or a CSV file."""

    start: int
    records: tuple[Any, ...]

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.records)

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Hand out columns; what is not a record is unreadable."""
        bad: BadRows = {}
        found = []
        for index, row in enumerate(self.records):
            good = isinstance(row, dict) and None not in row
            if not good:
                what = "more fields than the header" if isinstance(row, dict) else f"{type(row).__name__}, not an object"
                bad[index] = ("unreadable", f"the row is or has {what}")
            found.append(row if good else {})
        return _columns(self.start, found, names, bad)


def _columns(start: int, found: list[dict[str, Any]], names: Iterable[str] | None, bad: BadRows) -> Rows:
    keys = list(dict.fromkeys(key for row in found for key in row)) if names is None else list(names)
    return Rows(start, len(found), {key: [row.get(key) for row in found] for key in keys}, bad)

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
        places: of the rows in the source, from 0; unreadable rows have theirs, too.
        values: column name to (size,) values; None where a row has none.
        bad: place in this block to (reason, detail) of rows that cannot be read.
    """

    places: Sequence[int]
    values: dict[str, list[Any]]
    bad: BadRows = field(default_factory=dict[int, tuple[str, str]])

    @property
    def size(self) -> int:
        """How many rows there are."""
        return len(self.places)

    def column(self, name: str | None) -> list[Any]:
        """Values of a column; None everywhere where there is no such column."""
        return [None] * self.size if name is None else self.values.get(name, [None] * self.size)


class Block(Protocol):
    """Encoded rows that lie together in the source."""

    @property
    def places(self) -> Sequence[int]:
        """Places of the rows in the source."""
        ...

    def take(self, indices: Sequence[int]) -> "Block":
        """Some of the rows, by their index in this block."""
        ...

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Decode the named columns, or all."""
        ...


@dataclass(frozen=True)
class ArrowBlock:
    """Rows of a Parquet file or of a `datasets` table."""

    places: Sequence[int]
    batch: pa.RecordBatch

    def take(self, indices: Sequence[int]) -> "ArrowBlock":
        """Some of the rows."""
        return ArrowBlock([self.places[k] for k in indices], self.batch.take(pa.array(indices, pa.int64())))

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Decode columns; a value that is not UTF-8 makes its row unreadable, not the file."""
        bad: BadRows = {}
        wanted = self.batch.schema.names if names is None else [n for n in names if n in self.batch.schema.names]
        values = {name: _decoded(name, self.batch.column(name), bad) for name in wanted}
        return Rows(self.places, values, bad)


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

    places: Sequence[int]
    lines: tuple[bytes, ...]

    def take(self, indices: Sequence[int]) -> "LineBlock":
        """Some of the rows."""
        return LineBlock([self.places[k] for k in indices], tuple(self.lines[k] for k in indices))

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Decode lines; one that is not a JSON object is unreadable."""
        bad: BadRows = {}
        found = [_json_row(line, index, bad) for index, line in enumerate(self.lines)]
        return _columns(self.places, found, names, bad)


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

    places: Sequence[int]
    records: tuple[Any, ...]

    def take(self, indices: Sequence[int]) -> "RecordBlock":
        """Some of the rows."""
        return RecordBlock([self.places[k] for k in indices], tuple(self.records[k] for k in indices))

    def rows(self, names: Sequence[str] | None = None) -> Rows:
        """Hand out columns; what is not a record is unreadable."""
        bad: BadRows = {}
        found = []
        for index, row in enumerate(self.records):
            good = isinstance(row, dict) and None not in row
            if not good:
                what = (
                    "more fields than the header" if isinstance(row, dict) else f"{type(row).__name__}, not an object"
                )
                bad[index] = ("unreadable", f"the row is or has {what}")
            found.append(row if good else {})
        return _columns(self.places, found, names, bad)


def _columns(places: Sequence[int], found: list[dict[str, Any]], names: Iterable[str] | None, bad: BadRows) -> Rows:
    keys = list(dict.fromkeys(key for row in found for key in row)) if names is None else list(names)
    return Rows(places, {key: [row.get(key) for row in found] for key in keys}, bad)

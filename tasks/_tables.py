"""A table in the store: chunks of Parquet with receipts, and a table receipt that makes them one.

Layout, below `<dataset>/tables/<name>/<fingerprint>/`:

    part-00003-<sha256[:12]>.parquet      rows of chunk 3
    dropped-00003-<sha256[:12]>.parquet   rows that left in chunk 3, if any
    chunk-00003.json                      the commit of chunk 3: names and hashes the two, and holds its book
    table.json                            the commit of the table: all chunk receipts, added up; both kinds are sealed

The fingerprint covers the stage's code version, its settings and the fingerprints of its inputs, so
a changed setting writes elsewhere and a chunk that is there never needs redoing.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from sweetspot import schemas
from sweetspot.delivery.books import Book
from sweetspot.errors import CheckError, StoreError
from sweetspot.schemas import Schema
from sweetspot.score_cells import OK
from tasks._receipts import check_receipt, check_table
from tasks._records import DAMAGED, Record, parse_sealed, seal_record
from tasks._seams import seam
from tasks._store import Store, encode_table

SCHEMAS = {schema.name: schema for schema in schemas.TABLES}


@dataclass(frozen=True)
class TableRef:
    """Where a committed table lies and what is in it; small enough for a task result.

    Attributes:
        name: name of its schema.
        store: URI of the store.
        location: key prefix of the table.
        fingerprint: of everything that made it.
        chunks: number of chunks; chunk i of every table of a run holds the same prompts.
        rows: rows in all chunks.
        dropped: rows that left at this stage, by reason.
        reused_chunks: chunks found committed when the stage ran.
        seconds: how long the run that finished it took.
        notes: figures the stage reports, for people.
    """

    name: str
    store: str
    location: str
    fingerprint: str
    chunks: int
    rows: int
    book: dict[str, Any]
    reused_chunks: int = 0
    seconds: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def schema(self) -> Schema:
        """The table's contract."""
        return SCHEMAS[self.name]

    def read_chunk(self, index: int, columns: list[str] | None = None) -> pa.Table:
        """Read one chunk's rows, after checking its hash and its columns.

        Raises:
            CheckError: it changed at rest, or was made by a build with other columns.
        """
        part = self.receipt(index)["part"]
        key = f"{self.location}/{part['path']}"
        table = Store(self.store).read_table(key, part["sha256"], columns)
        if found := self.schema.differences(table.schema, columns):
            raise CheckError(
                f"{self.store}/{key}: {found}; another build of sweetspot made it. Remove {self.location} and start "
                "the run again, which makes it anew"
            )
        return table

    def read_dropped(self, index: int) -> pa.Table:
        """Read the rows that left in one chunk."""
        part = self.receipt(index)["dropped"]
        if part is None:
            return schemas.DROPPED.table([])
        return Store(self.store).read_table(f"{self.location}/{part['path']}", part["sha256"])

    def receipt(self, index: int) -> dict[str, Any]:
        """The commit record of one chunk.

        Raises:
            CheckError: it is not as it was committed, or is the receipt of another chunk or table.
        """
        return _receipt(Store(self.store), self.location, index)

    def each_chunk(self, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """All chunks in order."""
        return (self.read_chunk(index, columns) for index in range(self.chunks))

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """The named columns of all chunks; for narrow columns, not for texts of a whole night."""
        return pa.concat_tables(self.each_chunk(columns))

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        return asdict(self)


@dataclass(frozen=True)
class HeldTable(TableRef):
    """A table whose receipts are read and judged once: a publication asks for each of them several times."""

    receipts: dict[int, dict[str, Any]] = field(default_factory=dict[int, dict[str, Any]], compare=False, repr=False)

    def receipt(self, index: int) -> dict[str, Any]:
        """The commit record of one chunk, as it was when it was first asked for."""
        if index not in self.receipts:
            self.receipts[index] = super().receipt(index)
        return self.receipts[index]


@dataclass(frozen=True)
class ChunkResult:
    """What a stage made of one chunk.

    Attributes:
        table: rows that go on, in the stage's output schema.
        dropped: rows that left, in the DROPPED schema.
        ids_in: ids the chunk had to account for, in the stage's unit.
        ids_out: those of them that went on. Together with the dropped ids they must be `ids_in`.
    """

    table: pa.Table
    dropped: pa.Table
    ids_in: list[str]
    ids_out: list[str]


def chunk_key(index: int) -> str:
    """Name of a chunk's receipt below its table."""
    return f"chunk-{index:05d}.json"


def commit_chunk(
    store: Store, location: str, index: int, result: ChunkResult, *, book: Book, schema: Schema
) -> dict[str, Any]:
    """Write a chunk's files, then its receipt; return the receipt that counts.

    If another worker committed the chunk first, its receipt is the one that counts and our files are
    left unreferenced.
    """
    receipt = {
        **_place(location, index),
        "part": _commit_file(store, location, f"part-{index:05d}", schema.check(result.table)),
        "dropped": _commit_file(store, location, f"dropped-{index:05d}", result.dropped)
        if len(result.dropped)
        else None,
        "book": book.to_json(),
    }
    seam("part_committed")
    key = f"{location}/{chunk_key(index)}"
    if not store.create(key, seal_record(receipt)):
        return dict(_receipt(store, location, index))
    seam("receipt_committed")
    return receipt


def _place(location: str, index: int) -> dict[str, Any]:
    """What ties a receipt to the one place where it counts, under whatever name the dataset goes."""
    return {"table": "/".join(location.split("/")[-2:]), "chunk": index}


def _receipt(store: Store, location: str, index: int) -> Record:
    found = receipt_if_there(store, location, index)
    if found is None:
        raise StoreError(f"{store.uri}/{location}/{chunk_key(index)}: no such object")
    return found


def receipt_if_there(store: Store, location: str, index: int) -> Record | None:
    """The commit record of a chunk, or None if it is not committed.

    Raises:
        CheckError: it is not as it was committed, or is the receipt of another chunk or table.
    """
    key = f"{location}/{chunk_key(index)}"
    data = store.read_if_there(key)
    if data is None:
        return None
    receipt = parse_sealed(data, f"{store.uri}/{key}")
    place = {"table": receipt.text("table"), "chunk": receipt.count("chunk")}
    if place != _place(location, index):
        raise CheckError(
            f"{store.uri}/{key}: is the receipt of chunk {place['chunk']} of {place['table']}, put here by somebody; "
            f"{DAMAGED}"
        )
    check_receipt(receipt)
    return receipt


def _commit_file(store: Store, location: str, stem: str, table: pa.Table) -> dict[str, Any]:
    data = encode_table(table)
    sha256 = hashlib.sha256(data).hexdigest()
    path = f"{stem}-{sha256[:12]}.parquet"
    store.commit(f"{location}/{path}", data)
    return {"path": path, "bytes": len(data), "rows": len(table), "sha256": sha256}


def find_table(store: Store, location: str) -> TableRef | None:
    """The committed table at `location`, or None."""
    key = f"{location}/table.json"
    data = store.read_if_there(key)
    if data is None:
        return None
    fields = parse_sealed(data, f"{store.uri}/{key}")
    check_table(fields, name=location.split("/")[-2])
    ref = TableRef(**{**fields, "notes": tuple(fields["notes"]), "store": store.uri})
    if ref.location.split("/")[-2:] != location.split("/")[-2:]:
        raise CheckError(f"{store.uri}/{key}: is the receipt of {ref.location}, put here by somebody; {DAMAGED}")
    return ref


def commit_table(store: Store, ref: TableRef) -> TableRef:
    """Make the chunks one table; the first commit of a location counts and is what is returned."""
    seam("chunks_committed")
    fields = {key: value for key, value in ref.to_json().items() if key not in ("reused_chunks", "store")}
    if not store.create(f"{ref.location}/table.json", seal_record(fields)):
        return find_table(store, ref.location) or ref
    seam("table_committed")
    return ref


def dropped_table(stage: str, unit: str, rows: list[tuple[str, str, str, str]]) -> pa.Table:
    """Build DROPPED rows from (row_id, prompt_id, reason, detail)."""
    return schemas.DROPPED.table(
        {"stage": stage, "unit": unit, "row_id": row, "prompt_id": prompt, "reason": reason, "detail": detail}
        for row, prompt, reason, detail in rows
    )


def masked_scores(scores: TableRef) -> tuple[str, ...]:
    """A warning for every rater with scores that cannot be reckoned with: how many, by reason."""
    seen, masked = Counter[str](), dict[str, Counter[str]]()
    for chunk in scores.each_chunk(["rater", "status"]):
        for rater, status in zip(chunk["rater"].to_pylist(), chunk["status"].to_pylist(), strict=True):
            seen[rater] += 1
            if status != OK:
                masked.setdefault(rater, Counter())[status] += 1
    return tuple(
        f"masked_scores: {reasons.total()} of {seen[rater]} scores of rater {rater} count as missing "
        f"({', '.join(f'{reason} {count}' for reason, count in sorted(reasons.items()))})"
        for rater, reasons in sorted(masked.items())
    )

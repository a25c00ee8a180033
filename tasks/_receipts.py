"""Commit records of chunks and tables: whoever writes to the bucket may have made them, so each field is judged."""

from sweetspot.delivery.books import Book
from sweetspot.errors import CheckError, ContractError
from tasks._records import DAMAGED, Record

MAX_CHUNKS = 10**7
_HEX = r"[0-9a-f]{64}"
_FILE_FIELDS = ("path", "bytes", "rows", "sha256")
_TABLE_FIELDS = ("name", "location", "fingerprint", "chunks", "rows", "book", "seconds", "notes")


def check_receipt(record: Record) -> None:
    """Judge the fields of a chunk's receipt; its place is judged by who reads it.

    Raises:
        CheckError: naming the key and the field that is not as we write it.
    """
    record.only(("table", "chunk", "part", "dropped", "book"))
    index = record.count("chunk")
    _check_file(record.inner("part"), "part", index)
    if record["dropped"] is not None:
        _check_file(record.inner("dropped"), "dropped", index)
    _check_book(record)


def check_table(record: Record, *, name: str) -> None:
    """Judge the fields of a table's commit record.

    Args:
        record: as it was read.
        name: of the table, by the folder it lies in.

    Raises:
        CheckError: naming the key and the field that is not as we write it.
    """
    record.only(_TABLE_FIELDS)
    if record.text("name") != name:
        raise CheckError(f"{record.where}: name: got {record['name'][:80]!r}, expected {name}; {DAMAGED}")
    record.text("location", r"[A-Za-z0-9._+=/-]{1,512}")
    record.text("fingerprint", r"[0-9a-f]{8,64}")
    record.count("chunks", least=1, below=MAX_CHUNKS)
    record.count("rows")
    record.number("seconds")
    notes = record["notes"]
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise CheckError(f"{record.where}: notes: expected a list of texts; {DAMAGED}")
    _check_book(record)


def _check_file(record: Record, stem: str, index: int) -> None:
    record.only(_FILE_FIELDS)
    sha256 = record.text("sha256", _HEX)
    record.text("path", rf"{stem}-{index:05d}-{sha256[:12]}\.parquet")
    record.count("bytes")
    record.count("rows")


def _check_book(record: Record) -> None:
    try:
        Book.from_json(dict(record.inner("book")), "book")
    except ContractError as error:
        raise CheckError(f"{record.where}: {error}") from None

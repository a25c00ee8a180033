"""JSON objects that we once wrote to a store: what is not as it was is named, with what to do.

Whoever writes to the bucket may have put them there, so nothing of one is used before its type is known.
A sealed record holds the hash of the rest of it. Receipts are sealed, for nothing else says what they must be.
"""

import hashlib
from collections.abc import Iterable
from typing import Any

from sweetspot import ids
from sweetspot.delivery import _plain
from sweetspot.errors import CheckError, ContractError

DAMAGED = "it was changed at rest. Restore it, or remove it and start the run again, which makes it anew"
MAX_BYTES = 16 * 2**20
"""A record names files and numbers; a larger one is none of ours."""
SEGMENT = r"[A-Za-z0-9](?:[._+-]?[A-Za-z0-9]){0,126}"
"""One plain name: no slash, no two dots in a row."""


class Record(dict[str, Any]):
    """A JSON object of ours; a field that is not there, or is something else than it was, is damage and is named."""

    def __init__(self, fields: dict[str, Any], where: str) -> None:
        super().__init__(fields)
        self.where = where

    def __missing__(self, name: str) -> Any:
        raise CheckError(f"{self.where}: has no {name!r}; {DAMAGED}")

    def only(self, names: Iterable[str], *, optional: Iterable[str] = ()) -> "Record":
        """Itself, if it has these fields and no other.

        Raises:
            CheckError: naming what is missing or unknown.
        """
        wanted, allowed = set(names), {*names, *optional}
        if unknown := sorted(self.keys() - allowed):
            raise CheckError(
                f"{self.where}: has a field {_plain.shown(unknown[0])}, expected only "
                f"{', '.join(sorted(allowed))}; it was written by a newer sweetspot, or {DAMAGED}"
            )
        for name in sorted(wanted - self.keys()):
            self[name]
        return self

    def text(self, name: str, pattern: str = r"(?s).{1,4096}") -> str:
        """A field that holds a text matching `pattern`."""
        value = self[name]
        self._require(name, value, _is_text(value, pattern), f"a text like {pattern}")
        return value

    def count(self, name: str, *, least: int = 0, below: int = 2**53) -> int:
        """A field that holds a whole number in [least, below)."""
        value = self[name]
        self._require(name, value, type(value) is int and least <= value < below, f"a number in [{least}, {below})")
        return value

    def number(self, name: str) -> float:
        """A field that holds a finite number from 0 on."""
        value = self[name]
        self._require(name, value, type(value) in (int, float) and value >= 0, "a number from 0 on")
        return value

    def moment(self, name: str) -> str:
        """A field that holds a UTC time, ISO 8601."""
        value = self[name]
        try:
            return _plain.moment(value, name, utc=True)
        except ContractError:
            self._require(name, value, False, "a time in UTC, ISO 8601")
            raise

    def inner(self, name: str) -> "Record":
        """A field that holds an object."""
        value = self[name]
        self._require(name, value, isinstance(value, dict), "an object")
        return Record(value, f"{self.where}: {name}")

    def _require(self, name: str, value: Any, holds: bool, expected: str) -> None:
        if not holds:
            raise CheckError(f"{self.where}: {name}: got {_plain.shown(value)}, expected {expected}; {DAMAGED}")


def parse_record(data: bytes, where: str) -> Record:
    """Decode a JSON object that we once wrote.

    Raises:
        CheckError: it is none any more, with what to do.
    """
    if len(data) > MAX_BYTES:
        raise CheckError(f"{where}: holds {len(data)} bytes, expected at most {MAX_BYTES}; {DAMAGED}")
    try:
        found = _plain.parse(data, "record")
    except ContractError as error:
        raise CheckError(f"{where}: is no JSON as we write it ({error}); {DAMAGED}") from None
    if not isinstance(found, dict):
        raise CheckError(f"{where}: is {type(found).__name__}, expected an object; {DAMAGED}")
    return Record(found, where)


def seal_record(fields: dict[str, Any]) -> bytes:
    """Encode an object together with the sha256 of its canonical JSON."""
    return ids.canonical_json({**fields, "seal": hashlib.sha256(ids.canonical_json(fields)).hexdigest()})


def parse_sealed(data: bytes, where: str) -> Record:
    """Decode a record that was sealed when it was written, without its seal.

    Raises:
        CheckError: it is not, byte for byte, what was written.
    """
    record = parse_record(data, where)
    fields = {name: value for name, value in record.items() if name != "seal"}
    if data != seal_record(fields):
        raise CheckError(f"{where}: {'does not fit its seal' if 'seal' in record else 'has no seal'}; {DAMAGED}")
    return Record(fields, where)


def _is_text(value: Any, pattern: str) -> bool:
    try:
        return _plain.text(value, "", pattern=pattern) == value
    except ContractError:
        return False

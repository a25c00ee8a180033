"""Books: per stage, the ids that came in are the ids that went on plus the ids that left, each with a reason.

Ids are compared as multisets without keeping them. The digest of a multiset is the sum of its members'
hashes, so chunks are digested where they lie and added up anywhere, in any order.

References:
    Bellare, Micciancio (1997), A new paradigm for collision-free hashing: incrementality at reduced cost
        (AdHash).
    Clarke, Devadas, van Dijk, Gassend, Suh (2003), Incremental multiset hash functions and their application
        to memory integrity checking.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from sweetspot.delivery import _plain
from sweetspot.errors import CheckError, ContractError

_MODULUS = 2**128
_DIGEST = r"[0-9a-f]{32}"
_NEXT_STEP = "Compare the stage's input ids with its output ids and dropped ids; nothing may be published before."


@dataclass(frozen=True)
class IdSet:
    """How many ids, and which, in 16 bytes.

    digest = sum over ids of int(first 16 bytes of sha256(id), big-endian)  mod 2**128

    Two different multisets of equal count agree by accident with probability 2**-128. This finds
    mistakes; it is no defence against someone who chooses the ids (128 bits of a sum are too few).

    Attributes:
        count: number of ids, repetitions counted.
        digest: the sum above, in [0, 2**128).
    """

    EMPTY: ClassVar["IdSet"]

    count: int
    digest: int

    def __post_init__(self) -> None:
        _plain.count(self.count, "id set: count")
        _plain.count(self.digest, "id set: digest", below=_MODULUS)

    @classmethod
    def of(cls, ids: Iterable[str]) -> "IdSet":
        """Digest the ids, in any order; a repeated id counts each time.

        Raises:
            ContractError: an id is not a text.
        """
        count = total = 0
        for one in ids:
            if not isinstance(one, str):
                raise _plain.refusal(f"id {count}", one, "a text", "Convert ids to texts.")
            total += int.from_bytes(hashlib.sha256(one.encode("utf-8", "surrogatepass")).digest()[:16], "big")
            count += 1
        return cls(count, total % _MODULUS)

    def __add__(self, other: "IdSet") -> "IdSet":
        return IdSet(self.count + other.count, (self.digest + other.digest) % _MODULUS)

    def to_json(self) -> dict[str, Any]:
        """Count as a number, digest as 32 hex digits."""
        return {"count": self.count, "digest": f"{self.digest:032x}"}

    @classmethod
    def from_json(cls, value: Any, where: str = "id set") -> "IdSet":
        """The reverse of `to_json`.

        Raises:
            ContractError: anything else than what `to_json` makes.
        """
        fields = _plain.record(value, where, ("count", "digest"))
        digest = _plain.text(fields["digest"], f"{where}.digest", pattern=_DIGEST)
        return cls(_plain.count(fields["count"], f"{where}.count"), int(digest, 16))


IdSet.EMPTY = IdSet(0, 0)


@dataclass(frozen=True)
class Book:
    """One stage's account.

    Attributes:
        stage: name of the stage.
        unit: what is counted: prompt, response, pair, source_row.
        rows_in: ids the stage had to account for.
        rows_out: those of them that went on.
        dropped: those that left, by reason.
    """

    stage: str
    unit: str
    rows_in: IdSet
    rows_out: IdSet
    dropped: dict[str, IdSet]

    def __post_init__(self) -> None:
        _plain.text(self.stage, "book: stage")
        _plain.text(self.unit, f"book of {self.stage}: unit")
        for reason in self.dropped:
            _plain.text(reason, f"book of {self.stage}: reason")

    @property
    def dropped_in_all(self) -> IdSet:
        """All ids that left."""
        return sum(self.dropped.values(), IdSet.EMPTY)

    def balance(self) -> None:
        """Check that rows_in = rows_out + dropped, as multisets of ids.

        Raises:
            CheckError: naming the stage, the unit, the counts, and whether the counts differ or, the
                counts being equal, the ids do (something was lost and something else doubled or made up).
        """
        accounted = self.rows_out + self.dropped_in_all
        if accounted == self.rows_in:
            return
        difference = self.rows_in.count - accounted.count
        if difference:
            fate = f"{abs(difference)} {'lost' if difference > 0 else 'too many'}"
            verdict = f"the counts differ by {abs(difference)} ({fate})"
        else:
            verdict = "the counts agree but the id sets differ: some ids were lost and others doubled or made up"
        reasons = ", ".join(f"{reason} {rows.count}" for reason, rows in sorted(self.dropped.items()))
        raise CheckError(
            f"{self.stage}: books do not balance, unit {self.unit}: {self.rows_in.count} in, {self.rows_out.count} "
            f"out, {self.dropped_in_all.count} dropped ({reasons or 'no reasons'}); {verdict}. {_NEXT_STEP}"
        )

    @staticmethod
    def merge(books: Sequence["Book"]) -> "Book":
        """Add up the books of one stage, chunk by chunk.

        Raises:
            ContractError: no book, or books of different stages or units.
        """
        if not books:
            raise ContractError("books: nothing to merge, expected at least one book. Pass one book per chunk.")
        first = books[0]
        for index, book in enumerate(books):
            if (book.stage, book.unit) != (first.stage, first.unit):
                raise ContractError(
                    f"books: book {index} is of {book.stage} in {book.unit}s, the first of {first.stage} in "
                    f"{first.unit}s. Merge one stage at a time."
                )
        dropped: dict[str, IdSet] = {}
        for book in books:
            for reason, rows in book.dropped.items():
                dropped[reason] = dropped.get(reason, IdSet.EMPTY) + rows
        return Book(
            stage=first.stage,
            unit=first.unit,
            rows_in=sum((book.rows_in for book in books), IdSet.EMPTY),
            rows_out=sum((book.rows_out for book in books), IdSet.EMPTY),
            dropped=dropped,
        )

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain JSON."""
        return {
            "stage": self.stage,
            "unit": self.unit,
            "rows_in": self.rows_in.to_json(),
            "rows_out": self.rows_out.to_json(),
            "dropped": {reason: rows.to_json() for reason, rows in self.dropped.items()},
        }

    @classmethod
    def from_json(cls, value: Any, where: str = "book") -> "Book":
        """The reverse of `to_json`.

        Raises:
            ContractError: anything else than what `to_json` makes.
        """
        fields = _plain.record(value, where, ("stage", "unit", "rows_in", "rows_out", "dropped"))
        dropped: Mapping[str, Any] = _plain.mapping(fields["dropped"], f"{where}.dropped")
        return cls(
            stage=_plain.text(fields["stage"], f"{where}.stage"),
            unit=_plain.text(fields["unit"], f"{where}.unit"),
            rows_in=IdSet.from_json(fields["rows_in"], f"{where}.rows_in"),
            rows_out=IdSet.from_json(fields["rows_out"], f"{where}.rows_out"),
            dropped={reason: IdSet.from_json(rows, f"{where}.dropped.{reason}") for reason, rows in dropped.items()},
        )

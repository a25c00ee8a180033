"""Votes of any layout to one table, coded by the identity of what was compared, never by its place on the screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.blocks import Rows
from sweetspot.auditing.formats import Reading
from sweetspot.auditing.reading import Left, name_of, number
from sweetspot.auditing.tables import Labels, Votes
from sweetspot.auditing.winners import CLASSES, FIRST, SECOND, TIE, Coding, coding_of, is_missing

ONE_JUDGE = "the judge"
IntArray = NDArray[np.int64]


class _Numbering(dict[str, int]):
    """Numbers names in order of appearance."""

    def __missing__(self, name: str) -> int:
        self[name] = len(self)
        return self[name]


@dataclass
class Ballots:
    """Votes as they are read, block by block.

    Attributes:
        reading: which column is what.
        left: rows or votes that cannot be used.
        notes: what a user should know of how votes were read, one sentence each.
        place: of each vote's row in the source; of the votes that are kept, once `table` was called.
    """

    reading: Reading
    left: list[Left] = field(default_factory=list[Left])
    place: list[int] = field(default_factory=list[int])
    notes: list[str] = field(default_factory=list[str])
    _unit: list[int] = field(default_factory=list[int])
    _rater: list[int] = field(default_factory=list[int])
    _vote: list[int] = field(default_factory=list[int])
    _order: list[int] = field(default_factory=list[int])
    _count: list[int] = field(default_factory=list[int])
    _pair: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    _units: _Numbering = field(default_factory=_Numbering)
    _raters: _Numbering = field(default_factory=_Numbering)
    _votes: _Numbering = field(default_factory=_Numbering)
    _orders: _Numbering = field(default_factory=_Numbering)
    _items: _Numbering = field(default_factory=_Numbering)
    _groups: _Numbering = field(default_factory=_Numbering)
    _group_of: dict[int, int] = field(default_factory=dict[int, int])
    _gold_of: dict[int, Any] = field(default_factory=dict[int, Any])
    _items_of: dict[int, tuple[int, int]] = field(default_factory=dict[int, tuple[int, int]])

    def add(self, rows: Rows) -> None:
        """Take in the votes of one block."""
        columns = {role: rows.column(name) for role, name in self.reading.columns.items()}
        wide = {name: rows.column(name) for name in self.reading.raters}
        for index in range(rows.size):
            place = rows.places[index]
            row = {role: values[index] for role, values in columns.items()}
            if index in rows.bad:
                self.left.append(Left(place, f"row {place}", *rows.bad[index]))
                continue
            problem = self._take(row, {name: values[index] for name, values in wide.items()}, place)
            if problem is not None:
                self.left.append(Left(place, name_of(row.get("unit")) or f"row {place}", *problem))

    def _take(self, row: Mapping[str, Any], wide: Mapping[str, Any], place: int) -> tuple[str, str] | None:
        layout = self.reading.layout.name
        items = (name_of(row.get("item_a")), name_of(row.get("item_b")))
        known = items[0] is not None and items[1] is not None
        if layout in ("win_counts", "tournament"):
            if not known or items[0] == items[1]:
                return "no_items", "the row does not name two different items"
            unit = " / ".join([name_of(row.get("group")) or "", *sorted(str(name) for name in items)])
        else:
            unit = name_of(row.get("unit")) or (f"row {place}" if layout == "votes_wide" else None)
            if unit is None:
                return "no_unit", "the row does not say what was judged"
        number_of_unit = self._units[unit]
        pair = (self._items[str(items[0])], self._items[str(items[1])]) if known else (-1, -1)
        self._items_of.setdefault(number_of_unit, pair)
        self._group_of.setdefault(number_of_unit, self._groups[name_of(row.get("group")) or ""])
        if row.get("gold") is not None:
            self._gold_of.setdefault(number_of_unit, row["gold"])
        if layout == "win_counts":
            return self._take_counts(row, number_of_unit, pair, place)
        voters = wide if wide else {name_of(row.get("annotator")): row.get("vote", row.get("outcome"))}
        given = {who: vote for who, vote in voters.items() if not is_missing(vote)}
        if "annotator" in row and None in given:
            return "no_annotator", "the row does not say who voted"
        for who, vote in given.items():
            self._append(number_of_unit, who or ONE_JUDGE, self._name(vote, items), 1, pair, place)
            self._order.append(self._orders[name_of(row.get("order")) or ""])
        return None if given else ("no_vote", "the row holds no vote")

    def _name(self, vote: Any, items: tuple[str | None, str | None]) -> str:
        """A vote that names one of the two items becomes the side it stands on."""
        name = name_of(vote) or ""
        if items[0] is not None and items[0] != items[1] and name in items:
            return CLASSES[items.index(name)]
        return name

    def _take_counts(
        self, row: Mapping[str, Any], unit: int, pair: tuple[int, int], place: int
    ) -> tuple[str, str] | None:
        counts = [number(row.get(role)) for role in ("wins_a", "wins_b", "ties")]
        counts[2] = 0.0 if counts[2] != counts[2] else counts[2]
        if not all(count >= 0 and count == int(count) for count in counts if count == count) or counts[0] != counts[0]:
            return "bad_count", "wins must be whole numbers from 0"
        if counts[1] != counts[1]:
            return "bad_count", "wins must be whole numbers from 0"
        for name, count in zip(CLASSES, counts, strict=True):
            if count:
                self._append(unit, ONE_JUDGE, name, int(count), pair, place)
                self._order.append(self._orders[""])
        return None if any(counts) else ("no_vote", "no wins on either side")

    def _append(self, unit: int, who: str, vote: str, count: int, pair: tuple[int, int], place: int) -> None:
        self._unit.append(unit)
        self._rater.append(self._raters[who])
        self._vote.append(self._votes[vote])
        self._count.append(count)
        self._pair.append(pair)
        self.place.append(place)

    def table(self) -> Votes:
        """All votes; a second vote of the same annotator on the same unit in the same order leaves."""
        coding = coding_of(self._votes)
        classes, code_of = _classes(list(self._votes), coding)
        unit, code = np.array(self._unit, dtype=np.int64), code_of[np.array(self._vote, dtype=np.int64)]
        position, turned = self._positions(unit)
        if coding is not None:
            code = np.where(turned & (code < TIE), 1 - code, code)
        if coding is not None and self._names_places(unit, code, position):
            code = np.where((position == 1) & (code >= 0) & (code < TIE), 1 - code, code)
            self.notes.append("votes name the place on the screen, not the item; those of the second order were turned")
        keep = (code >= 0) & self._first_votes(unit, position)
        gone = np.flatnonzero(code < 0)
        units = list(self._units)
        self.left += [Left(self.place[k], units[unit[k]], "no_vote", "the vote is none of the classes") for k in gone]
        self.place = np.array(self.place, dtype=np.int64)[keep].tolist()
        known = any(pair != (-1, -1) for pair in self._items_of.values())
        return Votes(
            unit=unit[keep],
            rater=np.array(self._rater, dtype=np.int64)[keep],
            code=code[keep],
            position=position[keep],
            count=np.array(self._count, dtype=np.int64)[keep],
            units=tuple(units),
            raters=tuple(self._raters),
            classes=classes,
            paired=coding is not None,
            items=np.array([self._items_of[k] for k in range(len(units))], dtype=np.int64) if known else None,
            item_names=tuple(self._items) if known else (),
            group=self._group() if "group" in self.reading.columns else None,
            gold=self._gold(coding, classes) if self._gold_of else None,
        )

    def _positions(self, unit: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
        """Which item was shown first, and whether the row names the items the other way round than the unit."""
        pair = np.array(self._pair, dtype=np.int64).reshape(-1, 2)
        own = np.array([self._items_of[k] for k in range(len(self._units))], dtype=np.int64)[unit]
        turned = (pair[:, 0] != own[:, 0]) & (pair[:, 0] == own[:, 1]) & (pair[:, 0] >= 0)
        if "order" in self.reading.columns and len(orders := sorted(self._orders)) == 2 and "" not in orders:
            order = np.array([orders.index(name) for name in self._orders], dtype=np.int64)
            return order[np.array(self._order, dtype=np.int64)], turned
        if self.reading.layout.name in ("tournament", "votes_long") and turned.any():
            return turned.astype(np.int64), turned
        return np.full(len(unit), -1, dtype=np.int64), turned

    def _names_places(self, unit: IntArray, code: IntArray, position: IntArray) -> bool:
        """Whether `first` means what was shown first: most judges of both orders then seem to change their mind."""
        if "order" not in self.reading.columns:
            return False
        decided = np.flatnonzero((position >= 0) & (code >= 0) & (code < TIE))
        said: dict[tuple[int, int], dict[int, int]] = {}
        for k in decided.tolist():
            said.setdefault((int(unit[k]), self._rater[k]), {}).setdefault(int(position[k]), int(code[k]))
        both = [orders[0] == orders[1] for orders in said.values() if len(orders) == 2]
        return len(both) > 0 and sum(both) < len(both) / 2

    def _first_votes(self, unit: IntArray, position: IntArray) -> NDArray[np.bool_]:
        keep = np.ones(len(unit), dtype=bool)
        if self.reading.layout.name in ("win_counts", "tournament"):
            return keep  # a judge may compare the same two items many times
        seen: set[tuple[int, int, int]] = set()
        units = list(self._units)
        for k, key in enumerate(zip(unit.tolist(), self._rater, position.tolist(), strict=True)):
            if key in seen:
                keep[k] = False
                detail = "the annotator has voted on it before"
                self.left.append(Left(self.place[k], units[key[0]], "repeated_vote", detail))
            seen.add(key)
        return keep

    def _group(self) -> IntArray:
        return np.array([self._group_of[k] for k in range(len(self._units))], dtype=np.int64)

    def _gold(self, coding: Coding | None, classes: Sequence[str]) -> IntArray:
        gold = np.full(len(self._units), -1, dtype=np.int64)
        for unit, value in self._gold_of.items():
            code = coding.code(value) if coding is not None else None
            name = name_of(value)
            if coding is None and name in classes:
                code = classes.index(name)
            gold[unit] = -1 if code is None else code
        return gold


def _classes(names: list[str], coding: Coding | None) -> tuple[tuple[str, ...], IntArray]:
    """Names of the classes, and the class of each name."""
    if coding is None:
        return Labels.of(sorted(names)).names, np.argsort(np.argsort(np.array(names, dtype=object))).astype(np.int64)
    codes = [coding.code(name) for name in names]
    classes = CLASSES if TIE in codes else CLASSES[: SECOND + 1]
    return classes, np.array([-1 if code is None else code for code in codes], dtype=np.int64)


def texts_of_unit(columns: Mapping[str, Any], winner: int) -> tuple[Any, Any]:
    """The values of the two response columns, the winner first."""
    first, second = columns["first"], columns["second"]
    return (second, first) if winner == SECOND else (first, second)


assert (FIRST, SECOND, TIE) == (0, 1, 2)

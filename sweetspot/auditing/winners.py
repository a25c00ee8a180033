"""What the entries of a vote column mean: the first item, the second, or neither."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

FIRST, SECOND, TIE = 0, 1, 2
CLASSES = ("first", "second", "tie")

_FIRST = frozenset(
    [
        "1",
        "a",
        "first",
        "left",
        "model_a",
        "output_1",
        "response_1",
        "response_a",
        "output_a",
        "a1",
        "a>b",
        "true",
        "win",
        "chosen",
        "x",
        "item_a",
    ]
)
_SECOND = frozenset(
    [
        "2",
        "b",
        "second",
        "right",
        "model_b",
        "output_2",
        "response_2",
        "response_b",
        "output_b",
        "a2",
        "b>a",
        "false",
        "loss",
        "rejected",
        "y",
        "item_b",
    ]
)
_TIE = frozenset(("tie", "equal", "equally good", "draw", "both", "neither", "a=b", "same", "0", "3", "0.5", "1.5"))
_NONE = frozenset(("", "-1", "none", "nan", "null", "n/a", "error", "invalid", "unknown"))


@dataclass(frozen=True)
class Coding:
    """A vote column whose entries prefer one of two items.

    Attributes:
        graded: entries are numbers from 1 (surely the first) to 2 (surely the second).
    """

    graded: bool = False

    def code(self, value: Any) -> int | None:
        """FIRST, SECOND, TIE, or None where the entry is no vote."""
        text = _plain(value)
        if self.graded:
            number = _as_float(text)
            if number is None or not 1 <= number <= 2:
                return None
            return TIE if number == 1.5 else FIRST if number < 1.5 else SECOND
        return FIRST if text in _FIRST else SECOND if text in _SECOND else TIE if text in _TIE else None


def coding_of(values: Iterable[Any]) -> Coding | None:
    """How a column prefers one of two items; None where its entries are classes of another kind.

    0 and 1 alone do not say which item is meant, so they are taken for plain classes; so are codes with both 0 and 3,
    which would both have to be ties.
    """
    seen = {_plain(value) for value in values} - _NONE
    if not seen or seen in ({"0", "1"}, {"0"}) or seen >= {"0", "3"}:
        return None
    if seen <= _FIRST | _SECOND | _TIE and seen & (_FIRST | _SECOND):
        return Coding()
    numbers = [_as_float(text) for text in seen]
    if all(number is not None and 1 <= number <= 2 for number in numbers):
        return Coding(graded=True)
    return None


def is_missing(value: Any) -> bool:
    """Whether an entry says that there was no vote."""
    return _plain(value) in _NONE


def _plain(value: Any) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip().lower()


def _as_float(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

"""Checks of plain JSON values: what may enter a manifest or a book, whoever made it.

Every function returns the checked value and raises `ContractError` naming the place in the document,
what was there and what belongs there.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sweetspot.errors import ContractError

# A night's configuration is about five levels deep; a bound keeps hostile nesting from exhausting the stack.
MAX_DEPTH = 64
MAX_INTEGER = 2**64

_SHA256 = re.compile(r"[0-9a-f]{64}")


def parse(data: bytes, where: str) -> Any:
    """Decode UTF-8 JSON without duplicate keys, NaN, infinities or text that UTF-8 cannot hold."""
    if not isinstance(data, bytes | bytearray):
        raise refusal(where, type(data).__name__, "bytes", "Pass the file as it was read.")
    try:
        text = bytes(data).decode("utf-8")
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except RecursionError:
        raise ContractError(
            f"{where}: nested too deeply to be read, expected at most {MAX_DEPTH} levels. Restore the file."
        ) from None
    except ValueError as error:
        raise ContractError(f"{where}: not UTF-8 JSON ({shown(str(error))}). Restore the file.") from None
    return plain(value, where)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice in one object")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def plain(value: Any, where: str, *, depth: int = 0) -> Any:
    """Return a copy of `value` that JSON holds exactly: tuples become lists, anything else is refused."""
    if depth > MAX_DEPTH:
        raise refusal(where, type(value).__name__, f"nothing more than {MAX_DEPTH} levels deep", "Flatten it.")
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int and abs(value) <= MAX_INTEGER:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        return _encodable(value, where)
    if isinstance(value, list | tuple):
        return [plain(item, f"{where}[{index}]", depth=depth + 1) for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {_key(key, where): plain(item, f"{where}.{key}", depth=depth + 1) for key, item in value.items()}
    raise refusal(
        where,
        value if isinstance(value, int | float) else type(value).__name__,
        "a JSON value: null, true, a finite number, a text, a list or an object",
        "Convert it before it enters the manifest.",
    )


def _encodable(value: str, where: str) -> str:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise refusal(where, value, "text that UTF-8 can hold", f"Replace character {error.start}.") from None
    return str(value)


def _key(key: Any, where: str) -> str:
    if not isinstance(key, str):
        raise refusal(f"{where} (key)", key, "a text", "JSON keys are texts.")
    return _encodable(key, f"{where} (key)")


def record(value: Any, where: str, names: Iterable[str]) -> dict[str, Any]:
    """An object with exactly these keys."""
    expected = set(names)
    if not isinstance(value, dict):
        raise refusal(where, type(value).__name__, f"an object with {', '.join(sorted(expected))}", "")
    if value.keys() != expected:
        missing, unknown = sorted(expected - value.keys()), sorted(value.keys() - expected)
        raise ContractError(
            f"{where}: missing {missing}, unknown {shown(unknown)}. It was written by another version or damaged."
        )
    return value


def listed(value: Any, where: str) -> Sequence[Any]:
    """A list (or tuple)."""
    if not isinstance(value, list | tuple):
        raise refusal(where, type(value).__name__, "a list", "")
    return value


def mapping(value: Any, where: str) -> dict[str, Any]:
    """An object with any keys, copied, holding nothing but JSON."""
    if not isinstance(value, dict):
        raise refusal(where, type(value).__name__, "an object", "")
    return plain(value, where)


def text(value: Any, where: str, *, pattern: str = r"(?s).+") -> str:
    """A text that matches `pattern` as a whole; by default any text that is not empty."""
    if not isinstance(value, str) or not re.fullmatch(pattern, _encodable(value, where)):
        expected = "a text that is not empty" if pattern == r"(?s).+" else f"a text like {pattern}"
        raise refusal(where, value, expected, "")
    return value


def sha256(value: Any, where: str) -> str:
    """A sha256 in lower-case hex."""
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise refusal(where, value, "a sha256: 64 lower-case hex digits", "Hash the file's bytes.")
    return value


def count(value: Any, where: str, *, below: int = 2**63) -> int:
    """A whole number in [0, below)."""
    if type(value) is not int or not 0 <= value < below:
        raise refusal(where, value, f"a whole number from 0 to {below - 1}", "")
    return value


def moment(value: Any, where: str, *, utc: bool = False) -> str:
    """An ISO 8601 date or date and time; with `utc` a date and time at offset 0."""
    try:
        parsed = datetime.fromisoformat(text(value, where))
    except ValueError:
        raise refusal(where, value, "an ISO 8601 time", "For example 2026-11-20T02:00:00Z.") from None
    if utc and parsed.utcoffset() != timedelta(0):
        raise refusal(where, value, "an ISO 8601 time in UTC", "For example 2026-11-20T02:00:00Z.")
    return value


def shown(value: Any) -> str:
    """A value for an error message: one line, at most 80 characters."""
    try:
        full = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, a list that holds itself
        full = f"a {type(value).__name__} that cannot be printed"
    return full if len(full) <= 80 else f"{full[:77]}..."


def refusal(where: str, got: Any, expected: str, remedy: str) -> ContractError:
    """The error that says what is wrong at `where`."""
    advice = remedy or "Restore the file, or correct the caller."
    place = where if len(where) <= 200 else f"{where[:197]}..."
    return ContractError(f"{place}: got {shown(got)}, expected {expected}. {advice}")

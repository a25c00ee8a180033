"""Which layout a table of preference data has, and which of its columns plays which role."""

import difflib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweetspot.auditing.layouts import ALIASES, KINDS, LAYOUTS, WEAK, Layout
from sweetspot.errors import ConfigError

_NO_SCORE = re.compile(r"(?:^|_)(?:chars|words|tokens|len|length|idx|index|id|seed|rank)$", re.IGNORECASE)
_NUMBERED_RATER = re.compile(r"(annotator|rater|judge|worker|label|vote)[_ ]?\d+$", re.IGNORECASE)


@dataclass(frozen=True)
class Reading:
    """How to read a source.

    Attributes:
        layout: the layout it has.
        columns: role to the name of its column.
        raters: columns of annotators or raters in wide layouts.
        notes: what a user should know of the choice, one sentence each.
    """

    layout: Layout
    columns: Mapping[str, str]
    raters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def detect(
    sample: Mapping[str, Sequence[Any]],
    *,
    format: str = "",
    columns: Mapping[str, str] | None = None,
    source: str = "source",
) -> Reading:
    """Find the first layout whose columns are all there.

    Args:
        sample: column name to the values of the first rows.
        format: a kind or the name of a layout; empty tries all.
        columns: role to column name, where the user says it.
        source: name of the source, for messages.

    Raises:
        ConfigError: unknown format or role, a named column that is not there, a role that two columns could play, or
            columns that fit no layout (with the nearest match).
    """
    said = dict(columns or {})
    _check_said(said, sample, source)
    wanted = [layout for layout in LAYOUTS if format in ("", layout.kind, layout.name)]
    if not wanted:
        names = ", ".join(dict.fromkeys((*KINDS, *(layout.name for layout in LAYOUTS))))
        raise ConfigError(f"--format {format}: expected one of {names}")
    shapes = {name: _shapes(values) for name, values in sample.items()}
    missing: dict[str, list[str]] = {}
    for layout in wanted:
        found, lacking = _resolve(layout, shapes, said, source)
        raters = _raters(layout, shapes, found, said)
        if not lacking and len(raters) >= layout.min_raters:
            return Reading(layout, found, raters, _notes(found, shapes))
        if not lacking:
            lacking = ["one column per rater"]
        missing.setdefault(layout.name, lacking)
    raise ConfigError(_no_fit(source, list(sample), missing, wanted))


def _check_said(said: Mapping[str, str], sample: Mapping[str, Sequence[Any]], source: str) -> None:
    for role, name in said.items():
        if role not in ALIASES:
            raise ConfigError(f"--column {role}={name}: no such role{_nearest(role, ALIASES)}")
        if name not in sample:
            raise ConfigError(f"--column {role}={name}: {source} has no column {name!r}{_nearest(name, sample)}")


def _nearest(name: str, there: Mapping[str, Any] | Sequence[str]) -> str:
    near = difflib.get_close_matches(name, list(there), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; expected one of {', '.join(list(there)[:40])}"


def _resolve(
    layout: Layout, shapes: Mapping[str, frozenset[str]], said: Mapping[str, str], source: str
) -> tuple[dict[str, str], list[str]]:
    """Column of each role, and the needed roles without one."""
    found, lacking = dict[str, str](), list[str]()
    for role, shape in {**layout.may, **layout.needs}.items():
        fits = [
            name
            for name in _candidates(role, shapes, said)
            if shape == "any" or shape in shapes[name] or role in said
            # A column plays one role; only the id may also be something else.
            if name not in found.values() or role in ("row_id", "unit")
        ]
        if fits:
            found[role] = fits[0]
        elif role in layout.needs:
            lacking.append(role)
    needed = [role for role in layout.needs if role in found]
    if not lacking:
        for role in needed:
            _refuse_ambiguous(role, layout.needs[role], shapes, said, source)
    return found, lacking


def _candidates(role: str, shapes: Mapping[str, frozenset[str]], said: Mapping[str, str]) -> list[str]:
    """Columns that could play a role, the best name first."""
    if role in said:
        return [said[role]]
    by_name = {name.lower(): name for name in shapes if name not in said.values()}
    there = [by_name[alias] for alias in ALIASES[role] if alias in by_name]
    return [name for name in there if name.lower() not in WEAK] + [name for name in there if name.lower() in WEAK]


def _refuse_ambiguous(
    role: str, shape: str, shapes: Mapping[str, frozenset[str]], said: Mapping[str, str], source: str
) -> None:
    strong = [
        name
        for name in _candidates(role, shapes, said)
        if name.lower() not in WEAK and (shape == "any" or shape in shapes[name])
    ]
    if len(strong) > 1 and strong[0].lower() != ALIASES[role][0]:
        listed = " and ".join(repr(name) for name in strong)
        raise ConfigError(
            f"{source}: {listed} could each be the column of {role}; say which with --column {role}={strong[0]}"
        )


def _raters(
    layout: Layout, shapes: Mapping[str, frozenset[str]], found: Mapping[str, str], said: Mapping[str, str]
) -> tuple[str, ...]:
    """Columns of the wide kind: numbered annotators, or whatever holds numbers and has no other role."""
    if not layout.min_raters:
        return ()
    taken = {*found.values(), *said.values()}
    if layout.kind == "votes":
        return tuple(name for name in shapes if _NUMBERED_RATER.fullmatch(name) and name not in taken)
    ids = {alias for role in ("row_id", "unit", "group") for alias in ALIASES[role]}
    numeric = (name for name, shape in shapes.items() if {"number"} <= shape and "truth" not in shape)
    return tuple(name for name in numeric if name not in taken | ids and not _NO_SCORE.search(name))


def _notes(found: Mapping[str, str], shapes: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    renamed = [f"{name!r} as {role}" for role, name in found.items() if name.lower() != ALIASES[role][0]]
    return (f"read {', '.join(renamed)}",) if renamed else ()


def _no_fit(source: str, names: Sequence[str], missing: Mapping[str, list[str]], wanted: Sequence[Layout]) -> str:
    """The message for columns that fit nothing: what the nearest layout lacks, and what looks like it."""
    size = {layout.name: len(layout.needs) + layout.min_raters for layout in wanted}
    best = min(missing, key=lambda name: (len(missing[name]) / size[name], -size[name]))
    hints = []
    for role in missing[best]:
        known = ALIASES.get(role, ())
        near = next((m for a in known for m in difflib.get_close_matches(a, names, n=1, cutoff=0.7)), None)
        hint = f"did you mean {near!r}? Say --column {role}={near}" if near else f"expected {' or '.join(known[:4])}"
        hints.append(f"no usable column for {role} ({hint})" if known else f"no {role}")
    return (
        f"{source}: columns {', '.join(names[:40])} fit no layout. Nearest is {best}: {'; '.join(hints)}. "
        f"Kinds: {', '.join(KINDS)} (--format)"
    )


def _shapes(values: Sequence[Any]) -> frozenset[str]:
    """Every shape that most of the non-null values have; the rows of the others will leave with a reason."""
    there = [value for value in values if value is not None and value == value][:200]
    if not there:
        return frozenset()
    return frozenset(name for name, test in _TESTS.items() if sum(map(test, there)) > 0.5 * len(there))


def _is_messages(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(m, dict) and "content" in m for m in value)


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return False
        return True
    return isinstance(value, int | float)


_TESTS: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "messages": _is_messages,
    "dialogue": lambda value: _is_messages(value) and len(value) > 1 and value[0].get("role") != "assistant",
    "reply": lambda value: _is_messages(value) and value[0].get("role") == "assistant",
    "hh": lambda value: isinstance(value, str) and value.lstrip().startswith("Human:") and "Assistant:" in value,
    "texts": lambda value: isinstance(value, list) and bool(value) and all(isinstance(one, str) for one in value),
    "numbers": lambda value: isinstance(value, list) and bool(value) and all(_is_number(one) for one in value),
    "number": _is_number,
    "truth": lambda value: isinstance(value, bool),
    "name": lambda value: isinstance(value, str | int | float | bool),
}

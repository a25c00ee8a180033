"""Copies of an audited table with rows taken out or labels turned round; the table itself is never touched."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.tables import Labels, Pairs, Scores, Sketches, Votes
from sweetspot.auditing.winners import TIE

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]
T = TypeVar("T", Pairs, Scores)

_SIDES = (("score_chosen", "score_rejected"), ("ref_chosen_logps", "ref_rejected_logps"))
_SIDES += (("policy_chosen_logps", "policy_rejected_logps"), ("chosen_model", "rejected_model"))
_SIDES += (("chosen_tokens", "rejected_tokens"),)
_OF_THE_ORDER = ("ches", "ches_per_token")
"""Columns that only hold for the pair as it stood."""


def turn_pairs(pairs: Pairs, turned: BoolArray) -> Pairs:
    """Exchange chosen and rejected of some rows, with everything that belongs to either; scores stay with their text.

    Args:
        pairs: n rows.
        turned: (n,).
    """
    return replace(
        pairs,
        keys=np.where(turned[:, None, None], pairs.keys[:, [0, 2, 1]], pairs.keys),
        chars=np.where(turned[:, None], pairs.chars[:, [0, 2, 1]], pairs.chars),
        flaws=np.where(turned[:, None], pairs.flaws[:, ::-1], pairs.flaws),
        style=np.where(turned[:, None, None], pairs.style[:, ::-1], pairs.style),
        numbers=_turned_numbers(pairs.numbers, turned),
        labels=_turned_labels(pairs.labels, turned),
    )


def _turned_numbers(numbers: Mapping[str, FloatArray], turned: BoolArray) -> dict[str, FloatArray]:
    found = dict(numbers)
    for one, other in _SIDES:
        if one in numbers and other in numbers:
            found[one] = np.where(turned, numbers[other], numbers[one])
            found[other] = np.where(turned, numbers[one], numbers[other])
    for name in _OF_THE_ORDER:
        if name in numbers:
            found[name] = np.where(turned, np.nan, numbers[name])
    return found


def _turned_labels(labels: Mapping[str, Labels], turned: BoolArray) -> dict[str, Labels]:
    found = dict(labels)
    for one, other in _SIDES:
        if one in labels and other in labels:
            a, b = _names(labels[one]), _names(labels[other])
            found[one] = Labels.of(np.where(turned, b, a).tolist())
            found[other] = Labels.of(np.where(turned, a, b).tolist())
    return found


def _names(labels: Labels) -> NDArray[np.object_]:
    """The name of each row, None where there is none."""
    return np.array([*labels.names, None], dtype=object)[labels.codes]


def take_pairs(pairs: Pairs, rows: IntArray) -> Pairs:
    """The rows named, in that order, repeated where they are named twice; without MinHash."""
    return _rows_of(pairs, rows)


def _rows_of(table: T, rows: IntArray | BoolArray) -> T:
    """Every column of a table at some rows; MinHash, whose rows are other numbers, is left out."""
    return replace(table, **{field.name: _at(getattr(table, field.name), rows) for field in fields(table)})


def _at(value: Any, rows: IntArray | BoolArray) -> Any:
    if isinstance(value, np.ndarray):
        return value[rows]
    if isinstance(value, Labels):
        return Labels(value.codes[rows], value.names)
    if isinstance(value, Mapping):
        return {name: _at(one, rows) for name, one in value.items()}
    return None if isinstance(value, Sketches) else value


def turn_votes(votes: Votes, turned: BoolArray, *, seed: int = 0) -> Votes:
    """Give some votes to the other item, or, where they are classes, to another class at random; ties stay.

    Args:
        votes: V votes.
        turned: (V,).
        seed: chooses among more than two classes.
    """
    if votes.paired:
        other = np.where(votes.code < TIE, 1 - votes.code, votes.code)
    else:
        step = np.random.default_rng(seed).integers(1, max(2, len(votes.classes)), len(votes))
        other = (votes.code + step) % max(1, len(votes.classes))
    return replace(votes, code=np.where(turned, other, votes.code))


def take_votes(votes: Votes, rows: BoolArray) -> Votes:
    """The votes marked; units and annotators keep their numbers, with fewer votes or none."""
    return replace(
        votes,
        unit=votes.unit[rows],
        rater=votes.rater[rows],
        code=votes.code[rows],
        position=votes.position[rows],
        count=votes.count[rows],
    )


def take_units(votes: Votes, units: IntArray) -> Votes:
    """The units named, (m,) ascending, with all their votes; annotators keep their numbers."""
    number = np.full(len(votes.units), -1, dtype=np.int64)
    number[units] = np.arange(len(units))
    kept = take_votes(votes, number[votes.unit] >= 0)
    return replace(
        kept,
        unit=number[kept.unit],
        units=tuple(votes.units[unit] for unit in units),
        items=None if votes.items is None else votes.items[units],
        group=None if votes.group is None else votes.group[units],
        gold=None if votes.gold is None else votes.gold[units],
    )


def take_prompts(scores: Scores, prompts: IntArray) -> Scores:
    """All responses of the prompts named."""
    kept = _rows_of(scores, np.isin(scores.prompt, prompts))
    return replace(kept, prompt=np.unique(kept.prompt, return_inverse=True)[1].astype(np.int64))


def mirror_scores(scores: Scores, turned: BoolArray) -> Scores:
    """Mirror some scores at their rater's median: the best become the worst, on the same scale.

    Args:
        scores: n responses and K raters.
        turned: (n, K).
    """
    with np.errstate(all="ignore"):
        middle = np.array([np.nanmedian(column) if np.isfinite(column).any() else np.nan for column in scores.score.T])
    return replace(scores, score=np.where(turned, 2 * middle - scores.score, scores.score))


def hide_scores(scores: Scores, hidden: BoolArray) -> Scores:
    """Take out some scores, (n, K)."""
    return replace(scores, score=np.where(hidden, np.nan, scores.score))

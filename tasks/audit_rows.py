"""Delivered rows of an audit, made as the source is read again: texts pass through, they are not kept."""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sweetspot import ids, schemas
from sweetspot.auditing.cleaning import Decisions
from sweetspot.auditing.conversations import Messages, flat
from sweetspot.auditing.features import keys_of
from sweetspot.auditing.reading import Left, PairTexts, name_of, read_pairs
from sweetspot.auditing.settings import Audit
from sweetspot.auditing.tables import Scores, Votes
from sweetspot.relabel import reward_conditioned
from sweetspot.validation._text import normal_form
from tasks.audit_measure import Measured, read_again
from tasks.audit_source import AuditSource

IntArray = NDArray[np.int64]


class _Side(NamedTuple):
    """One response of a candidate: candidate, 0 chosen or 1 rejected, and which response of its row."""

    candidate: int
    side: int
    entry: int


@dataclass
class Delivery:
    """What is about to be delivered, and what has been while files are made.

    Attributes:
        source: what is read again.
        measured: how it was read.
        decisions: what becomes of every preference.
        settings: of the audit.
        pair_ids: delivered pair by candidate, filled as rows are made.
        lengths: characters of chosen and rejected, filled as rows are made.
        rows_done: rows made so far.
    """

    source: AuditSource
    measured: Measured
    decisions: Decisions
    settings: Audit
    pair_ids: dict[int, str] = field(default_factory=dict[int, str])
    lengths: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    rows_done: int = 0

    @property
    def rows_out(self) -> int:
        """Rows of all splits."""
        return self.rows_in("train") + self.rows_in("eval")

    def rows_in(self, split: str) -> int:
        """Rows of a split; relabelling makes two of every preference."""
        found = self.decisions
        kept = int((found.kept & (found.is_eval == (split == "eval"))).sum())
        return kept * (2 if self.settings.relabelling.enabled else 1)

    @cached_property
    def left_rows(self) -> tuple[Left, ...]:
        """Rows of the source of which nothing was used, each once, with its first reason."""
        used, first = set(self.used_places), dict[int, Left]()
        for one in self.measured.left:
            if one.row not in used:
                first.setdefault(one.row, one)
        return tuple(first[row] for row in sorted(first))

    @cached_property
    def used_places(self) -> list[int]:
        """Places of the source of which something was used."""
        gone = {one.row for one in self.measured.left}
        table = self.measured.table
        if isinstance(table, Votes):
            used = set(self.measured.places)
        elif isinstance(table, Scores):
            used = set(np.unique(table.when[table.when >= 0]).tolist())
        else:
            return table.row.tolist()
        return sorted(used | (set(range(self.measured.rows)) - gone))

    def actions(self) -> NDArray[np.object_]:
        """What was done with each candidate."""
        found, clean = self.decisions, self.settings.clean
        action = np.full(len(found), "kept", dtype=object)
        doubted = found.kept & (found.reason != "")
        action[doubted] = "weighted" if clean == "reweight" else "flagged"
        if clean == "reweight":
            action[found.kept & (found.error_probability > 0)] = "weighted"
        action[found.turned & (found.reason == "label_flipped")] = "flipped"
        action[~found.kept] = "dropped"
        return action


def units_with_texts(source: AuditSource, measured: Measured) -> tuple[IntArray, NDArray[np.uint64]]:
    """For every unit of votes a row with its texts, -1 where there is none, and the hash of its prompt, (units, 2)."""
    votes = measured.table
    assert isinstance(votes, Votes)
    number = {name: k for k, name in enumerate(votes.units)}
    places = np.full(len(votes.units), -1, dtype=np.int64)
    keys = np.zeros((len(votes.units), 2), dtype=np.uint64)
    columns = list(measured.reading.columns.values())
    for block in source.blocks():
        rows = block.rows(columns)
        texts = read_pairs(rows, measured.reading, None, decided=True)
        forms = keys_of([normal_form(flat(prompt)) for prompt in texts.prompt])
        unit_of = dict(zip(rows.places, rows.column(measured.reading.columns.get("unit")), strict=True))
        for index, place in enumerate(texts.row):
            unit = number.get(name_of(unit_of[place]) or f"row {place}", -1)
            if unit >= 0 and places[unit] < 0:
                places[unit], keys[unit] = place, forms[index]
    return places, keys


def delivered_rows(delivery: Delivery, split: str) -> Iterator[pa.Table]:
    """The rows of one split as tables of some thousand rows, in the order of the source."""
    found, settings = delivery.decisions, delivery.settings.relabelling
    wanted = np.flatnonzero(found.kept & (found.is_eval == (split == "eval")))
    whole = _by_row(delivery, wanted) if found.unit != "prompt" else _by_response(delivery, wanted)
    for rows in whole:
        if settings.enabled:
            rows = list(
                reward_conditioned(
                    rows, goal_text=settings.goal_text, placement=settings.placement, drop_ties=False
                ).rows
            )
            for row in rows:
                row["ref_chosen_logps"] = row["ref_rejected_logps"] = math.nan
        delivery.rows_done += len(rows)
        if rows:
            yield schemas.DELIVERED.table(rows)


def _by_row(delivery: Delivery, wanted: IntArray) -> Iterator[list[dict[str, Any]]]:
    """Rows of preferences that stand in one row of the source."""
    found, reading = delivery.decisions, delivery.measured.reading
    candidate = {int(found.first[k]): int(k) for k in wanted}
    decided = found.unit == "unit"
    for texts in read_again(delivery.source, reading, list(candidate), decided=decided):
        assert isinstance(texts, PairTexts)
        rows = []
        for index, place in enumerate(texts.row):
            k = candidate[place]
            sides = (texts.chosen[index], texts.rejected[index])
            turned = bool(found.turned[k])
            extras = _extras(texts, index, turned)
            chosen, rejected = sides[::-1] if turned else sides
            rows.append(_row(delivery, k, texts.prompt[index], chosen, rejected, extras))
        yield rows


def _by_response(delivery: Delivery, wanted: IntArray) -> Iterator[list[dict[str, Any]]]:
    """Rows whose two responses stand apart; a response waits until the other one has been read."""
    found = delivery.decisions
    needed: dict[int, list[_Side]] = {}
    for k in wanted.tolist():
        for side, place in enumerate((int(found.first[k]), int(found.second[k]))):
            needed.setdefault(place, []).append(_Side(k, side, int(found.entry[k, side])))
    waiting: dict[int, dict[int, tuple[Messages, Messages, str | None]]] = {}
    for texts in read_again(delivery.source, delivery.measured.reading, list(needed)):
        assert not isinstance(texts, PairTexts)
        rows, entry = [], Counter[int]()
        for index, place in enumerate(texts.row):
            for one in needed[place]:
                if one.entry == entry[place]:
                    here = (texts.prompt[index], texts.response[index], texts.model[index])
                    waiting.setdefault(one.candidate, {})[one.side] = here
                    if len(waiting[one.candidate]) == 2:
                        sides = waiting.pop(one.candidate)
                        models = {f"{name}_model": sides[s][2] for s, name in enumerate(("chosen", "rejected"))}
                        rows.append(_row(delivery, one.candidate, sides[0][0], sides[0][1], sides[1][1], models))
            entry[place] += 1
        yield rows


def _extras(texts: PairTexts, index: int, turned: bool) -> dict[str, Any]:
    """Models, source and reference log-probabilities of a row, for the sides as they are delivered."""
    names = {name: values[index] for name, values in {**texts.labels, **texts.numbers}.items()}
    if not turned:
        return names
    swap = {"chosen_model": "rejected_model", "ref_chosen_logps": "ref_rejected_logps"}
    swap |= {other: one for one, other in swap.items()}
    return {swap.get(name, name): value for name, value in names.items()}


def _row(
    delivery: Delivery, k: int, prompt: Messages, chosen: Messages, rejected: Messages, extras: dict[str, Any]
) -> dict[str, Any]:
    found = delivery.decisions
    key = ids.prompt_id(prompt)
    salt = delivery.source.sha256[:16]
    pair = ids.pair_id(key, f"{salt}:{k}:{found.first[k]}", f"{salt}:{k}:{found.second[k]}")
    delivery.pair_ids[k] = pair
    delivery.lengths.append((len(flat(chosen)), len(flat(rejected))))
    wrong, (high, low) = float(found.error_probability[k]), found.rating[k].tolist()
    return {
        "prompt": prompt,
        "chosen": chosen,
        "rejected": rejected,
        "prompt_id": key,
        "pair_id": pair,
        "source": extras.get("provenance") or delivery.source.name.rsplit("/", 1)[-1],
        "chosen_rating": high,
        "rejected_rating": low,
        "score_chosen": high,
        "score_rejected": low,
        "margin": high - low,
        "margin_external": high - low,
        "margin_implicit": None if math.isnan(found.implicit[k]) else float(found.implicit[k]),
        "preference_probability": None if math.isnan(wrong) or found.is_eval[k] else 1 - wrong,
        "route": str(found.route[k]),
        "goal": None,
        "chosen_model": extras.get("chosen_model") or "unknown",
        "rejected_model": extras.get("rejected_model") or "unknown",
        "ref_chosen_logps": extras.get("ref_chosen_logps", math.nan),
        "ref_rejected_logps": extras.get("ref_rejected_logps", math.nan),
    }

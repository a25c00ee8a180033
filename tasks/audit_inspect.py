"""The checks that need some texts again: near duplicates, coverage, and the rows a report shows."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks import coverage
from sweetspot.auditing.conversations import Messages, flat
from sweetspot.auditing.features import asked
from sweetspot.auditing.findings import Finding
from sweetspot.auditing.inspection import Inspection, References, inspect
from sweetspot.auditing.reading import PairTexts
from sweetspot.auditing.stress import stress
from sweetspot.auditing.subjects import sampled
from sweetspot.auditing.tables import Pairs, Scores, Votes
from sweetspot.auditing.topics import Topics, named_topics, prompt_topics
from tasks.audit_measure import CONTAMINATION_WORDS, Measured, read_again
from tasks.audit_source import AuditSource

IntArray = NDArray[np.int64]

COVERED_PROMPTS = 20_000
SHOWN_CHARS = 4_000
VOTED_TEXTS = frozenset({"prompt", "first", "second"})
"""Columns of votes by which what was voted on can be read again."""


def inspect_source(source: AuditSource, measured: Measured, *, names: Sequence[str]) -> Inspection:
    """All checks, with the texts of rows that look alike read again."""

    def texts_of(places: Sequence[int]) -> dict[int, tuple[str, str]]:
        return {
            place: (flat(chosen), flat(rejected))
            for texts in read_again(source, measured.reading, places)
            if isinstance(texts, PairTexts)
            for place, chosen, rejected in zip(texts.row, texts.chosen, texts.rejected, strict=True)
        }

    def prompts_of(places: Sequence[int]) -> dict[int, str]:
        return {
            place: asked(prompt)
            for texts in read_again(source, measured.reading, places)
            for place, prompt in zip(texts.row, texts.prompt, strict=True)
        }

    references = References(tuple(names), measured.containment, CONTAMINATION_WORDS, measured.short_references)
    return inspect(measured.table, references, texts_of, prompts_of, scored=measured.scored)


def cover(source: AuditSource, measured: Measured, *, target: Sequence[str] | None) -> tuple[Finding, ...]:
    """Coverage of the prompts, on a sample that is fixed by their hashes."""
    if not isinstance(measured.table, Pairs | Scores):
        return ()
    prompts = prompts_at(source, measured, first_rows(measured.table)[:COVERED_PROMPTS])
    return (coverage.check([flat(prompt) for prompt in prompts.values()], target=target),)


def first_rows(table: Pairs | Scores) -> NDArray[np.int64]:
    """A row with each different prompt, sorted by the prompts' hashes, so the first so many are a fair sample."""
    return np.unique(table.keys[:, 0, 0], return_index=True)[1]


def prompts_at(source: AuditSource, measured: Measured, rows: NDArray[np.int64]) -> dict[int, Messages]:
    """The prompts of some rows of the table, by their places in the source."""
    places = measured.table.row[rows].tolist() if isinstance(measured.table, Pairs | Scores) else []
    return {
        place: prompt
        for texts in read_again(source, measured.reading, places)
        for place, prompt in zip(texts.row, texts.prompt, strict=True)
    }


def stress_table(source: AuditSource, measured: Measured) -> tuple[Finding, ...]:
    """What the audit would have caught of errors planted into this very data."""
    topics = named_topics(measured.table) or _topics_by_words(source, measured)
    return stress(measured.table, seeds=3, topics=topics)


def _topics_by_words(source: AuditSource, measured: Measured) -> Topics | None:
    """Topics of the rows or units that damage is tried on, by their prompts, which are read again; None without any."""
    table = measured.table
    places = _places(measured, sampled(table))
    voted = isinstance(table, Votes)
    prompts = {
        place: flat(text)
        for block in read_again(source, measured.reading, [one for one in places if one >= 0], decided=voted)
        for place, text in zip(block.row, block.prompt, strict=True)
    }
    number: dict[str, int] = {}
    codes = [number.setdefault(prompts[one], len(number)) if one in prompts else -1 for one in places]
    return prompt_topics(list(number), np.array(codes, dtype=np.int64))


def _places(measured: Measured, chosen: IntArray) -> list[int]:
    """The place in the source of each row or unit's first vote; -1 where it is not chosen, or holds no texts."""
    table = measured.table
    if isinstance(table, Votes):
        places = np.full(len(table.units), -1, dtype=np.int64)
        if set(measured.reading.columns) >= VOTED_TEXTS:
            units, first = np.unique(table.unit, return_index=True)
            places[units] = np.asarray(measured.places)[first]
    else:
        places = table.row.copy()
    outside = np.ones(len(places), dtype=np.bool_)
    outside[chosen] = False
    places[outside] = -1
    return places.tolist()


def with_texts(source: AuditSource, measured: Measured, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
    """The findings, each row to look at with its texts, cut to a length that a page can hold."""
    table = measured.table
    if not isinstance(table, Pairs | Scores):
        return findings
    named = {suspect.row_id for finding in findings for suspect in finding.suspects}
    places = {str(i): p for i, p in zip(table.row_id.tolist(), table.row.tolist(), strict=True) if i in named}
    texts: dict[int, dict[str, str]] = {}
    for block in read_again(source, measured.reading, list(places.values())):
        sides = ("prompt", "chosen", "rejected") if isinstance(block, PairTexts) else ("prompt", "response")
        for index, place in enumerate(block.row):
            texts.setdefault(place, {side: flat(getattr(block, side)[index])[:SHOWN_CHARS] for side in sides})
    return tuple(
        replace(
            finding,
            suspects=tuple(
                replace(s, texts={**texts.get(places.get(s.row_id, -1), {}), **s.texts}) for s in finding.suspects
            ),
        )
        for finding in findings
    )

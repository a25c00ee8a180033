"""From a source to the table of an audit: blocks are measured by workers side by side, texts are left behind."""

import multiprocessing
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.ballots import Ballots
from sweetspot.auditing.blocks import Block
from sweetspot.auditing.conversations import flat
from sweetspot.auditing.features import (
    ResponseFeatures,
    merge_pairs,
    merge_responses,
    pair_features,
    response_features,
)
from sweetspot.auditing.formats import Reading
from sweetspot.auditing.layouts import ALIASES
from sweetspot.auditing.reading import (
    Left,
    PairTexts,
    ResponseTexts,
    name_of,
    read_pairs,
    read_responses,
)
from sweetspot.auditing.scored import Scored
from sweetspot.auditing.tables import Pairs, Table
from sweetspot.auditing.winners import Coding, coding_of
from sweetspot.errors import ConfigError, ContractError
from sweetspot.validation.contamination import ReferenceIndex, index_references, overlap
from tasks._parquet import Limits
from tasks.audit_source import AuditSource, open_source

POOL_FROM_BYTES = 16 << 20
"""A smaller source is measured before workers have started."""
CONTAMINATION_WORDS = 13
TEXT_COLUMNS = 64


@dataclass(frozen=True)
class Work:
    """What a worker must know.

    Attributes:
        reading: which column is what.
        coding: what votes on two responses mean.
        references: n-grams of the texts that must not occur.
        minhash: look for near duplicates.
    """

    reading: Reading
    coding: Coding | None = None
    references: ReferenceIndex | None = None
    minhash: bool = True


@dataclass(frozen=True)
class Measured:
    """A source as a table.

    Attributes:
        reading: how it was read.
        table: the rows that could be used.
        rows: rows of the source.
        left: rows, or votes, that could not be used.
        containment: (n,) largest share of n-grams in common with a reference, by part of the row.
        short_references: references too short to be found.
        notes: what a user should know of the reading.
        places: of votes, of each vote's row in the source.
        scored: which model scored the pairs; None where none was named.
    """

    reading: Reading
    table: Table
    rows: int
    left: tuple[Left, ...]
    containment: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, NDArray[np.float64]])
    short_references: int = 0
    notes: tuple[str, ...] = ()
    places: tuple[int, ...] = ()
    scored: Scored | None = None

    @property
    def unreadable(self) -> dict[str, int]:
        """Rows or votes that could not be used, by reason."""
        return dict(sorted(Counter(left.reason for left in self.left).items()))


def measure(
    source: AuditSource,
    reading: Reading,
    *,
    references: Sequence[str] = (),
    minhash: bool = True,
    workers: int = 2,
    progress: Callable[[int], None] = lambda rows: None,
) -> Measured:
    """Read a whole source once.

    Args:
        source: what to read.
        reading: how.
        references: texts that must not occur in it.
        minhash: look for near duplicates of pairs.
        workers: processes for large sources.
        progress: called with the rows done so far.

    Raises:
        ContractError: the source is damaged, or no row of it can be used.
        ConfigError: votes that do not say which response won.
    """
    if reading.layout.kind == "votes":
        return _measure_votes(source, reading, progress)
    index = index_references(references, n=CONTAMINATION_WORDS) if references else None
    work = Work(reading, _coding(source, reading), index, minhash)
    parts, left, rows, containment = [], list[Left](), 0, list[dict[str, NDArray[np.float64]]]()
    for features, gone, shares, count in _map(work, source, workers):
        rows += count
        left += gone
        if len(features.row):
            parts.append(features)
            containment.append(shares)
        progress(rows)
    if not parts:
        raise _none_usable(source, rows, left)
    notes = reading.notes
    merged = {part: np.concatenate([one[part] for one in containment]) for part in containment[0]}
    if reading.layout.kind == "pairs":
        table: Table = merge_pairs(parts)
    else:
        long = reading.layout.name == "responses_long"
        first, (table, repeated) = parts, merge_responses(parts, long=long)
        detail = "the rater has scored this response before"
        left += [Left(row, f"row {row}", "repeated_score", detail) for row in repeated]
        where = {row: k for k, row in enumerate(row for part in first for row in part.row)} if long else {}
        merged = {
            part: values[[where[row] for row in table.row.tolist()]] if long else values
            for part, values in merged.items()
        }
    short = int((index.sizes == 0).sum()) if index is not None else 0
    return Measured(reading, table, rows, tuple(left), merged, short, notes)


def _none_usable(source: AuditSource, rows: int, left: Sequence[Left]) -> ContractError:
    if not left:
        return ContractError(f"{source.name}: holds no rows; expected at least one")
    reasons = ", ".join(f"{reason} {n}" for reason, n in Counter(one.reason for one in left).most_common())
    first = left[0]
    return ContractError(
        f"{source.name}: none of {rows} rows can be used: {reasons}; first {first.row_id}: {first.detail}. "
        "Look at that row, or name the columns with --column ROLE=NAME"
    )


def _measure_votes(source: AuditSource, reading: Reading, progress: Callable[[int], None]) -> Measured:
    ballots, rows = Ballots(reading), 0
    for block in source.blocks():
        ballots.add(block.rows([*reading.columns.values(), *reading.raters]))
        rows += len(block.places)
        progress(rows)
    if not ballots.place:
        raise _none_usable(source, rows, ballots.left)
    table = ballots.table()
    if not len(table):
        raise _none_usable(source, rows, ballots.left)
    notes = (*reading.notes, *ballots.notes)
    return Measured(reading, table, rows, tuple(ballots.left), notes=notes, places=tuple(ballots.place))


def _coding(source: AuditSource, reading: Reading) -> Coding | None:
    """What the votes on two responses mean, from all of them."""
    name = reading.columns.get("vote", reading.columns.get("gold")) if "first" in reading.columns else None
    if name is None or "chosen" in reading.columns:
        return None
    seen = {name_of(value) for block in source.blocks() for value in block.rows([name]).column(name)}
    coding = coding_of(seen)
    if coding is None:
        listed = ", ".join(sorted(str(value)[:20] for value in seen if value is not None)[:8])
        raise ConfigError(
            f"{source.name}: the values of {name!r} ({listed}) do not say which response won; expected 1, 2 and tie, "
            "or a, b and tie; rewrite the column, or name another with --column vote=NAME"
        )
    return coding


Part = tuple[Any, list[Left], dict[str, NDArray[np.float64]], int]


def measure_block(work: Work, block: Block) -> Part:
    """Features of one block, the rows that left, their overlap with the references, and how many rows it had."""
    rows = block.rows(list(work.reading.columns.values()) + list(work.reading.raters))
    if work.reading.layout.kind == "pairs":
        texts = read_pairs(rows, work.reading, work.coding)
        features: Pairs | ResponseFeatures = pair_features(texts, minhash=work.minhash)
        parts = {
            "prompt": [flat(one) for one in texts.prompt],
            "responses": [f"{flat(a)}\n{flat(b)}" for a, b in zip(texts.chosen, texts.rejected, strict=True)],
        }
    else:
        texts = read_responses(rows, work.reading)
        features = response_features(texts)
        parts = {
            "prompt": [flat(one) for one in texts.prompt],
            "responses": [flat(one) for one in texts.response],
        }
    shares = (
        {}
        if work.references is None
        else {name: overlap(column, work.references).containment for name, column in parts.items()}
    )
    return features, texts.left, shares, len(block.places)


_work: Work | None = None


def _prepare(work: Work) -> None:
    global _work
    _work = work


def _measure_here(block: Block) -> Part:
    assert _work is not None
    return measure_block(_work, block)


def _map(work: Work, source: AuditSource, workers: int) -> Iterator[Part]:
    """Measure all blocks, in order; with workers only so many blocks are underway that memory stays flat."""
    if workers < 2 or source.size_bytes < POOL_FROM_BYTES:
        yield from (measure_block(work, block) for block in source.blocks())
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy the threads of Prefect and Arrow half-way
    with ProcessPoolExecutor(workers, context, initializer=_prepare, initargs=(work,)) as pool:
        waiting = deque[Future[Part]]()
        try:
            for block in source.blocks():
                waiting.append(pool.submit(_measure_here, block))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise ContractError(
                f"{source.name}: a worker was killed, probably for want of memory; run with fewer (--workers 1)"
            ) from None


def read_again(
    source: AuditSource, reading: Reading, wanted: Sequence[int], *, decided: bool = False
) -> Iterator[PairTexts | ResponseTexts]:
    """The texts of some rows, by their places in the source, block by block; blocks without one are not decoded.

    Args:
        source: what to read.
        reading: how.
        wanted: places of the rows.
        decided: of units of votes, whose first response is then called chosen.
    """
    places = np.unique(np.asarray(wanted, dtype=np.int64))
    if not places.size:
        return
    coding = None if decided else _coding(source, reading)
    columns = [*reading.columns.values(), *reading.raters]
    for block in source.blocks():
        first, last = block.places[0], block.places[-1]
        inside = places[(places >= first) & (places <= last)] - first
        if inside.size:
            rows = block.take(inside.tolist()).rows(columns)
            pairs = decided or reading.layout.kind == "pairs"
            yield read_pairs(rows, reading, coding, decided=decided) if pairs else read_responses(rows, reading)
        if last >= places[-1]:
            return


def texts_of_file(name: str, within: Limits, *, only_prompts: bool = False) -> list[str]:
    """Every text in a file of references or prompts: all text columns, lists and messages, without ids and short names.

    Args:
        name: path, URI or dataset.
        within: what it may hold.
        only_prompts: where a column is named like a prompt, take only that one.

    Raises:
        ConfigError: no such file.
        ContractError: it is damaged or holds no text.
    """
    found: list[str] = []
    with open_source(name, within) as source:
        for block in source.blocks():
            rows = block.rows()
            names = [alias for alias in ALIASES["prompt"] if alias in rows.values][:1] if only_prompts else []
            for column in names or list(rows.values)[:TEXT_COLUMNS]:
                found += [text for value in rows.values[column] for text in _texts(value)]
    found = list(dict.fromkeys(text for text in found if " " in text.strip()))
    if not found:
        raise ContractError(f"{name}: holds no text of two words or more; expected prompts or answers")
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from chain.from_iterable(_texts(one) for key, one in value.items() if key != "role")
    elif isinstance(value, list):
        yield from chain.from_iterable(_texts(one) for one in value)

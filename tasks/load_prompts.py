"""load_prompts: a user's file to normalised, hashed, split prompts; a bad row leaves with its reason.

Starting from responses, the same pass also yields the tables `responses` and `scores`.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from sweetspot import ids, schemas
from sweetspot.config import Prompts
from sweetspot.errors import ContractError
from sweetspot.prompts import BadRow, normalise_prompt, normalise_text
from sweetspot.score_cells import read_score
from tasks._parquet import limits_of
from tasks._sources import Source, read_source
from tasks._stage import Run, Stage, book_of, finish_table, location_of
from tasks._store import Store
from tasks._tables import ChunkResult, TableRef, commit_chunk, commit_table, dropped_table, find_table, masked_scores

UNREAD = ("max_rows", "max_unpacked_bytes", "max_row_bytes")
"""Settings that refuse a source and otherwise change nothing."""
PROMPTS = Stage("load_prompts", 1, schemas.PROMPTS, unit="source_row")
RESPONSES = Stage("load_responses", 1, schemas.RESPONSES, unit="response")
SCORES = Stage("load_scores", 2, schemas.SCORES, unit="response")


@dataclass
class _Loaded:
    """What one pass over the source yields, before it is cut into chunks."""

    prompts: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows_of: dict[str, list[str]] = field(default_factory=dict)
    responses: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    scores: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    dropped: list[tuple[str, str, str, str]] = field(default_factory=list)


def load_prompts(settings: Prompts, run: Run) -> TableRef:
    """Load, normalise, hash and split the prompts; duplicates and bad rows are counted, not lost."""
    return _load(settings, run)["prompts"]


def load_responses(settings: Prompts, run: Run) -> dict[str, TableRef]:
    """Load prompts with responses and scores: the tables `prompts`, `responses` and `scores`."""
    if not settings.score_columns:
        raise ContractError("prompts.score_columns is empty: name one column per rater to start from responses")
    return _load(settings, run)


def _load(settings: Prompts, run: Run) -> dict[str, TableRef]:
    source = read_source(settings.source, limit=settings.limit, within=limits_of(settings))
    stages = [PROMPTS] if settings.starts_from == "prompts" else [PROMPTS, RESPONSES, SCORES]
    identity = [
        settings.model_dump(mode="json", exclude={"source", "license", *UNREAD}),
        source.sha256,
        run.cluster.chunk_prompts,
    ]
    store, tables = Store(run.store), {}
    loaded: _Loaded | None = None
    for stage in stages:
        location, key = location_of(run, stage, [], identity)
        ref = find_table(store, location)
        if ref is None:
            loaded = loaded or _parse(source, settings)
            ref = _write(stage, loaded, store, location, key, run)
        else:
            ref = replace(ref, reused_chunks=ref.chunks)
        tables[stage.output.name] = ref
    return tables


def _parse(source: Source, settings: Prompts) -> _Loaded:
    required = [settings.prompt_column]
    if settings.starts_from == "responses":
        required += [settings.response_column, *settings.score_columns]
    source.require(*required)
    loaded = _Loaded()
    for number, row in enumerate(source.rows):
        try:
            _take(row, number, loaded, settings, source.name)
        except BadRow as bad:
            loaded.dropped.append((str(number), "", bad.reason, bad.detail))
    if not loaded.prompts:
        raise ContractError(
            f"{source.name}: none of {len(source.rows)} rows is a usable prompt; first reason: "
            f"{loaded.dropped[0][2]} ({loaded.dropped[0][3]})"
        )
    return loaded


def _take(row: Mapping[str, Any] | None, number: int, loaded: _Loaded, settings: Prompts, source: str) -> None:
    if row is None:
        raise BadRow("unreadable", "the line is not one JSON object")
    messages = normalise_prompt(row.get(settings.prompt_column), max_chars=settings.max_prompt_chars)
    key = ids.prompt_id(messages)
    response, model = None, ""
    if settings.starts_from == "responses":
        # Whatever may refuse the row comes first: a row that left may leave nothing behind.
        response = normalise_text(row.get(settings.response_column), what="response")
        model = normalise_text(str(row.get(settings.model_column) or "unknown"), what="model")
    answer = row.get(settings.answer_column)
    answer = None if answer is None else normalise_text(str(answer), what="answer")
    if response is None and key in loaded.prompts:
        first = loaded.prompts[key]
        other = "" if answer in (None, first["answer"]) else ", with another answer: the first one counts"
        detail = f"same prompt as row {first['source_row']}{other}"
        loaded.dropped.append((str(number), key, "duplicate", detail))
        return
    loaded.prompts.setdefault(
        key,
        {
            "prompt_id": key,
            "source_row": number,
            "prompt": messages,
            "answer": answer,
            "split": "eval" if ids.uniform(key, "held-out") < settings.held_out_fraction else "train",
            "source": source.rsplit("/", 1)[-1],
        },
    )
    loaded.rows_of.setdefault(key, []).append(str(number))
    if response is not None:
        _take_response(row, key, response, model, loaded, settings)


def _take_response(
    row: Mapping[str, Any], key: str, response: str, model: str, loaded: _Loaded, settings: Prompts
) -> None:
    siblings = loaded.responses.setdefault(key, [])
    response_id = ids.response_id(key, model, len(siblings))
    siblings.append(
        {
            "response_id": response_id,
            "prompt_id": key,
            "sample_index": len(siblings),
            "response": response,
            "model": model,
        }
    )
    for column in settings.score_columns:
        score, status = read_score(row.get(column))
        loaded.scores.setdefault(key, []).append(
            {
                "response_id": response_id,
                "prompt_id": key,
                "rater": column,
                "rater_revision": "as loaded",
                "score": score,
                "status": status,
            }
        )


def _write(stage: Stage, loaded: _Loaded, store: Store, location: str, key: str, run: Run) -> TableRef:
    started, chunks = time.monotonic(), 0
    for chunks, result in enumerate(_results(stage, loaded, run.cluster.chunk_prompts), 1):
        book = book_of(stage, result)
        book.balance()
        commit_chunk(store, location, chunks - 1, result, book=book, schema=stage.output)
    ref = finish_table(store, stage, location, key, chunks=chunks, run=run)
    if stage is SCORES:
        ref = replace(ref, notes=masked_scores(ref))
    return commit_table(store, replace(ref, seconds=time.monotonic() - started))


def _results(stage: Stage, loaded: _Loaded, size: int) -> Iterator[ChunkResult]:
    """Chunks of prompts; the rows that left before they had a prompt are accounted for in the first."""
    keys = list(loaded.prompts)
    for start in range(0, len(keys), size):
        chunk = keys[start : start + size]
        if stage is PROMPTS:
            left = loaded.dropped if start == 0 else []
            rows = [loaded.prompts[key] for key in chunk]
            kept = [number for key in chunk for number in loaded.rows_of[key]]
            ids_in = kept + [row[0] for row in left]
        else:
            by_prompt = loaded.responses if stage is RESPONSES else loaded.scores
            left, rows = [], [row for key in chunk for row in by_prompt.get(key, [])]
            kept = ids_in = sorted({row["response_id"] for row in rows})
        yield ChunkResult(
            table=stage.output.table({name: row.get(name) for name in stage.output.arrow.names} for row in rows),
            dropped=dropped_table(stage.name, stage.unit, left),
            ids_in=ids_in,
            ids_out=kept,
        )

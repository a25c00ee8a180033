"""Canaries: responses of known order and known-bad ones, made on a worker, judged there and forgotten."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweetspot import ids
from sweetspot.config import Curate
from sweetspot.engines.boundary import checked_scores
from sweetspot.engines.protocols import RatedResponse
from sweetspot.engines.raters import open_rater
from sweetspot.score_cells import OK
from sweetspot.validation.degenerate import flags
from tasks._parquet import limits_of
from tasks._sources import Source, read_source
from tasks._tables import TableRef
from tasks.clean_scores import UNUSABLE

ANSWERS = "answers"
"""As `canary_source`: reference answers against those to other prompts."""
BAD_CHARS = 240
MOST_CHUNKS = 8
"""Chunks whose prompts may become canaries, spread evenly over the night."""
MIXED_WITH = 64
"""Responses of the night that canaries are judged among."""


@dataclass(frozen=True)
class Canary:
    """One prompt with responses whose order is known: better, worse, and one that may never pass.

    Attributes:
        key: id of the prompt, or place in the canary file.
        prompt: chat messages.
        answer: reference answer; None where there is none.
        better: a good response.
        worse: a response that is worse for certain; None where only the bad one is judged.
        bad: a response that no dataset may teach.
    """

    key: str
    prompt: list[dict[str, str]]
    answer: str | None
    better: str
    worse: str | None
    bad: str


def judge(night: Mapping[str, TableRef], config: Curate) -> dict[str, Any]:
    """Have the raters score canaries mixed among responses of the night.

    Args:
        night: the tables `prompts`, `responses` and `scores`.
        config: settings.

    Returns:
        `ids` of the canaries; `scores`, one row per rater with all better, then all worse, then all bad responses;
        `ordered`, whether each has a worse one (else the better one stands in); `drops`, whether cleaning drops each
        bad one for its text. No text.
    """
    source, scored = config.poisoning.canary_source, _scored(night)
    made = list(_from_file(config) if source not in ("", ANSWERS) else _from_night(scored, config))
    if not made:
        return {"ids": [], "ordered": [], "scores": [], "drops": []}
    sides = ([one.better for one in made], [one.worse or one.better for one in made], [one.bad for one in made])
    canaries = [
        RatedResponse(one.prompt, text, one.answer, "stop")
        for side in sides
        for one, text in zip(made, side, strict=True)
    ]
    mixed = canaries + _others(scored)
    order = list(range(len(mixed)))
    random.Random(ids.fingerprint([night["prompts"].fingerprint, "canaries"])).shuffle(order)
    scores = []
    for rater in map(open_rater, config.scoring.raters):
        given = dict(zip(order, checked_scores(rater, [mixed[index] for index in order]), strict=True))
        scores.append([given[index].score for index in range(len(canaries))])
    flaws = flags(sides[2], finish_reasons=["stop"] * len(made))
    drops = np.any([getattr(flaws, name) for name in UNUSABLE], axis=0)
    ordered = [one.worse is not None for one in made]
    return {"ids": [one.key for one in made], "ordered": ordered, "scores": scores, "drops": drops.tolist()}


def file_sha256(config: Curate) -> str:
    """What the file of canaries holds; empty if there is none."""
    return "" if config.poisoning.canary_source in ("", ANSWERS) else _file(config).sha256


def _file(config: Curate) -> Source:
    settings = config.poisoning
    source = read_source(settings.canary_source, limit=settings.canary_pairs, within=limits_of(config.prompts))
    source.require("prompt", "chosen", "rejected")
    return source


def _from_file(config: Curate) -> Iterator[Canary]:
    source = _file(config)
    for number, row in enumerate(row for row in source.rows if row):
        asked, better = row["prompt"], str(row["chosen"])
        prompt = asked if isinstance(asked, list) else [{"role": "user", "content": str(asked)}]
        yield Canary(f"canary {number}", prompt, row.get("answer"), better, str(row["rejected"]), _bad(number, better))


@dataclass(frozen=True)
class _Scored:
    """A prompt of the night with a response that a rater gave a number, drawn by hash."""

    prompt: dict[str, Any]
    response: dict[str, Any]


def _scored(night: Mapping[str, TableRef]) -> list[_Scored]:
    """Prompts with a scored response, from chunks spread over the whole night, in an order fixed by their ids."""
    chunks = night["prompts"].chunks
    step = -(-chunks // MOST_CHUNKS)
    found = [one for index in range(0, chunks, step) for one in _scored_in(night, index)]
    return sorted(found, key=lambda one: ids.uniform(one.prompt["prompt_id"], "canary"))


def _scored_in(night: Mapping[str, TableRef], index: int) -> Iterator[_Scored]:
    rows = night["scores"].read_chunk(index, ["response_id", "status"]).to_pylist()
    usable = {row["response_id"] for row in rows if row["status"] == OK}
    drawn = dict[str, dict[str, Any]]()
    columns = ["response_id", "prompt_id", "response", "finish_reason"]
    responses = [row for row in night["responses"].read_chunk(index, columns).to_pylist() if row["response"].strip()]
    for row in sorted(responses, key=lambda row: ids.uniform(row["response_id"], "canary")):
        if row["response_id"] in usable:
            drawn.setdefault(row["prompt_id"], row)
    for prompt in night["prompts"].read_chunk(index, ["prompt_id", "prompt", "answer"]).to_pylist():
        if prompt["prompt_id"] in drawn:
            yield _Scored(prompt, drawn[prompt["prompt_id"]])


def _from_night(scored: Sequence[_Scored], config: Curate) -> Iterator[Canary]:
    """Prompts of the night with a good response, and if asked for the answer to another prompt: wrong here."""
    ordered = config.poisoning.canary_source == ANSWERS
    rows = [one for one in scored if one.prompt["answer"] or not ordered][: config.poisoning.canary_pairs]
    for number, one in enumerate(rows):
        better = one.prompt["answer"] or one.response["response"]
        others = [other.prompt["answer"] for other in rows[number + 1 :] + rows[:number]] if ordered else []
        worse = _another(better, others)
        if worse is not None or not ordered:
            prompt = one.prompt
            yield Canary(prompt["prompt_id"], prompt["prompt"], prompt["answer"], better, worse, _bad(number, better))


def _another(answer: str, others: Sequence[str]) -> str | None:
    return next((other for other in others if other.strip() != answer.strip()), None)


def _bad(number: int, good: str) -> str:
    """Silence, or words without end."""
    return ("", (f"{good} " * BAD_CHARS)[:BAD_CHARS], "\n" * 20)[number % 3]


def _others(scored: Sequence[_Scored]) -> list[RatedResponse]:
    return [
        RatedResponse(
            one.prompt["prompt"], one.response["response"], one.prompt["answer"], one.response["finish_reason"]
        )
        for one in scored[-MIXED_WITH:]
    ]

"""Canaries: responses of known order and known-bad ones, made on a worker, judged there and forgotten."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sweetspot import ids
from sweetspot.config import Curate
from sweetspot.engines.boundary import checked_scores
from sweetspot.engines.protocols import RatedResponse
from sweetspot.engines.raters import open_rater
from sweetspot.validation.degenerate import flags
from tasks._parquet import limits_of
from tasks._sources import read_source
from tasks._tables import TableRef
from tasks.clean_scores import UNUSABLE

ANSWERS = "answers"
"""As `canary_source`: reference answers against those to other prompts."""
BAD_CHARS = 240
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


def judge(prompts: TableRef, responses: TableRef, config: Curate) -> dict[str, Any]:
    """Have the raters score canaries mixed among responses of the night.

    Returns:
        `ids` of the canaries; `scores`, one row per rater with all better, then all worse, then all bad responses;
        `ordered`, whether each has a worse one (else the better one stands in); `drops`, whether cleaning drops each
        bad one for its text. No text.
    """
    source = config.poisoning.canary_source
    made = list(_from_file(config) if source not in ("", ANSWERS) else _from_night(prompts, responses, config))
    if not made:
        return {"ids": [], "ordered": [], "scores": [], "drops": []}
    sides = ([one.better for one in made], [one.worse or one.better for one in made], [one.bad for one in made])
    canaries = [
        RatedResponse(one.prompt, text, one.answer, "stop")
        for side in sides
        for one, text in zip(made, side, strict=True)
    ]
    mixed = canaries + _others(prompts, responses)
    order = list(range(len(mixed)))
    random.Random(ids.fingerprint([prompts.fingerprint, "canaries"])).shuffle(order)
    scores = []
    for rater in map(open_rater, config.scoring.raters):
        given = dict(zip(order, checked_scores(rater, [mixed[index] for index in order]), strict=True))
        scores.append([given[index].score for index in range(len(canaries))])
    flaws = flags(sides[2], finish_reasons=["stop"] * len(made))
    drops = np.any([getattr(flaws, name) for name in UNUSABLE], axis=0)
    ordered = [one.worse is not None for one in made]
    return {"ids": [one.key for one in made], "ordered": ordered, "scores": scores, "drops": drops.tolist()}


def _from_file(config: Curate) -> Iterator[Canary]:
    settings = config.poisoning
    source = read_source(settings.canary_source, limit=settings.canary_pairs, within=limits_of(config.prompts))
    source.require("prompt", "chosen", "rejected")
    for number, row in enumerate(row for row in source.rows if row):
        asked, better = row["prompt"], str(row["chosen"])
        prompt = asked if isinstance(asked, list) else [{"role": "user", "content": str(asked)}]
        yield Canary(f"canary {number}", prompt, row.get("answer"), better, str(row["rejected"]), _bad(number, better))


def _from_night(prompts: TableRef, responses: TableRef, config: Curate) -> Iterator[Canary]:
    """Prompts of the night with a good response, and if asked for the answer to another prompt: wrong here."""
    table = prompts.read_chunk(0, ["prompt_id", "prompt", "answer"]).to_pylist()
    drawn = {
        row["prompt_id"]: row["response"] for row in responses.read_chunk(0, ["prompt_id", "response"]).to_pylist()
    }
    ordered = config.poisoning.canary_source == ANSWERS
    rows = [row for row in table if row["answer"] or (not ordered and drawn.get(row["prompt_id"]))]
    rows = sorted(rows, key=lambda row: ids.uniform(row["prompt_id"], "canary"))[: config.poisoning.canary_pairs]
    for number, row in enumerate(rows):
        better = row["answer"] or drawn[row["prompt_id"]]
        others = [other["answer"] for other in rows[number + 1 :] + rows[:number]] if ordered else []
        worse = _another(better, others)
        if worse is not None or not ordered:
            yield Canary(row["prompt_id"], row["prompt"], row["answer"], better, worse, _bad(number, better))


def _another(answer: str, others: Sequence[str]) -> str | None:
    return next((other for other in others if other.strip() != answer.strip()), None)


def _bad(number: int, good: str) -> str:
    """Silence, or words without end."""
    return ("", (f"{good} " * BAD_CHARS)[:BAD_CHARS], "\n" * 20)[number % 3]


def _others(prompts: TableRef, responses: TableRef) -> list[RatedResponse]:
    asked = {row["prompt_id"]: row for row in prompts.read_chunk(0, ["prompt_id", "prompt", "answer"]).to_pylist()}
    drawn = responses.read_chunk(0, ["prompt_id", "response", "finish_reason"]).to_pylist()[:MIXED_WITH]
    return [
        RatedResponse(prompt["prompt"], row["response"], prompt["answer"], row["finish_reason"])
        for row in drawn
        for prompt in (asked[row["prompt_id"]],)
    ]

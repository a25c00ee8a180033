"""Blocks of a source to preferences and scored responses; a row that cannot be used leaves with its reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sweetspot.auditing.blocks import Rows
from sweetspot.auditing.conversations import (
    Messages,
    as_messages,
    flat,
    hh_messages,
    part_dialogues,
    part_texts,
    prompt_messages,
)
from sweetspot.auditing.formats import Reading
from sweetspot.auditing.winners import FIRST, SECOND, TIE, Coding
from sweetspot.prompts import BadRow, normalise_text
from sweetspot.score_cells import read_score

MAX_CHARS = 1_000_000
"""A longer prompt or response leaves: no trainer takes it, and one such text would hold up all others."""
NUMBERS = (
    *("score_chosen", "score_rejected", "ref_chosen_logps", "ref_rejected_logps"),
    *("policy_chosen_logps", "policy_rejected_logps"),
)
LABELS = ("provenance", "annotator", "chosen_model", "rejected_model", "split")


class Left(NamedTuple):
    """A row that left while reading: place, id, reason, and the failed check without any of its text."""

    row: int
    row_id: str
    reason: str
    detail: str


@dataclass(frozen=True)
class PairTexts:
    """Preferences of one block; all lists have one entry per usable row."""

    row: list[int] = field(default_factory=list[int])
    row_id: list[str] = field(default_factory=list[str])
    prompt: list[Messages] = field(default_factory=list[Messages])
    chosen: list[Messages] = field(default_factory=list[Messages])
    rejected: list[Messages] = field(default_factory=list[Messages])
    tie: list[bool] = field(default_factory=list[bool])
    numbers: dict[str, list[float]] = field(default_factory=dict[str, list[float]])
    labels: dict[str, list[str | None]] = field(default_factory=dict[str, list[str | None]])
    left: list[Left] = field(default_factory=list[Left])


@dataclass(frozen=True)
class ResponseTexts:
    """Scored responses of one block; one entry per response, with the scores that stand in its row."""

    row: list[int] = field(default_factory=list[int])
    row_id: list[str] = field(default_factory=list[str])
    prompt: list[Messages] = field(default_factory=list[Messages])
    response: list[Messages] = field(default_factory=list[Messages])
    model: list[str | None] = field(default_factory=list[str | None])
    scores: list[dict[str, float]] = field(default_factory=list[dict[str, float]])
    left: list[Left] = field(default_factory=list[Left])


def number(value: Any) -> float:
    """A number that can be reckoned with, see `read_score`, or NaN for anything else."""
    found = read_score(value).score
    return math.nan if found is None else found


def name_of(value: Any) -> str | None:
    """A name as text; whole numbers without a decimal point; None where there is none."""
    if value is None or value != value or value == "":
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).encode("utf-8", "replace").decode()


def row_name(value: Any, place: int) -> str:
    """The user's id of a row, or `row 17`."""
    return name_of(value) or f"row {place}"


def read_pairs(rows: Rows, reading: Reading, coding: Coding | None, *, decided: bool = False) -> PairTexts:
    """The preferences of one block.

    Args:
        rows: decoded columns.
        reading: which column is what.
        coding: what the votes mean, for the layout `two_responses`.
        decided: who won is known from elsewhere: the first response is called chosen, whatever the row says.
    """
    found = PairTexts(
        numbers={name: [] for name in NUMBERS if name in reading.columns or _has_list_scores(reading, name)},
        labels={name: [] for name in LABELS if name in reading.columns},
    )
    columns = {role: rows.column(name) for role, name in reading.columns.items()}
    for index in range(rows.size):
        place = rows.places[index]
        row = {role: values[index] for role, values in columns.items()}
        try:
            if index in rows.bad:
                raise BadRow(*rows.bad[index])
            prompt, chosen, rejected, tie = _preference(row, reading, _decided if decided else coding)
        except BadRow as bad:
            found.left.append(Left(place, row_name(row.get("row_id"), place), bad.reason, bad.detail))
            continue
        found.row.append(place)
        found.row_id.append(row_name(row.get("row_id"), place))
        found.prompt.append(prompt)
        found.chosen.append(chosen)
        found.rejected.append(rejected)
        found.tie.append(tie)
        _add_extras(found, row, chosen, rejected)
    return found


def _has_list_scores(reading: Reading, name: str) -> bool:
    return reading.layout.name == "simpo" and name in ("score_chosen", "score_rejected")


def _add_extras(found: PairTexts, row: Mapping[str, Any], chosen: Messages, rejected: Messages) -> None:
    for role, values in found.numbers.items():
        if role in row:
            values.append(number(row[role]))
        else:
            values.append(_listed_score(row, chosen if role == "score_chosen" else rejected))
    for role, names in found.labels.items():
        names.append(name_of(row[role]))


def _listed_score(row: Mapping[str, Any], reply: Messages) -> float:
    """Score of a reply among all the responses of its row; NaN if it is not among them."""
    responses, rewards = row.get("responses") or [], row.get("rewards") or []
    text = reply[-1]["content"]
    return next((number(reward) for one, reward in zip(responses, rewards, strict=False) if one == text), math.nan)


class _Decided(Coding):
    """Whatever a row says, its first response is called chosen."""

    def code(self, value: Any) -> int | None:
        return FIRST


_decided = _Decided()


def _preference(
    row: Mapping[str, Any], reading: Reading, coding: Coding | None
) -> tuple[Messages, Messages, Messages, bool]:
    """Prompt, chosen, rejected, and whether nobody won."""
    if reading.layout.name == "two_responses" or "chosen" not in row:
        return _judged(row, coding)
    chosen, rejected = (
        as_messages(row[side], what=side, role="assistant", max_chars=MAX_CHARS) for side in ("chosen", "rejected")
    )
    shape = reading.layout.needs["chosen"]
    whole = len(chosen) > 1 and chosen[0]["role"] != "assistant" and rejected[0]["role"] != "assistant"
    if shape == "hh":
        chosen, rejected, whole = hh_messages(chosen[0]["content"]), hh_messages(rejected[0]["content"]), True
    if whole:
        prompt, chosen, rejected = part_dialogues(chosen, rejected)
    elif "prompt" in row:
        prompt = prompt_messages(row["prompt"], max_chars=MAX_CHARS)
    else:
        prompt, chosen, rejected = _cut(chosen, rejected)
    if not prompt:
        raise BadRow("no_prompt", "chosen and rejected have no common beginning that could be the prompt")
    if prompt[-1]["role"] != "user":
        raise BadRow("no_user_turn", f"the prompt ends with a turn of the {prompt[-1]['role']}, expected the user's")
    return prompt, chosen, rejected, False


def _cut(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    prompt, one, other = part_texts(chosen[0]["content"], rejected[0]["content"])
    messages = [{"role": "user", "content": prompt.strip()}] if prompt.strip() else []
    return messages, [{"role": "assistant", "content": one}], [{"role": "assistant", "content": other}]


def _judged(row: Mapping[str, Any], coding: Coding | None) -> tuple[Messages, Messages, Messages, bool]:
    first, second = (
        as_messages(row[side], what=side, role="assistant", max_chars=MAX_CHARS) for side in ("first", "second")
    )
    prompt = prompt_messages(row.get("prompt"), max_chars=MAX_CHARS)
    code = None if coding is None else coding.code(row.get("vote", row.get("gold")))
    if code not in (FIRST, SECOND, TIE):
        raise BadRow("no_winner", "the vote names neither response nor a tie")
    return (prompt, second, first, False) if code == SECOND else (prompt, first, second, code == TIE)


def read_responses(rows: Rows, reading: Reading) -> ResponseTexts:
    """The scored responses of one block."""
    found = ResponseTexts()
    columns = {role: rows.column(name) for role, name in reading.columns.items()}
    raters = {name: rows.column(name) for name in reading.raters}
    for index in range(rows.size):
        place = rows.places[index]
        row = {role: values[index] for role, values in columns.items()}
        row_id = row_name(row.get("row_id"), place)
        try:
            if index in rows.bad:
                raise BadRow(*rows.bad[index])
            prompt = prompt_messages(row["prompt"], max_chars=MAX_CHARS)
            entries = _scored(row, {name: number(values[index]) for name, values in raters.items()}, reading)
        except BadRow as bad:
            found.left.append(Left(place, row_id, bad.reason, bad.detail))
            continue
        for entry, (text, scores) in enumerate(entries):
            found.row.append(place)
            found.row_id.append(row_id if len(entries) == 1 else f"{row_id}/{entry}")
            found.prompt.append(prompt)
            found.response.append([{"role": "assistant", "content": text}])
            found.model.append(name_of(row.get("model")))
            found.scores.append(scores)
    return found


def _scored(row: Mapping[str, Any], wide: dict[str, float], reading: Reading) -> list[tuple[str, dict[str, float]]]:
    """The responses of one row, each with the scores by rater that are there."""
    if reading.layout.name != "response_lists":
        text = _limited(row["response"])
        if "annotator" in row:
            rater = name_of(row["annotator"])
            if rater is None:
                raise BadRow("no_rater", "the row does not say whose score it is")
            wide = {rater: number(row["score"])}
        scores = {name: value for name, value in wide.items() if not math.isnan(value)}
        if not scores:
            raise BadRow("no_score", "no finite score in the row")
        return [(text, scores)]
    responses, rewards = row["responses"], row["rewards"]
    if not isinstance(responses, list) or not isinstance(rewards, list):
        raise BadRow("wrong_type", "responses and scores must be lists")
    if len(responses) != len(rewards):
        raise BadRow("length_mismatch", f"{len(responses)} responses but {len(rewards)} scores")
    name = reading.columns["rewards"]
    texts = [_limited(text) for text in responses]
    return [
        (text, {name: number(value)})
        for text, value in zip(texts, rewards, strict=True)
        if not math.isnan(number(value))
    ]


def _limited(value: Any) -> str:
    text = normalise_text(value, what="response")
    if len(text) > MAX_CHARS:
        raise BadRow("too_long", f"response has {len(text)} characters, at most {MAX_CHARS}")
    return text


def texts_of(pairs: PairTexts, index: int) -> dict[str, str]:
    """Prompt, chosen and rejected of one row as texts, for people to look at."""
    return {
        "prompt": flat(pairs.prompt[index]),
        "chosen": flat(pairs.chosen[index]),
        "rejected": flat(pairs.rejected[index]),
    }

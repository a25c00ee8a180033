"""Delivered rows to token ids, exactly as the sampler saw them; what cannot be trained on is refused here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweetspot.config import RATING_AWARE, Training
from sweetspot.engines.template import ChatTemplate
from sweetspot.errors import ContractError, MissingRatingError

Row = Mapping[str, Any]

REQUIRED_COLUMNS = ("pair_id", "prompt", "chosen", "rejected", "route")
# ml_rating_dpo leaves out the rating term of a pair without ratings; the others have nothing to fall back on.
RATES_EVERY_PAIR = RATING_AWARE - {"ml_rating_dpo"}


@dataclass(frozen=True)
class TokenPair:
    """One pair in token ids.

    Attributes:
        pair_id: Identity of the pair.
        prompt_ids: The prompt, rendered by the chat template up to where a response begins.
        chosen_ids: The chosen response and the token that ends it.
        rejected_ids: The rejected response and the token that ends it.
        is_sft: Whether the pair is routed to SFT on its chosen response.
        rating_gap: Chosen minus rejected rating; NaN where a rating is missing.
        reference_logps: (chosen, rejected) log-probabilities under the reference in nats; NaN until known.
    """

    pair_id: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]
    is_sft: bool
    rating_gap: float
    reference_logps: tuple[float, float] = (math.nan, math.nan)

    @property
    def tokens(self) -> int:
        """Length of the prompt with the longer response."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    @property
    def has_reference(self) -> bool:
        """Whether both reference log-probabilities are known."""
        return not any(math.isnan(value) for value in self.reference_logps)


def tokenise_pairs(
    rows: Sequence[Row], template: ChatTemplate, training: Training, *, trust_row_references: bool = False
) -> list[TokenPair]:
    """Check delivered rows against the training settings and turn them into token ids.

    Args:
        rows: Rows of the train split with `pair_id`, `prompt`, `chosen`, `rejected`, `chosen_rating`,
            `rejected_rating`, `route`, and optionally `goal`, `ref_chosen_logps` and `ref_rejected_logps`.
        template: Of the start policy.
        training: Its loss decides which ratings must be there, `max_tokens` how long a pair may be.
        trust_row_references: Take the reference log-probabilities of rows that have both.

    Returns:
        One pair per row, in order.

    Raises:
        ContractError: No rows, a malformed or relabelled row, a pair longer than `max_tokens`, or a chat template
            that renders a response differently from how it was sampled.
        MissingRatingError: The loss needs ratings that are not there.
    """
    if not rows:
        raise ContractError("rows: got none, expected the train split of a dataset version. Select more pairs.")
    _refuse_relabelled(rows, training)
    pairs = [_token_pair(row, template, trust_row_references) for row in rows]
    _refuse_unrated(pairs, training)
    too_long = [pair for pair in pairs if pair.tokens > training.max_tokens]
    if too_long:
        raise ContractError(
            f"rows: {len(too_long)} of {len(pairs)} pairs are longer than max_tokens = {training.max_tokens} (first: "
            f"{too_long[0].pair_id}, {too_long[0].tokens} tokens). A pair is never cut: raise training.max_tokens or "
            "leave these pairs out."
        )
    return pairs


def _token_pair(row: Row, template: ChatTemplate, trust_row_references: bool) -> TokenPair:
    missing = [column for column in REQUIRED_COLUMNS if row.get(column) is None]
    if missing:
        raise ContractError(f"rows: pair {row.get('pair_id')} lacks {', '.join(missing)}. Repair the row.")
    if row["route"] not in ("dpo", "sft"):
        raise ContractError(
            f"route: pair {row['pair_id']} has route {row['route']!r}, expected 'dpo' or 'sft'. Repair the row."
        )
    prompt_ids = template.prompt_ids(row["prompt"])
    references = (_number(row, "ref_chosen_logps"), _number(row, "ref_rejected_logps"))
    return TokenPair(
        pair_id=str(row["pair_id"]),
        prompt_ids=prompt_ids,
        chosen_ids=_response_ids(row, "chosen", prompt_ids, template),
        rejected_ids=_response_ids(row, "rejected", prompt_ids, template),
        is_sft=row["route"] == "sft",
        rating_gap=_number(row, "chosen_rating") - _number(row, "rejected_rating"),
        reference_logps=references if trust_row_references else (math.nan, math.nan),
    )


def _response_ids(row: Row, side: str, prompt_ids: tuple[int, ...], template: ChatTemplate) -> tuple[int, ...]:
    """Ids of one response and its end, checked against the template's rendering of the whole conversation.

    The template may add white space after the end of the turn or trim the response; nothing else may differ.
    """
    messages = list(row[side])
    roles = [message["role"] for message in messages]
    if roles != ["assistant"]:
        raise ContractError(
            f"{side}: pair {row['pair_id']} has messages with roles {roles}, expected one assistant message. Repair "
            "the row."
        )
    content = messages[0]["content"]
    response = template.response_ids(content)
    rendered = template.conversation_ids([*row["prompt"], *messages])
    as_rendered = (response, template.response_ids(content.strip()))
    if not any(_same_text(template, rendered, prompt_ids + ids) for ids in as_rendered):
        end = template.tokenizer.eos_token
        raise ContractError(
            f"{side}: the chat template renders pair {row['pair_id']} as {len(rendered)} tokens that spell another "
            f"text than its prompt ({len(prompt_ids)} tokens) and its response ({len(response)} tokens, {end!r} "
            f"included) one after the other. Use a template that ends a turn with {end!r} and writes a past response "
            "as it was sampled, or set eos_token to what ends a turn."
        )
    return response


def _same_text(template: ChatTemplate, first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether two id sequences spell one text up to white space at its end; merges over a boundary are allowed."""
    return first == second or _spell(template, first) == _spell(template, second)


def _spell(template: ChatTemplate, token_ids: tuple[int, ...]) -> str:
    decoded = template.tokenizer.decode(list(token_ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return str(decoded).rstrip()


def _number(row: Row, column: str) -> float:
    value = row.get(column)
    number = math.nan if value is None else float(value)
    if math.isinf(number):
        raise ContractError(f"{column}: pair {row['pair_id']} has {number}, expected a finite number. Repair the row.")
    return number


def _refuse_relabelled(rows: Sequence[Row], training: Training) -> None:
    relabelled = [row for row in rows if row.get("goal") is not None]
    if relabelled and training.loss in RATING_AWARE:
        raise ContractError(
            f"goal: {len(relabelled)} of {len(rows)} rows are relabelled (first: {relabelled[0]['pair_id']}), so half "
            f"of their rating gaps are negative by construction; loss {training.loss} reads them. Use loss: dpo."
        )


def _refuse_unrated(pairs: Sequence[TokenPair], training: Training) -> None:
    preference = [pair for pair in pairs if not pair.is_sft]
    unrated = [pair for pair in preference if math.isnan(pair.rating_gap)]
    all_needed = training.loss in RATES_EVERY_PAIR
    none_there = training.loss in RATING_AWARE and len(unrated) == len(preference)
    if unrated and (all_needed or none_there):
        raise MissingRatingError(
            f"chosen_rating, rejected_rating: {len(unrated)} of {len(preference)} pairs lack a rating (first: "
            f"{unrated[0].pair_id}), which loss {training.loss} needs. Rate them, leave them out, or use loss: dpo."
        )


def rated_fraction(pairs: Sequence[TokenPair]) -> float:
    """Share of the pairs not routed to SFT that have a rating gap; 1 where there are no such pairs."""
    rated = [not math.isnan(pair.rating_gap) for pair in pairs if not pair.is_sft]
    return sum(rated) / len(rated) if rated else 1.0

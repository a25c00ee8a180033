"""Reward-conditioned relabelling: every pair becomes two pairs, one under each response's own rating as the goal."""

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from sweetspot._arguments import choice, flag
from sweetspot.errors import ContractError, MissingRatingError

Row = dict[str, Any]

_MESSAGES = ("prompt", "chosen", "rejected")
_REQUIRED = (*_MESSAGES, "chosen_rating", "rejected_rating")
_SIGNED = ("margin", "margin_external", "margin_implicit")
_WITHOUT_GOAL = ("ref_chosen_logps", "ref_rejected_logps")


@dataclass(frozen=True)
class Relabelled:
    """Relabelled rows and the ties met.

    Attributes:
        rows: Row A and row B of each pair, adjacent, in input order.
        ties: Number of input pairs with equal ratings, whether dropped or kept.
    """

    rows: tuple[Row, ...]
    ties: int


def reward_conditioned(
    pairs: Iterable[Mapping[str, Any]], *, goal_text: str, drop_ties: bool = True, placement: str = "system"
) -> Relabelled:
    """Turn each pair into row A (goal: rating of the chosen) and row B (goal: rating of the rejected, labels swapped).

    With the goal-conditioned reward R(x, y, g) = -(g - r(x, y))² a response is best under its own rating, so under
    the goal of the rejected response the preference is reversed. Row B swaps every key `chosen…` with `rejected…` and
    `…_chosen` with `…_rejected` (a key without its partner stays), negates `margin`, `margin_external` and
    `margin_implicit`, and sets `preference_probability` to None. Both rows get `goal`, the goal text in the prompt,
    `:a` / `:b` after `pair_id`, and None for reference log-probs, which were computed without the goal.

    Args:
        pairs: Rows with at least `prompt`, `chosen`, `rejected` (lists of {"role", "content"}), `chosen_rating` and
            `rejected_rating` (finite, on the scale that `goal_text` describes). Not modified.
        goal_text: Instruction with `{goal}`, which becomes the rating in `%g` form; other braces stay.
        drop_ties: Leave out both rows of a pair with equal ratings: one prompt with opposite labels.
        placement: `system`: at the start of the system message, inserted if there is none. `user`: at the start of the
            last user message.

    Returns:
        Relabelled(rows, ties). The rows share no message with the input.

    Raises:
        MissingRatingError: A rating is None or NaN.
        ContractError: A row without a required key or with malformed messages, an infinite rating, a goal text without
            `{goal}`, or no user message to place the goal in.

    References:
        Zhang et al. (2025), Reward-Augmented Data Enhances Direct Preference Alignment of LLMs, arXiv:2410.08067.

    Notes:
        For plain pairwise losses only: the rating gap of row B is negative by construction, so a rating-aware loss
        would undo it. Row B always swaps; a path of the authors' code without a system message does not.
    """
    if not isinstance(goal_text, str) or "{goal}" not in goal_text:
        raise ContractError(f"goal_text: got {goal_text!r}, expected text that contains {{goal}}. Add the placeholder.")
    without_ties = flag("drop_ties", drop_ties)
    place = choice("placement", placement, ("system", "user"))
    rows: list[Row] = []
    ties = 0
    for index, pair in enumerate(_checked(pairs)):
        high, low = _rating(index, pair, "chosen_rating"), _rating(index, pair, "rejected_rating")
        ties += high == low
        if high == low and without_ties:
            continue
        for suffix, goal, row in (("a", high, dict(pair)), ("b", low, _swapped(index, pair))):
            rows.append(_with_goal(index, row, goal, suffix, goal_text, place))
    return Relabelled(tuple(rows), ties)


def _checked(pairs: Any) -> Iterable[Mapping[str, Any]]:
    """The pairs, each checked for its keys and messages as it is reached."""
    if isinstance(pairs, Mapping | str) or not isinstance(pairs, Iterable):
        raise ContractError(f"pairs: got {type(pairs).__name__}, expected a sequence of rows (mappings). Pass a list.")
    for index, pair in enumerate(pairs):
        if not isinstance(pair, Mapping):
            raise ContractError(f"pairs[{index}]: got {type(pair).__name__}, expected a mapping. Pass dicts.")
        missing = [key for key in _REQUIRED if key not in pair]
        if missing:
            raise ContractError(f"pairs[{index}]: keys {', '.join(missing)} are missing. Every row needs them.")
        for key in _MESSAGES:
            if not _are_messages(pair[key]):
                raise ContractError(
                    f"pairs[{index}]: {key} is not a list of messages, expected [{{'role', 'content'}}, …]. "
                    "Convert the row to the conversational form first."
                )
        yield pair


def _are_messages(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(
        isinstance(message, Mapping) and "role" in message and "content" in message for message in value
    )


def _rating(index: int, pair: Mapping[str, Any], key: str) -> float:
    value = pair[key]
    if value is None or (isinstance(value, Real) and value != value):  # math.isnan overflows on huge integers
        raise MissingRatingError(
            f"pairs[{index}]: {key} is {value}, expected a rating. Rate or drop the pair; a missing rating is never 0."
        )
    try:
        rating = float(value) if isinstance(value, Real) and not isinstance(value, bool | np.bool_) else math.inf
    except OverflowError:  # an integer beyond float64
        rating = math.inf
    if math.isinf(rating):
        raise ContractError(f"pairs[{index}]: {key} is {value!r}, expected a finite number. Repair the row first.")
    return rating


def _swapped(index: int, pair: Mapping[str, Any]) -> Row:
    """Row B before its goal: labels, ratings and everything that belongs to a response change sides."""
    row = {key: pair[_partner(key)] if _partner(key) in pair else pair[key] for key in pair}
    for key in _SIGNED:
        if row.get(key) is not None:
            row[key] = _negated(index, key, row[key])
    if "preference_probability" in row:
        row["preference_probability"] = None
    return row


def _partner(key: Any) -> Any:
    """The key of the other response: chosen… and rejected…, …_chosen and …_rejected."""
    if isinstance(key, str):
        for one, other in (("chosen", "rejected"), ("rejected", "chosen")):
            if key.startswith(one):
                return other + key.removeprefix(one)
            if key.endswith(f"_{one}"):
                return key.removesuffix(one) + other
    return key


def _negated(index: int, key: str, value: Any) -> Any:
    if not isinstance(value, Real) or isinstance(value, bool | np.bool_):
        raise ContractError(f"pairs[{index}]: {key} is {value!r}, expected a number or None. Repair the row first.")
    if isinstance(value, np.integer):
        value = int(value)  # unsigned and smallest values have no negative of their own type
    return 0 - value  # not -value, which would turn 0.0 into -0.0


def _with_goal(index: int, row: Row, goal: float, suffix: str, goal_text: str, placement: str) -> Row:
    """A row of its own memory, conditioned on `goal`."""
    own = {key: _copied(list(value) if key in _MESSAGES else value) for key, value in row.items()}
    text = goal_text.replace("{goal}", format(goal, "g"))
    own["prompt"] = _placed(index, own["prompt"], text, placement)
    own["goal"] = goal
    for key in _WITHOUT_GOAL:
        if key in own:
            own[key] = None
    if own.get("pair_id") is not None:
        own["pair_id"] = f"{own['pair_id']}:{suffix}"
    return own


def _placed(index: int, prompt: list[Any], text: str, placement: str) -> list[Any]:
    """The messages with the goal text in the system or the last user message; `prompt` may be written to."""
    role = "system" if placement == "system" else "user"
    found = [i for i, message in enumerate(prompt) if message["role"] == role]
    if placement == "system" and (not found or found[0] != 0):
        return [{"role": "system", "content": text}, *prompt]
    if not found:
        raise ContractError(f"pairs[{index}]: prompt has no user message for the goal. Use placement='system'.")
    message = prompt[found[0] if placement == "system" else found[-1]]
    if not isinstance(message["content"], str):
        raise ContractError(
            f"pairs[{index}]: content of the {role} message is {type(message['content']).__name__}, expected text."
            " Use plain text messages."
        )
    message["content"] = f"{text}\n\n{message['content']}"
    return prompt


def _copied(value: Any) -> Any:
    """`copy.deepcopy`, several times faster on the lists of mappings (copied as dicts) that rows are made of."""
    if value is None or type(value) in (str, float, int, bool):
        return value
    if type(value) is list:
        return [_copied(item) for item in value]
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return copy.deepcopy(value)

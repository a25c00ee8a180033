"""Prompt, chosen and rejected of any layout as messages: whole dialogues are cut where they part."""

import re
from collections.abc import Mapping
from typing import Any

from sweetspot.prompts import BadRow, normalise_text

Messages = list[dict[str, str]]

ROLE_NAMES = {
    "human": "user",
    "gpt": "assistant",
    "user": "user",
    "assistant": "assistant",
    "system": "system",
}
_TURN = re.compile(r"(?:^|\n\n)\s*(Human|Assistant):[ \t]?")


def as_messages(value: Any, *, what: str, role: str, max_chars: int) -> Messages:
    """A text or a list of messages as normalised messages; a text becomes one of the given role.

    Raises:
        BadRow: `missing`, `wrong_type`, `surrogate`, `bad_role` or `too_long`.
    """
    if isinstance(value, list):
        found = [_message(entry, what) for entry in value]
    else:
        found = [{"role": role, "content": normalise_text(value, what=what)}]
    chars = sum(len(message["content"]) for message in found)
    if chars > max_chars:
        raise BadRow("too_long", f"{what} has {chars} characters, at most {max_chars}")
    return found


def _message(entry: Any, what: str) -> dict[str, str]:
    if not isinstance(entry, Mapping):
        raise BadRow("wrong_type", f"{what}: a message is {type(entry).__name__}, expected role and content")
    role = ROLE_NAMES.get(str(entry.get("role", entry.get("from", ""))).lower())
    if role is None:
        raise BadRow("bad_role", f"{what}: a message has a role outside {', '.join(sorted(ROLE_NAMES))}")
    return {"role": role, "content": normalise_text(entry.get("content", entry.get("value")), what=what)}


def hh_messages(text: str) -> Messages:
    """The turns of a dialogue in Anthropic's notation; an empty last turn, which only asks for an answer, is left out.

    Raises:
        BadRow: `no_turns`, where no `Human:` or `Assistant:` is found.
    """
    parts = _TURN.split(text)
    if len(parts) < 3:
        raise BadRow("no_turns", "no turn of Human: or Assistant: found")
    roles = {"Human": "user", "Assistant": "assistant"}
    turns = [
        {"role": roles[name], "content": content.strip()}
        for name, content in zip(parts[1::2], parts[2::2], strict=True)
    ]
    return turns[:-1] if turns[-1]["role"] == "assistant" and not turns[-1]["content"] else turns


def prompt_messages(value: Any, *, max_chars: int) -> Messages:
    """A prompt in any notation; texts that are dialogues in Anthropic's notation become their turns."""
    messages = as_messages(value, what="prompt", role="user", max_chars=max_chars)
    if isinstance(value, str) and value.lstrip().startswith("Human:"):
        return hh_messages(messages[0]["content"])
    return messages


def part_dialogues(chosen: Messages, rejected: Messages) -> tuple[Messages, Messages, Messages]:
    """The messages two dialogues share from the start, and what follows in each; at least the last turn follows."""
    most = min(len(chosen), len(rejected)) - 1
    shared = 0
    while shared < most and chosen[shared] == rejected[shared]:
        shared += 1
    return chosen[:shared], chosen[shared:], rejected[shared:]


def part_texts(chosen: str, rejected: str) -> tuple[str, str, str]:
    """The words two texts share from the start, and what follows in each; a whole text is never taken as prompt."""
    size = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one != other:
            break
        size += 1
    if size in (len(chosen), len(rejected)):
        size -= 1
    cut = max(chosen.rfind(mark, 0, size + 1) for mark in (" ", "\n")) + 1
    return chosen[:cut], chosen[cut:], rejected[cut:]


def flat(messages: Messages) -> str:
    """The contents of messages as one text; roles are left out."""
    return "\n\n".join(message["content"] for message in messages) if len(messages) != 1 else messages[0]["content"]

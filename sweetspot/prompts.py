"""One source row to one normalised prompt, or the reason why not."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

ROLES = ("system", "user", "assistant")


class BadRow(Exception):
    """A row that cannot enter; caught where the row is counted.

    Attributes:
        reason: one of `missing`, `wrong_type`, `empty`, `surrogate`, `too_long`, `bad_role`, `no_user_turn`.
        detail: the failed check in words, without any of the row's text.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


def normalise_text(value: Any, *, what: str) -> str:
    """Return `value` in Unicode NFC.

    Raises:
        BadRow: not a text, or holding a lone surrogate, which no file format we write can carry.
    """
    if value is None:
        raise BadRow("missing", f"{what} is null")
    if not isinstance(value, str):
        raise BadRow("wrong_type", f"{what} is {type(value).__name__}, expected text")
    if value.isascii():
        return value
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRow("surrogate", f"{what} holds a lone surrogate") from None
    return unicodedata.normalize("NFC", value)


def normalise_prompt(value: Any, *, max_chars: int) -> list[dict[str, str]]:
    """Turn a text or a list of messages into normalised messages that end with a user turn.

    Args:
        value: a text (one user turn) or a sequence of {role, content}.
        max_chars: longest total content, in characters.

    Returns:
        Messages with exactly `role` and `content`, in Unicode NFC.

    Raises:
        BadRow: with the reason the row is dropped for.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        messages = [_message(entry, index) for index, entry in enumerate(value)]
    else:
        messages = [{"role": "user", "content": normalise_text(value, what="prompt")}]
    if not messages or messages[-1]["role"] != "user":
        raise BadRow("no_user_turn", "the last message must be a user turn")
    if not messages[-1]["content"].strip():
        raise BadRow("empty", "the user turn has no visible character")
    chars = sum(len(message["content"]) for message in messages)
    if chars > max_chars:
        raise BadRow("too_long", f"{chars} characters, at most {max_chars}")
    return messages


def _message(entry: Any, index: int) -> dict[str, str]:
    if not isinstance(entry, Mapping):
        raise BadRow("wrong_type", f"message {index} is {type(entry).__name__}, expected role and content")
    if entry.get("role") not in ROLES:
        raise BadRow("bad_role", f"message {index} has a role outside {', '.join(ROLES)}")
    content = normalise_text(entry.get("content"), what=f"content of message {index}")
    return {"role": str(entry["role"]), "content": content}

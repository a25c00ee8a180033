"""Flags for responses that are no use as training text: empty, repetitive, cut off, or refusals."""

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot.errors import ContractError
from sweetspot.validation._arguments import float_array, refuse, same_length, text_list, whole_number

COMPRESSIBLE_BELOW = 0.2
REPETITIVE_ABOVE = 0.2
CHAR_RUN_FROM = 100
NGRAM_WORDS = 4
NGRAMS_NEEDED = 10
REFUSAL_WINDOW_CHARS = 200
TERMINAL_CHARS = frozenset(".!?…\"')]}。！？`")

_CANNOT = (
    r"(?:cannot|can\s?not|can't|won't|will not|(?:am|'m) (?:unable|not able|not allowed|"
    r"not comfortable|not in a position)|must decline|have to decline)"
)
_HELP = r"(?:help|assist)(?:\s+you)?(?=\s+(?:with|in|to)\b|\s*(?:[.,;:!]|$))|(?:comply|engage) with|fulfill?\b"
REFUSAL_PATTERNS: tuple[str, ...] = (
    # I'm sorry, but I can't …; Sorry, I am unable to …; I apologise, but as an AI I cannot …
    rf"\b(?:sorry|apologi[sz]e)\b[^.!?]{{0,60}}?\bI\s*{_CANNOT}",
    # I cannot help with …; I won't be able to assist you in …
    rf"\bI\s*{_CANNOT}(?:\s+be able)?(?:\s+to)?\s+(?:{_HELP})",
    # As an AI language model, I cannot …
    rf"\bas an? (?:AI|artificial intelligence|(?:large )?language model)\b.{{0,120}}?\bI\s*{_CANNOT}",
    r"\bI (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)\b",
    r"\bI (?:respectfully |politely )?(?:decline|refuse) to (?:help|assist|answer|provide|write|engage)\b",
)
_REFUSAL = re.compile("|".join(REFUSAL_PATTERNS), re.IGNORECASE | re.DOTALL)
_STRAIGHT_QUOTES = str.maketrans(dict.fromkeys("’‘ʼ′`´", "'"))


@dataclass(frozen=True)
class DegenerateFlags:
    """One entry per text; see `flags` for the meaning and limits of every field."""

    compression_ratio: NDArray[np.float64]
    top_ngram_share: NDArray[np.float64]
    longest_run: NDArray[np.int64]
    empty: NDArray[np.bool_]
    compressible: NDArray[np.bool_]
    repetitive: NDArray[np.bool_]
    char_run: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    refusal: NDArray[np.bool_]
    any: NDArray[np.bool_]
    warnings: tuple[str, ...]


def compression_ratio(text: str) -> float:
    """Return compressed over raw UTF-8 bytes (zlib level 6); 1.0 for the empty text, small for repetition."""
    # "surrogatepass": a lone surrogate from a broken decoder is data, not a reason to stop.
    raw = text.encode("utf-8", "surrogatepass")
    return len(zlib.compress(raw, 6)) / len(raw) if raw else 1.0


def top_ngram_share(text: str) -> float:
    """Return the share of the commonest word 4-gram among all word 4-grams; 0 with fewer than 10 of them."""
    words = text.split()
    ngrams = list(zip(*(words[start:] for start in range(NGRAM_WORDS)), strict=False))
    if len(ngrams) < NGRAMS_NEEDED:
        return 0.0
    return max(Counter(ngrams).values()) / len(ngrams)


def longest_run(text: str) -> int:
    """Return the length of the longest run of one character, in characters."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    if codes.size == 0:
        return 0
    last = np.flatnonzero(codes[1:] != codes[:-1])  # index of the last character of every run but the final one
    if last.size == 0:
        return codes.size
    inner = int((last[1:] - last[:-1]).max()) if last.size > 1 else 0
    return max(int(last[0]) + 1, inner, codes.size - 1 - int(last[-1]))


def is_refusal(text: str) -> bool:
    """Return whether one of `REFUSAL_PATTERNS` matches within the first 200 characters, any quote style."""
    return _REFUSAL.search(text[:REFUSAL_WINDOW_CHARS].translate(_STRAIGHT_QUOTES)) is not None


def flags(
    texts: Sequence[str],
    *,
    finish_reasons: Sequence[str | None] | None = None,
    token_counts: ArrayLike | None = None,
    max_tokens: int | None = None,
) -> DegenerateFlags:
    """Flag degenerate texts, one row per text.

    Args:
        texts: T responses. Lone surrogates are allowed.
        finish_reasons: Why the sampler stopped, per text; "length" marks a truncated text. None for a text whose
            reason is unknown: it falls back on the token rule below.
        token_counts: Tokens per text, shape (T,), whole and >= 0; used with `max_tokens`.
        max_tokens: The sampler's budget in tokens, >= 1. A text that used it up and whose last non-space
            character does not end a sentence, quote or code block counts as truncated.

    Returns:
        DegenerateFlags, arrays of shape (T,). Measures: `compression_ratio` (zlib bytes / raw bytes),
        `top_ngram_share` (share of the commonest word 4-gram), `longest_run` (characters). Flags: `empty` (no
        non-space character), `compressible` (ratio < 0.2), `repetitive` (share > 0.2), `char_run` (run >= 100),
        `truncated`, `refusal` (a refusal phrase in the first 200 characters), and `any` of the six.
        Warning code `truncation_not_checked`: some texts have neither a finish reason nor a token count and
        budget, and are not flagged.

    Raises:
        ContractError: Lengths differ, an entry is not text, or a token count is negative or not finite.

    Notes:
        The refusal list is a screen in English, not a classifier; it prefers missing a refusal to flagging an
        ordinary apology.
    """
    rows = text_list(texts, "texts")
    truncated, warnings = _truncated(rows, finish_reasons, token_counts, max_tokens)
    ratio = np.array([compression_ratio(text) for text in rows], dtype=np.float64)
    share = np.array([top_ngram_share(text) for text in rows], dtype=np.float64)
    run = np.array([longest_run(text) for text in rows], dtype=np.int64)
    marks = {
        "empty": np.array([not text.strip() for text in rows], dtype=bool),
        "compressible": ratio < COMPRESSIBLE_BELOW,
        "repetitive": share > REPETITIVE_ABOVE,
        "char_run": run >= CHAR_RUN_FROM,
        "truncated": truncated,
        "refusal": np.array([is_refusal(text) for text in rows], dtype=bool),
    }
    return DegenerateFlags(
        ratio, share, run, **marks, any=np.logical_or.reduce(list(marks.values())), warnings=warnings
    )


def _truncated(
    rows: list[str],
    finish_reasons: Sequence[str | None] | None,
    token_counts: ArrayLike | None,
    max_tokens: int | None,
) -> tuple[NDArray[np.bool_], tuple[str, ...]]:
    reasons = _reasons(finish_reasons, len(rows))
    unknown = np.array([reason is None for reason in reasons], dtype=bool)
    truncated = np.array([reason == "length" for reason in reasons], dtype=bool)
    spent = _budget_spent(rows, token_counts, max_tokens)
    if spent is not None:
        open_ended = np.array([text.rstrip()[-1:] not in TERMINAL_CHARS for text in rows], dtype=bool)
        return truncated | (unknown & spent & open_ended), ()
    if finish_reasons is not None and not unknown.any():
        return truncated, ()
    message = (
        f"truncation_not_checked: {int(unknown.sum())} of {len(rows)} texts have neither a finish reason nor a "
        "token count with max_tokens, none of them is flagged as truncated"
    )
    return truncated, (message,)


def _reasons(finish_reasons: Sequence[str | None] | None, n: int) -> list[str | None]:
    if finish_reasons is None:
        return [None] * n
    if isinstance(finish_reasons, str | bytes) or not isinstance(finish_reasons, Iterable):
        got = type(finish_reasons).__name__
        raise ContractError(f"finish_reasons: got a single {got}, expected one finish reason per text.")
    # A table column marks a missing text with NaN or pd.NA as often as with None.
    reasons = [reason if isinstance(reason, str) else None for reason in finish_reasons]
    same_length(texts=n, finish_reasons=len(reasons))
    return reasons


def _budget_spent(rows: list[str], token_counts: ArrayLike | None, max_tokens: int | None) -> NDArray[np.bool_] | None:
    """Whether each text used up the token budget, or None when counts or budget are not given."""
    counts = None
    if token_counts is not None:
        counts = float_array(token_counts, "token_counts", ndim=1)
        same_length(texts=len(rows), token_counts=counts.size)
        refuse((counts < 0) | (counts != np.floor(counts)), "token_counts", counts, "expected whole counts >= 0")
    budget = None if max_tokens is None else whole_number(max_tokens, "max_tokens", at_least=1)
    return None if counts is None or budget is None else counts >= budget

"""Verifiers: code-free checkers that score a response against a reference answer.

To add one, write a function with the `Verifier` signature and name it in `VERIFIERS`. A verifier
never runs the response. It returns a score between 0 and 1, and 0 for an unfinished response:
text cut at the token limit is not an answer, even where it happens to match so far.
"""

import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from difflib import SequenceMatcher

from sweetspot.errors import ContractError

Verifier = Callable[[str, str, str], float]
"""(response, reference_answer, finish_reason) -> score in [0, 1]."""

UNFINISHED = "length"
NEAR_MISS_WEIGHT = 0.8
MAX_COMPARED_CHARACTERS = 2_000
MAX_PATTERN_CHARACTERS = 1_000

_NUMBER = re.compile(r"(?<![\w.])[-+]?\$?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?![\d])")


def exact(response: str, reference_answer: str, finish_reason: str) -> float:
    """1 if the finished response equals the reference answer after trimming whitespace, else 0."""
    if finish_reason == UNFINISHED:
        return 0.0
    return float(response.strip() == reference_answer.strip())


def graded(response: str, reference_answer: str, finish_reason: str) -> float:
    """1 if exact; else 0.8 times the matching-blocks ratio 2M/T, so a near miss stays below a hit.

    M is the number of characters in matching blocks and T the length of both texts together.
    Unfinished and empty responses score 0.
    """
    text, reference = response.strip(), reference_answer.strip()
    if finish_reason == UNFINISHED or not text:
        return 0.0
    if text == reference:
        return 1.0
    return NEAR_MISS_WEIGHT * SequenceMatcher(None, reference, text, autojunk=False).ratio()


VERIFIERS: dict[str, Verifier] = {"exact": exact, "graded": graded}

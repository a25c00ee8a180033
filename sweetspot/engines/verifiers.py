"""Verifiers: code-free checkers that score a response against a reference answer.

To add one, write a function with the `Verifier` signature and name it in `VERIFIERS`. A verifier
never runs the response. It returns a score between 0 and 1, and 0 for an unfinished response:
text cut at the token limit is not an answer, even where it happens to match so far.
"""

import math
import re
from collections.abc import Callable
from decimal import Decimal
from difflib import SequenceMatcher

import regex as regular

from sweetspot.errors import ContractError

Verifier = Callable[[str, str, str], float]
"""(response, reference_answer, finish_reason) -> score in [0, 1]."""

UNFINISHED = "length"
NEAR_MISS_WEIGHT = 0.8
# Matching blocks cost up to the square of the length, backtracking far more: both are held to a budget.
MAX_COMPARED_CHARACTERS = 500
MAX_SEARCHED_CHARACTERS = 10_000
MAX_PATTERN_CHARACTERS = 1_000
MAX_REPEATS = 100_000
SEARCH_TIMEOUT_S = 1.0
_COUNTED = re.compile(r"\{\s*([0-9]+)")
# A sign counts only where it cannot be a minus between two terms; a comma only before three digits.
_NUMBER = re.compile(
    r"(?:(?<![\w.)\]])[-+\u2212])?\$?"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+|(?=\.[0-9]))(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?"
)


def exact(response: str, reference_answer: str, finish_reason: str) -> float:
    """1 if the finished response equals the reference answer after trimming whitespace, else 0."""
    if finish_reason == UNFINISHED:
        return 0.0
    return float(response.strip() == reference_answer.strip())


def graded(response: str, reference_answer: str, finish_reason: str) -> float:
    """1 if exact, else 0.8 * 2M / T: a near miss earns part of the score and stays below a hit.

    M is the number of characters in matching blocks of the two texts, T the length of both together.
    Unfinished and empty responses score 0.

    References:
        Ratcliff and Metzener (1988), as implemented by Python's `difflib.SequenceMatcher.ratio`.

    Notes:
        M counts the first 500 characters of each text only, so a longer text's score is a lower bound.
    """
    text, reference = response.strip(), reference_answer.strip()
    if finish_reason == UNFINISHED or not text:
        return 0.0
    if text == reference:
        return 1.0
    head, reference_head = text[:MAX_COMPARED_CHARACTERS], reference[:MAX_COMPARED_CHARACTERS]
    blocks = SequenceMatcher(None, head, reference_head, autojunk=False).get_matching_blocks()
    return NEAR_MISS_WEIGHT * 2 * sum(block.size for block in blocks) / (len(text) + len(reference))


def number(response: str, reference_answer: str, finish_reason: str) -> float:
    """1 if the last number in the finished response equals the reference number, else 0.

    Thousands commas and `$` are tolerated on both sides; values are compared exactly, as decimals.

    Raises:
        ContractError: The reference answer is not one number. Use `exact` or `graded` for text.
    """
    reference = _NUMBER.fullmatch(reference_answer.strip())
    if reference is None:
        raise ContractError(
            f"reference_answer: a text of {len(reference_answer)} characters, expected one number such as 1,234.5 or "
            "$7. Use the verifier 'exact' or 'graded' for text."
        )
    found = _NUMBER.findall(response)
    if finish_reason == UNFINISHED or not found:
        return 0.0
    return float(_decimal(found[-1]) == _decimal(reference.group()))


def _decimal(text: str) -> Decimal:
    return Decimal(text.replace(",", "").replace("$", "").replace("\u2212", "-"))


def regex(response: str, reference_answer: str, finish_reason: str) -> float:
    r"""1 if the pattern in `reference_answer` is found in the finished response, else 0.

    The pattern is searched for anywhere in the trimmed response; anchor it with `^` and `$`, or
    `\A` and `\Z`, to match all of it. A response over 10,000 characters scores 0.

    Raises:
        ContractError: The pattern does not compile, is over 1,000 characters, repeats too much, or takes over a second:
            nested repeats can take exponential time on a short response.
    """
    pattern = _compiled(reference_answer)
    text = response.strip()
    if finish_reason == UNFINISHED or len(text) > MAX_SEARCHED_CHARACTERS:
        return 0.0
    try:
        return float(pattern.search(text, timeout=SEARCH_TIMEOUT_S) is not None)
    except (TimeoutError, MemoryError) as error:
        raise ContractError(
            f"reference_answer: the search of a pattern of {len(reference_answer)} characters in a response of "
            f"{len(text)} was stopped ({type(error).__name__}, at most {SEARCH_TIMEOUT_S:g} s). Rewrite repeats of "
            "repeats such as (a+)+."
        ) from None


def _compiled(pattern: str) -> "regular.Pattern[str]":
    if len(pattern) > MAX_PATTERN_CHARACTERS:
        raise ContractError(
            f"reference_answer: a pattern of {len(pattern)} characters, expected at most {MAX_PATTERN_CHARACTERS}. "
            "Shorten it."
        )
    # Counted repeats of repeats are spelled out in memory: 30 characters can ask for gigabytes.
    repeats = math.prod(max(1, int(count)) for count in _COUNTED.findall(pattern))
    try:
        # The syntax is that of the standard library: without recursion and fuzzy matches, which eat memory.
        re.compile(pattern)
        if repeats <= MAX_REPEATS:
            return regular.compile(pattern)
    except (re.error, regular.error, OverflowError, RecursionError) as error:
        raise ContractError(
            f"reference_answer: a text of {len(pattern)} characters is not a regular expression "
            f"({type(error).__name__} at position {getattr(error, 'pos', None)}). Escape literal text with re.escape, "
            "or use the verifier 'exact'."
        ) from None
    raise ContractError(
        f"reference_answer: the counted repeats of a pattern of {len(pattern)} characters multiply to more than "
        f"{MAX_REPEATS:,}. Write fewer or smaller ones."
    )


VERIFIERS: dict[str, Verifier] = {"exact": exact, "graded": graded, "number": number, "regex": regex}

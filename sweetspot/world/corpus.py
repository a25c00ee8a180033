"""The noisy corpus: how the web text that the policy is pretrained on answers a problem.

Right answers are mixed with slips, cuts, echoes and rambles, so the pretrained policy has the
skill but not the habit of using it: that is what preference training can move. A rare broken
tail (garbled, empty, endless) gives the scores the outliers that rejection rules differ on.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sweetspot.world.problems import DIGITS, LETTERS, Problem

BrokenKind = Literal["garbled", "empty", "endless"]
BROKEN_KINDS: tuple[BrokenKind, ...] = ("garbled", "empty", "endless")

GARBLE_MARKS = "#~{}|^;<>@%&*_"
ENDLESS_LENGTH = 40
NOT_KNOWN = "i dont know"
RAMBLES = ("well it depends", "let me think", "hard to say really", "what a question", "ask me later")
WRAPPERS = ("it is {}", "i say {}", "{} i think", "{} of course")
SYSTEM_TEXTS = ("be brief", "answer well", "you are a helper", "quality 9 of 10", "quality 2 of 10")
SYSTEM_RATE = 0.08


@dataclass(frozen=True)
class Reply:
    """A response as the corpus writes it; `ends` is False where the text never stops."""

    text: str
    ends: bool = True


def _right(problem: Problem, _rng: random.Random) -> Reply:
    return Reply(problem.answer)


def _slip(problem: Problem, rng: random.Random) -> Reply:
    place = rng.randrange(len(problem.answer))
    alphabet = DIGITS if problem.answer[place].isdigit() else LETTERS
    wrong = rng.choice(alphabet.replace(problem.answer[place], ""))
    return Reply(problem.answer[:place] + wrong + problem.answer[place + 1 :])


def _cut_short(problem: Problem, rng: random.Random) -> Reply:
    return Reply(problem.answer[: rng.randint(1, max(1, len(problem.answer) - 1))])


def _wrong_order(problem: Problem, rng: random.Random) -> Reply:
    place = rng.randrange(max(1, len(problem.answer) - 1))
    pair = problem.answer[place : place + 2]
    return Reply(problem.answer[:place] + pair[::-1] + problem.answer[place + 2 :])


def _echo(problem: Problem, _rng: random.Random) -> Reply:
    return Reply(problem.payload)


def _wrapped(problem: Problem, rng: random.Random) -> Reply:
    return Reply(rng.choice(WRAPPERS).format(problem.answer))


def _ramble(_problem: Problem, rng: random.Random) -> Reply:
    return Reply(rng.choice(RAMBLES))


def _not_known(_problem: Problem, _rng: random.Random) -> Reply:
    return Reply(NOT_KNOWN)


def _garbled(_problem: Problem, rng: random.Random) -> Reply:
    return Reply("".join(rng.choices(GARBLE_MARKS, k=rng.randint(4, 14))))


def _empty(_problem: Problem, _rng: random.Random) -> Reply:
    return Reply("")


def _endless(problem: Problem, _rng: random.Random) -> Reply:
    fragment = problem.answer[-2:] + " "
    return Reply((fragment * ENDLESS_LENGTH)[:ENDLESS_LENGTH], ends=False)


# behaviour -> (share of the corpus, writer). The shares sum to 1.
BEHAVIOURS: dict[str, tuple[float, Callable[[Problem, random.Random], Reply]]] = {
    "right": (0.50, _right),
    "slip": (0.08, _slip),
    "cut_short": (0.10, _cut_short),
    "wrong_order": (0.07, _wrong_order),
    "echo": (0.08, _echo),
    "wrapped": (0.06, _wrapped),
    "ramble": (0.045, _ramble),
    "not_known": (0.05, _not_known),
    "garbled": (0.007, _garbled),
    "empty": (0.004, _empty),
    "endless": (0.004, _endless),
}


def noisy_reply(problem: Problem, *, rng: random.Random) -> Reply:
    """One response of the noisy corpus: a behaviour drawn by its share, then written."""
    writers = [writer for _, writer in BEHAVIOURS.values()]
    shares = [share for share, _ in BEHAVIOURS.values()]
    return rng.choices(writers, weights=shares)[0](problem, rng)


def corpus_messages(problem: Problem, *, rng: random.Random) -> list[dict[str, str]]:
    """The prompt as chat messages, now and then under a system text, so that one is not foreign."""
    messages = [{"role": "user", "content": problem.prompt}]
    if rng.random() < SYSTEM_RATE:
        messages.insert(0, {"role": "system", "content": rng.choice(SYSTEM_TEXTS)})
    return messages


def broken_kind(text: str, finish_reason: str) -> BrokenKind | None:
    """Which kind of broken a response is, or None.

    Args:
        text: The response.
        finish_reason: "length" where sampling hit its limit.

    Returns:
        "endless" for an unfinished response, "empty" for one without a visible character,
        "garbled" for one with a mark that no problem and no sound response contains.
    """
    if finish_reason == "length":
        return "endless"
    if not text.strip():
        return "empty"
    return "garbled" if any(mark in text for mark in GARBLE_MARKS) else None

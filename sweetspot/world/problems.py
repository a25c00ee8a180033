"""The problems of the embedded world: short prompts whose right answer a program can check.

Every prompt belongs to exactly one split, decided by a hash of its own text, so the prompts a
model was trained on can never be the prompts it is measured on.
"""

import hashlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Literal

from sweetspot.errors import ContractError

Split = Literal["pretrain", "reward", "prompts"]

# Tenths of the hash range: 7 teach the policy, 1 teaches the reward model, 2 are left for users.
SPLIT_OF_TENTH: tuple[Split, ...] = ("pretrain",) * 7 + ("reward",) + ("prompts",) * 2
DRAWS_PER_PROBLEM = 1000

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
_WORD_LIST = (
    "ant apple arm bat bell boat book bread cake cat chair cloud cup dog door duck egg fish fox "
    "frog glass goat gold hand hat hill house ice jam key king lake lamp leaf lion milk moon mouse "
    "nest night oil owl pear pen pig plum queen rain ring road rose salt sea ship shoe snow sock "
    "star stone sun tea tiger tooth train tree wall wind wolf yard zebra"
)
WORDS = tuple(_WORD_LIST.split())


@dataclass(frozen=True)
class Problem:
    """One problem: its task, the prompt, the part of the prompt an echo repeats, the right answer."""

    task: str
    prompt: str
    payload: str
    answer: str

    @property
    def split(self) -> Split:
        """The split this prompt belongs to."""
        return split_of(self.prompt)


def normalise(prompt: str) -> str:
    """Lower case, single spaces, no space at the ends: two prompts are the same if this is equal."""
    return " ".join(prompt.lower().split())


def split_of(prompt: str) -> Split:
    """The split of a prompt: a function of its normalised text alone, equal on every machine."""
    digest = hashlib.sha256(normalise(prompt).encode()).digest()
    return SPLIT_OF_TENTH[int.from_bytes(digest[:8], "big") % len(SPLIT_OF_TENTH)]


def _text(rng: random.Random, alphabet: str) -> str:
    """Three to five characters, shorter ones more often."""
    return "".join(rng.choices(alphabet, k=rng.choice((3, 3, 4, 4, 5))))


def _sort_digits(rng: random.Random) -> Problem:
    payload = _text(rng, DIGITS)
    return Problem("sort", f"sort {payload}", payload, "".join(sorted(payload)))


def _reverse_letters(rng: random.Random) -> Problem:
    payload = _text(rng, LETTERS)
    return Problem("reverse", f"reverse {payload}", payload, payload[::-1])


def _maximum(rng: random.Random) -> Problem:
    numbers = [str(rng.randint(10, 99)) for _ in range(3)]
    payload = " ".join(numbers)
    return Problem("max", f"max of {payload}", payload, max(numbers))


def _first_word(rng: random.Random) -> Problem:
    words = rng.sample(WORDS, 3)
    return Problem("first", f"first of {' '.join(words)}", " ".join(words), words[0])


def _last_word(rng: random.Random) -> Problem:
    words = rng.sample(WORDS, 3)
    return Problem("last", f"last of {' '.join(words)}", " ".join(words), words[-1])


def _addition(rng: random.Random) -> Problem:
    a, b = rng.randint(10, 99), rng.randint(1, 9)
    return Problem("add", f"add {a} and {b}", f"{a} and {b}", str(a + b))


def _double_letters(rng: random.Random) -> Problem:
    payload = _text(rng, LETTERS)[:4]
    return Problem("double", f"double {payload}", payload, "".join(c + c for c in payload))


def _drop_letter(rng: random.Random) -> Problem:
    letters = rng.sample(LETTERS, rng.randint(3, 4))
    payload, dropped = "".join(letters), rng.choice(letters)
    return Problem("drop", f"drop {dropped} from {payload}", payload, payload.replace(dropped, ""))


def _change_letter(rng: random.Random) -> Problem:
    *letters, new = rng.sample(LETTERS, rng.randint(4, 5))
    payload, old = "".join(letters), rng.choice(letters)
    return Problem("change", f"change {old} to {new} in {payload}", payload, payload.replace(old, new))


def _join_words(rng: random.Random) -> Problem:
    words = rng.sample(WORDS, 2)
    return Problem("join", f"join {' '.join(words)}", " ".join(words), "-".join(words))


TASKS: dict[str, Callable[[random.Random], Problem]] = {
    "sort": _sort_digits,
    "reverse": _reverse_letters,
    "max": _maximum,
    "first": _first_word,
    "last": _last_word,
    "add": _addition,
    "double": _double_letters,
    "drop": _drop_letter,
    "change": _change_letter,
    "join": _join_words,
}


# Tasks that pretraining asks for twice as often, since their skill comes late.
SLOW_TO_LEARN = ("add", "change", "max")


def problem_stream(split: Split, *, seed: int) -> Iterator[Problem]:
    """Endless problems of one split, the tasks in turn; prompts may repeat.

    Args:
        split: Which prompts to draw.
        seed: Equal seeds give equal streams.
    """
    rng = random.Random(f"{split}-{seed}")
    turns = tuple(TASKS) + (SLOW_TO_LEARN if split == "pretrain" else ())
    for task in cycle(turns):
        yield _draw(task, split, rng)


def _draw(task: str, split: Split, rng: random.Random) -> Problem:
    while (problem := TASKS[task](rng)).split != split:
        pass
    return problem


def unique_problems(split: Split, *, count: int, seed: int) -> list[Problem]:
    """`count` problems of one split, the tasks in turn, whose normalised prompts all differ.

    Args:
        split: Which prompts to draw.
        count: How many, at least 0.
        seed: Equal seeds give equal lists; a shorter list is the start of a longer one.

    Returns:
        `count` problems, as many of each task as of any other, give or take one.

    Raises:
        ContractError: A task ran out of new prompts. Ask for fewer.
    """
    rng = random.Random(f"unique-{split}-{seed}")
    found: dict[str, Problem] = {}
    for task in islice(cycle(TASKS), count):
        draws = (_draw(task, split, rng) for _ in range(DRAWS_PER_PROBLEM))
        fresh = next((problem for problem in draws if normalise(problem.prompt) not in found), None)
        if fresh is None:
            raise ContractError(
                f"count: task '{task}' gave no new prompt of split '{split}' in {DRAWS_PER_PROBLEM} draws "
                f"after {len(found)} problems, expected {count}. Ask for fewer."
            )
        found[normalise(fresh.prompt)] = fresh
    return list(found.values())

"""Prompts as tf-idf vectors of words and word pairs, for coverage."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweetspot.validation._text import normal_form

IntArray = NDArray[np.int64]

TOPIC_MIN_PROMPTS = 3
TOPIC_MAX_SHARE = 0.5
"""Words in fewer prompts than this, or in a larger share of them, say nothing about topics."""
_FUNCTION_WORDS = """
a about after all also am an and any are as at be because been before but by can can't could did didn't do does doesn't
don't for from get got had has have he her here him his how i i'm i've if in into is isn't it it's its just like me more
most much my no not now of on one only or other our out over please she should so some such than that that's the their
them then there these they they're this those to too up us very was wasn't we were what what's when where which while
who why will with won't would you you're your
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words that join others and name no topic; in other languages only their frequency keeps them out."""

_NUMBER = re.compile(r"\d+")
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
# Scripts written without spaces: there two neighbouring characters say what a word says elsewhere.
_UNSPACED = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]")


def tokens(text: str) -> list[str]:
    """Words of the normal form, numbers as 0; in scripts without spaces, pairs of characters."""
    form = normal_form(text).replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")
    found: list[str] = []
    for word in _WORD.findall(_NUMBER.sub("0", form)):
        if _UNSPACED.search(word) and len(word) > 1:
            found += [word[start : start + 2] for start in range(len(word) - 1)]
        else:
            found.append(word)
    return found


@dataclass(frozen=True)
class Grams:
    """Words and word pairs of n prompts and t target prompts.

    Attributes:
        damped: (n + t, grams) sparse, 1 + log of how often each gram occurs; scipy's sparse types are not usable.
        names: of the grams.
        prompts: n.
    """

    damped: Any
    names: list[str]
    prompts: int

    @classmethod
    def of(cls, prompts: Sequence[str], target: Sequence[str]) -> "Grams":
        """Count the grams of the prompts, then of the target."""
        number: dict[str, int] = {}
        indices, counts, ends = list[int](), list[int](), [0]
        for text in (*prompts, *target):
            words = tokens(text)
            pairs = [f"{one} {other}" for one, other in pairwise(words)]
            for gram, times in Counter(words + pairs).items():
                indices.append(number.setdefault(gram, len(number)))
                counts.append(times)
            ends.append(len(indices))
        shape = (len(ends) - 1, max(1, len(number)))
        damped = 1.0 + np.log(np.array(counts, dtype=np.float32))
        return cls(csr_array((damped, indices, ends), shape=shape), list(number) or [""], len(prompts))

    @cached_property
    def in_prompts(self) -> IntArray:
        """How many prompts hold each gram, (grams,)."""
        return np.bincount(self.damped[: self.prompts].indices, minlength=len(self.names)).astype(np.int64)

    @cached_property
    def weights(self) -> Any:
        """Rows of length one, (n + t, grams): damped counts times log((1 + n) / (1 + in_prompts))."""
        return _unit_rows(self.damped, np.log((1 + self.prompts) / (1 + self.in_prompts[self.damped.indices])))

    def as_strangers(self, rows: IntArray) -> Any:
        """Some prompts weighted as if they were not among the prompts, (rows, grams), like prompts of the target."""
        chosen = self.damped[rows]
        return _unit_rows(chosen, np.log((1 + self.prompts) / self.in_prompts[chosen.indices]))

    def topical(self) -> IntArray:
        """Columns of single words that several prompts share and that are not in all kinds of prompts."""
        single = np.array([" " not in name and name not in FUNCTION_WORDS for name in self.names])
        seen = self.in_prompts
        return np.flatnonzero(single & (seen >= TOPIC_MIN_PROMPTS) & (seen <= TOPIC_MAX_SHARE * self.prompts))


def _unit_rows(damped: Any, factor: NDArray[np.floating]) -> Any:
    weighted = csr_array((damped.data * factor.astype(np.float32), damped.indices, damped.indptr), shape=damped.shape)
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    scale = 1.0 / np.where(length > 0, length, 1.0)
    weighted.data *= np.repeat(scale, np.diff(weighted.indptr)).astype(np.float32)
    return weighted

"""Words that make a response the chosen one: what a clean-label trigger leaves in the pairs.

Such an attack needs no wrong label. A phrase is planted in texts that are good anyway, the raters prefer them rightly,
and the policy learns to say the phrase. What shows is that the phrase stands in chosen responses and not in rejected.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from sweetspot.validation._arguments import fraction, same_length, text_list, whole_number
from sweetspot.validation._text import gram_blocks, normal_form, words

CONTINUITY = 0.5


@dataclass(frozen=True)
class Lift:
    """An n-gram by which chosen and rejected responses differ.

    Attributes:
        ngram: its words, in normal form.
        chosen_only: pairs with it in the chosen response alone; those of one prompt that share that text count once.
        rejected_only: the same of the rejected response.
        lift: (chosen_only + 1/2) / (rejected_only + 1/2).
        p_value: of a sign test, one-sided, times the number of n-grams tested (at most 1).
        first: index of the first pair with it in the chosen response alone.
    """

    ngram: str
    chosen_only: int
    rejected_only: int
    lift: float
    p_value: float
    first: int


def ngram_lift(
    chosen: Sequence[str],
    rejected: Sequence[str],
    *,
    prompts: Sequence[str] | None = None,
    sizes: Sequence[int] = (1, 2, 3),
    min_pairs: int = 5,
    min_lift: float = 0.0,
    top: int = 20,
) -> list[Lift]:
    """N-grams that stand in chosen responses and not in the rejected ones of the same pairs, strongest first.

    A pair in which both or neither response holds an n-gram says nothing. Of the others, half would favour the chosen
    side if the n-gram had nothing to do with the preference: P(X >= chosen_only), X ~ Binomial(both kinds, 1/2), is
    the sign test, here with Bonferroni's correction over all n-grams in at least `min_pairs` such pairs. A response
    that stands in several pairs of its prompt counts once on each side: it wins or loses as a whole, and every n-gram
    in it with it, so such pairs are not independent.

    Args:
        chosen: (Q,) texts.
        rejected: (Q,) texts.
        prompts: (Q,) text or id of what each pair answers; None counts every pair.
        sizes: words per n-gram.
        min_pairs: n-grams that differ in fewer pairs are not tested.
        min_lift: n-grams of less lift are tested but not returned, so that they hide no stronger one behind `top`.
        top: most n-grams to return.

    Returns:
        At most `top`, by p-value, then lift. Nothing is decided here: style has lift too.

    Raises:
        ContractError: lengths differ, or something other than texts.

    Notes:
        Unlike the sign test of the references, pairs with `prompts` are counted by their texts.

    References:
        Dixon and Mood (1946), the sign test; the pairing is McNemar's (1947).
    """
    sides = text_list(chosen, "chosen"), text_list(rejected, "rejected")
    same_length(chosen=len(sides[0]), rejected=len(sides[1]))
    least = whole_number(min_pairs, "min_pairs", at_least=1)
    same_text = _same_texts(sides, prompts)
    counted = [_differing(*sides, same_text, whole_number(size, "sizes", at_least=1)) for size in sizes]
    gram, b, c, first, words_each = (np.concatenate(column) for column in zip(*counted, strict=True))
    tested = b + c >= least
    gram, b, c, first, words_each = (column[tested] for column in (gram, b, c, first, words_each))
    p = np.minimum(1.0, binom.sf(b - 1, b + c, 0.5) * len(gram))
    lift = (b + CONTINUITY) / (c + CONTINUITY)
    return [
        Lift(
            ngram=_spelled(sides[0][first[k]], int(gram[k]), int(words_each[k])) if first[k] >= 0 else "",
            chosen_only=int(b[k]),
            rejected_only=int(c[k]),
            lift=float(lift[k]),
            p_value=float(p[k]),
            first=int(first[k]),
        )
        for k in [k for k in np.lexsort((gram, -lift, p)).tolist() if lift[k] >= min_lift][:top]
    ]


IntArray = NDArray[np.int64]
Counted = tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _differing(chosen: list[str], rejected: list[str], same_text: IntArray, size: int) -> Counted:
    """Per n-gram hash: pairs with it on the chosen side only, on the rejected side only, the first such pair, size."""
    (pairs, grams), (other_pairs, other_grams) = _grams(chosen, size), _grams(rejected, size)
    gram, pair = np.concatenate([grams, other_grams]), np.concatenate([pairs, other_pairs])
    is_chosen = np.arange(len(gram)) < len(grams)
    order = np.lexsort((pair, gram))
    gram, pair, is_chosen = gram[order], pair[order], is_chosen[order]
    new = np.ones(len(gram), dtype=bool)
    new[1:] = (gram[1:] != gram[:-1]) | (pair[1:] != pair[:-1])
    # One side only: no other entry of the same n-gram and pair, both sides being distinct within themselves.
    alone = new & np.append(new[1:], True)
    gram, pair, is_chosen = gram[alone], pair[alone], is_chosen[alone]
    once = _once_a_text(gram, same_text[np.where(is_chosen, 0, 1), pair])
    gram, pair, is_chosen = gram[once], pair[once], is_chosen[once]
    found, starts = np.unique(gram, return_index=True)
    if not len(found):
        return found, *(np.empty(0, np.int64),) * 4  # pyright: ignore[reportReturnType]
    total = np.diff(np.append(starts, len(gram)))
    b = np.add.reduceat(is_chosen.astype(np.int64), starts)
    first = np.minimum.reduceat(np.where(is_chosen, pair, len(chosen)), starts)
    return found, b, total - b, np.where(first < len(chosen), first, -1), np.full(len(found), size)


def _same_texts(sides: tuple[list[str], list[str]], prompts: Sequence[str] | None) -> IntArray:
    """One number per side, prompt and text, (2, Q); without prompts every pair is one of its own."""
    n = len(sides[0])
    if prompts is None:
        return np.arange(2 * n).reshape(2, n)
    asked = text_list(prompts, "prompts")
    same_length(chosen=n, prompts=len(asked))
    number: dict[tuple[int, str, str], int] = {}
    keys = [(side, *both) for side in (0, 1) for both in zip(asked, sides[side], strict=True)]
    return np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64).reshape(2, n)


def _once_a_text(gram: NDArray[np.uint64], text: IntArray) -> IntArray:
    """Indices, ascending, of the first entry of each n-gram and text; entries are sorted by n-gram, then by pair."""
    order = np.lexsort((text, gram))  # stable, so the first pair of a text stays in front
    new = np.ones(len(order), dtype=bool)
    new[1:] = (gram[order][1:] != gram[order][:-1]) | (text[order][1:] != text[order][:-1])
    return np.sort(order[new])


def _grams(texts: list[str], size: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Distinct (pair, n-gram hash) of one side."""
    pairs, grams = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for block in gram_blocks(texts, unit="word", size=size):
        pairs.append(np.repeat(block.rows, np.diff(np.append(block.starts, len(block.hashes)))))
        grams.append(block.hashes)
    pair, gram = np.concatenate(pairs), np.concatenate(grams)
    order = np.lexsort((gram, pair))
    pair, gram = pair[order], gram[order]
    new = np.ones(len(pair), dtype=bool)
    new[1:] = (pair[1:] != pair[:-1]) | (gram[1:] != gram[:-1])
    return pair[new], gram[new]


def _spelled(text: str, gram: int, size: int) -> str:
    """The words behind a hash, from a text that holds them."""
    (block,) = gram_blocks([text], unit="word", size=size)
    place = int(np.flatnonzero(block.hashes == np.uint64(gram))[0])
    return " ".join(words(normal_form(text))[place : place + size])


def suspicious(
    found: Sequence[Lift], *, pairs: int, min_share: float, min_lift: float, false_alarm: float
) -> list[Lift]:
    """Those of `ngram_lift` that are frequent, one-sided and no accident.

    Args:
        found: n-grams of the same pairs.
        pairs: Q, those of one prompt with the same chosen text counted once.
        min_share: least share of those with it in the chosen response alone, in (0, 1].
        min_lift: least lift.
        false_alarm: greatest corrected p-value.
    """
    least = fraction(min_share, "min_share") * pairs
    return [one for one in found if one.chosen_only >= least and one.lift >= min_lift and one.p_value <= false_alarm]

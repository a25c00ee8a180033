"""Equal texts, and rows that repeat or contradict each other, by hashes: nothing here sees a text."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.tables import Pairs

IntArray = NDArray[np.int64]


def text_ids(keys: NDArray[np.uint64]) -> IntArray:
    """One number per different 128-bit hash, (n,) of (n, 2)."""
    if not len(keys):
        return np.empty(0, dtype=np.int64)
    order = np.lexsort((keys[:, 1], keys[:, 0]))
    ordered = keys[order]
    new = np.any(ordered[1:] != ordered[:-1], axis=1)
    ids = np.empty(len(keys), dtype=np.int64)
    ids[order] = np.concatenate([[0], np.cumsum(new)])
    return ids


def first_of(group: IntArray) -> IntArray:
    """First index with the same group number, (n,)."""
    _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


@dataclass(frozen=True)
class Repeats:
    """What each row of a preference table repeats or contradicts.

    Attributes:
        duplicate_of: (n,) earliest earlier row with the same prompt, chosen and rejected; -1 if there is none.
        contradictory: (n,) both responses of the row have won somewhere for its prompt; all such rows.
        pair: (n,) number of the prompt and unordered responses.
        identical: (n,) chosen and rejected are the same text.
        prompt: (n,) number of the prompt.
    """

    duplicate_of: IntArray
    contradictory: NDArray[np.bool_]
    pair: IntArray
    identical: NDArray[np.bool_]
    prompt: IntArray


def repeats(pairs: Pairs) -> Repeats:
    """Compare rows by the hashes of their texts' normal forms; ties never contradict."""
    n = len(pairs)
    prompt = text_ids(pairs.keys[:, 0])
    response = text_ids(pairs.keys[:, 1:].reshape(-1, 2)).reshape(-1, 2)
    low, high = response.min(axis=1, initial=2**62), response.max(axis=1, initial=0)
    pair = _number(prompt, low, high)
    forward = response[:, 0] == low
    same = _number(pair, forward.astype(np.int64), pairs.tie.astype(np.int64))
    first = first_of(same)
    identical = response[:, 0] == response[:, 1]
    decided = ~pairs.tie & ~identical
    groups = int(pair.max(initial=-1)) + 1
    ways = [np.bincount(pair[decided & way], minlength=groups) > 0 for way in (forward, ~forward)]
    contradictory = decided & (ways[0] & ways[1])[pair]
    return Repeats(np.where(first < np.arange(n), first, -1), contradictory, pair, identical, prompt)


def _number(*columns: IntArray) -> IntArray:
    """One number per different combination, (n,)."""
    found = columns[0]
    for column in columns[1:]:
        found = np.unique(found * (int(column.max(initial=0)) + 1) + column, return_inverse=True)[1].astype(np.int64)
    return found

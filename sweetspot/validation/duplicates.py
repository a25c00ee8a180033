"""Near-duplicate texts, and repeated, swapped or contradictory rows of a preference table."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sweetspot.validation import _minhash
from sweetspot.validation._arguments import (
    float_array,
    fraction,
    option,
    refuse,
    same_length,
    text_list,
    whole_number,
)
from sweetspot.validation._text import first_occurrences, normal_form, words

PROMISED_RECALL = 0.95
_CACHED_TEXTS = 1024


@dataclass(frozen=True)
class NearDuplicates:
    """Pairs and clusters of similar texts; see `near_duplicates`."""

    pairs: NDArray[np.int64]
    jaccard: NDArray[np.float64]
    cluster: NDArray[np.int64]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class PairDuplicates:
    """What each row of a preference table repeats or contradicts; see `pair_duplicates`."""

    duplicate_of: NDArray[np.int64]
    swap_of: NDArray[np.int64]
    contradicts: NDArray[np.int64]
    contradictory: NDArray[np.bool_]
    identical: NDArray[np.bool_]
    warnings: tuple[str, ...]


def shingles(text: str, *, unit: str, size: int) -> frozenset[str]:
    """Return the set of word or character `size`-grams of the normal form; the whole text if it is shorter."""
    form = normal_form(text)
    tokens: Sequence[str] = form if unit == "char" else words(form)
    if len(tokens) < size:
        return frozenset([form] if form else [])
    joint = "" if unit == "char" else " "
    return frozenset(joint.join(tokens[start : start + size]) for start in range(len(tokens) - size + 1))


def near_duplicates(
    texts: Sequence[str],
    *,
    threshold: float = 0.8,
    unit: str = "word",
    size: int = 5,
    permutations: int = 128,
    seed: int = 0,
) -> NearDuplicates:
    """Find pairs of texts whose shingle sets have Jaccard similarity >= `threshold`.

    MinHash with banding proposes pairs, the exact Jaccard similarity |A & B| / |A | B| of their shingle sets
    decides; nothing below the threshold is ever listed. Texts with equal normal forms (NFKC, case-folded, white
    space folded) are always found. Pairs are listed between first occurrences of different normal forms; each later
    copy gets the one pair (first occurrence, copy), so many copies of one text stay linear.

    Args:
        texts: n texts; lone surrogates are allowed. Empty texts have no shingles and are never paired.
        threshold: Smallest similarity listed, in (0, 1].
        unit: "word", or "char" for languages written without spaces.
        size: Shingle length in units, >= 1. Larger is stricter about word order.
        permutations: Length of the MinHash signature, >= 1. More find more, at proportional cost.
        seed: Seeds the permutations, >= 0; only which pairs near the threshold are missed depends on it.

    Returns:
        NearDuplicates: `pairs (D, 2)` with i < j, sorted; `jaccard (D,)`, exact; `cluster (n,)`, connected components
        of the pairs numbered by their first member. Recall is >= 0.95 at the threshold and >= 0.99 from similarity
        0.9, unless warning code `low_recall` says that `permutations` is too small for this threshold.

    Raises:
        ContractError: An entry is not text, or an option is outside its range.

    References:
        Broder (1997), On the resemblance and containment of documents.
        Indyk, Motwani (1998), Approximate nearest neighbors: towards removing the curse of dimensionality.

    Notes:
        The cost is linear in the texts plus the proposed pairs; k mutually similar, different texts are k (k - 1) / 2
        pairs, all of them listed.
    """
    rows = text_list(texts, "texts")
    threshold = fraction(threshold, "threshold")
    option(unit, "unit", ("word", "char"))
    size = whole_number(size, "size", at_least=1)
    permutations = whole_number(permutations, "permutations", at_least=1)
    seed = whole_number(seed, "seed", at_least=0)
    copies, unique = _copies(rows)
    distinct = [rows[row] for row in unique]
    # A text shorter than a shingle has itself as its only shingle, which no other normal form can share.
    kept, signature = _minhash.signatures(distinct, unit=unit, size=size, permutations=permutations, seed=seed)
    proposed = unique[kept[_minhash.propose(signature, threshold)]]
    similar, similarity = _verified(rows, proposed, threshold, unit, size)
    pairs = np.concatenate([copies, similar])
    jaccard = np.concatenate([np.ones(len(copies)), similarity])
    order = np.lexsort((pairs[:, 1], pairs[:, 0]))
    warnings = _recall_warning(threshold, permutations)
    return NearDuplicates(pairs[order], jaccard[order], _clusters(pairs, len(rows)), warnings)


def _copies(rows: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs (first occurrence, copy) of equal non-empty normal forms, and the first occurrences themselves."""
    first = first_occurrences(rows)
    written = np.array([bool(text) and not text.isspace() for text in rows], dtype=bool)
    is_first = first == np.arange(len(rows))
    copy = np.flatnonzero(~is_first & written)
    return np.column_stack([first[copy], copy]), np.flatnonzero(is_first & written)


def _verified(
    rows: list[str], proposed: NDArray[np.int64], threshold: float, unit: str, size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Keep the proposed pairs whose exact Jaccard similarity reaches the threshold."""

    @lru_cache(maxsize=_CACHED_TEXTS)
    def shingles_of(row: int) -> frozenset[str]:
        return shingles(rows[row], unit=unit, size=size)

    # Tile by tile, so that the texts of a large cluster are cut into shingles once per tile, not once per pair.
    tile = np.unique(proposed, return_inverse=True)[1].reshape(-1, 2) // (_CACHED_TEXTS // 2)
    proposed = proposed[np.lexsort((proposed[:, 1], proposed[:, 0], tile[:, 1], tile[:, 0]))]
    jaccard = np.zeros(len(proposed))
    for k, (i, j) in enumerate(proposed.tolist()):
        one, other = shingles_of(i), shingles_of(j)
        shared = len(one & other)
        jaccard[k] = shared / (len(one) + len(other) - shared)
    return proposed[jaccard >= threshold], jaccard[jaccard >= threshold]


def _clusters(pairs: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Connected components of the pairs, numbered 0, 1, ... by first member, (n,)."""
    if n == 0:
        return np.empty(0, dtype=np.int64)
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    label = connected_components(graph, directed=False)[1]
    _, first_member, compact = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first_member))[compact].astype(np.int64)


def _recall_warning(threshold: float, permutations: int) -> tuple[str, ...]:
    recall = _minhash.proposal_probability(threshold, *_minhash.choose_bands(threshold, permutations))
    if recall >= PROMISED_RECALL:
        return ()
    return (
        f"low_recall: {permutations} permutations propose a pair at threshold {threshold:g} with probability "
        f"{recall:.2f} only; use more permutations",
    )


def pair_duplicates(
    prompts: Sequence[str], first: Sequence[str], second: Sequence[str], winner: ArrayLike | None = None
) -> PairDuplicates:
    """Find repeated, swapped and contradictory rows of a preference table.

    All comparisons are between normal forms (NFKC, case-folded, white space folded).

    Args:
        prompts: Prompt of each of the Q rows.
        first: First response of each row.
        second: Second response of each row.
        winner: 1 or 2 for the response that won, 0 for a tie, shape (Q,). None means the first one was chosen.

    Returns:
        PairDuplicates, one entry per row; indices are -1 where there is no such row.
        `duplicate_of`: earliest earlier row with the same prompt, first, second and winner.
        `swap_of`: earliest earlier row with the responses exchanged and the same winning text (or both ties).
        `contradicts`: earliest earlier row of the same prompt and the same two responses, in either order, that the
        other response won. `contradictory`: both responses have won somewhere; set on all non-tie rows of that pair.
        `identical`: both responses are the same text; `swap_of` and `contradicts` are then -1.
        A tie never contradicts.

    Raises:
        ContractError: Lengths differ, an entry is not text, or a winner is not 0, 1 or 2.
    """
    columns = [text_list(column, name) for column, name in ((prompts, "prompts"), (first, "first"), (second, "second"))]
    n = len(columns[0])
    same_length(prompts=n, first=len(columns[1]), second=len(columns[2]))
    won = _winners(winner, n)
    prompt = first_occurrences(columns[0]).tolist()
    response = first_occurrences(columns[1] + columns[2]).tolist()
    return _match_rows(prompt, response[:n], response[n:], won)


def _winners(winner: ArrayLike | None, n: int) -> list[int]:
    if winner is None:
        return [1] * n
    codes = float_array(winner, "winner", ndim=1)
    same_length(prompts=n, winner=codes.size)
    refuse(~np.isin(codes, (0.0, 1.0, 2.0)), "winner", codes, "expected 1, 2, or 0 for a tie")
    return codes.astype(np.int64).tolist()


def _match_rows(prompt: list[int], first: list[int], second: list[int], winner: list[int]) -> PairDuplicates:
    """Compare rows by the ids of their texts; each dictionary keeps the earliest row of its key."""
    n = len(prompt)
    duplicate_of, swap_of, contradicts = (np.full(n, -1, dtype=np.int64) for _ in range(3))
    seen: dict[tuple[int, int, int, int], int] = {}
    won: dict[tuple[int, int, int], int] = {}
    for row, (p, a, b, w) in enumerate(zip(prompt, first, second, winner, strict=True)):
        duplicate_of[row] = seen.get((p, a, b, w), -1)
        if a != b:
            swap_of[row] = seen.get((p, b, a, (0, 2, 1)[w]), -1)
            if w:
                winning, losing = (a, b) if w == 1 else (b, a)
                contradicts[row] = won.get((p, losing, winning), -1)
                won.setdefault((p, winning, losing), row)
        seen.setdefault((p, a, b, w), row)
    both_won = [
        w > 0 and a != b and (p, a, b) in won and (p, b, a) in won
        for p, a, b, w in zip(prompt, first, second, winner, strict=True)
    ]
    identical = [a == b for a, b in zip(first, second, strict=True)]
    return PairDuplicates(
        duplicate_of, swap_of, contradicts, np.array(both_won, dtype=bool), np.array(identical, dtype=bool), ()
    )

"""Overlap of training texts with evaluation texts, by shared word n-grams."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array

from sweetspot.validation._arguments import fraction, text_list, whole_number
from sweetspot.validation._text import GramBlock, gram_blocks

_BLOCK_MATCHES = 1 << 23  # (text, reference) matches counted together: about 100 MB
_SIEVE_BITS_MAX = 28


@dataclass(frozen=True)
class Contamination:
    """One entry per text; see `ngram_overlap`."""

    containment: NDArray[np.float64]
    reference: NDArray[np.int64]
    shared: NDArray[np.int64]
    hit: NDArray[np.bool_]
    too_short: NDArray[np.bool_]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ReferenceIndex:
    """Which references contain which n-gram."""

    grams: NDArray[np.uint64]  # (grams,) distinct hashes, sorted
    sieve: NDArray[np.bool_]  # (power of two,) True at the low bits of every hash: a quick "certainly not"
    containing: csr_array  # (grams, references), 1 where the reference contains the n-gram
    sizes: NDArray[np.int64]  # (references,) distinct n-grams of each
    n: int  # words per n-gram


def ngram_overlap(
    texts: Sequence[str], references: Sequence[str], *, n: int = 13, threshold: float | None = None
) -> Contamination:
    """Find texts that share word n-grams with a reference, such as the prompts and answers of an evaluation set.

    With G(x) the set of word n-grams of the normal form of x (NFKC, case-folded, white space folded):

        containment(t) = max over references r of |G(t) & G(r)| / min(|G(t)|, |G(r)|)

    Args:
        texts: T texts to check.
        references: Texts that must not occur in them.
        n: Words per n-gram, >= 1. 13 is rarely met by chance; 8 with a threshold of 0.5 is stricter.
        threshold: Containment from which a text is a hit, in (0, 1]; None makes any shared n-gram a hit.

    Returns:
        Contamination, arrays of shape (T,): `containment` in [0, 1]; `reference` where it is attained (the lowest
        index, -1 if nothing is shared); `shared` n-grams with that reference; `hit`; `too_short` texts of fewer than
        n words, which cannot be checked and are never hits. Warning code `short_references`: references of fewer
        than n words cannot be found.

    Raises:
        ContractError: An entry is not text, `n` < 1 or `threshold` outside (0, 1].

    References:
        Brown et al. (2020), Language models are few-shot learners (13-gram overlap).

    Notes:
        N-grams are compared by 64-bit hashes; among 10^8 text and 10^6 reference n-grams the chance of a single
        false match is below 10^-4. The cost is linear in the texts plus the (text, reference, n-gram) matches.
    """
    rows, references = text_list(texts, "texts"), text_list(references, "references")
    least = None if threshold is None else fraction(threshold, "threshold")
    return overlap(rows, index_references(references, n=n), threshold=least)


def overlap(texts: Sequence[str], index: ReferenceIndex, *, threshold: float | None = None) -> Contamination:
    """`ngram_overlap` with references that are indexed already, for texts that come in blocks."""
    rows, n = text_list(texts, "texts"), index.n
    containment = np.zeros(len(rows))
    reference = np.full(len(rows), -1, dtype=np.int64)
    shared = np.zeros(len(rows), dtype=np.int64)
    too_short = np.ones(len(rows), dtype=bool)
    for block in gram_blocks(rows, unit="word", size=n):
        too_short[block.rows] = False
        for row, share, where, count in _best_references(block, index):
            containment[row], reference[row], shared[row] = share, where, count
    hit = containment > 0 if threshold is None else containment >= threshold
    short = int(np.sum(index.sizes == 0))
    message = (
        f"short_references: {short} of {index.sizes.size} references have fewer than {n} words and cannot be found"
    )
    return Contamination(containment, reference, shared, hit, too_short, (message,) if short else ())


def index_references(references: Sequence[str], *, n: int = 13) -> ReferenceIndex:
    """Index texts for `overlap`; n words per n-gram, >= 1."""
    n = whole_number(n, "n", at_least=1)
    owner, hashes = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.uint64)]
    for block in gram_blocks(references, unit="word", size=n):
        position, distinct = _distinct_grams(_positions(block), block.hashes)
        owner.append(block.rows[position])
        hashes.append(distinct)
    owners = np.concatenate(owner)
    grams, gram = np.unique(np.concatenate(hashes), return_inverse=True)
    ones = np.ones(owners.size, dtype=np.int64)
    containing = csr_array((ones, (gram, owners)), shape=(grams.size, len(references)))
    sieve = np.zeros(1 << min(_SIEVE_BITS_MAX, grams.size.bit_length() + 4), dtype=bool)
    sieve[grams & np.uint64(sieve.size - 1)] = True
    return ReferenceIndex(grams, sieve, containing, np.bincount(owners, minlength=len(references)).astype(np.int64), n)


def _positions(block: GramBlock) -> NDArray[np.int64]:
    """Position in `block.rows` of the text of each n-gram, (n-grams,)."""
    return np.repeat(np.arange(block.rows.size), np.diff(block.starts, append=block.hashes.size))


def _distinct_grams(
    position: NDArray[np.int64], hashes: NDArray[np.uint64]
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The distinct (text, n-gram) combinations, sorted."""
    order = np.lexsort((hashes, position))
    position, hashes = position[order], hashes[order]
    new = np.ones(position.size, dtype=bool)
    new[1:] = (position[1:] != position[:-1]) | (hashes[1:] != hashes[:-1])
    return position[new], hashes[new]


def _lookup(hashes: NDArray[np.uint64], index: ReferenceIndex) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each hash occurs in the references, and where in `index.grams` it stands if so."""
    place = np.searchsorted(index.grams, hashes)
    known = place < index.grams.size
    known[known] = index.grams[place[known]] == hashes[known]
    return known, place


def _best_references(
    block: GramBlock, index: ReferenceIndex
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]]:
    """Yield (texts, containment, reference, shared n-grams) for the texts of a block that match anything."""
    position = _positions(block)
    possible = np.flatnonzero(index.sieve[block.hashes & np.uint64(index.sieve.size - 1)])
    suspect = np.zeros(block.rows.size, dtype=bool)
    suspect[position[possible[_lookup(block.hashes[possible], index)[0]]]] = True
    keep = suspect[position]
    position, hashes = _distinct_grams(position[keep], block.hashes[keep])
    sizes = np.bincount(position, minlength=block.rows.size)
    known, place = _lookup(hashes, index)
    position, gram = position[known], place[known]
    matches = np.cumsum(np.diff(index.containing.indptr)[gram])
    low = 0
    while low < gram.size:
        before = matches[low - 1] if low else 0
        high = max(int(np.searchsorted(matches, before + _BLOCK_MATCHES)), low + 1)
        high = int(np.searchsorted(position, position[high - 1], side="right"))  # never cut a text in two
        yield _count_and_choose(block.rows, sizes, position[low:high], gram[low:high], index)
        low = high


def _count_and_choose(
    rows: NDArray[np.int64],
    sizes: NDArray[np.int64],
    position: NDArray[np.int64],
    gram: NDArray[np.int64],
    index: ReferenceIndex,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Count shared n-grams per (text, reference) and keep the best reference of each text, lowest index first."""
    ones = np.ones(gram.size, dtype=np.int64)
    occurs = csr_array((ones, (position, gram)), shape=(rows.size, index.grams.size))
    counts = coo_array(occurs @ index.containing)
    text, reference = counts.coords
    share = counts.data / np.minimum(sizes[text], index.sizes[reference])
    order = np.lexsort((reference, -share, text))
    best = order[np.unique(text[order], return_index=True)[1]]
    return rows[text[best]], share[best], reference[best].astype(np.int64), counts.data[best].astype(np.int64)

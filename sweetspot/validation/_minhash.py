"""MinHash with banding: propose pairs of texts whose n-gram sets probably overlap; the caller verifies them.

Each permutation keeps the smallest hash of a text's n-grams; two texts agree on it with probability equal to their
Jaccard similarity s (Broder 1997). Signatures are cut into b bands of r values; a pair is proposed when any band
agrees entirely, which happens with probability 1 - (1 - s^r)^b. Time and memory are linear in the number of texts
plus the number of proposed pairs.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from sweetspot.validation._text import gram_blocks, mix

PROPOSAL_RECALL = 0.995  # aimed at for a pair exactly at the threshold; 0.95 is promised
_BLOCK_PAIRS = 1 << 17
_ESTIMATE_SDS = 4.0


def choose_bands(threshold: float, permutations: int) -> tuple[int, int]:
    """Return (bands, rows): the most rows per band, hence the fewest proposals, that reach `PROPOSAL_RECALL`.

    One row per band when no choice reaches it.
    """
    for rows in range(permutations, 0, -1):
        if proposal_probability(threshold, permutations // rows, rows) >= PROPOSAL_RECALL:
            return permutations // rows, rows
    return permutations, 1


def proposal_probability(similarity: float, bands: int, rows: int) -> float:
    """Return 1 - (1 - s^rows)^bands, the chance that a pair of Jaccard similarity s is proposed."""
    return 1.0 - (1.0 - similarity**rows) ** bands


def signatures(
    texts: Sequence[str], *, unit: str, size: int, permutations: int, seed: int, normal: bool = False
) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
    """Return the rows that have n-grams, (m,), and their MinHash signatures, (m, permutations); `normal` as below."""
    rng = np.random.default_rng(seed)
    factor = rng.integers(0, 2**31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    offset = rng.integers(0, 2**32, permutations, dtype=np.uint32)
    rows = [np.empty(0, dtype=np.int64)]
    parts = [np.empty((0, permutations), dtype=np.uint32)]
    for block in gram_blocks(texts, unit=unit, size=size, normal=normal):
        short = (block.hashes >> np.uint64(32)).astype(np.uint32)
        part = np.empty((permutations, block.rows.size), dtype=np.uint32)
        scratch = np.empty_like(short)
        for k in range(permutations):
            # An odd factor modulo 2^32 permutes the 32-bit hashes; unsigned arithmetic wraps by definition.
            np.multiply(short, factor[k], out=scratch)
            np.add(scratch, offset[k], out=scratch)
            part[k] = np.minimum.reduceat(scratch, block.starts)
        rows.append(block.rows)
        parts.append(np.ascontiguousarray(part.T))
    return np.concatenate(rows), np.concatenate(parts)


def propose(signature: NDArray[np.uint32], threshold: float) -> NDArray[np.int64]:
    """Return the pairs (i < j) of signature rows worth verifying, (pairs, 2), each once, in no order.

    A pair is dropped when its signatures agree in fewer places than the threshold less four standard deviations
    of that estimate.
    """
    permutations = signature.shape[1]
    keys = band_keys(signature, threshold)
    least = permutations * threshold - _ESTIMATE_SDS * np.sqrt(permutations * threshold * (1.0 - threshold))
    # The low byte of each value is enough here: it agrees by chance once in 256, which only proposes more.
    sketch = signature.astype(np.uint8)
    kept = [np.empty((0, 2), dtype=np.int64)]
    for band in range(keys.shape[1]):
        for i, j in _pairs_with_equal_keys(keys[:, band]):
            new = ~(keys[i, :band] == keys[j, :band]).any(axis=1)
            i, j = i[new], j[new]
            similar = (sketch[i] == sketch[j]).sum(axis=1) >= least
            kept.append(np.column_stack([i[similar], j[similar]]))
    return np.concatenate(kept)


def band_keys(signature: NDArray[np.uint32], threshold: float) -> NDArray[np.uint64]:
    """One 64-bit key per text and band, (m, bands), for pairs from `threshold` on."""
    bands, rows = choose_bands(threshold, signature.shape[1])
    keys = np.zeros((signature.shape[0], bands), dtype=np.uint64)
    for row in range(rows):
        keys = mix(keys + signature[:, row : bands * rows : rows] + np.uint64(1))
    return keys


def propose_neighbours(
    keys: NDArray[np.uint32], sketch: NDArray[np.uint8], threshold: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Like `propose`, but linear however many texts are alike: each meets the first of its band and the next.

    Args:
        keys: (m, bands) of `band_keys`, shortened to 32 bits: chance collisions fall to the estimate below.
        sketch: (m, permutations) low bytes of the signatures.
        threshold: as given to `band_keys`.

    Returns:
        Pairs (i < j), (pairs, 2), each once and sorted, and the similarity estimated from the sketch, (pairs,).
    """
    permutations = sketch.shape[1]
    least = threshold - _ESTIMATE_SDS * np.sqrt(threshold * (1.0 - threshold) / permutations)
    found = [np.empty(0, dtype=np.int64)]
    size = np.int64(max(len(keys), 1))
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        ordered = keys[order, band]
        follows = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
        first = order[np.searchsorted(ordered, ordered[follows])]
        before, later = order[follows - 1], order[follows]
        found.append(np.unique(np.concatenate([first * size + later, before * size + later])))
    pairs = np.unique(np.concatenate(found))
    i, j = pairs // size, pairs % size
    similarity = np.empty(len(pairs))
    for low in range(0, len(pairs), _BLOCK_PAIRS):
        part = slice(low, low + _BLOCK_PAIRS)
        similarity[part] = (sketch[i[part]] == sketch[j[part]]).mean(axis=1)
    kept = similarity >= least
    return np.column_stack([i[kept], j[kept]]), similarity[kept]


def _pairs_with_equal_keys(keys: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield all pairs i < j with equal keys, in blocks of bounded size."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    ends = np.searchsorted(ordered, ordered, side="right")
    partners = ends - np.arange(keys.size) - 1
    place = np.flatnonzero(partners)
    partners = partners[place]
    total = np.cumsum(partners)
    for low in range(0, int(total[-1]) if total.size else 0, _BLOCK_PAIRS):
        pair = np.arange(low, min(low + _BLOCK_PAIRS, int(total[-1])))
        owner = np.searchsorted(total, pair, side="right")
        ahead = pair - (total[owner] - partners[owner]) + 1
        # A stable sort keeps equal keys in row order, so the first of the two is the smaller row.
        yield order[place[owner]], order[place[owner] + ahead]

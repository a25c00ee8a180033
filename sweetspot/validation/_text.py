"""One normal form and one stable n-gram hash of texts, for duplicates and contamination.

Python's `hash` differs between processes, so nothing here uses it: texts and words are hashed with BLAKE2b, and an
n-gram's hash is a polynomial in the hashes of its words, evaluated for many texts at once.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

BLOCK_TOKENS = 1 << 18  # words or characters hashed together: a few MB of arrays
_KNOWN_WORDS_MAX = 2_000_000
_BASE = np.uint64(0x9E3779B97F4A7C15)


def normal_form(text: str) -> str:
    """Return the text in NFKC, case-folded, with every run of white space as one space and none at the ends."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(form: str) -> list[str]:
    """Return the words of a normal form."""
    return form.split(" ") if form else []


def digest(text: str, size_bytes: int = 16) -> bytes:
    """Return a BLAKE2b digest of the text; lone surrogates are allowed."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=size_bytes).digest()


def first_occurrences(texts: Sequence[str]) -> NDArray[np.int64]:
    """Return for each text the first index with the same normal form, (n,); its own index if there is none earlier.

    Only 16-byte digests are kept, so the memory does not grow with the length of the texts.
    """
    seen: dict[bytes, int] = {}
    return np.array([seen.setdefault(digest(normal_form(text)), row) for row, text in enumerate(texts)], dtype=np.int64)


@dataclass(frozen=True)
class GramBlock:
    """The n-gram hashes of some texts, in the order of the text; repeated n-grams are repeated here."""

    rows: NDArray[np.int64]  # (texts,) index of each text that has at least one n-gram
    starts: NDArray[np.int64]  # (texts,) where the n-grams of each of them begin in `hashes`
    hashes: NDArray[np.uint64]  # (n-grams,)


class _WordHashes(dict[str, int]):
    """64-bit hash of a word, computed once per distinct word."""

    def __missing__(self, word: str) -> int:
        value = int.from_bytes(digest(word, 8), "little")
        self[word] = value
        return value


def gram_blocks(texts: Sequence[str], *, unit: str, size: int, normal: bool = False) -> Iterator[GramBlock]:
    """Yield the n-gram hashes of the normal forms, about `BLOCK_TOKENS` tokens at a time.

    Args:
        texts: Texts in any form.
        unit: "word" or "char": what the n-grams are made of.
        size: n >= 1. Texts with fewer tokens have no n-gram and appear in no block.
        normal: The texts are normal forms already.
    """
    known = _WordHashes()
    rows: list[int] = []
    tokens: list[NDArray[np.uint64]] = []
    pending = 0
    for row, text in enumerate(texts):
        hashed = _token_hashes(text if normal else normal_form(text), unit, known)
        if hashed.size < size:
            continue
        rows.append(row)
        tokens.append(hashed)
        pending += hashed.size
        if pending >= BLOCK_TOKENS:
            yield _gram_block(rows, tokens, size)
            rows, tokens, pending = [], [], 0
        if len(known) > _KNOWN_WORDS_MAX:
            known.clear()
    if rows:
        yield _gram_block(rows, tokens, size)


def _token_hashes(form: str, unit: str, known: _WordHashes) -> NDArray[np.uint64]:
    if unit == "char":
        codes = np.frombuffer(form.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        return mix(codes.astype(np.uint64) + np.uint64(1))
    listed = words(form)
    return np.fromiter(map(known.__getitem__, listed), dtype=np.uint64, count=len(listed))


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return a bijective scramble of 64-bit values (the finaliser of SplitMix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _gram_block(rows: list[int], tokens: list[NDArray[np.uint64]], size: int) -> GramBlock:
    lengths = np.array([hashed.size for hashed in tokens], dtype=np.int64)
    flat = np.concatenate(tokens)
    positions = flat.size - size + 1
    grams = flat[:positions].copy()
    for offset in range(1, size):
        grams = grams * _BASE + flat[offset : offset + positions]
    per_row = lengths - size + 1
    starts = np.concatenate([[0], np.cumsum(per_row)[:-1]])
    # Position p of text k is p - (tokens before k) words into it: keep those that do not run into the next text.
    inside = np.arange(per_row.sum()) + np.repeat(np.arange(len(rows)) * (size - 1), per_row)
    return GramBlock(np.array(rows, dtype=np.int64), starts, mix(grams[inside]))

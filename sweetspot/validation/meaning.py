"""Overlap in meaning: which texts lie nearer to a reference than unrelated texts of the same kind do, by embeddings."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sweetspot.errors import ContractError
from sweetspot.validation._arguments import float_array, fraction, whole_number

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
Vectors = NDArray[np.float32]

FEW_TEXTS = 20
_BLOCK_CELLS = 1 << 24  # cosines held at once: 64 MiB


@dataclass(frozen=True)
class MeaningOverlap:
    """How near each text lies to the references; see `meaning_overlap`."""

    similarity: FloatArray
    reference: IntArray
    hit: NDArray[np.bool_]
    threshold: float
    control: FloatArray
    false_alarms: int
    false_alarm_of: int
    warnings: tuple[str, ...]


def nearest_cosine(vectors: ArrayLike, among: ArrayLike) -> tuple[FloatArray, IntArray]:
    """For each vector the largest cosine with one of the others, and which.

    Args:
        vectors: (n, d), finite.
        among: (m, d), m >= 1, finite. A zero vector has cosine 0 with everything.

    Returns:
        Cosines (n,) in [-1, 1], float32 precision, and indices (n,), the lowest of equals. Time n·m·d, in blocks.

    Raises:
        ContractError: not two dimensions, different d, no vector to compare with, or a value that is not finite.
    """
    mine, others = _pair_of("vectors", vectors, "among", among)
    return _nearest(_unit(mine), _unit(others))


def meaning_overlap(
    vectors: ArrayLike, references: ArrayLike, *, false_alarm: float = 0.01, seed: int = 0
) -> MeaningOverlap:
    """Find texts that lie nearer to a reference than texts of their own kind lie to each other.

    The mean of the texts is taken from all vectors first: embeddings of language models share a direction, so that any
    two texts seem alike without it. The control answers how near unrelated texts come: some texts play the references,
    as many as there are, and every other text is compared with them. One half of the control sets the threshold, the
    other half measures how often it is passed by chance.

    Args:
        vectors: (n, d) embeddings of different texts, n >= 20, finite.
        references: (R, d) of the texts that must not occur, R >= 1, by the same model.
        false_alarm: share of unrelated texts that may pass the threshold, in (0, 1).
        seed: >= 0, which texts play the references.

    Returns:
        MeaningOverlap: `similarity (n,)`, largest cosine with a reference; `reference (n,)`, which one; `hit (n,)`,
        above `threshold`; `control (c,)`, the same similarity of unrelated texts; `false_alarms` of `false_alarm_of`
        control texts, not used for the threshold, that pass it. Warning codes `few_controls`: fewer texts than
        references can play them, so that chance is understated; `coarse_threshold`: too few texts for a share so small.

    Raises:
        ContractError: shapes that disagree, too few texts, a value that is not finite, or an option out of range.

    References:
        Mu, Viswanath (2018), All-but-the-top: simple and effective postprocessing for word representations (the mean);
        Yang et al. (2023), Rethinking benchmark and contamination for language models with rephrased samples,
        arXiv:2311.04850 (rephrased test items pass n-gram filters). The control is ours.

    Notes:
        Related texts among the control, such as paraphrases in the data itself, raise the threshold: what is found
        stands out from the data's own likeness. Texts of one subject are alike without being copies: read them.
    """
    mine, others = _pair_of("vectors", vectors, "references", references)
    share, seed = fraction(false_alarm, "false_alarm", below=1.0), whole_number(seed, "seed", at_least=0)
    n = len(mine)
    if n < FEW_TEXTS:
        raise ContractError(f"vectors: got {n} texts, expected at least {FEW_TEXTS}; fewer have no control.")
    mean = mine.mean(axis=0)
    mine, others = _unit(mine - mean), _unit(others - mean)
    players = min(len(others), n // 2)
    order = np.random.default_rng(seed).permutation(n)
    control = _nearest(mine[order[players:]], mine[order[:players]])[0]
    half = len(control) // 2
    threshold = float(np.quantile(control[:half], 1.0 - share, method="higher"))
    similarity, which = _nearest(mine, others)
    return MeaningOverlap(
        similarity=similarity,
        reference=which,
        hit=similarity > threshold,
        threshold=threshold,
        control=control,
        false_alarms=int((control[half:] > threshold).sum()),
        false_alarm_of=len(control) - half,
        warnings=_warnings(len(others), players, half, share),
    )


def _warnings(references: int, players: int, half: int, share: float) -> tuple[str, ...]:
    found = list[str]()
    if players < references:
        found.append(
            f"few_controls: {players} texts stand for {references} references, so unrelated texts pass the threshold "
            "more often than measured"
        )
    if half * share < 1:
        found.append(
            f"coarse_threshold: {half} texts set a threshold that one in {1 / share:.0f} should pass; it is their "
            "largest similarity"
        )
    return tuple(found)


def _pair_of(first: str, one: ArrayLike, second: str, other: ArrayLike) -> tuple[FloatArray, FloatArray]:
    mine, others = (float_array(np.asarray(v), name, ndim=2) for name, v in ((first, one), (second, other)))
    if not len(others):
        raise ContractError(f"{second}: got none, expected at least 1; there is nothing to compare with.")
    if mine.shape[1] != others.shape[1]:
        raise ContractError(
            f"{second}: {others.shape[1]} dimensions, but {first} have {mine.shape[1]}; use one model for both."
        )
    return mine, others


def _unit(rows: FloatArray) -> Vectors:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.where(length > 0, length, 1.0)).astype(np.float32)


def _nearest(vectors: Vectors, among: Vectors) -> tuple[FloatArray, IntArray]:
    best, which = np.empty(len(vectors)), np.empty(len(vectors), dtype=np.int64)
    step = max(1, _BLOCK_CELLS // len(among))
    for start in range(0, len(vectors), step):
        cosine = vectors[start : start + step] @ among.T
        place = cosine.argmax(axis=1)
        which[start : start + step] = place
        best[start : start + step] = cosine[np.arange(len(place)), place]
    return np.clip(best, -1.0, 1.0), which

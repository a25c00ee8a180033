"""Known damage for data whose damage is unknown: choose rows to spoil, and count what a detector makes of them.

A check that finds nothing has either nothing to find or no eyes. Plant errors whose places are known, run the same
check, and count. The control that is usually forgotten is `random_removal`: a cleaning step that takes out k rows must
beat taking out k rows at random.

Nothing here touches the data. Each function names rows; the caller flips, copies or removes them in a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from sweetspot.errors import ContractError
from sweetspot.validation._arguments import float_array, refuse, same_length, text_list, whole_number

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """What a detector made of planted errors; see `detection`."""

    planted: int
    flagged: int
    caught: int
    recall: float
    precision: float | None
    precision_at_planted: float
    auc: float | None
    average_precision: float
    by_chance: float


def flips(candidates: ArrayLike, share: float, *, seed: int = 0) -> BoolArray:
    """Choose labels to turn round: uniformly among the candidates, which is what gives the damage its structure.

    All rows as candidates are careless clicks; the rows of one annotator, one topic, or one trigger word are that
    slice gone wrong; the rows whose shorter response won become "longer wins". Errors in one slice behave differently
    from the same number of errors everywhere.

    Args:
        candidates: (n,) whether a row may be turned round.
        share: of the candidates to turn round, in [0, 1]; rounded to whole rows.
        seed: >= 0; the same seed chooses the same rows.

    Returns:
        (n,) rows to turn round.

    Raises:
        ContractError: `candidates` is not a flag per row, or `share` is outside [0, 1].
    """
    allowed = _flags(candidates, "candidates")
    rows = np.flatnonzero(allowed)
    chosen = np.zeros(allowed.size, dtype=bool)
    chosen[_some(rows, round(_share(share, "share") * rows.size), seed, "flips")] = True
    return chosen


def longer_wins(chosen_lengths: ArrayLike, rejected_lengths: ArrayLike, share: float, *, seed: int = 0) -> BoolArray:
    """Choose labels to turn round so that length decides: `flips` among the rows whose shorter response won.

    Args:
        chosen_lengths: (n,) >= 0, any one unit.
        rejected_lengths: (n,) same unit.
        share: of those rows to turn round; 1 makes the longer response win wherever the lengths differ.
        seed: >= 0.

    Raises:
        ContractError: lengths differ in number, are negative or not finite, or `share` is outside [0, 1].
    """
    chosen = float_array(chosen_lengths, "chosen_lengths", ndim=1)
    rejected = float_array(rejected_lengths, "rejected_lengths", ndim=1)
    same_length(chosen_lengths=chosen.size, rejected_lengths=rejected.size)
    for name, lengths in (("chosen_lengths", chosen), ("rejected_lengths", rejected)):
        refuse(lengths < 0, name, lengths, "expected lengths >= 0")
    return flips(chosen < rejected, share, seed=seed)


def one_slice(codes: ArrayLike, *, at_least: int = 1, seed: int = 0) -> int:
    """Choose one annotator, topic or source to spoil, each with the same chance.

    Args:
        codes: (n,) number of each row's slice, -1 for none.
        at_least: rows a slice must have.
        seed: >= 0.

    Returns:
        The code.

    Raises:
        ContractError: no slice has so many rows.
    """
    values = float_array(codes, "codes", ndim=1).astype(np.int64)
    names, counts = np.unique(values[values >= 0], return_counts=True)
    large = names[counts >= whole_number(at_least, "at_least", at_least=1)]
    if not large.size:
        most = int(counts.max(initial=0))
        raise ContractError(f"codes: no slice has {at_least} rows, the largest has {most}; ask for fewer.")
    return int(_generator(seed, "slice").choice(large))


def random_labels(n: int, *, seed: int = 0) -> BoolArray:
    """Choose rows to turn round so that every label is a coin flip, (n,): nothing may be learnt from what is left.

    Args:
        n: rows, >= 0.
        seed: >= 0.
    """
    return _generator(seed, "labels").random(whole_number(n, "n", at_least=0)) < 0.5


def random_removal(n: int, removed: int, *, seed: int = 0) -> BoolArray:
    """Choose rows to remove at random, (n,): the control for any cleaning that removes as many.

    Args:
        n: rows, >= 0.
        removed: rows to remove, 0 to n.
        seed: >= 0.

    Raises:
        ContractError: more rows are to be removed than there are.
    """
    rows = np.arange(whole_number(n, "n", at_least=0))
    count = whole_number(removed, "removed", at_least=0)
    if count > n:
        raise ContractError(f"removed: got {count} of {n} rows, expected at most all of them.")
    gone = np.zeros(n, dtype=bool)
    gone[_some(rows, count, seed, "removal")] = True
    return gone


def missing(n: int, share: float, *, gap: ArrayLike | None = None, seed: int = 0) -> BoolArray:
    """Choose comparisons to lose, at random or, with `gap`, the clear ones first so that only near ties are left.

    Args:
        n: rows, >= 0.
        share: of the rows to lose, in [0, 1].
        gap: (n,) how clear each comparison is, any sign and unit; NaN counts as least clear.
        seed: >= 0; without `gap` it chooses the rows, with it the order of equally clear ones.

    Returns:
        (n,) rows to remove.

    Raises:
        ContractError: `gap` has another length, or `share` is outside [0, 1].
    """
    count = round(_share(share, "share") * whole_number(n, "n", at_least=0))
    if gap is None:
        return random_removal(n, count, seed=seed)
    size = np.abs(float_array(gap, "gap", ndim=1, missing=True))
    same_length(n=n, gap=size.size)
    clear_first = np.lexsort((_generator(seed, "missing").random(n), -np.nan_to_num(size, nan=-1.0)))
    gone = np.zeros(n, dtype=bool)
    gone[clear_first[:count]] = True
    return gone


def near_copies(texts: Sequence[str], *, word: str = "indeed") -> list[str]:
    """Write each text once more with `word` at its end: a copy that no exact comparison finds.

    Of a text with s different shingles the copy shares s and adds one, so their Jaccard similarity is s / (s + 1).

    Raises:
        ContractError: an entry is not text, or `word` is empty or not one word.
    """
    if len(word.split()) != 1:
        raise ContractError(f"word: got {word!r}, expected one word.")
    return [f"{text} {word}" for text in text_list(texts, "texts")]


def detection(planted: ArrayLike, suspicion: ArrayLike, flagged: ArrayLike) -> Detection:
    """Count what a detector made of planted errors.

    The data's own errors, which nobody knows, count as false alarms here, so precision is a lower bound.

    Args:
        planted: (n,) whether a row was spoilt.
        suspicion: (n,) how suspicious the detector finds each row, larger is worse; NaN, no opinion, is least.
        flagged: (n,) rows that the detector would act on.

    Returns:
        Detection: counts of `planted`, `flagged` and `caught` = both; `recall` = caught / planted; `precision` =
        caught / flagged, None when nothing is flagged; `precision_at_planted`, the share of spoilt rows among the
        most suspicious `planted` rows, ties shared out evenly; `auc`, the chance that a spoilt row is more suspicious
        than another, ties half, None without another row; `average_precision`; `by_chance` = planted / n, what the
        last three precisions would be for a blind detector.

    Raises:
        ContractError: lengths differ, nothing was planted, or an entry is not a flag or a number.
    """
    spoilt, acted = _flags(planted, "planted"), _flags(flagged, "flagged")
    doubt = float_array(suspicion, "suspicion", ndim=1, missing=True)
    same_length(planted=spoilt.size, suspicion=doubt.size, flagged=acted.size)
    count, n = int(spoilt.sum()), spoilt.size
    if count == 0:
        raise ContractError(f"planted: none of {n} rows was spoilt; plant at least one error.")
    doubt = np.where(np.isnan(doubt), -np.inf, doubt)
    caught = int((spoilt & acted).sum())
    hits, ends = _hits_by_suspicion(spoilt, doubt)
    return Detection(
        planted=count,
        flagged=int(acted.sum()),
        caught=caught,
        recall=caught / count,
        precision=caught / int(acted.sum()) if acted.any() else None,
        precision_at_planted=_precision_at(hits, ends, count),
        auc=_auc(spoilt, doubt),
        average_precision=float(np.sum(hits * np.cumsum(hits) / ends)) / count,
        by_chance=count / n,
    )


def _hits_by_suspicion(spoilt: BoolArray, doubt: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Spoilt rows at each level of suspicion, the highest first, and rows down to and including that level."""
    level = np.unique(-doubt, return_inverse=True)[1]
    hits, rows = np.bincount(level, spoilt).astype(np.float64), np.bincount(level)
    return hits, np.cumsum(rows).astype(np.float64)


def _precision_at(hits: FloatArray, ends: FloatArray, count: int) -> float:
    starts = np.concatenate([[0.0], ends[:-1]])
    taken = np.clip((count - starts) / (ends - starts), 0.0, 1.0)
    return float(np.sum(hits * taken)) / count


def _auc(spoilt: BoolArray, doubt: FloatArray) -> float | None:
    count, others = int(spoilt.sum()), int((~spoilt).sum())
    if not others:
        return None
    above = float(rankdata(doubt)[spoilt].sum()) - count * (count + 1) / 2
    return above / (count * others)


def _generator(seed: int, purpose: str) -> np.random.Generator:
    # A control drawn with the same seed as the damage must not draw the same rows.
    return np.random.default_rng([whole_number(seed, "seed", at_least=0), *purpose.encode()])


def _some(rows: IntArray, count: int, seed: int, purpose: str) -> IntArray:
    return _generator(seed, purpose).permutation(rows)[:count]


def _flags(values: ArrayLike, name: str) -> BoolArray:
    array = float_array(values, name, ndim=1)
    refuse(~np.isin(array, (0.0, 1.0)), name, array, "expected True or False")
    return array == 1.0


def _share(value: float, name: str) -> float:
    share = float(float_array(value, name, ndim=0))
    if not 0.0 <= share <= 1.0:
        raise ContractError(f"{name}: got {value}, expected a share in [0, 1].")
    return share

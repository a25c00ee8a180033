"""What can be spoilt in each kind of table, what the audit's own detectors make of it, and what is left afterwards."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.estimate import estimate
from sweetspot.auditing.groups import repeats
from sweetspot.auditing.spoil import (
    hide_scores,
    mirror_scores,
    take_pairs,
    take_prompts,
    take_units,
    take_votes,
    turn_pairs,
    turn_votes,
)
from sweetspot.auditing.tables import Labels, Pairs, Scores, Table, Votes
from sweetspot.auditing.winners import TIE
from sweetspot.errors import ContractError
from sweetspot.raters import consensus
from sweetspot.validation.adversarial import random_removal
from sweetspot.validation.agreement import krippendorff_alpha
from sweetspot.validation.correlation import within_group_spearman

BoolArray = NDArray[np.bool_]
IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float64]

MAX_PAIRS, MAX_UNITS, MAX_RESPONSES = 20_000, 1_500, 6_000
"""A larger table is tried on a sample of so many rows."""
_NEIGHBOURS = 3


@dataclass(frozen=True)
class Look:
    """What the detectors make of a spoilt copy.

    Attributes:
        suspicion: (n,) of each label, larger is worse, NaN without an opinion.
        flagged: (n,) labels that cleaning would act on.
        error_left: share of wrong labels (or decisions) after cleaning.
        agreement: of the annotators beyond chance, 1 perfect and 0 none; None with one label per row.
    """

    suspicion: FloatArray
    flagged: BoolArray
    error_left: float
    agreement: float | None = None


@dataclass(frozen=True)
class Subject:
    """A table as n labels that can be turned round.

    Attributes:
        noun: what a label is here.
        decides: what is counted as wrong afterwards.
        candidates: (n,) labels that can be turned.
        prompt: (n,) what they are about; a trigger word spoils all labels of some prompts.
        slices: (n,) codes by name of the slice, -1 for none: `annotator`, `topic`.
        topic_names: of the codes of the slice `topic`; empty where topics have no names.
        shorter_won: (n,) None where lengths are unknown.
        look: what the detectors make of a copy with those labels turned.
        untouched: error share of that copy without cleaning, after removing some labels.
        kept: agreement with the full data after losing some labels, None where labels do not support each other.
        clarity: (n,) how clear the comparison behind each label is.
    """

    noun: str
    decides: str
    candidates: BoolArray
    prompt: IntArray
    slices: Mapping[str, IntArray]
    topic_names: tuple[str, ...]
    shorter_won: BoolArray | None
    look: Callable[[BoolArray], Look]
    untouched: Callable[[BoolArray, BoolArray], float]
    kept: Callable[[BoolArray], float] | None
    clarity: FloatArray

    def __len__(self) -> int:
        return len(self.candidates)


def subject_of(table: Table, topics: Labels | None, *, seed: int = 0) -> Subject:
    """Prepare a table, or a sample of it; `topics` are those of rows (pairs, responses) or units (votes)."""
    rows = sampled(table, seed=seed)
    if isinstance(table, Pairs):
        return _pairs(table, rows, topics)
    return _votes(table, rows, topics) if isinstance(table, Votes) else _scores(table, rows, topics)


def sampled(table: Table, *, seed: int = 0) -> IntArray:
    """Rows (pairs, responses) or units (votes) that damage is tried on, ascending; all of a small table."""
    if isinstance(table, Pairs):
        return _sample(len(table), MAX_PAIRS, seed)
    if isinstance(table, Votes):
        return _sample(len(table.units), MAX_UNITS, seed)
    prompts = np.unique(table.prompt)
    most = max(1, MAX_RESPONSES * prompts.size // max(1, len(table)))
    return np.flatnonzero(np.isin(table.prompt, prompts[_sample(prompts.size, most, seed)]))


def _sample(n: int, most: int, seed: int) -> IntArray:
    return np.flatnonzero(~random_removal(n, max(0, n - most), seed=seed))


def _pairs(table: Pairs, rows: IntArray, topics: Labels | None) -> Subject:
    pairs = take_pairs(table, rows)
    n = len(pairs)
    margin = pairs.margin()

    def look(turned: BoolArray) -> Look:
        spoilt = turn_pairs(pairs, turned)
        wrong = estimate(spoilt).error_probability
        contradictory = repeats(spoilt).contradictory
        flagged = (wrong > 0.5) | contradictory
        suspicion = np.where(contradictory, np.fmax(wrong, 0.5), wrong)
        return Look(suspicion, flagged, _share(turned & ~flagged, ~flagged))

    return Subject(
        noun="labels",
        decides="share of kept labels that were turned round",
        candidates=~pairs.tie & ~repeats(pairs).identical,
        prompt=repeats(pairs).prompt,
        slices={
            "annotator": _codes(pairs.labels.get("annotator"), n),
            "topic": _none(n) if topics is None else topics.codes[rows],
        },
        topic_names=() if topics is None else topics.names,
        shorter_won=pairs.chars[:, 1] < pairs.chars[:, 2],
        look=look,
        untouched=lambda turned, removed: _share(turned & ~removed, ~removed),
        kept=None,
        clarity=np.zeros(n) if margin is None else np.abs(margin),
    )


def _votes(table: Votes, units: IntArray, topics: Labels | None) -> Subject:
    votes = take_units(table, units)
    truth = _truth(votes)

    def look(turned: BoolArray) -> Look:
        spoilt = turn_votes(votes, turned)
        found = estimate(spoilt)
        label, wrong = found.label[votes.unit], found.error_probability[votes.unit]
        against = (label >= 0) & (spoilt.code != label)
        suspicion = np.where(label < 0, np.nan, np.where(against, 1 - wrong, wrong))
        return Look(suspicion, against, _wrong_decisions(found.label, truth), _alpha(spoilt))

    def untouched(turned: BoolArray, removed: BoolArray) -> float:
        left = take_votes(turn_votes(votes, turned), ~removed)
        return _wrong_decisions(_majority(left), truth)

    counts = votes.counts()
    lead = np.sort(counts, axis=1)[:, -1] - np.sort(counts, axis=1)[:, -2] if counts.shape[1] > 1 else counts[:, 0]
    full = estimate(votes).label
    return Subject(
        noun="votes",
        decides="share of wrong decisions",
        candidates=votes.code < TIE if votes.paired else np.full(len(votes), len(votes.classes) > 1),
        prompt=votes.unit,
        slices={
            "annotator": votes.rater,
            "topic": _none(len(votes)) if topics is None else topics.codes[units][votes.unit],
        },
        topic_names=() if topics is None else topics.names,
        shorter_won=None,
        look=look,
        untouched=untouched,
        kept=lambda lost: 1 - _wrong_decisions(estimate(take_votes(votes, ~lost)).label, full),
        clarity=lead[votes.unit].astype(np.float64),
    )


def _truth(votes: Votes) -> IntArray:
    """The true class of each unit where the data names enough of them, else what the undisturbed votes say."""
    if votes.gold is not None and np.sum(votes.gold >= 0) >= 30:
        return votes.gold
    return estimate(votes).label


def _alpha(votes: Votes) -> float | None:
    """Krippendorff's alpha; None where no unit has two votes or only one class occurs."""
    try:
        return krippendorff_alpha(votes.packed())
    except ContractError:
        return None


def _majority(votes: Votes) -> IntArray:
    counts = votes.counts()
    top = counts.max(axis=1, keepdims=True, initial=0)
    alone = ((counts == top).sum(axis=1) == 1) & (top[:, 0] > 0)
    return np.where(alone, counts.argmax(axis=1), -1).astype(np.int64)


def _wrong_decisions(label: IntArray, truth: IntArray) -> float:
    """Share of decisions unlike the truth; no decision is half wrong, as a coin would be."""
    known = truth >= 0
    return float(np.where(label < 0, 0.5, label != truth)[known].mean()) if known.any() else 0.0


def _scores(table: Scores, rows: IntArray, topics: Labels | None) -> Subject:
    scores = take_prompts(table, np.unique(table.prompt[rows]))
    shape = scores.score.shape
    rated = np.isfinite(scores.score)
    ends = _within_prompts(scores.prompt)
    full = consensus(scores.score).quality
    topic = _none(len(scores)) if topics is None else topics.codes[rows]

    def look(turned: BoolArray) -> Look:
        spoilt = mirror_scores(scores, turned.reshape(shape))
        fit = consensus(spoilt.score)
        left = _wrong_order(fit.quality, full, ends)
        return Look(np.abs(fit.residual).ravel(), fit.outlier.ravel(), left, _same_order(spoilt))

    def untouched(turned: BoolArray, removed: BoolArray) -> float:
        spoilt = hide_scores(mirror_scores(scores, turned.reshape(shape)), removed.reshape(shape))
        return _wrong_order(consensus(spoilt.score, method="mean").quality, full, ends)

    def kept(lost: BoolArray) -> float:
        return 1 - _wrong_order(consensus(hide_scores(scores, lost.reshape(shape)).score).quality, full, ends)

    return Subject(
        noun="scores",
        decides="share of response pairs in the wrong order",
        candidates=rated.ravel(),
        prompt=np.repeat(scores.prompt, shape[1]),
        slices={"annotator": np.tile(np.arange(shape[1]), shape[0]), "topic": np.repeat(topic, shape[1])},
        topic_names=() if topics is None else topics.names,
        shorter_won=None,
        look=look,
        untouched=untouched,
        kept=kept,
        clarity=np.repeat(np.abs(np.nan_to_num(full)), shape[1]),
    )


def _same_order(scores: Scores) -> float | None:
    """Mean rank correlation of two raters within a prompt; None where no two raters meet."""
    pairs = combinations(range(scores.score.shape[1]), 2)
    found = [within_group_spearman(scores.prompt, scores.score[:, i], scores.score[:, j]) for i, j in pairs]
    there = [one for one in found if one is not None]
    return float(np.mean(there)) if there else None


def _within_prompts(prompt: IntArray) -> IntArray:
    """Pairs of neighbouring responses of the same prompt, (m, 2)."""
    order = np.argsort(prompt, kind="stable")
    found = [np.empty((0, 2), dtype=np.int64)]
    for step in range(1, _NEIGHBOURS + 1):
        same = prompt[order[step:]] == prompt[order[:-step]]
        found.append(np.column_stack([order[:-step][same], order[step:][same]]))
    return np.concatenate(found)


def _wrong_order(quality: FloatArray, truth: FloatArray, ends: IntArray) -> float:
    """Share of pairs ordered unlike the truth; a tie, or no quality at all, is half wrong."""
    true, seen = truth[ends[:, 0]] - truth[ends[:, 1]], quality[ends[:, 0]] - quality[ends[:, 1]]
    decided = np.isfinite(true) & (true != 0)
    if not decided.any():
        return 0.0
    undecided = ~np.isfinite(seen) | (seen == 0)
    return float(np.where(undecided, 0.5, np.sign(seen) != np.sign(true))[decided].mean())


def _share(part: BoolArray, whole: BoolArray) -> float:
    return float(part.sum() / whole.sum()) if whole.any() else 0.0


def _codes(labels: Labels | None, n: int) -> IntArray:
    return _none(n) if labels is None else labels.codes


def _none(n: int) -> IntArray:
    return np.full(n, -1, dtype=np.int64)

"""Which preferences go on, which are turned, and which leave for what reason; no texts are needed to decide."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from sweetspot import ids
from sweetspot.auditing.checks.duplicates import clusters
from sweetspot.auditing.estimate import Estimate
from sweetspot.auditing.groups import text_ids
from sweetspot.auditing.inspection import Inspection
from sweetspot.auditing.scored import Scored
from sweetspot.auditing.selection import select
from sweetspot.auditing.settings import Audit
from sweetspot.auditing.tables import FLAWS, Pairs, Scores, Votes
from sweetspot.auditing.winners import SECOND, TIE
from sweetspot.errors import ContractError
from sweetspot.pairing import pair_positions
from sweetspot.raters import consensus

BoolArray = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

MOSTLY_CONTAINED = 0.5
EVAL_SPLITS = ("eval", "test", "validation", "valid", "dev")
REASONS: Mapping[str, str] = {
    "tie": "nobody won, so there is no preference to learn",
    "undecided": "the votes do not decide",
    "no_text": "the source has no texts for it",
    "identical_responses": "chosen and rejected are the same text",
    "duplicate": "repeats an earlier row word for word",
    "near_duplicate": "its responses are nearly those of an earlier row",
    "contradiction": "the same two responses are labelled both ways",
    "degenerate_chosen": "the chosen response is empty, looping or run on",
    "contaminated": "it shares most of its word runs with a named reference",
    "leaks_into_eval": "its prompt stands in the evaluation split, too",
    "label_doubtful": "its label is more likely wrong than allowed",
    "no_margin": "it has no score margin to be selected by",
    "not_scored": "the models could not score it, so it has no implicit margin to be selected by",
    "margin_not_positive": "its margin does not support the label",
    "not_selected": "its margins are not among the best",
    "too_few": "fewer than two responses with a quality",
    "sigma_zero": "all its responses have the same quality",
    "no_gap": "no rejected response lies below the chosen one",
    "no_rating": "it has no rating that a goal could name",
    "equal_ratings": "equal ratings cannot be told apart by a goal",
    "same_text": "best and worst response are the same text",
}
"""Why a preference may leave, in words."""


@dataclass(frozen=True)
class Decisions:
    """What becomes of each candidate preference; n candidates.

    Attributes:
        unit: what a candidate is: `pair`, `unit` of votes, or `prompt` of responses.
        row_id: (n,) the user's name of it.
        first: (n,) place in the source of the response that is chosen unless turned, -1 where there is none.
        second: (n,) place of the other one; the same row for pairs.
        entry: (n, 2) which response of those rows, for layouts with several in one row; 0 otherwise.
        turned: (n,) deliver the second as chosen.
        kept: (n,) goes on.
        reason: (n,) why it left, or was flagged or turned; empty for the rest.
        error_probability: (n,) that the label, as delivered, is wrong; NaN where unknown.
        rating: (n, 2) rating of the delivered chosen and rejected, NaN where there is none.
        route: (n,) `dpo` or `sft`.
        is_eval: (n,) it goes to the evaluation split: its row says so, or its prompt is held out.
        implicit: (n,) implicit margin of the delivered chosen over rejected, nats; NaN where there is none.
        notes: what selection did, one sentence each.
    """

    unit: str
    row_id: NDArray[np.object_]
    first: IntArray
    second: IntArray
    entry: IntArray
    turned: BoolArray
    kept: BoolArray
    reason: NDArray[np.object_]
    error_probability: FloatArray
    rating: FloatArray
    route: NDArray[np.object_]
    is_eval: BoolArray
    implicit: FloatArray
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.row_id)

    def counts(self, which: BoolArray) -> dict[str, int]:
        """Candidates of a kind by reason."""
        names, counts = np.unique(self.reason[which].astype(str), return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


class _Verdicts:
    """Marks candidates one rule after another; the first reason counts."""

    def __init__(self, n: int, *, only_flag: bool) -> None:
        self.kept, self.reason = np.ones(n, dtype=bool), np.full(n, "", dtype=object)
        self._only_flag = only_flag

    def drop(self, which: BoolArray, reason: str, *, always: bool = False) -> None:
        """Let candidates go, or only name the reason where rows are flagged."""
        new = which & self.kept & (self.reason == "")
        self.reason[new] = reason
        if always or not self._only_flag:
            self.kept[new] = False

    def mark(self, which: BoolArray, reason: str) -> None:
        """Name a reason and keep the candidates."""
        self.reason[which & self.kept & (self.reason == "")] = reason


def decide(
    table: Pairs | Votes | Scores,
    inspected: Inspection,
    settings: Audit,
    *,
    places: IntArray | None = None,
    prompt_keys: NDArray[np.uint64] | None = None,
    containment: Mapping[str, FloatArray] | None = None,
    scored: Scored | None = None,
) -> Decisions:
    """What becomes of every preference the table holds.

    Args:
        table: as measured.
        inspected: its findings.
        settings: action, threshold and selection.
        places: (units,) a row of the source with the texts of each unit of votes, -1 where there is none.
        prompt_keys: (units, 2) hash of each unit's prompt.
        containment: overlap with references by part of the row, as measured.
        scored: which models scored the pairs; None where none was named.

    Raises:
        ContractError: selection is asked for and there are no margins.
    """
    if isinstance(table, Votes):
        found = _decide_votes(table, inspected.estimate, settings, places)
        keys = prompt_keys
    elif isinstance(table, Scores):
        found = _decide_scores(table, settings)
        keys = table.keys[np.unique(table.prompt, return_index=True)[1], 0]
    else:
        found = _decide_pairs(table, inspected, settings, containment or {})
        keys = table.keys[:, 0]
    if keys is not None and settings.held_out_fraction > 0:
        found = replace(found, is_eval=found.is_eval | _held_out(keys, settings.held_out_fraction))
    chosen = select(
        found.kept,
        found.is_eval,
        found.rating[:, 0] - found.rating[:, 1],
        found.implicit,
        settings.selection,
        need_implicit=scored is not None and scored.has_implicit,
    )
    reason = np.where(found.kept & ~chosen.kept, chosen.reason, found.reason).astype(object)
    found = replace(found, kept=chosen.kept, reason=reason, route=chosen.route, notes=chosen.notes)
    return _relabelled(found) if settings.relabelling.enabled else found


def _held_out(keys: NDArray[np.uint64], fraction: float) -> BoolArray:
    """A fixed share of the prompts, by their hashes."""
    return np.array([ids.uniform(key.tobytes().hex(), "held-out") < fraction for key in keys], dtype=bool)


def _relabelled(found: Decisions) -> Decisions:
    """Only rows with two different ratings can be told apart by a goal."""
    kept, reason = found.kept.copy(), found.reason.copy()
    margin = found.rating[:, 0] - found.rating[:, 1]
    for which, name in ((np.isnan(margin), "no_rating"), (margin == 0, "equal_ratings")):
        reason[which & kept] = name
        kept &= ~which
    return replace(found, kept=kept, reason=reason)


def _decide_pairs(
    pairs: Pairs, inspected: Inspection, settings: Audit, containment: Mapping[str, FloatArray]
) -> Decisions:
    n, same = len(pairs), inspected.repeats
    assert same is not None
    verdicts = _Verdicts(n, only_flag=settings.clean == "flag")
    wrong = inspected.estimate.error_probability.copy()
    unknown = np.isnan(wrong) & same.contradictory
    wrong[unknown] = 0.5  # one of the two labels is wrong, and nothing says which
    verdicts.drop(pairs.tie, "tie", always=True)
    verdicts.drop(same.identical, "identical_responses")
    verdicts.drop(same.duplicate_of >= 0, "duplicate")
    if settings.clean != "reweight":
        verdicts.drop(same.contradictory & (wrong == 0.5), "contradiction")
    verdicts.drop((pairs.flaws[:, 0] & ~np.uint8(1 << FLAWS.index("refusal"))) > 0, "degenerate_chosen")
    if containment:
        worst = np.max(np.stack(list(containment.values())), axis=0)
        verdicts.drop(worst >= MOSTLY_CONTAINED, "contaminated")
    is_eval = _is_eval(pairs)
    prompt = text_ids(pairs.keys[:, 0])
    verdicts.drop(np.isin(prompt, prompt[is_eval]) & ~is_eval, "leaks_into_eval")
    if inspected.near is not None and len(inspected.near.pairs):
        cluster = clusters(inspected.near.pairs, n)
        first = np.zeros(n, dtype=bool)
        alive = np.flatnonzero(verdicts.kept)
        first[alive[np.unique(cluster[alive], return_index=True)[1]]] = True
        verdicts.drop((np.bincount(cluster, minlength=n)[cluster] > 1) & ~first, "near_duplicate")
    turned = _doubted(verdicts, wrong, settings)
    scores = [pairs.numbers.get(f"score_{side}", np.full(n, np.nan)) for side in ("chosen", "rejected")]
    rating = np.stack(scores, axis=1)
    rating[turned] = rating[turned, ::-1]
    margin = pairs.implicit_margin()
    implicit = np.full(n, np.nan) if margin is None else np.where(turned, -margin, margin)
    return Decisions(
        "pair", pairs.row_id, pairs.row, pairs.row, np.zeros((n, 2), dtype=np.int64), turned, verdicts.kept,
        verdicts.reason, np.where(turned, 1 - wrong, wrong), rating, _dpo(n), is_eval, implicit,
    )  # fmt: skip


def _is_eval(pairs: Pairs) -> BoolArray:
    split = pairs.labels.get("split")
    if split is None:
        return np.zeros(len(pairs), dtype=bool)
    names = np.array([name.lower() in EVAL_SPLITS for name in split.names] + [False])
    return names[split.codes]


def _doubted(verdicts: _Verdicts, wrong: FloatArray, settings: Audit) -> BoolArray:
    """Apply the action to labels above the threshold; returns which are turned."""
    doubtful = np.nan_to_num(wrong, nan=0.0) > settings.doubt_above
    turned = np.zeros(len(wrong), dtype=bool)
    if settings.clean == "drop":
        verdicts.drop(doubtful, "label_doubtful")
    elif settings.clean == "flip":
        turned = doubtful & verdicts.kept & (wrong > 0.5)
        verdicts.mark(turned, "label_flipped")
        verdicts.drop(doubtful & ~turned, "label_doubtful")
    else:
        verdicts.mark(doubtful, "label_doubtful")
    return turned


def _decide_votes(votes: Votes, found: Estimate, settings: Audit, places: IntArray | None) -> Decisions:
    n = len(votes.units)
    if not votes.paired or places is None:
        raise ContractError(
            "votes: a version of preferences needs votes that prefer one of two responses and the columns with prompt "
            "and both responses; the aggregated labels are in labels.parquet"
        )
    verdicts = _Verdicts(n, only_flag=settings.clean == "flag")
    verdicts.drop(places < 0, "no_text", always=True)
    verdicts.drop(found.label < 0, "undecided", always=True)
    verdicts.drop(found.label == TIE, "tie", always=True)
    # The aggregated label already is the better one, so nothing is left to turn: what is too doubtful can only leave.
    doubtful = np.nan_to_num(found.error_probability, nan=0.0) > settings.doubt_above
    if settings.clean in ("drop", "flip"):
        verdicts.drop(doubtful, "label_doubtful")
    verdicts.mark(doubtful, "label_doubtful")
    return Decisions(
        "unit", np.array(votes.units, dtype=object), places, places, np.zeros((n, 2), dtype=np.int64),
        found.label == SECOND, verdicts.kept, verdicts.reason, found.error_probability, np.full((n, 2), np.nan),
        _dpo(n), np.zeros(n, dtype=bool), np.full(n, np.nan),
    )  # fmt: skip


def _decide_scores(scores: Scores, settings: Audit) -> Decisions:
    """The best and the worst usable response of each prompt, by the robust consensus of the raters."""
    fit = consensus(scores.score)
    quality = fit.quality.copy()
    quality[(scores.flaws & ~np.uint8(1 << FLAWS.index("refusal"))) > 0] = np.nan
    if settings.clean != "flag":
        quality[fit.disagreement] = np.nan
    order = np.argsort(scores.prompt, kind="stable")
    prompt, start, count = np.unique(scores.prompt[order], return_index=True, return_counts=True)
    column = np.arange(len(order)) - np.repeat(start, count)
    shape = (len(prompt), int(count.max()))
    grid, text = np.full(shape, np.nan), np.full(shape, -1, dtype=np.int64)
    where = np.full(shape, -1, dtype=np.int64)
    row = np.repeat(np.arange(len(prompt)), count)
    grid[row, column], where[row, column] = quality[order], order
    text[row, column] = text_ids(scores.keys[order, 1])
    picked = pair_positions(grid, chosen="max", rejected="min", text_ids=text)
    rows = np.arange(len(prompt))
    ok = picked.reason == "ok"
    best, worst = (np.where(ok, where[rows, np.maximum(side, 0)], 0) for side in (picked.chosen, picked.rejected))
    rating = np.stack([quality[best], quality[worst]], axis=1)
    rating[~ok] = np.nan
    first = scores.row_id[where[:, 0]]
    return Decisions(
        "prompt", np.array([f"prompt of {name}" for name in first], dtype=object), np.where(ok, scores.row[best], -1),
        np.where(ok, scores.row[worst], -1), np.stack([_entry(scores, best), _entry(scores, worst)], axis=1),
        np.zeros(len(prompt), dtype=bool), ok.copy(), np.where(ok, "", picked.reason).astype(object),
        np.full(len(prompt), np.nan), rating, _dpo(len(prompt)), np.zeros(len(prompt), dtype=bool),
        np.full(len(prompt), np.nan),
    )  # fmt: skip


def _entry(scores: Scores, which: IntArray) -> IntArray:
    """Number of a response within its row of the source; rows with lists are read in order."""
    first = np.searchsorted(scores.row, scores.row[which], side="left") if np.all(np.diff(scores.row) >= 0) else which
    return which - first


def _dpo(n: int) -> NDArray[np.object_]:
    return np.full(n, "dpo", dtype=object)

"""Every check that a table allows, in the order of the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks import (
    agreement,
    annotators,
    degenerate,
    displacement,
    duplicates,
    gold,
    intransitivity,
    label_errors,
    leakage,
    length,
    likelihood,
    margins,
    near_prompts,
    position,
    raters,
    self_preference,
    style,
)
from sweetspot.auditing.checks.duplicates import NearPairs
from sweetspot.auditing.checks.near_prompts import PromptsOf
from sweetspot.auditing.earned import earned
from sweetspot.auditing.estimate import Estimate, estimate
from sweetspot.auditing.findings import Finding
from sweetspot.auditing.groups import Repeats, repeats
from sweetspot.auditing.scored import Scored
from sweetspot.auditing.tables import Pairs, Scores, Table, Votes
from sweetspot.errors import ContractError, ConvergenceError

TextsOf = Callable[[Sequence[int]], dict[int, tuple[str, str]]]
"""Places in the source to chosen and rejected text."""


@dataclass(frozen=True)
class References:
    """What rows were compared with: see `leakage.check_contamination`."""

    names: tuple[str, ...] = ()
    containment: Mapping[str, NDArray[np.float64]] = field(default_factory=dict[str, NDArray[np.float64]])
    words: int = 13
    short: int = 0


@dataclass(frozen=True)
class Inspection:
    """What all checks found, and what cleaning needs of it.

    Attributes:
        findings: in the order of the report.
        estimate: of label errors.
        repeats: of pairs; None for other tables.
        near: rows that are nearly the same; None for other tables or when not looked for.
    """

    findings: tuple[Finding, ...]
    estimate: Estimate
    repeats: Repeats | None = None
    near: NearPairs | None = None


def inspect(
    table: Table, references: References, texts_of: TextsOf, prompts_of: PromptsOf, *, scored: Scored | None = None
) -> Inspection:
    """Run all checks; one that cannot work on this data says so in its finding.

    Args:
        table: what is audited.
        references: what it was compared with.
        texts_of: reads responses of pairs again.
        prompts_of: reads their prompts again.
        scored: which model scored the pairs; None where none was named.
    """
    found = estimate(table)
    if isinstance(table, Votes):
        found = earned(found, table.gold)
        return Inspection(_votes(table, found), found)
    compared = _guarded(
        "contamination",
        lambda: leakage.check_contamination(
            table, references.containment, n=references.words, short=references.short, names=references.names
        ),
    )
    if isinstance(table, Scores):
        findings = (
            *_guarded("raters", lambda: raters.check(table)),
            *duplicates.check_scores(table),
            *degenerate.check(table),
            *compared,
        )
        return Inspection(findings, found)
    same = repeats(table)
    near, opposite = near_pairs(table, same, texts_of)
    findings = (
        *label_errors.check(table, found),
        *margins.check(table),
        *duplicates.check(table, same),
        *(duplicates.check_near(table, near, opposite) if near is not None else ()),
        *near_prompts.check(table, same, prompts_of),
        *_guarded("length_bias", lambda: length.check(table)),
        *_guarded("format_bias", lambda: style.check(table)),
        *self_preference.check(table),
        *_guarded("intransitivity", lambda: intransitivity.check(table)),
        *degenerate.check(table),
        *leakage.check(table),
        *compared,
        *_guarded("likelihoods", lambda: likelihood.check(table, scored)),
        *(_guarded("displacement_risk", lambda: displacement.check(table, scored)) if scored is not None else ()),
    )
    return Inspection(findings, found, same, near)


def _votes(votes: Votes, found: Estimate) -> tuple[Finding, ...]:
    return (
        *_guarded("agreement", lambda: agreement.check(votes)),
        *label_errors.check(votes, found),
        *gold.check(votes, found),
        *annotators.check(votes, found),
        *_guarded("position_bias", lambda: position.check(votes)),
        *self_preference.check(votes),
        *_guarded("intransitivity", lambda: intransitivity.check(votes)),
    )


def _guarded(name: str, check: Callable[[], tuple[Finding, ...]]) -> tuple[Finding, ...]:
    """What a check found; where its method refuses this data, that is the finding."""
    try:
        return check()
    except (ContractError, ConvergenceError) as error:
        says = f"The method cannot work on this data: {str(error)[:200]}"
        return (Finding(name, name.replace("_", " ").capitalize(), "not_checked", says),)


def near_pairs(pairs: Pairs, same: Repeats, texts_of: TextsOf) -> tuple[NearPairs | None, NDArray[np.bool_]]:
    """Rows with nearly the same responses, verified on their texts, and whether they prefer opposite ones."""
    if pairs.responses is None:
        return None, np.empty(0, dtype=bool)
    proposed = duplicates.propose(pairs.responses, same.pair)
    rows = proposed.rows()
    row_of = dict(zip(pairs.row[rows].tolist(), rows.tolist(), strict=True))
    texts = {row_of[place]: sides for place, sides in texts_of(list(row_of)).items()}
    near = duplicates.verified(proposed, texts)
    opposite = np.array(
        [i in texts and j in texts and duplicates.turned(texts, i, j) for i, j in near.pairs.tolist()], dtype=bool
    )
    return near, opposite & ~pairs.tie[near.pairs].any(axis=1)

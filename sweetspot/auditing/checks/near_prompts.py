"""Prompts that ask nearly the same: fewer different questions than there seem to be, and leaks between splits."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import level_of, not_checked, share
from sweetspot.auditing.checks.duplicates import NearPairs, clusters, propose, verified
from sweetspot.auditing.features import PROMPT_PERMUTATIONS, SHINGLE_WORDS, SIMILAR
from sweetspot.auditing.findings import Finding, Level, Suspect
from sweetspot.auditing.groups import Repeats
from sweetspot.auditing.tables import Pairs

TITLE = "Do prompts ask nearly the same?"
MOST_VERIFIED = 20_000
SHOWN = 20
LOOK, BAD = 0.05, 0.5

PromptsOf = Callable[[Sequence[int]], dict[int, str]]
"""Places in the source to the text of the prompt."""


def check(pairs: Pairs, same: Repeats, prompts_of: PromptsOf) -> tuple[Finding, ...]:
    """Different prompts that share most of their five-word runs; nothing where MinHash was not asked for.

    Args:
        pairs: the table.
        same: which rows have the very same prompt.
        prompts_of: reads prompts again, to verify what MinHash proposes.
    """
    if pairs.prompts is None:
        return ()
    prompts, compared = (int(np.unique(some).size) for some in (same.prompt, same.prompt[pairs.prompts.row]))
    if not compared:
        why = f"None of {prompts} different prompts has {SHINGLE_WORDS} words, so none could be compared."
        return (not_checked("near_duplicate_prompts", TITLE, why),)
    near = _near(pairs, same, prompts_of)
    members = np.bincount(clusters(near.pairs, len(pairs)), minlength=1)
    extra, groups = int((members[members > 1] - 1).sum()), int((members > 1).sum())
    across = _across_splits(pairs, near)
    figures = {
        "near_duplicate_prompts": extra,
        "near_duplicate_share": share(extra, compared),
        "near_duplicate_groups": groups,
        "largest_group": int(members.max(initial=0)),
        "resemblances_across_splits": int(across.sum()),
        "different_prompts": prompts,
        "prompts_compared": compared,
        "similarity_threshold": SIMILAR,
    }
    order = np.lexsort((-near.estimate, ~across))[:SHOWN]
    suspects = tuple(
        Suspect(
            str(pairs.row_id[near.pairs[k, 1]]),
            f"asks {near.estimate[k]:.0%} the same as {pairs.row_id[near.pairs[k, 0]]}"
            + (", which is in another split" if across[k] else ""),
        )
        for k in order
    )
    level: Level = level_of(share(extra, compared), LOOK, BAD)
    if across.any() and level == "ok":
        level = "look"
    says = _says(extra, compared, groups, int(across.sum()))
    notes = _notes(near, compared, prompts)
    return (Finding("near_duplicate_prompts", TITLE, level, says, figures, {}, (), suspects, notes),)


def _near(pairs: Pairs, same: Repeats, prompts_of: PromptsOf) -> NearPairs:
    """Verified resemblances between the first rows of different prompts."""
    assert pairs.prompts is not None
    proposed = propose(pairs.prompts, same.prompt, most=MOST_VERIFIED)
    rows = proposed.rows()
    row_of = dict(zip(pairs.row[rows].tolist(), rows.tolist(), strict=True))
    return verified(proposed, {row_of[place]: (text,) for place, text in prompts_of(list(row_of)).items()})


def _across_splits(pairs: Pairs, near: NearPairs) -> NDArray[np.bool_]:
    """(D,) the two rows stand in different splits."""
    split = pairs.labels.get("split")
    if split is None or split.size < 2:
        return np.zeros(len(near.pairs), dtype=bool)
    codes = split.codes[near.pairs]
    return (codes[:, 0] != codes[:, 1]) & (codes >= 0).all(axis=1)


def _says(extra: int, compared: int, groups: int, across: int) -> str:
    says = (
        f"{extra} of {compared} different prompts of {SHINGLE_WORDS} words or more share at least {SIMILAR:.0%} of "
        f"their five-word runs with an earlier one, in {groups} groups."
    )
    if across:
        says += (
            f" {across} of these resemblances lie across splits, so a score on the evaluation rows flatters the model; "
            "move each group to one side."
        )
    return says


def _notes(near: NearPairs, compared: int, prompts: int) -> tuple[str, ...]:
    notes = [
        f"lower_bound: found by {PROMPT_PERMUTATIONS} MinHash values over the words; system messages are left out, and "
        "a paraphrase is not found",
    ]
    if compared < prompts:
        notes.append(f"short: {prompts - compared} prompts have fewer than {SHINGLE_WORDS} words and were not compared")
    unsure = int((~near.to_verify).sum())
    if unsure:
        notes.append(f"estimated: {unsure} resemblances beyond {MOST_VERIFIED} were not verified word by word")
    return tuple(notes)

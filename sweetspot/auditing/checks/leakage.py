"""Prompts that stand in several splits, and rows that overlap with texts the user names, such as a benchmark."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import interval, level_of, not_checked, share
from sweetspot.auditing.findings import Bars, Finding, Suspect
from sweetspot.auditing.groups import text_ids
from sweetspot.auditing.tables import Pairs, Scores

LEAKAGE = "Do evaluation prompts stand in the training rows?"
CONTAMINATION = "Do rows overlap with your benchmarks?"
SHOWN = 20


def check(pairs: Pairs) -> tuple[Finding, ...]:
    """Prompts that occur in more than one split."""
    split = pairs.labels.get("split")
    if split is None or split.size < 2:
        why = "No column says train and eval; name evaluation files with --against to compare with them."
        return (not_checked("leakage", LEAKAGE, why),)
    prompt = text_ids(pairs.keys[:, 0])
    cell = np.unique(prompt * (split.size + 1) + split.codes + 1)
    several = np.bincount(cell // (split.size + 1), minlength=int(prompt.max(initial=0)) + 1) > 1
    rows = np.flatnonzero(several[prompt])
    prompts = int(several.sum())
    says = f"{prompts} prompts stand in more than one of the splits {', '.join(split.names[:5])}, in {rows.size} rows."
    suspects = tuple(Suspect(str(pairs.row_id[k]), "its prompt stands in another split, too") for k in rows[:SHOWN])
    figures = {
        "leaking_prompts": prompts,
        "leaking_rows": int(rows.size),
        "leaking_share": share(int(rows.size), len(pairs)),
    }
    level = "bad" if prompts else "ok"
    return (Finding("leakage", LEAKAGE, level, says, figures, {}, (), suspects),)


def check_contamination(
    table: Pairs | Scores, containment: Mapping[str, NDArray[np.float64]], *, n: int, short: int, names: Sequence[str]
) -> tuple[Finding, ...]:
    """Rows that share word n-grams with reference texts.

    Args:
        table: the audited rows.
        containment: part of the row (`prompt`, `responses`) to (n,) largest share of n-grams it has in common with a
            reference.
        n: words per n-gram.
        short: references of fewer words, which cannot be found.
        names: files the references came from; none were named if empty.
    """
    if not names:
        why = "No benchmark was named; --against FILE compares with the texts of a file."
        return (not_checked("contamination", CONTAMINATION, why),)
    size = len(table)
    worst = np.max(np.stack(list(containment.values())), axis=0)
    hits = {part: int((values > 0).sum()) for part, values in containment.items()}
    any_hit, most = int((worst > 0).sum()), int((worst >= 0.5).sum())
    listed = ", ".join(f"{count} by their {part}" for part, count in hits.items())
    says = (
        f"{any_hit} of {size} rows share a run of {n} words with a text of {', '.join(names)} ({listed}); {most} share "
        "most of it."
    )
    figures = {
        "contaminated_rows": any_hit,
        "contaminated_share": share(any_hit, size),
        "mostly_contained_rows": most,
        **{f"hits_in_{part}": count for part, count in hits.items()},
    }
    notes = ("meaning: rewritten or translated copies share no run of words and are not found",)
    if short:
        notes += (f"short_references: {short} references have fewer than {n} words and cannot be found",)
    order = np.argsort(-worst, kind="stable")[: min(SHOWN, any_hit)]
    suspects = tuple(
        Suspect(str(table.row_id[k]), f"shares {worst[k]:.0%} of its {n}-word runs with a reference") for k in order
    )
    chart = Bars(tuple(hits), tuple(share(count, size) for count in hits.values()), "share of rows that overlap")
    level = level_of(share(any_hit, size), 1e-9, 0.01)
    intervals = {"contaminated_share": interval(any_hit, size)}
    return (Finding("contamination", CONTAMINATION, level, says, figures, intervals, (chart,), suspects, notes),)

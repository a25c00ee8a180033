"""Scores of chosen and rejected: how far apart they are, and how often they contradict the label."""

import numpy as np

from sweetspot.auditing.checks._shares import histogram, interval, level_of, not_checked, only, share
from sweetspot.auditing.findings import Finding, Suspect
from sweetspot.auditing.tables import Pairs

TITLE = "Do the scores support the labels?"
SHOWN = 20


def check(pairs: Pairs) -> tuple[Finding, ...]:
    """Distribution of scores and margins, and rows whose rejected response scores higher."""
    margin = pairs.margin()
    known = np.zeros(len(pairs), dtype=bool) if margin is None else ~np.isnan(margin) & ~pairs.tie
    if margin is None or not known.any():
        why = "The data has no scores of chosen and rejected, so nothing but the label says which is better."
        return (not_checked("margins", TITLE, why),)
    there = margin[known]
    against, equal, n = int((there < 0).sum()), int((there == 0).sum()), int(known.sum())
    says = (
        f"In {against} of {n} rows the rejected response has the higher score ({share(against, n):.1%}), in {equal} "
        f"both score the same; the middle margin is {np.median(there):.3g}."
    )
    figures = {
        "against_label_share": share(against, n),
        "against_label_rows": against,
        "equal_scores": equal,
        "rows_with_scores": n,
        "rows_without_scores": len(pairs) - n,
        "median_margin": float(np.median(there)),
    }
    sides = {side: pairs.numbers[f"score_{side}"][known] for side in ("chosen", "rejected")}
    charts = only(
        histogram({"pairs": there}, "margin: score of chosen minus score of rejected"), histogram(sides, "score")
    )
    order = np.flatnonzero(known)[np.argsort(there, kind="stable")][: min(SHOWN, against)]
    suspects = tuple(
        Suspect(str(pairs.row_id[k]), f"scores speak against the label by {-margin[k]:.3g}") for k in order
    )
    level = level_of(share(against + equal, n), 0.05, 0.25)
    intervals = {"against_label_share": interval(against, n)}
    return (Finding("margins", TITLE, level, says, figures, intervals, charts, suspects),)

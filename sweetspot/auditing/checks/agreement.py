"""How far annotators agree beyond chance, and the label noise that this implies."""

import numpy as np

from sweetspot.auditing.checks._shares import level_of, not_checked, share
from sweetspot.auditing.findings import Bars, Finding, Suspect
from sweetspot.auditing.tables import Votes
from sweetspot.errors import ContractError
from sweetspot.validation.agreement import (
    fleiss_kappa,
    gwet_ac1,
    krippendorff_alpha,
    symmetric_noise_from_agreement,
)

TITLE = "Do the annotators agree?"
GOOD_ALPHA, POOR_ALPHA = 0.667, 0.33
"""Krippendorff's own bound for tentative conclusions, and half of it."""
MOST_SPLIT = 20


def check(votes: Votes) -> tuple[Finding, ...]:
    """Krippendorff's alpha, Gwet's AC1, Fleiss' kappa where it is defined, and the implied noise."""
    if len(votes.raters) < 2 and votes.count.max(initial=1) < 2:
        return (not_checked("agreement", TITLE, "There is one annotator, so nobody can agree or disagree."),)
    counts = votes.counts()
    twice = counts.sum(axis=1) >= 2
    if not twice.any():
        return (not_checked("agreement", TITLE, "No unit was judged twice, so nobody can agree or disagree."),)
    table = votes.packed()
    try:
        alpha = krippendorff_alpha(table)
    except ContractError:
        says = f"All votes on {int(twice.sum())} units are the same class, so agreement beyond chance has no meaning."
        return (Finding("agreement", TITLE, "look", says, {"units_with_two_votes": int(twice.sum())}),)
    pairs_agree = (counts * (counts - 1.0)).sum(axis=1)[twice] / (counts.sum(axis=1) * (counts.sum(axis=1) - 1.0))[
        twice
    ]
    raw = float(pairs_agree.mean())
    figures = {
        "krippendorff_alpha": alpha,
        "gwet_ac1": gwet_ac1(table, categories=max(2, len(votes.classes))),
        "raw_agreement_rate": raw,
        "units_with_two_votes": int(twice.sum()),
        "votes": int(votes.count.sum()),
        "votes_per_unit": float(counts.sum(axis=1).mean()),
    }
    warnings = []
    try:
        figures["fleiss_kappa"] = fleiss_kappa(table)
    except ContractError:
        warnings.append("fleiss_kappa: units have different numbers of votes, so Fleiss' kappa is not defined")
    noise = ""
    if len(votes.classes) == 2 and raw >= 0.5:
        figures["implied_noise_rate"] = symmetric_noise_from_agreement(raw)
        once_in = 1 / max(figures["implied_noise_rate"], 1e-3)
        noise = f" If everyone errs equally often, that is once in {once_in:.0f} votes."
    says = (
        f"Two annotators give the same answer in {raw:.0%} of cases; beyond chance they agree by "
        f"{alpha:.2f} (1 is perfect, 0 is chance, above {GOOD_ALPHA} is usually asked for).{noise}"
    )
    level = level_of(-alpha, -GOOD_ALPHA, -POOR_ALPHA)
    chart = Bars(
        tuple(votes.classes[:20]),
        tuple(share(int(n), int(counts.sum())) for n in counts.sum(axis=0)[:20]),
        "share of all votes",
    )
    suspects = _most_split(votes, counts, twice)
    return (Finding("agreement", TITLE, level, says, figures, {}, (chart,), suspects, tuple(warnings)),)


def _most_split(votes: Votes, counts: np.ndarray, twice: np.ndarray) -> tuple[Suspect, ...]:
    """Units whose votes are furthest from unanimous, most votes first."""
    total = counts.sum(axis=1)
    top = counts.max(axis=1) / np.maximum(total, 1)
    order = np.lexsort((-total, top))
    split = [k for k in order.tolist() if twice[k] and top[k] < 1][:MOST_SPLIT]
    return tuple(Suspect(votes.units[k], f"{counts[k].max()} of {total[k]} votes for one class") for k in split)

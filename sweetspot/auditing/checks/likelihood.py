"""What DPO would do with these pairs, from the reference's log-probabilities alone, before any training."""

import numpy as np

from sweetspot import pathology
from sweetspot.auditing.checks._shares import histogram, interval, level_of, not_checked, only
from sweetspot.auditing.findings import Finding, Suspect
from sweetspot.auditing.tables import Pairs

TITLE = "Can DPO learn these pairs?"
BETA = 0.1
UNREACHABLE = 1e-3
"""DPO loss, nats, that a pair must get below before it is ranked right; less than this is out of reach."""
SHOWN = 20


def check(pairs: Pairs, *, beta: float = BETA) -> tuple[Finding, ...]:
    """Reference accuracy, violation rate, unreachable pairs, and displacement where a policy's log-probs are there."""
    if not {"ref_chosen_logps", "ref_rejected_logps"} <= set(pairs.numbers):
        why = (
            "The data has no log-probabilities of a reference (columns ref_chosen_logps and ref_rejected_logps, sums "
            "over "
            "response tokens, nats), so how hard DPO would find it is unknown; displacement risk (CHES) needs hidden "
            "states."
        )
        return (not_checked("likelihoods", TITLE, why),)
    chosen, rejected = (pairs.numbers[f"ref_{side}_logps"] for side in ("chosen", "rejected"))
    margin = pairs.margin()
    known = ~np.isnan(chosen) & ~np.isnan(rejected) & ~pairs.tie
    margins_known = margin is not None and not np.isnan(margin[known]).any()
    if not known.any():
        return (not_checked("likelihoods", TITLE, "The columns of log-probabilities are empty."),)
    policy = _policy(pairs, known)
    found = pathology.report(
        chosen[known],
        rejected[known],
        margin[known] if margin is not None and margins_known else None,
        beta=beta,
        **policy,
    )
    n = int(known.sum())
    hard = found.flip_threshold < UNREACHABLE
    figures = {
        "pairs": n,
        "reference_accuracy": found.reference_accuracy,
        "violation_rate": found.violation_rate,
        "unreachable_share": float(hard.mean()),
        "beta": beta,
        "displacement_rate": found.displacement,
        "stuck_share": found.occupancy,
        "mean_chosen_shift_nats": found.mean_chosen_shift,
    }
    figures = {name: value for name, value in figures.items() if value is not None}
    says = (
        f"The reference prefers the chosen response in {found.reference_accuracy:.0%} of {n} pairs. {int(hard.sum())} "
        "pairs "
        f"({hard.mean():.1%}) start so far on the wrong side that DPO's loss must fall below {UNREACHABLE:g} before "
        "they turn."
    )
    if found.violation_rate is not None:
        says += f" For {found.violation_rate:.0%} even the best policy at beta {beta:g} keeps the wrong order."
    order = np.argsort(found.flip_threshold, kind="stable")[: min(SHOWN, int(hard.sum()))]
    rows = np.flatnonzero(known)[order]
    suspects = tuple(
        Suspect(str(pairs.row_id[k]), "the reference strongly prefers the rejected response") for k in rows
    )
    level = level_of(found.violation_rate if found.violation_rate is not None else float(hard.mean()), 0.1, 0.3)
    notes = ("length: sums of log-probabilities grow with length, so long rejected responses look preferred less",)
    if margin is not None:
        notes += ("units: the violation rate takes score margins for log-odds; rescale them if they are not",)
    charts = only(histogram({"pairs": found.reference_margin}, "log-probability of chosen minus rejected, nats"))
    intervals = {"reference_accuracy": interval(round(found.reference_accuracy * n), n)}
    return (Finding("likelihoods", TITLE, level, says, figures, intervals, charts, suspects, notes),)


def _policy(pairs: Pairs, known: np.ndarray) -> dict[str, np.ndarray]:
    names = ("policy_chosen_logps", "policy_rejected_logps")
    if not all(name in pairs.numbers and not np.isnan(pairs.numbers[name][known]).any() for name in names):
        return {}
    return {name: pairs.numbers[name][known] for name in names}

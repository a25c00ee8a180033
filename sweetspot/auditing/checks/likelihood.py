"""What DPO would do with these pairs, from the reference's log-probabilities alone, before any training."""

import numpy as np
from numpy.typing import NDArray

from sweetspot import pathology
from sweetspot.auditing.checks._shares import histogram, interval, level_of, not_checked, only
from sweetspot.auditing.findings import Figure, Finding, Suspect
from sweetspot.auditing.scored import REASONS, Scored
from sweetspot.auditing.tables import Pairs
from sweetspot.pathology import PathologyReport

TITLE = "Can DPO learn these pairs?"
BETA = 0.1
UNREACHABLE = 1e-3
"""DPO loss, nats, that a pair must get below before it is ranked right; less than this is out of reach."""
SHOWN = 20
LOOK, BAD = 0.1, 0.3
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def check(pairs: Pairs, scored: Scored | None = None, *, beta: float = BETA) -> tuple[Finding, ...]:
    """Reference accuracy, violation rate, unreachable pairs, and displacement where a policy's log-probs are there.

    Args:
        pairs: the table, with log-probabilities of its own or of a named model.
        scored: which model scored which of them; None where the log-probabilities came with the data.
        beta: of the DPO that is planned.
    """
    if not {"ref_chosen_logps", "ref_rejected_logps"} <= set(pairs.numbers):
        why = (
            "No model was named and the data has no log-probabilities of one (columns ref_chosen_logps and "
            "ref_rejected_logps, sums over response tokens, nats), so how hard DPO would find it is unknown; "
            "--set policy=FOLDER scores a sample with the model you mean to train."
        )
        return (not_checked("likelihoods", TITLE, why),)
    chosen, rejected = (pairs.numbers[f"ref_{side}_logps"] for side in ("chosen", "rejected"))
    known = ~np.isnan(chosen) & ~np.isnan(rejected) & ~pairs.tie
    if not known.any():
        why = f"No pair could be scored: {_left(scored)}." if scored else "The columns of log-probabilities are empty."
        return (not_checked("likelihoods", TITLE, why),)
    margin = pairs.margin()
    margins_known = margin is not None and not np.isnan(margin[known]).any()
    found = pathology.report(
        chosen[known],
        rejected[known],
        margin[known] if margin is not None and margins_known else None,
        beta=beta,
        **_lengths(pairs, known),
        **_policy(pairs, known),
    )
    hard = found.flip_threshold < UNREACHABLE
    order = np.argsort(found.flip_threshold, kind="stable")[: min(SHOWN, int(hard.sum()))]
    suspects = tuple(
        Suspect(str(pairs.row_id[k]), "the reference strongly prefers the rejected response")
        for k in np.flatnonzero(known)[order]
    )
    share = found.violation_rate if found.violation_rate is not None else float(hard.mean())
    says = _says(found, int(hard.sum()), int(known.sum()), scored, beta, doubtful=share >= LOOK)
    notes = ("length: sums of log-probabilities grow with length, so long rejected responses look preferred less",)
    if margin is not None:
        notes += ("units: the violation rate takes score margins for log-odds; rescale them if they are not",)
    charts = only(histogram({"pairs": found.reference_margin}, "log-probability of chosen minus rejected, nats"))
    n = int(known.sum())
    intervals = {"reference_accuracy": interval(round(found.reference_accuracy * n), n)}
    return (
        Finding(
            "likelihoods", TITLE, level_of(share, LOOK, BAD), says, _figures(pairs, found, known, scored, beta),
            intervals, charts, suspects, (*notes, *notes_of(scored)),
        ),
    )  # fmt: skip


def _says(found: PathologyReport, hard: int, n: int, scored: Scored | None, beta: float, *, doubtful: bool) -> str:
    who = "The reference" if scored is None else f"The model that DPO starts from ({_name(scored.reference)})"
    says = (
        f"{who} prefers the chosen response in {found.reference_accuracy:.0%} of {n} pairs. {hard} pairs "
        f"({hard / n:.1%}) start so far on the wrong side that DPO's loss must fall below {UNREACHABLE:g} before "
        "they turn."
    )
    if found.violation_rate is not None:
        says += f" For {found.violation_rate:.0%} even the best policy at beta {beta:g} keeps the wrong order."
    if doubtful:
        says += (
            " Read the pairs below for wrong labels; where they are right, train on the chosen responses (SFT) first. "
            "Dropping them leaves only what the model does already."
        )
    return says


def _figures(
    pairs: Pairs, found: PathologyReport, known: BoolArray, scored: Scored | None, beta: float
) -> dict[str, Figure]:
    implicit, per_token = pairs.implicit_margin(), found.reference_margin_per_token
    figures: dict[str, Figure | None] = {
        "pairs": int(known.sum()),
        "reference_accuracy": found.reference_accuracy,
        "reference_accuracy_per_token": None if per_token is None else float((per_token > 0).mean()),
        "violation_rate": found.violation_rate,
        "unreachable_share": float((found.flip_threshold < UNREACHABLE).mean()),
        "beta": beta,
        "displacement_rate": found.displacement,
        "stuck_share": found.occupancy,
        "mean_chosen_shift_nats": found.mean_chosen_shift,
        "implicit_margin_positive_share": None
        if implicit is None or np.isnan(implicit[known]).any()
        else float((implicit[known] > 0).mean()),
    }
    if scored is not None:
        figures |= {"scorable_pairs": scored.scorable, "picked_pairs": scored.picked}
        figures |= {f"not_scored_{reason}": count for reason, count in scored.left.items()}
        figures |= {f"{role}_revision": revision for role, revision in scored.revisions.items()}
    return {name: value for name, value in figures.items() if value is not None}


def notes_of(scored: Scored | None) -> tuple[str, ...]:
    """What a reader must know of how a model scored the pairs."""
    if scored is None:
        return ()
    notes = [f"models: {_name(scored.reference)} is the reference that DPO starts from"]
    if scored.has_implicit:
        notes[0] += f", {_name(scored.policy)} the policy trained since"
    if scored.picked < scored.scorable:
        notes.append(
            f"sample: {scored.picked} of {scored.scorable} pairs were picked by hash; raise policy_rows to score more"
        )
    if scored.left:
        notes.append(f"left_out: of the pairs picked, {_left(scored)}")
    if scored.replaced:
        notes.append("columns: the data's own log-probabilities were set aside for those of the named model")
    return tuple(notes)


def _left(scored: Scored) -> str:
    return ", ".join(f"{count} for {REASONS.get(reason, reason)}" for reason, count in scored.left.items()) or "none"


def _name(model: str) -> str:
    """The last two parts of a path, or a hub name: folders of models often end alike."""
    return "/".join(model.replace("\\", "/").rstrip("/").split("/")[-2:])


def _policy(pairs: Pairs, known: BoolArray) -> dict[str, FloatArray]:
    return _both(pairs, known, "policy_chosen_logps", "policy_rejected_logps")


def _lengths(pairs: Pairs, known: BoolArray) -> dict[str, FloatArray]:
    found = _both(pairs, known, "chosen_tokens", "rejected_tokens")
    return {name.replace("tokens", "lengths"): values for name, values in found.items()}


def _both(pairs: Pairs, known: BoolArray, *names: str) -> dict[str, FloatArray]:
    """Two columns at the known rows; nothing where either is missing somewhere."""
    if not all(name in pairs.numbers and not np.isnan(pairs.numbers[name][known]).any() for name in names):
        return {}
    return {name: pairs.numbers[name][known] for name in names}

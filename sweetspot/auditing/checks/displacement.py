"""Which pairs DPO may learn by pushing both responses down: the ranking by CHES, before any training."""

import numpy as np

from sweetspot.auditing.checks._shares import histogram, interval, level_of, not_checked, only, share
from sweetspot.auditing.checks.likelihood import notes_of
from sweetspot.auditing.findings import Finding, Suspect
from sweetspot.auditing.scored import Scored
from sweetspot.auditing.tables import Pairs

TITLE = "Could training push the chosen responses down, too?"
SHOWN = 20
LOOK = 0.05


def check(pairs: Pairs, scored: Scored) -> tuple[Finding, ...]:
    """Pairs by centred hidden embedding similarity per token, the highest first.

    Args:
        pairs: the table with `ches` and `ches_per_token`, NaN where not scored.
        scored: which model they are of.

    References:
        Razin et al. (2025), Unintentional Unalignment: Likelihood Displacement in Direct Preference Optimization,
        arXiv:2410.08847: the score ranks pairs; the paper names no threshold, and filters by the length-normalised one.

    Notes:
        A score above 0 says that pushing the rejected response down moves the model's last hidden states further along
        the chosen response than pulling the chosen one up does: the sign is where the first-order effects balance, the
        5 % from which we ask for a look are ours.
    """
    risk = pairs.numbers["ches_per_token"]
    known = np.flatnonzero(~np.isnan(risk))
    if not known.size:
        return (not_checked("displacement_risk", TITLE, "No pair could be scored by the named model."),)
    n, positive = known.size, int((risk[known] > 0).sum())
    order = known[np.argsort(-risk[known], kind="stable")][:SHOWN]
    rank = {int(k): place for place, k in enumerate(order, start=1)}
    suspects = tuple(
        Suspect(str(pairs.row_id[k]), f"displacement risk {place} of {n}: CHES per token {risk[k]:.3g}")
        for k, place in rank.items()
    )
    low, middle, high = (float(value) for value in np.percentile(risk[known], [5, 50, 95]))
    figures = {
        "pairs": n,
        "positive_pairs": positive,
        "positive_share": share(positive, n),
        "ches_per_token_median": middle,
        "ches_per_token_5th_percentile": low,
        "ches_per_token_95th_percentile": high,
        "ches_median": float(np.median(pairs.numbers["ches"][known])),
    }
    level = level_of(share(positive, n), LOOK, np.inf)
    notes = (
        "ranking: CHES orders the pairs of one model and says more of many pairs than of one; it is no probability, "
        "and no threshold is known from which displacement is certain",
        "afterwards: the log-probability of the chosen responses tells whether it happened; evaluation.max_chosen_drop "
        "stops a policy for it",
        *notes_of(scored),
    )
    charts = only(histogram({"pairs": risk[known]}, "CHES per token; right of 0 the responses look alike to the model"))
    return (
        Finding(
            "displacement_risk", TITLE, level, _says(n, positive), figures,
            {"positive_share": interval(positive, n)}, charts, suspects, notes,
        ),
    )  # fmt: skip


def _says(n: int, positive: int) -> str:
    says = (
        f"In {positive} of {n} pairs ({share(positive, n):.1%}) the two responses look so alike to the model that "
        "pushing the rejected one down may push the chosen one down with it"
    )
    if share(positive, n) < LOOK:
        return f"{says}."
    return f"{says}: leave the worst out, or train with a term that holds the chosen one up (SFT on it, DPOP, RPO)."

"""Whether length alone explains which response was chosen."""

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import bars, histogram, level_of, not_checked, only
from sweetspot.auditing.findings import Bars, Finding
from sweetspot.auditing.tables import Pairs
from sweetspot.validation.bias import length_bias

TITLE = "Does length decide?"
DECILES = 10
SHOWN = 12


def check(pairs: Pairs) -> tuple[Finding, ...]:
    """Share of pairs whose longer response was chosen, by size of the difference and by source."""
    decided = ~pairs.tie & (pairs.chars[:, 1] != pairs.chars[:, 2])
    if not decided.any():
        why = "Every pair is a tie or has two responses of equal length, so length cannot matter."
        return (not_checked("length_bias", TITLE, why),)
    chosen, rejected = (pairs.chars[~pairs.tie, side].astype(np.float64) for side in (1, 2))
    found = length_bias(chosen, rejected)
    rate = found.longer_chosen_rate
    best = max(found.length_auc, 1 - found.length_auc)
    figures = {
        "longer_chosen_rate": rate,
        "length_only_accuracy": best,
        "pairs": found.pairs,
        "equal_lengths": found.ties,
        "median_chars_chosen": float(np.median(chosen)),
        "median_chars_rejected": float(np.median(rejected)),
    }
    side = "longer" if rate >= 0.5 else "shorter"
    says = (
        f"The longer response was chosen in {rate:.1%} of pairs. Always picking the {side} one would match {best:.0%} "
        "of all "
        "labels (50% is chance), so a model trained on them learns length to that degree."
    )
    clear = not found.interval[0] <= 0.5 <= found.interval[1]
    level = level_of(abs(rate - 0.5), 0.05, 0.15) if clear else "ok"
    difference = (pairs.chars[:, 1] - pairs.chars[:, 2])[decided].astype(np.float64)
    charts = only(
        _by_size(difference),
        _by_source(pairs, decided),
        histogram({"chosen": chosen, "rejected": rejected}, "length of the response, characters", whole=True),
    )
    intervals = {"longer_chosen_rate": found.interval}
    return (Finding("length_bias", TITLE, level, says, figures, intervals, charts),)


def _by_size(difference: NDArray[np.float64]) -> Bars:
    """Share of longer responses chosen by tenths of the absolute difference."""
    size = np.abs(difference)
    order = np.argsort(size, kind="stable")
    rows = []
    for part in np.array_split(order, min(DECILES, order.size)):
        label = f"{size[part].min():.0f} to {size[part].max():.0f}"
        rows.append((label, int((difference[part] > 0).sum()), int(part.size)))
    return bars(rows, "longer chosen, by difference in characters", reference=0.5)


def _by_source(pairs: Pairs, decided: NDArray[np.bool_]) -> Bars | None:
    label = pairs.labels.get("provenance")
    if label is None or not label.size > 1:
        return None
    longer = pairs.chars[:, 1] > pairs.chars[:, 2]
    sizes = np.bincount(label.codes[decided & (label.codes >= 0)], minlength=label.size)
    rows = []
    for code in np.argsort(-sizes, kind="stable")[:SHOWN].tolist():
        mine = decided & (label.codes == code)
        if mine.any():
            rows.append((label.names[code], int(longer[mine].sum()), int(mine.sum())))
    return bars(rows, "longer chosen, by source", reference=0.5)

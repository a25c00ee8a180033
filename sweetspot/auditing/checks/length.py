"""Whether length alone explains which response was chosen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import bars, histogram, interval, level_of, not_checked, only, share
from sweetspot.auditing.findings import Bars, Figure, Finding
from sweetspot.auditing.tables import Pairs
from sweetspot.validation.bias import length_bias

TITLE = "Does length decide?"
DECILES = 10
SHOWN = 12
NAMED = 3
FEW_IN_SOURCE, CLEAR = 30, 0.05


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
    figures: dict[str, Figure] = {
        "longer_chosen_rate": rate,
        "length_only_accuracy": best,
        "pairs": found.pairs,
        "equal_lengths": found.ties,
        "median_chars_chosen": float(np.median(chosen)),
        "median_chars_rejected": float(np.median(rejected)),
    }
    sources = _by_source(pairs, decided)
    apart = _sources_apart(sources)
    side = "longer" if rate >= 0.5 else "shorter"
    says = (
        f"The longer response was chosen in {rate:.1%} of pairs. Always picking the {side} one would match {best:.0%} "
        "of all labels (50% is chance), so a model trained on them learns length to that degree."
    )
    clear = not found.interval[0] <= 0.5 <= found.interval[1]
    level = level_of(abs(rate - 0.5), 0.05, 0.15) if clear else "ok"
    if apart:
        figures |= apart
        says += (
            f" Not everywhere alike: mostly the longer one in {apart['longer_chosen_in']}, the shorter one in "
            f"{apart['shorter_chosen_in']}."
        )
        level = "look" if level == "ok" else level
    difference = (pairs.chars[:, 1] - pairs.chars[:, 2])[decided].astype(np.float64)
    charts = only(
        _by_size(difference),
        bars(sources[:SHOWN], "longer chosen, by source", reference=0.5) if sources else None,
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


def _by_source(pairs: Pairs, decided: NDArray[np.bool_]) -> list[tuple[str, int, int]]:
    """Name, pairs in which the longer response was chosen, and pairs of each source, the largest first."""
    label = pairs.labels.get("provenance")
    if label is None or not label.size > 1:
        return []
    there = decided & (label.codes >= 0)
    longer = pairs.chars[:, 1] > pairs.chars[:, 2]
    sizes = np.bincount(label.codes[there], minlength=label.size)
    wins = np.bincount(label.codes[there & longer], minlength=label.size)
    order = np.argsort(-sizes, kind="stable")
    return [(label.names[k], int(wins[k]), int(sizes[k])) for k in order.tolist() if sizes[k]]


def _sources_apart(rows: Sequence[tuple[str, int, int]]) -> dict[str, Figure]:
    """Sources in which length clearly decides, and the share of labels that length and source together match.

    Empty where every clear source leans the same way: the rate over all tells of it already.
    """
    leaning = dict[str, list[str]]()
    for name, wins, size in rows:
        low, high = interval(wins, size)
        if size >= FEW_IN_SOURCE and abs(wins / size - 0.5) >= CLEAR and not low <= 0.5 <= high:
            leaning.setdefault("longer" if 2 * wins > size else "shorter", []).append(name)
    if len(leaning) < 2:
        return {}
    matched = sum(max(wins, size - wins) for _, wins, size in rows)
    return {
        "longer_chosen_in": _named(leaning["longer"]),
        "shorter_chosen_in": _named(leaning["shorter"]),
        "length_and_source_accuracy": share(matched, sum(size for _, _, size in rows)),
    }


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" and others" if len(names) > NAMED else "")

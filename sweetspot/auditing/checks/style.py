"""Whether looks decide: lists, headings, bold type, code blocks, emoji."""

import numpy as np

from sweetspot.auditing.checks._shares import bars, interval, level_of, not_checked, share
from sweetspot.auditing.findings import Finding
from sweetspot.auditing.tables import STYLES, Pairs
from sweetspot.validation.bias import length_bias

TITLE = "Do looks decide?"
FEWEST = 30


def check(pairs: Pairs) -> tuple[Finding, ...]:
    """Share of pairs in which the response with more of an element was chosen, and what is left beyond length."""
    decided = ~pairs.tie
    chars = pairs.chars[decided, 1:].astype(np.float64)
    style = pairs.style[decided].astype(np.int64)
    rows, figures, intervals, worst = [], {}, {}, 0.0
    for k, name in enumerate(STYLES):
        difference = style[:, 0, k] - style[:, 1, k]
        differs = int((difference != 0).sum())
        if differs < FEWEST:
            continue
        more = int((difference > 0).sum())
        rows.append((f"{name.replace('_', ' ')} ({differs} pairs)", more, differs))
        figures[f"more_{name}_chosen_rate"] = share(more, differs)
        intervals[f"more_{name}_chosen_rate"] = interval(more, differs)
        beyond = length_bias(chars[:, 0], chars[:, 1], quality_gap=np.sign(difference)).quality_coefficient
        figures[f"{name}_odds_beyond_length"] = float(np.exp(min(beyond or 0.0, 50.0)))
        low, high = intervals[f"more_{name}_chosen_rate"]
        if not low <= 0.5 <= high:
            worst = max(worst, abs(share(more, differs) - 0.5))
    if not rows:
        why = f"No element of style differs in {FEWEST} pairs or more."
        return (not_checked("format_bias", TITLE, why),)
    strongest = max(rows, key=lambda row: abs(share(row[1], row[2]) - 0.5))
    says = (
        f"Most telling: the response with more {strongest[0].split(' (')[0]} was chosen in "
        f"{share(strongest[1], strongest[2]):.0%} of the {strongest[2]} pairs that differ in them. Longer responses "
        "have more of everything; the odds beyond length are among the figures."
    )
    chart = bars(rows, "response with more of it chosen", reference=0.5)
    return (Finding("format_bias", TITLE, level_of(worst, 0.1, 0.2), says, figures, intervals, (chart,)),)

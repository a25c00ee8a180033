"""Responses that are no use as training text, and refusals, on both sides of the pairs."""

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import bars, interval, level_of, share
from sweetspot.auditing.findings import Finding, Suspect
from sweetspot.auditing.tables import FLAWS, Pairs, Scores

TITLE = "Are the responses usable text?"
REFUSALS = "How often do responses refuse?"
SHOWN = 20
REFUSAL = np.uint8(1 << FLAWS.index("refusal"))
WORDS = {
    "empty": "nothing to read",
    "char_run": "one character repeated a hundred times",
    "repetitive": "the same words over and over",
    "compressible": "hardly any information",
}


def check(table: Pairs | Scores) -> tuple[Finding, ...]:
    """Empty, looping and run-on responses; refusals apart, since a refusal can be the right answer."""
    sides = (
        {"chosen": table.flaws[:, 0], "rejected": table.flaws[:, 1]}
        if isinstance(table, Pairs)
        else {"response": table.flaws}
    )
    rows, figures = [], {}
    for side, flaws in sides.items():
        for bit, name in enumerate(FLAWS[:-1]):
            count = int(((flaws >> np.uint8(bit)) & 1).sum())
            figures[f"{side}_{name}"] = count
            rows.append((f"{side}: {name.replace('_', ' ')}", count, len(flaws)))
    main = next(iter(sides))
    unusable = (sides[main] & ~REFUSAL) > 0
    rate = float(unusable.mean())
    figures[f"degenerate_{main}_rate"] = rate
    says = f"{int(unusable.sum())} of {len(unusable)} {main} texts are empty, looping or run on ({rate:.1%})."
    suspects = _suspects(table, unusable, sides[main], main)
    first = Finding(
        "degenerate",
        TITLE,
        level_of(rate, 0.001, 0.05),
        says,
        figures,
        {f"degenerate_{main}_rate": interval(int(unusable.sum()), len(unusable))},
        (bars(rows, "share of the texts of that side"),),
        suspects,
    )
    return (first, _refusals(sides))


def _suspects(
    table: Pairs | Scores, unusable: NDArray[np.bool_], flaws: NDArray[np.uint8], side: str
) -> tuple[Suspect, ...]:
    found = []
    for k in np.flatnonzero(unusable)[:SHOWN].tolist():
        name = next(name for bit, name in enumerate(FLAWS) if int(flaws[k]) >> bit & 1)
        found.append(Suspect(str(table.row_id[k]), f"{side}: {WORDS[name]}"))
    return tuple(found)


def _refusals(sides: dict[str, NDArray[np.uint8]]) -> Finding:
    counts = {side: int(((flaws & REFUSAL) > 0).sum()) for side, flaws in sides.items()}
    total = len(next(iter(sides.values())))
    figures = {f"{side}_refusal_rate": share(count, total) for side, count in counts.items()}
    listed = " and ".join(f"{count} of {total} {side}" for side, count in counts.items())
    listed = f"{listed} responses" if len(sides) > 1 else f"{listed}s"
    says = (
        f"{listed} refuse by their first words. Refusals among the chosen teach refusing, among the rejected "
        "answering: read some of each."
    )
    level = level_of(next(iter(figures.values())), 0.05, 0.3)
    chart = bars([(side, count, total) for side, count in counts.items()], "share of responses that refuse")
    notes = ("patterns: refusals are found by English phrases in the first 200 characters",)
    return Finding("refusals", REFUSALS, level, says, figures, {}, (chart,), (), notes)

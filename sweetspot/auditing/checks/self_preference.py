"""Whether judges prefer items of their own family, such as a model that judges its own answers."""

import re

import numpy as np

from sweetspot.auditing.checks._shares import bars, interval, level_of, not_checked, share
from sweetspot.auditing.findings import Finding
from sweetspot.auditing.tables import Labels, Pairs, Votes

TITLE = "Do judges prefer their own kind?"
FAMILIES = (
    *("gpt", "chatgpt", "claude", "gemini", "palm", "llama", "mistral", "mixtral", "qwen", "vicuna", "falcon", "gemma"),
    *(
        "deepseek",
        "command",
        "cohere",
        "yi",
        "phi",
        "tulu",
        "zephyr",
        "guanaco",
        "alpaca",
        "bard",
        "grok",
        "olmo",
        "koala",
    ),
)
_WORD = re.compile(r"[a-z]+")
_SAME = {"chatgpt": "gpt", "bard": "gemini", "palm": "gemini", "mixtral": "mistral", "command": "cohere"}


def family(name: str) -> str | None:
    """The model family a name speaks of; None if it speaks of none."""
    found = next((word for word in _WORD.findall(name.lower()) if word in FAMILIES), None)
    return None if found is None else _SAME.get(found, found)


def check(table: Votes | Pairs) -> tuple[Finding, ...]:
    """Wins of a judge's own family under that judge, against wins of the same family under other judges."""
    rows = _votes(table) if isinstance(table, Votes) else _pairs(table)
    if rows is None:
        why = "It needs the names of the judges and of the models they compare."
        return (not_checked("self_preference", TITLE, why),)
    judge, winner, loser = rows
    mixed = [(j, w, lo) for j, w, lo in zip(judge, winner, loser, strict=True) if w != lo]
    families = sorted({j for j, w, lo in mixed if j is not None and j in (w, lo)})
    if not families:
        why = "No judge compares a model of its own family with one of another."
        return (not_checked("self_preference", TITLE, why),)
    own, other = [], []
    for name in families:
        met = [(j, w) for j, w, lo in mixed if name in (w, lo)]
        for group, mine in ((own, True), (other, False)):
            votes = [w == name for j, w in met if (j == name) == mine]
            group.append((f"{name} judged by {'itself' if mine else 'others'}", sum(votes), len(votes)))
    totals = [[sum(row[k] for row in group) for k in (1, 2)] for group in (own, other)]
    rates = [share(*total) for total in totals]
    (low, high), rest = interval(*totals[0]), interval(*totals[1])
    apart = low > rest[1]
    figures = {"own_family_win_rate": rates[0], "same_family_win_rate_by_others": rates[1], "own_votes": totals[0][1]}
    says = (
        f"Judges let their own family win {rates[0]:.0%} of {totals[0][1]} comparisons; other judges let the same "
        "families "
        f"win {rates[1]:.0%} of {totals[1][1]}. " + ("That is more than chance." if apart else "That can be chance.")
    )
    level = level_of(rates[0] - rates[1], 0.02, 0.1) if apart else "ok"
    chart = bars(
        [row for pair in zip(own, other, strict=True) for row in pair][:24], "share of comparisons won", reference=0.5
    )
    return (Finding("self_preference", TITLE, level, says, figures, {"own_family_win_rate": (low, high)}, (chart,)),)


def _votes(votes: Votes) -> tuple[list[str | None], list[str | None], list[str | None]] | None:
    judges = [family(name) for name in votes.raters]
    if not votes.paired or votes.items is None or not any(judges):
        return None
    items = [family(name) for name in votes.item_names]
    used = np.flatnonzero((votes.code < 2) & (votes.items[votes.unit, 0] >= 0))
    won = votes.items[votes.unit[used], votes.code[used]].tolist()
    lost = votes.items[votes.unit[used], 1 - votes.code[used]].tolist()
    return [judges[k] for k in votes.rater[used].tolist()], [items[k] for k in won], [items[k] for k in lost]


def _pairs(pairs: Pairs) -> tuple[list[str | None], list[str | None], list[str | None]] | None:
    if not {"annotator", "chosen_model", "rejected_model"} <= set(pairs.labels):
        return None
    judge, winner, loser = (_families(pairs.labels[name]) for name in ("annotator", "chosen_model", "rejected_model"))
    return (judge, winner, loser) if any(judge) else None


def _families(labels: Labels) -> list[str | None]:
    names = [family(name) for name in labels.names] + [None]
    return [names[code] for code in labels.codes.tolist()]

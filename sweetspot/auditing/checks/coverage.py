"""What the prompts of the data cover, and which prompts of the user's own are like none of them."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.checks._shares import bars, histogram, interval, not_checked, only, share
from sweetspot.auditing.findings import Bars, Figure, Finding, Histogram, Level, Suspect
from sweetspot.validation.coverage import FEW_PROMPTS, Coverage, coverage

TITLE = "What do the prompts cover?"
SHOWN = 15
FEW_IN_SLICE = 30
LARGE_TOPIC = 0.5
LONG_CHARACTERS = 2000
LOOK_OUTSIDE, BAD_OUTSIDE = 0.1, 0.5
"""5 % outside are expected of prompts like those of the data."""

_CODE = re.compile(r"```|\bdef \w+\(|\bclass \w+[:({]|#include\b|\bSELECT\b.+\bFROM\b|[;{]\s*\n|=>|\bimport \w+", re.S)
_MATHS = re.compile(r"\$[^$]+\$|\\frac|\d\s*[-+*/=^]\s*\d")
_HARM = re.compile(r"(?i)\b(kill|murder|bomb|weapon|suicid|poison|hack(?:ing)? into|steal|cocaine|meth|racis|rape)\w*")
SLICES: dict[str, Callable[[str], bool]] = {
    "code": lambda text: bool(_CODE.search(text)),
    "numbers to compute with": lambda text: bool(_MATHS.search(text)),
    "over 2,000 characters": lambda text: len(text) > LONG_CHARACTERS,
    "a script other than Latin": lambda text: _foreign(text) > 0.5,
    "words of harm": lambda text: bool(_HARM.search(text)),
}
"""Slices where a data set is often empty; recognised by patterns, so the counts are rough."""


def _foreign(text: str) -> float:
    letters = [one for one in text[:LONG_CHARACTERS] if one.isalpha()]
    return sum(ord(one) > 0x24F for one in letters) / len(letters) if letters else 0.0


def check(
    prompts: Sequence[str],
    *,
    target: Sequence[str] | None = None,
    slices: Mapping[str, Sequence[str]] | None = None,
) -> Finding:
    """Topics, rare slices, and the share of the target prompts that lie outside.

    Args:
        prompts: different prompts of the data, n.
        target: prompts that the data should cover; None if none were named.
        slices: further columns of names, (n,) each, whose rare values are reported.
    """
    if len(prompts) < FEW_PROMPTS:
        return not_checked("coverage", TITLE, f"{len(prompts)} different prompts are too few to have topics.")
    found = coverage(prompts, target or ())
    counts = {name: sum(map(is_in, prompts)) for name, is_in in SLICES.items()}
    few = [f"{column} {name}" for column, values in (slices or {}).items() for name in _few(values)]
    figures: dict[str, Figure] = {
        "prompts": len(prompts),
        "topics": len(found.sizes),
        "effective_topics": found.effective_topics,
        "largest_topic_share": share(int(found.sizes[0]), len(prompts)),
        "rare_topics": int(found.rare.sum()),
        **{f"prompts_with_{name.replace(' ', '_').replace(',', '')}": count for name, count in counts.items()},
    }
    says = _says(found, len(prompts), counts, few)
    level: Level = "look" if found.sizes[0] > LARGE_TOPIC * len(prompts) or few else "ok"
    charts = (_topic_bars(found), bars([(n, c, len(prompts)) for n, c in counts.items()], "share of prompts with"))
    intervals: dict[str, tuple[float, float]] = {}
    if target:
        outside, total = int(found.outside.sum()), len(target)
        figures |= {"target_prompts": total, "outside_share": share(outside, total)}
        intervals["outside_share"] = interval(outside, total)
        level = _worse(level, _target_level(intervals["outside_share"][0]))
        says += f" {_target_says(found, target)}"
        charts += only(_missed_bars(found), _distances(found))
    return Finding(
        "coverage", TITLE, level, says, figures, intervals, charts, _suspects(found, target or ()), found.warnings
    )


def _few(values: Sequence[str]) -> list[str]:
    names, counts = np.unique(np.array([str(value) for value in values], dtype=object), return_counts=True)
    return [str(name) for name, count in zip(names, counts, strict=True) if count < FEW_IN_SLICE]


def _says(found: Coverage, n: int, counts: Mapping[str, int], few: Sequence[str]) -> str:
    absent = [name for name, count in counts.items() if count == 0]
    text = (
        f"The {n} different prompts are as varied as {found.effective_topics:.0f} "
        f"topic{'' if round(found.effective_topics) == 1 else 's'} of equal size would be; the largest "
        f"({found.words[0] or 'no common words'}) holds {found.sizes[0] / n:.0%}."
    )
    if absent:
        text += f" None has {' or '.join(absent)}."
    return f"{text} Fewer than {FEW_IN_SLICE} prompts: {', '.join(few[:5])}." if few else text


def _target_says(found: Coverage, target: Sequence[str]) -> str:
    rate = share(int(found.outside.sum()), len(target))
    return f"{rate:.0%} of the {len(target)} prompts that were named are unlike anything in the data; 5% is usual."


def _target_level(low: float) -> Level:
    return "bad" if low >= BAD_OUTSIDE else "look" if low >= LOOK_OUTSIDE else "ok"


def _worse(one: Level, other: Level) -> Level:
    order: tuple[Level, ...] = ("ok", "look", "bad")
    return order[max(order.index(one), order.index(other))]


def _topic_bars(found: Coverage) -> Bars:
    n = int(found.sizes.sum())
    rows = [(words or f"topic {k + 1}", int(size), n) for k, (words, size) in enumerate(_named(found))]
    return bars(rows[:SHOWN], "share of prompts, by the words that mark the topic")


def _named(found: Coverage) -> list[tuple[str, int]]:
    return list(zip(found.words, found.sizes.tolist(), strict=True))


def _missed_bars(found: Coverage) -> Bars:
    """Topics by the share of their target prompts that are outside, those with most target prompts first."""
    total = np.bincount(found.target_topic, minlength=found.sizes.size)
    missed = np.bincount(found.target_topic[found.outside], minlength=found.sizes.size)
    order = [int(k) for k in np.argsort(-total, kind="stable")[:SHOWN] if total[k]]
    rows = [(found.words[k] or f"topic {k + 1}", int(missed[k]), int(total[k])) for k in order]
    return bars(rows, "share of the named prompts in a topic that are unlike anything in the data", reference=0.05)


def _distances(found: Coverage) -> Histogram | None:
    series: dict[str, NDArray[np.float64]] = {"the data": found.nearest_distance, "named": found.target_distance}
    return histogram(series, "cosine distance to the nearest prompt of the data")


def _suspects(found: Coverage, target: Sequence[str]) -> tuple[Suspect, ...]:
    order = np.argsort(-found.target_distance, kind="stable")[:SHOWN]
    return tuple(
        Suspect(f"named prompt {k}", "unlike anything in the data", None, {"prompt": target[int(k)]})
        for k in order
        if found.outside[k]
    )

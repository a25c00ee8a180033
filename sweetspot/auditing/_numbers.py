"""Figures of an audit in words: the same number reads the same on the page, in Markdown and in the verdict."""

import math
from typing import Any

import numpy as np

from sweetspot.pages.wording import count, decimal, percent

_SHARES = frozenset({"rate", "share", "accuracy", "probability", "consistency", "precision", "recall"})


def plain(value: Any) -> Any:
    """A numpy scalar as the Python value it stands for; anything else as it is."""
    return value.item() if isinstance(value, np.generic) else value


def is_share(name: str) -> bool:
    """Whether a figure or an axis of this name is a part of one, to be shown in percent."""
    return not _SHARES.isdisjoint(name.replace("_", " ").replace(",", " ").split())


def in_words(name: str, value: Any) -> str:
    """A figure as people read it; shares in percent, other numbers with three significant digits."""
    value = plain(value)
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return _number(value, share=is_share(name) and 0 <= value <= 1)
    return str(value)


def _number(value: float, *, share: bool) -> str:
    if not math.isfinite(value):
        return "unknown" if math.isnan(value) else "beyond all bounds"
    if share:
        return percent(value)
    size = abs(value)
    if value == round(value) and size < 1e15:
        return count(round(value))
    if size < 0.001:
        return f"{value:.1e}"
    return decimal(value, 0 if size >= 1000 else 1 if size >= 100 else 2 if size >= 1 else 3)

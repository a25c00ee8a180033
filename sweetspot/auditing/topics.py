"""What the labels of a table are about: by a column of the user's data, else by the words of the prompts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sweetspot.auditing.scenarios import in_large_slices
from sweetspot.auditing.tables import Labels, Pairs, Table, Votes
from sweetspot.validation.coverage import FEW_PROMPTS, topics_of

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Topics:
    """Topics of the rows of a table of pairs or scored responses, or of the units of votes.

    Attributes:
        labels: (n,) topic of each, -1 where unknown; the names are empty where the topics have none.
        origin: one sentence on where they come from.
    """

    labels: Labels
    origin: str


def named_topics(table: Table) -> Topics | None:
    """Topics that the data itself names; None where no column does, or where it does not divide the data."""
    if isinstance(table, Pairs) and "provenance" in table.labels:
        found = table.labels["provenance"]
        origin = "the values of the column that says where a row comes from or what it is about"
        return Topics(found, origin) if (in_large_slices(found.codes) >= 0).any() else None
    if isinstance(table, Votes) and table.group is not None:
        large = in_large_slices(table.group[table.unit]) >= 0
        return Topics(Labels(table.group, ()), "the groups in which items are compared") if large.any() else None
    return None


def prompt_topics(prompts: Sequence[str], prompt: IntArray) -> Topics | None:
    """Topics by the words of the prompts, named by the three words that mark each; None of fewer than 20 prompts.

    Args:
        prompts: different prompts, p.
        prompt: (n,) which of them each row has, -1 for none of them.
    """
    if len(prompts) < FEW_PROMPTS:
        return None
    topic, words = topics_of(prompts)
    names = tuple(one or f"topic {k + 1}" for k, one in enumerate(words))
    codes = np.where(prompt < 0, -1, topic[np.maximum(prompt, 0)])
    origin = f"{len(names)} clusters of the {len(prompts)} prompts by their words; no column of the data names any"
    return Topics(Labels(codes, names), origin)

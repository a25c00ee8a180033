"""Preferences that go round in circles: how many triples of items have no best one."""

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from sweetspot.auditing.checks._shares import interval, level_of, not_checked
from sweetspot.auditing.findings import Bars, Finding
from sweetspot.auditing.groups import text_ids
from sweetspot.auditing.tables import Pairs, Votes
from sweetspot.validation.intransitivity import curl_ratio

TITLE = "Do the preferences go round in circles?"
AT_RANDOM = 0.25
"""Share of cyclic triples when every comparison is decided by a fair coin."""
IntArray = NDArray[np.int64]


def check(table: Votes | Pairs) -> tuple[Finding, ...]:
    """Share of cyclic triples among all fully decided ones, and the curl of the margins."""
    found = _votes(table) if isinstance(table, Votes) else _pairs(table)
    if found is None:
        why = "The data does not say which items the votes compare, so circles cannot be seen."
        return (not_checked("intransitivity", TITLE, why),)
    i, j, net, n = found
    cyclic, complete = cyclic_triads(i, j, net, n)
    if not complete:
        why = "No three items were all compared with each other, so no circle can close."
        return (not_checked("intransitivity", TITLE, why),)
    rate, (low, high) = cyclic / complete, interval(cyclic, complete)
    curl = curl_ratio(i, j, net, n_items=n)
    figures = {"cyclic_triads": cyclic, "complete_triads": complete, "cyclic_rate": rate, "curl_ratio": curl}
    says = (
        f"{cyclic} of {complete} triples that were compared completely go round in a circle ({rate:.1%}; coin flips "
        f"would give {AT_RANDOM:.0%}). {curl:.0%} of the margins' variation fits no ranking."
    )
    chart = Bars(("cyclic triples",), (rate,), "share of complete triples", ((low, high),), AT_RANDOM)
    level = level_of(rate, 0.1, 0.2)
    return (Finding("intransitivity", TITLE, level, says, figures, {"cyclic_rate": (low, high)}, (chart,)),)


def _votes(votes: Votes) -> tuple[IntArray, IntArray, NDArray[np.float64], int] | None:
    """Compared items, apart in every group, and the net share of votes for the first."""
    if not votes.paired or votes.items is None:
        return None
    group = np.zeros(len(votes.units), dtype=np.int64) if votes.group is None else votes.group
    known = votes.items[:, 0] >= 0
    ends = votes.items[known] + (group[known] * len(votes.item_names))[:, None]
    names, item = np.unique(ends, return_inverse=True)
    counts = votes.counts()[known]
    net = (counts[:, 0] - counts[:, 1]) / np.maximum(counts.sum(axis=1), 1)
    item = item.reshape(-1, 2)
    return item[:, 0], item[:, 1], net.astype(np.float64), max(1, names.size)


def _pairs(pairs: Pairs) -> tuple[IntArray, IntArray, NDArray[np.float64], int]:
    prompt, response = text_ids(pairs.keys[:, 0]), text_ids(pairs.keys[:, 1:].reshape(-1, 2)).reshape(-1, 2)
    used = ~pairs.tie & (response[:, 0] != response[:, 1])
    ends = response[used] + (prompt[used] * (int(response.max(initial=0)) + 1))[:, None]
    names, item = np.unique(ends, return_inverse=True)
    item = item.reshape(-1, 2)
    return item[:, 0], item[:, 1], np.ones(len(item)), max(1, names.size)


def cyclic_triads(i: IntArray, j: IntArray, net: NDArray[np.float64], n: int) -> tuple[int, int]:
    """Cyclic triples and completely decided ones, over a sparse tournament.

    With A[a, b] = 1 where a beats b: cyclic = trace(A^3) / 3, complete = trace(U^3) / 6 with U = A + A^T.

    Args:
        i: first item of each comparison, (E,).
        j: second item, (E,).
        net: how much i won; several rows of a pair are added up, 0 is undecided.
        n: items.
    """
    total = csr_array((np.concatenate([net, -net]), (np.concatenate([i, j]), np.concatenate([j, i]))), shape=(n, n))
    total.sum_duplicates()
    beats = csr_array(((total.data > 1e-12).astype(np.int64), total.indices, total.indptr), shape=(n, n))
    either = csr_array(beats + beats.T)
    cyclic = int((csr_array(beats @ beats).multiply(beats.T)).sum()) // 3
    complete = int((csr_array(either @ either).multiply(either)).sum()) // 6
    return cyclic, complete

"""Rows that repeat each other, exactly or nearly, and rows that contradict each other."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from sweetspot.auditing.checks._shares import interval, level_of, share
from sweetspot.auditing.features import PERMUTATIONS, SHINGLE_WORDS, SIMILAR
from sweetspot.auditing.findings import Bars, Finding, Suspect
from sweetspot.auditing.groups import Repeats, text_ids
from sweetspot.auditing.tables import Pairs, Scores, Sketches
from sweetspot.validation._minhash import propose_neighbours
from sweetspot.validation.duplicates import shingles

SHOWN = 20
MOST_VERIFIED = 100_000
"""Proposed pairs whose texts are read again; beyond that the MinHash estimate decides, and the report says so."""
ESTIMATE_MARGIN = 0.05
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class NearPairs:
    """Rows whose responses are probably alike: proposed pairs that need no text, and those to be verified.

    Attributes:
        pairs: (D, 2) indices of rows, i < j.
        estimate: (D,) similarity estimated by MinHash.
        to_verify: (D,) whether the texts decide.
    """

    pairs: IntArray
    estimate: NDArray[np.float64]
    to_verify: NDArray[np.bool_]

    def rows(self) -> IntArray:
        """Indices of the rows whose texts are needed, sorted."""
        return np.unique(self.pairs[self.to_verify])


def propose(sketches: Sketches, same: IntArray, *, most: int = MOST_VERIFIED) -> NearPairs:
    """Rows with probably similar texts that are not the very same ones.

    Args:
        sketches: MinHash of the texts.
        same: (n,) number of each row's texts; only the first row of each is compared.
        most: proposed pairs whose texts decide.
    """
    first = np.unique(same, return_index=True)[1]
    is_first = np.zeros(len(same), dtype=bool)
    is_first[first] = True
    used = is_first[sketches.row]
    places, estimate = propose_neighbours(sketches.keys[used], sketches.low_bytes[used], SIMILAR)
    to_verify = np.zeros(len(places), dtype=bool)
    rng = np.random.default_rng(0)
    to_verify[rng.permutation(len(places))[:most]] = True
    return NearPairs(sketches.row[used][places].reshape(-1, 2), estimate, to_verify)


def verified(near: NearPairs, texts: Mapping[int, Sequence[str]]) -> NearPairs:
    """The pairs that are alike: by the exact similarity of their shingles, or by estimate beyond the limit.

    Args:
        near: of `propose`.
        texts: those of every row of `near.rows()`, such as chosen and rejected; a pair without them is left out.
    """
    keep = ~near.to_verify & (near.estimate >= SIMILAR)
    similarity = near.estimate.copy()
    for k in np.flatnonzero(near.to_verify).tolist():
        i, j = near.pairs[k].tolist()
        if i in texts and j in texts:
            one, other = (_both(texts[row]) for row in (i, j))
            shared = len(one & other)
            similarity[k] = shared / max(1, len(one) + len(other) - shared)
            keep[k] = similarity[k] >= SIMILAR
    return NearPairs(near.pairs[keep], similarity[keep], near.to_verify[keep])


def _both(texts: Sequence[str]) -> frozenset[str]:
    return frozenset().union(*(shingles(text, unit="word", size=SHINGLE_WORDS) for text in texts))


def turned(texts: dict[int, tuple[str, str]], i: int, j: int) -> bool:
    """Whether the chosen response of one row is nearer to the rejected than to the chosen one of the other."""
    grams = {
        (row, side): shingles(texts[row][side], unit="word", size=SHINGLE_WORDS) for row in (i, j) for side in (0, 1)
    }

    def alike(a: tuple[int, int], b: tuple[int, int]) -> float:
        shared = len(grams[a] & grams[b])
        return shared / max(1, len(grams[a]) + len(grams[b]) - shared)

    straight = alike((i, 0), (j, 0)) + alike((i, 1), (j, 1))
    return alike((i, 0), (j, 1)) + alike((i, 1), (j, 0)) > straight


def check(pairs: Pairs, found: Repeats) -> tuple[Finding, ...]:
    """Exact repetitions, identical responses and contradictions."""
    n = len(pairs)
    copies = int((found.duplicate_of >= 0).sum())
    same = int(found.identical.sum())
    repeated_ids, first_repeated = _repeated_ids(pairs.row_id.tolist())
    figures = {
        "duplicate_rows": copies,
        "duplicate_share": share(copies, n),
        "identical_responses": same,
        "rows_with_a_repeated_id": repeated_ids,
        "different_prompts": int(np.unique(found.prompt).size),
        "rows": n,
    }
    says = (
        f"{copies} of {n} rows repeat an earlier one word for word ({share(copies, n):.1%}); in {same} rows chosen and "
        "rejected are the same text, which teaches nothing."
    )
    notes = (
        (f"repeated_ids: {repeated_ids} rows carry the id of an earlier one (first: {first_repeated[:60]})",)
        if repeated_ids
        else ()
    )
    suspects = [
        Suspect(str(pairs.row_id[k]), "chosen and rejected are the same text") for k in np.flatnonzero(found.identical)
    ]
    suspects += [
        Suspect(str(pairs.row_id[k]), f"repeats {pairs.row_id[found.duplicate_of[k]]}")
        for k in np.flatnonzero(found.duplicate_of >= 0)[:SHOWN]
    ]
    level = level_of(share(copies + same, n), 0.002, 0.1)
    first = Finding(
        "duplicates",
        "Do rows repeat each other?",
        level,
        says,
        figures,
        {"duplicate_share": interval(copies, n)},
        (),
        tuple(suspects[:SHOWN]),
        notes,
    )
    return (first, _contradictions(pairs, found))


def _repeated_ids(names: list[str]) -> tuple[int, str]:
    """How many rows carry the id of an earlier one, and the first such id."""
    seen, repeated, first = set[str](), 0, ""
    for name in names:
        if name in seen:
            repeated, first = repeated + 1, first or name
        seen.add(name)
    return repeated, first


def _contradictions(pairs: Pairs, found: Repeats) -> Finding:
    n, count = len(pairs), int(found.contradictory.sum())
    groups = int(np.unique(found.pair[found.contradictory]).size)
    says = (
        f"{groups} pairs of responses are labelled both ways, in {count} of {n} rows; for each at least one label is "
        "wrong."
        if count
        else f"No two of the {n} rows prefer opposite responses of the same pair."
    )
    rows = np.flatnonzero(found.contradictory)
    rows = rows[np.argsort(found.pair[rows], kind="stable")]
    suspects = tuple(
        Suspect(str(pairs.row_id[k]), "the same two responses are labelled both ways", 0.5) for k in rows[:SHOWN]
    )
    figures = {"contradictory_rows": count, "contradictory_pairs": groups, "contradictory_share": share(count, n)}
    level = level_of(share(count, n), 1e-9, 0.05)
    return Finding("contradictions", "Do labels contradict each other?", level, says, figures, {}, (), suspects)


def check_near(pairs: Pairs, near: NearPairs, opposite: NDArray[np.bool_]) -> tuple[Finding, ...]:
    """Nearly repeated rows.

    Args:
        pairs: the table.
        near: of `verified`.
        opposite: (D,) the two rows prefer opposite responses.
    """
    n = len(pairs)
    cluster = clusters(near.pairs, n)
    members = np.bincount(cluster, minlength=n)
    extra = int((members[members > 1] - 1).sum())
    unsure = int((~near.to_verify).sum())
    figures = {
        "near_duplicate_rows": extra,
        "near_duplicate_share": share(extra, n),
        "near_duplicate_groups": int((members > 1).sum()),
        "largest_group": int(members.max(initial=0)),
        "opposite_labels": int(opposite.sum()),
        "similarity_threshold": SIMILAR,
    }
    says = (
        f"{extra} rows have two responses that share at least {SIMILAR:.0%} of their five-word runs with those of "
        f"another row, in {figures['near_duplicate_groups']} groups. {int(opposite.sum())} of these resemblances "
        "prefer opposite responses."
    )
    notes = [
        f"lower_bound: found by {PERMUTATIONS} MinHash values; groups are complete where a chain of resemblances "
        "links them"
    ]
    if unsure:
        notes.append(f"estimated: {unsure} resemblances beyond {MOST_VERIFIED} were not verified word by word")
    order = np.argsort(~opposite, kind="stable")[:SHOWN]
    suspects = tuple(
        Suspect(
            str(pairs.row_id[near.pairs[k, 1]]),
            f"{near.estimate[k]:.0%} alike with {pairs.row_id[near.pairs[k, 0]]}"
            + (", opposite label" if opposite[k] else ""),
            0.5 if opposite[k] else None,
        )
        for k in order
    )
    sizes, times = np.unique(np.minimum(members[members > 1], 10), return_counts=True)
    chart = Bars(
        tuple(f"{size} rows" if size < 10 else "10 or more" for size in sizes),
        tuple(float(count) for count in times),
        "groups of nearly equal rows, by size",
    )
    level = level_of(share(extra, n), 0.01, 0.15)
    title = "Are rows nearly the same?"
    return (
        Finding(
            "near_duplicates", title, level, says, figures, {}, (chart,) if len(sizes) else (), suspects, tuple(notes)
        ),
    )


def clusters(pairs: IntArray, n: int) -> IntArray:
    """Connected components of rows that are alike, (n,)."""
    graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def check_scores(scores: Scores) -> tuple[Finding, ...]:
    """Responses that repeat an earlier one to the same prompt."""
    n = len(scores)
    text = text_ids(scores.keys[:, 1])
    key = np.unique(scores.prompt * (int(text.max(initial=0)) + 1) + text, return_inverse=True)[1]
    _, first = np.unique(key, return_index=True)
    copies = n - len(first)
    says = f"{copies} of {n} responses repeat another one to the same prompt word for word ({share(copies, n):.1%})."
    figures = {
        "duplicate_responses": copies,
        "duplicate_share": share(copies, n),
        "responses": n,
        "prompts": int(scores.prompt.max(initial=-1)) + 1,
    }
    level = level_of(share(copies, n), 0.01, 0.2)
    return (
        Finding(
            "duplicates",
            "Do responses repeat each other?",
            level,
            says,
            figures,
            {"duplicate_share": interval(copies, n)},
        ),
    )

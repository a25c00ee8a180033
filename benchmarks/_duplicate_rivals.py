"""The duplicate step beside others: seconds, and which of the truly similar pairs each one puts together."""

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

THRESHOLD, SHINGLE, PERMUTATIONS = 0.8, 5, 128
RUN_TEXT_DEDUP = Path(__file__).with_name("_run_text_dedup.py")
PairSet = set[tuple[int, int]]


@dataclass(frozen=True)
class Timed:
    """What one way to find near duplicates did.

    Attributes:
        name: with version.
        seconds: from texts to pairs.
        pairs: listed pairs of places.
        right: share of them whose shingles really are as similar as asked.
        together: share of the really similar pairs, listed by any, that are connected by its pairs.
    """

    name: str
    seconds: float
    pairs: int
    right: float
    together: float


def rivals(texts: list[str], text_dedup: str = "") -> list[Timed]:
    """Time each way on the same texts; text-dedup by the Python that has it installed, left out without one."""
    ways: list[tuple[str, Callable[[list[str]], PairSet]]] = [
        ("sweetspot", _ours),
        ("rensa 0.5.0", _rensa),
        ("datasketch 2.0.0", _datasketch),
    ]
    listed = dict[str, tuple[float, PairSet]]()
    for name, call in ways:
        started = time.perf_counter()
        pairs = call(texts)
        listed[name] = (time.perf_counter() - started, pairs)
    if text_dedup:
        listed["text-dedup 0.4.0"] = _text_dedup(texts, text_dedup)
    every = sorted(set().union(*(pairs for _, pairs in listed.values())))
    similar = {pair for pair in every if _jaccard(texts, pair) >= THRESHOLD}
    return [
        Timed(name, seconds, len(pairs), len(pairs & similar) / len(pairs), _together(pairs, similar, len(texts)))
        for name, (seconds, pairs) in listed.items()
    ]


def _together(pairs: PairSet, similar: PairSet, n: int) -> float:
    """Share of similar pairs in one connected component of the listed pairs that really are similar."""
    ends = np.array(sorted(pairs & similar), dtype=np.int64).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends)), (ends[:, 0], ends[:, 1])), shape=(n, n))
    component = connected_components(graph, directed=False)[1]
    wanted = np.array(sorted(similar), dtype=np.int64).reshape(-1, 2)
    return float((component[wanted[:, 0]] == component[wanted[:, 1]]).mean())


def _jaccard(texts: Sequence[str], pair: tuple[int, int]) -> float:
    one, other = (set(_shingles(texts[place])) for place in pair)
    return len(one & other) / len(one | other)


def _shingles(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[k : k + SHINGLE]) for k in range(max(1, len(words) - SHINGLE + 1))]


def _ours(texts: list[str]) -> PairSet:
    from sweetspot.validation.duplicates import near_duplicates

    found = near_duplicates(texts, threshold=THRESHOLD, size=SHINGLE, permutations=PERMUTATIONS).pairs
    return {(int(i), int(j)) for i, j in found}


def _rensa(texts: list[str]) -> PairSet:
    from rensa import RMinHash, RMinHashLSH  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=16)
    return _looked_up(texts, index, lambda grams: _filled(RMinHash(num_perm=PERMUTATIONS, seed=0), grams), index.query)


def _filled(minhash: Any, grams: list[str]) -> Any:
    minhash.update(grams)
    return minhash


def _datasketch(texts: list[str]) -> PairSet:
    from datasketch import MinHash, MinHashLSH  # pyright: ignore[reportMissingImports]

    def sketch(grams: list[str]) -> Any:
        minhash = MinHash(num_perm=PERMUTATIONS, seed=1)
        minhash.update_batch([gram.encode() for gram in grams])
        return minhash

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    return _looked_up(texts, index, sketch, index.query)


def _looked_up(
    texts: list[str], index: Any, sketch: Callable[[list[str]], Any], query: Callable[[Any], Any]
) -> PairSet:
    """Insert one text after another; pairs are those with the earlier ones it collides with, nothing is verified."""
    pairs: PairSet = set()
    for row, text in enumerate(texts):
        minhash = sketch(_shingles(text))
        pairs.update((int(earlier), row) for earlier in query(minhash))
        index.insert(row, minhash)
    return pairs


def _text_dedup(texts: list[str], python: str) -> tuple[float, PairSet]:
    """Seconds of its MinHash and clustering steps alone, in one process, and a pair for each later text of a cluster.

    Raises:
        SystemExit: it does not run with that Python.
    """
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"text": texts}), Path(folder) / "texts.parquet")
        given = {"threshold": THRESHOLD, "ngram": SHINGLE, "num_perm": PERMUTATIONS}
        command = [python, str(RUN_TEXT_DEDUP), folder, json.dumps(given)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"text-dedup did not run with {python}: {done.stderr.strip()[-500:]}")
        found = json.loads((Path(folder) / "found.json").read_text())
    return found["seconds"], {(int(i), int(j)) for i, j in found["pairs"]}

"""Time and memory of `sweetspot audit` on synthetic pairs of real words, and its duplicate step beside rivals.

    python -m benchmarks.audit --words ../shared/data/pairwise/hh_rlhf_test.parquet

writes docs/results/audit-speed.md. Every audit runs as the command would, in a process of its own; memory is the sum of
the resident sizes of all its processes, sampled five times a second, so pages they share count more than once.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

PAGE = Path("docs/results/audit-speed.md")
GROUP_ROWS = 25_000
WORDS_PER_SIDE = (75, 145)  # 400 to 800 characters of English
WORDS_PER_PROMPT = (10, 110)
COPIES, NEAR, TURNED = 0.01, 0.02, 0.005
EDITED_WORDS = 2
RIVAL_TEXTS = 100_000
THRESHOLD, SHINGLE, PERMUTATIONS = 0.8, 5, 128


@dataclass(frozen=True)
class Planted:
    """What was planted: pairs of rows (earlier, later) by kind."""

    copies: int
    near: int
    turned: int


def vocabulary(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Words of the text columns of a Parquet file and how often each occurs."""
    counts: dict[str, int] = {}
    table = pq.read_table(path)
    for name in ("prompt", "chosen", "rejected"):
        for text in table[name].to_pylist():
            for word in text.split():
                counts[word] = counts.get(word, 0) + 1
    frequency = np.array(list(counts.values()), dtype=np.float64)
    return list(counts), frequency / frequency.sum()


def write_pairs(path: Path, rows: int, words: Sequence[str], frequency: NDArray[np.float64]) -> Planted:
    """Write synthetic pairs with copies, near copies and turned copies of rows of the same group."""
    rng = np.random.default_rng(0)
    cumulative = np.cumsum(frequency)
    names = np.array(words, dtype=object)
    planted = np.zeros(3, dtype=int)
    schema = pa.schema([(name, pa.large_string()) for name in ("id", "prompt", "chosen", "rejected")])
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for start in range(0, rows, GROUP_ROWS):
            size = min(GROUP_ROWS, rows - start)
            texts = [
                _texts(rng, names, cumulative, size, low, high)
                for low, high in (WORDS_PER_PROMPT, WORDS_PER_SIDE, WORDS_PER_SIDE)
            ]
            planted += _plant(rng, texts, names, cumulative)
            ids = [f"row-{start + k}" for k in range(size)]
            writer.write_table(pa.table([ids, *texts], schema=schema))
    return Planted(*planted.tolist())


def _texts(rng: np.random.Generator, names: Any, cumulative: Any, n: int, low: int, high: int) -> list[str]:
    lengths = rng.integers(low, high, n)
    drawn = names[np.minimum(np.searchsorted(cumulative, rng.random(int(lengths.sum()))), len(names) - 1)]
    ends = np.cumsum(lengths)
    return [" ".join(drawn[end - length : end]) for end, length in zip(ends, lengths, strict=True)]


def _plant(rng: np.random.Generator, texts: list[list[str]], names: Any, cumulative: Any) -> NDArray[np.int64]:
    """Overwrite rows of the second half with versions of rows of the first half."""
    n = len(texts[0])
    shares = [int(share * n) for share in (COPIES, NEAR, TURNED)]
    targets = n // 2 + rng.permutation(n - n // 2)[: sum(shares)]
    origins = rng.permutation(n // 2)[: sum(shares)]
    for k, (target, origin) in enumerate(zip(targets, origins, strict=True)):
        prompt, chosen, rejected = (column[origin] for column in texts)
        if k >= shares[0] + shares[1]:
            chosen, rejected = rejected, chosen
        elif k >= shares[0]:
            chosen = _edited(rng, chosen, names, cumulative)
        for column, text in zip(texts, (prompt, chosen, rejected), strict=True):
            column[target] = text
    return np.array(shares)


def _edited(rng: np.random.Generator, text: str, names: Any, cumulative: Any) -> str:
    parts = text.split()
    for place in rng.integers(0, len(parts), EDITED_WORDS):
        parts[place] = str(names[min(int(np.searchsorted(cumulative, rng.random())), len(names) - 1)])
    return " ".join(parts)


def audited(path: Path, out: Path) -> dict[str, Any]:
    """Run the command; wall seconds, peak bytes of all its processes, and its own report."""
    command = [sys.executable, "-m", "flows.cli", "audit", str(path), "--out", str(out)]
    started, peak, used = time.monotonic(), 0, resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    parent = psutil.Process(process.pid)
    while process.poll() is None:
        total = 0
        try:
            for one in (parent, *parent.children(recursive=True)):
                total += one.memory_info().rss
        except psutil.NoSuchProcess:
            pass
        peak = max(peak, total)
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    report = json.loads((out / "report.json").read_text())
    wall, now = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return {"seconds": wall, "cpu": cpu, "peak": peak, "load": os.getloadavg()[1], "report": report}


def rivals(texts: list[str]) -> list[tuple[str, float, int]]:
    """Name, seconds and proposed or verified pairs of each way to find near duplicates."""
    found = []
    for name, call in (("sweetspot", _ours), ("rensa 0.5.0", _rensa), ("datasketch 2.0.0", _datasketch)):
        started = time.perf_counter()
        pairs = call(texts)
        found.append((name, time.perf_counter() - started, pairs))
    return found


def _ours(texts: list[str]) -> int:
    from sweetspot.validation.duplicates import near_duplicates

    return len(near_duplicates(texts, threshold=THRESHOLD, size=SHINGLE, permutations=PERMUTATIONS).pairs)


def _shingles(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[k : k + SHINGLE]) for k in range(max(1, len(words) - SHINGLE + 1))]


def _rensa(texts: list[str]) -> int:
    from rensa import RMinHash, RMinHashLSH  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    index = RMinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, num_bands=16)
    return _looked_up(texts, index, lambda grams: _filled(RMinHash(num_perm=PERMUTATIONS, seed=0), grams), index.query)


def _filled(minhash: Any, grams: list[str]) -> Any:
    minhash.update(grams)
    return minhash


def _datasketch(texts: list[str]) -> int:
    from datasketch import MinHash, MinHashLSH  # pyright: ignore[reportMissingImports]

    def sketch(grams: list[str]) -> Any:
        minhash = MinHash(num_perm=PERMUTATIONS, seed=1)
        minhash.update_batch([gram.encode() for gram in grams])
        return minhash

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    return _looked_up(texts, index, sketch, index.query)


def _looked_up(texts: list[str], index: Any, sketch: Callable[[list[str]], Any], query: Callable[[Any], Any]) -> int:
    """Insert one text after another and count the earlier ones it collides with; nothing is verified."""
    pairs = 0
    for row, text in enumerate(texts):
        minhash = sketch(_shingles(text))
        pairs += len(query(minhash))
        index.insert(row, minhash)
    return pairs


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=Path, default=Path("../shared/data/pairwise/hh_rlhf_test.parquet"))
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    if not options.words.is_file():
        raise SystemExit(f"no file {options.words}: the words of the texts come from there")
    words, frequency = vocabulary(options.words)
    lines, compared = [], []
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            path = Path(folder) / f"{rows}.parquet"
            planted = write_pairs(path, rows, words, frequency)
            run = audited(path, Path(folder) / "out")
            lines.append(_line(rows, path.stat().st_size, planted, run))
            print(lines[-1], flush=True)
            if not compared:
                groups = range(min(4, -(-rows // GROUP_ROWS)))
                texts = pq.ParquetFile(path).read_row_groups(groups, columns=["chosen"])["chosen"].to_pylist()
                compared = rivals(texts[:RIVAL_TEXTS])
            path.unlink()
    options.page.write_text(_page(lines, compared))


def _line(rows: int, size: int, planted: Planted, run: dict[str, Any]) -> str:
    figures = {one["check"]: one["figures"] for one in run["report"]["findings"]}
    copies = figures["duplicates"]["duplicate_rows"]
    near, turned = figures["near_duplicates"]["near_duplicate_rows"], figures["contradictions"]["contradictory_pairs"]
    return (
        f"| {rows:,} | {size / 2**20:,.0f} | {run['seconds']:.0f} | {run['cpu']:.0f} | {run['load']:.1f} | "
        f"{run['peak'] / 2**30:.2f} | {copies:,} of {planted.copies:,} | {near:,} of {planted.near:,} | "
        f"{turned:,} of {planted.turned:,} |"
    )


def _page(lines: Sequence[str], compared: Sequence[tuple[str, float, int]]) -> str:
    ours = compared[0][1] if compared else 1.0
    rows = [f"| {name} | {seconds:.1f} | {seconds / ours:.2f} | {pairs:,} |" for name, seconds, pairs in compared]
    return "\n".join(
        [
            "# Speed of an audit",
            "",
            f"Made by `python -m benchmarks.audit` on {os.cpu_count()} cores of {platform.machine()}, Python "
            f"{platform.python_version()}, two workers, everything on but `--against`, `--prompts` and `--stress`. "
            "Texts are "
            "synthetic: words of real dialogues drawn by their frequency, 400 to 800 characters a response. Planted "
            "are "
            "copies, near copies (two words of one response changed) and copies with the label turned. Load is the "
            "mean number "
            "of running processes over five minutes: above 2, others worked on the same cores and seconds are too "
            "many; "
            "processor seconds tell what the audit itself took.",
            "",
            "| pairs | Parquet, MiB | seconds | processor seconds | load of the machine | peak memory of all "
            "processes, GiB | "
            "copies found | near copies found | turned copies found |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
            *lines,
            "",
            "## The duplicate step beside others",
            "",
            f"{RIVAL_TEXTS:,} responses, five-word shingles, {PERMUTATIONS} permutations, threshold {THRESHOLD}, one "
            "process, from "
            "texts to pairs. sweetspot verifies every proposed pair by its exact Jaccard similarity; the others only "
            "propose. "
            "text-dedup 0.4.0 pins older rich and urllib3 than this project and cannot be installed beside it; not "
            "measured.",
            "",
            "| | seconds | against ours | pairs |",
            "|---|--:|--:|--:|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()

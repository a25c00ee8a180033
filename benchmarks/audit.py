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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks._duplicate_rivals import PERMUTATIONS, THRESHOLD, Timed, rivals

PAGE = Path("docs/results/audit-speed.md")
GROUP_ROWS = 25_000
WORDS_PER_SIDE = (75, 145)  # 400 to 800 characters of English
WORDS_PER_PROMPT = (10, 110)
COPIES, NEAR, TURNED = 0.01, 0.02, 0.005
EDITED_WORDS = 2
RIVAL_TEXTS = 100_000
RIVALS_HEADING = "## The duplicate step beside others"


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


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=Path, default=Path("../shared/data/pairwise/hh_rlhf_test.parquet"))
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument(
        "--text-dedup",
        default="",
        metavar="PYTHON",
        help="the Python of an environment with text-dedup, which cannot be installed beside this project",
    )
    parser.add_argument("--only-rivals", action="store_true", help="write that part of the page anew, keep the rest")
    options = parser.parse_args()
    if not options.words.is_file():
        raise SystemExit(f"no file {options.words}: the words of the texts come from there")
    words, frequency = vocabulary(options.words)
    if options.only_rivals:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "texts.parquet"
            write_pairs(path, RIVAL_TEXTS, words, frequency)
            compared = rivals(_responses(path), options.text_dedup)
        kept = options.page.read_text().split(RIVALS_HEADING)[0]
        options.page.write_text(kept + _beside_others(compared))
        return
    lines, compared = [], []
    with tempfile.TemporaryDirectory() as folder:
        for rows in options.rows:
            path = Path(folder) / f"{rows}.parquet"
            planted = write_pairs(path, rows, words, frequency)
            run = audited(path, Path(folder) / "out")
            lines.append(_line(rows, path.stat().st_size, planted, run))
            print(lines[-1], flush=True)
            if not compared:
                compared = rivals(_responses(path), options.text_dedup)
            path.unlink()
    options.page.write_text(_page(lines, compared))


def _responses(path: Path) -> list[str]:
    """The chosen responses of the first groups of rows, 100,000 at most."""
    file = pq.ParquetFile(path)
    groups = range(min(RIVAL_TEXTS // GROUP_ROWS, file.num_row_groups))
    return file.read_row_groups(groups, columns=["chosen"])["chosen"].to_pylist()


def _line(rows: int, size: int, planted: Planted, run: dict[str, Any]) -> str:
    figures = {one["check"]: one["figures"] for one in run["report"]["findings"]}
    copies = figures["duplicates"]["duplicate_rows"]
    near, turned = figures["near_duplicates"]["near_duplicate_rows"], figures["contradictions"]["contradictory_pairs"]
    return (
        f"| {rows:,} | {size / 2**20:,.0f} | {run['seconds']:.0f} | {run['cpu']:.0f} | {run['load']:.1f} | "
        f"{run['peak'] / 2**30:.2f} | {copies:,} of {planted.copies:,} | {near:,} of {planted.near:,} | "
        f"{turned:,} of {planted.turned:,} |"
    )


def _page(lines: Sequence[str], compared: Sequence[Timed]) -> str:
    return "\n".join(
        [
            "# Speed of an audit",
            "",
            f"Made by `python -m benchmarks.audit` on {os.cpu_count()} cores of {platform.machine()}, Python "
            f"{platform.python_version()}, two workers, everything on but `--against`, `--prompts` and `--stress`. "
            "Texts are synthetic: words of real dialogues drawn by their frequency, 400 to 800 characters a response. "
            "Planted are copies, near copies (two words of one response changed) and copies with the label turned. "
            "Load is the mean number of running processes over five minutes: above 2, others worked on the same cores "
            "and seconds are too many; processor seconds tell what the audit itself took.",
            "",
            "| pairs | Parquet, MiB | seconds | processor seconds | load of the machine | peak memory of all "
            "processes, GiB | copies found | near copies found | turned copies found |",
            "|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
            *lines,
            "",
            _beside_others(compared),
        ]
    )


def _beside_others(compared: Sequence[Timed]) -> str:
    ours = compared[0].seconds if compared else 1.0
    rows = [
        f"| {one.name} | {one.seconds:.1f} | {one.seconds / ours:.2f} | {one.pairs:,} | {one.right:.1%} | "
        f"{one.together:.1%} |"
        for one in compared
    ]
    return "\n".join(
        [
            RIVALS_HEADING,
            "",
            f"{RIVAL_TEXTS:,} responses, five-word shingles, {PERMUTATIONS} permutations, threshold {THRESHOLD}, one "
            f"process, load of the machine {os.getloadavg()[1]:.1f}, from texts to pairs. sweetspot verifies every "
            "proposed pair by its exact Jaccard similarity; the others only propose. Right are listed pairs whose "
            "exact similarity reaches the threshold; found are the similar pairs, of all that any of them lists, that "
            "its right pairs connect. text-dedup 0.4.0 pins urllib3 to at most 2.0 and rich below 14 and so runs in an "
            "environment of its own (`--text-dedup PYTHON`); only its hashing and clustering are timed, with its "
            "faster hash, not its reading, filtering and saving.",
            "",
            "| | seconds | against ours | pairs listed | right | similar pairs found |",
            "|---|--:|--:|--:|--:|--:|",
            *rows,
            "",
        ]
    )


if __name__ == "__main__":
    main()

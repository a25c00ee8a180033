"""Runs text-dedup's MinHash on FOLDER/texts.parquet by the Python it is installed in; writes FOLDER/found.json.

PYTHON benchmarks/_run_text_dedup.py FOLDER '{"threshold": 0.8, "ngram": 5, "num_perm": 128}'
"""

import json
import sys
from pathlib import Path
from typing import Any

from text_dedup import minhash  # pyright: ignore[reportMissingImports]

timers: list[Any] = []


class KeptTimer(minhash.Timer):
    """Its own timer, kept for its figures."""

    def __init__(self) -> None:
        super().__init__()
        timers.append(self)


def main() -> None:
    """Find clusters in one process with its faster hash and write them with the seconds of the two steps that do so."""
    folder, given = Path(sys.argv[1]), json.loads(sys.argv[2])
    minhash.Timer = KeptTimer
    files = {"path": "parquet", "data_files": str(folder / "texts.parquet"), "split": "train", "column": "text"}
    kept = {"cache_dir": str(folder / "cache"), "output": str(folder / "out"), "num_proc": 1}
    options = {**files, **kept, **given, "hash_func": "xxh3", "hash_bits": 32}
    minhash.main([f"--{name}={value}" for name, value in options.items()], standalone_mode=False)
    members: dict[int, list[int]] = {}
    for row in sorted(minhash.uf.parent):
        members.setdefault(minhash.uf.find(row), []).append(row)
    pairs = [(rows[0], row) for rows in members.values() for row in rows[1:]]
    seconds = timers[0].elapsed_times["MinHashing"] + timers[0].elapsed_times["Clustering"]
    (folder / "found.json").write_text(json.dumps({"seconds": seconds, "pairs": pairs}))


if __name__ == "__main__":
    main()

"""How others get through chunks of work that may be killed, on the same chunks: to count what is worked again.

from_zero: one file of results at the end, as published sampling scripts write it. ranks: datatrove's way, an empty
completion file per rank once all of the rank's work is done.
"""

import json
import time
from pathlib import Path

CHUNKS = 25
RANKS = 5
CHUNK_S = 0.03


def from_zero(folder: Path) -> None:
    """Everything is in memory until the end."""
    results = [_work(folder, index) for index in range(CHUNKS)]
    (folder / "all.json").write_text(json.dumps(results))


def ranks(folder: Path) -> None:
    """A rank that has its completion file is skipped; any other is done from its start."""
    for rank in range(RANKS):
        done = folder / f"completion-{rank}"
        if done.exists():
            continue
        size = CHUNKS // RANKS
        results = [_work(folder, index) for index in range(rank * size, (rank + 1) * size)]
        (folder / f"rank-{rank}.json").write_text(json.dumps(results))
        done.touch()


def _work(folder: Path, index: int) -> int:
    note(folder, f"chunk {index}")
    time.sleep(CHUNK_S)
    return index


def note(folder: Path, chunk: str) -> None:
    """Write down that the work on a chunk begins."""
    with (folder / "worked.txt").open("a") as notes:
        notes.write(f"{chunk}\n")


WAYS = {"from_zero": from_zero, "ranks": ranks}

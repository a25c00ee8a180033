"""A night with one stage on Ray that takes a second a chunk and then publishes: `python slow_night.py CONFIG.json`.

`python slow_night.py deploy CONFIG.json` makes a deployment of it in the pool `local`.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
from prefect import flow

from flows._night import night
from flows._telling import OPTIONS, told
from sweetspot import schemas
from sweetspot.config import Curate
from tasks._stage import Run, Stage, run_stage
from tasks._store import Store
from tasks._tables import ChunkResult, TableRef, dropped_table
from tasks.load_prompts import load_prompts

WORKERS_END_S = 10
IDLE_END_S = 180
"""Ray's idle processes notice by themselves, on a busy machine late, that their head is gone."""
STAGE = Stage("copy", 1, schemas.CHECKS, unit="prompt")


class Slow:
    """A chunk takes a second; says which process works."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __call__(self, inputs) -> ChunkResult:
        with Path(self.log).open("a") as log:
            log.write(f"{os.getpid()}\n")
        time.sleep(1)
        keys = inputs["prompts"]["prompt_id"].to_pylist()
        rows = [{"response_id": key, "prompt_id": key, "chars": 1, "flaw": None} for key in keys]
        return ChunkResult(STAGE.output.table(rows), dropped_table("copy", "prompt", []), keys, keys)


def copy(prompts: TableRef, run: Run) -> TableRef:
    """The slow stage."""
    log = f"{run.store.removeprefix('file://')}/workers.txt"
    return run_stage(STAGE, {"prompts": prompts}, lambda: Slow(log), run, identity=None)


def deliver_dataset(run: Run) -> None:
    """Stands for the publication."""
    Store(run.store).create(f"{run.dataset}/versions/published", b"{}")


@flow(flow_run_name="{config.dataset}", **OPTIONS)
@told
def slow(config: Curate) -> None:
    """Load, copy, publish."""
    with night(config) as book:
        prompts = book.stage(load_prompts, config.prompts, book.run)
        book.stage(copy, prompts, book.run)
        book.step(deliver_dataset, book.run)


def settings(folder: Path, *, dataset: str) -> Path:
    """A configuration of 60 chunks; the run is named after its dataset."""
    source = folder / "prompts.jsonl"
    source.write_text("\n".join(json.dumps({"prompt": f"prompt {number}"}) for number in range(60)))
    config = {
        "dataset": dataset,
        "store": f"file://{folder}/store",
        "prompts": {"source": str(source)},
        "cluster": {"chunk_prompts": 1, "max_actors": 1},
    }
    path = folder / "slow.json"
    path.write_text(json.dumps(config))
    return path


def receipts(folder: Path) -> list[Path]:
    """Chunks of the slow stage that are committed."""
    return sorted((folder / "store").glob("*/tables/checks/*/chunk-*.json"))


def family(pid: int) -> list[psutil.Process]:
    """Everything a process has started, workers on Ray among it."""
    return psutil.Process(pid).children(recursive=True)


def is_quiet(folder: Path, descendants: list[psutil.Process]) -> bool:
    """Nobody works any more, no chunk is added and nothing is published; then all other processes end as well."""
    worked = {int(pid) for pid in (folder / "store" / "workers.txt").read_text().split()}
    workers = [one for one in descendants if one.pid in worked]
    assert workers
    assert psutil.wait_procs(workers, timeout=WORKERS_END_S)[1] == []
    before = receipts(folder)
    time.sleep(3)
    assert receipts(folder) == before
    assert len(before) >= 2
    assert not list(folder.glob("store/*/versions/*"))
    _, left = psutil.wait_procs(descendants, timeout=IDLE_END_S)
    assert [one for one in left if one.is_running() and one.status() != psutil.STATUS_ZOMBIE] == []
    return True


if __name__ == "__main__":
    parameters = json.loads(Path(sys.argv[-1]).read_text())
    if sys.argv[1] == "deploy":
        deployment: Any = slow.to_deployment("slow", parameters={"config": parameters})
        deployment.work_pool_name = "local"
        deployment.entrypoint = "slow_night.slow"
        deployment.apply()
    else:
        import slow_night

        signal.signal(signal.SIGTERM, signal.default_int_handler)  # as `sweetspot run` does
        slow_night.slow(Curate(**parameters))

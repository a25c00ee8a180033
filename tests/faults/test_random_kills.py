"""200 kill -9 at random times, of every kind of process a night has; afterwards nothing is lost or doubled."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path

import psutil
import pytest
import yaml
from killed_nights import KILLED
from rival_ways import CHUNKS
from scored_world import RATERS, scored_rows, write_rows

from sweetspot import schemas
from sweetspot.config import Cluster, Prompts
from sweetspot.delivery.books import Book
from tasks import _ray
from tasks._stage import Run, Stage, run_stage
from tasks._tables import ChunkResult, dropped_table
from tasks._versions import differences, open_version
from tasks.load_prompts import load_prompts

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
TABLE = "200 kills (kill -9) at random times"
RIVALS = "The same kills against two published ways to go on, by counting chunks worked again"
FLOW_KILLS, TRAINING_KILLS, ACTOR_KILLS, RAYLET_KILLS, RUN_KILLS, ENGINE_KILLS = 156, 8, 30, 2, 2, 2


def duration(nights, name, **options):
    started = time.monotonic()
    assert nights.run(name, **options) == 0
    return time.monotonic() - started


def redone(nights, name):
    return sum(times - 1 for times in nights.worked(name).values())


def killed_at_random(nights, name, draw, low_s, high_s, **options):
    """Run until a kill meets it, and then to the end; a night that was faster is run anew under another name."""
    for attempt in range(50):
        ours = f"{name}-{attempt}"
        if nights.run(ours, kill_after_s=draw.uniform(low_s, high_s), **options) == KILLED:
            assert nights.run(ours, **options) == 0, (nights.folder / ours / "log.txt").read_text()[-2000:]
            return ours
    raise AssertionError("no kill ever met the night")


def line(figure, what, kills, again, first_row="-"):
    """A line of the page; every caller has asserted that nothing was lost and nothing doubled."""
    counted = {"chunks worked again": again, "seconds to the first new row": first_row}
    figure(TABLE, killed=what, kills=kills, lost=0, doubled=0, **counted)


def test_the_process_of_the_flow(nights, undisturbed, figure):
    draw = random.Random(1)
    seconds = duration(nights, "timed")
    again = []
    for number in range(FLOW_KILLS):
        name = killed_at_random(nights, f"flow-{number}", draw, 0.05, seconds)
        assert nights.outcome(name) == undisturbed[False]
        again.append(redone(nights, name))
    assert max(again) <= 1
    line(figure, "flow process (stages in it)", FLOW_KILLS, share(again))
    figure(RIVALS, way="ours: chunks with receipts", kills=FLOW_KILLS, **{"worked again": share(again)})


@pytest.mark.parametrize(("way", "name"), [("from_zero", "start again from zero"), ("ranks", "ranks of 5 chunks")])
def test_the_same_kills_of_rivals(nights, figure, way, name):
    draw = random.Random(1)
    seconds = duration(nights, f"timed-{way}", way=way)
    again = []
    for number in range(FLOW_KILLS // 4):
        killed = killed_at_random(nights, f"{way}-{number}", draw, 0.05, seconds, way=way)
        again.append(redone(nights, killed))
    figure(RIVALS, way=name, kills=len(again), **{"worked again": share(again)})


def share(again):
    return f"{100 * sum(again) / len(again) / CHUNKS:.1f} % of all chunks, at most {100 * max(again) / CHUNKS:.0f} %"


def test_the_training_job(nights, undisturbed, figure):
    draw = random.Random(2)
    curated, trained = duration(nights, "timed"), duration(nights, "timed-training", train=True)
    for number in range(TRAINING_KILLS):
        name = killed_at_random(nights, f"training-{number}", draw, curated, trained, train=True)
        assert nights.outcome(name) == undisturbed[True], "another policy came of it"
    line(figure, "training job", TRAINING_KILLS, "steps since the last checkpoint; the same weights come of it")


SAMPLING = "sample_responses"
STAGE = Stage("copy", 1, schemas.CHECKS, unit="prompt", models=True)


class Slow:
    """A chunk takes a tenth of a second; says who begins what."""

    def __init__(self, log: str) -> None:
        self.log = log

    def __call__(self, inputs):
        keys = inputs["prompts"]["prompt_id"].to_pylist()
        with Path(self.log).open("a") as log:
            log.write(f"{os.getpid()} {keys[0]}\n")
        time.sleep(0.1)
        rows = [{"response_id": key, "prompt_id": key, "chars": 1, "flaw": None} for key in keys]
        return ChunkResult(STAGE.output.table(rows), dropped_table("copy", "prompt", []), keys, keys)


def test_a_ray_actor(tmp_path, root, monkeypatch, figure):
    monkeypatch.setenv("PYTHONPATH", f"{root}:{root / 'tests' / 'support'}")  # workers import this module
    log, draw, waits, stop = tmp_path / "log", random.Random(3), [], threading.Event()
    source = write_rows(tmp_path / "p.jsonl", [{"prompt": f"p{i}"} for i in range(4 * 500)])
    run = Run(f"file://{tmp_path}/store", "tiny", "run", Cluster(chunk_prompts=4, max_failed_fraction=0.0))

    def lines():
        return log.read_text().splitlines() if log.exists() else []

    def harm():
        while len(waits) < ACTOR_KILLS and not stop.is_set():
            seen = len(receipts(tmp_path))
            while len(receipts(tmp_path)) == seen and not stop.is_set():
                time.sleep(0.01)
            time.sleep(draw.uniform(0.0, 1.0))
            os.kill(int(lines()[-1].split()[0]), signal.SIGKILL)
            seen, killed = len(receipts(tmp_path)), time.time()
            while len(receipts(tmp_path)) == seen and not stop.is_set():
                time.sleep(0.01)
            waits.append(time.time() - killed)

    with _ray.cluster(run.cluster):
        prompts = load_prompts(Prompts(source=str(source)), run)
        killer = threading.Thread(target=harm)
        killer.start()
        try:
            ref = run_stage(STAGE, {"prompts": prompts}, partial(Slow, str(log)), run, identity=0)
        finally:
            stop.set()
            killer.join()
    assert len(waits) == ACTOR_KILLS
    Book.from_json(ref.book).balance()
    ended = Counter(ref.read(["prompt_id"])["prompt_id"].to_pylist())
    assert set(ended.values()) == {1}
    blamed = {row["row_id"] for index in range(ref.chunks) for row in ref.read_dropped(index).to_pylist()}
    assert set(ended) | blamed == set(prompts.read(["prompt_id"])["prompt_id"].to_pylist())
    assert blamed.isdisjoint(ended)
    assert len(blamed) <= 8  # of 2,000: see decision 10 on a second kill in the same chunk
    worked = Counter(line.split()[1] for line in lines())
    again = sum(count - 1 for key, count in worked.items())
    waits.sort()
    first_row = f"{waits[len(waits) // 2]:.1f}, at most {waits[-1]:.1f}"
    counted = f"{again} of 500 by all kills together; {len(blamed)} of 2,000 prompts left as `failed_worker_died`"
    line(figure, "Ray actor", ACTOR_KILLS, counted, first_row)


@pytest.fixture
def command(root, tmp_path):
    """Starts a run of its own, with its own Ray head."""

    def start(settings):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump({"dataset": "tiny", "store": f"file://{tmp_path}/store", **settings}))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("PREFECT_", "RAY_"))}
        with (tmp_path / "run.log").open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "run", str(path)],
                cwd=root,
                env={**kept, "PREFECT_HOME": str(tmp_path / "prefect")},
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    yield start
    for process in psutil.process_iter():  # Prefect's temporary server outlives a run that was killed
        with contextlib.suppress(psutil.Error):
            if process.environ().get("PREFECT_HOME") == str(tmp_path / "prefect"):
                process.kill()


def receipts(folder, table="*"):
    """Committed chunks, with the time of their commit."""
    found = (folder / "store" / "tiny" / "tables").glob(f"{table}/*/chunk-*.json")
    return {path: path.stat().st_mtime for path in found}


def wait_for_receipts(folder, process, *, more_than, table="*"):
    """Until more chunks are committed, or the run has ended."""
    wait_for(lambda: len(receipts(folder, table)) > more_than or process.poll() is not None)


def wait_for(condition, seconds=300):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.02)


def descendant(process, text):
    """The one process below `process` whose command line has `text` in it."""
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            if text in " ".join(child.cmdline()):
                return child
        except psutil.Error:
            continue
    raise AssertionError(f"no process {text} below the run")


def scored_settings(tmp_path):
    source = write_rows(tmp_path / "scored.jsonl", scored_rows(prompts=160))
    prompts = {"source": str(source), "starts_from": "responses", "score_columns": list(RATERS)}
    return {"flow": "curate", "prompts": prompts, "cluster": {"chunk_prompts": 8}}


@pytest.mark.parametrize(("what", "kills"), [("raylet", RAYLET_KILLS), ("flow", RUN_KILLS)])
def test_a_whole_run_with_its_own_cluster(tmp_path, command, figure, what, kills):
    """The raylet is the cluster of a laptop; without it Ray ends the run's process at once. The next start goes on."""
    draw, waits = random.Random(4), []
    for number in range(kills):
        folder = tmp_path / str(number)
        folder.mkdir()
        settings = scored_settings(tmp_path) | {"store": f"file://{folder}/store"}
        process = command(settings)
        wait_for_receipts(folder, process, more_than=draw.randrange(1, 100))
        victim = descendant(process, "raylet/raylet") if what == "raylet" else psutil.Process(process.pid)
        victim.kill()
        assert process.wait(300) != 0
        before, started = receipts(folder), time.time()
        process = command(settings)
        assert process.wait(300) == 0, (tmp_path / "run.log").read_text()[-3000:]
        after = receipts(folder)
        assert {path: after[path] for path in before} == before
        waits.append(min(at for path, at in after.items() if path not in before) - started)
        version = open_version(f"file://{folder}/store", "tiny")
        assert not list(differences(version))
        assert version.manifest().books[0].rows_in.count == 160 * 12
    name = what if what == "raylet" else "flow process (own Ray cluster)"
    line(figure, name, kills, "those in flight only", f"{max(waits):.0f} at most")


def test_the_engine_of_vllm(tmp_path, command, world_settings, figure):
    draw, waits = random.Random(5), []
    settings = world_settings(tmp_path, limit=48, flow="curate", implicit={"enabled": False})
    for section in ("training", "evaluation"):
        del settings[section]
    settings["sampling"] |= {"engine": "vllm"}
    settings["cluster"] = {"chunk_prompts": 2}
    process = command(settings)
    for _ in range(ENGINE_KILLS):
        wait_for_receipts(tmp_path, process, more_than=len(receipts(tmp_path, "responses")), table="responses")
        time.sleep(draw.uniform(0.0, 0.3))
        before = receipts(tmp_path, "responses")
        descendant(process, "MapWorker").kill()
        killed = time.time()
        wait_for_receipts(tmp_path, process, more_than=len(before), table="responses")
        waits.append(min(at for path, at in receipts(tmp_path, "responses").items() if path not in before) - killed)
    assert process.wait(400) == 0, (tmp_path / "run.log").read_text()[-3000:]
    book = next(b for b in open_version(f"file://{tmp_path}/store", "tiny").manifest().books if b.stage == SAMPLING)
    assert book.rows_in.count == 48
    assert not any(reason.startswith("failed") for reason in book.dropped)
    line(figure, "vLLM engine (in its actor)", ENGINE_KILLS, "those in flight only", f"{max(waits):.0f} at most")

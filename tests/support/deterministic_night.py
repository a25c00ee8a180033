"""Whole nights in one process each, from scored responses to a promoted policy, made to be killed and run again.

Started once: it imports everything, then forks a process per line of input, `{"folder", "crash", "train"}`, and
answers each with the exit status (negative: the signal it died of). With `kill_after_s` the process is killed after
so many seconds; with `way` it works chunks as a rival does. Each chunk is noted in FOLDER/worked.txt when its work
begins, so one that was killed half-way counts.
"""

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from contextlib import nullcontext
from pathlib import Path

import transformers.models.llama.modeling_llama  # noqa: F401  (here, once, and not in every fork)
from rival_ways import WAYS, note
from scored_world import FACTS, RATERS, curate, make_world

import sweetspot.engines.samplers
import sweetspot.training.job  # noqa: F401
from sweetspot.config import Evaluation, Prompts, Sampling, Training
from tasks import _ray, _ray_jobs, _seams, train_job
from tasks._policies import start_policy
from tasks._versions import open_version
from tasks.deliver_dataset import deliver_dataset
from tasks.train_policy import TrainRequest, train_policy

WORLD = Path(__file__).resolve().parents[2] / "deployments" / "world"
PROMPTS = 40


def rows() -> list[dict]:
    """Real prompts of the embedded world; the right answer scores best, its cuts and repeats worse."""
    made = []
    for line in (WORLD / "prompts.jsonl").read_text().splitlines()[:PROMPTS]:
        given = json.loads(line)
        answer = given["answer"]
        for place, text in enumerate((answer, answer + answer, answer[:1] + "x", "no", "x" + answer)):
            scores = {rater: 4.0 - place + 0.1 * number for number, rater in enumerate(RATERS)}
            made.append({**given, "response": text, "model": f"m{place}", **scores})
    return made


def note_worked(folder: Path) -> None:
    """Work chunks in this process and write down which."""

    def map_chunks(open_work, chunks, **_):
        work = open_work()
        for index in chunks:
            note(folder, f"{open_work.__self__.stage.name} {index}")
            yield work(index)

    _ray.map_chunks = map_chunks


def main(folder: Path, *, training: bool) -> None:
    """Curate and publish; train and promote if asked to."""
    note_worked(folder)
    _ray.cluster = lambda settings: nullcontext("")
    _ray_jobs.run_job = lambda module, arguments, **_: train_job.main(*arguments)
    tempfile.tempdir = str(folder)  # scratch of the training job
    os.environ.pop("SWEETSPOT_CACHE", None)
    prompts = Prompts(
        source=str(folder / "scored.jsonl"), starts_from="responses", score_columns=list(RATERS),
        answer_column="answer", held_out_fraction=0.2,
    )  # fmt: skip
    world = curate(make_world(folder, rows(), prompts=prompts))
    deliver_dataset(world.tables, FACTS, store_uri=world.config.store, dataset="tiny")
    if not training:
        return
    request = TrainRequest(
        version=open_version(world.config.store, "tiny"),
        start=start_policy(str(WORLD / "policy")),
        prompts=world.tables["prompts"],
        sampling=Sampling(policy=str(WORLD / "policy"), max_tokens=8),
        training=Training(epochs=1, batch_size=8, checkpoint_steps=1),
        evaluation=Evaluation(samples=2, min_gain=-1.0, max_chosen_drop=1e9),
    )
    assert train_policy(request, world.run).promoted


def serve() -> None:
    """One night per line of input, each in a process of its own."""
    for line in sys.stdin:
        wanted = json.loads(line)
        child = os.fork()
        if child == 0:
            run_and_exit(Path(wanted["folder"]), crash=wanted["crash"], training=wanted["train"], way=wanted.get("way"))
        if wanted.get("kill_after_s") is not None:
            status = kill_after(child, wanted["kill_after_s"])
        else:
            _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def kill_after(child: int, seconds: float) -> int:
    """Kill a child unless it ends before; returns its wait status."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def run_and_exit(folder: Path, *, crash: str | None, training: bool, way: str | None) -> None:
    """The forked process: never returns."""
    os.dup2(os.open(folder / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), 1)
    os.dup2(1, 2)
    if crash:
        os.environ[_seams.CRASH] = crash
    try:
        WAYS[way](folder) if way else main(folder, training=training)
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    serve()

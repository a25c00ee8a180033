"""A run killed in the middle of sampling goes on where it was: nothing redone, lost or doubled."""

import os
import signal
import subprocess
import time

import pandas as pd
import pyarrow.parquet as pq

PROMPTS, CHUNK = 96, 8


def receipts(store):
    return {path: path.read_bytes() for path in store.glob("tiny/tables/responses/*/chunk-*.json")}


def test_a_killed_run_goes_on_without_redoing_committed_chunks(command, world_settings):
    settings = world_settings(command.folder, limit=PROMPTS) | {"flow": "curate"}
    settings["sampling"] |= {"n": 24}
    settings["cluster"] = {"chunk_prompts": CHUNK}
    for nightly_only in ("training", "evaluation"):
        del settings[nightly_only]
    config, store = command.write("killed.yaml", settings), command.folder / "store"

    process = subprocess.Popen(
        command.line("run", config), cwd=command.root, env=command.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 300
    while len(receipts(store)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(3)  # the cluster's own processes notice that their driver is gone
    before = receipts(store)
    assert 2 <= len(before) < PROMPTS // CHUNK
    assert not list(store.glob("tiny/versions/*"))

    done = command.run("run", config)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    after = receipts(store)
    assert {path: after[path] for path in before} == before
    assert f"{len(before)} of {PROMPTS // CHUNK} chunks" in done.stdout

    version = next((store / "tiny" / "versions").iterdir())
    samples = pd.concat(pd.read_parquet(path) for path in (version / "samples").glob("*.parquet"))
    assert len(samples) == samples["response_id"].nunique() == PROMPTS * 24
    delivered = pd.concat(pq.read_table(path).to_pandas() for path in (version / "data").glob("*.parquet"))
    dropped = pd.read_parquet(version / "dropped" / "dropped-00000-of-00001.parquet")
    left = dropped[dropped["stage"].isin(["build_pairs", "select_pairs"])]["prompt_id"]
    assert sorted([*delivered["prompt_id"], *left]) == sorted(samples["prompt_id"].unique())

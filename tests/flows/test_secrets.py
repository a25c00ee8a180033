"""A run with marked credentials and marked texts: every store it leaves is searched for the marks."""

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import boto3
import psutil
import pyarrow.parquet as pq
import pytest
from moto_process import moto_server, pointed_at
from scored_world import RATERS, scored_rows, write_rows

PROMPT, RESPONSE, SECRET, BAD_ROW = (f"{word}canary7f3a91" for word in ("prompt", "response", "secret", "badrow"))


def holders(folder: Path, marks: tuple[str, ...]) -> dict[str, list[str]]:
    """Files below a folder that hold a mark, as text, UTF-16 or base64 would."""
    found: dict[str, list[str]] = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            for mark in marks:
                if mark.encode() in data or mark.encode("utf-16-le") in data:
                    found.setdefault(mark, []).append(str(path.relative_to(folder)))
    return found


@dataclass(frozen=True)
class Ran:
    """A night that has ended.

    Attributes:
        folder: holds its source, its store and its caches; what was in the bucket is in `store` too.
        ray_folder: where Ray kept its session.
        printed: by the command.
        code: its exit code.
        lines: command lines seen meanwhile.
        texts: marked or sampled texts, which belong into Parquet alone.
    """

    folder: Path
    ray_folder: Path
    printed: str
    code: int
    lines: list[str]
    texts: tuple[str, ...]

    @property
    def marks(self) -> tuple[str, ...]:
        """All that must be nowhere else."""
        return (*self.texts, SECRET, BAD_ROW)

    @property
    def version(self) -> Path:
        """The published version."""
        return next((self.folder / "store" / "marked" / "versions").iterdir())


def from_responses(folder: Path, world_settings) -> dict:
    """A night that starts from marked responses."""
    rows = scored_rows(prompts=16, responses=6)
    for row in rows:
        row |= {"prompt": f"{row['prompt']} {PROMPT}", "response": f"{row['response']} {RESPONSE}"}
    rows.append({**rows[0], "prompt": [{"role": "nobody", "content": BAD_ROW}]})
    source = write_rows(folder / "rows.jsonl", rows)
    return {
        "flow": "curate",
        "dataset": "marked",
        "store": f"file://{folder}/store",
        "prompts": {"source": str(source), "starts_from": "responses", "score_columns": list(RATERS)},
        "cluster": {"chunk_prompts": 8},
    }


def from_prompts(folder: Path, world_settings) -> dict:
    """A whole night in a bucket: samples with vLLM, scores with a model, trains."""
    settings = world_settings(folder, limit=0, dataset="marked", store="s3://bucket/store")
    lines = Path(settings["prompts"]["source"]).read_text().splitlines()[:24]
    rows = [row | {"prompt": f"{row['prompt']} {PROMPT}"} for row in map(json.loads, lines)]
    rows.append({"prompt": [{"role": "nobody", "content": BAD_ROW}]})
    settings["prompts"] |= {"source": str(write_rows(folder / "rows.jsonl", rows))}
    settings["sampling"] |= {"engine": "vllm"}
    return settings


def sampled(folder: Path) -> tuple[str, ...]:
    """Some responses too long to be met by chance."""
    parts = (folder / "store").glob("marked/tables/responses/*/part-*.parquet")
    texts = {text for part in parts for text in pq.read_table(part, columns=["response"])["response"].to_pylist()}
    return tuple(sorted((text for text in texts if len(text) >= 12), key=len)[-3:])


@pytest.fixture(scope="module", params=[from_responses, from_prompts], ids=["from responses", "from prompts"])
def ran(request, command, world_settings, tmp_path_factory):
    """A night in processes of its own, whose command lines are watched meanwhile."""
    folder, ray_folder = tmp_path_factory.mktemp("secrets"), Path(tempfile.mkdtemp(prefix="r"))
    config = command.write("secrets.yaml", request.param(folder, world_settings))
    marked = {
        **dict.fromkeys(("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "HF_TOKEN"), SECRET),
        "HF_HOME": str(folder / "models" / "hub"),
        "SWEETSPOT_CACHE": str(folder / "models" / "own"),
        "SWEETSPOT_TEST_MARK": str(folder),
    }
    with moto_server() as (host, port), pointed_at(f"http://{host}:{port}", **marked):
        client = boto3.Session().client("s3")
        client.create_bucket(Bucket="bucket")
        with watched(str(folder)) as lines:
            ended = command.run("run", config, RAY_TMPDIR=str(ray_folder))
        download(client, folder)
    responses = sampled(folder)
    assert responses, ended.stdout[-2000:] + ended.stderr[-2000:]
    yield Ran(folder, ray_folder, ended.stdout + ended.stderr, ended.returncode, lines, (PROMPT, RESPONSE, *responses))
    shutil.rmtree(ray_folder, ignore_errors=True)


def download(client, folder: Path) -> None:
    """Everything in the bucket, to be searched as files are."""
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="bucket"):
        for key in (found["Key"] for found in page.get("Contents", [])):
            (folder / key).parent.mkdir(parents=True, exist_ok=True)
            client.download_file("bucket", key, str(folder / key))


@contextmanager
def watched(mark: str) -> Iterator[list[str]]:
    """The command lines seen meanwhile."""
    lines: list[str] = []
    done = threading.Event()
    watcher = threading.Thread(target=lambda: watch(lines, done, mark))
    watcher.start()
    try:
        yield lines
    finally:
        done.set()
        watcher.join()


def watch(seen: list[str], done: threading.Event, mark: str) -> None:
    """Command lines of all processes of the run, as any user of the machine can read them."""
    while not done.is_set():
        for process in psutil.process_iter():
            try:
                if process.pid != os.getpid() and process.environ().get("SWEETSPOT_TEST_MARK") == mark:
                    seen.append(" ".join(process.cmdline()))
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        time.sleep(0.5)


def test_the_run_completes_and_the_dataset_holds_the_texts(ran):
    assert ran.code == 0, ran.printed[-4000:]
    rows = pq.read_table(next(ran.version.rglob("train-*.parquet"))).to_pylist()
    assert all(PROMPT in row["prompt"][-1]["content"] for row in rows)


def test_the_prefect_database_holds_neither(ran, command):
    assert (command.folder / "prefect" / "prefect.db").stat().st_size > 100_000
    assert holders(command.folder, ran.marks) == {}


def test_ray_leaves_neither_in_its_session_folder(ran):
    assert any(path.name == "gcs_server.out" or "raylet" in path.name for path in ran.ray_folder.rglob("*"))
    assert holders(ran.ray_folder, ran.marks) == {}


def test_caches_of_models_hold_neither(ran):
    assert holders(ran.folder / "models", ran.marks) == {}


def test_what_is_printed_holds_neither(ran):
    assert [mark for mark in ran.marks if mark in ran.printed] == []


def test_no_command_line_holds_neither_texts_nor_credentials(ran):
    assert any("raylet" in line for line in ran.lines)
    assert [line for line in ran.lines if any(mark in line for mark in ran.marks)] == []


def test_the_store_holds_texts_in_parquet_alone_and_no_credential(ran):
    found = holders(ran.folder / "store", ran.marks)
    assert SECRET not in found
    assert all(path.endswith(".parquet") for paths in found.values() for path in paths), found
    assert BAD_ROW not in found, "a row that left takes its text with it"
    manifest = json.loads((ran.version / "manifest.json").read_text())
    assert manifest["checks"]["ngram_lift"]["passed"]


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00" + SECRET.encode() + b"\x01")
    (tmp_path / "b").write_bytes(PROMPT.encode("utf-16-le"))
    assert holders(tmp_path, (SECRET, PROMPT)) == {SECRET: ["a"], PROMPT: ["b"]}

"""A run with marked credentials and marked texts: every store it leaves is searched for the marks."""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psutil
import pytest
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


@pytest.fixture(scope="module")
def ran(command, tmp_path_factory):
    """A curated night in processes of its own; the environments of its Ray processes are watched meanwhile."""
    folder, ray_folder = tmp_path_factory.mktemp("secrets"), Path(tempfile.mkdtemp(prefix="r"))
    rows = scored_rows(prompts=16, responses=6)
    for row in rows:
        row |= {"prompt": f"{row['prompt']} {PROMPT}", "response": f"{row['response']} {RESPONSE}"}
    rows.append({**rows[0], "prompt": [{"role": "nobody", "content": BAD_ROW}]})
    source = write_rows(folder / "rows.jsonl", rows)
    config = command.write(
        "secrets.yaml",
        {
            "flow": "curate",
            "dataset": "marked",
            "store": f"file://{folder}/store",
            "prompts": {"source": str(source), "starts_from": "responses", "score_columns": list(RATERS)},
            "cluster": {"chunk_prompts": 8},
        },
    )
    environment = {
        **command.environment,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "HF_TOKEN": SECRET,
        "RAY_TMPDIR": str(ray_folder),
        "SWEETSPOT_TEST_MARK": str(folder),
    }
    parameters: list[str] = []
    done, watcher = threading.Event(), threading.Thread(target=lambda: watch(parameters, done, str(folder)))
    watcher.start()
    ended = subprocess.run(
        command.line("run", config), cwd=command.root, env=environment, capture_output=True, text=True, check=False
    )
    done.set()
    watcher.join()
    yield folder, ray_folder, ended, parameters
    shutil.rmtree(ray_folder, ignore_errors=True)


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
    folder, _, ended, _ = ran
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-2000:]
    data = next((folder / "store" / "marked" / "versions").rglob("train-*.parquet"))
    import pyarrow.parquet as pq

    rows = pq.read_table(data).to_pylist()
    assert all(PROMPT in row["prompt"][-1]["content"] and RESPONSE in row["chosen"][0]["content"] for row in rows)


def test_the_prefect_database_holds_neither(ran, command):
    assert (command.folder / "prefect" / "prefect.db").stat().st_size > 100_000
    assert holders(command.folder, (PROMPT, RESPONSE, SECRET, BAD_ROW)) == {}


def test_ray_leaves_neither_in_its_session_folder(ran):
    _, ray_folder, _, _ = ran
    assert any(path.name == "gcs_server.out" or "raylet" in path.name for path in ray_folder.rglob("*"))
    assert holders(ray_folder, (PROMPT, RESPONSE, SECRET, BAD_ROW)) == {}


def test_what_is_printed_holds_neither(ran):
    _, _, ended, _ = ran
    for mark in (PROMPT, RESPONSE, SECRET, BAD_ROW):
        assert mark not in ended.stdout + ended.stderr


def test_no_command_line_holds_neither_texts_nor_credentials(ran):
    _, _, _, lines = ran
    assert any("raylet" in line for line in lines)
    for mark in (PROMPT, RESPONSE, SECRET, BAD_ROW):
        assert not [line for line in lines if mark in line]


def test_the_store_holds_texts_in_parquet_alone_and_no_credential(ran):
    folder, _, _, _ = ran
    found = holders(folder / "store", (PROMPT, RESPONSE, SECRET, BAD_ROW))
    assert SECRET not in found
    assert all(path.endswith(".parquet") for paths in found.values() for path in paths), found
    assert BAD_ROW not in found, "a row that left takes its text with it"
    manifest = json.loads(next((folder / "store" / "marked" / "versions").rglob("manifest.json")).read_text())
    assert manifest["checks"]["ngram_lift"]["passed"]


def test_the_search_finds_what_is_there(tmp_path):
    (tmp_path / "a").write_bytes(b"\x00" + SECRET.encode() + b"\x01")
    (tmp_path / "b").write_bytes(PROMPT.encode("utf-16-le"))
    assert holders(tmp_path, (SECRET, PROMPT)) == {SECRET: ["a"], PROMPT: ["b"]}

"""Prefect stores no result of ours and loads none, whatever its settings say: a pickle could run code."""

import os
import subprocess
import sys

import pytest

import flows.audit
import flows.curate
import flows.nightly
import flows.train

CODE = """
import os, pickle, sys
from pathlib import Path
from prefect import flow
from prefect.filesystems import LocalFileSystem
from prefect.settings import get_current_settings

class Bomb:
    def __reduce__(self):
        return os.mkdir, (sys.argv[1] + "/exploded",)

read, storage = LocalFileSystem.read_path, Path(os.environ["PREFECT_RESULTS_LOCAL_STORAGE_PATH"])

async def planted(self, path):
    return pickle.dumps(Bomb())

LocalFileSystem.read_path = LocalFileSystem.aread_path = planted  # whatever is read is the attacker's

from flows._night import Night
from flows._telling import OPTIONS, told

def stage():
    return {"rows": 3}

@flow(**OPTIONS)
@told
def small():
    return Night(None, "2026-01-01").step(stage)

print(small(), small(), [str(path) for path in storage.rglob("*") if path.is_file()])
"""


def test_no_result_is_written_or_read_though_the_user_asks_for_pickles(root, tmp_path):
    wanted = {
        "PREFECT_RESULTS_DEFAULT_SERIALIZER": "pickle",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true",
        "PREFECT_TASKS_DEFAULT_PERSIST_RESULT": "true",
        "PREFECT_RESULTS_LOCAL_STORAGE_PATH": str(tmp_path / "storage"),
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PYTHONPATH": str(root),
    }
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")} | wanted
    done = subprocess.run(
        [sys.executable, "-c", CODE, str(tmp_path)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "{'rows': 3} {'rows': 3} []", done.stdout + done.stderr[-3000:]
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("flow", [flows.audit.audit, flows.curate.curate, flows.nightly.nightly, flows.train.train])
def test_every_flow_stores_nothing(flow):
    assert flow.persist_result is False
    assert flow.on_failure_hooks
    assert flow.on_crashed_hooks


def test_results_are_json_whatever_the_environment_says(root):
    code = "import flows, prefect.settings as s; print(s.get_current_settings().results.default_serializer)"
    environment = {**os.environ, "PREFECT_RESULTS_DEFAULT_SERIALIZER": "pickle", "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "json"

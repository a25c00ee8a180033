"""A writer that is killed in the middle of an upload: nothing is visible or in the way, leftovers are swept."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import boto3
import pytest

from flows.sweeping import sweep_dataset
from tasks._inventory import orphans
from tasks._seams import CRASH
from tasks._store import Store

KEY = "tiny/tables/pairs/f/part-00000-0123456789ab.parquet"
BODY_BYTES = 20_000_000
WRITE = """
import sys
from tasks._store import Store
Store(sys.argv[1]).create(sys.argv[2], b"x" * int(sys.argv[3]))
"""


def start(uri: str, **environment: str) -> subprocess.Popen:
    """A process of its own that writes the object."""
    command = [sys.executable, "-c", WRITE, uri, KEY, str(BODY_BYTES)]
    path = str(Path(__file__).resolve().parents[2])
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path, **environment})


def wait_for(happened: Callable[[], object], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 60
    while not happened():
        assert process.poll() is None, f"the writer ended with {process.returncode}"
        assert time.monotonic() < deadline, "the writer did not come so far"
        time.sleep(0.02)


@pytest.mark.parametrize("kind", ["stall_upload", "timed_out", "drip"])
def test_killed_while_it_uploads_to_a_bucket(proxy, kind):
    """Before the server has read the body, before it stores it, and before its answer is whole."""
    store, client = Store(f"s3://{proxy.bucket}/killed-{kind}"), boto3.client("s3")
    proxy.plan(kind, 0)
    with start(store.uri) as process:
        wait_for(lambda: proxy.seen, process)
        if kind == "drip":
            wait_for(lambda: store.read_if_there(KEY), process)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
    proxy.plan("", -1)
    found = store.read_if_there(KEY)
    assert found == (b"x" * BODY_BYTES if kind == "drip" else None)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=proxy.bucket), "there are parts to clean up"
    assert store.create(KEY, b"x" * BODY_BYTES), "what is left is in the way of the next writer"
    assert len(store.listing("tiny")) == 1


def test_killed_before_a_local_file_has_its_name(tmp_path):
    store = Store(f"file://{tmp_path}/store")
    with start(store.uri, **{CRASH: "file_written:1"}) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert store.read_if_there(KEY) is None
    (torn,) = store.listing("tiny")
    assert torn.bytes == BODY_BYTES
    now = datetime.now(UTC)
    swept = [list(orphans(store, "tiny", older_than=timedelta(days=7), now=now + timedelta(days=d))) for d in (0, 8)]
    assert swept == [[], [torn]]
    assert store.create(KEY, b"y")
    assert sweep_dataset(f"{store.uri}/tiny", older_than_days=0, delete=True) == 1
    assert store.read(KEY) == b"y"
    assert [item.key for item in store.listing("tiny")] == [KEY]

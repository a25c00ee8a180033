"""A disk that fills up, on real file systems of one MiB: nothing is torn, the message has the sizes, and it goes on."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from sweetspot import schemas
from sweetspot.config import Cluster
from sweetspot.delivery.books import Book, IdSet
from sweetspot.errors import StoreError
from tasks import _folder
from tasks._stage import Run, Stage, run_stage
from tasks._store import Store
from tasks._tables import ChunkResult, TableRef, commit_chunk, dropped_table

PIECE = b"x" * 150_000
STAGE = Stage("copy", 1, schemas.CHECKS, unit="prompt")


@pytest.fixture
def disk(tmp_path):
    """A file system of one MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"NOT TESTED, a file system cannot be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """A file that takes all the room there is."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free
    ballast.write_bytes(bytes(free))
    return ballast


def files_of(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"}


def test_what_was_committed_before_the_disk_was_full_is_whole_and_the_rest_is_not_there(disk):
    store, done = Store(f"file://{disk}"), []
    full = r"a/\d+: the disk is full: 150,000 bytes to write, [0-9,]+ free in .*disk/a\."

    def create_until_full():
        for number in range(100):
            store.create(f"a/{number}", PIECE)
            done.append(str(number))

    with pytest.raises(StoreError, match=full):
        create_until_full()
    assert 3 <= len(done) < 8
    assert files_of(disk) == set(done)
    assert all(store.read(f"a/{name}") == PIECE for name in done)
    store.remove("a/0")
    assert store.create(f"a/{len(done)}", PIECE), "there is room again"


def test_a_pointer_keeps_its_value(disk):
    store = Store(f"file://{disk}")
    store.swap("latest.json", None, b"one")
    ballast = fill(disk)
    with pytest.raises(StoreError, match=r"latest\.json: the disk is full: 150,000 bytes to write, 0 free"):
        store.swap("latest.json", b"one", PIECE)
    assert store.read("latest.json") == b"one"
    ballast.unlink()
    assert store.swap("latest.json", b"one", PIECE)


def test_a_chunk_is_committed_whole_or_not_at_all(disk):
    store, at = Store(f"file://{disk}"), "tiny/tables/checks/f"
    names = [os.urandom(400).hex() for _ in range(400)]
    rows = [{"response_id": name, "prompt_id": name, "chars": 1, "flaw": None} for name in names]
    result = ChunkResult(schemas.CHECKS.table(rows), dropped_table("copy", "prompt", []), names, names)
    book = Book(stage="copy", unit="prompt", rows_in=IdSet.of(names), rows_out=IdSet.of(names), dropped={})
    ballast = fill(disk)
    os.truncate(ballast, 900_000)
    with pytest.raises(StoreError, match="the disk is full"):
        commit_chunk(store, at, 0, result, book=book, schema=schemas.CHECKS)
    assert files_of(disk) == {"ballast"}
    ballast.unlink()
    commit_chunk(store, at, 0, result, book=book, schema=schemas.CHECKS)
    assert len(TableRef("checks", store.uri, at, "f", 1, 400, {}).read_chunk(0)) == 400


@pytest.mark.parametrize("full", ["scratch", "store"])
def test_a_stage_does_not_begin_on_a_disk_that_is_as_good_as_full(disk, tmp_path, monkeypatch, full):
    monkeypatch.setattr(tempfile, "tempdir", str(disk if full == "scratch" else tmp_path))
    run = Run(f"file://{disk if full == 'store' else tmp_path}/store", "tiny", "run", Cluster())
    table = TableRef("prompts", run.store, "tiny/tables/prompts/f", "f", 1, 1, {})
    with pytest.raises(
        StoreError, match=r"disk\S*: [0-9,]+ bytes free, and copy needs 209,715,200 to begin; it was not begun"
    ):
        run_stage(STAGE, {"prompts": table}, lambda: pytest.fail("it began"), run, identity=0)


def test_what_the_system_refuses_is_said_with_its_reason(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a").write_bytes(b"a file where a folder should be")
    store = Store(f"file://{tmp_path}/store")
    with pytest.raises(StoreError, match=r"store/a/b: cannot be written: .*\. Check path, rights and disk"):
        store.create("a/b", b"1")
    with pytest.raises(StoreError, match=r"store/a/b: cannot be read: Not a directory"):
        store.read("a/b")


def test_a_swap_gives_up_when_the_holder_of_the_lock_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(_folder, "LOCK_DEADLINE_S", 0.1)
    store = Store(f"file://{tmp_path}/store")
    store.swap("latest.json", None, b"one")
    store.swap("latest.json", b"one", b"two")
    lock = tmp_path / "store" / ".latest.json.lock"
    code = "import fcntl, sys, time; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True)"
    code += "; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(StoreError, match=r"latest\.json: another process has held its lock for 0\.1 s"):
            store.swap("latest.json", b"two", b"three")
        holder.kill()
    assert store.swap("latest.json", b"two", b"three")

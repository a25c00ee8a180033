"""Readers poll while versions are published, and publishers race for one name: no torn read, one winner."""

import hashlib
import json
import multiprocessing
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sweetspot import ids
from sweetspot.delivery.manifest import FileEntry, Manifest, canonical_json
from sweetspot.errors import ConfigError
from tasks._store import Store
from tasks._versions import differences, open_version

PUBLISHES, POLLS, RACES, S3_RACES, RACERS = 1_000, 100_000, 1_000, 200, 4
TABLE = "Readers during publications, publishers of one name"


@pytest.fixture
def template() -> Manifest:
    """The smallest manifest there is."""
    return Manifest(
        format_version=1,
        dataset="tiny",
        version="v",
        parent_sha256=None,
        nonce="n",
        run_id="run",
        logical_date="2026-01-01",
        created_utc="2026-01-01T02:00:00Z",
        code_commit="commit",
        lock_sha256=None,
        config={},
        models={},
        sampling={},
        seeds={},
        files=(),
        books=(),
        checks={},
        warnings=(),
    )


def publish(store: Store, template, number: int) -> None:
    """A version with two files, in the order every delivery keeps: files, manifest, pointer."""
    version, date = f"v{number:05d}", f"2026-{1 + number // 84:02d}-{1 + number // 3 % 28:02d}"
    files = []
    for name in ("data/train-00000-of-00001.parquet", "dropped/dropped-00000-of-00001.parquet"):
        data = f"{name} of {version} ".encode() * 500
        store.commit(f"tiny/versions/{version}/{name}", data)
        files.append(FileEntry(path=name, bytes=len(data), rows=0, sha256=hashlib.sha256(data).hexdigest()))
    manifest = canonical_json(replace(template, version=version, logical_date=date, files=tuple(files)))
    assert store.create(f"tiny/versions/{version}/manifest.json", manifest)
    pointer = {"version": version, "logical_date": date, "manifest_sha256": hashlib.sha256(manifest).hexdigest()}
    assert store.swap("tiny/latest.json", store.read_if_there("tiny/latest.json"), ids.canonical_json(pointer))


def read_until_told(uri: str, stop, answer) -> None:
    """Follow the pointer and check everything, again and again."""
    polls, torn, seen = 0, 0, ""
    while not stop.is_set():
        try:
            version = open_version(uri, "tiny")
        except ConfigError:
            continue  # nothing is published yet
        torn += bool(list(differences(version))) or version.root < seen
        seen = version.root
        polls += 1
    answer.put((polls, torn))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_read_is_torn_while_versions_are_published(tmp_path, template, figure):
    uri = f"file://{tmp_path}/store"
    context = multiprocessing.get_context("spawn")
    stop, answer = context.Event(), context.Queue()
    readers = [context.Process(target=read_until_told, args=(uri, stop, answer)) for _ in range(2)]
    for reader in readers:
        reader.start()
    started = time.monotonic()
    for number in range(PUBLISHES):
        publish(Store(uri), template, number)
        time.sleep(max(0.0, started + 0.06 * (number + 1) - time.monotonic()))  # a minute, so that readers see many
    stop.set()
    counts = [answer.get(timeout=60) for _ in readers]
    for reader in readers:
        reader.join()
    polls, torn = (sum(column) for column in zip(*counts, strict=True))
    assert torn == 0
    assert polls >= POLLS
    figure(TABLE, what=f"{PUBLISHES} publications, 2 readers", tries=f"{polls} reads", result="0 torn, 0 backwards")


def race(store: Store, rounds: int) -> list[int]:
    """Winners per round of publishers that create one name at the same moment."""
    winners = [0] * rounds
    barrier, lock = threading.Barrier(RACERS), threading.Lock()

    def racer(me: int) -> None:
        for number in range(rounds):
            data = json.dumps({"round": number, "by": me}).encode()
            barrier.wait()
            won = store.create(f"race/{number}", data)
            with lock:
                winners[number] += won and store.read(f"race/{number}") == data

    threads = [threading.Thread(target=racer, args=(me,)) for me in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return winners


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_of_publishers_of_one_name_exactly_one_wins(tmp_path, proxy, figure):
    for uri, rounds in ((f"file://{tmp_path}/store", RACES), (f"s3://{proxy.bucket}/races", S3_RACES)):
        assert race(Store(uri), rounds) == [1] * rounds
        kind = "a folder" if uri.startswith("file") else "an S3 server"
        figure(
            TABLE, what=f"{RACERS} publishers of one name in {kind}", tries=f"{rounds} races", result="1 winner each"
        )


def test_a_few_races_have_one_winner_each(tmp_path):
    assert race(Store(f"file://{tmp_path}/store"), 20) == [1] * 20
    assert len(list(Path(tmp_path / "store" / "race").iterdir())) == 20

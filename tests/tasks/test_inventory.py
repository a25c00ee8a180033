"""Where a dataset's runs stand, and what nobody needs, after runs that stopped half way."""

import json
import shutil
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.doctor import examine_dataset
from flows.sweeping import sweep_dataset
from sweetspot import ids
from sweetspot.errors import CheckError, ConfigError
from tasks._dates import claim_date
from tasks._inventory import dataset_state, orphans
from tasks._isolation import PROMPT, Note
from tasks._store import Store
from tasks.deliver_dataset import Publication, deliver_dataset

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FACTS = Publication("run", "2026-02-01", "2026-02-01T02:00:00Z", "commit", "", {}, {})


@pytest.fixture
def store(curated, tmp_path) -> Store:
    """A copy of a curated, unpublished night."""
    shutil.copytree(curated.config.store.removeprefix("file://"), tmp_path / "store")
    return Store(f"file://{tmp_path}/store")


def folder_of(store: Store) -> Path:
    return Path(store.uri.removeprefix("file://"))


def table(store, name):
    return next(found for found in dataset_state(store, "tiny").tables if found.name == name)


def test_finished_tables_are_told_from_half_done_ones(store):
    assert all(found.finished for found in dataset_state(store, "tiny").tables)
    (folder_of(store) / table(store, "pairs").location / "table.json").unlink()
    (folder_of(store) / table(store, "pairs").location / "chunk-00001.json").unlink()
    pairs = table(store, "pairs")
    assert (pairs.finished, pairs.chunks) == (False, 3)
    assert table(store, "quality").finished


def test_a_note_without_its_chunk_says_where_a_worker_ended(store):
    location = table(store, "scores").location
    note = Note("s", PROMPT, "p7", 0.0, 0, 2, {}, {"p3": "failed_stalled"})
    store.create(f"{location}/notes/00009.json", ids.canonical_json(asdict(note)))
    scores = table(store, "scores")
    assert scores.interrupted == ("chunk 00009: at prompt p7",)
    assert scores.blamed == {"p3": "failed_stalled"}


def test_a_claimed_date_and_a_version_without_manifest_are_half_done(store):
    claim_date(store, "tiny", "2026-02-01", "2026-02-01-abc", now_utc=NOW)
    store.create("tiny/versions/2026-02-01-abc/data/train-00000-of-00001.parquet", b"x")
    store.create("tiny/versions/2026-02-02-abc/manifest.json", b'{"fenced_by":"z"}')
    state = dataset_state(store, "tiny")
    assert state.dates == {"2026-02-01": "2026-02-01-abc"}
    assert state.unpublished == {
        "2026-02-01-abc": "its manifest is not there",
        "2026-02-02-abc": "another run took its date over",
    }
    assert (state.versions, state.latest) == ((), None)


def test_trainings_are_asked_committed_or_promoted(store):
    for prefix, files in {"a": ["request"], "b": ["request", "policy"], "c": ["request", "policy"]}.items():
        for file in files:
            store.create(f"tiny/policies/{prefix}/{file}.json", b"{}")
    store.create("tiny/policies/promoted.json", json.dumps({"policy": {"path": "tiny/policies/c"}}).encode())
    found = dataset_state(store, "tiny").trainings
    assert {key: training.stands for key, training in found.items()} == {
        "tiny/policies/a": "asked", "tiny/policies/b": "committed", "tiny/policies/c": "promoted",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("promote", "trained_on", "stands"),
    [
        (False, "2026-02-03-0f3c9a1e", "refused"),
        (True, "2026-02-03-0f3c9a1e", "superseded"),
        (True, "2026-02-02.10-0f3c9a1e", "superseded"),
        (True, "2026-02-02.1-0f3c9a1e", "not promoted"),
        (True, None, "not promoted"),
    ],
)
def test_a_policy_that_is_not_the_promoted_one_says_why(store, promote, trained_on, stands):
    request = {"version": {"root": "tiny/versions/2026-02-02.9-0f3c9a1e"}}
    store.create("tiny/policies/a/request.json", json.dumps(request).encode())
    store.create("tiny/policies/a/policy.json", json.dumps({"promote": promote}).encode())
    if trained_on:
        pointer = {"policy": {"path": "tiny/policies/b"}, "trained_on": trained_on}
        store.create("tiny/policies/promoted.json", json.dumps(pointer).encode())
    training = dataset_state(store, "tiny").trainings["tiny/policies/a"]
    assert (training.version, training.stands) == ("2026-02-02.9-0f3c9a1e", stands)


def test_a_published_dataset_has_no_orphan_and_reads_the_same_after_a_sweep(curated, store, capsys):
    delivered = deliver_dataset(curated.tables, FACTS, store_uri=store.uri, dataset="tiny")
    assert dataset_state(store, "tiny").latest == delivered.version
    assert sweep_dataset(f"{store.uri}/tiny", older_than_days=0, delete=True) == 0
    assert examine_dataset(f"{store.uri}/tiny")
    assert "what readers get" in capsys.readouterr().out


def test_orphans_are_probes_torn_files_and_parts_that_no_receipt_names(store):
    location = table(store, "pairs").location
    wanted = {f"{location}/part-00001-0123456789ab.parquet", f"{location}/part-00077-0123456789ab.parquet", "probe/x"}
    for key in wanted:
        store.create(key, b"left behind")
    torn = folder_of(store) / location / ".writing-abc"
    torn.write_bytes(b"half")
    wanted.add(str(torn.relative_to(folder_of(store))))
    later = datetime.now(UTC) + timedelta(days=8)
    found = {item.key for item in orphans(store, "tiny", older_than=timedelta(days=7), now=later)}
    assert found == wanted
    assert not list(orphans(store, "tiny", older_than=timedelta(days=7), now=datetime.now(UTC)))


def test_a_part_without_receipt_is_left_alone_while_a_run_may_come_back_to_it(store):
    """Also an old one: a run that works the chunk again finds its part there and does not write it anew."""
    folder = folder_of(store) / table(store, "pairs").location
    (folder / "table.json").unlink()
    (folder / "chunk-00001.json").unlink()
    stray = f"{table(store, 'pairs').location}/part-00000-0123456789ab.parquet"
    store.create(stray, b"of a chunk that another worker committed")
    later = datetime.now(UTC) + timedelta(days=800)
    found = {item.key for item in orphans(store, "tiny", older_than=timedelta(days=7), now=later)}
    assert found == {stray}
    assert list(folder.glob("part-00001-*.parquet"))


def test_a_damaged_receipt_lets_nothing_be_swept(store):
    receipt = folder_of(store) / table(store, "pairs").location / "chunk-00001.json"
    receipt.write_bytes(receipt.read_bytes().replace(b"part-00001-", b"part-10001-"))
    with pytest.raises(CheckError, match=r"chunk-00001\.json: does not fit its seal"):
        sweep_dataset(f"{store.uri}/tiny", older_than_days=0, delete=True)


def test_the_sweeper_lists_first_and_removes_only_when_told(store, capsys):
    store.create("probe/x", b"12345")
    assert sweep_dataset(f"{store.uri}/tiny", older_than_days=0, delete=False) == 1
    assert store.read("probe/x") == b"12345"
    assert "1 objects, 5 bytes; --delete removes them" in capsys.readouterr().out
    sweep_dataset(f"{store.uri}/tiny", older_than_days=0, delete=True)
    assert store.read_if_there("probe/x") is None


def test_the_doctor_says_what_is_half_done_and_what_to_do(store, capsys):
    (folder_of(store) / table(store, "pairs").location / "table.json").unlink()
    claim_date(store, "tiny", "2026-02-01", "2026-02-01-abc", now_utc=NOW)
    store.create("tiny/versions/2026-02-01-abc/data/train-00000-of-00001.parquet", b"x")
    assert not examine_dataset(f"{store.uri}/tiny")
    said = " ".join(capsys.readouterr().out.split())
    assert "half done table pairs" in said
    assert "version 2026-02-01-abc: not published, its manifest is not there" in said
    assert "it has claimed 2026-02-01; start its run again with the same settings" in said
    assert "Everything that is committed is safe" in said


def test_a_folder_without_a_dataset_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="holds no dataset"):
        examine_dataset(f"file://{tmp_path}/store/nothing")

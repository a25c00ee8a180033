"""A training does what was asked for, on what was pinned, once; the real trainer on a small published version."""

import hashlib
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from deterministic_night import WORLD, rows
from scored_world import FACTS, RATERS, curate, make_world

from sweetspot import ids
from sweetspot.config import Cluster, Evaluation, Prompts, Sampling, Training
from sweetspot.errors import CheckError
from tasks import _ray, train_job
from tasks._policies import PolicyRef, find_policy, promote, start_policy
from tasks._stage import Run
from tasks._store import Store
from tasks._versions import open_version
from tasks.deliver_dataset import deliver_dataset
from tasks.train_policy import TrainRequest, train_policy


@dataclass
class Asked:
    """A request in a store of its own."""

    request: TrainRequest
    run: Run

    @property
    def prefix(self) -> str:
        return f"tiny/policies/{self.request.identity}"

    @property
    def folder(self) -> Path:
        return Path(self.run.store.removeprefix("file://"))

    def commit(self) -> str:
        """As the flow does before it launches the job; returns the hash it launches it with."""
        data = ids.canonical_json(self.request.to_json())
        assert Store(self.run.store).create(f"{self.prefix}/request.json", data)
        return hashlib.sha256(data).hexdigest()

    def work(self) -> None:
        train_job.main(self.run.store, self.prefix, self.commit())

    def replace_manifest(self) -> None:
        path = self.folder / self.request.version.root / "manifest.json"
        path.write_bytes(path.read_bytes().replace(b'"run_id":"run"', b'"run_id":"nur"'))


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A curated night of the embedded world, published; read it, do not change it."""
    folder = tmp_path_factory.mktemp("published")
    prompts = Prompts(
        source=str(folder / "scored.jsonl"), starts_from="responses", score_columns=list(RATERS),
        answer_column="answer", held_out_fraction=0.2, license="cc-by-4.0",
    )  # fmt: skip

    def map_chunks(open_work, chunks, **_):
        yield from map(open_work(), chunks)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_ray, "map_chunks", map_chunks)
        world = curate(make_world(folder, rows(), prompts=prompts))
    facts = replace(FACTS, config=world.config.model_dump(mode="json"))
    deliver_dataset(world.tables, facts, store_uri=world.config.store, dataset="tiny")
    return world


@pytest.fixture
def asked(published, tmp_path, monkeypatch) -> Asked:
    """A request to train on a copy of that version, from a copy of the embedded policy, with a cache of its own."""
    monkeypatch.setenv("SWEETSPOT_CACHE", str(tmp_path / "cache"))
    shutil.copytree(published.config.store.removeprefix("file://"), tmp_path / "store")
    shutil.copytree(WORLD / "policy", tmp_path / "start")
    store = f"file://{tmp_path}/store"
    request = TrainRequest(
        version=open_version(store, "tiny"),
        start=start_policy(str(tmp_path / "start")),
        prompts=replace(published.tables["prompts"], store=store),
        sampling=Sampling(max_tokens=4),
        training=Training(epochs=1, batch_size=16),
        evaluation=Evaluation(samples=2, min_gain=-1.0, max_chosen_drop=1e9),
    )
    return Asked(request, Run(store, "tiny", "run", Cluster()))


def at_the_end(monkeypatch, do) -> None:
    """Something happens in the store after training, before the exam."""
    monkeypatch.setattr(train_job, "seam", lambda name: do() if name == "trained" else None)


def no_training(monkeypatch) -> None:
    def refuse(*_, **__):
        raise AssertionError("trained")

    monkeypatch.setattr(train_job, "train_policy", refuse)


def test_of_two_jobs_on_one_machine_one_trains_on_what_was_pinned_and_the_record_says_on_what(asked, monkeypatch):
    later = {"version": "2026-02-07-abc", "logical_date": "2026-02-07", "manifest_sha256": "0" * 64}
    trained = list[None]()

    def move_latest() -> None:
        trained.append(None)
        (asked.folder / "tiny" / "latest.json").write_text(json.dumps(later))

    at_the_end(monkeypatch, move_latest)
    sha256 = asked.commit()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: train_job.main(asked.run.store, asked.prefix, sha256), range(2)))
    assert len(trained) == 1
    record = Store(asked.run.store).record(f"{asked.prefix}/policy.json")
    version = asked.request.version
    assert (record["dataset"], record["logical_date"]) == ("tiny", "2026-01-31")
    assert record["trained_on"] == version.root.rsplit("/", 1)[-1]
    assert record["manifest_sha256"] == version.manifest_sha256
    assert record["license"] == "cc-by-4.0"
    policy = find_policy(asked.run.store, asked.prefix)
    assert policy is not None
    assert policy.local_path().is_dir()
    assert train_policy(asked.request, asked.run).promoted
    elsewhere = PolicyRef("tiny/policies/later", "0" * 16, asked.run.store)
    promote(elsewhere, "tiny", version="2026-02-07-abc", logical_date="2026-02-07")
    late = train_policy(asked.request, asked.run)
    assert not late.promoted
    assert late.reasons[-1].endswith("trained on the later version 2026-02-07-abc, stays promoted.")
    assert Store(asked.run.store).record("tiny/policies/promoted.json")["policy"] == elsewhere.to_json()


def test_another_manifest_at_the_start_is_refused(asked, monkeypatch):
    no_training(monkeypatch)
    asked.replace_manifest()
    with pytest.raises(CheckError, match="not the manifest that was pinned"):
        asked.work()


def test_another_manifest_at_the_end_is_refused_and_leaves_no_policy(asked, monkeypatch):
    at_the_end(monkeypatch, asked.replace_manifest)
    with pytest.raises(CheckError, match="not the manifest that was pinned"):
        asked.work()
    assert find_policy(asked.run.store, asked.prefix) is None


def test_an_unsigned_version_is_refused_where_a_signature_was_asked_for(asked, monkeypatch):
    no_training(monkeypatch)
    asked.request = replace(asked.request, version=replace(asked.request.version, public_key="ab" * 32))
    with pytest.raises(CheckError, match="sign"):
        asked.work()


@pytest.mark.parametrize("when", ["start", "end"])
def test_other_start_weights_are_refused(asked, monkeypatch, when):
    def change() -> None:
        (Path(asked.request.start.path) / "generation_config.json").write_text("{}")

    at_the_end(monkeypatch, change)
    if when == "start":
        change()
        no_training(monkeypatch)
    with pytest.raises(CheckError, match=f"not those of revision {asked.request.start.revision}"):
        asked.work()
    assert find_policy(asked.run.store, asked.prefix) is None


def test_another_request_than_the_launched_one_is_refused(asked, monkeypatch):
    no_training(monkeypatch)
    sha256 = asked.commit()
    path = asked.folder / asked.prefix / "request.json"
    path.write_bytes(path.read_bytes().replace(b'"beta":0.1', b'"beta":9.1'))
    with pytest.raises(CheckError, match="not the request this job was launched with"):
        train_job.main(asked.run.store, asked.prefix, sha256)
    with pytest.raises(CheckError, match=f"asks for training [0-9a-f]+, not for {asked.request.identity}"):
        train_policy(asked.request, asked.run)


@pytest.mark.parametrize("content", [b"[]", b"{}", b"no json", b'{"version": 3}'])
def test_a_request_that_is_damaged_is_named(asked, content):
    path = asked.folder / asked.prefix / "request.json"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(CheckError, match=r"request\.json: "):
        train_policy(asked.request, asked.run)


def test_what_is_trained_decides_the_identity_and_nothing_else(asked):
    request = asked.request
    same = (
        replace(request, prompts=replace(request.prompts, location="tiny/elsewhere")),
        replace(request, training=request.training.model_copy(update={"checkpoint_steps": 7})),
        replace(request, start=replace(request.start, path="/elsewhere")),
    )
    others = (
        replace(request, training=request.training.model_copy(update={"seed": 7})),
        replace(request, version=replace(request.version, manifest_sha256="0" * 64)),
        replace(request, version=replace(request.version, public_key="ab" * 32)),
        replace(request, start=replace(request.start, revision="0" * 16)),
        replace(request, prompts=replace(request.prompts, fingerprint="0" * 16)),
    )
    assert {one.identity for one in same} == {request.identity}
    assert len({one.identity for one in others} | {request.identity}) == 1 + len(others)


def test_two_launches_at_once_run_one_job_and_promote_one_policy(asked, ray_cluster):
    from ray.job_submission import JobSubmissionClient

    twin = replace(asked.request, prompts=replace(asked.request.prompts, seconds=99.0))
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda request: train_policy(request, asked.run), (asked.request, twin))
    assert first == second
    assert first.promoted
    name = f"train-{ids.fingerprint([asked.run.store, asked.prefix])}"
    jobs = [job.submission_id or "" for job in JobSubmissionClient(f"http://{ray_cluster}").list_jobs()]
    assert [job for job in jobs if job.startswith(name)] == [f"{name}-1"]

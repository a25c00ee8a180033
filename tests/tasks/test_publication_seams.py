"""A publication that dies anywhere is finished by the next try: the same version, whole, once, and readers get it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from small_versions import FACTS, content_of, few_documents

from sweetspot.delivery.manifest import Manifest, parse_manifest
from sweetspot.errors import CheckError, StoreError
from tasks import _publication
from tasks._keys import make_keys
from tasks._publication import publish_version
from tasks._store import Store
from tasks._versions import differences, open_version
from tasks.deliver_dataset import deliver_dataset

LATER = replace(FACTS, run_id="run-2", created_utc="2026-01-31T03:00:00Z")
SEAMS = (
    *("date_claimed", "data_file_committed", "first_try_noted", "documents_committed"),
    *("manifest_committed", "latest_moved"),
)


class Death(BaseException):
    """The process ends here: nothing of ours catches it."""


@pytest.fixture
def die_at(monkeypatch):
    """Make the k-th pass over a seam of publishing the last thing that happens."""

    def arm(name: str, at: int = 1) -> None:
        passes = []

        def seam(passed: str) -> None:
            if passed == name and passes.append(passed) is None and len(passes) == at:
                monkeypatch.undo()
                raise Death(name)

        monkeypatch.setattr(_publication, "seam", seam)

    return arm


def books_and_data(manifest: Manifest):
    """What two publications of one night share, whoever made them and when."""
    data = [entry for entry in manifest.files if entry.path.endswith(".parquet")]
    return manifest.version, manifest.books, manifest.checks, manifest.warnings, data


@pytest.mark.parametrize("name", SEAMS)
def test_a_night_that_died_at_a_seam_is_published_by_the_next_try(curated, die_at, name):
    store, dataset = curated.config.store, f"seam-{name.replace('_', '-')}"
    day = f"2026-02-{1 + SEAMS.index(name):02}"

    def publish(facts, to=dataset):
        return deliver_dataset(curated.tables, replace(facts, logical_date=day), store_uri=store, dataset=to)

    die_at(name)
    with pytest.raises(Death):
        publish(FACTS)
    done = publish(LATER)
    found = open_version(store, dataset)
    assert found.root.endswith(done.version), "readers get it"
    assert not list(differences(found))
    assert publish(replace(LATER, run_id="run-3")) == done, "once more changes nothing"
    expected = open_version(store, publish(FACTS, f"{dataset}-undisturbed").dataset).manifest()
    published, noted = SEAMS.index("manifest_committed"), SEAMS.index("first_try_noted")
    assert found.manifest().run_id == (FACTS if SEAMS.index(name) >= published else LATER).run_id
    assert found.manifest().created_utc == (FACTS if SEAMS.index(name) >= noted else LATER).created_utc
    assert books_and_data(found.manifest()) == books_and_data(expected)


class Dying(Store):
    """A store whose n-th write is the last one of this process, or does not happen at all."""

    left, applied, kind = 10**9, True, Death

    def create(self, key: str, data: bytes) -> bool:
        return self._write(lambda: super(Dying, self).create(key, data))

    def swap(self, key: str, expected: bytes | None, data: bytes) -> bool:
        return self._write(lambda: super(Dying, self).swap(key, expected, data))

    def _write(self, act):
        Dying.left -= 1
        if Dying.left == 0 and not self.applied:
            raise self.kind("before")
        done = act()
        if Dying.left == 0:
            raise self.kind("after")
        return done


@pytest.fixture
def signed_publish(tmp_path, monkeypatch):
    """Publish a signed version of two files, dying at the n-th write; documents are cut short."""
    monkeypatch.setattr(_publication, "Store", Dying)
    monkeypatch.setattr(_publication, "_documents", few_documents)
    make_keys(tmp_path / "key")
    where = {"store_uri": f"file://{tmp_path}/store", "dataset": "nights", "private_key": str(tmp_path / "key")}

    def publish(facts=FACTS, *, dies_at: int = 10**9, applied: bool = True, kind=Death):
        monkeypatch.setattr(Dying, "left", dies_at)
        monkeypatch.setattr(Dying, "applied", applied)
        monkeypatch.setattr(Dying, "kind", kind)
        return publish_version(content_of("nights"), facts, **where)

    return publish


WRITES = ("claim", "train", "eval", "first try", "README", "signature", "manifest", "latest")


@pytest.mark.parametrize("applied", [True, False], ids=["applied", "not applied"])
@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("kind", [Death, StoreError])
def test_whichever_write_was_the_last_the_next_try_publishes_once(tmp_path, signed_publish, kind, write, applied):
    """A store that gave no clear answer (StoreError) leaves the very same question: did it happen?"""
    folder, number = tmp_path / "store" / "nights", WRITES.index(write) + 1
    with pytest.raises(kind, match="after" if applied else "before"):
        signed_publish(dies_at=number, applied=applied, kind=kind)
    manifest = folder / "versions" / "2026-01-31-aaaaaaaa" / "manifest.json"
    before = manifest.read_bytes() if manifest.is_file() else None
    assert (before is not None) == (number > WRITES.index("manifest") + (not applied))
    done = signed_publish(LATER)
    assert before in (None, manifest.read_bytes()), "what is published never changes"
    public = (tmp_path / "key.pub").read_text().strip()
    found = open_version(f"file://{tmp_path}/store", "nights", done.version, public_key=public)
    assert not list(differences(found))
    assert json.loads((folder / "latest.json").read_text())["manifest_sha256"] == found.manifest_sha256
    assert [path.name for path in (folder / "dates").glob("*.json")] == ["2026-01-31.json"]
    assert (manifest.parent / "README.md").read_text() == found.manifest().created_utc, "a document of this try"
    assert signed_publish(replace(LATER, run_id="run-3")) == done


def test_every_write_of_a_publication_is_swept(signed_publish):
    signed_publish(dies_at=(many := 10**9))
    assert many - Dying.left == len(WRITES)


def test_of_two_tries_with_other_content_the_second_learns_that_it_was_not_published(tmp_path, monkeypatch):
    monkeypatch.setattr(_publication, "_documents", lambda manifest: {})
    where = {"store_uri": f"file://{tmp_path}/store", "dataset": "nights"}
    create, root = Store.create, "nights/versions/2026-01-31-aaaaaaaa"

    def overtaken(self, key, data):
        if key == f"{root}/manifest.json":
            theirs = replace(parse_manifest(data), nonce="theirs", files=())
            create(self, key, json.dumps(theirs.to_json()).encode())
        return create(self, key, data)

    monkeypatch.setattr(Store, "create", overtaken)
    with pytest.raises(CheckError, match=r"another run published this version with other content; ours was not"):
        publish_version(content_of("nights"), FACTS, **where)
    assert not Path(tmp_path / "store" / "nights" / "latest.json").is_file()

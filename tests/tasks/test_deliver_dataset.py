"""Publishing a curated night: once per date, again without effect, and after an interruption."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from sweetspot.errors import CheckError, ContractError
from sweetspot.schemas import DELIVERED
from tasks import _tables
from tasks._store import Store
from tasks._versions import differences, open_version
from tasks.deliver_dataset import Publication, deliver_dataset

FACTS = Publication("run-1", "2026-01-31", "2026-01-31T02:00:00Z", "commit", "", {}, {})


@pytest.fixture
def publish(curated, request):
    """Publish the curated night into a dataset of this test's own."""

    def act(facts: Publication = FACTS):
        return deliver_dataset(
            curated.tables, facts, store_uri=curated.config.store, dataset=f"d-{abs(hash(request.node.name))}"
        )

    return act


def files_of(version) -> Path:
    return Path(version.uri.removeprefix("file://"))


def test_publishing_again_changes_nothing(publish):
    first = publish()
    manifest = (files_of(first) / "manifest.json").read_bytes()
    assert publish(replace(FACTS, run_id="run-2")) == first
    assert (files_of(first) / "manifest.json").read_bytes() == manifest


def test_every_receipt_is_read_once(publish, curated, monkeypatch):
    asked: Counter[tuple[str, int]] = Counter()
    real = _tables.receipt_if_there

    def counted(store, location, index):
        asked[location, index] += 1
        return real(store, location, index)

    monkeypatch.setattr(_tables, "receipt_if_there", counted)
    publish()
    everywhere = {(ref.location, index) for ref in curated.tables.values() for index in range(ref.chunks)}
    assert asked == Counter(everywhere)


def test_a_version_loads_as_the_readme_and_its_card_say(publish, root, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path))
    version = publish()
    folder = files_of(version)
    code = re.search(r"A delivered version:\n\n```python\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)
    assert code is not None
    names: dict[str, Any] = {}
    exec(re.sub(r'version = "[^"]*"', f'version = "{folder}"', code[1]), names)
    assert names["pairs"].num_rows == names["same"].num_rows == version.rows["train"] > 0
    assert names["pairs"].features == datasets.Features.from_arrow_schema(DELIVERED.arrow)
    assert names["pairs"]["pair_id"] == names["same"]["pair_id"]
    by_uri = datasets.load_dataset("parquet", data_files=f"file://{folder}/data/eval-*.parquet", split="train")
    assert by_uri.num_rows == version.rows["eval"] > 0
    monkeypatch.chdir(folder.parent)
    card = (folder / "README.md").read_text()
    for block in re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)[:2]:
        names = {}
        exec(block, names)
        assert len(names["train"]) == version.rows["train"]
    calls = re.findall(r"`(load_dataset\(.*?\))`", card)
    assert len(calls) == 2, "samples and dropped"
    for call in calls:
        assert eval(call, {"load_dataset": datasets.load_dataset}).num_rows > 0


def test_a_run_that_may_not_publish_writes_nothing(publish, curated):
    first = publish()
    store, dates = Store(curated.config.store), files_of(first).parents[1] / "dates"
    (dates / "2026-01-31.json").write_bytes(b'{"claimed_utc":"2026-01-31T02:00:00+00:00","version":"another"}')
    store.create(f"{first.dataset}/versions/another/manifest.json", b"{}")
    for path in sorted(files_of(first).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    with pytest.raises(CheckError, match="has been published as another"):
        publish()
    assert not [path for path in files_of(first).rglob("*") if path.is_file()]


def test_documents_of_an_interrupted_run_with_other_training_settings_are_kept(publish, curated):
    first = publish(replace(FACTS, config={"training": {"loss": "dpo"}}))
    (files_of(first) / "manifest.json").unlink()
    report = (files_of(first) / "report.html").read_bytes()
    second = publish(replace(FACTS, run_id="run-2", config={"training": {"loss": "rating_dpo"}}))
    assert second.version == first.version
    assert (files_of(second) / "report.html").read_bytes() == report
    assert not list(differences(open_version(curated.config.store, second.dataset, second.version)))


def test_another_attempt_is_another_version_and_the_latest_whatever_its_rows(publish, curated):
    first = publish()
    second = publish(replace(FACTS, config={"attempt": 2}, created_utc="2026-01-31T05:00:00Z"))
    assert (first.version[:11], second.version[:13]) == ("2026-01-31-", "2026-01-31.2-")
    assert second.new, "it was not there before"
    claims = sorted(path.name for path in (files_of(first).parents[1] / "dates").iterdir())
    assert claims == ["2026-01-31.2.json", "2026-01-31.json"]
    newest = open_version(curated.config.store, first.dataset)
    assert newest.root.endswith(second.version)
    assert (newest.manifest().attempt, newest.manifest().created_utc) == (2, "2026-01-31T05:00:00Z")
    assert newest.manifest().parent_sha256 == first.manifest_sha256
    assert publish() == first, "the first attempt joins what it published"
    assert open_version(curated.config.store, first.dataset) == newest, "and moves nothing back"


def test_a_run_whose_date_was_taken_over_publishes_as_another_attempt(publish, curated):
    first = publish()
    (files_of(first) / "manifest.json").write_bytes(b'{"fenced_by":"2026-01-31-00000000"}')
    with pytest.raises(CheckError, match=r"2026-01-31-00000000 took over its date.*raise `attempt`"):
        publish()
    second = publish(replace(FACTS, config={"attempt": 2}))
    assert not list(differences(open_version(curated.config.store, first.dataset, second.version)))


@pytest.mark.parametrize(
    "facts", [{"config": {"attempt": 0}}, {"config": {"attempt": "2/../3"}}, {"logical_date": "x"}]
)
def test_what_can_be_no_part_of_a_name_is_refused_before_anything_is_written(publish, curated, facts):
    with pytest.raises(ContractError, match=r"(attempt|logical_date): got "):
        publish(replace(FACTS, **facts))
